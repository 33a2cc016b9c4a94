//! What objects may say. Whatever Pod Security and quotas would refuse later is named before anything is stored.

mod kind;
mod pod;

use paas_core::Fault;
use paas_core::model::{Manifest, Template};
use serde_json::Value;

use super::kinds;
use crate::options::KubernetesOptions;

/// What is refused of the objects of a template, each fault with its path.
pub(crate) fn refusals(options: &KubernetesOptions, template: &Template) -> Vec<Fault> {
    let mut faults = Vec::new();
    let namespace = options.installation.namespace(&template.component.at.env_ref());
    for (index, object) in template.manifests.iter().enumerate() {
        let path = format!("manifests[{index}] {object}");
        let rules =
            Rules { options, objects: &template.manifests, namespace: &namespace, path, faults: &mut faults };
        rules.check(object);
    }
    faults
}

/// The rules for one object.
struct Rules<'a> {
    options: &'a KubernetesOptions,
    /// All objects of the application.
    objects: &'a [Manifest],
    namespace: &'a str,
    path: String,
    faults: &'a mut Vec<Fault>,
}

impl Rules<'_> {
    fn check(mut self, object: &Manifest) {
        let Some(kind) = kinds::of(object) else {
            return self.fault("kind", kinds::reason(object));
        };
        let version = object.api_version().rsplit('/').next().unwrap_or_default();
        if !kind.versions.contains(&version) {
            self.fault("apiVersion", format!("{version} is not taken; use {}", kind.versions.join(" or ")));
        }
        let value = Value::Object(object.0.clone());
        if !value["status"].is_null() {
            self.fault("status", "is the cluster's; remove it");
        }
        self.metadata("metadata", &value["metadata"], &["name", "namespace"]);
        if let Some(place) = value["metadata"]["namespace"].as_str()
            && place != self.namespace
        {
            self.fault(
                "metadata.namespace",
                format!("{place} is not this environment's namespace; remove it"),
            );
        }
        self.labels("spec.selector", &value["spec"]["selector"]);
        self.labels("spec.selector.matchLabels", &value["spec"]["selector"]["matchLabels"]);
        if let Some(pointer) = kind.pod {
            let path = pointer.trim_start_matches('/').replace('/', ".");
            let template = value.pointer(pointer).unwrap_or(&Value::Null);
            self.metadata(&format!("{path}.metadata"), &template["metadata"], &["name", "creationTimestamp"]);
            self.pod(&format!("{path}.spec"), &template["spec"]);
        }
        self.kind(kind, &value);
    }

    fn fault(&mut self, path: &str, message: impl Into<String>) {
        self.faults.push(Fault::new(format!("{}.{path}", self.path), message));
    }

    fn metadata(&mut self, path: &str, metadata: &Value, more: &[&str]) {
        for (key, value) in metadata.as_object().into_iter().flatten() {
            let said = !value.is_null() && !value.as_array().is_some_and(Vec::is_empty);
            if said && !more.contains(&key.as_str()) && !matches!(key.as_str(), "labels" | "annotations") {
                self.fault(&format!("{path}.{key}"), "is the cluster's or the platform's; remove it");
            }
        }
        self.labels(&format!("{path}.labels"), &metadata["labels"]);
        self.labels(&format!("{path}.annotations"), &metadata["annotations"]);
    }

    /// The platform's own labels are nobody else's to write or to select by.
    fn labels(&mut self, path: &str, labels: &Value) {
        let domain = self.options.installation.domain();
        for (key, _) in labels.as_object().into_iter().flatten() {
            let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
            if prefix == domain || prefix.ends_with(&format!(".{domain}")) {
                self.fault(
                    &format!("{path}[{key:?}]"),
                    format!("the prefix {domain} is the platform's; use another"),
                );
            }
            if key.ends_with("-snippet") {
                self.fault(
                    &format!("{path}[{key:?}]"),
                    "would write into the configuration that all share; remove it",
                );
            }
        }
    }

    /// Whether the application has an object.
    fn has(&self, kind: &str, name: &str) -> bool {
        self.objects.iter().any(|object| object.kind() == kind && object.name() == name)
    }
}
