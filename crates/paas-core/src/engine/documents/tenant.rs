//! Organisations, environments, and who may do what in them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::engine::Record;
use crate::model::{Environment, Organization};
use crate::name::{EnvRef, OrgName};
use crate::port::{DocumentKey, Role, Scope};

impl Record for Organization {
    const KIND: &'static str = "org";

    fn key(&self) -> DocumentKey {
        Self::key_of(&self.name)
    }
}

impl Organization {
    /// The key of an organisation's document.
    pub fn key_of(org: &OrgName) -> DocumentKey {
        DocumentKey::new(Self::KIND, "", org.as_str())
    }
}

impl Record for Environment {
    const KIND: &'static str = "env";

    fn key(&self) -> DocumentKey {
        Self::key_of(&EnvRef::new(self.org.clone(), self.name.clone()))
    }
}

impl Environment {
    /// The key of an environment's document.
    pub fn key_of(env: &EnvRef) -> DocumentKey {
        DocumentKey::new(Self::KIND, env.org.as_str(), env.env.as_str())
    }
}

/// A role that an actor has on a scope. An actor has one role per scope at the most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Grant {
    /// Who has it, such as `user:alice`.
    pub actor: String,
    /// The role.
    pub role: Role,
    /// On what.
    pub scope: Scope,
    /// Who gave it.
    pub granted_by: String,
    /// When.
    #[schemars(with = "String")]
    pub granted_at: Timestamp,
}

impl Record for Grant {
    const KIND: &'static str = "grant";

    fn key(&self) -> DocumentKey {
        Self::key_of(&self.actor, &self.scope)
    }

    fn index(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("scope".to_owned(), Self::scope_name(&self.scope))])
    }
}

impl Grant {
    /// The key of the grant of an actor on a scope.
    pub fn key_of(actor: &str, scope: &Scope) -> DocumentKey {
        DocumentKey::new(Self::KIND, actor, Self::scope_name(scope))
    }

    /// A scope as one word: in a grant's name, and as the value of its index `scope`.
    pub fn scope_name(scope: &Scope) -> String {
        match scope {
            Scope::Platform => "platform".to_owned(),
            Scope::Cluster { cluster } => format!("cluster:{cluster}"),
            Scope::Org { org } => format!("org:{org}"),
            Scope::Env(env) => format!("env:{env}"),
            Scope::App(app) => format!("app:{app}"),
            Scope::AppEnv(at) => format!("app_env:{at}"),
        }
    }
}
