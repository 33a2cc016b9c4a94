//! The whole platform in memory: what users ask for comes true, whatever fails meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::large_futures,
    reason = "tests may panic, and their stacks are large enough"
)]

mod clusters;
mod faults;
mod fencing;
mod figures;
mod harness;
mod hosts;
mod idle;
mod journeys;
mod kill;
mod manifests;
mod scheduled;
mod several;
mod spaces;
mod stateful;
