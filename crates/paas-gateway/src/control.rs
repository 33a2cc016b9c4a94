//! Telling a gateway what to do, from another process.
//!
//! The gateway listens on a Unix socket, `control.sock` in its folder, for processes of its own user and of root.
//! A message is a big-endian 32-bit length and a JSON document. The client asks `hello` first, with the versions
//! that it speaks; then it sends calls, and each is answered before the next is read. `watch_drains` is answered with a
//! stream of events that ends only with the connection.

mod client;
mod message;
mod server;

pub use client::{Control, DrainNotice, DrainNotices};
pub use message::{CONTROL_VERSION, Hello};
pub(crate) use server::{Order, serve};

/// The socket in the gateway's folder.
pub(crate) const SOCKET: &str = "control.sock";
