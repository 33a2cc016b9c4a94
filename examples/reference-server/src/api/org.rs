//! Organisations.

use paas_core::OrgName;
use paas_core::action::{
    CreateOrg, DeleteOrg, GetOrg, ListOrgs, ListPage, NewOrg, OrgChange, UpdateOrg, Versioned,
};
use paas_core::model::Organization;
use serde::Deserialize;

use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::extract::{JsonBody, Names, Query};
use super::operation::{Routes, delete, get, patch, post};
use crate::rest::PREFIX;
use crate::rest::page::Paging;

const TAG: &str = "organisations";

#[derive(Deserialize)]
pub struct Path {
    pub org: OrgName,
}

pub fn routes(routes: Routes) -> Routes {
    routes
        .add(
            get("/orgs", TAG, "listOrgs", "Organisations that the caller may see")
                .query::<Paging>()
                .gives::<ListPage<Versioned<Organization>>>(200, "A page of organisations."),
            list,
        )
        .add(
            post("/orgs", TAG, "createOrg", "Makes an organisation")
                .body::<NewOrg>()
                .gives::<Versioned<Organization>>(201, "The organisation.")
                .tagged(),
            create,
        )
        .add(
            get("/orgs/{org}", TAG, "getOrg", "An organisation")
                .gives::<Versioned<Organization>>(200, "The organisation.")
                .tagged(),
            show,
        )
        .add(
            patch("/orgs/{org}", TAG, "updateOrg", "Changes an organisation")
                .if_match()
                .body::<OrgChange>()
                .gives::<Versioned<Organization>>(200, "The organisation.")
                .tagged(),
            update,
        )
        .add(
            delete("/orgs/{org}", TAG, "deleteOrg", "Deletes an organisation that is empty")
                .if_match()
                .gives_nothing(204, "It is gone."),
            remove,
        )
}

async fn list(caller: Caller, Query(paging): Query<Paging>) -> Outcome<ListPage<Versioned<Organization>>> {
    Ok(Answer::ok(caller.perform(ListOrgs { page: paging.into() }).await?))
}

async fn create(caller: Caller, JsonBody(new): JsonBody<NewOrg>) -> Outcome<Versioned<Organization>> {
    let org = caller.perform(CreateOrg(new)).await?;
    let location = format!("{PREFIX}/orgs/{}", org.value.name);
    Ok(Answer::versioned(org).created().at(location))
}

async fn show(caller: Caller, Names(path): Names<Path>) -> Outcome<Versioned<Organization>> {
    Ok(Answer::versioned(caller.perform(GetOrg { org: path.org }).await?))
}

async fn update(
    caller: Caller,
    Names(path): Names<Path>,
    JsonBody(change): JsonBody<OrgChange>,
) -> Outcome<Versioned<Organization>> {
    Ok(Answer::versioned(caller.perform(UpdateOrg { org: path.org, change }).await?))
}

async fn remove(caller: Caller, Names(path): Names<Path>) -> Outcome<()> {
    caller.perform(DeleteOrg { org: path.org }).await?;
    Ok(Answer::nothing())
}
