//! What is placed into an instance's file system: volumes, configs, secrets.

use std::collections::BTreeMap;

use paas_core::VolumeName;
use paas_core::model::{Component, FileMount, FileSource, VolumeMount};

use super::Files;
use super::node::{Node, scalar};
use super::report::Report;

/// Reads the mounts of services, which share the definitions at the top of the file.
pub(super) struct Mounts<'a> {
    pub(super) top: &'a Node<'a>,
    pub(super) variables: &'a BTreeMap<String, String>,
    pub(super) files: &'a dyn Files,
    /// Who has a volume already: volumes belong to one service.
    owners: BTreeMap<String, String>,
}

impl<'a> Mounts<'a> {
    pub(super) fn new(
        top: &'a Node<'a>,
        variables: &'a BTreeMap<String, String>,
        files: &'a dyn Files,
    ) -> Self {
        Self { top, variables, files, owners: BTreeMap::new() }
    }

    pub(super) fn read(&mut self, service: &Node<'_>, component: &mut Component, report: &mut Report) {
        for node in service.each("volumes", report) {
            let mount = match scalar(node.value) {
                Some(text) => self.short(&node.path, &text, component, report),
                None => self.long(&node, component, report),
            };
            component.volumes.extend(mount);
        }
        for node in service.each_or_one("tmpfs", report) {
            let text = node.text(report).unwrap_or_default();
            memory(&node.path, text.split(':').next().unwrap_or_default(), report);
        }
        for node in service.each("configs", report) {
            component.files.extend(self.file(&node, "configs", "/", report));
        }
        for node in service.each("secrets", report) {
            component.files.extend(self.file(&node, "secrets", "/run/secrets/", report));
        }
    }

    /// `[SOURCE:]TARGET[:MODE]`
    fn short(
        &mut self,
        path: &str,
        text: &str,
        component: &Component,
        report: &mut Report,
    ) -> Option<VolumeMount> {
        let mut parts = text.split(':');
        let (first, second, mode) = (parts.next()?, parts.next(), parts.next());
        let Some(target) = second else { return self.volume(path, None, first, false, component, report) };
        let mut read_only = false;
        for word in mode.into_iter().flat_map(|mode| mode.split(',')) {
            match word {
                "ro" => read_only = true,
                "rw" | "z" | "Z" | "nocopy" | "cached" | "delegated" | "consistent" => {}
                _ => report.fault(path, format!("{word:?} is not a mode of a volume; write ro or rw")),
            }
        }
        if is_path(first) {
            bound(path, first, report);
            return None;
        }
        self.volume(path, Some(first), target, read_only, component, report)
    }

    fn long(&mut self, node: &Node<'_>, component: &Component, report: &mut Report) -> Option<VolumeMount> {
        node.only(
            &["type", "source", "target", "read_only", "bind", "volume", "tmpfs", "image", "consistency"],
            report,
        );
        let mut text = |name: &str| node.field(name).and_then(|it| it.text(report));
        let (kind, source) = (text("type").unwrap_or_else(|| "volume".to_owned()), text("source"));
        let Some(target) = text("target") else {
            report.fault(&node.path, "has no target; name the path in the instance");
            return None;
        };
        let read_only = node.field("read_only").and_then(|it| it.truth(report)).unwrap_or_default();
        if let Some(subpath) = node.field("volume").and_then(|it| it.field("subpath")) {
            report.fault(&subpath.path, "a part of a volume cannot be mounted; mount it whole");
        }
        match kind.as_str() {
            "volume" => self.volume(&node.path, source.as_deref(), &target, read_only, component, report),
            "bind" => {
                bound(&node.path, source.as_deref().unwrap_or_default(), report);
                None
            }
            "tmpfs" => {
                memory(&node.path, &target, report);
                None
            }
            _ => {
                report
                    .fault(&node.path, format!("mounts of the type {kind:?} are not possible; use a volume"));
                None
            }
        }
    }

    fn volume(
        &mut self,
        path: &str,
        source: Option<&str>,
        target: &str,
        read_only: bool,
        component: &Component,
        report: &mut Report,
    ) -> Option<VolumeMount> {
        let written = source.map_or_else(|| format!("data{target}"), str::to_owned);
        let name: VolumeName = report.take(path, volume_name(&written).parse())?;
        if let Some(source) = source {
            self.defined(path, source, report);
        } else {
            report.note(
                path,
                format!("the volume without a name is named {name}, and stays when the service is replaced"),
            );
        }
        let owner = component.name.to_string();
        if source.is_some()
            && let Some(other) = self.owners.insert(written.clone(), owner.clone())
            && other != owner
        {
            report.fault(path, format!("volume {written} is used by service {other} too; volumes are not shared, use one for each"));
        }
        Some(VolumeMount { name, path: target.to_owned(), read_only })
    }

