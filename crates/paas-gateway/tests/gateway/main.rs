//! The gateway with real connections: clients in front of it, HTTP, WebSocket and TCP servers behind it.

#![expect(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

mod calls;
mod drain;
mod hostile;
mod http;
mod process;
mod support;
mod tunnels;
