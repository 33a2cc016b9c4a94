//! The history of releases: what a commit puts in force, and what is kept.
//!
//! A commit makes the release current, the numbers of instances that it recorded the live ones (a rollback brings its own
//! back), its access points those in force, and its schedules those that are followed. Then the history is cut: the current
//! release and ten committed ones before it are kept whole, aborted attempts displace none of them and are bounded
//! themselves, and templates, configurations and secrets that no kept release uses are removed.

mod prune;
mod schedules;

use super::{Changes, RoutesRecord, ScaleRecord, Services, Stored};
use crate::action::merged_routes;
use crate::error::Result;
use crate::model::Release;
use crate::name::AppEnv;

pub use prune::prune;

/// Prepares what is in force from the commit of `release` on, which takes the place of `before`.
pub(super) async fn take_effect(
    services: &Services,
    changes: &mut Changes,
    at: &AppEnv,
    before: Option<&Release>,
    release: &Release,
) -> Result<()> {
    for component in release.version.spec.components.iter().filter(|it| !it.kind.runs_to_completion()) {
        let Some(released) = release.components.get(&component.name) else { continue };
        let component = at.component(component.name.clone());
        let mut scale = services
            .collections()
            .get::<ScaleRecord>(&ScaleRecord::key_of(&component))
            .await?
            .unwrap_or_else(|| Stored::new(ScaleRecord { component, count: 0, version: 0 }));
        if scale.value.count == released.instances {
            changes.expect(scale.unchanged());
        } else {
            scale.value.count = released.instances;
            scale.value.version += 1;
            changes.update(&scale)?;
        }
    }
    Box::pin(schedules::take_effect(services, changes, at, release)).await?;
    // The first release's access points have been in force since it began.
    let Some(before) = before else { return Ok(()) };
    let mut routes = services
        .collections()
        .get::<RoutesRecord>(&RoutesRecord::key_of(at))
        .await?
        .unwrap_or_else(|| Stored::new(RoutesRecord { at: at.clone(), version: 0, routes: Vec::new() }));
    let merged = merged_routes(&routes.value.routes, Some(&before.version.spec), &release.version.spec);
    if merged != routes.value.routes {
        routes.value.routes = merged;
        routes.value.version += 1;
        changes.update(&routes)?;
    }
    Ok(())
}
