//! Spaces: a namespace for each organisation and environment, with its bounds.

use std::fmt;

use async_trait::async_trait;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::{Api, Resource};
use paas_core::port::{Drift, Epoch, Spaces};
use paas_core::{EnvRef, Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cluster::{KubernetesCluster, Shared};
use crate::error::{failed, foreign};
use crate::scheme::keys;

const OPERATION: &str = "make an environment's space";

/// They are not fenced: what is declared of a space follows from the cluster's options alone, so that every server writes the
/// same, and whether an environment is gone is read from the store right before its space is removed.
#[async_trait]
impl Spaces for KubernetesCluster {
    async fn ensure(&self, _: Epoch, at: &EnvRef) -> Result<Vec<Drift>> {
        self.shared.ensure_space(at).await
    }

    async fn remove(&self, _: Epoch, at: &EnvRef) -> Result<()> {
        let shared = &self.shared;
        let name = shared.namespace(at);
        let api: Api<Namespace> = shared.everywhere();
        let error = |error| failed("remove an environment's space", error).with_context("environment", at);
        Shared::lock(&shared.spaces).remove(at);
        let Some(found) = api.get_opt(&name).await.map_err(error)? else { return Ok(()) };
        if !shared.installation().owns(&found.metadata) {
            return Err(foreign("remove an environment's space", "Namespace", "", &name));
        }
        let claims: Api<PersistentVolumeClaim> = shared.api(&name);
        let volumes = claims.list(&ListParams::default().limit(1)).await.map_err(error)?;
        if !volumes.items.is_empty() {
            return Err(Error::new(ErrorKind::Conflict, "remove an environment's space")
                .with_context("environment", at)
                .with_context("namespace", &name)
                .with_source("it holds volumes")
                .with_remedy("Delete its volume claims if nobody needs what is in them."));
        }
        match api.delete(&name, &kube::api::DeleteParams::background()).await {
            Err(error) if !crate::error::is_missing(&error) => {
                Err(failed("remove an environment's space", error).with_context("environment", at))
            }
            _ => Ok(()),
        }
    }

    async fn list(&self) -> Result<Vec<EnvRef>> {
        let installation = self.shared.installation();
        let api: Api<Namespace> = self.shared.everywhere();
        let ours = ListParams::default().labels(&installation.selector());
        let found = api.list(&ours).await.map_err(|error| failed("list the environments' spaces", error))?;
        let staying = found.items.into_iter().filter(|it| it.metadata.deletion_timestamp.is_none());
        let env = |namespace: Namespace| {
            let labels = namespace.metadata.labels?;
            let (org, env) = (installation.read(&labels, keys::ORG)?, installation.read(&labels, keys::ENV)?);
            let at = EnvRef::new(org, env);
            // One that somebody labelled is not one that we made.
            (namespace.metadata.name? == self.shared.namespace(&at)).then_some(at)
        };
        Ok(staying.filter_map(env).collect())
    }
}

impl Shared {
    /// Makes a space that was not made or checked yet.
    pub(crate) async fn space_for(&self, at: &EnvRef) -> Result<String> {
        if !Self::lock(&self.spaces).contains(at) {
            self.ensure_space(at).await?;
        }
        Ok(self.namespace(at))
    }

    /// Forgets that a space was made, because it turned out to be gone.
    pub(crate) fn forget_space(&self, at: &EnvRef) {
        Self::lock(&self.spaces).remove(at);
    }

    async fn ensure_space(&self, at: &EnvRef) -> Result<Vec<Drift>> {
        let objects = self.builder().space(at);
        let name = self.namespace(at);
        let api: Api<Namespace> = self.everywhere();
        let error = |error| failed(OPERATION, error).with_context("environment", at);
        let mut drift = Vec::new();
        let existing = api.get_opt(&name).await.map_err(error)?;
        let is_new = existing.is_none();
        if existing.as_ref().is_some_and(|it| !self.installation().owns(&it.metadata)) {
            return Err(foreign(OPERATION, "Namespace", "", &name));
        }
        let changed = existing.is_none_or(|existing| {
            let wanted = objects.namespace.metadata.labels.clone().unwrap_or_default();
            let found = existing.metadata.labels.unwrap_or_default();
            wanted.iter().any(|(key, value)| found.get(key) != Some(value))
        });
        if changed {
            self.apply(&api, &name, &objects.namespace).await.map_err(error)?;
            drift.push(Drift { kind: "Namespace".to_owned(), name: name.clone(), missing: is_new });
        }
        if let Some(quota) = objects.quota {
            drift.extend(self.restore(quota, |a, b| covers(&a.spec, &b.spec)).await?);
        }
        if let Some(limits) = objects.limits {
            drift.extend(self.restore(limits, |a, b| covers(&a.spec, &b.spec)).await?);
        }
        for policy in objects.policies {
            drift.extend(self.restore(policy, |a, b| covers(&a.spec, &b.spec)).await?);
        }
        if let Some(viewers) = objects.viewers {
            let same = |a: &k8s_openapi::api::rbac::v1::RoleBinding,
                        b: &k8s_openapi::api::rbac::v1::RoleBinding| {
                covers(&a.subjects, &b.subjects) && covers(&a.role_ref, &b.role_ref)
            };
            drift.extend(self.restore(viewers, same).await?);
        }
        Self::lock(&self.spaces).insert(at.clone());
        if is_new {
            drift.clear();
        }
        for restored in &drift {
            tracing::warn!(environment = %at, "{restored}");
        }
        Ok(drift)
    }

    /// Declares an object if it is missing or says something else.
    async fn restore<K>(&self, wanted: K, same: impl Fn(&K, &K) -> bool) -> Result<Option<Drift>>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + fmt::Debug + Serialize + DeserializeOwned,
        K: k8s_openapi::Resource + k8s_openapi::Metadata<Ty = ObjectMeta>,
        <K as Resource>::DynamicType: Default,
    {
        let meta = k8s_openapi::Metadata::metadata(&wanted);
        let name = meta.name.clone().unwrap_or_default();
        let api: Api<K> = self.api(&meta.namespace.clone().unwrap_or_default());
        let found = api.get_opt(&name).await.map_err(|error| failed(OPERATION, error))?;
        if found.as_ref().is_some_and(|found| same(&wanted, found)) {
            return Ok(None);
        }
        self.declare(OPERATION, wanted).await?;
        let missing = found.is_none();
        Ok(Some(Drift { kind: <K as k8s_openapi::Resource>::KIND.to_owned(), name, missing }))
    }
}

/// Whether everything that is wanted is there as wanted; the server may have added defaults.
fn covers<T: Serialize>(wanted: &T, found: &T) -> bool {
    fn inside(wanted: &serde_json::Value, found: &serde_json::Value) -> bool {
        use serde_json::Value;
        match (wanted, found) {
            (Value::Object(wanted), Value::Object(found)) => {
                wanted.iter().all(|(key, value)| found.get(key).is_some_and(|found| inside(value, found)))
            }
            (Value::Array(wanted), Value::Array(found)) => {
                wanted.len() == found.len() && wanted.iter().zip(found).all(|(a, b)| inside(a, b))
            }
            (wanted, found) => wanted == found,
        }
    }
    match (serde_json::to_value(wanted), serde_json::to_value(found)) {
        (Ok(wanted), Ok(found)) => inside(&wanted, &found),
        _ => false,
    }
}
