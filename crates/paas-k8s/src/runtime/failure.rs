//! Why pods do not run or serve, in words for their users.
//!
//! The texts come from the kubelet, the container runtime and registries; none of them is an interface, so each is only
//! used to choose a stable word, and is always passed on as it is.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use paas_core::port::{InstanceFailure, InstancePhase};

use super::instance::{condition, exit, last_end};

/// The reason of what cannot be started because the image has no such program.
pub(crate) const NO_ENTRY_POINT: &str = "no_entry_point";
/// How many lines of output are told.
const LINES: usize = 10;
/// How long a start usually takes.
const QUIET: SignedDuration = SignedDuration::from_secs(5);

/// Why a set cannot have its instances: a quota with its figures, or whoever refused them, verbatim.
pub(crate) fn of_set(deployment: &Deployment) -> Option<InstanceFailure> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let refused = conditions.iter().find(|it| it.type_ == "ReplicaFailure" && it.status == "True")?;
    Some(self::refused(&refused.message.clone().unwrap_or_default()))
}

/// Why pods cannot be made, from the message of whoever refused them.
pub(crate) fn refused(message: &str) -> InstanceFailure {
    if message.contains("exceeded quota") {
        failure("quota", format!("{}; free some, or raise the quota", quota(message)))
    } else {
        failure("start_failed", message)
    }
}

/// The part of a quota's refusal that has the figures.
fn quota(message: &str) -> &str {
    message.find("exceeded quota").map_or(message, |at| &message[at..])
}

/// Why a pod does not run or serve.
pub(crate) fn of_pod(pod: &Pod, container: Option<&ContainerStatus>) -> Option<InstanceFailure> {
    let status = pod.status.as_ref()?;
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let (reason, message) = (status.reason.as_deref(), status.message.clone().unwrap_or_default());
    match reason {
        Some("Evicted") => return Some(failure("no_capacity", format!("it was evicted: {message}"))),
        Some("NodeLost") => return Some(failure("lost", format!("its node was lost: {message}"))),
        Some("UnexpectedAdmissionError" | "OutOfcpu" | "OutOfmemory" | "OutOfpods" | "NodeAffinity") => {
            return Some(failure("no_capacity", message));
        }
        _ => {}
    }
    if let Some(scheduled) = condition(pod, "PodScheduled").filter(|it| it.status == "False") {
        let message = scheduled.message.clone().unwrap_or_default();
        return Some(failure("no_capacity", format!("no node can take it: {message}")));
    }
    let state = container.and_then(|it| it.state.as_ref());
    if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
        let text = waiting.message.clone().unwrap_or_default();
        match waiting.reason.as_deref() {
            None | Some("ContainerCreating" | "PodInitializing") => {}
            Some("CrashLoopBackOff") => return ended(container, true),
            Some(reason) => return Some(of_waiting(reason, &text, container)),
        }
    }
    if state.is_some_and(|state| state.terminated.is_some()) {
        return ended(container, status.phase.as_deref() == Some("Running"));
    }
    if state.is_some_and(|state| state.running.is_some()) {
        return match super::instance::observe_phase(pod, container) {
            InstancePhase::Unready => {
                Some(failure("not_ready", format!("it is not ready any more: {}", unready(pod, container))))
            }
            InstancePhase::Starting => ended(container, false).or_else(|| starting(pod, container)),
            _ => ended(container, false),
        };
    }
    None
}

/// Why a container that runs is not ready yet, once it has taken longer than usual.
fn starting(pod: &Pod, container: Option<&ContainerStatus>) -> Option<InstanceFailure> {
    let running = container?.state.as_ref()?.running.as_ref()?;
    let since = running.started_at.as_ref()?.0;
    let is_usual = since.duration_until(Timestamp::now()) < QUIET;
    (!is_usual).then(|| failure("not_ready", format!("it is not ready yet: {}", unready(pod, container))))
}

