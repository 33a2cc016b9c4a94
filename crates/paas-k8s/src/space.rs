//! Spaces: a namespace for each organisation and environment, with its bounds.

use std::fmt;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Resource};
use paas_core::{EnvRef, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cluster::{KubernetesCluster, Shared};
use crate::error::{failed, foreign};

const OPERATION: &str = "make an environment's space";

/// What was found to differ from what is declared, and was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drift {
    /// The kind of the object.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Whether it was missing; otherwise it was changed.
    pub missing: bool,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.missing { "was missing" } else { "had been changed" };
        write!(f, "{} {} {what} and was restored", self.kind, self.name)
    }
}

impl KubernetesCluster {
    /// Makes an environment's space, or restores it, and tells what was restored. A new space is no drift.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](paas_core::ErrorKind::Conflict) if a namespace of its name exists that this
    /// installation did not make.
    pub async fn ensure_space(&self, at: &EnvRef) -> Result<Vec<Drift>> {
        self.shared.ensure_space(at).await
    }

    /// Deletes an environment's space with everything in it; a missing one is a success.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](paas_core::ErrorKind::Conflict) if this installation did not make it.
    pub async fn remove_space(&self, at: &EnvRef) -> Result<()> {
        let shared = &self.shared;
        let name = shared.namespace(at);
        let api: Api<Namespace> = shared.everywhere();
        let error = |error| failed("remove an environment's space", error).with_context("environment", at);
        Shared::lock(&shared.spaces).remove(at);
        let Some(found) = api.get_opt(&name).await.map_err(error)? else { return Ok(()) };
        if !shared.installation().owns(&found.metadata) {
            return Err(foreign("remove an environment's space", "Namespace", "", &name));
        }
        match api.delete(&name, &kube::api::DeleteParams::background()).await {
            Err(error) if !crate::error::is_missing(&error) => {
                Err(failed("remove an environment's space", error).with_context("environment", at))
            }
            _ => Ok(()),
        }
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
            drift.push(Drift { kind: "Namespace", name: name.clone(), missing: is_new });
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
        Ok(Some(Drift { kind: <K as k8s_openapi::Resource>::KIND, name, missing }))
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
