//! Services as components.

use std::collections::{BTreeMap, BTreeSet};

use paas_core::ComponentName;
use paas_core::model::{
    AppSpec, Component, ComponentKind, Dependency, EnvVar, Instances, Resources, Security, Termination,
};
use serde_json::Value;

use super::mounts::Mounts;
use super::node::{Node, scalar};
use super::report::Report;
use super::{Files, deploy, health, keys, measure, ports, settings};

/// What the services of a file are read with.
pub(super) struct Reader<'a> {
    pub(super) top: &'a Node<'a>,
    pub(super) variables: &'a BTreeMap<String, String>,
    pub(super) files: &'a dyn Files,
    /// The services that run, with what they extend merged in.
    pub(super) services: &'a BTreeMap<&'a str, &'a Value>,
}

/// A dependency as it is written.
struct Wanted {
    path: String,
    name: String,
    completed: bool,
    required: bool,
}

impl Reader<'_> {
    pub(super) fn read(&self, report: &mut Report) -> AppSpec {
        let nodes: Vec<(&str, Node<'_>)> = self
            .services
            .iter()
            .map(|(name, value)| (*name, Node::new(format!("services.{name}"), value)))
            .collect();
        let wanted: BTreeMap<&str, Vec<Wanted>> =
            nodes.iter().map(|(name, node)| (*name, wanted(node, report))).collect();
        let jobs: BTreeSet<&str> =
            wanted.values().flatten().filter(|it| it.completed).map(|it| it.name.as_str()).collect();
        let mut mounts = Mounts::new(self.top, self.variables, self.files);
        let mut spec = AppSpec { components: Vec::new(), routes: Vec::new(), strategy: None };
        for (name, node) in &nodes {
            if !node.value.is_object() {
                report.fault(&node.path, "is not a mapping; a service needs at least an image");
                continue;
            }
            let Some(component) = report.take(&node.path, name.parse::<ComponentName>()) else { continue };
            let kind = if jobs.contains(name) { ComponentKind::Job } else { ComponentKind::Service };
            let mut component = self.component(node, component, kind, report);
            mounts.read(node, &mut component, report);
            spec.routes.extend(ports::read(node, &mut component, report));
            deploy::read(node, &mut component, report);
            if component.kind == ComponentKind::Service && component.ports.is_empty() {
                component.kind = ComponentKind::Worker;
            }
            for wanted in &wanted[name] {
                component.depends_on.extend(self.dependency(wanted, report));
            }
            spec.components.push(component);
        }
        for (name, node) in &nodes {
            if let Some(component) = spec.components.iter().find(|it| it.name.as_str() == *name) {
                Self::unreachable(node, component, &spec, report);
            }
        }
        spec
    }

    fn component(
        &self,
        node: &Node<'_>,
        name: ComponentName,
        kind: ComponentKind,
        report: &mut Report,
    ) -> Component {
        keys::check(node, report);
        let text = |key: &str, report: &mut Report| node.field(key).and_then(|it| it.text(report));
        let words = |key: &str, report: &mut Report| {
            node.field(key).and_then(|it| it.words(report)).filter(|words| !words.is_empty())
        };
        let mut termination = Termination::default();
        if let Some(grace) = node.field("stop_grace_period") {
            let text = grace.text(report).unwrap_or_default();
            termination.grace_seconds =
                report.take(&grace.path, measure::seconds(&text)).unwrap_or(termination.grace_seconds);
        }
        if let Some(signal) = node.field("stop_signal") {
            let text = signal.text(report).unwrap_or_default();
            if !matches!(text.as_str(), "SIGTERM" | "TERM" | "15") {
                report.fault(
                    &signal.path,
                    format!("{text:?} is not possible: instances are stopped by SIGTERM; remove it"),
                );
            }
        }
        Component {
            name,
            kind,
            image: image(node, report),
            command: words("entrypoint", report),
            args: words("command", report),
            working_dir: text("working_dir", report),
            ports: Vec::new(),
            env: settings::read(node, self.variables, self.files, report),
            files: Vec::new(),
            volumes: Vec::new(),
            resources: Resources::default(),
            probes: health::read(node, report),
            restart: None,
            schedule: None,
            depends_on: Vec::new(),
            instances: Instances::default(),
            termination,
            security: Security {
                read_only_root: node.field("read_only").and_then(|it| it.truth(report)).unwrap_or_default(),
                user: text("user", report),
            },
            strategy: None,
            manifests: Vec::new(),
        }
    }

    fn dependency(&self, wanted: &Wanted, report: &mut Report) -> Option<Dependency> {
        if !self.services.contains_key(wanted.name.as_str()) {
            let message = format!("service {} is not there, or none of its profiles is active", wanted.name);
            if wanted.required {
                report.fault(&wanted.path, message);
            } else {
                report.note(&wanted.path, message);
            }
            return None;
        }
        // A name that cannot be one is a fault of that service.
        wanted.name.parse().ok().map(|component| Dependency { component, port: None })
    }

    /// Notes services that seem to be called and are not reached.
    fn unreachable(node: &Node<'_>, component: &Component, spec: &AppSpec, report: &mut Report) {
        for other in &spec.components {
            let named = component.depends_on.iter().any(|it| it.component == other.name);
            if named && other.ports.is_empty() && other.kind != ComponentKind::Job {
                report.note(
                    &format!("services.{}", other.name),
                    "names no port, so that nobody reaches it; `expose` names one",
                );
            }
            if named || other.name == component.name {
                continue;
            }
            let mentions = component.env.iter().find(|(variable, value)| match value {
                EnvVar::Value(value) => mentions(variable, value, other.name.as_str()),
                EnvVar::From(_) => false,
            });
            if let Some((variable, _)) = mentions {
                report.note(
                    &node.path,
                    format!(
                        "{variable} mentions {0}, which is reached only if depends_on names {0}",
                        other.name
                    ),
                );
            }
        }
    }
}

