//! What is seen of sets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use paas_core::model::RevisionId;
use paas_core::port::{InstancePhase, SetObservation, TrackObservation};
use paas_core::{Result, TrackKey};

use super::sets::desired;
use super::{failure, instance};
use crate::cluster::Shared;
use crate::error::{failed, listed};
use crate::mirror::{Labels, Source, selector};
use crate::scheme::{keys, roles};

/// The pods of a set, by whether they stay when it has its number.
#[derive(Debug, Default)]
pub(super) struct Standing<'a> {
    /// Those that count.
    pub(super) staying: Vec<&'a Pod>,
    /// Those that go: they are being deleted, are too many, or belong to a set that was removed.
    pub(super) going: Vec<&'a Pod>,
}

/// Divides the pods of a set. Of too many those go first that were chosen, then those that are not ready, then the youngest.
pub(super) fn standing<'a>(
    shared: &Shared,
    deployment: Option<&Deployment>,
    pods: impl Iterator<Item = &'a Pod>,
    count: u32,
) -> Standing<'a> {
    let installation = shared.installation();
    let incarnation = deployment.and_then(|it| installation.annotation(&it.metadata, keys::INCARNATION));
    let told = deployment.and_then(|deployment| shared.told(deployment));
    let mut divided = Standing::default();
    for pod in pods {
        let told = told.is_none_or(|told| instance::ordinal(pod).is_some_and(|it| told.contains(it)));
        let stays = pod.metadata.deletion_timestamp.is_none()
            && told
            && incarnation.is_some()
            && installation.annotation(&pod.metadata, keys::INCARNATION) == incarnation
            && !has_ended(pod);
        if stays {
            divided.staying.push(pod);
        } else {
            divided.going.push(pod);
        }
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if divided.staying.len() > count {
        // From the one that stays longest to the one that goes first.
        divided.staying.sort_by_key(|pod| {
            let chosen = installation.annotation(&pod.metadata, keys::CONDEMNED).is_some();
            (chosen, !instance::is_ready(pod), age(pod))
        });
        divided.going.extend(divided.staying.split_off(count));
    }
    divided
}

