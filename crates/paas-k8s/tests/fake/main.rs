//! The backend on the fake API server: the conformance suites of the ports, and what only Kubernetes has.

#![allow(clippy::unwrap_used)] // tests may panic

mod behaviour;
mod conformance;
#[path = "../support/contract.rs"]
mod contract;
mod denied;
mod faults;
mod fixture;
mod hosts;
mod least_privilege;
mod manifests;
mod mirror;
mod on_contract;
mod ordered;
mod routes;
mod rules;
mod spaces;
mod without_gateway;
