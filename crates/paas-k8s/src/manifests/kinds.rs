//! The kinds that are taken, and why others are not.

use kube::core::ApiResource;
use paas_core::model::Manifest;

/// When an object is applied, in this order; the other way round nothing is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// What workloads read.
    Before,
    /// What workloads store into; it stays until the track is purged.
    Volume,
    /// How workloads are called.
    Service,
    /// What runs.
    Workload,
    /// What looks at workloads, and leads to them.
    After,
}

/// A kind that is taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) group: &'static str,
    pub(crate) versions: &'static [&'static str],
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) place: Place,
    /// Where the template of its pods is, as a JSON pointer.
    pub(crate) pod: Option<&'static str>,
}

impl Kind {
    /// Its resource in a version that the platform's own calls use.
    pub(crate) fn resource(&self, version: &str) -> ApiResource {
        let api_version =
            if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) };
        ApiResource {
            group: self.group.to_owned(),
            version: version.to_owned(),
            api_version,
            kind: self.kind.to_owned(),
            plural: self.plural.to_owned(),
        }
    }

    /// Its resource in the newest version that is taken.
    pub(crate) fn newest(&self) -> ApiResource {
        self.resource(self.versions[0])
    }
}

const fn kind(
    group: &'static str,
    versions: &'static [&'static str],
    kind: &'static str,
    plural: &'static str,
    place: Place,
    pod: Option<&'static str>,
) -> Kind {
    Kind { group, versions, kind, plural, place, pod }
}

const V1: &[&str] = &["v1"];
const TEMPLATE: Option<&str> = Some("/spec/template");
const GATEWAY: &str = crate::gateway_api::GROUP;

/// Every kind that is taken.
pub(crate) static KINDS: [Kind; 14] = [
    kind("", V1, "ServiceAccount", "serviceaccounts", Place::Before, None),
    kind("", V1, "Secret", "secrets", Place::Before, None),
    kind("", V1, "ConfigMap", "configmaps", Place::Before, None),
    kind("", V1, "PersistentVolumeClaim", "persistentvolumeclaims", Place::Volume, None),
    kind("", V1, "Service", "services", Place::Service, None),
    kind("apps", V1, "Deployment", "deployments", Place::Workload, TEMPLATE),
    kind("apps", V1, "StatefulSet", "statefulsets", Place::Workload, TEMPLATE),
    kind("batch", V1, "Job", "jobs", Place::Workload, TEMPLATE),
    kind("batch", V1, "CronJob", "cronjobs", Place::Workload, Some("/spec/jobTemplate/spec/template")),
    kind("policy", V1, "PodDisruptionBudget", "poddisruptionbudgets", Place::After, None),
    kind(
        "autoscaling",
        &["v2", "v1"],
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        Place::After,
        None,
    ),
    kind("networking.k8s.io", V1, "Ingress", "ingresses", Place::After, None),
    kind(GATEWAY, V1, "HTTPRoute", "httproutes", Place::After, None),
    kind(GATEWAY, V1, "GRPCRoute", "grpcroutes", Place::After, None),
];

/// The kind of an object, if it is taken.
pub(crate) fn of(object: &Manifest) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.group == object.group() && kind.kind == object.kind())
}

/// Why a kind is not taken, with the remedy.
pub(crate) fn reason(object: &Manifest) -> String {
    let why = match (object.group(), object.kind()) {
        ("", "Namespace") => "an application lives in its environment's namespace only",
        ("", "Pod") => "nobody would make it again; write a Deployment, or a Job",
        ("", "ReplicationController") | ("apps", "ReplicaSet") => {
            "nobody would update it; write a Deployment"
        }
        ("", "ResourceQuota" | "LimitRange") => "the bounds of an environment are the platform's",
        ("", "Endpoints") | ("discovery.k8s.io", _) => {
            "it would lead requests past the platform; write a Service"
        }
        ("apps", "DaemonSet") => {
            "it would run on every node; how many instances there are is for a Deployment to say"
        }
        ("networking.k8s.io", "NetworkPolicy") => {
            "who may reach whom is the platform's: the objects of an application reach each other"
        }
        ("", "PersistentVolume" | "Node")
        | ("networking.k8s.io", "IngressClass")
        | ("storage.k8s.io" | "scheduling.k8s.io" | "node.k8s.io", _) => {
            "it belongs to the cluster and not to an application"
        }
        ("rbac.authorization.k8s.io", _) => "rights on the cluster are given by its operator",
        ("admissionregistration.k8s.io", _) => "it would change the objects of others",
        ("apiextensions.k8s.io" | "apiregistration.k8s.io", _) => {
            "kinds of their own are installed by the cluster's operator"
        }
        (GATEWAY, "Gateway" | "GatewayClass" | "ReferenceGrant") => {
            "gateways are the cluster operator's; write an HTTPRoute"
        }
        _ => "it is not among the kinds that are taken",
    };
    let taken: Vec<&str> = KINDS.iter().map(|kind| kind.kind).collect();
    format!(
        "the kind {} ({}) is refused: {why}; taken are {}",
        object.kind(),
        object.api_version(),
        taken.join(", ")
    )
}
