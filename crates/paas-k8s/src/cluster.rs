//! A cluster, opened: what its ports share.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Resource};
use paas_core::port::{ClusterPorts, ClusterReport, Epoch, SecretSource};
use paas_core::{EnvRef, Error, ErrorKind, Result, TrackKey};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use crate::build::Builder;
use crate::error::{failed, foreign, is_conflict};
use crate::gateway_api;
use crate::mirror::{Mirrors, noting};
use crate::options::KubernetesOptions;
use crate::probe::Uses;
use crate::router::{Confirmations, Introductions, Turns};
use crate::runtime::ATTEMPTS;
use crate::scheme::{Installation, keys};
use crate::watch::Events;

/// A Kubernetes cluster behind the platform's ports. Clones are the same cluster.
///
/// It follows the cluster in tasks that end when the last clone is dropped.
#[derive(Clone)]
pub struct KubernetesCluster {
    pub(crate) shared: Arc<Shared>,
    _tasks: Arc<Tasks>,
}

impl fmt::Debug for KubernetesCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesCluster")
            .field("cluster", &self.shared.options.cluster)
            .finish_non_exhaustive()
    }
}

/// What the ports share.
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) options: KubernetesOptions,
    pub(crate) secrets: Arc<dyn SecretSource>,
    pub(crate) features: Features,
    pub(crate) events: Events,
    pub(crate) mirrors: Arc<Mirrors>,
    pub(crate) confirmations: Confirmations,
    pub(crate) introductions: Introductions,
    /// Whoever writes the routes of an application.
    pub(crate) turns: Turns,
    /// The spaces that were made or checked since the cluster was opened.
    pub(crate) spaces: Mutex<BTreeSet<EnvRef>>,
    /// The tracks whose requests are shared by several revisions now.
    pub(crate) shared_traffic: Mutex<BTreeSet<TrackKey>>,
}

/// What the cluster has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Features {
    pub(crate) http_routes: bool,
    pub(crate) tcp_routes: bool,
}

/// Ends with the last clone.
struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl KubernetesCluster {
    /// Opens a cluster: finds out what it has, and begins to follow it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the API server does not answer, [`ErrorKind::Unsupported`] if a gateway is
    /// configured and the cluster has no Gateway API.
    pub async fn open(
        client: Client,
        options: KubernetesOptions,
        secrets: Arc<dyn SecretSource>,
    ) -> Result<Self> {
        let features =
            if options.gateway.is_some() { find_features(&client).await? } else { Features::default() };
        if options.gateway.is_some() && !features.http_routes {
            return Err(Error::new(ErrorKind::Unsupported, "open a cluster")
                .with_context("cluster", &options.cluster)
                .with_source("a gateway is configured, and the cluster has no Gateway API")
                .with_remedy("Install the Gateway API and an implementation, or leave the gateway out."));
        }
        let mirrors = Arc::new(Mirrors::default());
        let shared = Arc::new(Shared {
            client: noting(client, &mirrors),
            options,
            secrets,
            features,
            events: Events::default(),
            mirrors,
            confirmations: Confirmations::default(),
            introductions: Introductions::default(),
            turns: Turns::default(),
            spaces: Mutex::default(),
            shared_traffic: Mutex::default(),
        });
        let mut tasks = crate::watch::follow(&shared);
        tasks.push(crate::router::keep(&shared));
        tasks.push(crate::manifests::keep(&shared));
        Ok(Self { shared, _tasks: Arc::new(Tasks(tasks)) })
    }

    /// Its ports, as a platform takes them.
    pub fn ports(&self) -> ClusterPorts {
        let cluster = Arc::new(self.clone());
        ClusterPorts {
            logs: Some(cluster.clone()),
            exec: Some(cluster.clone()),
            metrics: Some(cluster.clone()),
            nodes: Some(cluster.clone()),
            spaces: Some(cluster.clone()),
            ..ClusterPorts::new(cluster.clone(), cluster)
        }
    }

    /// Asks the cluster for its version, and what the account may not do of what the platform does.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] if it lacks a permission that nothing goes without; the error names every one.
    pub async fn probe(&self) -> Result<ClusterReport> {
        let options = &self.shared.options;
        let uses = Uses { routes: options.gateway.is_some(), viewers: !options.space.viewers.is_empty() };
        crate::probe::probe(&self.shared.client, uses).await
    }

    /// The client that everything goes through.
    pub fn client(&self) -> &Client {
        &self.shared.client
    }
}

/// Deletes what was looked at and nothing that somebody made or changed since.
pub(crate) fn exactly(meta: ObjectMeta) -> DeleteParams {
    let looked_at = Preconditions { resource_version: meta.resource_version, uid: meta.uid };
    DeleteParams::default().preconditions(looked_at)
}