/// Which probe has not succeeded. What it got for an answer is told by the events of the cluster only.
fn unready(pod: &Pod, status: Option<&ContainerStatus>) -> String {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let meant = super::instance::meant(pod);
    let container = containers.iter().find(|it| it.name == meant);
    let has_started = status.is_some_and(|it| it.started == Some(true));
    let startup = container.and_then(|it| it.startup_probe.as_ref()).filter(|_| !has_started);
    let probe = startup.or_else(|| container?.readiness_probe.as_ref());
    let Some(probe) = probe else { return "its container is not ready".to_owned() };
    let port = |port: &IntOrString| match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    };
    let what = if let Some(http) = &probe.http_get {
        format!("GET {} on port {}", http.path.as_deref().unwrap_or("/"), port(&http.port))
    } else if let Some(tcp) = &probe.tcp_socket {
        format!("a connection to port {}", port(&tcp.port))
    } else if let Some(exec) = &probe.exec {
        format!("the command {:?}", exec.command.clone().unwrap_or_default())
    } else {
        "its probe".to_owned()
    };
    format!("{what} does not succeed")
}

/// Why a container cannot be started.
fn of_waiting(reason: &str, text: &str, container: Option<&ContainerStatus>) -> InstanceFailure {
    let image = container.map(|it| it.image.as_str()).unwrap_or_default();
    let word = match reason {
        "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "RegistryUnavailable" => pull(text),
        "InvalidImageName" => "image_not_found",
        _ if is_no_entry_point(text) => NO_ENTRY_POINT,
        _ => "start_failed",
    };
    let remedy = match word {
        "image_not_found" => "; push it",
        "image_denied" => "; give the environment credentials for its registry",
        "image_unreachable" => "; it is tried again",
        _ if text.contains("runAsNonRoot") || text.contains("will run as root") => {
            "; the image runs as root, which this cluster does not allow: set security.user to a number"
        }
        _ => "",
    };
    let what =
        if word.starts_with("image_") { format!("image {image} cannot be pulled: ") } else { String::new() };
    failure(word, format!("{what}{}{remedy}", if text.is_empty() { reason } else { text }))
}

/// Why an image cannot be pulled.
fn pull(text: &str) -> &'static str {
    let text = text.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["toomanyrequests", "too many requests", "429", "rate limit"]) {
        "image_unreachable"
    } else if says(&["unauthorized", "denied", "forbidden", "401", "403", "no basic auth"]) {
        "image_denied"
    } else if says(&["not found", "manifest unknown", "name unknown", "404", "no match for platform"]) {
        "image_not_found"
    } else {
        // Names that are not resolved, refused connections, time-outs, certificates.
        "image_unreachable"
    }
}

fn is_no_entry_point(text: &str) -> bool {
    ["executable file not found", "no such file or directory", "no command specified", "exec format error"]
        .iter()
        .any(|words| text.contains(words))
}

/// Why a container ended.
fn ended(container: Option<&ContainerStatus>, pauses: bool) -> Option<InstanceFailure> {
    let end = last_end(container)?;
    let seen = exit(end);
    if seen.code == Some(0) && !pauses {
        return None;
    }
    let output = end.message.clone().unwrap_or_default();
    if is_no_entry_point(&output)
        && matches!(end.reason.as_deref(), Some("StartError" | "ContainerCannotRun"))
    {
        return Some(failure(NO_ENTRY_POINT, output));
    }
    let mut lines: Vec<String> = output.lines().map(str::to_owned).collect();
    lines.drain(..lines.len().saturating_sub(LINES));
    let (word, what) = if seen.out_of_memory {
        (
            "out_of_memory",
            "it was killed for using more memory than its limit; raise resources.memory".to_owned(),
        )
    } else {
        let what = match (seen.code, seen.signal) {
            (Some(code), _) => format!("it exited with code {code}"),
            (None, Some(signal)) => format!("it was ended by signal {signal}"),
            (None, None) => "it ended".to_owned(),
        };
        ("crash_loop", what)
    };
    let message = if pauses { format!("{what}; it is started again after a pause") } else { what };
    Some(InstanceFailure { reason: word.to_owned(), message, last_lines: lines })
}

