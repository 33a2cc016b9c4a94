//! Templates: a component's declaration, image and configuration made into what runs, and its revision.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::action::Work;
use crate::engine::{SecretRecord, canonical_json};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::model::{
    AppSpec, CallTarget, Component, ComponentKind, ConfigEntry, ConfigVersion, EnvVar, FileSource,
    ResolvedFile, ResolvedValue, RestartPolicy, RevisionId, SecretRef, Template, ValueSource,
};
use crate::name::{AppEnv, ComponentName};

/// The version of the canonical form that revisions are hashes of. Another form gets another number, so that equal
/// revisions always mean equal templates.
const CANONICAL_FORM: &str = "paas/revision/v1";

/// How many hexadecimal digits of the hash a revision has.
const REVISION_DIGITS: usize = 12;

/// The permission bits of a file that says nothing.
const FILE_MODE: u32 = 0o444;

/// A template and its revision.
#[derive(Debug, Clone)]
pub(crate) struct Rendered {
    pub(crate) revision: RevisionId,
    pub(crate) template: Template,
}

impl Rendered {
    pub(crate) fn new(template: Template) -> Result<Self> {
        Ok(Self { revision: revision(&template)?, template })
    }
}

/// The canonical form of a template: its version, then JSON with sorted keys, in which a secret stands by its name and the
/// keyed hash of its value, so that a new version with an equal value changes nothing.
fn canonical(template: &Template) -> Result<Vec<u8>> {
    let mut body = serde_json::to_value(template)
        .map_err(|error| Error::new(ErrorKind::Internal, "compute a revision").with_source(error))?;
    for value in secrets_in(&mut body) {
        value.remove("version");
    }
    let mut form = format!("{CANONICAL_FORM}\0").into_bytes();
    form.extend(canonical_json(&body));
    Ok(form)
}

/// The revision of a template: a hash over its canonical form.
pub(crate) fn revision(template: &Template) -> Result<RevisionId> {
    let digits = hex::encode(Sha256::digest(canonical(template)?));
    RevisionId::new(&digits[..REVISION_DIGITS])
        .map_err(|fault| Error::new(ErrorKind::Internal, "compute a revision").with_source(fault.to_string()))
}

/// Whether two templates run the same.
pub(crate) fn same_content(a: &Template, b: &Template) -> Result<bool> {
    Ok(canonical(a)? == canonical(b)?)
}

/// The secrets named in a template's environment and files.
fn secrets_in(body: &mut Value) -> Vec<&mut serde_json::Map<String, Value>> {
    let Value::Object(fields) = body else { return Vec::new() };
    let mut found = Vec::new();
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("env", Value::Object(env)) => {
                found.extend(env.values_mut().filter_map(|it| it.get_mut("secret")));
            }
            ("files", Value::Array(files)) => {
                found.extend(files.iter_mut().filter_map(|it| it.get_mut("content")?.get_mut("secret")));
            }
            _ => {}
        }
    }
    found.into_iter().filter_map(Value::as_object_mut).collect()
}

/// The secrets that a template needs.
pub(crate) fn secret_refs(template: &Template) -> impl Iterator<Item = &SecretRef> {
    let values = template.env.values().chain(template.files.iter().map(|file| &file.content));
    values.filter_map(|value| if let ResolvedValue::Secret(secret) = value { Some(secret) } else { None })
}

/// Renders every component of a specification. Every setting and secret that is missing is reported with its path.
pub(crate) async fn templates(
    work: &mut Work<'_>,
    at: &AppEnv,
    spec: &AppSpec,
    digests: &BTreeMap<ComponentName, String>,
    config: &ConfigVersion,
    restarts: &BTreeMap<ComponentName, u64>,
) -> Result<BTreeMap<ComponentName, Rendered>> {
    let mut faults = Vec::new();
    let mut rendered = BTreeMap::new();
    let revoked = revoked(work, at, config).await?;
    let source = Source { config, revoked: &revoked };
    for (i, component) in spec.components.iter().enumerate() {
        let mut checker = Resolver { source, path: format!("components[{i}]"), faults: &mut faults };
        let mut env = checker.env(component);
        env.extend(checker.secrets_of_manifests(component));
        let files = checker.files(component);
        let has_image = component.kind != ComponentKind::Manifests;
        let none = String::new();
        let Some(digest) = digests.get(&component.name).or((!has_image).then_some(&none)) else {
            return Err(Error::new(ErrorKind::Internal, "render a component without a digest")
                .with_context("component", at.component(component.name.clone())));
        };
        let template = Template {
            component: at.component(component.name.clone()),
            kind: component.kind,
            image: component.image.clone(),
            digest: digest.clone(),
            command: component.command.clone(),
            args: component.args.clone(),
            working_dir: component.working_dir.clone(),
            ports: component.ports.clone(),
            env,
            files,
            volumes: component.volumes.clone(),
            resources: component.resources,
            probes: component.probes.clone(),
            restart: component.restart.unwrap_or(match component.kind {
                ComponentKind::Job | ComponentKind::ScheduledJob => RestartPolicy::Never,
                _ => RestartPolicy::Always,
            }),
            calls: calls(at, component, spec),
            termination: component.termination.clone(),
            security: component.security.clone(),
            manifests: component.manifests.clone(),
            restart_nonce: restarts.get(&component.name).copied().unwrap_or(0),
        };
        rendered.insert(component.name.clone(), Rendered::new(template)?);
    }
    if faults.is_empty() {
        return Ok(rendered);
    }
    Err(Error::invalid("resolve the configuration", faults)
        .with_context("application", at)
        .with_context("configuration", config.number))
}

