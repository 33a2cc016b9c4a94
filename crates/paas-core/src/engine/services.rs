//! What actions and reconcilers share.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use uuid::Uuid;

use super::clusters::{ClusterSet, Clusters};
use super::{Collections, Conditions, EventLog, Outages, Settings};
use crate::action::{AuditTrail, Denials};
use crate::clock::{Clock, Ids};
use crate::error::{Error, Fault, Result};
use crate::name::ClusterName;
use crate::port::{Admission, Authorizer, Driver, KeyRing, Registry, Store};

/// What a platform is made of.
pub struct Services {
    pub(super) store: Arc<dyn Store>,
    pub(super) collections: Collections,
    pub(super) clusters: Clusters,
    pub(super) registry: Arc<dyn Registry>,
    pub(super) key_ring: Arc<dyn KeyRing>,
    pub(super) authorizer: Arc<dyn Authorizer>,
    pub(super) admission: Vec<Arc<dyn Admission>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn Ids>,
    pub(super) installation: String,
    pub(super) settings: Settings,
    pub(super) audit: AuditTrail,
    pub(super) denials: Denials,
    pub(super) events: EventLog,
    pub(super) conditions: Conditions,
    pub(super) outages: Outages,
    pub(super) swept: Mutex<HashMap<String, i64>>,
}

impl Services {
    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Typed reads of the store.
    pub fn collections(&self) -> &Collections {
        &self.collections
    }

    /// The ports of each cluster that is open now.
    pub fn clusters(&self) -> ClusterSet {
        self.clusters.now()
    }

    /// Whether a cluster is one that the platform was built with, rather than one that was added.
    pub fn is_built_in(&self, cluster: &ClusterName) -> bool {
        self.clusters.is_built_in(cluster)
    }

    /// Why a cluster that was added could not be opened.
    pub fn cluster_failure(&self, cluster: &ClusterName) -> Option<String> {
        self.clusters.failure(cluster)
    }

    /// What opens clusters of a kind.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), naming the kinds that there are.
    pub fn driver(&self, kind: &str) -> Result<Arc<dyn Driver>> {
        let drivers = self.clusters.drivers();
        drivers.get(kind).cloned().ok_or_else(|| {
            let known: Vec<&str> = drivers.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let message = format!("is {kind:?}; the kinds that this platform can add: {known}");
            Error::invalid("find the driver of a cluster", vec![Fault::new("kind", message)])
        })
    }

    /// The clusters that the platform was built with, in order.
    pub fn built_in_clusters(&self) -> Vec<ClusterName> {
        self.clusters.built_in().cloned().collect()
    }

    pub(super) fn cluster_registry(&self) -> &Clusters {
        &self.clusters
    }

    /// Where images come from.
    pub fn registry(&self) -> &Arc<dyn Registry> {
        &self.registry
    }

    /// What seals secrets.
    pub fn key_ring(&self) -> &Arc<dyn KeyRing> {
        &self.key_ring
    }

    /// Who decides on actions.
    pub fn authorizer(&self) -> &Arc<dyn Authorizer> {
        &self.authorizer
    }

    /// Who checks specifications, in order.
    pub fn admission(&self) -> &[Arc<dyn Admission>] {
        &self.admission
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A new identifier.
    pub fn next_id(&self) -> Uuid {
        self.ids.next()
    }

    /// The identity of this installation, on every object that is made anywhere.
    pub fn installation(&self) -> &str {
        &self.installation
    }

    /// Bounds and times.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How events are stored.
    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// What cannot be done at present.
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// Which clusters do not answer.
    pub fn outages(&self) -> &Outages {
        &self.outages
    }

    pub(crate) fn audit(&self) -> &AuditTrail {
        &self.audit
    }

    pub(crate) fn denials(&self) -> &Denials {
        &self.denials
    }

    /// Whether an actor's expired requests are to be removed: once a day.
    pub(crate) fn requests_due(&self, actor: &str, now: Timestamp) -> bool {
        const ACTORS: usize = 10_000;
        let day = now.as_second() / 86_400;
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.len() >= ACTORS {
            swept.clear();
        }
        swept.insert(actor.to_owned(), day) != Some(day)
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services")
            .field("installation", &self.installation)
            .field("clusters", &self.clusters)
            .finish_non_exhaustive()
    }
}
