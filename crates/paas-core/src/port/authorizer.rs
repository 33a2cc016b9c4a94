//! Who may do what.

use std::fmt;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::name::{AppEnv, AppRef, ClusterName, EnvRef, OrgName};

/// What an action needs: a noun and a verb, such as `app.deploy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Permission(pub &'static str);

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What an action or a role is about. A wider scope contains the narrower ones.
///
/// A cluster contains nothing but itself and its machines: what runs on it belongs to the environments that target it, which
/// belong to organisations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scope {
    /// Everything.
    Platform,
    /// A cluster.
    Cluster {
        /// Its name.
        cluster: ClusterName,
    },
    /// An organisation.
    Org {
        /// Its name.
        org: OrgName,
    },
    /// An environment with all its applications.
    Env(EnvRef),
    /// An application in all its environments.
    App(AppRef),
    /// An application in one environment.
    AppEnv(AppEnv),
}

impl Scope {
    /// Whether this scope is `other` or contains it.
    pub fn contains(&self, other: &Scope) -> bool {
        match (self, other) {
            (Self::Platform, _) => true,
            (Self::Org { org }, Self::Env(env)) => *org == env.org,
            (Self::Org { org }, Self::App(app)) => *org == app.org,
            (Self::Org { org }, Self::AppEnv(at)) => *org == at.org,
            (Self::Env(env), Self::AppEnv(at)) => *env == at.env_ref(),
            (Self::App(app), Self::AppEnv(at)) => *app == at.app_ref(),
            _ => self == other,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform => f.write_str("the platform"),
            Self::Cluster { cluster } => write!(f, "cluster {cluster}"),
            Self::Org { org } => write!(f, "organisation {org}"),
            Self::Env(env) => write!(f, "environment {env}"),
            Self::App(app) => write!(f, "application {app}"),
            Self::AppEnv(at) => write!(f, "application {at}"),
        }
    }
}

/// The built-in roles; each has what the ones before it have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// Sees everything but secrets.
    Viewer,
    /// Deploys, scales, configures, rolls back, runs commands.
    Developer,
    /// Makes and deletes environments and applications, and grants roles.
    Owner,
    /// Makes and deletes organisations, clusters and users; platform scope only.
    PlatformAdmin,
}

/// A question to the authorizer.
#[derive(Debug, Clone)]
pub struct AccessRequest<'a> {
    /// Who asks.
    pub actor: &'a str,
    /// What for.
    pub permission: Permission,
    /// On what.
    pub scope: &'a Scope,
}

/// The authorizer's answer. What nothing allows is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// The actor may.
    Allow,
    /// The actor may not, with the reason that the actor may know.
    Deny(String),
}

/// Decides who may do what.
///
/// # Contract
/// - What nothing allows is denied.
/// - The answer depends on the request and on stored grants only; a failure to find out is an error, never an [`Decision::Allow`].
#[async_trait]
pub trait Authorizer: fmt::Debug + Send + Sync + 'static {
    /// Decides one request.
    async fn authorize(&self, request: &AccessRequest<'_>) -> Result<Decision>;
}
