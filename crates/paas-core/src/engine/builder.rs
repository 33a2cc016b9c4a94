//! Composing a platform from ports.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;

use super::clusters::Clusters;
use super::{Changes, Collections, EventLog, Grant, LeaseOptions, Platform, Services, Stored};
use crate::action::{AuditTrail, Denials};
use crate::clock::{Clock, Ids, RandomIds, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::memory;
use crate::name::ClusterName;
use crate::port::{Admission, Authorizer, ClusterPorts, Driver, KeyRing, Registry, Role, Scope, Store};
use crate::tenancy::{Actor, RoleAuthorizer};

/// Bounds and times of a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// How many committed releases are kept whole besides the current one.
    pub releases_kept: usize,
    /// How many aborted releases are kept; they displace no committed one.
    pub aborted_kept: usize,
    /// How many events each scope keeps, give or take fifty.
    pub events_kept: usize,
    /// How this platform becomes the one that reconciles, if several share a store.
    pub lease: LeaseOptions,
    /// How often everything is looked at although nothing asked for it; ten minutes unless said otherwise.
    pub resync: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            releases_kept: 10,
            aborted_kept: 20,
            events_kept: 500,
            lease: LeaseOptions::default(),
            resync: Duration::from_mins(10),
        }
    }
}

/// Composes a platform from ports; see [`Platform::builder`].
#[derive(Debug)]
pub struct PlatformBuilder {
    store: Option<Arc<dyn Store>>,
    clusters: BTreeMap<ClusterName, ClusterPorts>,
    drivers: BTreeMap<String, Arc<dyn Driver>>,
    registry: Option<Arc<dyn Registry>>,
    key_ring: Option<Arc<dyn KeyRing>>,
    authorizer: Option<Arc<dyn Authorizer>>,
    admission: Vec<Arc<dyn Admission>>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    installation: String,
    settings: Settings,
    administrator: Option<Actor>,
    reconciles: bool,
}

impl PlatformBuilder {
    pub(super) fn new() -> Self {
        Self {
            store: None,
            clusters: BTreeMap::new(),
            drivers: BTreeMap::new(),
            registry: None,
            key_ring: None,
            authorizer: None,
            admission: Vec::new(),
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
            installation: "paas".to_owned(),
            settings: Settings::default(),
            administrator: None,
            reconciles: true,
        }
    }

    /// Where documents are kept; in memory if nothing is said.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Adds a cluster, in place of one of the same name. At least one is needed, or a driver.
    #[must_use]
    pub fn cluster(mut self, name: ClusterName, ports: ClusterPorts) -> Self {
        self.clusters.insert(name, ports);
        self
    }

    /// What opens clusters that are added at run time, in place of one of the same kind.
    #[must_use]
    pub fn driver(mut self, driver: Arc<dyn Driver>) -> Self {
        self.drivers.insert(driver.kind().to_owned(), driver);
        self
    }

    /// Where images come from; required.
    #[must_use]
    pub fn registry(mut self, registry: Arc<dyn Registry>) -> Self {
        self.registry = Some(registry);
        self
    }

    /// What seals secrets; keys that live as long as the process if nothing is said, which suits a store in memory
    /// only.
    #[must_use]
    pub fn key_ring(mut self, key_ring: Arc<dyn KeyRing>) -> Self {
        self.key_ring = Some(key_ring);
        self
    }

    /// Who decides what actors may do; the roles granted in the store if nothing is said.
    #[must_use]
    pub fn authorizer(mut self, authorizer: Arc<dyn Authorizer>) -> Self {
        self.authorizer = Some(authorizer);
        self
    }

    /// Adds a check or an amendment of specifications, after those added before.
    #[must_use]
    pub fn admission(mut self, admission: Arc<dyn Admission>) -> Self {
        self.admission.push(admission);
        self
    }

    /// Where the time is read; the system's clock if nothing is said.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Where identifiers come from; random ones if nothing is said.
    #[must_use]
    pub fn ids(mut self, ids: Arc<dyn Ids>) -> Self {
        self.ids = ids;
        self
    }

    /// The identity of this installation, put on every object that is made anywhere; `paas` if nothing is said. It
    /// must not change.
    #[must_use]
    pub fn installation(mut self, id: impl Into<String>) -> Self {
        self.installation = id.into();
        self
    }

    /// Bounds and times.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Makes somebody a platform administrator, if they are not one yet.
    #[must_use]
    pub fn administrator(mut self, actor: Actor) -> Self {
        self.administrator = Some(actor);
        self
    }

    /// Leaves the reconcilers out: the platform takes and answers requests, and another server carries them out.
    #[must_use]
    pub fn without_reconcilers(mut self) -> Self {
        self.reconciles = false;
        self
    }

    /// Builds the platform and starts its reconcilers.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if a port is missing, and those of the store.
    pub fn build(self) -> BoxFuture<'static, Result<Platform>> {
        // Boxed, so that the reconcilers are compiled here and not in every crate that builds a platform.
        Box::pin(self.compose())
    }

    async fn compose(self) -> Result<Platform> {
        let missing = |what: &'static str, remedy: &'static str| {
            Err(Error::new(ErrorKind::Invalid, format!("build a platform without a {what}"))
                .with_remedy(remedy))
        };
        if self.clusters.is_empty() && self.drivers.is_empty() {
            return missing(
                "cluster",
                "Add one with `cluster`, a `driver` that opens others, or begin with `Platform::in_memory`.",
            );
        }
        let Some(registry) = self.registry else {
            return missing("registry", "Add one with `registry`, or begin with `Platform::in_memory`.");
        };
        let store = self.store.unwrap_or_else(|| Arc::new(memory::MemoryStore::new()));
        let key_ring = self.key_ring.unwrap_or_else(|| Arc::new(memory::MemoryKeyRing::new()));
        let authorizer = self.authorizer.unwrap_or_else(|| Arc::new(RoleAuthorizer::new(Arc::clone(&store))));
        let services = Arc::new(Services {
            collections: Collections::new(Arc::clone(&store)),
            store,
            clusters: Clusters::new(self.clusters, self.drivers),
            registry,
            key_ring,
            authorizer,
            admission: self.admission,
            clock: self.clock,
            ids: self.ids,
            installation: self.installation,
            settings: self.settings,
            audit: AuditTrail::default(),
            denials: Denials::default(),
            events: EventLog::default(),
            conditions: super::Conditions::default(),
            outages: super::Outages::default(),
            swept: Mutex::new(HashMap::new()),
        });
        if let Some(actor) = self.administrator {
            ensure_administrator(&services, &actor).await?;
        }
        Platform::start(services, self.reconciles).await
    }
}

async fn ensure_administrator(services: &Services, actor: &Actor) -> Result<()> {
    Actor::check_id(actor.id())?;
    let key = Grant::key_of(actor.id(), &Scope::Platform);
    let grant = Grant {
        actor: actor.id().to_owned(),
        role: Role::PlatformAdmin,
        scope: Scope::Platform,
        granted_by: Actor::SYSTEM.to_owned(),
        granted_at: services.now(),
    };
    let mut stored = match services.collections().get::<Grant>(&key).await? {
        Some(found) if found.value.role == Role::PlatformAdmin => return Ok(()),
        Some(found) => found,
        None => Stored::new(grant.clone()),
    };
    stored.value = grant;
    let mut changes = Changes::new();
    changes.update(&stored)?;
    services.store().commit(changes.into_txn()).await?;
    Ok(())
}
