//! What happens to a request, and to a connection.

mod body;
mod exchange;
mod forward;
mod headers;
mod page;
mod tcp;
mod tunnel;

pub(crate) use body::RequestBody;
pub(crate) use forward::{Peer, serve};
pub(crate) use tcp::proxy as proxy_tcp;
