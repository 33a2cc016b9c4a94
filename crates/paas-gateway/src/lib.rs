//! The data plane: HTTP and TCP proxy with weights, readiness, draining and statistics, a process of its own.

pub mod error;
pub mod handover;

pub use error::{Error, ErrorKind, Result};
