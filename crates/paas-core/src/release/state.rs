//! The durable state of a track.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::command::StartRollout;
use super::id::{RolloutId, StepKey, TrackVersion};
use super::phase::Phase;
use super::plan::Plan;
use super::weights::Weights;
use super::world::{RouteSnapshot, Token};
use crate::model::RevisionId;
use crate::name::{ClusterName, ComponentName, TrackKey};

/// All that is kept of a track between two decisions. It is stored by compare-and-set *before* the acts of the decision
/// that made it are carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct TrackState {
    /// Which track.
    pub track: TrackKey,
    /// Grows with every command.
    pub generation: u64,
    /// The committed version, the baseline of everything; `None` before the first commit and after a removal.
    pub stable: Option<TrackVersion>,
    /// The rollout that is under way, or the last one.
    pub rollout: Option<TrackRollout>,
    /// Where the track is.
    pub phase: Phase,
    /// What keeps it from advancing.
    pub holds: BTreeSet<Hold>,
    /// The time that is left for progress.
    pub clock: ProgressClock,
    /// The revisions that have, or shall have, instances.
    pub revisions: BTreeMap<RevisionId, RevisionState>,
    /// The weights of the routes: what was intended last; `None` as long as no route was written.
    pub weights: Option<Weights>,
    /// The weights that the data plane confirmed last.
    pub confirmed: Option<Weights>,
    /// What the routes said before this track owned them.
    pub snapshot: Option<RouteSnapshot>,
    /// The declared count of serving instances.
    pub count: u32,
    /// Who owns the count.
    pub count_owner: CountOwner,
    /// Whether the app is stopped: it keeps everything but its instances.
    pub offline: bool,
    /// A rollout that waits until this one has yielded.
    pub next: Option<Box<StartRollout>>,
    /// What to leave behind when detaching.
    pub detach: Option<Detach>,
    /// Since when its cluster cannot be seen, if that keeps the track from going on: nothing is decided until it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away: Option<Timestamp>,
    /// The latest write of this track's own that is known: no decision is made on a view before it.
    pub written: Token,
}

/// One rollout, as far as it concerns this track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct TrackRollout {
    /// The rollout's id.
    pub id: RolloutId,
    /// From 1; a retry raises it.
    pub attempt: u32,
    /// The committed version at its start.
    pub from: Option<TrackVersion>,
    /// What shall be committed; `None` removes the component.
    pub to: Option<TrackVersion>,
    /// The compiled plan.
    pub plan: Plan,
    /// Who gives the commit free.
    pub commit: CommitMode,
    /// The count that the target's record demands after the commit, for a rollback.
    pub count_on_commit: Option<u32>,
    /// Whether everything is on the new revision, so that only the commit is missing.
    pub ready: bool,
    /// Whether it has been committed on this track.
    pub committed: bool,
    /// Why it was aborted, once it is.
    pub aborted: Option<AbortReason>,
    /// Who asked for it.
    pub actor: String,
    /// Why, in their words.
    pub reason: String,
    /// When it was started.
    pub started_at: Timestamp,
}

/// Who gives a track's commit free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitMode {
    /// The track commits when it is ready to.
    Independent,
    /// The track waits, ready to commit, until the coordinator has written the one commit of all tracks.
    Lockstep {
        /// Whether it has.
        granted: bool,
    },
}

/// Who decides how many instances a track has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountOwner {
    /// The engine writes the declared count.
    #[default]
    Engine,
    /// An autoscaler outside does; the engine follows what it demands and writes a stable revision's count only while
    /// a rollout exchanges instances.
    External,
}

/// What a detaching track leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detach {
    /// Nothing: routes are restored, instances ended and sets removed.
    Delete,
    /// The instances, as they are: routes are restored, and nothing is owned any more.
    Release,
}

/// A revision's instances, as intended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct RevisionState {
    /// The intended count.
    pub desired: u32,
    /// The order in which revisions came to the track: the oldest shrinks first.
    pub order: u64,
    /// Until when the revision is kept although it is not needed; its deletion deadline.
    pub keep_until: Option<Timestamp>,
    /// When a refused raise may be tried again.
    pub retry_at: Option<Timestamp>,
}

/// Something that keeps a rollout from advancing. It stops neither an abort nor a scale event nor a repair.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Hold {
    /// A user asked for a pause.
    UserPause,
    /// The plan pauses until then.
    StepPause(Timestamp),
    /// The plan waits for this approval.
    Approval(String),
    /// A bake could not tell.
    Inconclusive,
    /// Outside the hours in which releases may advance.
    Window,
    /// A quota or an admission refused a raise, and what is missing.
    Quota(String),
    /// A component that this one depends on is not there yet.
    Dependency(ComponentName),
    /// The app was stopped, or scaled to nothing, during the rollout: with nothing running, nothing can be told of the
    /// new version.
    NothingRuns,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UserPause => f.write_str("paused by a user"),
            Self::StepPause(until) => write!(f, "pauses until {until}"),
            Self::Approval(name) => write!(f, "waits for approval `{name}`"),
            Self::Inconclusive => f.write_str("the bake was inconclusive"),
            Self::Window => f.write_str("outside the release window"),
            Self::Quota(missing) => write!(f, "quota is short of {missing}"),
            Self::Dependency(component) => write!(f, "waits for component `{component}`"),
            Self::NothingRuns => f.write_str("no instance is declared to run"),
        }
    }
}

