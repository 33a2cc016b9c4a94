//! The gateway as a process of its own.
//!
//! The embedding program is its own gateway: called with `__gateway <folder>` (or whatever it chooses), its `main`
//! calls [`run`] before anything else, and never returns to the rest.
//!
//! ```no_run
//! let mut arguments = std::env::args_os().skip(1);
//! if arguments.next().is_some_and(|argument| argument == "__gateway") {
//!     let folder = arguments.next().expect("the server passes it");
//!     if let Err(error) = paas_gateway::process::run(folder.as_ref()) {
//!         eprintln!("{}", error.chain());
//!         std::process::exit(1);
//!     }
//!     return;
//! }
//! // … the rest of the program, which at some time does:
//! # async fn server(folder: &std::path::Path) -> paas_gateway::Result<()> {
//! use paas_gateway::process::{Launch, ensure_running};
//! let launch = Launch::new(std::env::current_exe().unwrap()).with_argument("__gateway").with_argument(folder);
//! let control = ensure_running(folder, &launch).await?;
//! println!("{:?}", control.status().await?);
//! # Ok(()) }
//! ```
//!
//! The folder holds `config.json` (the config in force, served at once by the next gateway), `gateway.json` (which process
//! it is), `gateway.lock` (held by it), `control.sock`, `takeover.sock`, `gateway.log` and `log/access.log`.

mod run;
mod spawn;
mod takeover;

pub use run::run;
pub use spawn::{Launch, ensure_running, upgrade};
