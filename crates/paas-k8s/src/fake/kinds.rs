//! The kinds of objects that the fake API server knows.

/// A kind.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) plural: &'static str,
    pub(super) kind: &'static str,
    pub(super) namespaced: bool,
}

impl Kind {
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

const fn kind(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
    namespaced: bool,
) -> Kind {
    Kind { group, version, plural, kind, namespaced }
}

const GATEWAY_GROUP: &str = crate::gateway_api::GROUP;
const RBAC: &str = "rbac.authorization.k8s.io";

static KINDS: [Kind; 28] = [
    kind("", "v1", "namespaces", "Namespace", false),
    kind("", "v1", "pods", "Pod", true),
    kind("", "v1", "services", "Service", true),
    kind("", "v1", "configmaps", "ConfigMap", true),
    kind("", "v1", "secrets", "Secret", true),
    kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", true),
    kind("", "v1", "nodes", "Node", false),
    kind("", "v1", "events", "Event", true),
    kind("", "v1", "resourcequotas", "ResourceQuota", true),
    kind("", "v1", "limitranges", "LimitRange", true),
    kind("apps", "v1", "deployments", "Deployment", true),
    kind("batch", "v1", "jobs", "Job", true),
    kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", true),
    kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", true),
    kind(RBAC, "v1", "rolebindings", "RoleBinding", true),
    kind(GATEWAY_GROUP, "v1", "gatewayclasses", "GatewayClass", false),
    kind(GATEWAY_GROUP, "v1", "gateways", "Gateway", true),
    kind(GATEWAY_GROUP, "v1", "httproutes", "HTTPRoute", true),
    kind(GATEWAY_GROUP, "v1alpha2", "tcproutes", "TCPRoute", true),
    kind(GATEWAY_GROUP, "v1beta1", "referencegrants", "ReferenceGrant", true),
    kind("metrics.k8s.io", "v1beta1", "pods", "PodMetrics", true),
    kind("metrics.k8s.io", "v1beta1", "nodes", "NodeMetrics", false),
    kind("apps", "v1", "statefulsets", "StatefulSet", true),
    kind("batch", "v1", "cronjobs", "CronJob", true),
    kind("", "v1", "serviceaccounts", "ServiceAccount", true),
    kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", true),
    kind("networking.k8s.io", "v1", "ingresses", "Ingress", true),
    kind(GATEWAY_GROUP, "v1", "grpcroutes", "GRPCRoute", true),
];

pub(super) static NAMESPACE: &Kind = &KINDS[0];
pub(super) static POD: &Kind = &KINDS[1];
pub(super) static SERVICE: &Kind = &KINDS[2];
pub(super) static SECRET: &Kind = &KINDS[4];
pub(super) static CLAIM: &Kind = &KINDS[5];
pub(super) static NODE: &Kind = &KINDS[6];
pub(super) static DEPLOYMENT: &Kind = &KINDS[10];
pub(super) static STATEFUL_SET: &Kind = &KINDS[22];
pub(super) static JOB: &Kind = &KINDS[11];
pub(super) static BUDGET: &Kind = &KINDS[12];
pub(super) static POD_METRICS: &Kind = &KINDS[20];
pub(super) static GATEWAY: &Kind = &KINDS[16];
pub(super) static HTTP_ROUTE: &Kind = &KINDS[17];
pub(super) static TCP_ROUTE: &Kind = &KINDS[18];

/// The kind of a path.
pub(super) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
}

/// The kinds of a group and version.
pub(super) fn of_version<'a>(group: &'a str, version: &'a str) -> impl Iterator<Item = &'static Kind> + 'a {
    KINDS.iter().filter(move |kind| kind.group == group && kind.version == version)
}
