//! The permissions of what answers in a stream: the stream itself begins after the action.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Action, Effect, Work};
use crate::engine::EventKind;
use crate::error::{Error, Result};
use crate::name::{AppEnv, ComponentName};
use crate::port::{Permission, Scope};
use crate::tenancy::permissions;

async fn check_component(work: &mut Work<'_>, at: &AppEnv, component: &ComponentName) -> Result<()> {
    let place = work.place(at).await?;
    let declared: Vec<&ComponentName> =
        place.value.spec.iter().flat_map(|spec| &spec.components).map(|component| &component.name).collect();
    if declared.contains(&component) {
        return Ok(());
    }
    let names: Vec<&str> = declared.iter().map(|name| name.as_str()).collect();
    let remedy = if names.is_empty() {
        "The application has not been deployed yet.".to_owned()
    } else {
        format!("It has {}.", names.join(", "))
    };
    Err(Error::not_found("component", component).with_context("application", at).with_remedy(remedy))
}

/// Reads what the instances of a component print.
#[derive(Debug, Clone)]
pub struct ReadLogs {
    /// Where.
    pub at: AppEnv,
    /// Which component.
    pub component: ComponentName,
}

#[async_trait]
impl Action for ReadLogs {
    type Output = ();
    const NAME: &'static str = "logs.read";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::LOGS_READ
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<()> {
        check_component(work, &self.at, &self.component).await
    }
}

/// Runs a command in an instance. It is recorded, without what it reads and prints.
#[derive(Debug, Clone)]
pub struct UseExec {
    /// Where.
    pub at: AppEnv,
    /// Which component.
    pub component: ComponentName,
    /// The command; empty when attaching to a run.
    pub command: Vec<String>,
}

#[async_trait]
impl Action for UseExec {
    type Output = ();
    const NAME: &'static str = "exec.run";
    const EFFECT: Effect = Effect::Access;

    fn permission(&self) -> Permission {
        permissions::EXEC_RUN
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    /// The program without its arguments, which may hold anything.
    fn detail(&self) -> Value {
        json!({ "component": self.component, "program": self.command.first() })
    }

    fn input(&self) -> Value {
        json!({ "component": self.component, "command": self.command })
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<()> {
        check_component(work, &self.at, &self.component).await?;
        let program = self.command.first().map_or("a terminal", String::as_str);
        let message = format!("{} ran {program} in {}", work.actor(), self.component);
        work.event(EventKind::CommandRun, self.scope(), message).component = Some(self.component.clone());
        Ok(())
    }
}

/// Follows the events of a scope.
#[derive(Debug, Clone)]
pub struct ReadEvents {
    /// The scope.
    pub scope: Scope,
}

#[async_trait]
impl Action for ReadEvents {
    type Output = ();
    const NAME: &'static str = "events.read";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::EVENTS_READ
    }

    fn scope(&self) -> Scope {
        self.scope.clone()
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, _: &mut Work<'_>) -> Result<()> {
        Ok(())
    }
}
