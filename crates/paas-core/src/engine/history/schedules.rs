//! The schedules that a commit puts in force.

use std::collections::BTreeMap;

use crate::engine::{Changes, RunRecord, ScheduleRecord, Services, Stored};
use crate::error::Result;
use crate::model::{ComponentKind, Release};
use crate::name::{AppEnv, ComponentName};

/// Prepares what runs by a schedule from the commit of `release` on. A schedule that is new counts from now; one that was
/// there before is followed on, with what the release runs. Runs of components that are left out are stopped.
pub(super) async fn take_effect(
    services: &Services,
    changes: &mut Changes,
    at: &AppEnv,
    release: &Release,
) -> Result<()> {
    let known = services.collections().children::<ScheduleRecord>(at.to_string()).await?;
    let mut known: BTreeMap<ComponentName, Stored<ScheduleRecord>> =
        known.into_iter().map(|stored| (stored.value.component.component.clone(), stored)).collect();
    for component in &release.version.spec.components {
        let (ComponentKind::ScheduledJob, Some(schedule)) = (component.kind, &component.schedule) else {
            continue;
        };
        let Some(released) = release.components.get(&component.name) else { continue };
        let fresh = ScheduleRecord {
            component: at.component(component.name.clone()),
            schedule: schedule.clone(),
            revision: released.revision.clone(),
            release: release.number,
            settled: services.now(),
            skipped: None,
        };
        let Some(mut stored) = known.remove(&component.name) else {
            changes.create(&fresh)?;
            continue;
        };
        let before = &stored.value.schedule;
        let (settled, skipped) = if (&before.cron, &before.time_zone) == (&schedule.cron, &schedule.time_zone)
        {
            (stored.value.settled, stored.value.skipped.clone())
        } else {
            (fresh.settled, None)
        };
        let next = ScheduleRecord { settled, skipped, ..fresh };
        if next != stored.value {
            stored.value = next;
            changes.update(&stored)?;
        }
    }
    if known.is_empty() {
        return Ok(());
    }
    for gone in known.values() {
        changes.remove(gone);
    }
    for mut run in services.collections().children::<RunRecord>(at.to_string()).await? {
        let ends = run.value.is_of_schedule() && known.contains_key(&run.value.track.component.component);
        if ends && run.value.is_under_way() && !run.value.stopping {
            run.value.stopping = true;
            run.value.failure = Some(format!("release {} has no such scheduled job", release.number));
            changes.update(&run)?;
        }
    }
    Ok(())
}
