//! One Linux machine as a PaaS runtime: OCI containers in their own namespaces, as root or as an ordinary user, without
//! a daemon, a bridge or packet filters.
//!
//! Three kinds of process, all the same program: the *server* that links this crate; for each instance a small *shim*,
//! which outlives it; and the *gateway*, which connects the two worlds. An instance's network namespace holds nothing
//! but a loopback interface; sockets made inside are handed to the gateway ([`paas_gateway::handover`]).
//!
//! The embedding program calls [`helper_main`] first in `main`.

#![allow(clippy::manual_let_else)] // the match says why each case ends

mod boot;
mod cgroup;
mod container;
mod error;
mod exec;
mod helper;
mod host;
mod idmap;
mod instances;
mod lock;
mod machine;
mod program;
mod ready;
mod shim;
mod signals;
mod spec;
mod state;
mod unpacker;

pub use error::{Error, ErrorKind, Failure, Result};
pub use helper::helper_main;
pub use host::{Host, Limitation};
pub use idmap::IdMap;
pub use instances::{Found, Instance, InstanceStatus, Instances, LogOptions, LogRecord, LogStream, Sweep};
pub use lock::StateLock;
pub use machine::{LocalMachine, MachineOptions};
pub use spec::{
    Command, Dependency, Endpoint, FileSpec, InstanceId, InstanceSpec, Limits, LogPolicy, SPEC_VERSION,
    Secrets, Volume,
};
pub use state::Exit;
