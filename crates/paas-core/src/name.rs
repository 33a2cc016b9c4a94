//! Validated names. A name is checked once, where it enters, and is a type of its own from then on.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Fault;

/// Checks the rules of an RFC 1123 label, at most `max` characters long.
fn check_label(what: &str, value: &str, max: usize) -> Result<(), Fault> {
    let fault = |rule: &str| Err(Fault::new("", format!("{what} {value:?} {rule}")));
    if value.is_empty() {
        return fault("is empty; use 1 to 63 lower-case letters, digits and hyphens");
    }
    if value.len() > max {
        return Err(Fault::new(
            "",
            format!("{what} has {} characters; at most {max} are allowed", value.len()),
        ));
    }
    if !value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return fault("may only have lower-case letters, digits and hyphens");
    }
    if value.starts_with('-') || value.ends_with('-') {
        return fault("may not start or end with a hyphen");
    }
    Ok(())
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        ///
        /// Lower-case letters, digits and hyphens, not at either end (RFC 1123, section 2.1).
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
        #[serde(transparent)]
        #[schemars(extend("pattern" = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "minLength" = 1, "maxLength" = $max))]
        pub struct $name(String);

        impl $name {
            /// The longest name allowed, in characters.
            pub const MAX: usize = $max;

            /// Checks and wraps a name.
            ///
            /// # Errors
            /// A [`Fault`] without a path that says which rule the value breaks.
            pub fn new(value: impl Into<String>) -> Result<Self, Fault> {
                let value = value.into();
                check_label($what, &value, Self::MAX)?;
                Ok(Self(value))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Fault;
            fn from_str(value: &str) -> Result<Self, Fault> {
                Self::new(value)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = String::deserialize(deserializer)?;
                Self::new(value).map_err(|fault| serde::de::Error::custom(fault.message))
            }
        }
    };
}

label!(
    /// The name of an organisation.
    OrgName, "organisation name", 40);
label!(
    /// The name of an environment within its organisation.
    EnvName, "environment name", 40);
label!(
    /// The name of an application within its organisation.
    AppName, "application name", 40);
label!(
    /// The name of a component within its application.
    ComponentName, "component name", 40);
label!(
    /// The name of a cluster.
    ClusterName, "cluster name", 40);
label!(
    /// The name of a port of a component.
    PortName, "port name", 15);
label!(
    /// The name of a volume of a component.
    VolumeName, "volume name", 40);
label!(
    /// The name of an access point.
    RouteName, "route name", 40);

impl ClusterName {
    /// The cluster of a platform that has only one: `local`.
    pub fn local() -> Self {
        Self("local".to_owned())
    }
}

/// An application, named within its organisation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct AppRef {
    /// The organisation.
    pub org: OrgName,
    /// The application.
    pub app: AppName,
}

impl AppRef {
    /// The application `app` of `org`.
    pub fn new(org: OrgName, app: AppName) -> Self {
        Self { org, app }
    }

    /// The application in one of its organisation's environments.
    pub fn in_env(&self, env: EnvName) -> AppEnv {
        AppEnv { org: self.org.clone(), env, app: self.app.clone() }
    }
}

impl fmt::Display for AppRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.org, self.app)
    }
}

/// An environment, named within its organisation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct EnvRef {
    /// The organisation.
    pub org: OrgName,
    /// The environment.
    pub env: EnvName,
}

impl EnvRef {
    /// The environment `env` of `org`.
    pub fn new(org: OrgName, env: EnvName) -> Self {
        Self { org, env }
    }
}

impl fmt::Display for EnvRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.org, self.env)
    }
}

/// An application in an environment: what a release, a rollout and a configuration belong to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct AppEnv {
    /// The organisation of both.
    pub org: OrgName,
    /// The environment.
    pub env: EnvName,
    /// The application.
    pub app: AppName,
}

impl AppEnv {
    /// The application.
    pub fn app_ref(&self) -> AppRef {
        AppRef { org: self.org.clone(), app: self.app.clone() }
    }

    /// The environment.
    pub fn env_ref(&self) -> EnvRef {
        EnvRef { org: self.org.clone(), env: self.env.clone() }
    }

    /// One of its components.
    pub fn component(&self, component: ComponentName) -> ComponentKey {
        ComponentKey { at: self.clone(), component }
    }
}

impl fmt::Display for AppEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.org, self.env, self.app)
    }
}

/// A component of an application in an environment, on whichever clusters: what a route points to and
/// what another component calls.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ComponentKey {
    /// The application in its environment.
    pub at: AppEnv,
    /// The component.
    pub component: ComponentName,
}

impl ComponentKey {
    /// The component on one cluster.
    pub fn on(&self, cluster: ClusterName) -> TrackKey {
        TrackKey { component: self.clone(), cluster }
    }
}

impl fmt::Display for ComponentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.at, self.component)
    }
}

/// A component on a cluster: the unit that has a baseline, a count and a release machine of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct TrackKey {
    /// The component.
    pub component: ComponentKey,
    /// The cluster.
    pub cluster: ClusterName,
}

impl fmt::Display for TrackKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.component, self.cluster)
    }
}

macro_rules! path_parse {
    ($name:ident, $expected:literal, |$parts:ident| $build:expr, $count:literal) => {
        impl FromStr for $name {
            type Err = Fault;
            fn from_str(value: &str) -> Result<Self, Fault> {
                let $parts: Vec<&str> = value.split('/').collect();
                if $parts.len() != $count {
                    return Err(Fault::new("", format!("{value:?} is not of the form {}", $expected)));
                }
                $build
            }
        }
    };
}

path_parse!(AppRef, "ORG/APP", |p| Ok(Self { org: p[0].parse()?, app: p[1].parse()? }), 2);
path_parse!(EnvRef, "ORG/ENV", |p| Ok(Self { org: p[0].parse()?, env: p[1].parse()? }), 2);
path_parse!(
    AppEnv,
    "ORG/ENV/APP",
    |p| Ok(Self { org: p[0].parse()?, env: p[1].parse()?, app: p[2].parse()? }),
    3
);
path_parse!(
    ComponentKey,
    "ORG/ENV/APP/COMPONENT",
    |p| Ok(Self {
        at: AppEnv { org: p[0].parse()?, env: p[1].parse()?, app: p[2].parse()? },
        component: p[3].parse()?
    }),
    4
);

impl FromStr for TrackKey {
    type Err = Fault;
    fn from_str(value: &str) -> Result<Self, Fault> {
        let (component, cluster) = value.split_once('@').ok_or_else(|| {
            Fault::new("", format!("{value:?} is not of the form ORG/ENV/APP/COMPONENT@CLUSTER"))
        })?;
        Ok(Self { component: component.parse()?, cluster: cluster.parse()? })
    }
}
