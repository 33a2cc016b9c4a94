//! The clusters that all journeys of a run share.

use std::sync::OnceLock;

use libtest_mimic::Failed;
use paas_cluster_harness::{Origin, TestCluster};

use crate::journey::Who;
use crate::platform::{Platform, Setup};

/// The clusters, found or brought up when the first journey asks for them.
pub fn get() -> Result<&'static [TestCluster], Failed> {
    static FOUND: OnceLock<Result<Vec<TestCluster>, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let clusters = paas_cluster_harness::clusters(1).map_err(|error| format!("{error:#}"))?;
        match clusters.iter().find(|cluster| cluster.gateway.is_none() || cluster.registry.is_none()) {
            Some(cluster) => Err(format!("{cluster} has no Gateway, or no registry that tests may push to")),
            None => Ok(clusters),
        }
    });
    found.as_deref().map_err(Failed::from)
}

/// The only cluster of most journeys.
pub fn first() -> &'static TestCluster {
    &get().expect("they were found before the journey began")[0]
}

/// A server whose environment is on the first cluster.
pub fn start() -> Platform {
    let clusters = get().expect("they were found before the journey began");
    Setup::new(Who::Root).on(&clusters[..1]).start()
}

/// Whether the network in front of the clusters was made for tests, so that load may go through it.
pub fn takes_load() -> bool {
    first().origin != Origin::Given
}
