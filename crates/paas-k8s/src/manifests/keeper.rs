//! Keeps the objects of sets that are in force as they were applied: what somebody else changed or deleted is restored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::ListParams;
use paas_core::port::SetKey;
use paas_core::{Result, TrackKey};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::apply::{Applied, kept};
use crate::cluster::Shared;
use crate::error::failed;
use crate::mirror::Source;
use crate::scheme::{keys, roles};
use crate::trouble::Trouble;

/// How often everything is looked at, for the kinds that are not watched.
const RESYNC: Duration = Duration::from_mins(5);
/// Changes within this time are looked at together: a release writes many objects.
const TOGETHER: Duration = Duration::from_secs(2);

/// Begins to keep the objects of manifests.
pub(crate) fn keep(shared: &Arc<Shared>) -> JoinHandle<()> {
    let touched = shared.events.touched();
    tokio::spawn(run(Arc::downgrade(shared), touched))
}

async fn run(shared: Weak<Shared>, mut touched: Receiver<TrackKey>) {
    let mut resync = Instant::now() + RESYNC;
    let (mut listing, mut failed) = (Trouble::default(), BTreeMap::<TrackKey, Trouble>::new());
    loop {
        let mut due = BTreeSet::new();
        match timeout_at(resync, touched.recv()).await {
            Ok(Ok(track)) => {
                due.insert(track);
                sleep(TOGETHER).await;
            }
            Ok(Err(RecvError::Lagged(_))) | Err(_) => resync = Instant::now(),
            Ok(Err(RecvError::Closed)) => return,
        }
        loop {
            match touched.try_recv() {
                Ok(track) => drop(due.insert(track)),
                Err(TryRecvError::Lagged(_)) => resync = Instant::now(),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        let Some(shared) = shared.upgrade() else { return };
        if resync <= Instant::now() {
            resync = Instant::now() + RESYNC;
            match shared.tracks_of_manifests().await {
                Ok(tracks) => {
                    listing.is_over();
                    failed.retain(|track, _| tracks.contains(track));
                    due.extend(tracks);
                }
                Err(error) => {
                    if let Some(why) = listing.news(&error) {
                        tracing::warn!(error = why, "cannot list sets of manifests");
                    }
                }
            }
        }
        for track in due {
            let Err(error) = shared.restore_manifests(&track).await else {
                failed.remove(&track);
                continue;
            };
            if let Some(why) = failed.entry(track.clone()).or_default().news(&error) {
                tracing::warn!(%track, error = why, "cannot restore manifests");
            }
        }
    }
}

impl Shared {
    /// The tracks that have a set of manifests.
    pub(crate) async fn tracks_of_manifests(&self) -> Result<BTreeSet<TrackKey>> {
        let installation = self.installation();
        let role = format!("{}={}", installation.key(keys::ROLE), roles::MANIFESTS);
        let selector = format!("{},{role}", installation.selector());
        let api: Api<ConfigMap> = self.everywhere();
        let found = api.list_metadata(&ListParams::default().labels(&selector)).await;
        let found = found.map_err(|error| failed("list sets of manifests", error))?;
        let track = |labels: &_| installation.track_of(labels);
        Ok(found.items.iter().filter_map(|it| it.metadata.labels.as_ref().and_then(track)).collect())
    }

    /// Applies the objects of the set that is in force again, as far as they differ.
    async fn restore_manifests(&self, track: &TrackKey) -> Result<()> {
        const OPERATION: &str = "restore manifests";
        for set in self.sets_of_manifests(Source::Server, OPERATION, track).await? {
            let labels = set.metadata.labels.as_ref();
            let revision = labels.and_then(|labels| self.installation().read(labels, keys::REVISION));
            let (Some(revision), Some(template)) = (revision, kept(set.data.as_ref())) else { continue };
            if self.count_of(&set.metadata) == 0 {
                continue;
            }
            let key = SetKey { track: track.clone(), revision };
            // As whoever applied them last: a newer server's objects are not touched.
            let epoch = self.epoch_of(&set.metadata);
            for (object, applied) in self.apply_manifests(OPERATION, epoch, &key, &template).await? {
                match applied {
                    Applied::Same => {}
                    Applied::Changed => tracing::warn!(%track, "{object} had been changed and was restored"),
                    Applied::Made => tracing::warn!(%track, "{object} was missing and was restored"),
                }
            }
        }
        Ok(())
    }
}
