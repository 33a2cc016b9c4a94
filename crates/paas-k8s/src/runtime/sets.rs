//! Sets: made, scaled, removed.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, Patch, Preconditions};
use paas_core::model::Template;
use paas_core::port::{Epoch, Ordinals, SetKey, SetSpec};
use paas_core::{Error, ErrorKind, Result, TrackKey};
use serde_json::json;

use super::ATTEMPTS;
use super::objects::gone;
use super::observe::{Standing, standing};
use crate::build::{SetObjects, check, owner, record};
use crate::cluster::{Shared, exactly};
use crate::error::{failed, foreign, is_conflict, is_missing, is_there};
use crate::mirror::Source;
use crate::scheme::{component_name, keys, roles, set_name};

const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

impl Shared {
    pub(super) async fn ensure_set(&self, epoch: Epoch, spec: &SetSpec) -> Result<()> {
        const OPERATION: &str = "make a set";
        check(OPERATION, &self.options, &spec.template, false)?;
        let at = spec.key.track.component.at.env_ref();
        let error = |error| failed(OPERATION, error).with_context("set", &spec.key);
        for _ in 0..ATTEMPTS {
            let namespace = self.space_for(&at).await?;
            let api: Api<Deployment> = self.api(&namespace);
            let name = set_name(&spec.key);
            if let Some(existing) = api.get_opt(&name).await.map_err(error)? {
                self.is_ours(OPERATION, "Deployment", &existing.metadata)?;
                self.fence(OPERATION, &existing.metadata, epoch)?;
                self.is_the_same(OPERATION, &existing.metadata, spec)?;
                if existing.metadata.deletion_timestamp.is_some() {
                    return Err(Error::new(ErrorKind::Unavailable, OPERATION)
                        .with_context("set", &spec.key)
                        .with_source("its deployment is being deleted by somebody else"));
                }
                if self.is_preparing(&existing.metadata) {
                    if Box::pin(self.prepare(OPERATION, epoch, spec, &existing)).await? {
                        return Ok(());
                    }
                } else if self.raise_epoch(OPERATION, &api, &existing.metadata, epoch).await? {
                    return Ok(());
                }
                continue; // somebody else changed it in between: look again
            }
            let incarnation = crate::scheme::hash(&uuid::Uuid::new_v4().to_string(), 8);
            let inputs = self.inputs(&spec.key.track, &spec.template, &BTreeMap::new()).await?;
            let objects = self.builder().set(epoch, spec, &incarnation, &inputs);
            match api.create(&self.posting(), &objects.deployment).await {
                Ok(made) => {
                    if Box::pin(self.prepare_with(OPERATION, epoch, spec, &made, objects)).await? {
                        return Ok(());
                    }
                }
                Err(refused) if is_there(&refused) => {}
                // The namespace was deleted since it was looked at.
                Err(refused) if is_missing(&refused) => self.forget_space(&at),
                Err(refused) => return Err(error(refused)),
            }
        }
        Err(contended(OPERATION).with_context("set", &spec.key))
    }

