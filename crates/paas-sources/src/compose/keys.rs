//! What becomes of the keys of a service that are not carried over one by one.
//!
//! Source: Compose Specification, "Services top-level element".

use super::node::{Node, scalar};
use super::report::Report;

/// Keys that the other modules read.
const READ: [&str; 29] = [
    "image",
    "build",
    "command",
    "entrypoint",
    "environment",
    "env_file",
    "ports",
    "expose",
    "depends_on",
    "links",
    "healthcheck",
    "deploy",
    "scale",
    "cpus",
    "mem_limit",
    "pids_limit",
    "volumes",
    "configs",
    "secrets",
    "tmpfs",
    "working_dir",
    "user",
    "read_only",
    "restart",
    "stop_grace_period",
    "stop_signal",
    "profiles",
    "security_opt",
    "network_mode",
];

/// Keys that the platform cannot give, with the remedy.
const REFUSED: [(&str, &str); 37] = [
    ("privileged", "instances never have the machine's rights; remove it"),
    ("cap_add", "instances get no further capabilities; remove it"),
    ("devices", "devices of the machine are not given to instances; remove it"),
    ("device_cgroup_rules", "devices of the machine are not given to instances; remove it"),
    ("gpus", "devices of the machine are not given to instances; remove it"),
    ("pid", "instances do not share processes; remove it"),
    ("ipc", "instances do not share memory; remove it"),
    ("uts", "instances have a host name of their own; remove it"),
    ("cgroup", "instances have a control group of their own; remove it"),
    ("cgroup_parent", "instances have a control group of their own; remove it"),
    ("userns_mode", "instances have users of their own; remove it"),
    ("sysctls", "parameters of the kernel are the platform's; remove it"),
    ("runtime", "the platform chooses what runs containers; remove it"),
    ("isolation", "instances are Linux containers; remove it"),
    ("credential_spec", "instances are Linux containers; remove it"),
    ("volumes_from", "volumes belong to one service; name them in `volumes`"),
    ("external_links", "services outside this application are not reached by name; use their address"),
    ("extra_hosts", "names are the platform's; use the address, or a service of this file"),
    ("dns", "names are the platform's; remove it"),
    ("dns_opt", "names are the platform's; remove it"),
    ("dns_search", "names are the platform's; remove it"),
    ("mac_address", "instances have no network device of their own; remove it"),
    ("group_add", "instances run with one user and group; write `user: UID:GID`"),
    ("ulimits", "limits of processes are the platform's; use `pids_limit`, or remove it"),
    ("storage_opt", "write `deploy.resources`, or remove it"),
    ("blkio_config", "disks are not shared out; remove it"),
    ("shm_size", "the size of shared memory is fixed; remove it"),
    ("post_start", "there are no hooks; start it by the command"),
    ("pre_stop", "there are no hooks; do it when the stop signal comes"),
    ("provider", "the service is provided by something outside; remove it"),
    ("models", "models are not provided; remove it"),
    ("use_api_socket", "instances do not control the machine; remove it"),
    ("extends", "could not be followed"),
    ("oom_kill_disable", "limits of memory always hold; remove it"),
    ("cpuset", "processors are not chosen by number; use `cpus`"),
    ("cpu_rt_runtime", "real-time scheduling is not given; remove it"),
    ("cpu_rt_period", "real-time scheduling is not given; remove it"),
];

/// Keys without meaning for the platform, with the reason.
const NOTED: [(&str, &str); 29] = [
    ("container_name", "instances are named by the platform"),
    ("hostname", "instances are named by the platform"),
    ("domainname", "instances are named by the platform"),
    ("labels", "labels are not carried over"),
    ("label_file", "labels are not carried over"),
    ("annotations", "annotations are not carried over"),
    ("logging", "output is kept by the platform: `paas logs`"),
    ("networks", "a service reaches those that it names in depends_on, and no others"),
    ("init", "what a process leaves behind is cleared away always"),
    ("tty", "a terminal is given by `paas exec -t`"),
    ("stdin_open", "input is given by `paas exec -i`"),
    ("attach", "output is kept by the platform: `paas logs`"),
    ("pull_policy", "an image is pinned to its digest when it is deployed"),
    ("platform", "the image's version for the machine is taken"),
    ("develop", "is for a developer's machine"),
    ("cap_drop", "instances have the few capabilities that the platform leaves them"),
    ("mem_reservation", "only limits are carried over"),
    ("mem_swappiness", "only limits are carried over"),
    ("memswap_limit", "only limits are carried over"),
    ("cpu_shares", "only limits are carried over"),
    ("cpu_count", "only limits are carried over: use `cpus`"),
    ("cpu_percent", "only limits are carried over: use `cpus`"),
    ("cpu_period", "only limits are carried over: use `cpus`"),
    ("cpu_quota", "only limits are carried over: use `cpus`"),
    ("oom_score_adj", "only limits are carried over"),
    ("pull_refresh_after", "an image is pinned to its digest when it is deployed"),
    ("external", "is no key of a service any more"),
    ("volume_driver", "volumes are the platform's"),
    ("interface_name", "instances have no network device of their own"),
];

/// Refuses, notes or passes every key of a service.
pub(super) fn check(service: &Node<'_>, report: &mut Report) {
    for (key, node) in service.entries(report) {
        if READ.contains(&key) || key.starts_with("x-") || says_nothing(&node) {
            continue;
        }
        if let Some((_, remedy)) = REFUSED.iter().find(|(name, _)| *name == key) {
            report.fault(&node.path, *remedy);
        } else if let Some((_, reason)) = NOTED.iter().find(|(name, _)| *name == key) {
            report.note(&node.path, format!("is left out: {reason}"));
        } else {
            report.fault(&node.path, "is no key of a service of the Compose Specification; remove it");
        }
    }
    if let Some(mode) = service.field("network_mode") {
        match scalar(mode.value).as_deref() {
            Some("bridge") => {}
            other => report.fault(
                &mode.path,
                format!(
                    "{:?} is not possible: instances have a network of their own; remove it",
                    other.unwrap_or("")
                ),
            ),
        }
    }
    for option in service.each("security_opt", report) {
        let text = option.text(report).unwrap_or_default();
        if !matches!(text.as_str(), "no-new-privileges" | "no-new-privileges:true" | "no-new-privileges=true")
        {
            report.fault(
                &option.path,
                format!("{text:?} is not possible: the platform confines instances; remove it"),
            );
        }
    }
}

/// Whether a value is what holds anyway.
fn says_nothing(node: &Node<'_>) -> bool {
    match node.value {
        serde_json::Value::Null | serde_json::Value::Bool(false) => true,
        serde_json::Value::Array(items) => items.is_empty(),
        serde_json::Value::Object(fields) => fields.is_empty(),
        serde_json::Value::String(text) => text.is_empty() || text == "private",
        serde_json::Value::Number(_) | serde_json::Value::Bool(true) => false,
    }
}
