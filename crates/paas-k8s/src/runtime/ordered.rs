//! Ordered sets: the stateful set of a track, derived from what its sets were told.
//!
//! A set of a stateful component is a deployment without pods: it is the record of a template, with the ordinals in an
//! annotation. From all records of a track follows its one stateful set: the template is that of the set with the highest
//! ordinals, the partition is the first of those, and below it stand the pods of the revision before. Who tells a set
//! something derives it at once, and whoever looks does what was cut off.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, Patch, Preconditions};
use paas_core::model::{Template, VolumeMount};
use paas_core::port::Ordinals;
use paas_core::{Error, ErrorKind, Result, TrackKey};
use serde_json::json;

use super::objects::gone;
use super::sets::contended;
use super::{ATTEMPTS, instance};
use crate::build::{peers_service, stateful_set};
use crate::cluster::{Shared, exactly};
use crate::error::{failed, is_conflict, is_missing, is_there};
use crate::mirror::Source;
use crate::scheme::{component_name, keys, peers_name, roles};

/// How often a stateful set is looked at that its controller has not seen yet, and after which pause.
const SETTLES: usize = 100;
const AGAIN: Duration = Duration::from_millis(50);

/// What became of a stateful set that was to be brought to what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Derived {
    /// It is as wanted.
    Done,
    /// It was changed, by us or somebody else, so that it has to be looked at again.
    Changed,
    /// Its controller has not seen it as it is.
    Unsettled,
}

/// One making of a set, as its pods carry it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    revision: Option<String>,
    incarnation: Option<String>,
}

/// A set that has ordinals.
#[derive(Debug)]
struct Record<'a> {
    told: Ordinals,
    identity: Identity,
    deployment: &'a Deployment,
}

/// What a stateful set shall be.
#[derive(Debug)]
struct Wanted<'a> {
    /// The sets that have ordinals, from the lowest.
    records: Vec<Record<'a>>,
    replicas: u32,
    partition: u32,
}

impl<'a> Wanted<'a> {
    fn of(shared: &Shared, deployments: &'a [Arc<Deployment>]) -> Self {
        let record = |deployment: &'a Arc<Deployment>| {
            let told = shared.told(deployment).filter(|told| told.count > 0)?;
            let is_whole = deployment.metadata.deletion_timestamp.is_none()
                && !shared.is_preparing(&deployment.metadata);
            let identity = shared.identity(&deployment.metadata, &deployment.metadata);
            is_whole.then_some(Record { told, identity, deployment })
        };
        let mut records: Vec<Record<'a>> = deployments.iter().filter_map(record).collect();
        records.sort_by_key(|record| (record.told.first, record.told.end()));
        let replicas = records.iter().map(|record| record.told.end()).max().unwrap_or(0);
        let partition = records.last().map_or(0, |record| record.told.first);
        Self { records, replicas, partition }
    }

    /// The set whose template is in force for whatever is made above the partition.
    fn newest(&self) -> Option<&Record<'a>> {
        self.records.last()
    }

    fn template(&self) -> Option<PodTemplateSpec> {
        self.newest().and_then(|record| record.deployment.spec.as_ref()).map(|spec| spec.template.clone())
    }

    /// Whose an ordinal is.
    fn owner_of(&self, ordinal: u32) -> Option<&Record<'a>> {
        self.records.iter().rev().find(|record| record.told.contains(ordinal))
    }
}

impl Shared {
    /// What a deployment that is the record of an ordered set was told.
    pub(super) fn told(&self, deployment: &Deployment) -> Option<Ordinals> {
        let (first, count) =
            self.installation().annotation(&deployment.metadata, keys::ORDINALS)?.split_once('+')?;
        Some(Ordinals { first: first.parse().ok()?, count: count.parse().ok()? })
    }

    fn identity(&self, labels: &ObjectMeta, annotations: &ObjectMeta) -> Identity {
        let installation = self.installation();
        Identity {
            revision: labels.labels.as_ref().and_then(|it| installation.read(it, keys::REVISION)),
            incarnation: installation.annotation(annotations, keys::INCARNATION).map(str::to_owned),
        }
    }

    fn identity_of_template(&self, set: &StatefulSet) -> Identity {
        let meta = set.spec.as_ref().and_then(|spec| spec.template.metadata.clone()).unwrap_or_default();
        self.identity(&meta, &meta)
    }

    /// Brings the stateful set of a track to what its sets were told.
    pub(super) async fn follow_ordinals(&self, operation: &'static str, track: &TrackKey) -> Result<()> {
        self.follow_within(operation, track, SETTLES).await
    }