/// The order of their making, as well as it is known: the server writes whole seconds.
fn age(pod: &Pod) -> (Option<jiff::Timestamp>, Option<&str>) {
    (pod.metadata.creation_timestamp.as_ref().map(|at| at.0), pod.metadata.name.as_deref())
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

impl Shared {
    /// The labels of a track's objects in one role.
    pub(crate) fn labels_in(&self, track: &TrackKey, role: &str) -> Labels {
        let installation = self.installation();
        let mut labels = installation.track_labels(track);
        labels.retain(|key, _| key.starts_with(installation.domain()));
        labels.insert(installation.key(keys::ROLE), role.to_owned());
        labels
    }

    /// The selector of a track's objects in one role.
    pub(crate) fn track_selector(&self, track: &TrackKey, role: &str) -> ListParams {
        ListParams::default().labels(&selector(&self.labels_in(track, role)))
    }

    pub(super) async fn pods_of_track(
        &self,
        source: Source,
        operation: &'static str,
        track: &TrackKey,
    ) -> Result<Vec<Arc<Pod>>> {
        let namespace = self.namespace(&track.component.at.env_ref());
        let found = self.list(source, &namespace, &self.labels_in(track, roles::INSTANCE)).await;
        listed(found).map_err(|error| failed(operation, error).with_context("track", track))
    }

    pub(super) async fn observe_track(&self, source: Source, track: &TrackKey) -> Result<TrackObservation> {
        const OPERATION: &str = "observe a track";
        let namespace = self.namespace(&track.component.at.env_ref());
        let labels = self.labels_in(track, roles::SET);
        let (deployments, pods, manifests) = futures::join!(
            self.list::<Deployment>(source, &namespace, &labels),
            self.pods_of_track(source, OPERATION, track),
            self.sets_of_manifests(source, OPERATION, track)
        );
        let deployments =
            deployments.map_err(|error| failed(OPERATION, error).with_context("track", track))?;
        let (pods, manifests) = (pods?, manifests?);
        if deployments.iter().any(|deployment| self.told(deployment).is_some()) {
            // What was told and not done is done by whoever looks.
            Box::pin(self.mend_ordinals(source, OPERATION, track, &deployments, &pods)).await?;
        }
        let mut sets: BTreeMap<RevisionId, (Option<&Deployment>, Vec<&Pod>)> = BTreeMap::new();
        for deployment in &deployments {
            if let Some(revision) = self.revision_of(&deployment.metadata)
                && deployment.metadata.deletion_timestamp.is_none()
            {
                sets.entry(revision).or_default().0 = Some(deployment);
            }
        }
        for pod in &pods {
            if let Some(revision) = self.revision_of(&pod.metadata) {
                sets.entry(revision).or_default().1.push(pod);
            }
        }
        let observed = sets.into_iter().map(|(revision, (deployment, pods))| {
            let set = self.observe_set(revision.clone(), deployment, pods);
            (revision, set)
        });
        let mut sets: BTreeMap<RevisionId, SetObservation> = observed.collect();
        if !manifests.is_empty() {
            let manifests = Box::pin(self.observe_manifests(OPERATION, track, &manifests, &pods)).await?;
            sets.extend(manifests.into_iter().map(|set| (set.revision.clone(), set)));
        }
        Ok(TrackObservation { sets })
    }

    fn observe_set(
        &self,
        revision: RevisionId,
        deployment: Option<&Deployment>,
        mut pods: Vec<&Pod>,
    ) -> SetObservation {
        pods.sort_by_key(|pod| (instance::ordinal(pod), age(pod)));
        let told = deployment.and_then(|deployment| self.told(deployment));
        let desired = told.map_or_else(|| deployment.map_or(0, desired), |told| told.count);
        let divided = standing(self, deployment, pods.iter().copied(), desired);
        let going: BTreeSet<&str> =
            divided.going.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
        let instances = pods.iter().map(|pod| {
            let mut seen = instance::observe(pod);
            let goes = going.contains(pod.metadata.name.as_deref().unwrap_or_default());
            if goes && !has_ended(pod) {
                seen.phase = InstancePhase::Draining;
                seen.ready_since = None;
            }
            seen
        });
        let lacks = divided.staying.len() < usize::try_from(desired).unwrap_or(usize::MAX);
        SetObservation {
            revision,
            desired,
            first: told.map_or(0, |told| told.first),
            instances: instances.collect(),
            failure: deployment.filter(|_| lacks).and_then(failure::of_set),
        }
    }

    fn revision_of(
        &self,
        meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    ) -> Option<RevisionId> {
        self.installation().read(meta.labels.as_ref()?, keys::REVISION)
    }

    pub(super) async fn list_tracks(&self) -> Result<Vec<TrackKey>> {
        const OPERATION: &str = "list tracks";
        let installation = self.installation();
        let labels =
            |role: &str| format!("{},{}={role}", installation.selector(), installation.key(keys::ROLE));
        let (deployments, pods): (Api<Deployment>, Api<Pod>) = (self.everywhere(), self.everywhere());
        let mut tracks = BTreeSet::new();
        let track = |meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
            meta.labels.as_ref().and_then(|labels| installation.track_of(labels))
        };
        let sets = deployments.list_metadata(&ListParams::default().labels(&labels(roles::SET))).await;
        let sets = sets.map_err(|error| failed(OPERATION, error))?;
        tracks.extend(sets.items.iter().filter_map(|it| track(&it.metadata)));
        tracks.extend(self.tracks_of_manifests().await?);
        let instances = pods.list_metadata(&ListParams::default().labels(&labels(roles::INSTANCE))).await;
        let instances = instances.map_err(|error| failed(OPERATION, error))?;
        tracks.extend(instances.items.iter().filter_map(|it| track(&it.metadata)));
        Ok(tracks.into_iter().collect())
    }
}

/// The instances of a track by name, in the order of their making, with whether each is ready.
pub(crate) async fn instances_of(
    shared: &Shared,
    operation: &'static str,
    track: &TrackKey,
) -> Result<Vec<Arc<Pod>>> {
    let mut pods = shared.pods_of_track(Source::Server, operation, track).await?;
    pods.sort_by(|a, b| age(a).cmp(&age(b)));
    Ok(pods)
}