    pub(super) async fn scale_set(&self, epoch: Epoch, key: &SetKey, ordinals: Ordinals) -> Result<()> {
        const OPERATION: &str = "scale a set";
        let error = |error| failed(OPERATION, error).with_context("set", key);
        let namespace = self.namespace(&key.track.component.at.env_ref());
        let api: Api<Deployment> = self.api(&namespace);
        let name = set_name(key);
        for _ in 0..ATTEMPTS {
            let existing = api.get_opt(&name).await.map_err(error)?;
            let Some(existing) = existing.filter(|it| it.metadata.deletion_timestamp.is_none()) else {
                return Err(Error::new(ErrorKind::NotFound, OPERATION).with_context("set", key));
            };
            self.is_ours(OPERATION, "Deployment", &existing.metadata)?;
            self.fence(OPERATION, &existing.metadata, epoch)?;
            // Scaling would not make what it lacks; whoever is told so ensures it again.
            if self.is_preparing(&existing.metadata) {
                return Err(Error::new(ErrorKind::NotFound, OPERATION)
                    .with_context("set", key)
                    .with_source("its making was cut off")
                    .with_remedy("Ensure the set again."));
            }
            let (now, told) = (desired(&existing), self.told(&existing));
            if told.map_or(now == ordinals.count, |told| told == ordinals) {
                if self.raise_epoch(OPERATION, &api, &existing.metadata, epoch).await? {
                    return Ok(());
                }
                continue;
            }
            if told.is_none() && ordinals.count < now {
                self.condemn(OPERATION, key, &existing, ordinals.count).await?;
            }
            let mut patch = self.change(&existing.metadata, epoch);
            if told.is_some() {
                let text = json!(crate::build::ordinals(ordinals));
                patch["metadata"]["annotations"][self.installation().key(keys::ORDINALS)] = text;
            } else {
                patch["spec"] = json!({ "replicas": ordinals.count });
            }
            match api.patch(&name, &self.merging(), &Patch::Merge(&patch)).await {
                Ok(_) if told.is_some() => {
                    return Box::pin(self.follow_ordinals(OPERATION, &key.track)).await;
                }
                Ok(_) => return Ok(()),
                Err(refused) if is_conflict(&refused) || is_missing(&refused) => {}
                Err(refused) => return Err(error(refused)),
            }
        }
        Err(contended(OPERATION).with_context("set", key))
    }

    /// Whether it was an ordered set, so that something is to be derived from what is left.
    pub(super) async fn remove_set(&self, epoch: Epoch, key: &SetKey) -> Result<bool> {
        const OPERATION: &str = "remove a set";
        let error = |error| failed(OPERATION, error).with_context("set", key);
        let namespace = self.namespace(&key.track.component.at.env_ref());
        let api: Api<Deployment> = self.api(&namespace);
        let name = set_name(key);
        for _ in 0..ATTEMPTS {
            let Some(existing) = api.get_metadata_opt(&name).await.map_err(error)? else { return Ok(false) };
            let meta = existing.metadata;
            // What somebody else made is no set of ours: ours is missing.
            if !self.installation().owns(&meta) || meta.deletion_timestamp.is_some() {
                return Ok(false);
            }
            self.fence(OPERATION, &meta, epoch)?;
            let ordered = self.installation().annotation(&meta, keys::ORDINALS).is_some();
            let looked_at = Preconditions { resource_version: meta.resource_version, uid: meta.uid };
            match api.delete(&name, &DeleteParams::background().preconditions(looked_at)).await {
                Ok(_) => {
                    self.events.tell_stale(key.track.component.at.clone()); // no route names it any more
                    return Ok(ordered);
                }
                Err(refused) if is_missing(&refused) => return Ok(ordered),
                Err(refused) if is_conflict(&refused) => {}
                Err(refused) => return Err(error(refused)),
            }
        }
        Err(contended(OPERATION).with_context("set", key))
    }

    pub(super) async fn purge_track(&self, epoch: Epoch, track: &TrackKey) -> Result<()> {
        const OPERATION: &str = "purge a track";
        let error = |error| failed(OPERATION, error).with_context("track", track);
        if !self.observe_track(Source::Server, track).await?.sets.is_empty() {
            return Err(Error::new(ErrorKind::Conflict, OPERATION)
                .with_context("track", track)
                .with_source("it still has a set")
                .with_remedy("Remove its sets and wait until they are gone."));
        }
        let namespace = self.namespace(&track.component.at.env_ref());
        let services: Api<Service> = self.api(&namespace);
        let service = component_name(&track.component);
        if let Some(found) = services.get_metadata_opt(&service).await.map_err(error)?
            && self.installation().owns(&found.metadata)
        {
            self.fence(OPERATION, &found.metadata, epoch)?;
            gone(services.delete(&service, &exactly(found.metadata)).await.map(drop)).map_err(error)?;
        }
        self.remove_ordered(OPERATION, track).await?;
        let claims: Api<PersistentVolumeClaim> = self.api(&namespace);
        let selector = self.track_selector(track, roles::VOLUME);
        let found = match claims.list_metadata(&selector).await {
            Ok(found) => found,
            Err(missing) if is_missing(&missing) => return Ok(()),
            Err(refused) => return Err(error(refused)),
        };
        for claim in found.items {
            let name = claim.metadata.name.clone().unwrap_or_default();
            gone(claims.delete(&name, &exactly(claim.metadata)).await.map(drop)).map_err(error)?;
        }
        Ok(())
    }

