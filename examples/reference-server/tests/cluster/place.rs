//! The clusters that all journeys of a run share.

use std::sync::OnceLock;

use libtest_mimic::Failed;
use paas_cluster_harness::{Origin, TestCluster};

use crate::journey::Who;
use crate::platform::{Platform, Setup};

/// Clusters, found or brought up now.
pub fn get(count: usize) -> Result<Vec<TestCluster>, String> {
    let clusters = paas_cluster_harness::clusters(count).map_err(|error| format!("{error:#}"))?;
    match clusters.iter().find(|cluster| cluster.gateway.is_none() || cluster.registry.is_none()) {
        Some(cluster) => Err(format!("{cluster} has no Gateway, or no registry that tests may push to")),
        None => Ok(clusters),
    }
}

/// The only cluster of most journeys, found when the first one asks for it.
pub fn find() -> Result<&'static TestCluster, Failed> {
    static FOUND: OnceLock<Result<TestCluster, String>> = OnceLock::new();
    FOUND.get_or_init(|| Ok(get(1)?.remove(0))).as_ref().map_err(Failed::from)
}

/// The same, for a journey that has begun.
pub fn first() -> &'static TestCluster {
    find().expect("it was found before the journey began")
}

/// A server whose environment is on the first cluster.
pub fn start() -> Platform {
    setup().start()
}

/// What it is made of.
pub fn setup() -> Setup {
    Setup::new(Who::Root).on(std::slice::from_ref(first()))
}

/// Whether the network in front of the clusters was made for tests, so that load may go through it.
pub fn takes_load() -> bool {
    first().origin != Origin::Given
}
