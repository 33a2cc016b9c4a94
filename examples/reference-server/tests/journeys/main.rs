//! Whole journeys against the real binary with real containers: what a user does, seen from outside.
//!
//! They run as whoever runs the tests, and `cargo xtask test` runs them as root and as an ordinary user. Each starts a
//! server of its own in a directory of its own and leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "a journey that cannot go on fails")]
#![allow(clippy::assigning_clones, dead_code)]

mod platform;
mod sample;

mod bad_versions;
mod continuity;
mod faults;
mod life;
mod releases;
