//! A platform: what an embedder builds and holds.

use std::sync::Arc;

use super::clusters::Follower;
use super::reconcile::Reconcilers;
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
    reconcilers: Option<Arc<Reconcilers>>,
    /// Keeps the set of clusters as it was declared.
    _follower: Option<Arc<Follower>>,
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

    pub(super) async fn start(services: Arc<Services>, active: bool) -> Result<Self> {
        // The clusters first, so that reconcilers find them.
        let follower = Follower::start(&services).await?.map(Arc::new);
        let reconcilers = if active {
            let lease = services.settings().lease.clone();
            Some(Arc::new(Reconcilers::start(Arc::clone(&services), lease).await?))
        } else {
            None
        };
        Ok(Self { services, reconcilers, _follower: follower })
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
    pub async fn shutdown(&self) {
        if let Some(reconcilers) = &self.reconcilers {
            reconcilers.shutdown().await;
        }
    }

    /// Whether this platform reconciles; it stands by while another one on the same store does.
    pub fn is_reconciling(&self) -> bool {
        self.reconcilers.as_ref().is_some_and(|reconcilers| reconcilers.are_working())
    }

    /// Looks at everything now, as it does every ten minutes. Nothing is written where nothing is to be done.
    pub fn resync(&self) {
        if let Some(reconcilers) = &self.reconcilers {
            reconcilers.resync();
        }
    }
}
