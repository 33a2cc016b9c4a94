//! Every port in memory: what the contracts mean, written as code, for tests, simulations and examples.
//!
//! [`SimulatedCluster`] is a whole cluster: a runtime whose instances take time to become ready, crash, run out of
//! memory, are refused or lost with their node; a router whose changes take time to be in force; logs and commands.
//! [`Images`] is the registry that it pulls from and says how each image behaves. All of it runs on tokio's time, so
//! a test with paused time sees hours pass in milliseconds.
//!
//! [`Intercepted`] wraps a port with [`Interceptor`]s: [`Faults`] makes calls fail before or after they took
//! effect, hang or be slow, by rule or by seed; [`Mutations`] counts what changed something.
//!
//! [`sim`] walks the release machine, or a strategy of an embedder's own, through made-up histories.

mod admission;
mod authorizer;
mod clock;
mod cluster;
mod driver;
mod exec;
mod faults;
mod images;
mod intercept;
mod key_ring;
mod logs;
mod mutations;
mod router;
mod runtime;
mod store;
mod surroundings;

pub mod sim;

pub use admission::MemoryAdmission;
pub use authorizer::MemoryAuthorizer;
pub use clock::TokioClock;
pub use cluster::{ClusterSnapshot, Ending, Refusal, Served, SetSnapshot, SimulatedCluster};
pub use driver::SimulatedDriver;
pub use exec::SimulatedExec;
pub use faults::{FaultAction, Faults};
pub use images::{Image, Images};
pub use intercept::{Call, Intercepted, Interceptor, intercept_cluster};
pub use key_ring::MemoryKeyRing;
pub use logs::SimulatedLogs;
pub use mutations::Mutations;
pub use router::SimulatedRouter;
pub use runtime::SimulatedRuntime;
pub use store::MemoryStore;
pub use surroundings::{SimulatedMetrics, SimulatedNodes, SimulatedSpaces};
