//! Who may do what, and the record of what was done.
//!
//! - [`Actor`]: who acts, and on whose behalf.
//! - [`permissions`]: every permission, and the roles that have it. What nothing allows is denied.
//! - [`RoleAuthorizer`]: decides by the roles that are granted in the store.
//! - [`AuditRecord`]: what was done, chained by hashes per organisation.

mod actor;
mod audit;
pub mod permissions;
mod roles;

pub use actor::Actor;
pub use audit::{AuditHead, AuditRecord, AuditResult, ChainFault, chain_of, verify_chain};
pub use roles::{RoleAuthorizer, role_permits, roles_allow};

pub(crate) use roles::denial;
