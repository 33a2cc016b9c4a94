//! What goes over the wire beside the engine's own types, as server and command line both know it.

pub mod address;
pub mod change;
pub mod cluster;
pub mod exec;
pub mod grant;
pub mod page;
pub mod problem;
pub mod scope;
pub mod token;

/// Where the interface begins.
pub const PREFIX: &str = "/api/v1";