/// Why a rollout went back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AbortReason {
    /// A user asked for it, and what they said.
    User(String),
    /// There was no progress in time; why instances failed, as far as known.
    Deadline(Vec<String>),
    /// A bake failed.
    Bake(String),
    /// A run to completion failed.
    Run(String),
    /// A track of the rollout failed.
    Track {
        /// Which one.
        track: TrackKey,
        /// Why it went back.
        why: String,
    },
    /// A newer release has taken its place.
    Superseded(RolloutId),
    /// The release that was asked for next is the one that is stable.
    Returned,
    /// A cluster of the rollout could not be reached for as long as there may be no progress.
    Away {
        /// Which one.
        cluster: ClusterName,
        /// Since when.
        since: Timestamp,
    },
    /// The environment has none of the rollout's clusters any more.
    NoCluster,
    /// The app is being deleted or taken out of management.
    Detached,
}

impl fmt::Display for AbortReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(words) if words.is_empty() => f.write_str("a user asked for it"),
            Self::User(words) => write!(f, "a user asked for it: {words}"),
            Self::Deadline(why) if why.is_empty() => f.write_str("no progress before the deadline"),
            Self::Deadline(why) => write!(f, "no progress before the deadline: {}", why.join("; ")),
            Self::Bake(why) => write!(f, "the bake failed: {why}"),
            Self::Run(why) => write!(f, "the run failed: {why}"),
            Self::Track { track, why } => {
                write!(f, "{} on {}: {why}", track.component.component, track.cluster)
            }
            Self::Away { cluster, since } => {
                write!(
                    f,
                    "cluster {cluster} cannot be reached since {since}, and the time for progress is out"
                )
            }
            Self::NoCluster => f.write_str("its clusters were taken from the environment"),
            Self::Superseded(by) => write!(f, "superseded by rollout {by}"),
            Self::Returned => f.write_str("returned to the stable release"),
            Self::Detached => f.write_str("the track is being detached"),
        }
    }
}

/// The clock of progress: it runs only in phases that owe progress and only while nothing holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct ProgressClock {
    /// Past this instant, time is out; `None` while the clock does not run.
    pub deadline: Option<Timestamp>,
    /// What was left when the clock was stopped.
    pub remaining: Option<SignedDuration>,
    /// The phase, without its stage, that the clock is for.
    pub of: Option<Phase>,
    /// The best seen since that phase began: only what is better is progress.
    pub best: Marks,
}

/// What counts as progress: any of them better than ever before in this phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Marks {
    /// The most instances of the gaining side.
    pub updated: u32,
    /// The most of them that were ready.
    pub ready: u32,
    /// The most of them that were ready for long enough.
    pub available: u32,
    /// The fewest instances of the losing side; `None` before the first look.
    pub old: Option<u32>,
    /// The most weight confirmed on the gaining side.
    pub weight: u32,
}

impl TrackState {
    /// A track that has nothing yet, with `count` declared instances.
    pub fn new(track: TrackKey, count: u32) -> Self {
        Self {
            track,
            generation: 0,
            stable: None,
            rollout: None,
            phase: Phase::Idle,
            holds: BTreeSet::new(),
            clock: ProgressClock::default(),
            revisions: BTreeMap::new(),
            weights: None,
            confirmed: None,
            snapshot: None,
            count,
            count_owner: CountOwner::Engine,
            offline: false,
            next: None,
            detach: None,
            away: None,
            written: Token::default(),
        }
    }

    /// The state after its acts were carried out: `token` is the latest that the backends answered. Views before it
    /// are not decided upon.
    ///
    /// Keeping it in memory is enough, as long as the first view after a restart is read from the backends.
    #[must_use]
    pub fn acted(mut self, token: Token) -> Self {
        self.written = self.written.max(token);
        self
    }

    /// The state when the cluster cannot be seen, since `since`. A track at rest has nothing to wait for and is as it was;
    /// asked again, nothing changes, so that an outage costs one write.
    #[must_use]
    pub fn unseen(mut self, since: Timestamp) -> Self {
        if !self.phase.is_at_rest() && self.phase != Phase::Detached {
            self.away.get_or_insert(since);
        }
        self
    }

    /// How many instances shall run now: the declared count, or none while the app is stopped.
    pub fn effective_count(&self) -> u32 {
        if self.offline { 0 } else { self.count }
    }

    /// The scale to report: desired serving instances, never surge.
    pub fn declared_count(&self) -> u32 {
        self.count
    }

    /// Whether the track waits for the coordinator's commit.
    pub fn is_ready_to_commit(&self) -> bool {
        self.phase == Phase::Promoting && self.rollout.as_ref().is_some_and(|rollout| rollout.ready)
    }

    /// Whether a rollout is under way that has not committed and is not on its way back.
    pub fn is_rolling_out(&self) -> bool {
        self.phase.is_forward()
    }

    /// The intended weight of a revision.
    pub fn weight_of(&self, revision: &RevisionId) -> u32 {
        self.weights.as_ref().map_or(0, |weights| weights.of(revision))
    }

    /// The key under which hooks and runs of a step fire once.
    pub fn step_key(&self, step: usize) -> Option<StepKey> {
        let rollout = self.rollout.as_ref()?;
        Some(StepKey { rollout: rollout.id.clone(), attempt: rollout.attempt, step })
    }

    /// What people should know about why the track is where it is.
    pub fn reasons(&self) -> Vec<String> {
        let aborted =
            self.rollout.iter().filter_map(|rollout| rollout.aborted.as_ref()).map(ToString::to_string);
        let away =
            self.away.map(|since| format!("cluster {} cannot be reached since {since}", self.track.cluster));
        self.holds.iter().map(ToString::to_string).chain(away).chain(aborted).collect()
    }
}

impl TrackRollout {
    /// The revision that shall be committed, unless the component is being removed.
    pub fn target(&self) -> Option<&RevisionId> {
        self.to.as_ref().map(|version| &version.revision)
    }
}
