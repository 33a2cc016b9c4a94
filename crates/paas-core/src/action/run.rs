//! One-off commands: a run with a component's image, configuration and limits, beside its instances. Runs of scheduled jobs
//! are runs of the same kind.

use async_trait::async_trait;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::deploy::rollout;
use super::{Action, Effect, ListPage, PageOptions, Work};
use crate::engine::{EventKind, Record as _, RunOrigin, RunRecord, ScheduleRecord, Stored};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::model::{Component, ComponentKind, Overlap, Target};
use crate::name::{AppEnv, ComponentName};
use crate::port::{InstanceId, Permission, RunInput, Scope};
use crate::tenancy::permissions;

/// How many runs of an application in an environment may be under way.
const RUNS_MAX: usize = 20;
/// How long a run with input or a terminal waits for whoever asked for it.
const EXPECTED: SignedDuration = SignedDuration::from_mins(5);
/// How long one goes on without word from whoever is attached to it. That comes several times in between.
pub(crate) const ATTENDED: SignedDuration = SignedDuration::from_secs(90);

/// Starts a one-off command. It is started by the reconcilers as soon as they see it, and removed after its end.
///
/// Without a command, and of a scheduled job, it is a run as its schedule makes them, only now: it is kept with the others, and
/// what the schedule says of overlap holds for it.
#[derive(Debug, Clone)]
pub struct RunCommand {
    /// Where.
    pub at: AppEnv,
    /// Whose image, configuration and limits it has.
    pub component: ComponentName,
    /// The command; the component's own if absent.
    pub command: Option<Vec<String>>,
    /// What its standard input is. With input or a terminal it is for one attachment, and ends with that.
    pub input: RunInput,
}

#[async_trait]
impl Action for RunCommand {
    type Output = RunRecord;
    const NAME: &'static str = "exec.start_run";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::EXEC_RUN
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn validate(&self, faults: &mut Vec<Fault>) {
        if self.command.as_ref().is_some_and(Vec::is_empty) {
            faults
                .push(Fault::new("command", "has no word; leave it out to run the component's own command"));
        }
    }

    /// The program without its arguments, which may hold anything.
    fn detail(&self) -> Value {
        json!({ "component": self.component, "program": self.command.as_ref().and_then(|it| it.first()) })
    }

    fn input(&self) -> Value {
        json!({ "component": self.component, "command": self.command, "input": self.input })
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let place = work.live_place(&self.at).await?;
        let Some(current) = place.value.current else {
            return Err(Error::new(ErrorKind::Conflict, "run a command without a current release")
                .with_context("application", &self.at)
                .with_remedy("Deploy the application first, or wait until its first release is done."));
        };
        let release = rollout::load(work, &self.at, current).await?;
        let Some(component) = release.components.get(&self.component) else {
            let names: Vec<&str> = release.components.keys().map(ComponentName::as_str).collect();
            return Err(Error::not_found("component", &self.component)
                .with_context("application", &self.at)
                .with_remedy(format!("The current release has {}.", names.join(", "))));
        };
        let declared = release.version.spec.components.iter().find(|it| it.name == self.component);
        if declared.is_some_and(|it| it.kind == ComponentKind::Manifests) {
            return Err(Error::new(ErrorKind::Unsupported, "run a command with manifests")
                .with_context("component", self.at.component(self.component.clone()))
                .with_remedy(
                    "Add a Job to their objects, or run it in one of their instances by `paas exec`.",
                ));
        }
        let runs = work.collections().children::<RunRecord>(self.at.to_string()).await?;
        let under_way =
            runs.iter().filter(|run| run.value.is_under_way() && !run.value.is_of_schedule()).count();
        let origin = match declared {
            Some(component) if self.command.is_none() && component.kind == ComponentKind::ScheduledJob => {
                self.beside_schedule(work, component, &runs).await?;
                RunOrigin::Manual
            }
            _ => RunOrigin::Command,
        };
        if origin == RunOrigin::Command && under_way >= RUNS_MAX {
            return Err(Error::new(ErrorKind::QuotaExceeded, "run one more command")
                .with_context("application", &self.at)
                .with_context("under way", under_way)
                .with_remedy("Wait until some have ended, or stop them."));
        }
        let env = work.env(&self.at.env_ref()).await?;
        let clusters = work.services().clusters();
        let runs = |target: &&Target| {
            let ports = clusters.get(&target.cluster);
            ports.is_some_and(|ports| {
                let can = ports.runtime.capabilities();
                can.runs && (can.interactive_runs || !self.input.is_interactive())
            })
        };
        let answers = |target: &&Target| !work.services().outages().is_silent(&target.cluster);
        let able = || env.value.targets.iter().filter(runs);
        let Some(target) = able().find(answers).or_else(|| able().next()) else {
            let what = if self.input.is_interactive() {
                "run a command with input on the environment's clusters"
            } else {
                "run a command on the environment's clusters"
            };
            return Err(
                Error::new(ErrorKind::Unsupported, what).with_context("environment", self.at.env_ref())
            );
        };
        let now = work.now();
        let expected = || now.saturating_add(EXPECTED).unwrap_or(now);
        let run = RunRecord {
            id: InstanceId(format!("run-{}", work.services().next_id().simple())),
            track: self.at.component(self.component.clone()).on(target.cluster.clone()),
            revision: component.revision.clone(),
            command: self.command.clone(),
            input: self.input,
            attended_until: self.input.is_interactive().then(expected),
            attached: false,
            origin,
            created_by: work.actor().id().to_owned(),
            created_at: now,
            started_at: None,
            stopping: false,
            ended_at: None,
            exit_code: None,
            failure: None,
            last_lines: Vec::new(),
        };
        work.changes().create(&run)?;
        let program =
            self.command.as_ref().and_then(|it| it.first()).map_or("its own command", String::as_str);
        let message = format!("{} started a run of {program} with {}", work.actor(), self.component);
        work.event(EventKind::CommandRun, self.scope(), message).component = Some(self.component.clone());
        Ok(run)
    }
}

