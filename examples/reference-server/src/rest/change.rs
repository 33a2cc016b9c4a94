//! Bodies of changes that the engine has no type for, because there they are arguments.

use paas_core::ComponentName;
use paas_core::model::RouteSpec;
use paas_core::port::RunInput;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A number of instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// How many instances on each cluster.
    pub count: u32,
}

/// The whole application, or one of its components.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Only this component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<ComponentName>,
}

/// Why a release is aborted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Abort {
    /// For the history.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub reason: String,
}

/// A secret's new value: text, or bytes in base64.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NewSecret {
    /// The value as text.
    Text(String),
    /// The value as bytes, in base64 with padding (RFC 4648, section 4).
    Base64(
        #[schemars(regex(pattern = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"))] String,
    ),
}

/// The access points of an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteList {
    /// All of them.
    pub routes: Vec<RouteSpec>,
}

/// A one-off command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRun {
    /// Whose image, configuration and limits it has.
    pub component: ComponentName,
    /// The command and its arguments; the component's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub command: Option<Vec<String>>,
    /// What its standard input is. With input or a terminal it waits for somebody to attach, who is the only one, and ends
    /// with the connection.
    #[serde(default)]
    pub input: RunInput,
}
