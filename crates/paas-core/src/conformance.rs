//! The promises of each port as tests: one function per promise, to be run against every implementation.
//!
//! A suite takes a fixture that makes the backend; each function panics with what was expected if a promise is
//! broken. Suites are for tests: they may panic, and they are the only part of this crate that does.

pub mod store;
