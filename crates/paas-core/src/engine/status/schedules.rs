//! Scheduled jobs: what their documents say of the last and the next run.

use std::collections::BTreeMap;

use super::ScheduleStatus;
use crate::engine::{AppEnvRecord, RunRecord, ScheduleRecord, Services};
use crate::error::Result;
use crate::name::ComponentName;

/// How the scheduled jobs of an application are.
pub(super) async fn load(
    services: &Services,
    place: &AppEnvRecord,
) -> Result<BTreeMap<ComponentName, ScheduleStatus>> {
    let below = place.at.to_string();
    let schedules = services.collections().children::<ScheduleRecord>(below.as_str()).await?;
    if schedules.is_empty() {
        return Ok(BTreeMap::new());
    }
    let runs = services.collections().children::<RunRecord>(below).await?;
    let mut runs: Vec<RunRecord> =
        runs.into_iter().map(|run| run.value).filter(RunRecord::is_of_schedule).collect();
    runs.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    let now = services.now();
    let status = |record: ScheduleRecord| {
        let name = record.component.component.clone();
        let own = || runs.iter().filter(|run| run.track.component == record.component);
        let online = !place.offline.contains(&name) && place.deleting.is_none();
        let next = record.schedule.timetable().ok().and_then(|timetable| timetable.next_after(now));
        let status = ScheduleStatus {
            next: next.filter(|_| online),
            last: own().next_back().cloned(),
            under_way: own().filter(|run| run.is_under_way()).count().try_into().unwrap_or(u32::MAX),
            skipped: record.skipped.clone(),
            schedule: record.schedule,
        };
        (name, status)
    };
    Ok(schedules.into_iter().map(|stored| status(stored.value)).collect())
}
