//! Objects: looked at, and written if they differ.

use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Preconditions};
use paas_core::model::Template;
use paas_core::port::{Epoch, SetKey};
use paas_core::{Error, ErrorKind, Result};
use serde_json::json;

use super::compare::covers;
use super::kinds::{Kind, Place};
use super::render::Object;
use crate::cluster::Shared;
use crate::error::{failed, foreign, is_conflict, is_missing};
use crate::runtime::{ATTEMPTS, contended};
use crate::scheme::{keys, roles};

/// What applying an object came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applied {
    /// It said what is wanted.
    Same,
    Changed,
    Made,
}

impl Shared {
    /// Objects of a kind in a namespace.
    pub(super) fn dynamic(&self, namespace: &str, kind: &Kind, version: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &kind.resource(version))
    }

    /// Applies every object of a set, in order, and tells which were not as wanted.
    pub(super) async fn apply_manifests(
        &self,
        operation: &'static str,
        epoch: Epoch,
        key: &SetKey,
        template: &Template,
    ) -> Result<Vec<(String, Applied)>> {
        let inputs = self.inputs(&key.track, template, &std::collections::BTreeMap::new()).await?;
        let mut applied = Vec::new();
        for object in self.builder().manifests(key, template, &inputs) {
            let label = object.label();
            let answer = self.apply_object(operation, epoch, key, object).await;
            applied.push((label.clone(), answer.map_err(|error| error.with_context("object", label))?));
        }
        Ok(applied)
    }

    async fn apply_object(
        &self,
        operation: &'static str,
        epoch: Epoch,
        key: &SetKey,
        object: Object,
    ) -> Result<Applied> {
        let Object { kind, version, name, mut value } = object;
        let namespace = self.namespace(&key.track.component.at.env_ref());
        let api = self.dynamic(&namespace, kind, &version);
        let error = |error| failed(operation, error).with_context("set", key);
        for _ in 0..ATTEMPTS {
            let found = api.get_opt(&name).await.map_err(error)?;
            let made = found.is_none();
            if let Some(found) = found {
                if !self.is_manifest_of(&found, key) {
                    return Err(foreign(operation, kind.kind, &namespace, &name));
                }
                self.fence(operation, &found.metadata, epoch)?;
                if found.metadata.deletion_timestamp.is_some() {
                    return Err(Error::new(ErrorKind::Unavailable, operation)
                        .with_context("set", key)
                        .with_source("it is being deleted; it is made again when it is gone"));
                }
                let seen = serde_json::to_value(&found).unwrap_or_default();
                if covers(&value, &seen) {
                    return Ok(Applied::Same);
                }
                let looked_at = found.metadata.resource_version.clone();
                if kind.kind == "Job" && !covers(&value["spec"]["template"], &seen["spec"]["template"]) {
                    // What a Job runs never changes; another one runs something else.
                    let looked_at = Preconditions { resource_version: looked_at, uid: found.metadata.uid };
                    let parameters = DeleteParams::background().preconditions(looked_at);
                    match api.delete(&name, &parameters).await {
                        Err(refused) if !is_conflict(&refused) && !is_missing(&refused) => {
                            return Err(error(refused));
                        }
                        _ => continue,
                    }
                }
                // By its version alone, an apply would make what somebody has deleted since.
                value["metadata"]["resourceVersion"] = json!(looked_at);
                value["metadata"]["uid"] = json!(found.metadata.uid);
            } else if let Some(meta) = value["metadata"].as_object_mut() {
                meta.remove("resourceVersion");
                meta.remove("uid");
            }
            let mut wanted = value.clone();
            let annotation = self.installation().key(keys::EPOCH);
            if !wanted["metadata"]["annotations"].is_object() {
                wanted["metadata"]["annotations"] = json!({});
            }
            wanted["metadata"]["annotations"][annotation] = json!(epoch.0.to_string());
            let wanted: DynamicObject = serde_json::from_value(wanted).map_err(|error| {
                Error::new(ErrorKind::Internal, operation).with_context("set", key).with_source(error)
            })?;
            match self.apply(&api, &name, &wanted).await {
                Ok(_) => return Ok(if made { Applied::Made } else { Applied::Changed }),
                Err(refused) if is_conflict(&refused) => {}
                Err(refused) => return Err(error(refused)),
            }
            if let Some(meta) = value["metadata"].as_object_mut() {
                meta.remove("resourceVersion");
            }
        }
        Err(contended(operation).with_context("set", key))
    }

    /// Whether an object is one of the manifests of a track, whichever revision has it.
    fn is_manifest_of(&self, found: &DynamicObject, key: &SetKey) -> bool {
        let installation = self.installation();
        let Some(labels) = &found.metadata.labels else { return false };
        let role: Option<String> = installation.read(labels, keys::ROLE);
        installation.track_of(labels).as_ref() == Some(&key.track)
            && installation.owns(&found.metadata)
            && matches!(role.as_deref(), Some(roles::MANIFEST | roles::VOLUME))
    }

    /// Removes the objects that still carry a revision, the last applied first; volumes stay.
    pub(super) async fn prune_manifests(
        &self,
        operation: &'static str,
        key: &SetKey,
        template: &Template,
        keep: &[String],
    ) -> Result<()> {
        let namespace = self.namespace(&key.track.component.at.env_ref());
        let mut kinds: Vec<&Kind> = template.manifests.iter().filter_map(super::kinds::of).collect();
        kinds.retain(|kind| kind.place != Place::Volume);
        kinds.sort_by_key(|kind| std::cmp::Reverse((kind.place, kind.plural)));
        kinds.dedup();
        let error = |error| failed(operation, error).with_context("set", key);
        for kind in kinds {
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.client.clone(), &namespace, &kind.newest());
            let revision = format!("{}={}", self.installation().key(keys::REVISION), key.revision);
            let mut parameters = self.track_selector(&key.track, roles::MANIFEST);
            let selector = parameters.label_selector.get_or_insert_default();
            *selector = format!("{selector},{revision}");
            let found = match api.list_metadata(&parameters).await {
                Ok(found) => found,
                Err(missing) if is_missing(&missing) => continue,
                Err(refused) => return Err(error(refused)),
            };
            for object in found.items {
                let name = object.metadata.name.unwrap_or_default();
                if keep.contains(&format!("{}/{name}", kind.kind)) {
                    continue;
                }
                let looked_at = Preconditions {
                    resource_version: object.metadata.resource_version,
                    uid: object.metadata.uid,
                };
                match api.delete(&name, &DeleteParams::background().preconditions(looked_at)).await {
                    // Whoever changed it in between has taken it over, or its controller wrote: it is looked at again.
                    Err(refused) if is_conflict(&refused) => {
                        return Err(contended(operation).with_context("set", key));
                    }
                    Err(refused) if !is_missing(&refused) => return Err(error(refused)),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// The template that a set's config map keeps.
pub(super) fn kept(data: Option<&std::collections::BTreeMap<String, String>>) -> Option<Template> {
    serde_json::from_str(data?.get(TEMPLATE)?).ok()
}

/// The key of a set's config map under which the template is.
pub(super) const TEMPLATE: &str = "template";