    pub(crate) fn is_ours(&self, operation: &'static str, kind: &str, meta: &ObjectMeta) -> Result<()> {
        if self.installation().owns(meta) {
            return Ok(());
        }
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        Err(foreign(operation, kind, &text(&meta.namespace), &text(&meta.name)))
    }

    /// A different template under the same revision is a conflict. Templates are compared and never their texts.
    fn is_the_same(&self, operation: &'static str, meta: &ObjectMeta, spec: &SetSpec) -> Result<()> {
        let stored = self.installation().annotation(meta, keys::TEMPLATE).unwrap_or_default();
        let stored: Option<Template> = serde_json::from_str(stored).ok();
        if stored.as_ref() == Some(&record(&spec.template)) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict, operation)
            .with_context("set", &spec.key)
            .with_source("the set exists with another template"))
    }

    pub(crate) fn is_preparing(&self, meta: &ObjectMeta) -> bool {
        self.installation().annotation(meta, keys::PREPARING).is_some()
    }

    /// A patch of the version that was looked at, with the caller's epoch.
    pub(crate) fn change(&self, meta: &ObjectMeta, epoch: Epoch) -> serde_json::Value {
        json!({ "metadata": {
            "resourceVersion": meta.resource_version,
            "annotations": { self.installation().key(keys::EPOCH): epoch.0.to_string() },
        }})
    }

    /// Notes a higher epoch on a set that needs no other change; false if somebody else changed it in between.
    pub(crate) async fn raise_epoch<K>(
        &self,
        operation: &'static str,
        api: &Api<K>,
        meta: &ObjectMeta,
        epoch: Epoch,
    ) -> Result<bool>
    where
        K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        if self.epoch_of(meta) == epoch {
            return Ok(true);
        }
        let name = meta.name.clone().unwrap_or_default();
        let patch = self.change(meta, epoch);
        match api.patch_metadata(&name, &self.merging(), &Patch::Merge(&patch)).await {
            Ok(_) => Ok(true),
            Err(refused) if is_conflict(&refused) || is_missing(&refused) => Ok(false),
            Err(refused) => Err(failed(operation, refused).with_context("set", name)),
        }
    }

    /// Goes on with a set of which not everything was made.
    async fn prepare(
        &self,
        operation: &'static str,
        epoch: Epoch,
        spec: &SetSpec,
        existing: &Deployment,
    ) -> Result<bool> {
        let incarnation = self.installation().annotation(&existing.metadata, keys::INCARNATION);
        let incarnation = incarnation.unwrap_or_default().to_owned();
        let inputs = self.inputs(&spec.key.track, &spec.template, &BTreeMap::new()).await?;
        let objects = self.builder().set(epoch, spec, &incarnation, &inputs);
        Box::pin(self.prepare_with(operation, epoch, spec, existing, objects)).await
    }

    /// Makes what belongs to a deployment, then lets it have its instances; false if somebody else changed it meanwhile.
    async fn prepare_with(
        &self,
        operation: &'static str,
        epoch: Epoch,
        spec: &SetSpec,
        deployment: &Deployment,
        objects: SetObjects,
    ) -> Result<bool> {
        let owners = owner(deployment);
        let SetObjects { service, config_map, secret, budget, policy, claims, .. } = objects;
        for claim in claims {
            self.make(operation, claim, None).await?;
        }
        let made = futures::try_join!(
            self.make_one(operation, config_map, &owners),
            self.make_one(operation, secret, &owners),
            self.declare_one(operation, service, &owners),
            self.declare_one(operation, Some(budget), &owners),
            self.declare_one(operation, policy, &owners),
        );
        made.map_err(|error| error.with_context("set", &spec.key))?;
        let api: Api<Deployment> = self.api(&deployment.metadata.namespace.clone().unwrap_or_default());
        let name = set_name(&spec.key);
        // The deployment's controller has written its status meanwhile: look again, so that only a change by somebody else
        // is one.
        let error = |error| failed(operation, error).with_context("set", &spec.key);
        let Some(now) = api.get_opt(&name).await.map_err(error)? else { return Ok(false) };
        if now.metadata.uid != deployment.metadata.uid {
            return Ok(false);
        }
        self.fence(operation, &now.metadata, epoch)?;
        let mut patch = self.change(&now.metadata, epoch);
        if let Some(count) = self.installation().annotation(&now.metadata, keys::PREPARING)
            && self.told(&now).is_none()
        {
            patch["spec"] = json!({ "replicas": count.parse().unwrap_or(spec.count) });
        }
        patch["metadata"]["annotations"][self.installation().key(keys::PREPARING)] = json!(null);
        match api.patch(&name, &self.merging(), &Patch::Merge(&patch)).await {
            Ok(_) => {
                // Routes name it from now on, without a share: the gateway hears of it while its instances start.
                self.events.tell_stale(spec.key.track.component.at.clone());
                Ok(true)
            }
            Err(refused) if is_conflict(&refused) || is_missing(&refused) => Ok(false),
            Err(refused) => Err(failed(operation, refused).with_context("set", &spec.key)),
        }
    }

    /// Chooses the instances that go when a number falls, and tells the cluster: not ready ones first, then the youngest.
    async fn condemn(
        &self,
        operation: &'static str,
        key: &SetKey,
        deployment: &Deployment,
        count: u32,
    ) -> Result<()> {
        let namespace = deployment.metadata.namespace.clone().unwrap_or_default();
        let pods: Api<Pod> = self.api(&namespace);
        let found = self.pods_of_track(Source::Server, operation, &key.track).await?;
        let ours = found.iter().map(|pod| &**pod).filter(|pod| {
            let labels = pod.metadata.labels.clone().unwrap_or_default();
            self.installation().read(&labels, keys::REVISION) == Some(key.revision.clone())
        });
        let Standing { staying, .. } = standing(self, Some(deployment), ours, count);
        let staying: Vec<&str> = staying.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
        let incarnation = self.installation().annotation(&deployment.metadata, keys::INCARNATION);
        let going = found.iter().filter(|pod| {
            let labels = pod.metadata.labels.clone().unwrap_or_default();
            self.installation().read(&labels, keys::REVISION) == Some(key.revision.clone())
                && self.installation().annotation(&pod.metadata, keys::INCARNATION) == incarnation
                && pod.metadata.deletion_timestamp.is_none()
                && !staying.contains(&pod.metadata.name.as_deref().unwrap_or_default())
        });
        let patches = going.map(|pod| {
            let name = pod.metadata.name.clone().unwrap_or_default();
            let patch = json!({ "metadata": { "annotations": {
                COST: "-1", self.installation().key(keys::CONDEMNED): "true" } } });
            let pods = pods.clone();
            async move {
                let answer = pods.patch_metadata(&name, &self.merging(), &Patch::Merge(&patch)).await;
                gone(answer.map(drop))
            }
        });
        for answer in futures::future::join_all(patches).await {
            answer.map_err(|error| failed(operation, error).with_context("set", key))?;
        }
        Ok(())
    }
}

/// How many instances a set shall have; none as long as it is being made.
pub(super) fn desired(deployment: &Deployment) -> u32 {
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    u32::try_from(replicas).unwrap_or_default()
}

pub(crate) fn contended(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, operation)
        .with_source("somebody else changed it again and again; it is tried later")
}
