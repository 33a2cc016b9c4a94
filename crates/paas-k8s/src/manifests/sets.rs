//! Sets of manifests: made, taken in and out of force, removed.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, Patch, Preconditions};
use paas_core::model::Template;
use paas_core::port::{Epoch, SetKey, SetSpec};
use paas_core::{Error, ErrorKind, Result, TrackKey};
use serde_json::json;

use super::apply::{TEMPLATE, kept};
use crate::build::{manifests_policy, owner};
use crate::cluster::Shared;
use crate::error::{failed, is_conflict, is_missing, is_there, listed};
use crate::mirror::Source;
use crate::runtime::{ATTEMPTS, contended};
use crate::scheme::{keys, roles, set_name};

impl Shared {
    pub(crate) async fn ensure_manifests(&self, epoch: Epoch, spec: &SetSpec) -> Result<()> {
        const OPERATION: &str = "make a set of manifests";
        let faults = super::refusals(&self.options, &spec.template);
        if !faults.is_empty() {
            return Err(Error::invalid(OPERATION, faults).with_context("set", &spec.key));
        }
        let error = |error| failed(OPERATION, error).with_context("set", &spec.key);
        let at = spec.key.track.component.at.env_ref();
        for _ in 0..ATTEMPTS {
            let namespace = self.space_for(&at).await?;
            let api: Api<ConfigMap> = self.api(&namespace);
            if let Some(existing) = api.get_opt(&set_name(&spec.key)).await.map_err(error)? {
                self.is_ours(OPERATION, "ConfigMap", &existing.metadata)?;
                self.fence(OPERATION, &existing.metadata, epoch)?;
                if kept(existing.data.as_ref()).as_ref() != Some(&spec.template) {
                    return Err(Error::new(ErrorKind::Conflict, OPERATION)
                        .with_context("set", &spec.key)
                        .with_source("the set exists with another template"));
                }
                if self.raise_epoch(OPERATION, &api, &existing.metadata, epoch).await? {
                    return Ok(());
                }
                continue;
            }
            self.check_hosts(OPERATION, &spec.key, &spec.template).await?;
            // Out of force until every object is applied, so that whoever looks asks again for what is missing.
            match api.create(&self.posting(), &self.record(&namespace, epoch, spec)).await {
                Ok(_) => return Box::pin(self.scale_manifests(epoch, &spec.key, spec.count)).await,
                Err(refused) if is_there(&refused) => {}
                Err(refused) if is_missing(&refused) => self.forget_space(&at),
                Err(refused) => return Err(error(refused)),
            }
        }
        Err(contended(OPERATION).with_context("set", &spec.key))
    }

    /// Takes a set of manifests in or out of force.
    pub(crate) async fn scale_manifests(&self, epoch: Epoch, key: &SetKey, count: u32) -> Result<()> {
        const OPERATION: &str = "apply manifests";
        let error = |error| failed(OPERATION, error).with_context("set", key);
        let namespace = self.namespace(&key.track.component.at.env_ref());
        let api: Api<ConfigMap> = self.api(&namespace);
        let name = set_name(key);
        for _ in 0..ATTEMPTS {
            let existing = api.get_opt(&name).await.map_err(error)?;
            let existing = existing.filter(|it| self.is_set_of_manifests(&it.metadata));
            let template = existing.as_ref().and_then(|it| kept(it.data.as_ref()));
            let (Some(existing), Some(template)) = (existing, template) else {
                return Err(Error::new(ErrorKind::NotFound, OPERATION).with_context("set", key));
            };
            self.fence(OPERATION, &existing.metadata, epoch)?;
            let now = self.count_of(&existing.metadata);
            if now == count {
                if self.raise_epoch(OPERATION, &api, &existing.metadata, epoch).await? {
                    return Ok(());
                }
                continue;
            }
            if count > 0 && now == 0 {
                self.open_network(OPERATION, key, &existing).await?;
                self.apply_manifests(OPERATION, epoch, key, &template).await?;
            }
            let mut patch = self.change(&existing.metadata, epoch);
            patch["metadata"]["annotations"][self.installation().key(keys::COUNT)] = json!(count.to_string());
            match api.patch_metadata(&name, &self.merging(), &Patch::Merge(&patch)).await {
                Ok(_) => return Ok(()),
                Err(refused) if is_conflict(&refused) || is_missing(&refused) => {}
                Err(refused) => return Err(error(refused)),
            }
        }
        Err(contended(OPERATION).with_context("set", key))
    }

    /// Lets the objects of an application reach each other, where nothing may that is not declared.
    async fn open_network(&self, operation: &'static str, key: &SetKey, set: &ConfigMap) -> Result<()> {
        if !self.options.space.isolate {
            return Ok(());
        }
        let mut labels = self.installation().set_labels(key);
        labels.insert(self.installation().key(keys::ROLE), roles::SET.to_owned());
        let meta = ObjectMeta {
            namespace: set.metadata.namespace.clone(),
            name: set.metadata.name.clone(),
            labels: Some(labels),
            owner_references: Some(owner(set)),
            ..ObjectMeta::default()
        };
        self.declare(operation, manifests_policy(&self.builder(), meta, key)).await.map(drop)
    }

