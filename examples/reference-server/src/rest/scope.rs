//! Scopes as one word, for queries and the command line.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use paas_core::port::Scope;
use paas_core::{AppEnv, AppRef, EnvRef, Fault};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `platform`, `cluster:NAME`, `org:ORG`, `env:ORG/ENV`, `app:ORG/APP` or `app_env:ORG/ENV/APP`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeName(pub Scope);

impl FromStr for ScopeName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let message = |fault: Fault| fault.message;
        let scope = match text.split_once(':') {
            None if text == "platform" => Scope::Platform,
            Some(("cluster", name)) => Scope::Cluster { cluster: name.parse().map_err(message)? },
            Some(("org", name)) => Scope::Org { org: name.parse().map_err(message)? },
            Some(("env", name)) => Scope::Env(name.parse::<EnvRef>().map_err(message)?),
            Some(("app", name)) => Scope::App(name.parse::<AppRef>().map_err(message)?),
            Some(("app_env", name)) => Scope::AppEnv(name.parse::<AppEnv>().map_err(message)?),
            _ => {
                return Err(format!(
                    "{text:?} is not a scope; write platform, cluster:NAME, org:ORG, env:ORG/ENV, app:ORG/APP or \
                     app_env:ORG/ENV/APP"
                ));
            }
        };
        Ok(Self(scope))
    }
}

impl fmt::Display for ScopeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&paas_core::engine::Grant::scope_name(&self.0))
    }
}

impl Serialize for ScopeName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ScopeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for ScopeName {
    fn schema_name() -> Cow<'static, str> {
        "ScopeName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        const NAME: &str = "[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?";
        json_schema!({
            "description": "What a role is about, as one word.",
            "type": "string",
            "pattern": format!(
                "^(platform|cluster:{NAME}|org:{NAME}|env:{NAME}/{NAME}|app:{NAME}/{NAME}|app_env:{NAME}/{NAME}/{NAME})$"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_reads_back_as_it_is_written() {
        for text in [
            "platform",
            "cluster:local",
            "org:shop",
            "env:shop/prod",
            "app:shop/web",
            "app_env:shop/prod/web",
        ] {
            assert_eq!(text.parse::<ScopeName>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_scope_is_refused() {
        for text in ["", "shop", "org:", "org:Shop", "env:shop", "app_env:shop/prod", "planet:earth"] {
            assert!(text.parse::<ScopeName>().is_err(), "{text}");
        }
    }
}
