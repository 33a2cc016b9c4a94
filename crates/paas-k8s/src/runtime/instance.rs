//! Pods as instances.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodCondition};
use paas_core::port::{ExitStatus, InstanceId, InstanceObservation, InstancePhase};

use super::failure;

/// A pod as the platform sees it.
pub(crate) fn observe(pod: &Pod) -> InstanceObservation {
    let container = container(pod);
    let started = container
        .and_then(|it| it.state.as_ref()?.running.as_ref()?.started_at.as_ref())
        .or_else(|| last_end(container).and_then(|end| end.started_at.as_ref()));
    let phase = observe_phase(pod, container);
    InstanceObservation {
        ordinal: ordinal(pod),
        id: InstanceId(pod.metadata.name.clone().unwrap_or_default()),
        phase,
        ready_since: ready_since(pod),
        started_at: started.map(|at| at.0),
        restarts: restarts(pod),
        last_exit: last_end(container).map(exit),
        failure: if phase == InstancePhase::Ready { None } else { failure::of_pod(pod, container) },
        // The API tells that an image is being pulled, never how far.
        pull: None,
    }
}

/// The ordinal of a pod of a stateful component.
pub(crate) fn ordinal(pod: &Pod) -> Option<u32> {
    let owner = pod.metadata.owner_references.as_ref()?.first()?;
    let of_set = owner.kind == "StatefulSet";
    let ordinal = pod.metadata.name.as_deref()?.strip_prefix(&owner.name)?.strip_prefix('-');
    ordinal.filter(|_| of_set)?.parse().ok()
}

/// The one container of a pod. Of a pod of manifests, which may have several, the first that is not ready.
pub(crate) fn container(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let own = statuses.iter().find(|it| it.name == crate::build::CONTAINER);
    own.or_else(|| statuses.iter().find(|it| !it.ready)).or(statuses.first())
}

/// The name of the container that is meant when none is named: the platform's own, or the first one of a pod of manifests.
pub(crate) fn meant(pod: &Pod) -> &str {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let own = containers.iter().find(|it| it.name == crate::build::CONTAINER);
    own.or(containers.first()).map_or(crate::build::CONTAINER, |it| it.name.as_str())
}

/// Since when a pod can serve.
pub(crate) fn ready_since(pod: &Pod) -> Option<jiff::Timestamp> {
    let ready = condition(pod, "Ready").filter(|_| is_ready(pod))?;
    ready.last_transition_time.as_ref().map(|at| at.0)
}

/// How often its container was started again.
pub(crate) fn restarts(pod: &Pod) -> u32 {
    container(pod).and_then(|it| u32::try_from(it.restart_count).ok()).unwrap_or_default()
}

pub(crate) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|it| it.type_ == kind)
}

/// Whether a pod can serve: it is ready, does not go, and has not ended.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && condition(pod, "Ready").is_some_and(|it| it.status == "True")
}

/// How the container last ended.
pub(crate) fn last_end(container: Option<&ContainerStatus>) -> Option<&ContainerStateTerminated> {
    let container = container?;
    container
        .state
        .as_ref()
        .and_then(|state| state.terminated.as_ref())
        .or_else(|| container.last_state.as_ref().and_then(|state| state.terminated.as_ref()))
}

/// Kubernetes tells a signal as 128 and its number.
pub(crate) fn exit(end: &ContainerStateTerminated) -> ExitStatus {
    let signal = end.signal.filter(|signal| *signal > 0).or_else(|| match end.exit_code {
        code @ 129..=159 => Some(code - 128),
        _ => None,
    });
    ExitStatus {
        code: if signal.is_some() { None } else { Some(end.exit_code) },
        signal,
        out_of_memory: end.reason.as_deref() == Some("OOMKilled"),
        at: end.finished_at.as_ref().map(|at| at.0).unwrap_or_default(),
    }
}

pub(crate) fn observe_phase(pod: &Pod, container: Option<&ContainerStatus>) -> InstancePhase {
    use InstancePhase::{BackOff, Draining, Exited, Pending, Ready, Starting, Unready};
    if pod.metadata.deletion_timestamp.is_some() {
        return Draining;
    }
    if let Some("Succeeded" | "Failed") = pod.status.as_ref().and_then(|status| status.phase.as_deref()) {
        return Exited;
    }
    let Some(state) = container.and_then(|it| it.state.as_ref()) else { return Pending };
    if state.terminated.is_some() {
        return BackOff;
    }
    if let Some(waiting) = &state.waiting {
        let crashed = waiting.reason.as_deref() == Some("CrashLoopBackOff");
        return if crashed { BackOff } else { Pending };
    }
    let Some(running) = &state.running else { return Pending };
    if is_ready(pod) {
        return Ready;
    }
    // It was ready before if it stopped being ready after this start of its process.
    let lost = condition(pod, "Ready").and_then(|it| it.last_transition_time.as_ref());
    match (lost, &running.started_at) {
        (Some(lost), Some(started)) if lost.0 > started.0 => Unready,
        _ => Starting,
    }
}
