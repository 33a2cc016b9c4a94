//! From a template of manifests to the objects that are applied. A pure function.

use paas_core::model::{Manifest, ResolvedValue, Template};
use paas_core::port::SetKey;
use serde_json::{Map, Value, json};

use super::kinds::{self, Kind, Place};
use crate::build::{Builder, Inputs};
use crate::options::SecurityLevel;
use crate::scheme::{keys, roles};

/// An object as it is applied.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object {
    pub(super) kind: &'static Kind,
    pub(super) version: String,
    pub(super) name: String,
    pub(super) value: Value,
}

impl Object {
    /// `Deployment/web`
    pub(super) fn label(&self) -> String {
        format!("{}/{}", self.kind.kind, self.name)
    }
}

impl Builder<'_> {
    /// The objects of a template, in the order in which they are applied. What is of no known kind was refused.
    pub(super) fn manifests(&self, key: &SetKey, template: &Template, inputs: &Inputs) -> Vec<Object> {
        let scaled = scaled(&template.manifests);
        let object = |manifest: &Manifest| {
            let kind = kinds::of(manifest)?;
            let mut value = Value::Object(manifest.0.clone());
            self.label(key, kind, &mut value);
            if let Some(pod) = kind.pod.and_then(|pointer| value.pointer_mut(pointer)) {
                self.pod_template(key, template, pod);
            }
            if kind.kind == "StatefulSet" {
                for claim in value["spec"]["volumeClaimTemplates"].as_array_mut().into_iter().flatten() {
                    self.put_labels(key, roles::VOLUME, claim);
                }
            }
            if scaled.contains(&(manifest.kind(), manifest.name()))
                && let Some(spec) = value["spec"].as_object_mut()
            {
                // The autoscaler says how many; to say it too would undo it each time.
                spec.remove("replicas");
            }
            if manifest.is_secret() {
                fill(manifest, template, inputs, &mut value);
            }
            let version = manifest.api_version().rsplit('/').next().unwrap_or_default().to_owned();
            Some(Object { kind, version, name: manifest.name().to_owned(), value })
        };
        let mut objects: Vec<Object> = template.manifests.iter().filter_map(object).collect();
        objects.sort_by_key(|object| object.kind.place);
        objects
    }

    fn label(&self, key: &SetKey, kind: &Kind, value: &mut Value) {
        let role = if kind.place == Place::Volume { roles::VOLUME } else { roles::MANIFEST };
        self.put_labels(key, role, value);
        value["metadata"]["labels"][self.installation().key(keys::REVISION)] = json!(key.revision.as_str());
        value["metadata"]["namespace"] =
            json!(self.installation().namespace(&key.track.component.at.env_ref()));
    }

    /// The platform's own labels; those that tools share are the author's.
    fn put_labels(&self, key: &SetKey, role: &str, value: &mut Value) {
        let installation = self.installation();
        let mut labels = installation.track_labels(&key.track);
        labels.retain(|name, _| name.starts_with(installation.domain()));
        labels.insert(installation.key(keys::ROLE), role.to_owned());
        for (name, label) in labels {
            entry(entry(value, "metadata"), "labels")[name] = json!(label);
        }
    }

    fn pod_template(&self, key: &SetKey, template: &Template, pod: &mut Value) {
        // Without the revision: a pod is replaced when its own template says so, and not because another object changed.
        self.put_labels(key, roles::INSTANCE, pod);
        if template.restart_nonce > 0 {
            let restart = self.installation().key(keys::RESTART);
            entry(entry(pod, "metadata"), "annotations")[restart] = json!(template.restart_nonce.to_string());
        }
        let spec = entry(pod, "spec");
        let names = &self.options.image_pull_secrets;
        if spec["imagePullSecrets"].is_null() && !names.is_empty() {
            spec["imagePullSecrets"] = names.iter().map(|name| json!({ "name": name })).collect();
        }
        default(spec, "automountServiceAccountToken", json!(false));
        if self.options.security == SecurityLevel::Restricted {
            restrict(spec);
        }
    }
}

/// What the level `restricted` asks for, where nothing is said.
fn restrict(spec: &mut Value) {
    let context = entry(spec, "securityContext");
    default(context, "runAsNonRoot", json!(true));
    default(context, "seccompProfile", json!({ "type": "RuntimeDefault" }));
    for list in ["initContainers", "containers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            let context = entry(container, "securityContext");
            default(context, "allowPrivilegeEscalation", json!(false));
            default(entry(context, "capabilities"), "drop", json!(["ALL"]));
        }
    }
}

/// The kinds and names of what autoscalers scale.
fn scaled(objects: &[Manifest]) -> Vec<(&str, &str)> {
    let scalers = objects.iter().filter(|object| object.kind() == "HorizontalPodAutoscaler");
    scalers
        .filter_map(|object| {
            let target = object.0.get("spec")?.get("scaleTargetRef")?;
            Some((target.get("kind")?.as_str()?, target.get("name")?.as_str()?))
        })
        .collect()
}

/// Puts values where sources were named.
fn fill(manifest: &Manifest, template: &Template, inputs: &Inputs, value: &mut Value) {
    let mut data = Map::new();
    for (key, _) in manifest.secret_values() {
        let bytes = match template.env.get(&manifest.value_name(key)) {
            Some(ResolvedValue::Plain(text)) => text.clone().into_bytes(),
            Some(ResolvedValue::Secret(secret)) => match inputs.secrets.get(secret) {
                Some(value) => value.reveal().to_vec(),
                None => continue,
            },
            _ => continue,
        };
        let encoded = serde_json::to_value(k8s_openapi::ByteString(bytes)).unwrap_or_default();
        data.insert(key.to_owned(), encoded);
    }
    if let Some(fields) = value.as_object_mut() {
        fields.remove("stringData");
        fields.insert("data".to_owned(), Value::Object(data));
    }
}

/// The field, made an object if it is none.
fn entry<'a>(value: &'a mut Value, field: &str) -> &'a mut Value {
    if !value.is_object() {
        *value = json!({});
    }
    let field = &mut value[field];
    if !field.is_object() {
        *field = json!({});
    }
    field
}

fn default(value: &mut Value, field: &str, to: Value) {
    if value[field].is_null() {
        value[field] = to;
    }
}
