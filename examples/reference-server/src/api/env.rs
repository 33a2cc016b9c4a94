//! Environments.

use paas_core::EnvRef;
use paas_core::action::{
    CreateEnv, DeleteEnv, EnvChange, EnvInfo, GetEnv, ListEnvs, ListPage, ListStatus, NewEnv, UpdateEnv,
    Versioned,
};
use paas_core::engine::AppStatus;
use paas_core::model::Environment;

use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::extract::{JsonBody, Names, Query};
use super::operation::{Routes, delete, get, patch, post};
use super::org;
use crate::rest::PREFIX;
use crate::rest::page::Paging;

const TAG: &str = "environments";

pub fn routes(routes: Routes) -> Routes {
    routes
        .add(
            get(
                "/orgs/{org}/envs",
                TAG,
                "listEnvs",
                "Environments of an organisation that the caller may see",
            )
            .query::<Paging>()
            .gives::<ListPage<Versioned<EnvInfo>>>(200, "A page of environments."),
            list,
        )
        .add(
            post("/orgs/{org}/envs", TAG, "createEnv", "Makes an environment")
                .body::<NewEnv>()
                .gives::<Versioned<Environment>>(201, "The environment.")
                .tagged(),
            create,
        )
        .add(
            get("/orgs/{org}/envs/{env}", TAG, "getEnv", "An environment")
                .gives::<Versioned<EnvInfo>>(200, "The environment.")
                .tagged(),
            show,
        )
        .add(
            patch("/orgs/{org}/envs/{env}", TAG, "updateEnv", "Changes an environment")
                .if_match()
                .body::<EnvChange>()
                .gives::<Versioned<Environment>>(200, "The environment.")
                .tagged(),
            update,
        )
        .add(
            delete("/orgs/{org}/envs/{env}", TAG, "deleteEnv", "Deletes an environment that is empty")
                .if_match()
                .gives_nothing(204, "It is gone."),
            remove,
        )
        .add(
            get(
                "/orgs/{org}/envs/{env}/apps",
                TAG,
                "listStatus",
                "How the applications in an environment are",
            )
            .query::<Paging>()
            .gives::<ListPage<AppStatus>>(200, "A page of applications."),
            list_status,
        )
}

async fn list(
    caller: Caller,
    Names(path): Names<org::Path>,
    Query(paging): Query<Paging>,
) -> Outcome<ListPage<Versioned<EnvInfo>>> {
    Ok(Answer::ok(caller.perform(ListEnvs { org: path.org, page: paging.into() }).await?))
}

async fn create(
    caller: Caller,
    Names(path): Names<org::Path>,
    JsonBody(new): JsonBody<NewEnv>,
) -> Outcome<Versioned<Environment>> {
    let env = caller.perform(CreateEnv { org: path.org, new }).await?;
    let location = format!("{PREFIX}/orgs/{}/envs/{}", env.value.org, env.value.name);
    Ok(Answer::versioned(env).created().at(location))
}

async fn show(caller: Caller, Names(env): Names<EnvRef>) -> Outcome<Versioned<EnvInfo>> {
    Ok(Answer::versioned(caller.perform(GetEnv { env }).await?))
}

async fn update(
    caller: Caller,
    Names(env): Names<EnvRef>,
    JsonBody(change): JsonBody<EnvChange>,
) -> Outcome<Versioned<Environment>> {
    Ok(Answer::versioned(caller.perform(UpdateEnv { env, change }).await?))
}

async fn remove(caller: Caller, Names(env): Names<EnvRef>) -> Outcome<()> {
    caller.perform(DeleteEnv { env }).await?;
    Ok(Answer::nothing())
}

async fn list_status(
    caller: Caller,
    Names(env): Names<EnvRef>,
    Query(paging): Query<Paging>,
) -> Outcome<ListPage<AppStatus>> {
    Ok(Answer::ok(caller.perform(ListStatus { env, page: paging.into() }).await?))
}