    /// Checks the definition of a named volume.
    fn defined(&self, path: &str, name: &str, report: &mut Report) {
        let Some(volumes) = self.top.field("volumes") else {
            return report
                .fault(path, format!("volume {name} is not among `volumes` at the top; add it there"));
        };
        match volumes.value.get(name) {
            None => {
                report.fault(path, format!("volume {name} is not among `volumes` at the top; add it there"));
            }
            Some(definition) => {
                let definition = Node::new(format!("volumes.{name}"), definition);
                for (key, node) in definition.entries(report) {
                    match key {
                        "driver" if scalar(node.value).as_deref() == Some("local") => {}
                        "external" if node.value == &serde_json::Value::Bool(false) => {}
                        "labels" | "name" => {
                            report.note(&node.path, "is left out: volumes are named by the platform");
                        }
                        "external" => report.fault(
                            &node.path,
                            "a volume from outside cannot be used; let the platform make it",
                        ),
                        _ => {
                            report
                                .fault(&node.path, "is not possible: volumes are the platform's; remove it");
                        }
                    }
                }
            }
        }
    }

    /// A config or a secret: `NAME`, or the long form.
    fn file(&self, node: &Node<'_>, kind: &str, folder: &str, report: &mut Report) -> Option<FileMount> {
        let short = scalar(node.value);
        if short.is_none() {
            node.only(&["source", "target", "uid", "gid", "mode"], report);
        }
        let Some(name) = short.or_else(|| node.field("source").and_then(|it| it.text(report))) else {
            report.fault(&node.path, "has no source; name one of those at the top");
            return None;
        };
        let target = node.field("target").and_then(|it| it.text(report)).unwrap_or_else(|| name.clone());
        let path = if target.starts_with('/') { target } else { format!("{folder}{target}") };
        if node.field("uid").or_else(|| node.field("gid")).is_some() {
            report.note(
                &node.path,
                "uid and gid are left out: the file is the platform's; `mode` says who reads it",
            );
        }
        let mode = node.field("mode").and_then(|mode| match mode.value.as_u64() {
            Some(bits) => Some(format!("{bits:04o}")),
            None => mode.text(report),
        });
        let Some(definition) = self.top.field(kind).and_then(|all| all.field(&name)) else {
            report.fault(&node.path, format!("{name} is not among `{kind}` at the top; add it there"));
            return None;
        };
        let source = if kind == "secrets" {
            secret(&name, &definition, report)
        } else {
            self.config(&name, &definition, report)?
        };
        Some(FileMount { path, source, mode })
    }

    fn config(&self, name: &str, definition: &Node<'_>, report: &mut Report) -> Option<FileSource> {
        definition.only(&["file", "content", "environment", "external", "name", "labels"], report);
        if let Some(content) = definition.field("content") {
            return content.text(report).map(FileSource::Content);
        }
        if let Some(file) = definition.field("file") {
            let path = file.text(report)?;
            let read = self.files.read(&path).map_err(|error| format!("{path} cannot be read: {error}"));
            return report.take(&file.path, read).map(FileSource::Content);
        }
        if let Some(variable) = definition.field("environment") {
            let name = variable.text(report)?;
            let value = self.variables.get(&name).ok_or_else(|| format!("variable {name} is not set"));
            return report.take(&variable.path, value).cloned().map(FileSource::Content);
        }
        let key = definition.field("name").and_then(|it| it.text(report)).unwrap_or_else(|| name.to_owned());
        report.note(&definition.path, format!("is the setting {key}: `paas config set APP {key}=…`"));
        Some(FileSource::Config(key))
    }
}

/// A secret is never read here: its value goes to the platform by a way of its own, sealed.
fn secret(name: &str, definition: &Node<'_>, report: &mut Report) -> FileSource {
    definition
        .only(&["file", "environment", "external", "name", "labels", "driver", "template_driver"], report);
    let mut text = |key: &str| definition.field(key).and_then(|it| it.text(report));
    let key = text("name").unwrap_or_else(|| name.to_owned());
    let how = match (text("file"), text("environment")) {
        (Some(file), _) => format!("`paas secret set APP {key} --file {file}`"),
        (_, Some(variable)) => format!("`printenv {variable} | paas secret set APP {key}`"),
        _ => format!("`paas secret set APP {key} --file FILE`"),
    };
    report.note(&definition.path, format!("is the secret {key}, which has to be set before: {how}"));
    FileSource::Secret(key)
}

fn bound(path: &str, source: &str, report: &mut Report) {
    report.fault(
        path,
        format!("{source} of the machine cannot be mounted; use a named volume, or `configs` for a file that does not change"),
    );
}

fn memory(path: &str, target: &str, report: &mut Report) {
    if target == "/tmp" {
        report.note(path, "is left out: /tmp can be written to in every instance");
    } else {
        report.fault(path, format!("{target} cannot be in memory; use /tmp, or a named volume"));
    }
}

fn is_path(source: &str) -> bool {
    source.starts_with(['.', '/', '~', '\\']) || source.contains('/')
}

/// Names of Compose may have more letters than the platform's.
fn volume_name(written: &str) -> String {
    let letter =
        |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
    written.chars().map(letter).collect::<String>().trim_matches('-').to_owned()
}
