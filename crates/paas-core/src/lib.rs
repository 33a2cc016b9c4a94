//! The core of an embeddable platform as a service: what users declare, what is decided, and the ports behind
//! which everything outside lies. It does no I/O of its own.
//!
//! - [`engine`]: the platform, sessions, documents.
//! - [`action`]: everything that a user may do.
//! - [`tenancy`]: who may do what, and the record of what was done.
//! - [`model`]: what users declare, and the records that come of it.
//! - [`memory`]: every port in memory, with faults.
//! - [`port`]: the traits that backends implement, with their contracts.
//! - [`release`]: strategies, plans and the release machine.

mod clock;
mod error;
mod name;
mod quantity;

pub mod action;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod engine;
pub mod memory;
pub mod model;
pub mod port;
pub mod release;
pub mod tenancy;

pub use clock::{Clock, CountingIds, Ids, RandomIds, SystemClock};
pub use engine::{Platform, Session};
pub use error::{Error, ErrorKind, Fault, Result, Retry};
pub use name::{
    AppEnv, AppName, AppRef, ClusterName, ComponentKey, ComponentName, EnvName, EnvRef, OrgName, PortName,
    RouteName, TrackKey, VolumeName,
};
pub use quantity::{Bytes, Cpu};
pub use tenancy::Actor;
