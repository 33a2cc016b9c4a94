//! An open loop of requests and held WebSockets, for tests that count every failure.
//!
//! An open loop sends on time whether or not answers come, so that a stall shows as failures instead of as fewer
//! requests (the "coordinated omission" of closed loops). A time-out is a failure, and so is a connection that
//! breaks, a status that is not 2xx, and an answer that ends early. Nothing is tried twice.
//!
//! Targets are loopback addresses, or private ones where the caller says that it made the network itself: see [`Reach`].

mod http;
mod reach;
mod report;
mod websocket;

pub use http::{OpenLoop, Running};
pub use reach::Reach;
pub use report::{Failure, Report};
pub use websocket::{HeldSockets, SocketReport, hold_sockets};
