//! An environment's namespace, and its bounds.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    LimitRange, LimitRangeItem, LimitRangeSpec, Namespace, ResourceQuota, ResourceQuotaSpec,
};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use paas_core::EnvRef;
use paas_core::model::{ComponentKind, Template};
use paas_core::port::SetKey;

use super::{Builder, matching, metadata};

/// The name of the objects that a namespace has once.
const NAME: &str = "paas-space";
const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";

/// Everything that a space is made of.
#[derive(Debug, Clone)]
pub(crate) struct SpaceObjects {
    pub(crate) namespace: Namespace,
    pub(crate) quota: Option<ResourceQuota>,
    pub(crate) limits: Option<LimitRange>,
    pub(crate) policies: Vec<NetworkPolicy>,
    pub(crate) viewers: Option<RoleBinding>,
}

impl Builder<'_> {
    /// The objects of an environment's space.
    pub(crate) fn space(&self, at: &EnvRef) -> SpaceObjects {
        let installation = self.installation();
        let name = installation.namespace(at);
        let labels = installation.space_labels(at);
        let mut namespace_labels = labels.clone();
        let level = self.options.security.as_str();
        for mode in ["enforce", "warn", "audit"] {
            namespace_labels.insert(format!("pod-security.kubernetes.io/{mode}"), level.to_owned());
        }
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(namespace_labels),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        let meta = |suffix: &str| metadata(&name, &format!("{NAME}{suffix}"), labels.clone());
        SpaceObjects {
            namespace,
            quota: self.quota(meta("")),
            limits: self.limits(meta("")),
            policies: if self.options.space.isolate { policies(&meta) } else { Vec::new() },
            viewers: self.viewers(meta("-viewers")),
        }
    }

    fn quota(&self, metadata: ObjectMeta) -> Option<ResourceQuota> {
        let space = &self.options.space;
        let mut hard = BTreeMap::new();
        let mut bound = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                hard.insert(name.to_owned(), Quantity(value));
            }
        };
        bound("pods", space.instances.map(|instances| instances.to_string()));
        bound("limits.cpu", space.cpu.map(|cpu| cpu.to_string()));
        bound("limits.memory", space.memory.map(|memory| memory.to_string()));
        (!hard.is_empty()).then(|| ResourceQuota {
            metadata,
            spec: Some(ResourceQuotaSpec { hard: Some(hard), ..ResourceQuotaSpec::default() }),
            status: None,
        })
    }

    fn limits(&self, metadata: ObjectMeta) -> Option<LimitRange> {
        let space = &self.options.space;
        let mut default = BTreeMap::new();
        if let Some(cpu) = space.default_cpu {
            default.insert("cpu".to_owned(), Quantity(cpu.to_string()));
        }
        if let Some(memory) = space.default_memory {
            default.insert("memory".to_owned(), Quantity(memory.to_string()));
        }
        (!default.is_empty()).then(|| LimitRange {
            metadata,
            spec: Some(LimitRangeSpec {
                limits: vec![LimitRangeItem {
                    type_: "Container".to_owned(),
                    default: Some(default.clone()),
                    default_request: Some(default),
                    ..LimitRangeItem::default()
                }],
            }),
        })
    }

    fn viewers(&self, metadata: ObjectMeta) -> Option<RoleBinding> {
        let groups = &self.options.space.viewers;
        let subject = |group: &String| Subject {
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            kind: "Group".to_owned(),
            name: group.clone(),
            namespace: None,
        };
        (!groups.is_empty()).then(|| RoleBinding {
            metadata,
            role_ref: RoleRef {
                api_group: "rbac.authorization.k8s.io".to_owned(),
                kind: "ClusterRole".to_owned(),
                name: "view".to_owned(),
            },
            subjects: Some(groups.iter().map(subject).collect()),
        })
    }
}

