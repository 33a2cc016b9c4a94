//! The types of the Gateway API that this crate reads and writes, trimmed to the fields that it uses.
//!
//! Source: `sigs.k8s.io/gateway-api`, `apis/v1` and `apis/v1alpha2`. They are written here because the crate that
//! generates them follows kube months later, and two kubes do not fit into one program.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use serde::{Deserialize, Serialize};

/// The group of the Gateway API.
pub const GROUP: &str = "gateway.networking.k8s.io";

macro_rules! object {
    ($(#[$doc:meta])* $name:ident, $version:literal, $plural:literal, $scope:ident, $spec:ty, $status:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            #[serde(default)]
            api_version: String,
            #[serde(default)]
            kind: String,
            /// The metadata.
            #[serde(default)]
            pub metadata: ObjectMeta,
            /// What is declared.
            #[serde(default)]
            pub spec: $spec,
            /// What is seen.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub status: Option<$status>,
        }

        impl $name {
            /// An object without a status.
            pub fn new(metadata: ObjectMeta, spec: $spec) -> Self {
                Self {
                    api_version: <Self as k8s_openapi::Resource>::API_VERSION.to_owned(),
                    kind: <Self as k8s_openapi::Resource>::KIND.to_owned(),
                    metadata,
                    spec,
                    status: None,
                }
            }
        }

        impl k8s_openapi::Resource for $name {
            const API_VERSION: &'static str = concat!("gateway.networking.k8s.io/", $version);
            const GROUP: &'static str = GROUP;
            const KIND: &'static str = stringify!($name);
            const VERSION: &'static str = $version;
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = k8s_openapi::$scope;
        }

        impl k8s_openapi::Metadata for $name {
            type Ty = ObjectMeta;
            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn metadata_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

object! {
    /// What implements gateways.
    GatewayClass, "v1", "gatewayclasses", ClusterResourceScope, GatewayClassSpec, ConditionStatus
}
object! {
    /// Where requests come in.
    Gateway, "v1", "gateways", NamespaceResourceScope, GatewaySpec, GatewayStatus
}
object! {
    /// Requests of some hosts and paths, and where they go.
    HTTPRoute, "v1", "httproutes", NamespaceResourceScope, HttpRouteSpec, RouteStatus
}
object! {
    /// Connections of a listener, and where they go.
    TCPRoute, "v1alpha2", "tcproutes", NamespaceResourceScope, TcpRouteSpec, RouteStatus
}
object! {
    /// Allows references from other namespaces.
    ReferenceGrant, "v1beta1", "referencegrants", NamespaceResourceScope, ReferenceGrantSpec, ()
}

/// What a class declares.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayClassSpec {
    /// Who implements it.
    pub controller_name: String,
}

/// Conditions and nothing else.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ConditionStatus {
    /// The conditions.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// What a gateway declares.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpec {
    /// The class.
    #[serde(default)]
    pub gateway_class_name: String,
    /// Where it listens.
    #[serde(default)]
    pub listeners: Vec<Listener>,
}

/// A port of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Listener {
    /// The name, unique in the gateway.
    pub name: String,
    /// The port number.
    pub port: u16,
    /// `HTTP`, `HTTPS`, `TLS`, `TCP` or an implementation's own.
    pub protocol: String,
    /// The host that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
}

/// What is seen of a gateway.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct GatewayStatus {
    /// Where it is reached.
    #[serde(default)]
    pub addresses: Vec<GatewayAddress>,
    /// The conditions.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// An address of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GatewayAddress {
    /// An IP address or a host.
    pub value: String,
}

/// The gateway that a route attaches to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// The group; always [`GROUP`] here.
    pub group: String,
    /// The kind; always `Gateway` here.
    pub kind: String,
    /// The namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
    /// The listener; all that fit if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// Requests of some hosts and paths.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteSpec {
    /// The gateways.
    #[serde(default)]
    pub parent_refs: Vec<ParentRef>,
    /// The hosts.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// The rules.
    #[serde(default)]
    pub rules: Vec<HttpRule>,
}

/// A rule of requests.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRule {
    /// Which requests.
    #[serde(default)]
    pub matches: Vec<HttpMatch>,
    /// Where they go.
    #[serde(default)]
    pub backend_refs: Vec<BackendRef>,
}

/// Which requests.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HttpMatch {
    /// By path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,
}

/// A condition on the path.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PathMatch {
    /// `PathPrefix` (by whole segments) or `Exact`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The path.
    pub value: String,
}

/// A service and its share.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BackendRef {
    /// The group; always empty here.
    pub group: String,
    /// The kind; always `Service` here.
    pub kind: String,
    /// The name.
    pub name: String,
    /// The port.
    pub port: u16,
    /// The share; written even if it is 0, because an absent one means 1.
    pub weight: u32,
}

/// Connections of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TcpRouteSpec {
    /// The gateways.
    #[serde(default)]
    pub parent_refs: Vec<ParentRef>,
    /// The rules.
    #[serde(default)]
    pub rules: Vec<TcpRule>,
}

/// Where connections go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TcpRule {
    /// The services.
    #[serde(default)]
    pub backend_refs: Vec<BackendRef>,
}

/// What gateways say about a route.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RouteStatus {
    /// One for each gateway.
    #[serde(default)]
    pub parents: Vec<RouteParentStatus>,
}

/// What one gateway says about a route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteParentStatus {
    /// The gateway.
    pub parent_ref: ParentRefSeen,
    /// Who says so.
    #[serde(default)]
    pub controller_name: String,
    /// `Accepted` and `ResolvedRefs`, each with the generation that it speaks of.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// A gateway as a controller names it; what has a default may be absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRefSeen {
    /// The namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
    /// The listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// References that are allowed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReferenceGrantSpec {
    /// From where.
    #[serde(default)]
    pub from: Vec<GrantFrom>,
    /// To what.
    #[serde(default)]
    pub to: Vec<GrantTo>,
}

/// Who may refer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GrantFrom {
    /// The group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The namespace.
    pub namespace: String,
}

/// What may be referred to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GrantTo {
    /// The group.
    pub group: String,
    /// The kind.
    pub kind: String,
}
