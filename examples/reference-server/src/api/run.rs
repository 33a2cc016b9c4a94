//! One-off commands, and runs of scheduled jobs.

use axum::extract::State;
use axum::response::Response;
use paas_core::action::{GetRun, ListPage, ListRuns, RunCommand, StopRun};
use paas_core::engine::RunRecord;
use paas_core::port::InstanceId;
use paas_core::{AppEnv, AppName, EnvName, OrgName};
use serde::Deserialize;

use super::Service;
use super::answer::{Answer, Outcome};
use super::app::here;
use super::auth::Caller;
use super::exec::{Upgrade, options, upgraded};
use super::extract::{JsonBody, Names, Query};
use super::logs::InstanceName;
use super::operation::{Routes, delete, get, post};
use crate::rest::PREFIX;
use crate::rest::change::NewRun;
use crate::rest::exec::Start;
use crate::rest::page::Paging;

const TAG: &str = "commands";

#[derive(Deserialize)]
pub struct RunPath {
    org: OrgName,
    env: EnvName,
    app: AppName,
    run: InstanceName,
}

impl RunPath {
    fn split(self) -> (AppEnv, InstanceId) {
        (AppEnv { org: self.org, env: self.env, app: self.app }, InstanceId(self.run.0))
    }
}

pub fn routes(routes: Routes) -> Routes {
    routes
        .add(
            post(&here("/runs"), TAG, "run", "Runs a command, or a scheduled job now, in an instance of its own, once")
                .body::<NewRun>()
                .gives::<RunRecord>(202, "The run; it starts at once."),
            run,
        )
        .add(
            get(&here("/runs"), TAG, "listRuns", "Runs of scheduled jobs and one-off commands: those under way, and the last ones")
                .query::<Paging>()
                .gives::<ListPage<RunRecord>>(200, "A page of runs."),
            list,
        )
        .add(get(&here("/runs/{run}"), TAG, "getRun", "A run").gives::<RunRecord>(200, "The run."), show)
        .add(
            delete(&here("/runs/{run}"), TAG, "stopRun", "Stops a run if it is still under way")
                .gives_nothing(204, "It is being stopped."),
            stop,
        )
        .add(
            get(&here("/runs/{run}/attach"), TAG, "attachRun", "The input and output of a run")
                .about(
                    "A WebSocket as for `exec`; the start has no command, and `stdin` and `terminal` only for a run that was \
                     started with them. Such a run ends when the caller leaves, and is attached to once; any other goes on.",
                )
                .gives_nothing(101, "The WebSocket is open.")
                .fails(&[426]),
            attach,
        )
}

async fn run(
    caller: Caller,
    Names(at): Names<AppEnv>,
    JsonBody(new): JsonBody<NewRun>,
) -> Outcome<RunRecord> {
    let AppEnv { org, env, app } = at.clone();
    let run = caller
        .perform(RunCommand { at, component: new.component, command: new.command, input: new.input })
        .await?;
    let location = format!("{PREFIX}/orgs/{org}/envs/{env}/apps/{app}/runs/{}", run.id);
    Ok(Answer::ok(run).accepted().at(location))
}

async fn list(
    caller: Caller,
    Names(at): Names<AppEnv>,
    Query(paging): Query<Paging>,
) -> Outcome<ListPage<RunRecord>> {
    Ok(Answer::ok(caller.perform(ListRuns { at, page: paging.into() }).await?))
}

async fn show(caller: Caller, Names(path): Names<RunPath>) -> Outcome<RunRecord> {
    let (at, id) = path.split();
    Ok(Answer::ok(caller.perform(GetRun { at, id }).await?))
}

async fn stop(caller: Caller, Names(path): Names<RunPath>) -> Outcome<()> {
    let (at, id) = path.split();
    caller.perform(StopRun { at, id }).await?;
    Ok(Answer::nothing())
}

async fn attach(
    State(service): State<Service>,
    caller: Caller,
    Names(path): Names<RunPath>,
    upgrade: Upgrade,
) -> Response {
    let (at, id) = path.split();
    upgraded(&service, upgrade, |start: Start| async move {
        caller.session().attach(&at, &id, options(Start { command: Vec::new(), ..start })).await
    })
}
