//! The machine as a [`Runtime`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use paas_core::port::{
    BoxStream, Epoch, InstanceId, Ordinals, RunObservation, RunSpec, Runtime, RuntimeCapabilities,
    RuntimeEvent, SetKey, SetSpec, TrackObservation,
};
use paas_core::{Error, ErrorKind, Result, TrackKey};

use super::container;
use super::document::SetDocument;
use super::keeper::{self, Keeper};
use super::set::{Set, check_epoch};
use super::{LocalMachine, Shared};

#[async_trait]
impl Runtime for LocalMachine {
    fn capabilities(&self) -> RuntimeCapabilities {
        let host = self.shared.instances.host();
        RuntimeCapabilities {
            fenced: true,
            cpu_limits: host.limits_cpu(),
            memory_limits: host.limits_memory(),
            storage_limits: false,
            volumes: true,
            runs: true,
            interactive_runs: true,
            survives_server: true,
            manifests: false,
            ordered_sets: true,
        }
    }

    async fn ensure(&self, epoch: Epoch, spec: &SetSpec) -> Result<()> {
        self.shared.ensure(epoch, spec)
    }

    async fn scale(&self, epoch: Epoch, key: &SetKey, ordinals: Ordinals) -> Result<()> {
        self.shared.scale(epoch, key, ordinals)
    }

    async fn remove(&self, epoch: Epoch, key: &SetKey) -> Result<()> {
        self.shared.remove(epoch, key)
    }

    async fn observe(&self, track: &TrackKey) -> Result<TrackObservation> {
        let sets = self.shared.sets();
        let of_track = sets.sets.iter().filter(|(key, _)| key.track == *track);
        Ok(TrackObservation {
            sets: of_track.map(|(key, set)| (key.revision.clone(), set.observe())).collect(),
        })
    }

    async fn tracks(&self) -> Result<Vec<TrackKey>> {
        let sets = self.shared.sets();
        let tracks: BTreeSet<&TrackKey> = sets.sets.keys().map(|key| &key.track).collect();
        Ok(tracks.into_iter().cloned().collect())
    }

    async fn purge(&self, _: Epoch, track: &TrackKey) -> Result<()> {
        if self.shared.sets().sets.keys().any(|key| key.track == *track) {
            return Err(Error::new(ErrorKind::Conflict, "remove volumes that are in use")
                .with_context("track", track));
        }
        self.shared.purge(track).await
    }

    async fn start_run(&self, epoch: Epoch, spec: &RunSpec) -> Result<()> {
        self.shared.start_run(epoch, spec)
    }

    async fn observe_run(&self, id: &InstanceId) -> Result<Option<RunObservation>> {
        Ok(self.shared.sets().runs.get(id).map(|run| run.seen.clone()))
    }

    async fn remove_run(&self, epoch: Epoch, id: &InstanceId) -> Result<()> {
        self.shared.remove_run(epoch, id).await
    }

    async fn watch(&self) -> Result<BoxStream<RuntimeEvent>> {
        Ok(self.shared.watch())
    }
}

impl Shared {
    fn ensure(self: &Arc<Self>, epoch: Epoch, spec: &SetSpec) -> Result<()> {
        if spec.template.resources.storage.is_some() {
            return Err(Error::new(ErrorKind::Unsupported, "limit the space that an instance may write")
                .with_context("component", &spec.template.component)
                .with_remedy("Leave resources.storage out: this machine does not limit it."));
        }
        if !spec.template.manifests.is_empty() {
            return Err(Error::new(ErrorKind::Unsupported, "apply manifests")
                .with_context("component", &spec.template.component)
                .with_remedy("Deploy them on a Kubernetes cluster; this machine runs components."));
        }
        let mut sets = self.sets();
        self.check_open()?;
        match sets.sets.get(&spec.key) {
            Some(set) => {
                check_epoch(set.document.epoch, epoch, &spec.key)?;
                if set.document.spec.template != spec.template {
                    return Err(Error::new(ErrorKind::Conflict, "make a set with another template")
                        .with_context("set", &spec.key));
                }
                if !set.document.removed {
                    return Ok(());
                }
            }
            None => {
                let document = SetDocument {
                    spec: spec.clone(),
                    count: 0,
                    first: 0,
                    epoch,
                    removed: true,
                    instances: Vec::new(),
                };
                sets.sets.insert(spec.key.clone(), Set::new(document));
            }
        }
        self.change(&mut sets.sets, &spec.key, epoch, spec.ordinals(), false)
    }