/// The names of the secrets whose version in `config` may no longer be used.
async fn revoked(work: &mut Work<'_>, at: &AppEnv, config: &ConfigVersion) -> Result<Vec<String>> {
    let mut revoked = Vec::new();
    for entry in config.entries.values() {
        if let ConfigEntry::Secret(secret) = entry
            && !is_usable(work, at, secret).await?
        {
            revoked.push(secret.name.clone());
        }
    }
    Ok(revoked)
}

/// Whether a version of a secret exists and was not revoked; it must still be so at the commit.
pub(crate) async fn is_usable(work: &mut Work<'_>, at: &AppEnv, secret: &SecretRef) -> Result<bool> {
    let key = SecretRecord::key_of(at, &secret.name, secret.version);
    Ok(work.get::<SecretRecord>(&key).await?.is_some_and(|record| record.value.revoked.is_none()))
}

fn calls(at: &AppEnv, component: &Component, spec: &AppSpec) -> Vec<CallTarget> {
    let mut calls = Vec::new();
    for dependency in &component.depends_on {
        let Some(target) = spec.components.iter().find(|other| other.name == dependency.component) else {
            continue;
        };
        let wanted = |name| dependency.port.as_ref().is_none_or(|port| *port == name);
        for port in target.ports.iter().filter(|port| wanted(port.name.clone())) {
            let call = CallTarget { component: at.component(target.name.clone()), port: port.clone() };
            if !calls.contains(&call) {
                calls.push(call);
            }
        }
    }
    calls
}

#[derive(Clone, Copy)]
struct Source<'a> {
    config: &'a ConfigVersion,
    revoked: &'a [String],
}

/// Resolves one component's values, and notes what is missing.
struct Resolver<'a> {
    source: Source<'a>,
    path: String,
    faults: &'a mut Vec<Fault>,
}

impl Resolver<'_> {
    fn env(&mut self, component: &Component) -> BTreeMap<String, ResolvedValue> {
        let mut env = BTreeMap::new();
        for (name, value) in &component.env {
            let path = format!("{}.env[{name:?}]", self.path);
            let value = match value {
                EnvVar::Value(text) => Some(ResolvedValue::Plain(text.clone())),
                EnvVar::From(ValueSource::Config(setting)) => self.setting(&path, setting),
                EnvVar::From(ValueSource::Secret(secret)) => self.secret(&path, secret),
            };
            env.extend(value.map(|value| (name.clone(), value)));
        }
        env
    }

    fn secrets_of_manifests(&mut self, component: &Component) -> BTreeMap<String, ResolvedValue> {
        let mut values = BTreeMap::new();
        for (i, object) in component.manifests.iter().enumerate() {
            for (key, source) in object.secret_values() {
                let path = format!("{}.manifests[{i}] {object}.stringData.{key}", self.path);
                let value = match source {
                    Some(ValueSource::Config(setting)) => self.setting(&path, &setting),
                    Some(ValueSource::Secret(secret)) => self.secret(&path, &secret),
                    // Validation refused what is no source.
                    None => None,
                };
                values.extend(value.map(|value| (object.value_name(key), value)));
            }
        }
        values
    }

    fn files(&mut self, component: &Component) -> Vec<ResolvedFile> {
        let mut files = Vec::new();
        for (i, file) in component.files.iter().enumerate() {
            let path = format!("{}.files[{i}]", self.path);
            let content = match &file.source {
                FileSource::Content(text) => Some(ResolvedValue::Plain(text.clone())),
                FileSource::Config(setting) => self.setting(&path, setting),
                FileSource::Secret(secret) => self.secret(&path, secret),
            };
            let mode = match file
                .mode
                .as_deref()
                .map(|mode| u32::from_str_radix(mode.trim_start_matches("0o"), 8))
            {
                None => FILE_MODE,
                Some(Ok(mode)) => mode,
                Some(Err(_)) => {
                    let message = "is not a mode; write octal digits such as \"0440\"";
                    self.faults.push(Fault::new(format!("{path}.mode"), message));
                    FILE_MODE
                }
            };
            files.extend(content.map(|content| ResolvedFile { path: file.path.clone(), content, mode }));
        }
        files
    }

    fn setting(&mut self, path: &str, name: &str) -> Option<ResolvedValue> {
        let message = match self.source.config.entries.get(name) {
            Some(ConfigEntry::Setting(value)) => return Some(ResolvedValue::Plain(value.clone())),
            Some(ConfigEntry::Secret(_)) => format!("{name} is a secret; write `secret: {name}`"),
            None => format!("there is no setting {name}; set it first"),
        };
        self.faults.push(Fault::new(path, message));
        None
    }

    fn secret(&mut self, path: &str, name: &str) -> Option<ResolvedValue> {
        let message = match self.source.config.entries.get(name) {
            Some(ConfigEntry::Secret(secret)) if self.source.revoked.contains(&secret.name) => {
                format!("version {} of secret {name} was revoked; set a new one", secret.version)
            }
            Some(ConfigEntry::Secret(secret)) => return Some(ResolvedValue::Secret(secret.clone())),
            Some(ConfigEntry::Setting(_)) => format!("{name} is a setting; write `config: {name}`"),
            None => format!("there is no secret {name}; set it first"),
        };
        self.faults.push(Fault::new(path, message));
        None
    }
}
