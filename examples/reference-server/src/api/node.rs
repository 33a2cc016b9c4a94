//! The machines of clusters, and what instances use.

use std::time::Duration;

use paas_core::engine::AppUsage;
use paas_core::port::DrainReport;
use paas_core::{AppEnv, ClusterName};
use serde::Deserialize;

use super::answer::{Answer, Outcome};
use super::app::here;
use super::auth::Caller;
use super::extract::{JsonBody, Names};
use super::operation::{Routes, get, post};
use crate::rest::cluster::{Drain, NodeList};

const TAG: &str = "clusters";

#[derive(Deserialize)]
struct ClusterPath {
    cluster: ClusterName,
}

#[derive(Deserialize)]
struct NodePath {
    cluster: ClusterName,
    node: String,
}

pub fn routes(routes: Routes) -> Routes {
    routes
        .add(
            get("/clusters/{cluster}/nodes", TAG, "listNodes", "The machines of a cluster")
                .gives::<NodeList>(200, "The machines, by name."),
            list,
        )
        .add(
            post("/clusters/{cluster}/nodes/{node}/cordon", TAG, "cordonNode", "Keeps new instances away")
                .about("What runs on the machine goes on.")
                .gives_nothing(204, "It takes no new instances."),
            cordon,
        )
        .add(
            post("/clusters/{cluster}/nodes/{node}/uncordon", TAG, "uncordonNode", "Lets instances come again")
                .gives_nothing(204, "It takes new instances."),
            uncordon,
        )
        .add(
            post("/clusters/{cluster}/nodes/{node}/drain", TAG, "drainNode", "Empties a machine")
                .about(
                    "Keeps new instances away, and lets those of this platform leave, as their budgets of disruption allow. \
                     It answers when all went, or when the time is over.",
                )
                .body::<Drain>()
                .gives::<DrainReport>(200, "Who went, and who did not."),
            drain,
        )
        .add(
            get(&here("/usage"), "applications", "getUsage", "What the instances use now")
                .gives::<AppUsage>(200, "What each uses; clusters that do not tell are named."),
            usage,
        )
}

async fn list(caller: Caller, Names(path): Names<ClusterPath>) -> Outcome<NodeList> {
    Ok(Answer::ok(NodeList { items: caller.session().nodes(&path.cluster).await? }))
}

async fn cordon(caller: Caller, Names(path): Names<NodePath>) -> Outcome<()> {
    caller.session().cordon(&path.cluster, &path.node, true).await?;
    Ok(Answer::nothing())
}

async fn uncordon(caller: Caller, Names(path): Names<NodePath>) -> Outcome<()> {
    caller.session().cordon(&path.cluster, &path.node, false).await?;
    Ok(Answer::nothing())
}

async fn drain(
    caller: Caller,
    Names(path): Names<NodePath>,
    JsonBody(body): JsonBody<Drain>,
) -> Outcome<DrainReport> {
    let patience = Duration::from_secs(body.timeout_seconds.into());
    Ok(Answer::ok(caller.session().drain(&path.cluster, &path.node, patience).await?))
}

async fn usage(caller: Caller, Names(at): Names<AppEnv>) -> Outcome<AppUsage> {
    Ok(Answer::ok(caller.session().usage(&at).await?))
}
