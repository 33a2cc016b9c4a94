//! The one container of an instance.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, Lifecycle, LifecycleHandler, ResourceRequirements,
    SeccompProfile, SecurityContext, SleepAction,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use paas_core::model::{Resources, Template};

use super::{Builder, CONTAINER};
use crate::options::SecurityLevel;

impl Builder<'_> {
    /// The container without its environment and mounts.
    pub(super) fn container(&self, template: &Template) -> Container {
        let ports = template.ports.iter().map(|port| ContainerPort {
            name: Some(port.name.to_string()),
            container_port: i32::from(port.number),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        });
        Container {
            name: CONTAINER.to_owned(),
            image: Some(self.image(template)),
            // The digest says exactly which; what a node has need not be asked for again.
            image_pull_policy: Some("IfNotPresent".to_owned()),
            command: template.command.as_deref().map(literal),
            args: template.args.as_deref().map(literal),
            working_dir: template.working_dir.clone(),
            ports: Some(ports.collect()),
            resources: Some(resources(&template.resources)),
            security_context: Some(self.security_context(template)),
            // The last lines of its output come with its status, without another call.
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            ..Container::default()
        }
    }

    /// The image by its digest, in the registry of its name or in the default one.
    pub(super) fn image(&self, template: &Template) -> String {
        let name = template.image.split('@').next().unwrap_or_default();
        let last = name.rfind('/').map_or(0, |slash| slash + 1);
        let name = name[last..].find(':').map_or(name, |colon| &name[..last + colon]);
        let has_registry =
            name.split_once('/').is_some_and(|(host, _)| host.contains(['.', ':']) || host == "localhost");
        match &self.options.default_registry {
            Some(registry) if !has_registry => format!("{registry}/{name}@{}", template.digest),
            _ => format!("{name}@{}", template.digest),
        }
    }

    fn security_context(&self, template: &Template) -> SecurityContext {
        let restricted = self.options.security == SecurityLevel::Restricted;
        let drop = if restricted { vec!["ALL".to_owned()] } else { vec!["NET_RAW".to_owned()] };
        let (user, group) = user(template).unwrap_or_default();
        SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { add: None, drop: Some(drop) }),
            privileged: Some(false),
            read_only_root_filesystem: Some(template.security.read_only_root),
            run_as_non_root: Some(restricted),
            run_as_user: user,
            run_as_group: group,
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..SecurityContext::default()
        }
    }

    /// How long an instance that goes is still served before its stop signal.
    pub(super) fn settle_seconds(&self, template: &Template) -> i64 {
        let settle = i64::try_from(self.options.settle.as_secs()).unwrap_or(i64::MAX);
        if template.ports.is_empty() { 0 } else { settle.min(template.termination.drain_seconds.into()) }
    }

    /// Out of service first: the hook keeps the stop signal back until nobody sends requests any more.
    pub(super) fn lifecycle(&self, template: &Template) -> Option<Lifecycle> {
        let seconds = self.settle_seconds(template);
        let sleep = LifecycleHandler { sleep: Some(SleepAction { seconds }), ..LifecycleHandler::default() };
        (seconds > 0).then(|| Lifecycle { pre_stop: Some(sleep), ..Lifecycle::default() })
    }
}

/// Words as they are: Kubernetes would replace `$(NAME)`; a doubled sign stands for itself.
pub(super) fn literal(words: &[String]) -> Vec<String> {
    words.iter().map(|word| word.replace("$(", "$$(")).collect()
}

/// The user and group that a template names by number; nothing if it names them by name.
pub(super) fn user(template: &Template) -> Option<(Option<i64>, Option<i64>)> {
    let Some(user) = &template.security.user else { return Some((None, None)) };
    match user.split_once(':') {
        Some((user, group)) => Some((Some(user.parse().ok()?), Some(group.parse().ok()?))),
        None => Some((Some(user.parse().ok()?), None)),
    }
}

/// Memory is both requested and limited: what was granted is there. Processor time is requested and limited alike.
fn resources(resources: &Resources) -> ResourceRequirements {
    let mut limits = BTreeMap::new();
    if let Some(cpu) = resources.cpu {
        limits.insert("cpu".to_owned(), Quantity(cpu.to_string()));
    }
    if let Some(memory) = resources.memory {
        limits.insert("memory".to_owned(), Quantity(memory.to_string()));
    }
    if let Some(storage) = resources.storage {
        limits.insert("ephemeral-storage".to_owned(), Quantity(storage.to_string()));
    }
    if limits.is_empty() {
        return ResourceRequirements::default();
    }
    ResourceRequirements { requests: Some(limits.clone()), limits: Some(limits), claims: None }
}
