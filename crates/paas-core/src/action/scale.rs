//! Numbers of instances. They are in force at once and survive releases.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Action, Effect, Work};
use crate::engine::{EventKind, RolloutView, ScaleRecord, Stored};
use crate::error::{Error, Fault, Result};
use crate::model::{Component, ComponentKind, Release, ReleaseNumber, Target};
use crate::name::{AppEnv, ComponentKey, ComponentName};
use crate::port::{DocumentKey, Permission, Revision, Scope};
use crate::tenancy::permissions;

/// What a change of the number of instances came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Scaled {
    /// The component.
    pub component: ComponentName,
    /// The number before, on each cluster.
    pub from: u32,
    /// The number now, on each cluster.
    pub to: u32,
    /// The clusters whose bounds allow another number only, as sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The commit.
    pub revision: Revision,
}

/// The numbers that a component may have: within its own bounds, and those of at least one cluster.
pub(super) fn bounds(component: &Component, targets: &[Target]) -> (u32, u32) {
    if component.kind == ComponentKind::Manifests {
        // It is there or not; how many run is in its objects.
        return (1, 1);
    }
    let least = targets.iter().map(|target| target.min_instances).min().unwrap_or(0);
    let most = targets.iter().map(|target| target.max_instances).max().unwrap_or(u32::MAX);
    (component.instances.min.max(least), component.instances.max.min(most))
}

fn bounds_of(target: &Target) -> String {
    format!("{} {} to {}", target.cluster, target.min_instances, target.max_instances)
}

/// What to tell of a number that the bounds of some clusters change.
pub(super) fn bounded(component: &ComponentKey, count: u32, targets: &[Target]) -> Vec<String> {
    let on = |target: &Target| ScaleRecord { component: component.clone(), count, version: 0 }.on(target);
    let other = targets.iter().filter(|target| on(target) != count);
    let told = other.map(|target| {
        let (name, cluster) = (&component.component, &target.cluster);
        format!(
            "{name} has {} and not {count} instances on {cluster}: {} are allowed",
            on(target),
            bounds_of(target)
        )
    });
    told.collect()
}

/// Changes how many instances of a component run on each cluster.
#[derive(Debug, Clone)]
pub struct ScaleApp {
    /// Where.
    pub at: AppEnv,
    /// Which component.
    pub component: ComponentName,
    /// How many.
    pub count: u32,
}

#[async_trait]
impl Action for ScaleApp {
    type Output = Scaled;
    const NAME: &'static str = "app.scale";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::APP_SCALE
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn detail(&self) -> Value {
        json!({ "component": self.component, "count": self.count })
    }

    fn target(&self) -> Option<DocumentKey> {
        Some(ScaleRecord::key_of(&self.at.component(self.component.clone())))
    }

    fn committed(&self, output: &mut Self::Output, revision: Revision) {
        output.revision = revision;
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let place = work.live_place(&self.at).await?;
        let env = work.env(&self.at.env_ref()).await?;
        let declared = place.value.spec.iter().flat_map(|spec| &spec.components);
        let Some(component) = declared.clone().find(|component| component.name == self.component) else {
            let names: Vec<&str> = declared.map(|component| component.name.as_str()).collect();
            return Err(Error::not_found("component", &self.component)
                .with_context("application", &self.at)
                .with_remedy(format!("It has {}.", names.join(", "))));
        };
        let fault = |message: String| {
            Err(Error::invalid("scale a component", vec![Fault::new("count", message)])
                .with_context("component", self.at.component(self.component.clone())))
        };
        if component.kind == ComponentKind::Job {
            return fault("a job runs once per release and cannot be scaled".to_owned());
        }
        if component.kind == ComponentKind::ScheduledJob {
            return fault("a scheduled job runs by its schedule and cannot be scaled".to_owned());
        }
        if component.kind == ComponentKind::Manifests {
            let message =
                "the numbers of manifests are in their objects; change `replicas` there and deploy them";
            return fault(message.to_owned());
        }
        let (least, most) = bounds(component, &env.value.targets);
        if !(least..=most).contains(&self.count) {
            let targets: Vec<String> = env.value.targets.iter().map(bounds_of).collect();
            let own = &component.instances;
            return fault(format!(
                "{} is not from {least} to {most}: the component allows {} to {}, and its clusters {}",
                self.count,
                own.min,
                own.max,
                targets.join(", ")
            ));
        }
        let key = ScaleRecord::key_of(&self.at.component(self.component.clone()));
        let mut scale = work.get::<ScaleRecord>(&key).await?.unwrap_or_else(|| {
            let component = self.at.component(self.component.clone());
            Stored::new(ScaleRecord { component, count: 0, version: 0 })
        });
        let from = scale.value.count;
        scale.value.count = self.count;
        scale.value.version += 1;
        work.changes().update(&scale)?;
        let mut view = RolloutView::of(work.services(), place).await?;
        self.record_in_running_releases(work, &view).await?;
        view.scale(&self.component, self.count);
        work.store_view(view).await?;
        let message = format!("{} was scaled from {from} to {}", self.component, self.count);
        work.event(EventKind::Scaled, self.scope(), message).component = Some(self.component.clone());
        let notes = bounded(&self.at.component(self.component.clone()), self.count, &env.value.targets);
        Ok(Scaled { component: self.component.clone(), from, to: self.count, notes, revision: Revision(0) })
    }
}

impl ScaleApp {
    /// A release records the numbers at its commit, so one that is under way takes the new number over; a rollback
    /// would otherwise undo it.
    async fn record_in_running_releases(&self, work: &mut Work<'_>, view: &RolloutView) -> Result<()> {
        let coordinator = view.coordinator();
        let under_way: Vec<ReleaseNumber> =
            coordinator.active.iter().chain(&coordinator.queue).map(|rollout| rollout.release).collect();
        for number in under_way {
            let Some(mut release) = work.get::<Release>(&Release::key_of(&self.at, number)).await? else {
                continue;
            };
            if let Some(component) = release.value.components.get_mut(&self.component) {
                component.instances = self.count;
                work.changes().update(&release)?;
            }
        }
        Ok(())
    }
}
