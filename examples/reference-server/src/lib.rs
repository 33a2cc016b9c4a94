//! A platform on one machine, and its command line, in one program.
//!
//! - `server` puts the platform together from the crates and keeps it running; [`Server`] is its face.
//! - `api` is its REST interface: thin, each handler is one action of a session.
//! - `cli` is the command line, which speaks only REST.
//! - `rest` is what goes over the wire between the two, beside the engine's own types.
//!
//! The binary `paas` is [`main`] and nothing else. A server of your own is a few lines, with something
//! around its ports or in their place:
//!
//! ```no_run
//! use std::process::ExitCode;
//! use std::sync::Arc;
//!
//! use paas_core::memory::{Intercepted, Mutations};
//! use reference_server::{Server, ServerArgs};
//!
//! fn main() -> ExitCode {
//!     // This program is the supervisor of each instance and the gateway, too.
//!     paas_local::helper_main();
//!     let counter = Arc::new(Mutations::new());
//!     Server::new(ServerArgs::new("/var/lib/our-paas"))
//!         .with_store(move |store| Arc::new(Intercepted::new(store, vec![counter])))
//!         .run()
//! }
//! ```

// A refusal is the rare case, and carries what its reader needs.
#![allow(clippy::result_large_err)]
// Lines for people are put together piece by piece, and each kind of line says its own tone.
#![allow(clippy::format_push_string, clippy::format_collect, clippy::match_same_arms, clippy::unused_self)]

mod api;
mod cli;
mod program;
mod rest;
mod server;

pub use program::main;
pub use server::{Backend, LogFormat, Server, ServerArgs};