/// Lets an apply meet what was looked at and nothing else. By its version alone it would make what somebody has deleted since.
pub(crate) fn meets(meta: &mut ObjectMeta, looked_at: Option<&ObjectMeta>) {
    meta.resource_version = looked_at.and_then(|it| it.resource_version.clone());
    meta.uid = looked_at.and_then(|it| it.uid.clone());
}

async fn find_features(client: &Client) -> Result<Features> {
    let has = async |version: &str, plural: &str| {
        let group_version = format!("{}/{version}", gateway_api::GROUP);
        match client.list_api_group_resources(&group_version).await {
            Ok(found) => Ok(found.resources.iter().any(|it| it.name == plural)),
            Err(error) if crate::error::is_missing(&error) => Ok(false),
            Err(error) => Err(failed("find out what a cluster has", error)),
        }
    };
    Ok(Features {
        http_routes: has("v1", "httproutes").await?,
        tcp_routes: has("v1alpha2", "tcproutes").await?,
    })
}

impl Shared {
    pub(crate) fn installation(&self) -> &Installation {
        &self.options.installation
    }

    pub(crate) fn builder(&self) -> Builder<'_> {
        Builder::new(&self.options)
    }

    pub(crate) fn namespace(&self, at: &EnvRef) -> String {
        self.installation().namespace(at)
    }

    /// Objects of a kind in a namespace.
    pub(crate) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Objects of a kind in every namespace.
    pub(crate) fn everywhere<K>(&self) -> Api<K>
    where
        K: Resource,
        K::DynamicType: Default,
    {
        Api::all(self.client.clone())
    }

    pub(crate) fn posting(&self) -> PostParams {
        PostParams { field_manager: Some(self.installation().field_manager()), ..PostParams::default() }
    }

    pub(crate) fn merging(&self) -> PatchParams {
        PatchParams { field_manager: Some(self.installation().field_manager()), ..PatchParams::default() }
    }

    /// Declares an object whole by server-side apply, unless somebody else made one of the same name.
    ///
    /// The version that was looked at is a precondition: a change in between is a conflict and no overwriting.
    pub(crate) async fn declare<K>(&self, operation: &'static str, mut object: K) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + fmt::Debug + Serialize + DeserializeOwned,
        K: k8s_openapi::Resource,
        K::DynamicType: Default,
    {
        let name = object.meta().name.clone().unwrap_or_default();
        let namespace = object.meta().namespace.clone().unwrap_or_default();
        let api: Api<K> = self.api(&namespace);
        let error = |error| failed(operation, error).with_context("object", format!("{namespace}/{name}"));
        let mut attempts = ATTEMPTS;
        loop {
            let existing = api.get_metadata_opt(&name).await.map_err(error)?;
            if existing.as_ref().is_some_and(|it| !self.installation().owns(&it.metadata)) {
                return Err(foreign(operation, <K as k8s_openapi::Resource>::KIND, &namespace, &name));
            }
            meets(object.meta_mut(), existing.as_ref().map(|it| &it.metadata));
            attempts -= 1;
            match self.apply(&api, &name, &object).await {
                Err(refused) if is_conflict(&refused) && attempts > 0 => {}
                answer => return answer.map_err(error),
            }
        }
    }

    /// Server-side apply by the one field manager.
    pub(crate) async fn apply<K>(&self, api: &Api<K>, name: &str, object: &K) -> kube::Result<K>
    where
        K: Clone + fmt::Debug + Serialize + DeserializeOwned,
    {
        let parameters = PatchParams::apply(&self.installation().field_manager()).force();
        api.patch(name, &parameters, &Patch::Apply(object)).await
    }

    /// Refuses an epoch lower than the one that last changed an object.
    pub(crate) fn fence(&self, operation: &'static str, meta: &ObjectMeta, epoch: Epoch) -> Result<()> {
        let seen = self.epoch_of(meta);
        if epoch < seen {
            return Err(Error::new(ErrorKind::Fenced, operation)
                .with_context("object", meta.name.clone().unwrap_or_default())
                .with_context("epoch", epoch)
                .with_context("seen", seen));
        }
        Ok(())
    }

    /// The epoch that last changed an object.
    pub(crate) fn epoch_of(&self, meta: &ObjectMeta) -> Epoch {
        let annotations = meta.annotations.as_ref();
        Epoch(annotations.and_then(|all| self.installation().read(all, keys::EPOCH)).unwrap_or_default())
    }

    /// Locks one of the small maps; nobody panics with it.
    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
