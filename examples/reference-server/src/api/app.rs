//! Applications, and what they are in an environment.

use axum::extract::State;
use axum::response::Response;
use futures::StreamExt as _;
use paas_core::action::{
    AppInfo, CreateApp, DeleteApp, DeleteAppEnv, DeletionPreview, GetApp, ListApps, ListPage, NewApp,
    PreviewDelete, ScaleApp, Scaled, StartApp, Status, StopApp, Versioned,
};
use paas_core::engine::{AppRecord, AppStatus};
use paas_core::{AppEnv, AppName, AppRef, ComponentName, EnvName, OrgName};
use schemars::JsonSchema;
use serde::Deserialize;

use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::extract::{JsonBody, Names, Query};
use super::operation::{Routes, delete, get, post, put};
use super::sse::{self, Message};
use super::{Service, follow, org};
use crate::rest::PREFIX;
use crate::rest::change::{Scale, Selection};
use crate::rest::page::Paging;
use crate::rest::problem::Problem;

const TAG: &str = "applications";

/// Where an application in an environment is.
pub const HERE: &str = "/orgs/{org}/envs/{env}/apps/{app}";

/// The path of an operation on an application in an environment.
pub fn here(path: &str) -> String {
    format!("{HERE}{path}")
}

#[derive(Deserialize)]
pub struct ComponentPath {
    pub org: OrgName,
    pub env: EnvName,
    pub app: AppName,
    pub component: ComponentName,
}

impl ComponentPath {
    pub fn split(self) -> (AppEnv, ComponentName) {
        (AppEnv { org: self.org, env: self.env, app: self.app }, self.component)
    }
}

/// What a deletion asks for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// The application's name once more, so that nothing is deleted by a slip.
    confirm: AppName,
}

pub fn routes(routes: Routes) -> Routes {
    routes
        .add(
            get(
                "/orgs/{org}/apps",
                TAG,
                "listApps",
                "Applications of an organisation that the caller may see",
            )
            .query::<Paging>()
            .gives::<ListPage<Versioned<AppRecord>>>(200, "A page of applications."),
            list,
        )
        .add(
            post("/orgs/{org}/apps", TAG, "createApp", "Makes an application")
                .body::<NewApp>()
                .gives::<Versioned<AppRecord>>(201, "The application.")
                .tagged(),
            create,
        )
        .add(
            get("/orgs/{org}/apps/{app}", TAG, "getApp", "An application, and where it is")
                .gives::<Versioned<AppInfo>>(200, "The application.")
                .tagged(),
            show,
        )
        .add(
            delete("/orgs/{org}/apps/{app}", TAG, "deleteApp", "Deletes an application in every environment")
                .query::<Confirmation>()
                .gives::<Vec<DeletionPreview>>(202, "The deletion has begun; what is lost, by environment."),
            remove_everywhere,
        )
        .add(
            get(HERE, TAG, "getStatus", "How an application is in an environment, and why")
                .gives::<AppStatus>(200, "The state with its reasons."),
            status,
        )
        .add(
            get(
                &here("/status/stream"),
                TAG,
                "followStatus",
                "The state of an application, each time it changes",
            )
            .about("Server-sent events of the kind `status`, the state now first.")
            .gives_events("The states."),
            follow_status,
        )
        .add(
            get(&here("/deletion"), TAG, "previewDelete", "What deleting an application would destroy")
                .gives::<DeletionPreview>(200, "What will be lost."),
            preview,
        )
        .add(
            delete(HERE, TAG, "deleteAppEnv", "Deletes an application from an environment")
                .query::<Confirmation>()
                .gives::<DeletionPreview>(202, "The deletion has begun; what is lost."),
            remove,
        )
        .add(
            put(
                &here("/components/{component}/scale"),
                TAG,
                "scale",
                "Changes the number of instances, at once",
            )
            .body::<Scale>()
            .gives::<Scaled>(200, "The numbers before and after."),
            scale,
        )
        .add(
            post(&here("/stop"), TAG, "stop", "Takes an application out of service; everything is kept")
                .body::<Selection>()
                .gives_nothing(204, "It is being stopped."),
            stop,
        )
        .add(
            post(&here("/start"), TAG, "start", "Brings a stopped application back")
                .body::<Selection>()
                .gives_nothing(204, "It is being started."),
            start,
        )
}

async fn list(
    caller: Caller,
    Names(path): Names<org::Path>,
    Query(paging): Query<Paging>,
) -> Outcome<ListPage<Versioned<AppRecord>>> {
    Ok(Answer::ok(caller.perform(ListApps { org: path.org, page: paging.into() }).await?))
}

async fn create(
    caller: Caller,
    Names(path): Names<org::Path>,
    JsonBody(new): JsonBody<NewApp>,
) -> Outcome<Versioned<AppRecord>> {
    let app = caller.perform(CreateApp { org: path.org, new }).await?;
    let location = format!("{PREFIX}/orgs/{}/apps/{}", app.value.org, app.value.name);
    Ok(Answer::versioned(app).created().at(location))
}

async fn show(caller: Caller, Names(app): Names<AppRef>) -> Outcome<Versioned<AppInfo>> {
    Ok(Answer::versioned(caller.perform(GetApp { app }).await?))
}

async fn remove_everywhere(
    caller: Caller,
    Names(app): Names<AppRef>,
    Query(query): Query<Confirmation>,
) -> Outcome<Vec<DeletionPreview>> {
    let lost = caller.perform(DeleteApp { app, confirm: query.confirm.to_string() }).await?;
    Ok(Answer::ok(lost).accepted())
}

async fn status(caller: Caller, Names(at): Names<AppEnv>) -> Outcome<AppStatus> {
    Ok(Answer::ok(caller.perform(Status { at }).await?))
}

async fn follow_status(
    State(service): State<Service>,
    caller: Caller,
    Names(at): Names<AppEnv>,
) -> Result<Response, Problem> {
    let first = caller.perform(Status { at: at.clone() }).await?;
    let states = follow::states(&service, caller.session().clone(), at, first).await?;
    Ok(sse::answer(&service, states.map(|state| state.map(|state| Message::new("status", state)))))
}

async fn preview(caller: Caller, Names(at): Names<AppEnv>) -> Outcome<DeletionPreview> {
    Ok(Answer::ok(caller.perform(PreviewDelete { at }).await?))
}

async fn remove(
    caller: Caller,
    Names(at): Names<AppEnv>,
    Query(query): Query<Confirmation>,
) -> Outcome<DeletionPreview> {
    let lost = caller.perform(DeleteAppEnv { at, confirm: query.confirm.to_string() }).await?;
    Ok(Answer::ok(lost).accepted())
}

async fn scale(
    caller: Caller,
    Names(path): Names<ComponentPath>,
    JsonBody(scale): JsonBody<Scale>,
) -> Outcome<Scaled> {
    let (at, component) = path.split();
    Ok(Answer::ok(caller.perform(ScaleApp { at, component, count: scale.count }).await?))
}

async fn stop(
    caller: Caller,
    Names(at): Names<AppEnv>,
    JsonBody(selection): JsonBody<Selection>,
) -> Outcome<()> {
    caller.perform(StopApp { at, component: selection.component }).await?;
    Ok(Answer::nothing())
}

async fn start(
    caller: Caller,
    Names(at): Names<AppEnv>,
    JsonBody(selection): JsonBody<Selection>,
) -> Outcome<()> {
    caller.perform(StartApp { at, component: selection.component }).await?;
    Ok(Answer::nothing())
}
