//! Releases: made, returned to, aborted, looked at.

use axum::extract::State;
use axum::response::Response;
use futures::StreamExt as _;
use paas_core::action::{
    AbortRelease, Deploy, DeployApp, Diff, DiffReleases, GetRelease, ListPage, ListReleases, PauseRelease,
    ReleaseStarted, ReleaseSummary, RestartApp, ResumeRelease, RetryRelease, Rollback, RollbackApp,
};
use paas_core::engine::Progress;
use paas_core::model::{Release, ReleaseNumber};
use paas_core::{AppEnv, AppName, EnvName, OrgName};
use serde::Deserialize;

use super::Service;
use super::answer::{Answer, Outcome};
use super::app::here;
use super::auth::Caller;
use super::extract::{JsonBody, Names, Query};
use super::operation::{Routes, get, post};
use super::sse::{self, Message};
use crate::rest::PREFIX;
use crate::rest::change::{Abort, Selection};
use crate::rest::page::Paging;
use crate::rest::problem::Problem;

const TAG: &str = "releases";

#[derive(Deserialize)]
pub struct ReleasePath {
    org: OrgName,
    env: EnvName,
    app: AppName,
    number: ReleaseNumber,
}

#[derive(Deserialize)]
pub struct DiffPath {
    org: OrgName,
    env: EnvName,
    app: AppName,
    from: ReleaseNumber,
    to: ReleaseNumber,
}

pub fn routes(routes: Routes) -> Routes {
    routes
        .add(
            post(&here("/releases"), TAG, "deploy", "Releases a specification, new images, or what runs now")
                .if_match()
                .body::<Deploy>()
                .gives::<ReleaseStarted>(202, "The release has begun, or waits for its turn."),
            deploy,
        )
        .add(
            get(&here("/releases"), TAG, "listReleases", "The history, the newest release first")
                .query::<Paging>()
                .gives::<ListPage<ReleaseSummary>>(200, "A page of releases."),
            list,
        )
        .add(
            get(&here("/releases/{number}"), TAG, "getRelease", "A release, whole")
                .gives::<Release>(200, "The release."),
            show,
        )
        .add(
            get(&here("/releases/{number}/stream"), TAG, "followRelease", "A release, until its end")
                .about(
                    "Server-sent events: of the kind `status` the state of the application each time it changes, and last \
                     one of the kind `end` with the release's outcome.",
                )
                .gives_events("The states and the outcome."),
            follow,
        )
        .add(
            get(&here("/releases/{from}/diff/{to}"), TAG, "diffReleases", "What two releases differ in")
                .about("Of secrets, only names and versions.")
                .gives::<Diff>(200, "Every field that differs."),
            diff,
        )
        .add(
            post(&here("/rollback"), TAG, "rollback", "Returns to an earlier release")
                .if_match()
                .body::<Rollback>()
                .gives::<ReleaseStarted>(202, "The release has begun, or waits for its turn."),
            rollback,
        )
        .add(
            post(&here("/restart"), TAG, "restart", "Renews all instances, as a release")
                .body::<Selection>()
                .gives::<ReleaseStarted>(202, "The release has begun, or waits for its turn."),
            restart,
        )
        .add(
            post(&here("/abort"), TAG, "abort", "Stops the release under way and returns to the one before")
                .body::<Abort>()
                .gives_nothing(204, "It is being aborted."),
            abort,
        )
        .add(
            post(&here("/retry"), TAG, "retry", "Tries the held release again").gives_nothing(204, "It goes on."),
            retry,
        )
        .add(
            post(&here("/pause"), TAG, "pause", "Holds the release under way").gives_nothing(204, "It is held."),
            pause,
        )
        .add(
            post(&here("/resume"), TAG, "resume", "Goes on with a paused release").gives_nothing(204, "It goes on."),
            resume,
        )
}

fn begun(started: ReleaseStarted) -> Answer<ReleaseStarted> {
    let AppEnv { org, env, app } = &started.at;
    let location = format!("{PREFIX}/orgs/{org}/envs/{env}/apps/{app}/releases/{}", started.number);
    Answer::ok(started).accepted().at(location)
}

async fn deploy(
    caller: Caller,
    Names(at): Names<AppEnv>,
    JsonBody(deploy): JsonBody<Deploy>,
) -> Outcome<ReleaseStarted> {
    Ok(begun(caller.perform(DeployApp { at, deploy }).await?))
}

async fn list(
    caller: Caller,
    Names(at): Names<AppEnv>,
    Query(paging): Query<Paging>,
) -> Outcome<ListPage<ReleaseSummary>> {
    Ok(Answer::ok(caller.perform(ListReleases { at, page: paging.into() }).await?))
}

async fn show(caller: Caller, Names(path): Names<ReleasePath>) -> Outcome<Release> {
    let at = AppEnv { org: path.org, env: path.env, app: path.app };
    Ok(Answer::ok(caller.perform(GetRelease { at, number: path.number }).await?))
}

async fn follow(
    State(service): State<Service>,
    caller: Caller,
    Names(path): Names<ReleasePath>,
) -> Result<Response, Problem> {
    let at = AppEnv { org: path.org, env: path.env, app: path.app };
    let progress = caller.session().follow_release(&at, path.number).await?;
    let messages = progress.map(|progress| {
        progress.map(|progress| {
            let kind = if matches!(progress, Progress::Ended { .. }) { "end" } else { "status" };
            Message::new(kind, progress)
        })
    });
    Ok(sse::answer(&service, messages))
}

async fn diff(caller: Caller, Names(path): Names<DiffPath>) -> Outcome<Diff> {
    let at = AppEnv { org: path.org, env: path.env, app: path.app };
    Ok(Answer::ok(caller.perform(DiffReleases { at, from: path.from, to: path.to }).await?))
}

async fn rollback(
    caller: Caller,
    Names(at): Names<AppEnv>,
    JsonBody(rollback): JsonBody<Rollback>,
) -> Outcome<ReleaseStarted> {
    Ok(begun(caller.perform(RollbackApp { at, rollback }).await?))
}

async fn restart(
    caller: Caller,
    Names(at): Names<AppEnv>,
    JsonBody(selection): JsonBody<Selection>,
) -> Outcome<ReleaseStarted> {
    Ok(begun(caller.perform(RestartApp { at, component: selection.component }).await?))
}

async fn abort(caller: Caller, Names(at): Names<AppEnv>, JsonBody(abort): JsonBody<Abort>) -> Outcome<()> {
    caller.perform(AbortRelease { at, reason: abort.reason }).await?;
    Ok(Answer::nothing())
}

async fn retry(caller: Caller, Names(at): Names<AppEnv>) -> Outcome<()> {
    caller.perform(RetryRelease { at }).await?;
    Ok(Answer::nothing())
}

async fn pause(caller: Caller, Names(at): Names<AppEnv>) -> Outcome<()> {
    caller.perform(PauseRelease { at }).await?;
    Ok(Answer::nothing())
}

async fn resume(caller: Caller, Names(at): Names<AppEnv>) -> Outcome<()> {
    caller.perform(ResumeRelease { at }).await?;
    Ok(Answer::nothing())
}
