//! Namespaces, with everything that is in them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use paas_k8s::kube::api::PostParams;
use paas_k8s::kube::{Api, Client};
use tokio::time::{Instant, sleep};

use crate::BOUND;
use crate::nodes::delete_all;

/// Makes one.
pub async fn make(client: &Client, name: &str) -> Result<()> {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.to_owned());
    let made = Api::all(client.clone()).create(&PostParams::default(), &namespace).await;
    made.map(drop).with_context(|| format!("failed to make the namespace {name}"))
}

/// Removes them, and waits until they are gone.
pub async fn remove(client: &Client, names: &[String]) -> Result<()> {
    let api = Api::<Namespace>::all(client.clone());
    delete_all(&api, names).await?;
    let begin = Instant::now();
    for name in names {
        while api.get_metadata_opt(name).await?.is_some() {
            ensure!(begin.elapsed() < BOUND, "the namespace {name} is still there after {BOUND:?}");
            sleep(Duration::from_secs(1)).await;
        }
    }
    Ok(())
}
