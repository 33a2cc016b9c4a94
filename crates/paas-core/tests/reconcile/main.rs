//! The whole platform in memory: what users ask for comes true, whatever fails meanwhile.

#![allow(clippy::unwrap_used)] // tests may panic

mod harness;
mod journeys;
