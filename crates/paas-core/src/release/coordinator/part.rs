//! A rollout by clusters: what it has on each, and how it ends.

use std::collections::BTreeMap;

use super::{RolloutPhase, RolloutTrack};
use crate::name::ClusterName;
use crate::release::state::AbortReason;

/// How a rollout ended.
pub(super) struct End {
    pub(super) phase: RolloutPhase,
    /// What is left to do on a cluster, or why nothing more is done there.
    pub(super) behind: BTreeMap<ClusterName, RolloutPhase>,
}

impl End {
    pub(super) fn clean(phase: RolloutPhase) -> Self {
        Self { phase, behind: BTreeMap::new() }
    }
}

/// The tracks of one cluster, and how they are.
pub(super) struct Part {
    pub(super) cluster: ClusterName,
    pub(super) tracks: Vec<RolloutTrack>,
    /// Why the rollout fails there, if it does.
    pub(super) failed: Option<AbortReason>,
}

/// How the rollout came out on a cluster that commits by itself.
pub(super) enum Outcome {
    /// It has committed, except for what cannot be seen.
    Committed { unseen: bool },
    /// It failed, and everything is back.
    Back(AbortReason),
    /// It does not begin, because it failed elsewhere.
    Spared(AbortReason),
    /// It cannot be seen, and others do not wait for it.
    Away,
    /// Nothing of it is managed any more.
    Left,
}
