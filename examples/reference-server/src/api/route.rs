//! Access points.

use paas_core::action::{AddRoute, GetRoutes, RemoveRoute, RoutesView, SetRoutes};
use paas_core::model::RouteSpec;
use paas_core::{AppEnv, AppName, EnvName, OrgName, RouteName};
use serde::Deserialize;

use super::answer::{Answer, Outcome};
use super::app::here;
use super::auth::Caller;
use super::extract::{JsonBody, Names};
use super::operation::{Routes, delete, get, post, put};
use crate::rest::change::RouteList;

const TAG: &str = "routes";

#[derive(Deserialize)]
pub struct RoutePath {
    org: OrgName,
    env: EnvName,
    app: AppName,
    route: RouteName,
}

pub fn routes(routes: Routes) -> Routes {
    routes
        .add(
            get(&here("/routes"), TAG, "getRoutes", "The access points in force")
                .gives::<RoutesView>(200, "The access points.")
                .tagged(),
            show,
        )
        .add(
            put(&here("/routes"), TAG, "setRoutes", "Replaces all access points, at once")
                .if_match()
                .body::<RouteList>()
                .gives::<RoutesView>(200, "The access points.")
                .tagged(),
            set,
        )
        .add(
            post(&here("/routes"), TAG, "addRoute", "Adds an access point, in force at once")
                .if_match()
                .body::<RouteSpec>()
                .gives::<RoutesView>(201, "The access points.")
                .tagged(),
            add,
        )
        .add(
            delete(&here("/routes/{route}"), TAG, "removeRoute", "Removes an access point, at once")
                .if_match()
                .gives::<RoutesView>(200, "The access points.")
                .tagged(),
            remove,
        )
}

fn tagged(view: RoutesView) -> Answer<RoutesView> {
    let revision = view.revision;
    Answer::ok(view).tagged(revision)
}

async fn show(caller: Caller, Names(at): Names<AppEnv>) -> Outcome<RoutesView> {
    Ok(tagged(caller.perform(GetRoutes { at }).await?))
}

async fn set(
    caller: Caller,
    Names(at): Names<AppEnv>,
    JsonBody(list): JsonBody<RouteList>,
) -> Outcome<RoutesView> {
    Ok(tagged(caller.perform(SetRoutes { at, routes: list.routes }).await?))
}

async fn add(
    caller: Caller,
    Names(at): Names<AppEnv>,
    JsonBody(route): JsonBody<RouteSpec>,
) -> Outcome<RoutesView> {
    Ok(tagged(caller.perform(AddRoute { at, route }).await?).created())
}

async fn remove(caller: Caller, Names(path): Names<RoutePath>) -> Outcome<RoutesView> {
    let at = AppEnv { org: path.org, env: path.env, app: path.app };
    Ok(tagged(caller.perform(RemoveRoute { at, route: path.route }).await?))
}
