//! What the actions do to the documents, against the ports in memory. The tracks are driven by a world in which every
//! intention comes true at once, so that each test sees the engine's own decisions and nothing else.

#![allow(clippy::unwrap_used)] // a failure of what a test sets up is a failure of the test

#[path = "engine/admission.rs"]
mod admission;
#[path = "engine/audit.rs"]
mod audit;
#[path = "engine/configuration.rs"]
mod configuration;
#[path = "engine/deletion.rs"]
mod deletion;
#[path = "engine/deploy.rs"]
mod deploy;
#[path = "engine/embedder.rs"]
mod embedder;
#[path = "engine/faults.rs"]
mod faults;
#[path = "engine/history.rs"]
mod history;
#[path = "engine/ports.rs"]
mod ports;
#[path = "engine/rollback.rs"]
mod rollback;
#[path = "engine/scale.rs"]
mod scale;
#[path = "engine/secrecy.rs"]
mod secrecy;
#[path = "engine/support.rs"]
mod support;
#[path = "engine/tenancy.rs"]
mod tenancy;