/// What a component declares: it is called by its own application and by the gateway, and calls what it names.
pub(super) fn component_policy(
    builder: &Builder<'_>,
    metadata: ObjectMeta,
    key: &SetKey,
    template: &Template,
) -> NetworkPolicy {
    let installation = builder.installation();
    let port = |number: u16| NetworkPolicyPort {
        port: Some(IntOrString::Int(number.into())),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    };
    let mut app = installation.component_selector(&template.component);
    app.remove(&installation.key(crate::scheme::keys::COMPONENT));
    let mut callers = vec![in_app(app)];
    callers.extend(builder.options.gateway.as_ref().map(|gateway| in_namespace(&gateway.namespace)));
    let ingress = NetworkPolicyIngressRule {
        from: Some(callers),
        ports: Some(template.ports.iter().map(|it| port(it.number)).collect()),
    };
    let egress = template.calls.iter().map(|call| NetworkPolicyEgressRule {
        to: Some(vec![in_app(installation.component_selector(&call.component))]),
        ports: Some(vec![port(call.port.number)]),
    });
    let ingress = (!template.ports.is_empty()).then_some(ingress);
    // Instances of a stateful component speak with each other, on whatever ports they have for that.
    let peers = (template.kind == ComponentKind::Stateful)
        .then(|| vec![in_app(installation.component_selector(&template.component))]);
    let from_peers = peers.clone().map(|from| NetworkPolicyIngressRule { from: Some(from), ports: None });
    let to_peers = peers.map(|to| NetworkPolicyEgressRule { to: Some(to), ports: None });
    NetworkPolicy {
        metadata,
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(matching(installation.set_selector(key))),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(ingress.into_iter().chain(from_peers).collect()),
            egress: Some(egress.chain(to_peers).collect()),
        }),
    }
}

/// The objects of manifests are called by their own application and by the gateway, and call their own application.
pub(crate) fn manifests_policy(builder: &Builder<'_>, metadata: ObjectMeta, key: &SetKey) -> NetworkPolicy {
    let installation = builder.installation();
    let own = installation.component_selector(&key.track.component);
    let mut app = own.clone();
    app.remove(&installation.key(crate::scheme::keys::COMPONENT));
    let mut callers = vec![in_app(app.clone())];
    callers.extend(builder.options.gateway.as_ref().map(|gateway| in_namespace(&gateway.namespace)));
    NetworkPolicy {
        metadata,
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(matching(own)),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule { from: Some(callers), ports: None }]),
            egress: Some(vec![NetworkPolicyEgressRule { to: Some(vec![in_app(app)]), ports: None }]),
        }),
    }
}

fn in_app(labels: BTreeMap<String, String>) -> NetworkPolicyPeer {
    NetworkPolicyPeer { pod_selector: Some(matching(labels)), ..NetworkPolicyPeer::default() }
}

fn in_namespace(name: &str) -> NetworkPolicyPeer {
    let labels = BTreeMap::from([(NAMESPACE_LABEL.to_owned(), name.to_owned())]);
    NetworkPolicyPeer { namespace_selector: Some(matching(labels)), ..NetworkPolicyPeer::default() }
}

/// Nothing in and nothing out but names; components declare the rest.
fn policies(meta: &dyn Fn(&str) -> ObjectMeta) -> Vec<NetworkPolicy> {
    let deny = NetworkPolicy {
        metadata: meta("-deny"),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector::default()),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ..NetworkPolicySpec::default()
        }),
    };
    let dns = |protocol: &str| NetworkPolicyPort {
        port: Some(IntOrString::Int(53)),
        protocol: Some(protocol.to_owned()),
        end_port: None,
    };
    let names = NetworkPolicy {
        metadata: meta("-names"),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector::default()),
            policy_types: Some(vec!["Egress".to_owned()]),
            egress: Some(vec![NetworkPolicyEgressRule {
                to: Some(vec![in_namespace("kube-system")]),
                ports: Some(vec![dns("UDP"), dns("TCP")]),
            }]),
            ..NetworkPolicySpec::default()
        }),
    };
    vec![deny, names]
}
