//! The core of an embeddable platform as a service: what users declare, what is decided, and the ports behind
//! which everything outside lies. It does no I/O of its own.
//!
//! - [`model`]: what users declare, and the records that come of it.
//! - [`memory`]: every port in memory, with faults.
//! - [`port`]: the traits that backends implement, with their contracts.
//! - [`release`]: strategies, plans and the release machine.

mod clock;
mod error;
mod name;
mod quantity;

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod memory;
pub mod model;
pub mod port;
pub mod release;

pub use clock::{Clock, CountingIds, Ids, RandomIds, SystemClock};
pub use error::{Error, ErrorKind, Fault, Result, Retry};
pub use name::{
    AppEnv, AppName, AppRef, ClusterName, ComponentKey, ComponentName, EnvName, EnvRef, OrgName, PortName,
    RouteName, TrackKey, VolumeName,
};
pub use quantity::{Bytes, Cpu};
