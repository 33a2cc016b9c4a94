//! The cluster in which the server itself runs, added by the server: whoever runs it there needs no second step.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use paas_core::action::{
    AddCluster, ClusterChange, ClusterView, GetCluster, ListClusters, NewCluster, PageOptions, UpdateCluster,
};
use paas_core::engine::{Platform, Session};
use paas_core::tenancy::Actor;
use paas_core::{ClusterName, Error, ErrorKind};
use serde_json::{Map, Value};
use tokio::task::JoinHandle;

const KIND: &str = "kubernetes";
/// How long to wait before what failed is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// Adds the cluster, or gives it the options that are declared now. What cannot be done at once is tried again by the task that
/// is returned: a cluster that does not answer keeps no server from starting.
///
/// # Errors
/// If the options cannot be read, or are not those of a cluster.
pub async fn declare(
    platform: &Platform,
    cluster: &ClusterName,
    options: Option<&Path>,
) -> Result<JoinHandle<()>> {
    let config = options.map(read).transpose()?.unwrap_or_else(|| Value::Object(Map::new()));
    let session = platform.session(Actor::system());
    let first = put(&session, cluster, &config).await;
    if let Err(error) = &first
        && error.kind() == ErrorKind::Invalid
    {
        bail!("--in-cluster {cluster}: {}", error.report());
    }
    let cluster = cluster.clone();
    Ok(tokio::spawn(async move {
        let mut outcome = first;
        while let Err(error) = outcome {
            tracing::warn!(%cluster, error = %error.report(), "cannot add the cluster that the server runs in");
            tokio::time::sleep(AGAIN).await;
            outcome = put(&session, &cluster, &config).await;
        }
        // What the account lacks is said now, and not only when an application needs it.
        match session.perform(GetCluster { cluster: cluster.clone() }).await {
            Ok(found) => {
                if let Some(reason) = &found.value.reason {
                    tracing::warn!(%cluster, reason, "the cluster that the server runs in cannot be used as it is");
                }
                for limitation in found.value.report.iter().flat_map(|report| &report.limitations) {
                    tracing::info!(%cluster, limitation);
                }
            }
            Err(error) => {
                tracing::warn!(%cluster, error = %error.report(), "cannot look at the cluster that the server runs in");
            }
        }
    }))
}

/// Declares the cluster. It need not answer for that: that it does not is shown by `paas cluster show`.
async fn put(session: &Session, cluster: &ClusterName, config: &Value) -> Result<(), Error> {
    match find(session, cluster).await? {
        Some(found) if found.kind != KIND => {
            Err(Error::new(ErrorKind::Conflict, "add the server's own cluster")
                .with_context("cluster", cluster)
                .with_source(format!("a cluster of this name exists, of the kind {}", found.kind))
                .with_remedy("Name another one with --in-cluster."))
        }
        Some(found) if found.config == *config => Ok(()),
        Some(_) => {
            let change = ClusterChange { config: Some(config.clone()), ..ClusterChange::default() };
            let action =
                UpdateCluster { cluster: cluster.clone(), change, credentials: None, unreachable: true };
            session.perform(action).await.map(drop)
        }
        None => {
            let new = NewCluster {
                name: cluster.clone(),
                kind: KIND.to_owned(),
                region: None,
                labels: std::collections::BTreeMap::new(),
                config: config.clone(),
            };
            match session.perform(AddCluster { new, credentials: None, unreachable: true }).await {
                // Another server that starts now was first.
                Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
                _ => Ok(()),
            }
        }
    }
}

/// Finds a cluster without asking it anything: it may be slow to answer.
async fn find(session: &Session, cluster: &ClusterName) -> Result<Option<ClusterView>, Error> {
    let mut page = PageOptions::default();
    loop {
        let found = session.perform(ListClusters { page: page.clone() }).await?;
        if let Some(found) = found.items.into_iter().find(|found| found.value.name == *cluster) {
            return Ok(Some(found.value));
        }
        match found.next {
            Some(next) => page.after = Some(next),
            None => return Ok(None),
        }
    }
}

/// The options of a file, in YAML, of which JSON is a part. An empty file has none.
fn read(file: &Path) -> Result<Value> {
    let text = fs::read_to_string(file)
        .with_context(|| format!("--in-cluster-options: failed to read {}", file.display()))?;
    let parsed: Value = serde_saphyr::from_str(&text)
        .with_context(|| format!("--in-cluster-options: {} is no YAML", file.display()))?;
    match parsed {
        Value::Object(_) => Ok(parsed),
        Value::Null => Ok(Value::Object(Map::new())),
        _ => bail!("--in-cluster-options: {} holds no map of options", file.display()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use paas_core::memory::MemoryStore;
    use paas_core::port::Store;
    use paas_k8s::KubernetesDriver;
    use serde_json::json;

    use super::*;

    async fn platform() -> Platform {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let driver = KubernetesDriver::new("paas.example.org").unwrap();
        Platform::in_memory().store(store).driver(Arc::new(driver)).build().await.unwrap()
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    async fn config(platform: &Platform, cluster: &ClusterName) -> Value {
        let session = platform.session(Actor::system());
        session.perform(GetCluster { cluster: cluster.clone() }).await.unwrap().value.config
    }

    #[tokio::test]
    async fn the_cluster_is_added_and_each_start_gives_it_the_options_of_its_file() {
        let (platform, cluster) = (platform().await, "here".parse().unwrap());
        for domain in ["apps.example", "other.example"] {
            let text = format!("gateway: {{ namespace: infra, name: public, domain: {domain} }}\n");
            let options = file(&text);
            declare(&platform, &cluster, Some(options.path())).await.unwrap().abort();
            assert_eq!(config(&platform, &cluster).await["gateway"]["domain"], domain);
        }
        let empty = file("# nothing\n");
        declare(&platform, &cluster, Some(empty.path())).await.unwrap().abort();
        assert_eq!(config(&platform, &cluster).await, json!({}));
    }

    #[tokio::test]
    async fn options_that_are_wrong_keep_the_server_from_starting() {
        let (platform, cluster) = (platform().await, "here".parse().unwrap());
        for (text, wanted) in [("gatway: {}", "gatway"), ("[]", "no map"), ("{", "no YAML")] {
            let options = file(text);
            let error = declare(&platform, &cluster, Some(options.path())).await.unwrap_err();
            assert!(format!("{error:#}").contains(wanted), "{text}: {error:#}");
        }
    }

    #[tokio::test]
    async fn a_name_that_the_server_is_built_with_is_told_and_stops_nothing() {
        let platform = platform().await;
        let outcome = put(&platform.session(Actor::system()), &ClusterName::local(), &json!({})).await;
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Conflict);
    }
}
