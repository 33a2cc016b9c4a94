//! Roles.

use paas_core::port::Role;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scope::ScopeName;
use super::token::ActorId;

/// A role to be given.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGrant {
    /// Who gets it.
    pub actor: ActorId,
    /// The role.
    pub role: Role,
    /// On what.
    pub scope: ScopeName,
}
