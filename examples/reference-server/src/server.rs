//! The server: a platform put together from the crates, in one directory.

pub mod accounts;
mod administrator;
mod backend;
mod directory;
mod http;
mod in_cluster;
pub mod init;
mod installation;
mod options;
mod start;
pub mod token;

pub use options::{Backend, LogFormat, ServerArgs};
pub use start::Server;