    async fn follow_within(&self, operation: &'static str, track: &TrackKey, looks: usize) -> Result<()> {
        let error = |error| failed(operation, error).with_context("track", track);
        let namespace = self.namespace(&track.component.at.env_ref());
        let labels = self.labels_in(track, roles::SET);
        let mut changed = 0;
        for _ in 0..looks {
            let deployments = match self.list::<Deployment>(Source::Server, &namespace, &labels).await {
                Ok(found) => found,
                Err(missing) if is_missing(&missing) => return Ok(()),
                Err(refused) => return Err(error(refused)),
            };
            let wanted = Wanted::of(self, &deployments);
            match self.derive(operation, track, &wanted).await? {
                Derived::Done => {
                    let pods = self.pods_of_track(Source::Server, operation, track).await?;
                    return self.take_wrong_pods(operation, &wanted, &pods).await;
                }
                Derived::Changed => changed += 1,
                Derived::Unsettled => tokio::time::sleep(AGAIN).await,
            }
            if changed >= ATTEMPTS {
                return Err(contended(operation).with_context("track", track));
            }
        }
        Err(Error::new(ErrorKind::Unavailable, operation)
            .with_context("track", track)
            .with_source("the cluster's controller has not seen the last change of its stateful set"))
    }

    /// Does what was told and cut off, as far as it can be done now; what changes by it is looked at again.
    pub(super) async fn mend_ordinals(
        &self,
        source: Source,
        operation: &'static str,
        track: &TrackKey,
        deployments: &[Arc<Deployment>],
        pods: &[Arc<Pod>],
    ) -> Result<()> {
        let wanted = Wanted::of(self, deployments);
        let namespace = self.namespace(&track.component.at.env_ref());
        let seen = self.get::<StatefulSet>(source, &namespace, &component_name(&track.component)).await;
        let seen = seen.map_err(|error| failed(operation, error).with_context("track", track))?;
        let is_done = match &seen {
            None => wanted.records.is_empty(),
            Some(set) => self.is_as(set, &wanted),
        };
        if is_done && self.wrong_pods(&wanted, pods).next().is_none() {
            return Ok(());
        }
        match Box::pin(self.follow_within(operation, track, ATTEMPTS)).await {
            Err(error) if error.kind() == ErrorKind::Unavailable => Ok(()),
            done => done,
        }
    }

    /// Whether a stateful set is what is wanted.
    fn is_as(&self, set: &StatefulSet, wanted: &Wanted<'_>) -> bool {
        let spec = set.spec.as_ref();
        let replicas = spec.and_then(|spec| spec.replicas).unwrap_or(1);
        let rolling = spec.and_then(|spec| spec.update_strategy.as_ref()?.rolling_update.as_ref());
        let partition = rolling.and_then(|rolling| rolling.partition).unwrap_or(0);
        // Where nothing shall run, it does not matter what would.
        replicas == number(wanted.replicas)
            && wanted.newest().is_none_or(|newest| {
                partition == number(wanted.partition) && newest.identity == self.identity_of_template(set)
            })
    }

    /// Writes what is wanted.
    async fn derive(
        &self,
        operation: &'static str,
        track: &TrackKey,
        wanted: &Wanted<'_>,
    ) -> Result<Derived> {
        let namespace = self.namespace(&track.component.at.env_ref());
        let api: Api<StatefulSet> = self.api(&namespace);
        let name = component_name(&track.component);
        let error = |error| failed(operation, error).with_context("track", track);
        let Some(existing) = api.get_opt(&name).await.map_err(error)? else {
            let Some(template) = wanted.template() else { return Ok(Derived::Done) };
            let volumes = self.volumes_of(wanted);
            let numbers = (number(wanted.replicas), number(wanted.partition));
            // It names the service, which is there first.
            self.make(operation, peers_service(&self.builder(), track), None).await?;
            let set = stateful_set(&self.builder(), track, &volumes, template, numbers);
            return match api.create(&self.posting(), &set).await {
                Ok(_) => Ok(Derived::Done),
                Err(refused) if is_there(&refused) || is_missing(&refused) => Ok(Derived::Changed),
                Err(refused) => Err(error(refused)),
            };
        };
        self.is_ours(operation, "StatefulSet", &existing.metadata)?;
        if existing.metadata.deletion_timestamp.is_some() {
            return Err(Error::new(ErrorKind::Unavailable, operation)
                .with_context("track", track)
                .with_source("its stateful set is being deleted by somebody else"));
        }
        if self.is_as(&existing, wanted) {
            return Ok(Derived::Done);
        }
        let template = wanted.newest().filter(|it| it.identity != self.identity_of_template(&existing));
        let below = wanted.records.first().filter(|_| wanted.records.len() > 1);
        if template.is_some()
            && let Some(below) = below
            && let Some(not_yet) = self.make_current(operation, &api, &existing, below).await?
        {
            return Ok(not_yet);
        }
        let mut patch = json!({
            "metadata": { "resourceVersion": existing.metadata.resource_version },
            "spec": { "replicas": wanted.replicas },
        });
        if !wanted.records.is_empty() {
            patch["spec"]["updateStrategy"] = json!({ "rollingUpdate": { "partition": wanted.partition } });
        }
        if template.is_some() {
            let template = serde_json::to_value(wanted.template()).unwrap_or_default();
            patch["spec"]["template"] = whole(&existing, template);
        }
        match api.patch(&name, &self.merging(), &Patch::Merge(&patch)).await {
            Ok(_) => Ok(Derived::Done),
            Err(refused) if is_conflict(&refused) || is_missing(&refused) => Ok(Derived::Changed),
            Err(refused) => Err(error(refused)),
        }
    }

