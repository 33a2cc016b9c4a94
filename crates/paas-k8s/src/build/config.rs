//! Settings, secrets and files: immutable objects of one making of a set or a run.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, EnvVar, EnvVarSource, KeyToPath, Secret, SecretKeySelector,
    SecretVolumeSource, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use paas_core::model::{ResolvedValue, Template};

use super::Inputs;

const FILES: &str = "files";
const SECRET_FILES: &str = "secret-files";

/// Whether instances of a template need a config map or a secret before they can start.
pub(crate) fn needs_objects(template: &Template, more: &BTreeMap<String, ResolvedValue>) -> bool {
    let secret = |value: &ResolvedValue| matches!(value, ResolvedValue::Secret(_));
    !template.files.is_empty() || template.env.values().chain(more.values()).any(secret)
}

/// The config map of a template's plain files, if it has any.
pub(super) fn config_map(metadata: ObjectMeta, template: &Template) -> Option<ConfigMap> {
    let plain = template.files.iter().enumerate().filter_map(|(index, file)| match &file.content {
        ResolvedValue::Plain(text) => Some((file_key(index), text.clone())),
        _ => None,
    });
    let data: BTreeMap<_, _> = plain.collect();
    (!data.is_empty()).then(|| ConfigMap {
        metadata,
        data: Some(data),
        immutable: Some(true),
        ..ConfigMap::default()
    })
}

/// The secret of a template's secret values, if it has any.
pub(super) fn secret(
    metadata: ObjectMeta,
    template: &Template,
    more: &BTreeMap<String, ResolvedValue>,
    inputs: &Inputs,
) -> Option<Secret> {
    let value = |value: &ResolvedValue| match value {
        ResolvedValue::Secret(secret) => {
            inputs.secrets.get(secret).map(|it| ByteString(it.reveal().to_vec()))
        }
        _ => None,
    };
    let mut data = BTreeMap::new();
    for (name, from) in template.env.iter().chain(more) {
        if let Some(bytes) = value(from) {
            data.insert(env_key(name), bytes);
        }
    }
    for (index, file) in template.files.iter().enumerate() {
        if let Some(bytes) = value(&file.content) {
            data.insert(file_key(index), bytes);
        }
    }
    (!data.is_empty()).then(|| Secret {
        metadata,
        data: Some(data),
        immutable: Some(true),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    })
}

/// Environment variables; secret ones by reference.
pub(super) fn env(values: &BTreeMap<String, ResolvedValue>, object: &str) -> Vec<EnvVar> {
    let variable = |(name, value): (&String, &ResolvedValue)| match value {
        ResolvedValue::Plain(text) => {
            // Kubernetes would replace `$(NAME)`; a doubled sign stands for itself.
            EnvVar { name: name.clone(), value: Some(text.replace("$(", "$$(")), ..EnvVar::default() }
        }
        _ => EnvVar {
            name: name.clone(),
            value_from: Some(EnvVarSource {
                secret_key_ref: Some(SecretKeySelector {
                    name: object.to_owned(),
                    key: env_key(name),
                    optional: Some(false),
                }),
                ..EnvVarSource::default()
            }),
            ..EnvVar::default()
        },
    };
    values.iter().map(variable).collect()
}

/// The volumes that hold the files, and where each file is seen.
pub(super) fn files(template: &Template, object: &str) -> (Vec<Volume>, Vec<VolumeMount>) {
    let (mut plain, mut secret, mut mounts) = (Vec::new(), Vec::new(), Vec::new());
    for (index, file) in template.files.iter().enumerate() {
        let key = file_key(index);
        let item = KeyToPath { key: key.clone(), path: key.clone(), mode: i32::try_from(file.mode).ok() };
        let volume = if matches!(file.content, ResolvedValue::Plain(_)) {
            plain.push(item);
            FILES
        } else {
            secret.push(item);
            SECRET_FILES
        };
        mounts.push(VolumeMount {
            name: volume.to_owned(),
            mount_path: file.path.clone(),
            sub_path: Some(key),
            read_only: Some(true),
            ..VolumeMount::default()
        });
    }
    let mut volumes = Vec::new();
    if !plain.is_empty() {
        let config_map = ConfigMapVolumeSource {
            name: object.to_owned(),
            items: Some(plain),
            ..ConfigMapVolumeSource::default()
        };
        volumes.push(Volume { name: FILES.to_owned(), config_map: Some(config_map), ..Volume::default() });
    }
    if !secret.is_empty() {
        let source = SecretVolumeSource {
            secret_name: Some(object.to_owned()),
            items: Some(secret),
            ..SecretVolumeSource::default()
        };
        volumes.push(Volume { name: SECRET_FILES.to_owned(), secret: Some(source), ..Volume::default() });
    }
    (volumes, mounts)
}

fn file_key(index: usize) -> String {
    format!("file-{index}")
}

/// The names of variables are valid keys as they are, but for what a key must not begin with.
fn env_key(name: &str) -> String {
    format!("env-{name}")
}
