//! Access points: how the outside reaches a component.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::{ComponentName, PortName, RouteName};

/// An access point: a host and a path, or a TCP port, that lead to a component's port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    /// The name, unique in the application.
    pub name: RouteName,
    /// The host, such as `shop.example.org` or `*.example.org`. Absent together with `tcp_port`: the
    /// platform's own, `APP-ENV-ORG.localhost` on one machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path prefix, by whole segments; `/` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A TCP port of the gateway, instead of host and path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_port: Option<u16>,
    /// The component it leads to.
    pub component: ComponentName,
    /// The component's port by name; its first port if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortName>,
}
