//! Clusters.

use paas_core::ClusterName;
use paas_core::action::{
    AddCluster, ClusterChange, ClusterRemoval, ClusterView, GetCluster, ListClusters, ListPage, NewCluster,
    PreviewRemoveCluster, RemoveCluster, UpdateCluster, Versioned,
};
use paas_core::port::SecretValue;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::extract::{Names, PrivateBody, Query};
use super::operation::{Routes, delete, get, patch, post};
use crate::rest::PREFIX;
use crate::rest::cluster::{AddedCluster, ChangedCluster};
use crate::rest::page::Paging;

const TAG: &str = "clusters";

#[derive(Deserialize)]
pub struct Path {
    pub cluster: ClusterName,
}

/// What a removal asks for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveQuery {
    /// Forgets what is left there, for a cluster that never comes back.
    #[serde(default)]
    force: bool,
}

pub fn routes(routes: Routes) -> Routes {
    routes
        .add(
            get("/clusters", TAG, "listClusters", "Clusters that the caller may see")
                .about("First those that the server is built with. None is asked how it is.")
                .query::<Paging>()
                .gives::<ListPage<Versioned<ClusterView>>>(200, "A page of clusters."),
            list,
        )
        .add(
            post("/clusters", TAG, "addCluster", "Adds a cluster")
                .about("It must answer, unless `unreachable` says that it may be away.")
                .body::<AddedCluster>()
                .gives::<Versioned<ClusterView>>(201, "The cluster.")
                .tagged(),
            add,
        )
        .add(
            get("/clusters/{cluster}", TAG, "getCluster", "A cluster, which is asked how it is")
                .gives::<Versioned<ClusterView>>(200, "The cluster.")
                .tagged(),
            show,
        )
        .add(
            patch("/clusters/{cluster}", TAG, "updateCluster", "Changes a cluster")
                .if_match()
                .body::<ChangedCluster>()
                .gives::<Versioned<ClusterView>>(200, "The cluster.")
                .tagged(),
            update,
        )
        .add(
            delete(
                "/clusters/{cluster}",
                TAG,
                "removeCluster",
                "Removes a cluster that no environment targets",
            )
            .about("Nothing may be left to take away there, unless `force` gives it up.")
            .if_match()
            .query::<RemoveQuery>()
            .gives_nothing(204, "It is gone."),
            remove,
        )
        .add(
            get(
                "/clusters/{cluster}/removal",
                TAG,
                "previewRemoveCluster",
                "What stands in the way of removing a cluster, and would be left behind there",
            )
            .gives::<ClusterRemoval>(200, "What is still there."),
            removal,
        )
}

async fn list(caller: Caller, Query(paging): Query<Paging>) -> Outcome<ListPage<Versioned<ClusterView>>> {
    Ok(Answer::ok(caller.perform(ListClusters { page: paging.into() }).await?))
}

async fn add(
    caller: Caller,
    PrivateBody(body): PrivateBody<AddedCluster>,
) -> Outcome<Versioned<ClusterView>> {
    let new = NewCluster {
        name: body.name,
        kind: body.kind,
        region: body.region,
        labels: body.labels,
        config: Value::Object(body.config),
    };
    let credentials = body.credentials.map(SecretValue::new);
    let cluster = caller.perform(AddCluster { new, credentials, unreachable: body.unreachable }).await?;
    let location = format!("{PREFIX}/clusters/{}", cluster.value.name);
    Ok(Answer::versioned(cluster).created().at(location))
}

async fn show(caller: Caller, Names(path): Names<Path>) -> Outcome<Versioned<ClusterView>> {
    Ok(Answer::versioned(caller.perform(GetCluster { cluster: path.cluster }).await?))
}

async fn update(
    caller: Caller,
    Names(path): Names<Path>,
    PrivateBody(body): PrivateBody<ChangedCluster>,
) -> Outcome<Versioned<ClusterView>> {
    let change =
        ClusterChange { region: body.region, labels: body.labels, config: body.config.map(Value::Object) };
    let action = UpdateCluster {
        cluster: path.cluster,
        change,
        credentials: body.credentials.map(SecretValue::new),
        unreachable: body.unreachable,
    };
    Ok(Answer::versioned(caller.perform(action).await?))
}

async fn removal(caller: Caller, Names(path): Names<Path>) -> Outcome<ClusterRemoval> {
    Ok(Answer::ok(caller.perform(PreviewRemoveCluster { cluster: path.cluster }).await?))
}

async fn remove(caller: Caller, Names(path): Names<Path>, Query(query): Query<RemoveQuery>) -> Outcome<()> {
    caller.perform(RemoveCluster { cluster: path.cluster, force: query.force }).await?;
    Ok(Answer::nothing())
}