    fn scale(self: &Arc<Self>, epoch: Epoch, key: &SetKey, ordinals: Ordinals) -> Result<()> {
        let mut sets = self.sets();
        self.check_open()?;
        let set = sets.sets.get(key).filter(|set| !set.document.removed);
        let set = set.ok_or_else(|| Error::not_found("set", key))?;
        check_epoch(set.document.epoch, epoch, key)?;
        if set.ordinals() == ordinals && set.document.epoch == epoch {
            return Ok(());
        }
        self.change(&mut sets.sets, key, epoch, ordinals, false)
    }

    fn remove(self: &Arc<Self>, epoch: Epoch, key: &SetKey) -> Result<()> {
        let mut sets = self.sets();
        self.check_open()?;
        let Some(set) = sets.sets.get(key) else { return Ok(()) };
        check_epoch(set.document.epoch, epoch, key)?;
        if set.document.removed {
            return Ok(());
        }
        self.change(&mut sets.sets, key, epoch, 0.into(), true)
    }

    /// Declares a count: on disk first, then in memory, then to the keepers.
    fn change(
        self: &Arc<Self>,
        sets: &mut BTreeMap<SetKey, Set>,
        key: &SetKey,
        epoch: Epoch,
        ordinals: Ordinals,
        removed: bool,
    ) -> Result<()> {
        let Some(set) = sets.get_mut(key) else { return Ok(()) };
        let instances = set.adjusted(ordinals, || keeper::new_id(key));
        let Ordinals { first, count } = ordinals;
        let document = SetDocument { count, first, epoch, removed, instances, ..set.document.clone() };
        if let Err(error) = self.documents.put_set(&document) {
            // A set that was never declared leaves no trace.
            if set.members.is_empty() && set.document.removed {
                sets.remove(key);
            }
            return Err(error);
        }
        for id in set.take(document) {
            self.keep(key, &id, set, None);
        }
        if removed && set.members.is_empty() {
            self.documents.remove_set(&set.document)?;
            sets.remove(key);
        }
        self.tell(RuntimeEvent::Track(key.track.clone()));
        Ok(())
    }

    /// Gives an instance its keeper.
    fn keep(self: &Arc<Self>, key: &SetKey, id: &InstanceId, set: &mut Set, found: Option<container::Found>) {
        let template = Arc::new(set.document.spec.template.clone());
        let Some(member) = set.member(id) else { return };
        let keeper = Keeper::new(self.clone(), key.clone(), member, template);
        self.tasks.spawn(keeper.run(found));
    }

    /// Finds what runs, ends what nobody declares, and gives everything its keeper.
    pub(super) async fn recover(self: &Arc<Self>) -> Result<()> {
        let documents = self.documents.sets()?;
        let runs = self.documents.runs()?;
        // One whose start was cut off is none: it is swept away, and its instance starts as if for the first time.
        let begun = self.instances.list()?.into_iter().filter(|id| self.instances.has_begun(id));
        let mut containers = container::containers(begun.collect());
        let declared = documents.iter().flat_map(|set| &set.instances).map(|instance| &instance.id);
        let declared: BTreeSet<&InstanceId> = declared.chain(runs.iter().map(|run| &run.spec.id)).collect();
        containers.retain(|id, _| declared.contains(id));
        let known = containers.values().flat_map(container::Containers::all).collect();
        let swept = self.instances.sweep(&known).await?;
        if !swept.is_empty() {
            tracing::info!(?swept, "removed what belonged to nothing that is declared");
        }
        let looked = join_all(containers.iter().map(async |(id, containers)| {
            let found = container::Found::look(self, containers).await;
            (id.clone(), found)
        }));
        let mut found: BTreeMap<InstanceId, container::Found> = BTreeMap::new();
        for (id, outcome) in looked.await {
            match outcome {
                Ok(known) => drop(found.insert(id, known)),
                Err(error) => {
                    tracing::warn!(instance = %id, "what was left of a container is removed: {}", error.chain());
                    for container in containers[&id].all() {
                        self.instances.remove(&container).await?;
                    }
                }
            }
        }
        let mut sets = self.sets();
        for document in documents {
            let key = document.spec.key.clone();
            let template = document.spec.template.clone();
            let mut set = Set::new(document);
            let ids: Vec<InstanceId> = set.members.iter().map(|member| member.seen.id.clone()).collect();
            for id in &ids {
                let found = found.remove(id);
                if let (Some(found), Some(member)) = (&found, set.member(id)) {
                    found.seed(self, &key, &template, member);
                }
                self.keep(&key, id, &mut set, found);
            }
            if set.document.removed && set.members.is_empty() {
                self.documents.remove_set(&set.document)?;
            } else {
                sets.sets.insert(key, set);
            }
        }
        for run in runs {
            let found = found.remove(&run.spec.id);
            self.resume_run(&mut sets, run, found);
        }
        drop(sets);
        self.gateway.again();
        Ok(())
    }
}
