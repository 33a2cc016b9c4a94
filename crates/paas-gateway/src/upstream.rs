//! Instances as the gateway uses them: connections, pools of them, and who is using an instance.
//!
//! # Which requests are repeated
//!
//! A request is tried again, on another instance if there is one, as long as no byte of a response came and the body
//! can be given once more (there is none, or what was read of it is still held: up to 64 KiB), if
//! - connecting failed, or the request was never written: whatever the method;
//! - the connection was closed, and the method is idempotent (RFC 9110 section 9.2.2);
//! - the connection was *reset*, whatever the method: the kernel of the other side resets if it is given bytes that
//!   no process will read, so the instance has not had the request. A process that has read a request and dies ends
//!   its connection in order instead; then a POST is not repeated, for it may have been carried out.
//!
//! In addition, a pooled connection is looked at right before a request that is not idempotent goes out on it, so that
//! one which the instance has closed while idle is not used.

mod dial;
mod instance;
mod io;
mod lease;
mod pool;

pub(crate) use dial::Dialer;
pub(crate) use instance::{DrainHub, Instance};
pub(crate) use io::SharedStream;
pub(crate) use lease::{Lease, Use};
pub(crate) use pool::{Connection, SendFailure};
