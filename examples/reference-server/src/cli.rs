//! The command line. It speaks to the server through its REST interface and no other way.

pub mod args;
mod client;
mod command;
mod context;
mod duration;
mod failure;
mod image;
mod live;
mod output;
mod source;
mod stream;
mod terminal;
mod websocket;

pub use command::run;
pub use failure::Exit;
