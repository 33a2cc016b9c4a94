//! The data plane: HTTP and TCP proxy with weights, readiness, draining and statistics, a process of its own.
//!
//! The gateway serves on while the server that configures it restarts or is upgraded. An embedding program runs it
//! as a second process of itself: [`process::run`] is that process, [`process::ensure_running`] starts it or finds
//! the running one and returns a [`Control`], with which [`Config`]s are applied and the state is asked for.
//! Inside one process, for tests or small programs, [`Gateway`] does the same without a socket.
//!
//! What is promised:
//! - A config is applied as a whole or not at all, and cuts nothing: requests in flight, WebSocket and TCP
//!   connections and idle keep-alive connections of clients live on.
//! - A request that reached no instance is tried on another one, so that instances which stop cost no request while
//!   another is ready (which requests are safe to repeat: see `upstream`).
//! - Weights are exact: in any run of `w` requests in a row, where `w` is the sum of the weights, each revision gets
//!   its weight.

mod access_log;
mod balance;
pub mod config;
pub mod control;
mod error;
mod gateway;
pub mod handover;
mod listen;
pub mod process;
mod proxy;
mod stats;
mod table;
mod unix;
mod upstream;

pub use config::Config;
pub use control::Control;
pub use error::{Error, ErrorKind, Result};
pub use gateway::{
    CallerStatus, DrainEvent, Gateway, GatewayOptions, InstanceStatus, ListenerStatus, Status,
};
pub use stats::{Histogram, Snapshot, Source, Statistics};
