//! The objects that belong to a set or a run: made with it, and collected with their owner.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};
use paas_core::Result;

use crate::cluster::Shared;
use crate::error::{failed, is_missing, is_there};

impl Shared {
    pub(super) async fn make_one<K>(
        &self,
        operation: &'static str,
        object: Option<K>,
        owners: &[OwnerReference],
    ) -> Result<()>
    where
        K: Made,
    {
        match object {
            Some(object) => self.make(operation, object, Some(owners)).await,
            None => Ok(()),
        }
    }

    pub(super) async fn declare_one<K>(
        &self,
        operation: &'static str,
        object: Option<K>,
        owners: &[OwnerReference],
    ) -> Result<()>
    where
        K: Made,
    {
        let Some(mut object) = object else { return Ok(()) };
        let meta = kube::Resource::meta_mut(&mut object);
        meta.owner_references = Some(owners.to_vec());
        let name = meta.name.clone().unwrap_or_default();
        let api: Api<K> = self.api(&meta.namespace.clone().unwrap_or_default());
        let error = |error| failed(operation, error).with_context("object", &name);
        // One of an earlier making is about to be collected with its owner. It goes first, so that the collector, which
        // deletes by uid, never meets the new one.
        if let Some(found) = api.get_metadata_opt(&name).await.map_err(error)?
            && self.installation().owns(&found.metadata)
            && found.metadata.owner_references.iter().flatten().any(|old| old.uid != owners[0].uid)
        {
            let looked_at = Preconditions { resource_version: None, uid: found.metadata.uid };
            let deleted = api.delete(&name, &DeleteParams::default().preconditions(looked_at)).await;
            gone(deleted.map(drop)).map_err(error)?;
        }
        self.declare(operation, object).await.map(drop)
    }

    /// Makes an object that never changes; one of ours that is there already is a success.
    pub(super) async fn make<K>(
        &self,
        operation: &'static str,
        mut object: K,
        owners: Option<&[OwnerReference]>,
    ) -> Result<()>
    where
        K: Made,
    {
        let meta = kube::Resource::meta_mut(&mut object);
        meta.owner_references = owners.map(<[OwnerReference]>::to_vec);
        let (namespace, name) =
            (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        let api: Api<K> = self.api(&namespace);
        let error = |error| failed(operation, error).with_context("object", format!("{namespace}/{name}"));
        match api.create(&self.posting(), &object).await {
            Ok(_) => Ok(()),
            Err(refused) if is_there(&refused) => match api.get_metadata_opt(&name).await.map_err(error)? {
                Some(found) => self.is_ours(operation, <K as k8s_openapi::Resource>::KIND, &found.metadata),
                None => Ok(()),
            },
            Err(refused) => Err(error(refused)),
        }
    }
}

/// What this module makes: objects in a namespace.
pub(super) trait Made:
    kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + k8s_openapi::Resource
    + Clone
    + std::fmt::Debug
    + serde::Serialize
    + serde::de::DeserializeOwned
    + Send
    + Sync
{
}

impl<K> Made for K where
    K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + k8s_openapi::Resource
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned
        + Send
        + Sync
{
}

/// A missing object is as good as a deleted one.
pub(super) fn gone(answer: kube::Result<()>) -> kube::Result<()> {
    match answer {
        Err(error) if is_missing(&error) => Ok(()),
        other => other,
    }
}
