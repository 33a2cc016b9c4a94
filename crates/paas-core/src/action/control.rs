//! Steering what is there: a release under way, and whether the application is online.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::deploy::rollout::{self, Steer};
use super::{Action, Effect, Work};
use crate::engine::{AppEnvRecord, EventKind, Offline, RolloutView, ScheduleRecord};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::model::ComponentKind;
use crate::name::{AppEnv, ComponentName};
use crate::port::{Permission, Scope};
use crate::tenancy::permissions;

/// The longest reason, in characters.
const REASON_MAX: usize = 1_000;

/// What the actions that steer a release have in common.
macro_rules! steer_action {
    ($(#[$doc:meta])* $name:ident, $text:literal, |$self:ident| $steer:expr, $detail:expr) => {
        impl $name {
            fn steer(&$self) -> Steer {
                $steer
            }
        }

        #[async_trait]
        impl Action for $name {
            type Output = ();
            const NAME: &'static str = $text;
            const EFFECT: Effect = Effect::Change;

            fn permission(&self) -> Permission {
                permissions::APP_DEPLOY
            }

            fn scope(&self) -> Scope {
                Scope::AppEnv(self.at.clone())
            }

            fn validate(&self, faults: &mut Vec<Fault>) {
                if let Steer::Abort { reason } = self.steer()
                    && reason.chars().count() > REASON_MAX
                {
                    faults.push(Fault::new("reason", format!("has more than {REASON_MAX} characters")));
                }
            }

            fn detail(&$self) -> Value {
                $detail
            }

            async fn run(&self, work: &mut Work<'_>) -> Result<()> {
                rollout::steer(work, &self.at, self.steer()).await
            }
        }
    };
}

/// Ends the release that is under way and returns to the current one. If none is under way it does nothing.
#[derive(Debug, Clone)]
pub struct AbortRelease {
    /// Where.
    pub at: AppEnv,
    /// Why, for people; may be empty.
    pub reason: String,
}

steer_action!(
    AbortRelease,
    "app.abort",
    |self| Steer::Abort { reason: self.reason.clone() },
    json!({ "reason": self.reason })
);

/// Tries the aborted release again, from its first step.
#[derive(Debug, Clone)]
pub struct RetryRelease {
    /// Where.
    pub at: AppEnv,
}

steer_action!(RetryRelease, "app.retry", |self| Steer::Retry, Value::Null);

/// Keeps the release that is under way from advancing.
#[derive(Debug, Clone)]
pub struct PauseRelease {
    /// Where.
    pub at: AppEnv,
}

steer_action!(PauseRelease, "app.pause", |self| Steer::Pause, Value::Null);

/// Lets the release that is under way advance again.
#[derive(Debug, Clone)]
pub struct ResumeRelease {
    /// Where.
    pub at: AppEnv,
}

steer_action!(ResumeRelease, "app.resume", |self| Steer::Resume, Value::Null);

async fn switch(
    work: &mut Work<'_>,
    at: &AppEnv,
    component: Option<&ComponentName>,
    offline: bool,
) -> Result<()> {
    let mut place = work.live_place(at).await?;
    let declared: Vec<ComponentName> =
        place.value.spec.iter().flat_map(|spec| &spec.components).map(|it| it.name.clone()).collect();
    if offline {
        refuse_manifests(&place.value, component)?;
    }
    let before = place.value.offline.clone();
    match component {
        None => {
            place.value.offline.all = offline;
            place.value.offline.components.clear();
        }
        Some(component) if !declared.contains(component) => {
            let names: Vec<&str> = declared.iter().map(ComponentName::as_str).collect();
            return Err(Error::not_found("component", component)
                .with_context("application", at)
                .with_remedy(format!("It has {}.", names.join(", "))));
        }
        Some(component) if offline => drop(place.value.offline.components.insert(component.clone())),
        Some(component) => {
            // Starting one component of an application that is stopped as a whole leaves the others stopped.
            if std::mem::take(&mut place.value.offline.all) {
                place.value.offline.components.extend(declared);
            }
            place.value.offline.components.remove(component);
        }
    }
    if place.value.offline == before {
        return Ok(());
    }
    if !offline {
        resume_schedules(work, at, &before, &place.value.offline).await?;
    }
    work.changes().update(&place)?;
    let mut view = RolloutView::of(work.services(), place).await?;
    view.follow_scale();
    work.store_view(view).await?;
    let what = component.map_or_else(|| "the application".to_owned(), |name| format!("component {name}"));
    let (kind, verb) =
        if offline { (EventKind::Stopped, "was stopped") } else { (EventKind::Started, "was started") };
    work.event(kind, Scope::AppEnv(at.clone()), format!("{what} {verb}")).component = component.cloned();
    Ok(())
}

/// Times that passed while a scheduled job was offline do not run when it is back.
async fn resume_schedules(work: &mut Work<'_>, at: &AppEnv, before: &Offline, after: &Offline) -> Result<()> {
    let now = work.now();
    for mut schedule in work.collections().children::<ScheduleRecord>(at.to_string()).await? {
        let name = &schedule.value.component.component;
        if before.contains(name) && !after.contains(name) && schedule.value.settled < now {
            schedule.value.settled = now;
            work.changes().update(&schedule)?;
        }
    }
    Ok(())
}

/// Manifests that are not in force any more are kept by their cluster until others are, so they cannot be offline.
fn refuse_manifests(place: &AppEnvRecord, component: Option<&ComponentName>) -> Result<()> {
    let declared = place.spec.iter().flat_map(|spec| &spec.components);
    let mut asked = declared.filter(|it| component.is_none_or(|name| *name == it.name));
    match asked.find(|it| it.kind == ComponentKind::Manifests) {
        None => Ok(()),
        Some(found) => Err(Error::new(ErrorKind::Unsupported, "take manifests offline")
            .with_context("component", place.at.component(found.name.clone()))
            .with_remedy("Set `replicas: 0` in their objects and deploy them, or delete the application.")),
    }
}

/// Takes an application or one of its components offline: everything is kept but its instances. A scheduled job does not run at
/// its times; a run that is under way goes on.
#[derive(Debug, Clone)]
pub struct StopApp {
    /// Where.
    pub at: AppEnv,
    /// Which component; the whole application if absent.
    pub component: Option<ComponentName>,
}

#[async_trait]
impl Action for StopApp {
    type Output = ();
    const NAME: &'static str = "app.stop";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::APP_SWITCH
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn detail(&self) -> Value {
        json!({ "component": self.component })
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<()> {
        switch(work, &self.at, self.component.as_ref(), true).await
    }
}

/// Brings an application or one of its components back online, as it was. A scheduled job runs again from its next time on.
#[derive(Debug, Clone)]
pub struct StartApp {
    /// Where.
    pub at: AppEnv,
    /// Which component; the whole application if absent.
    pub component: Option<ComponentName>,
}

#[async_trait]
impl Action for StartApp {
    type Output = ();
    const NAME: &'static str = "app.start";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::APP_SWITCH
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn detail(&self) -> Value {
        json!({ "component": self.component })
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<()> {
        switch(work, &self.at, self.component.as_ref(), false).await
    }
}