    /// Sees to it that the cluster takes the set below the partition for the current one, of which it makes the pods there;
    /// nothing if it does. By itself it does so once all pods of a template are ready; where one never is, nobody else would
    /// tell it.
    async fn make_current(
        &self,
        operation: &'static str,
        api: &Api<StatefulSet>,
        existing: &StatefulSet,
        below: &Record<'_>,
    ) -> Result<Option<Derived>> {
        if self.identity_of_template(existing) != below.identity {
            return Ok(None); // the current one was settled before this template came
        }
        let status = existing.status.clone().unwrap_or_default();
        let name = existing.metadata.name.clone().unwrap_or_default();
        if status.observed_generation != existing.metadata.generation || status.update_revision.is_none() {
            return Ok(Some(Derived::Unsettled));
        }
        if status.current_revision == status.update_revision {
            return Ok(None);
        }
        let patch = json!({
            "metadata": { "resourceVersion": existing.metadata.resource_version },
            "status": { "currentRevision": status.update_revision },
        });
        match api.patch_status(&name, &self.merging(), &Patch::Merge(&patch)).await {
            Ok(_) => Ok(Some(Derived::Changed)),
            Err(refused) if is_conflict(&refused) || is_missing(&refused) => Ok(Some(Derived::Changed)),
            Err(refused) => Err(failed(operation, refused).with_context("stateful set", name)),
        }
    }

    /// The volumes that the claims of a new stateful set are for.
    fn volumes_of(&self, wanted: &Wanted<'_>) -> Vec<VolumeMount> {
        let text = wanted
            .newest()
            .and_then(|record| self.installation().annotation(&record.deployment.metadata, keys::TEMPLATE));
        let template: Option<Template> = text.and_then(|text| serde_json::from_str(text).ok());
        template.map(|template| template.volumes).unwrap_or_default()
    }

    /// The pods whose ordinal is another set's.
    fn wrong_pods<'p>(
        &self,
        wanted: &Wanted<'_>,
        pods: &'p [Arc<Pod>],
    ) -> impl Iterator<Item = &'p Arc<Pod>> {
        pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).filter(|pod| {
            let owner = instance::ordinal(pod).and_then(|ordinal| wanted.owner_of(ordinal));
            owner.is_some_and(|owner| self.identity(&pod.metadata, &pod.metadata) != owner.identity)
        })
    }

    /// Deletes the pods whose ordinal is another set's. The cluster's controller leaves those below the partition, and with
    /// those above it waits for pods that are not ready.
    async fn take_wrong_pods(
        &self,
        operation: &'static str,
        wanted: &Wanted<'_>,
        pods: &[Arc<Pod>],
    ) -> Result<()> {
        for pod in self.wrong_pods(wanted, pods) {
            let name = pod.metadata.name.clone().unwrap_or_default();
            let pods: Api<Pod> = self.api(&pod.metadata.namespace.clone().unwrap_or_default());
            let looked_at = Preconditions { resource_version: None, uid: pod.metadata.uid.clone() };
            match pods.delete(&name, &DeleteParams::default().preconditions(looked_at)).await {
                Err(refused) if !is_missing(&refused) && !is_conflict(&refused) => {
                    return Err(failed(operation, refused).with_context("instance", name));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes away what a track of ordered sets has once. Its claims go with the other volumes.
    pub(super) async fn remove_ordered(&self, operation: &'static str, track: &TrackKey) -> Result<()> {
        let namespace = self.namespace(&track.component.at.env_ref());
        let error = |error| failed(operation, error).with_context("track", track);
        let (services, peers) = (self.api::<Service>(&namespace), peers_name(&track.component));
        let service = services.get_metadata_opt(&peers).await.map_err(error)?;
        // It is made first and goes last: without it the track is of no stateful component.
        let Some(service) = service.filter(|it| self.installation().owns(&it.metadata)) else {
            return Ok(());
        };
        let (sets, name) = (self.api::<StatefulSet>(&namespace), component_name(&track.component));
        if let Some(found) = sets.get_metadata_opt(&name).await.map_err(error)?
            && self.installation().owns(&found.metadata)
        {
            gone(sets.delete(&name, &exactly(found.metadata)).await.map(drop)).map_err(error)?;
        }
        gone(services.delete(&peers, &exactly(service.metadata)).await.map(drop)).map_err(error)?;
        Ok(())
    }
}

fn number(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// A template as a merge patch that leaves nothing of the one before: what only that has is null.
fn whole(existing: &StatefulSet, template: serde_json::Value) -> serde_json::Value {
    fn erase(before: &serde_json::Value, after: &mut serde_json::Value) {
        let (Some(before), Some(after)) = (before.as_object(), after.as_object_mut()) else { return };
        for (field, old) in before {
            match after.get_mut(field) {
                Some(new) => erase(old, new),
                None => drop(after.insert(field.clone(), serde_json::Value::Null)),
            }
        }
    }
    let mut template = template;
    let before = existing.spec.as_ref().map(|spec| serde_json::to_value(&spec.template).unwrap_or_default());
    erase(&before.unwrap_or_default(), &mut template);
    template
}