    /// Removes a set of manifests, and what no other set has taken over; a missing one is a success.
    pub(crate) async fn remove_manifests(&self, epoch: Epoch, key: &SetKey) -> Result<()> {
        const OPERATION: &str = "remove manifests";
        let error = |error| failed(OPERATION, error).with_context("set", key);
        let namespace = self.namespace(&key.track.component.at.env_ref());
        let api: Api<ConfigMap> = self.api(&namespace);
        let name = set_name(key);
        for _ in 0..ATTEMPTS {
            let Some(existing) = api.get_opt(&name).await.map_err(error)? else { return Ok(()) };
            let meta = &existing.metadata;
            if !self.is_set_of_manifests(meta) || meta.deletion_timestamp.is_some() {
                return Ok(());
            }
            self.fence(OPERATION, meta, epoch)?;
            if let Some(template) = kept(existing.data.as_ref()) {
                let keep = self.in_force(OPERATION, key).await?;
                match self.prune_manifests(OPERATION, key, &template, &keep).await {
                    Err(error) if error.kind() == ErrorKind::Unavailable => continue,
                    pruned => pruned?,
                }
            }
            let looked_at =
                Preconditions { resource_version: meta.resource_version.clone(), uid: meta.uid.clone() };
            match api.delete(&name, &DeleteParams::background().preconditions(looked_at)).await {
                Ok(_) => return Ok(()),
                Err(refused) if is_missing(&refused) => return Ok(()),
                Err(refused) if is_conflict(&refused) => {}
                Err(refused) => return Err(error(refused)),
            }
        }
        Err(contended(OPERATION).with_context("set", key))
    }

    /// The sets of manifests of a track.
    pub(crate) async fn sets_of_manifests(
        &self,
        source: Source,
        operation: &'static str,
        track: &TrackKey,
    ) -> Result<Vec<Arc<ConfigMap>>> {
        let namespace = self.namespace(&track.component.at.env_ref());
        let found = self.list(source, &namespace, &self.labels_in(track, roles::MANIFESTS)).await;
        let found = listed(found).map_err(|error| failed(operation, error).with_context("track", track));
        let mut found: Vec<Arc<ConfigMap>> = found?;
        found.retain(|it| it.metadata.deletion_timestamp.is_none());
        Ok(found)
    }

    /// The sets of manifests of every application.
    pub(super) async fn all_sets_of_manifests(
        &self,
        source: Source,
        operation: &'static str,
    ) -> Result<Vec<Arc<ConfigMap>>> {
        let found = self.list_everywhere::<ConfigMap>(source, &self.labels_of(roles::MANIFESTS)).await;
        let mut found = found.map_err(|error| failed(operation, error))?;
        found.retain(|it| it.metadata.deletion_timestamp.is_none());
        Ok(found)
    }

    /// What other sets of the track have in force, whatever their labels say at the moment.
    async fn in_force(&self, operation: &'static str, key: &SetKey) -> Result<Vec<String>> {
        let own = set_name(key);
        let sets = self.sets_of_manifests(Source::Server, operation, &key.track).await?;
        let others = sets
            .iter()
            .filter(|set| set.metadata.name.as_ref() != Some(&own) && self.count_of(&set.metadata) > 0);
        let objects = others.filter_map(|set| kept(set.data.as_ref())).flat_map(|it| it.manifests);
        Ok(objects.map(|object| object.to_string()).collect())
    }

    fn is_set_of_manifests(&self, meta: &ObjectMeta) -> bool {
        let role: Option<String> =
            meta.labels.as_ref().and_then(|labels| self.installation().read(labels, keys::ROLE));
        self.installation().owns(meta) && role.as_deref() == Some(roles::MANIFESTS)
    }

    /// How many instances a set of manifests shall have.
    pub(super) fn count_of(&self, meta: &ObjectMeta) -> u32 {
        let count = self.installation().annotation(meta, keys::COUNT);
        count.and_then(|count| count.parse().ok()).unwrap_or_default()
    }

    fn record(&self, namespace: &str, epoch: Epoch, spec: &SetSpec) -> ConfigMap {
        let installation = self.installation();
        let mut labels = installation.set_labels(&spec.key);
        labels.insert(installation.key(keys::ROLE), roles::MANIFESTS.to_owned());
        let annotations =
            BTreeMap::from([self.builder().epoch(epoch), (installation.key(keys::COUNT), "0".to_owned())]);
        ConfigMap {
            metadata: ObjectMeta {
                namespace: Some(namespace.to_owned()),
                name: Some(set_name(&spec.key)),
                labels: Some(labels),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([(TEMPLATE.to_owned(), text(&spec.template))])),
            ..ConfigMap::default()
        }
    }
}

/// Values of secrets are named in a template and never in it, so that it may stand in a config map.
fn text(template: &Template) -> String {
    serde_json::to_string(template).unwrap_or_default()
}
