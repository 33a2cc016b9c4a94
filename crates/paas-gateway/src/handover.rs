//! How sockets get from one network namespace into the gateway.
//!
//! A socket belongs for ever to the namespace it was made in, whoever holds it. So the process that lives in an
//! instance's namespace (its *shim*) makes sockets there and hands them over:
//! - *in*: unconnected sockets, which the gateway connects itself to a loopback address of the instance;
//! - *out*: listening sockets, one for each declared dependency, on which the gateway accepts.
//!
//! The protocol runs over a `SOCK_SEQPACKET` Unix socket. A request is one packet that holds one JSON document of
//! at most [`MAX_PACKET`] bytes, a reply is one packet with one JSON document and the file descriptors that it
//! promises, by `SCM_RIGHTS` (unix(7)). Requests are answered in order; a connection carries any number of them.
//!
//! Requests are told apart by their member `op`. A shim may serve operations of its own on the same socket; the
//! framing ([`send_json`], [`recv_json`]) takes any serde type:
//!
//! ```
//! #[derive(serde::Deserialize)]
//! #[serde(untagged)]
//! enum ShimRequest {
//!     Handover(paas_gateway::handover::Request),
//!     Own(OwnRequest),
//! }
//! #[derive(serde::Deserialize)]
//! #[serde(tag = "op", rename_all = "snake_case")]
//! enum OwnRequest {
//!     Signal { number: i32 },
//! }
//! let request: ShimRequest = serde_json::from_str(r#"{"op":"signal","number":15}"#).unwrap();
//! assert!(matches!(request, ShimRequest::Own(OwnRequest::Signal { number: 15 })));
//! ```

mod address;
mod client;
mod message;
mod packet;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use address::short_address;
pub use address::{accept, bind, connect};
pub use client::Client;
pub use message::{Answer, Family, Listener, Reply, Request, VERSION, answer};
pub use packet::{MAX_FDS, MAX_PACKET, Packet, recv, recv_json, send, send_json};
pub(crate) use wire::Wire;