fn image(node: &Node<'_>, report: &mut Report) -> String {
    let image = node.field("image").and_then(|it| it.text(report));
    match (image, node.field("build")) {
        (Some(image), build) => {
            if let Some(build) = build {
                report.note(&build.path, format!("is left out: {image} must be in its registry already"));
            }
            image
        }
        (None, Some(build)) => {
            report.fault(&build.path, "images are not built here; build and push it, and name it as `image`");
            String::new()
        }
        (None, None) => {
            report.fault(&node.path, "has no image; name one");
            String::new()
        }
    }
}

fn wanted(service: &Node<'_>, report: &mut Report) -> Vec<Wanted> {
    let mut all = Vec::new();
    if let Some(node) = service.field("depends_on") {
        if node.value.is_array() {
            for item in node.items(report) {
                let Some(name) = item.text(report) else { continue };
                all.push(Wanted { path: item.path, name, completed: false, required: true });
            }
        } else {
            for (name, item) in node.entries(report) {
                all.push(conditional(name, &item, report));
            }
        }
    }
    for item in service.each("links", report) {
        let Some(text) = item.text(report) else { continue };
        let (name, alias) = text.split_once(':').unwrap_or((&text, &text));
        if alias != name {
            report.fault(
                &item.path,
                format!("{name} is reached under its own name only; use {name} instead of {alias}"),
            );
        }
        if !all.iter().any(|it| it.name == name) {
            all.push(Wanted { path: item.path, name: name.to_owned(), completed: false, required: true });
        }
    }
    all
}

fn conditional(name: &str, item: &Node<'_>, report: &mut Report) -> Wanted {
    if !item.value.is_null() {
        item.only(&["condition", "restart", "required"], report);
    }
    let condition = item.field("condition").and_then(|it| scalar(it.value));
    let completed = match condition.as_deref() {
        None | Some("service_started" | "service_healthy") => false,
        Some("service_completed_successfully") => true,
        Some(other) => {
            report.fault(
                &format!("{}.condition", item.path),
                format!("{other:?} is not a condition; write service_started, service_healthy or service_completed_successfully"),
            );
            false
        }
    };
    if item.field("restart").and_then(|it| it.truth(report)) == Some(true) {
        report.note(
            &format!("{}.restart", item.path),
            "is left out: a service is not started again because of another one",
        );
    }
    let required = item.field("required").and_then(|it| it.truth(report)).unwrap_or(true);
    Wanted { path: item.path.clone(), name: name.to_owned(), completed, required }
}

/// Whether a variable names a host: `HOST=redis`, `redis:6379`, `//redis/`, `@redis:`.
fn mentions(variable: &str, value: &str, host: &str) -> bool {
    if value == host {
        return variable.to_ascii_uppercase().contains("HOST");
    }
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    value.match_indices(host).any(|(at, _)| {
        let (before, after) = (&value[..at], &value[at + host.len()..]);
        let port =
            after.strip_prefix(':').is_some_and(|port| port.starts_with(|it: char| it.is_ascii_digit()));
        let in_url = before.ends_with("//") || before.ends_with('@');
        !after.starts_with(is_part) && (in_url || port && (before.is_empty() || before.ends_with(',')))
    })
}
