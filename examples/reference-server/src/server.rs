//! The server: a platform put together from the crates, in one directory.

pub mod accounts;
mod backend;
mod directory;
mod http;
mod installation;
mod options;
mod start;
pub mod token;

pub use options::{Backend, LogFormat, ServerArgs};
pub use start::Server;
