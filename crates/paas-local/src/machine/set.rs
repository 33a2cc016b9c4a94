//! Sets of instances, in memory: what is declared, and what each instance is at.

use std::collections::BTreeMap;

use jiff::Timestamp;
use paas_core::model::ComponentKind;
use paas_core::port::{
    Epoch, ImagePull, InstanceFailure, InstanceId, InstanceObservation, InstancePhase, Ordinals, SetKey,
    SetObservation,
};
use paas_core::{Error, ErrorKind, Result, TrackKey};
use tokio::sync::watch;

use super::document::{InstanceDocument, SetDocument};
use super::run::Run;
use crate::Instance;

/// Everything that the machine keeps.
#[derive(Debug, Default)]
pub(super) struct Sets {
    pub(super) sets: BTreeMap<SetKey, Set>,
    pub(super) runs: BTreeMap<InstanceId, Run>,
}

/// A set.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) document: SetDocument,
    pub(super) members: Vec<Member>,
}

/// An instance of a set.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) seen: InstanceObservation,
    /// Whether it shall go; its keeper listens.
    pub(super) going: watch::Sender<bool>,
    /// What runs for it now.
    pub(super) container: Option<Instance>,
    /// The one that ran before, whose output is still there.
    pub(super) previous: Option<crate::InstanceId>,
}

impl Member {
    pub(super) fn new(document: &InstanceDocument) -> Self {
        let going = document.going;
        let phase = if going { InstancePhase::Draining } else { InstancePhase::Pending };
        Self {
            seen: InstanceObservation {
                ordinal: document.ordinal,
                id: document.id.clone(),
                phase,
                ready_since: None,
                started_at: None,
                restarts: 0,
                last_exit: None,
                failure: None,
                pull: None,
            },
            going: watch::Sender::new(going),
            container: None,
            previous: None,
        }
    }

    /// Whether there is a container that has not ended.
    pub(super) fn runs(&self) -> bool {
        self.container.as_ref().is_some_and(|container| container.exited().is_none())
    }

    pub(super) fn is_going(&self) -> bool {
        *self.going.borrow()
    }

    /// Moves to a phase, unless it is going: then nothing but its end changes it.
    pub(super) fn enter(&mut self, phase: InstancePhase, failure: Option<InstanceFailure>) {
        if self.is_going() {
            return;
        }
        self.seen.ready_since = match phase {
            InstancePhase::Ready => self.seen.ready_since.or_else(|| Some(Timestamp::now())),
            _ => None,
        };
        self.seen.phase = phase;
        self.seen.failure = failure;
        self.seen.pull = None;
    }

    /// Notes how far its image has come while it waits for it.
    pub(super) fn pulls(&mut self, pull: Option<ImagePull>) {
        self.seen.pull = pull.filter(|_| self.seen.phase == InstancePhase::Pending && !self.is_going());
    }
}

impl Set {
    pub(super) fn new(document: SetDocument) -> Self {
        let members = document.instances.iter().map(Member::new).collect();
        Self { document, members }
    }

    pub(super) fn observe(&self) -> SetObservation {
        let mut instances: Vec<InstanceObservation> =
            self.members.iter().map(|member| member.seen.clone()).collect();
        instances.sort_by_key(|instance| instance.ordinal);
        SetObservation {
            revision: self.document.spec.key.revision.clone(),
            first: self.document.first,
            desired: if self.document.removed { 0 } else { self.document.count },
            instances,
            failure: None,
        }
    }

    pub(super) fn is_ordered(&self) -> bool {
        self.document.spec.template.kind == ComponentKind::Stateful
    }

    pub(super) fn ordinals(&self) -> Ordinals {
        Ordinals { first: self.document.first, count: self.document.count }
    }

    pub(super) fn member(&mut self, id: &InstanceId) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.seen.id == *id)
    }

    /// The document as the members are now.
    pub(super) fn record(&self) -> SetDocument {
        let instances = self.members.iter().map(|member| InstanceDocument {
            id: member.seen.id.clone(),
            ordinal: member.seen.ordinal,
            going: member.is_going(),
        });
        SetDocument { instances: instances.collect(), ..self.document.clone() }
    }

    /// What the document says after as many instances as declared were added or told to go: those that are not ready go
    /// first, then the youngest; in an ordered set, those whose ordinals are not named any more.
    pub(super) fn adjusted(
        &self,
        ordinals: Ordinals,
        name: impl Fn() -> InstanceId,
    ) -> Vec<InstanceDocument> {
        let mut record = self.record().instances;
        if self.is_ordered() {
            for member in &mut record {
                member.going |= !member.ordinal.is_some_and(|ordinal| ordinals.contains(ordinal));
            }
            for ordinal in ordinals.iter() {
                if record.iter().all(|member| member.going || member.ordinal != Some(ordinal)) {
                    record.push(InstanceDocument { id: name(), ordinal: Some(ordinal), going: false });
                }
            }
            return record;
        }
        let mut staying: Vec<usize> = (0..record.len()).filter(|index| !record[*index].going).collect();
        let wanted = ordinals.count as usize;
        // The last ones go first.
        staying.sort_by_key(|index| (self.members[*index].seen.phase != InstancePhase::Ready, *index));
        for index in staying.iter().skip(wanted) {
            record[*index].going = true;
        }
        for _ in staying.len()..wanted {
            record.push(InstanceDocument { id: name(), ordinal: None, going: false });
        }
        record
    }

    /// Takes over a document that is on disk: makes the members that are new, tells those that go. Returns the new ones.
    pub(super) fn take(&mut self, document: SetDocument) -> Vec<InstanceId> {
        let mut new = Vec::new();
        for wanted in &document.instances {
            if let Some(member) = self.members.iter_mut().find(|member| member.seen.id == wanted.id) {
                if wanted.going && !member.is_going() {
                    member.enter(InstancePhase::Draining, None);
                    member.going.send_replace(true);
                }
            } else {
                self.members.push(Member::new(wanted));
                new.push(wanted.id.clone());
            }
        }
        self.document = document;
        new
    }
}

impl Sets {
    /// Whether another instance of the track has an ordinal, or comes first for it: one that goes has it until it is gone,
    /// and one that was started until it goes.
    pub(super) fn is_held(&self, track: &TrackKey, id: &InstanceId, ordinal: u32) -> bool {
        let sets = self.sets.iter().filter(|(key, _)| key.track == *track);
        let mut others = sets
            .flat_map(|(_, set)| &set.members)
            .filter(|member| member.seen.ordinal == Some(ordinal) && member.seen.id != *id);
        others.any(|other| other.is_going() || other.seen.started_at.is_some() || other.seen.id < *id)
    }
}

/// Refuses an epoch lower than one that was seen.
pub(super) fn check_epoch(seen: Epoch, epoch: Epoch, object: &impl std::fmt::Display) -> Result<()> {
    if epoch >= seen {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Fenced, "change an object of the machine")
        .with_context("object", object)
        .with_context("epoch", epoch)
        .with_context("seen", seen))
}
