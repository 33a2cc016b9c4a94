//! From what the platform declares to Kubernetes objects. Everything here is a pure function.

mod config;
mod container;
mod ordered;
mod pod;
mod probe;
mod run;
mod service;
mod set;
#[cfg(test)]
mod snapshots;
mod space;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use paas_core::ComponentName;
use paas_core::model::{SecretRef, Template};
use paas_core::port::{Epoch, SecretValue};

use crate::options::KubernetesOptions;
use crate::scheme::{Installation, keys};

pub(crate) use config::needs_objects;
pub(crate) use ordered::{ordinals, peers_service, stateful_set};
pub(crate) use pod::{check, faults};
pub(crate) use run::input_of;
pub(crate) use service::{NOBODY, Selection, component_service, nobody_service};
pub(crate) use set::SetObjects;
pub(crate) use space::manifests_policy;

/// The name of the one container of an instance.
pub(crate) const CONTAINER: &str = "main";

/// What a pod is made of beyond its template.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    /// The values of the secrets that the template names.
    pub(crate) secrets: BTreeMap<SecretRef, SecretValue>,
    /// The addresses of the components that it calls.
    pub(crate) hosts: BTreeMap<ComponentName, String>,
}

/// What objects are made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Builder<'a> {
    pub(crate) options: &'a KubernetesOptions,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(options: &'a KubernetesOptions) -> Self {
        Self { options }
    }

    pub(crate) fn installation(&self) -> &'a Installation {
        &self.options.installation
    }

    fn key(&self, name: &str) -> String {
        self.installation().key(name)
    }

    /// Labels with those of the caller, which never replace the platform's own.
    fn labels(
        &self,
        own: BTreeMap<String, String>,
        given: &BTreeMap<String, String>,
        role: &str,
    ) -> BTreeMap<String, String> {
        let mut labels = own;
        labels.insert(self.key(keys::ROLE), role.to_owned());
        for (name, value) in given {
            let key = if name.contains('/') { name.clone() } else { self.key(name) };
            if is_label_value(value) {
                labels.entry(key).or_insert_with(|| value.clone());
            }
        }
        labels
    }

    /// The caller's values that cannot be labels.
    fn remarks(&self, given: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let long = given.iter().filter(|(_, value)| !is_label_value(value));
        long.map(|(name, value)| (self.key(&format!("label-{}", name.replace('/', "."))), value.clone()))
            .collect()
    }

    /// The annotation of the epoch that made an object.
    pub(crate) fn epoch(&self, epoch: Epoch) -> (String, String) {
        (self.key(keys::EPOCH), epoch.0.to_string())
    }
}

/// What identifies a template in an annotation: itself, with the contents of files by their digests, so that it fits.
///
/// It is compared as a template and never as text: a later version of the SDK may know more fields.
pub(crate) fn record(template: &Template) -> Template {
    let mut record = template.clone();
    for file in &mut record.files {
        if let paas_core::model::ResolvedValue::Plain(text) = &mut file.content {
            *text = format!("sha256:{}", crate::scheme::hash(text, 64));
        }
    }
    record
}

fn metadata(namespace: &str, name: &str, labels: BTreeMap<String, String>) -> ObjectMeta {
    ObjectMeta {
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        labels: Some(labels),
        ..ObjectMeta::default()
    }
}

fn matching(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
}

/// The owner of what shall go when the owner goes.
pub(crate) fn owner<K>(object: &K) -> Vec<OwnerReference>
where
    K: k8s_openapi::Resource + k8s_openapi::Metadata<Ty = ObjectMeta>,
{
    let meta = object.metadata();
    vec![OwnerReference {
        api_version: K::API_VERSION.to_owned(),
        kind: K::KIND.to_owned(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        controller: None,
        block_owner_deletion: None,
    }]
}

/// A label value by the rules of Kubernetes: at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at
/// both ends.
fn is_label_value(value: &str) -> bool {
    let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    value.len() <= 63
        && value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && edge(value.chars().next())
        && edge(value.chars().last())
}