pub(crate) fn failure(reason: &str, message: impl Into<String>) -> InstanceFailure {
    InstanceFailure { reason: reason.to_owned(), message: message.into(), last_lines: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({ "metadata": { "name": "p" }, "status": status })).expect("it is a pod")
    }

    fn told(status: serde_json::Value) -> InstanceFailure {
        let pod = pod(status);
        of_pod(&pod, super::super::instance::container(&pod)).expect("it is a failure")
    }

    fn waiting(reason: &str, message: &str) -> serde_json::Value {
        json!({ "phase": "Pending", "containerStatuses": [{
            "name": "main", "image": "registry.example/app@sha256:00", "imageID": "", "ready": false,
            "restartCount": 0, "state": { "waiting": { "reason": reason, "message": message } } }] })
    }

    #[test]
    fn a_probe_that_does_not_succeed_is_named_once_a_start_takes_long() {
        let running = |started: Timestamp| {
            let mut pod = pod(json!({ "phase": "Running", "containerStatuses": [{
                "name": "main", "image": "", "imageID": "", "ready": false, "started": true, "restartCount": 0,
                "state": { "running": { "startedAt": started.to_string() } } }] }));
            pod.spec = serde_json::from_value(json!({ "containers": [{ "name": "main",
                "startupProbe": { "exec": { "command": ["begun"] } },
                "readinessProbe": { "httpGet": { "path": "/readyz", "port": 8080 } } }] }))
            .expect("it is a specification");
            of_pod(&pod, super::super::instance::container(&pod))
        };
        assert_eq!(running(Timestamp::now()), None, "it has only just started");
        let told = running(Timestamp::now() - SignedDuration::from_secs(60)).expect("it takes long");
        assert_eq!(told.reason, "not_ready");
        assert_eq!(told.message, "it is not ready yet: GET /readyz on port 8080 does not succeed");
    }

    #[test]
    fn failed_pulls_are_told_apart() {
        let cases = [
            ("rpc error: code = NotFound desc = failed to resolve reference: not found", "image_not_found"),
            ("pull access denied, repository does not exist or may require authorization", "image_denied"),
            ("unexpected status from HEAD request: 401 Unauthorized", "image_denied"),
            ("toomanyrequests: You have reached your pull rate limit", "image_unreachable"),
            ("dial tcp: lookup registry.example on 10.0.0.1:53: no such host", "image_unreachable"),
        ];
        for (text, word) in cases {
            let failure = told(waiting("ImagePullBackOff", text));
            assert_eq!(failure.reason, word, "{text}");
            assert!(failure.message.contains("registry.example/app") && failure.message.contains(text));
        }
    }

    #[test]
    fn an_image_that_runs_as_root_is_told_with_the_remedy() {
        let text = "container has runAsNonRoot and image will run as root";
        let failure = told(waiting("CreateContainerConfigError", text));
        assert_eq!(failure.reason, "start_failed");
        assert!(failure.message.contains("security.user"), "{failure:?}");
    }

    #[test]
    fn what_no_node_can_take_says_what_is_missing() {
        let failure = told(json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled",
            "status": "False", "reason": "Unschedulable",
            "message": "0/2 nodes are available: 2 Insufficient memory." }] }));
        assert_eq!(failure.reason, "no_capacity");
        assert!(failure.message.contains("2 Insufficient memory"), "{failure:?}");
    }

    #[test]
    fn a_crash_is_told_with_its_last_lines() {
        let failure = told(json!({ "phase": "Running", "containerStatuses": [{
            "name": "main", "image": "a", "imageID": "", "ready": false, "restartCount": 3,
            "state": { "waiting": { "reason": "CrashLoopBackOff" } },
            "lastState": { "terminated": { "exitCode": 3, "reason": "Error", "message": "one\ntwo\n" } } }] }));
        assert_eq!(
            (failure.reason.as_str(), failure.last_lines.as_slice()),
            ("crash_loop", ["one".to_owned(), "two".to_owned()].as_slice())
        );
        assert!(failure.message.contains("code 3"));
    }

    #[test]
    fn a_quota_is_told_with_its_figures() {
        let deployment: Deployment = serde_json::from_value(json!({ "status": { "conditions": [{
            "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
            "message": "pods \"x\" is forbidden: exceeded quota: paas-space, requested: pods=1, used: pods=2, limited: pods=2"
        }] } })).expect("it is a deployment");
        let failure = of_set(&deployment).expect("it is a failure");
        assert_eq!(failure.reason, "quota");
        assert!(failure.message.contains("used: pods=2, limited: pods=2"), "{failure:?}");
    }

    #[test]
    fn a_refusal_of_admission_is_told_verbatim() {
        let text = "admission webhook \"policy.example\" denied the request: no";
        let deployment: Deployment = serde_json::from_value(json!({ "status": { "conditions": [{
            "type": "ReplicaFailure", "status": "True", "message": text }] } }))
        .expect("it is a deployment");
        assert_eq!(of_set(&deployment).map(|failure| failure.message), Some(text.to_owned()));
    }
}
