//! As much of HTTP/1.1 (RFC 9112) as a server behind a gateway needs.

mod request;
mod response;

pub use request::{ReadError, Request, read_request};
pub use response::Response;
