//! How many instances, what each may use, and what happens when one ends.

use paas_core::model::{Component, ComponentKind, Instances, RestartPolicy};

use super::measure;
use super::node::{Node, scalar};
use super::report::Report;

/// Keys of `deploy` that are not carried over, with the reason.
const NOTED: [(&str, &str); 5] = [
    ("labels", "labels are not carried over"),
    ("placement", "the platform chooses where instances run"),
    ("update_config", "releases proceed as the environment's strategy says"),
    ("rollback_config", "releases go back as the environment's strategy says"),
    ("endpoint_mode", "requests are shared out by the gateway"),
];

/// Fills in what the service says of its instances.
pub(super) fn read(service: &Node<'_>, component: &mut Component, report: &mut Report) {
    let deploy = service.field("deploy");
    if let Some(deploy) = &deploy {
        for (key, node) in deploy.entries(report) {
            if let Some((_, reason)) = NOTED.iter().find(|(name, _)| *name == key) {
                report.note(&node.path, format!("is left out: {reason}"));
            } else if !matches!(key, "mode" | "replicas" | "resources" | "restart_policy") {
                report.fault(&node.path, "is no key of `deploy` of the Compose Specification; remove it");
            }
        }
        if let Some(mode) = deploy.field("mode") {
            match scalar(mode.value).as_deref() {
                Some("replicated") => {}
                Some("replicated-job" | "global-job") => component.kind = ComponentKind::Job,
                _ => report
                    .fault(&mode.path, "instances are not spread over every machine; write `replicated`"),
            }
        }
    }
    instances(service, deploy.as_ref(), component, report);
    resources(service, deploy.as_ref(), component, report);
    restart(service, deploy.as_ref(), component, report);
}

fn instances(service: &Node<'_>, deploy: Option<&Node<'_>>, component: &mut Component, report: &mut Report) {
    let replicas = deploy.and_then(|it| it.field("replicas")).or_else(|| service.field("scale"));
    let Some(replicas) = replicas else { return };
    let Some(count) = replicas.number::<u32>(report) else { return };
    if count == 0 {
        report.fault(&replicas.path, "0 is not allowed; leave the service out, or stop it once it runs");
        return;
    }
    let default = Instances::default();
    component.instances = Instances { count, max: default.max.max(count), ..default };
}

fn resources(service: &Node<'_>, deploy: Option<&Node<'_>>, component: &mut Component, report: &mut Report) {
    let resources = deploy.and_then(|it| it.field("resources"));
    if let Some(resources) = &resources {
        resources.only(&["limits", "reservations"], report);
        if let Some(reserved) = resources.field("reservations") {
            match reserved.field("devices") {
                Some(devices) => report
                    .fault(&devices.path, "devices of the machine are not given to instances; remove it"),
                None => report.note(&reserved.path, "is left out: only limits are carried over"),
            }
        }
    }
    let limits = resources.and_then(|it| it.field("limits"));
    if let Some(limits) = &limits {
        limits.only(&["cpus", "memory", "pids"], report);
    }
    let limit = |name: &str, other: &str| {
        limits.as_ref().and_then(|it| it.field(name)).or_else(|| service.field(other))
    };
    let of = &mut component.resources;
    if let Some(node) = limit("cpus", "cpus") {
        let text = node.text(report).unwrap_or_default();
        of.cpu = report.take(&node.path, measure::cpu(&text));
    }
    if let Some(node) = limit("memory", "mem_limit") {
        let text = node.text(report).unwrap_or_default();
        of.memory = report.take(&node.path, measure::bytes(&text));
    }
    if let Some(node) = limit("pids", "pids_limit") {
        // -1 stands for no limit.
        of.pids = if scalar(node.value).as_deref() == Some("-1") { None } else { node.number(report) };
    }
}

fn restart(service: &Node<'_>, deploy: Option<&Node<'_>>, component: &mut Component, report: &mut Report) {
    let policy = deploy.and_then(|it| it.field("restart_policy"));
    if let Some(policy) = &policy {
        policy.only(&["condition", "delay", "max_attempts", "window"], report);
        if policy.entries(report).iter().any(|(key, _)| *key != "condition") {
            report.note(
                &policy.path,
                "only the condition is carried over: pauses grow, and attempts are not counted",
            );
        }
    }
    let Some(node) = policy.and_then(|it| it.field("condition")).or_else(|| service.field("restart")) else {
        return;
    };
    let text = node.text(report).unwrap_or_default();
    let (word, _) = text.split_once(':').unwrap_or((&text, ""));
    let is_job = component.kind == ComponentKind::Job;
    component.restart = match word {
        "always" | "any" | "unless-stopped" | "on-failure" if is_job => {
            report.note(&node.path, "is left out: a job runs once, and a release whose job fails goes back");
            None
        }
        "always" | "any" | "unless-stopped" => Some(RestartPolicy::Always),
        "on-failure" => Some(RestartPolicy::OnFailure),
        // YAML's `no` without quotes is read as a truth value by some.
        "no" | "none" | "false" if is_job => Some(RestartPolicy::Never),
        "no" | "none" | "false" => {
            report.note(
                &node.path,
                "is left out: the number of instances is kept, so that one that ends is started again",
            );
            None
        }
        _ => {
            report.fault(&node.path, format!("{text:?} is not a policy; write always, on-failure or no"));
            None
        }
    };
}
