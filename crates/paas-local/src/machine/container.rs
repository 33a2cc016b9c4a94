//! The containers of an instance: each start makes another one, with a number of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use paas_core::model::Template;
use paas_core::port::{InstanceId, InstancePhase, SetKey};

use super::gateway::Endpoint;
use super::set::Member;
use super::{Shared, render};
use crate::{InstanceSpec, Secrets};

/// The name of an instance's container, which is started for the `number`th time.
pub(super) fn container_id(id: &InstanceId, number: u32) -> crate::Result<crate::InstanceId> {
    format!("{id}-r{number}").parse()
}

/// The containers of an instance that have folders.
#[derive(Debug, Clone)]
pub(super) struct Containers {
    /// How often it was started again.
    pub(super) restarts: u32,
    pub(super) latest: crate::InstanceId,
    /// The one before, whose output is kept.
    pub(super) previous: Option<crate::InstanceId>,
}

impl Containers {
    pub(super) fn all(&self) -> impl Iterator<Item = crate::InstanceId> {
        [Some(self.latest.clone()), self.previous.clone()].into_iter().flatten()
    }
}

/// Containers by the instances that they are of; only the last two of each.
pub(super) fn containers(all: Vec<crate::InstanceId>) -> BTreeMap<InstanceId, Containers> {
    let mut numbered: BTreeMap<InstanceId, Vec<(u32, crate::InstanceId)>> = BTreeMap::new();
    for container in all {
        let parts = container.as_str().rsplit_once("-r");
        if let Some((id, number)) = parts.and_then(|(id, number)| Some((id, number.parse().ok()?))) {
            numbered.entry(InstanceId(id.to_owned())).or_default().push((number, container));
        }
    }
    let last_two = numbered.into_iter().filter_map(|(id, mut all)| {
        all.sort();
        let (restarts, latest) = all.pop()?;
        Some((id, Containers { restarts, latest, previous: all.pop().map(|(_, container)| container) }))
    });
    last_two.collect()
}

/// What was found of an instance when the machine was opened.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) state: crate::Found,
    pub(super) containers: Containers,
    started_at: Option<Timestamp>,
    /// Since when it was ready, if it was.
    ready_since: Option<Timestamp>,
}

impl Found {
    /// Looks at the latest container of an instance.
    pub(super) async fn look(shared: &Shared, containers: &Containers) -> crate::Result<Self> {
        let state = shared.instances.attach(&containers.latest).await?;
        let started_at = match &state {
            crate::Found::Running(container) => container.status().await.ok().map(|status| status.started_at),
            crate::Found::Ended(_) => None,
        };
        let ready_since = std::fs::read_to_string(ready_file(shared, &containers.latest)).ok();
        let ready_since = ready_since.and_then(|text| text.parse().ok());
        Ok(Self { state, containers: containers.clone(), started_at, ready_since })
    }

    pub(super) fn was_ready(&self) -> bool {
        self.ready_since.is_some() && matches!(self.state, crate::Found::Running(_))
    }

    /// Shows what was found before the keeper begins, so that nobody sees a serving instance as starting.
    pub(super) fn seed(&self, shared: &Shared, key: &SetKey, template: &Template, member: &mut Member) {
        member.seen.restarts = self.containers.restarts;
        let crate::Found::Running(container) = &self.state else {
            member.previous = Some(self.containers.latest.clone());
            return;
        };
        member.previous.clone_from(&self.containers.previous);
        member.container = Some(container.clone());
        member.seen.started_at = self.started_at;
        member.enter(if self.was_ready() { InstancePhase::Ready } else { InstancePhase::Starting }, None);
        if member.seen.ready_since.is_some() {
            member.seen.ready_since = self.ready_since;
        }
        let endpoint = Endpoint {
            component: key.track.component.clone(),
            revision: key.revision.clone(),
            socket: shared.instances.socket(container.id()),
            ready: self.was_ready(),
            draining: member.is_going(),
            calls: render::callers(container.spec(), &template.calls),
        };
        shared.gateway.change(|desired| {
            desired.endpoints.insert(container.id().as_str().to_owned(), endpoint);
        });
    }
}

/// Where it is noted since when a container is ready, for whoever opens the machine while it runs.
pub(super) fn ready_file(shared: &Shared, container: &crate::InstanceId) -> PathBuf {
    shared.instances.folder(container).join("ready")
}

impl Shared {
    /// Starts a container, which may have ended already when this returns.
    pub(super) async fn launch(&self, spec: &InstanceSpec, secrets: Secrets) -> crate::Result<crate::Found> {
        let container = self.instances.start(spec, secrets).await?;
        Ok(match container.exited() {
            Some(exit) => crate::Found::Ended(exit),
            None => crate::Found::Running(container),
        })
    }
}