impl RunCommand {
    /// What the schedule of a component says of a run beside those that are under way.
    async fn beside_schedule(
        &self,
        work: &mut Work<'_>,
        component: &Component,
        runs: &[Stored<RunRecord>],
    ) -> Result<()> {
        let key = ScheduleRecord::key_of(&self.at.component(self.component.clone()));
        let schedule = work.need::<ScheduleRecord>(&key, "schedule", &self.component).await?;
        // Whoever makes a run of it now by the clock has read the schedule, and reads it again.
        work.changes().update(&schedule)?;
        let own = |run: &&Stored<RunRecord>| {
            run.value.is_of_schedule()
                && run.value.is_under_way()
                && run.value.track.component.component == component.name
        };
        let under_way: Vec<&Stored<RunRecord>> = runs.iter().filter(own).collect();
        match schedule.value.schedule.overlap {
            Overlap::Forbid => {
                let Some(run) = under_way.first() else { return Ok(()) };
                return Err(Error::new(ErrorKind::Conflict, "run a scheduled job beside itself")
                    .with_context("component", self.at.component(self.component.clone()))
                    .with_context("under way", &run.value.id)
                    .with_remedy(
                        "Wait until it has ended, or stop it; or let its schedule say `overlap: allow`.",
                    ));
            }
            Overlap::Allow if under_way.len() >= RUNS_MAX => {
                return Err(Error::new(ErrorKind::QuotaExceeded, "run a scheduled job once more")
                    .with_context("component", self.at.component(self.component.clone()))
                    .with_context("under way", under_way.len())
                    .with_remedy("Wait until some have ended, or stop them."));
            }
            Overlap::Allow => {}
            Overlap::Replace => {
                for run in under_way.into_iter().filter(|run| !run.value.stopping) {
                    let mut run = run.clone();
                    run.value.stopping = true;
                    run.value.failure =
                        Some(format!("it was replaced by a run that {} asked for", work.actor()));
                    work.changes().update(&run)?;
                }
            }
        }
        Ok(())
    }
}

/// Attaches to a one-off command. It is recorded, without what is typed and printed. One with input or a terminal is
/// attached to once.
#[derive(Debug, Clone)]
pub struct AttachRun {
    /// Where.
    pub at: AppEnv,
    /// Which.
    pub id: InstanceId,
}

#[async_trait]
impl Action for AttachRun {
    type Output = RunRecord;
    const NAME: &'static str = "exec.attach_run";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::EXEC_RUN
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn detail(&self) -> Value {
        json!({ "run": self.id })
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let mut run = work.need::<RunRecord>(&RunRecord::key_of(&self.at, &self.id), "run", &self.id).await?;
        if run.value.input.is_interactive() {
            if run.value.attached {
                return Err(Error::new(ErrorKind::Conflict, "attach to a run a second time")
                    .with_context("run", &self.id)
                    .with_remedy(
                        "One with input or a terminal belongs to whoever attached first; start another.",
                    ));
            }
            let now = work.now();
            run.value.attached = true;
            run.value.attended_until = Some(now.saturating_add(ATTENDED).unwrap_or(now));
            work.changes().update(&run)?;
        }
        let component = &run.value.track.component.component;
        let message = format!("{} attached to a run of {component}", work.actor());
        work.event(EventKind::CommandRun, self.scope(), message).component = Some(component.clone());
        Ok(run.value)
    }
}

/// Shows a one-off command, or a run of a scheduled job.
#[derive(Debug, Clone)]
pub struct GetRun {
    /// Where.
    pub at: AppEnv,
    /// Which.
    pub id: InstanceId,
}

#[async_trait]
impl Action for GetRun {
    type Output = RunRecord;
    const NAME: &'static str = "exec.get_run";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::APP_READ
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let run = work.need::<RunRecord>(&RunRecord::key_of(&self.at, &self.id), "run", &self.id).await?;
        Ok(run.value)
    }
}

/// Lists the one-off commands that are under way or have ended not long ago, and the runs of scheduled jobs: those under way
/// and the last ten that have ended, of each component.
#[derive(Debug, Clone)]
pub struct ListRuns {
    /// Where.
    pub at: AppEnv,
    /// Which part.
    pub page: PageOptions,
}

#[async_trait]
impl Action for ListRuns {
    type Output = ListPage<RunRecord>;
    const NAME: &'static str = "exec.list_runs";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::APP_READ
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let options = self.page.list(RunRecord::KIND, &self.at.to_string(), false)?;
        let page = work.collections().page::<RunRecord>(options).await?;
        Ok(ListPage {
            items: page.items.into_iter().map(|run| run.value).collect(),
            next: page.next.map(|key| key.name),
        })
    }
}

/// Stops a one-off command, or a run of a scheduled job.
#[derive(Debug, Clone)]
pub struct StopRun {
    /// Where.
    pub at: AppEnv,
    /// Which.
    pub id: InstanceId,
}

#[async_trait]
impl Action for StopRun {
    type Output = ();
    const NAME: &'static str = "exec.stop_run";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::EXEC_RUN
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn detail(&self) -> Value {
        json!({ "run": self.id })
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<()> {
        let mut run = work.need::<RunRecord>(&RunRecord::key_of(&self.at, &self.id), "run", &self.id).await?;
        if run.value.stopping || run.value.ended_at.is_some() {
            return Ok(());
        }
        run.value.stopping = true;
        work.changes().update(&run)
    }
}
