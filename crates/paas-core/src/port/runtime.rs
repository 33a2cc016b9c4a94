//! Where instances run.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BoxStream, Epoch, HostPath};
use crate::error::{Fault, Result};
use crate::model::{ResolvedValue, RevisionId, Template};
use crate::name::TrackKey;

/// The instances of one revision of a track.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SetKey {
    /// The track.
    pub track: TrackKey,
    /// The revision.
    pub revision: RevisionId,
}

impl fmt::Display for SetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.track, self.revision)
    }
}

/// How many instances a set shall have and, in an ordered set, from which ordinal on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Ordinals {
    /// The ordinal of the first instance; 0 where instances have no ordinals.
    pub first: u32,
    /// How many there are.
    pub count: u32,
}

impl Ordinals {
    /// The ordinal after the last one.
    pub fn end(self) -> u32 {
        self.first.saturating_add(self.count)
    }

    /// Whether an ordinal is one of them.
    pub fn contains(self, ordinal: u32) -> bool {
        (self.first..self.end()).contains(&ordinal)
    }

    /// Whether all of `others` are among them.
    pub fn cover(self, others: Self) -> bool {
        others.count == 0 || (self.first <= others.first && others.end() <= self.end())
    }

    /// Each of them, from the lowest.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        self.first..self.end()
    }
}

impl From<u32> for Ordinals {
    /// So many, from 0 on.
    fn from(count: u32) -> Self {
        Self { first: 0, count }
    }
}

impl fmt::Display for Ordinals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first {
            0 => write!(f, "{}", self.count),
            first => write!(f, "{} from {first}", self.count),
        }
    }
}

/// A set of equal instances: what they are and how many there shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetSpec {
    /// The identity.
    pub key: SetKey,
    /// What each instance is. Immutable for a revision.
    pub template: Template,
    /// How many instances there shall be when the set is made.
    pub count: u32,
    /// The ordinal of the first one, when the set is made; 0 where the set is not ordered.
    #[serde(default)]
    pub first: u32,
    /// Names and values put on every object that the backend makes.
    pub labels: BTreeMap<String, String>,
}

impl SetSpec {
    /// Which instances there shall be when the set is made.
    pub fn ordinals(&self) -> Ordinals {
        Ordinals { first: self.first, count: self.count }
    }
}

/// The identity of an instance, unique on its cluster and never used again; in an ordered set, that of an ordinal may come back
/// with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct InstanceId(pub String);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum InstancePhase {
    /// The image is being fetched or the instance is being made.
    Pending,
    /// It runs and has not passed its startup and readiness probes yet.
    Starting,
    /// It can serve.
    Ready,
    /// It runs, was ready, and cannot serve now.
    Unready,
    /// It ended by itself and waits to be started again.
    BackOff,
    /// It is out of service; what is under way may end.
    Draining,
    /// It ended and stays so.
    Exited,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExitStatus {
    /// The exit code, if it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether it was killed for using more memory than allowed.
    pub out_of_memory: bool,
    /// When it ended.
    #[schemars(with = "String")]
    pub at: Timestamp,
}

/// Why an instance does not run or serve, in words for its users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceFailure {
    /// A stable word: `image_not_found`, `image_denied`, `image_unreachable`, `no_entry_point`, `crash_loop`,
    /// `out_of_memory`, `not_ready`, `unhealthy`, `no_capacity`, `quota`, `lost`, `start_failed`.
    pub reason: String,
    /// What happened, with the figures and the remedy.
    pub message: String,
    /// The last lines of its output, if it ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
}

impl InstanceFailure {
    /// The failure as one sentence: what happened, and the last line of the output.
    pub fn told(&self) -> String {
        const LONGEST: usize = 200;
        match self.last_lines.iter().rev().find(|line| !line.trim().is_empty()) {
            None => self.message.clone(),
            Some(line) => {
                let line: String = line.trim().chars().take(LONGEST).collect();
                format!("{}; its last line: {line}", self.message)
            }
        }
    }
}

/// How far the image of an instance has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImagePull {
    /// How many bytes are here, as they are transferred; less than before when a broken transfer begins again.
    pub received_bytes: u64,
    /// How many bytes all layers have together, as they are transferred.
    pub total_bytes: u64,
    /// How many layers are ready to be used.
    pub layers_done: u32,
    /// How many layers there are.
    pub layers: u32,
}

impl fmt::Display for ImagePull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = |bytes: u64| bytes / 100_000;
        let (received, total) = (tenths(self.received_bytes), tenths(self.total_bytes));
        let (whole, tenth) = (received / 10, received % 10);
        write!(f, "{whole}.{tenth} of {}.{} MB, ", total / 10, total % 10)?;
        write!(f, "{} of {} layers", self.layers_done, self.layers)
    }
}

/// An instance as the backend sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceObservation {
    /// The identity.
    pub id: InstanceId,
    /// Its ordinal, if the set is ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordinal: Option<u32>,
    /// The phase.
    pub phase: InstancePhase,
    /// Since when it has been ready without a break.
    pub ready_since: Option<Timestamp>,
    /// When its process last started.
    pub started_at: Option<Timestamp>,
    /// How often it was started again.
    pub restarts: u32,
    /// How its process last ended.
    pub last_exit: Option<ExitStatus>,
    /// Why it does not run or serve.
    pub failure: Option<InstanceFailure>,
    /// How far its image has come while it is being fetched, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull: Option<ImagePull>,
}

/// A set as the backend sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetObservation {
    /// The revision.
    pub revision: RevisionId,
    /// How many instances there shall be, as the backend has it.
    pub desired: u32,
    /// The ordinal of the first one, as the backend was told; 0 where the set is not ordered.
    #[serde(default)]
    pub first: u32,
    /// The instances, those that drain included, in the order of their making.
    pub instances: Vec<InstanceObservation>,
    /// Why the set as a whole cannot have the desired instances, such as a refused quota.
    pub failure: Option<InstanceFailure>,
}

impl SetObservation {
    /// Which instances there shall be, as the backend has it.
    pub fn ordinals(&self) -> Ordinals {
        Ordinals { first: self.first, count: self.desired }
    }

    /// The instances that can serve now.
    pub fn ready(&self) -> usize {
        self.instances.iter().filter(|instance| instance.phase == InstancePhase::Ready).count()
    }
}

/// A track as the backend sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TrackObservation {
    /// The sets that exist, by revision.
    pub sets: BTreeMap<RevisionId, SetObservation>,
}

/// What a run's standard input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunInput {
    /// Nothing: its end is read at once.
    #[default]
    None,
    /// What whoever is attached sends.
    Stream,
    /// A terminal, which is its output and error output too.
    Terminal,
}

impl RunInput {
    /// Whether the run lives with whoever is attached to it.
    pub fn is_interactive(self) -> bool {
        self != Self::None
    }
}

/// A run to completion: a job, or a one-off command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSpec {
    /// The identity of the run, chosen by the caller; a run is started at most once.
    pub id: InstanceId,
    /// The track that it belongs to.
    pub track: TrackKey,
    /// What runs.
    pub template: Template,
    /// Replaces the template's command and arguments.
    pub command: Option<Vec<String>>,
    /// Environment variables in addition to the template's.
    pub env: BTreeMap<String, ResolvedValue>,
    /// What its standard input is.
    #[serde(default)]
    pub input: RunInput,
    /// Names and values put on every object that the backend makes.
    pub labels: BTreeMap<String, String>,
}

/// A run as the backend sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunObservation {
    /// The phase: [`InstancePhase::Exited`] once it has ended.
    pub phase: InstancePhase,
    /// How it ended.
    pub exit: Option<ExitStatus>,
    /// Why it could not be started, or was lost.
    pub failure: Option<InstanceFailure>,
}

/// What a runtime can do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RuntimeCapabilities {
    /// It rejects calls with an epoch lower than one it has seen.
    pub fenced: bool,
    /// Limits of processor time, memory and processes are enforced.
    pub cpu_limits: bool,
    /// Limits of memory are enforced.
    pub memory_limits: bool,
    /// Limits of written space are enforced.
    pub storage_limits: bool,
    /// Volumes that survive instances.
    pub volumes: bool,
    /// Runs to completion.
    pub runs: bool,
    /// Runs with input or a terminal.
    #[serde(default)]
    pub interactive_runs: bool,
    /// Instances that survive the server.
    pub survives_server: bool,
    /// Components of manifests.
    #[serde(default)]
    pub manifests: bool,
    /// Ordered sets: those of templates of the kind [`ComponentKind::Stateful`](crate::model::ComponentKind::Stateful).
    #[serde(default)]
    pub ordered_sets: bool,
}

/// Something changed: observe again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RuntimeEvent {
    /// The sets or instances of a track changed.
    Track(TrackKey),
    /// A run changed.
    Run(InstanceId),
}

/// Where instances run: sets of equal instances by revision, and runs to completion.
///
/// # Contract
/// - [`Runtime::ensure`] makes the set if it does not exist, with `spec.count` instances; if it exists with the
///   same template it changes nothing, its count included, and succeeds; with another template it fails with
///   [`ErrorKind::Conflict`](crate::ErrorKind::Conflict).
/// - [`Runtime::scale`] sets the number of instances; the same number changes nothing; a missing set is
///   [`ErrorKind::NotFound`](crate::ErrorKind::NotFound).
/// - When a count falls, instances that are not ready go first, then the youngest. An instance that goes is out of
///   service first (phase [`InstancePhase::Draining`]), then drains as its template says, then is stopped.
///   A draining instance is no longer counted as ready or desired.
/// - A set of a template of the kind [`ComponentKind::Stateful`](crate::model::ComponentKind::Stateful) is ordered: its
///   instances have the ordinals that it was told ([`Ordinals`]), each one of its own, and no two instances of a track have
///   the same one at once: an instance is [`InstancePhase::Pending`] as long as one of another set has its ordinal, draining
///   included. Which go when the ordinals change is what they say, whoever is ready. A change of the first one alone is a
///   change. A volume belongs to an ordinal: whatever set has it sees the same data, and it stays when the ordinal is gone.
///   In observations the instances of an ordered set are in the order of their ordinals. In other sets the first ordinal is
///   0 and means nothing.
/// - [`Runtime::remove`] takes the set away as scaling to zero does; a missing set is a success. It returns at once; the
///   set disappears from observations when its last instance is gone.
///   A set that was removed and whose instances still drain is missing for [`Runtime::scale`], and is made again by
///   [`Runtime::ensure`]; the draining instances go on draining.
/// - The declared number is kept without any call: instances that end are started again as the template's restart
///   policy says, with growing pauses, through restarts of the server and of the machine.
/// - [`Runtime::observe`] shows a state no older than every mutation that returned before the call.
/// - [`Runtime::watch`] tells of every change after the call that made the stream; changes may be merged.
/// - How far an image has come ([`InstanceObservation::pull`]) is for people and decides nothing. It is told while the
///   instance is [`InstancePhase::Pending`] only, and the watch tells of its changes a few times a second at most.
/// - A run is started at most once per id: [`Runtime::start_run`] of a known id changes nothing. It is kept, with its
///   exit status, until [`Runtime::remove_run`]. A run whose end cannot be known is `lost`, never a success.
/// - A run with input or a terminal ([`RunSpec::input`]) is for one attachment ([`ExecTarget::Run`](super::ExecTarget::Run)).
///   Its command may wait for that before it begins, and ends with it: when the session is dropped it is hung up, then
///   killed, which is no success.
/// - A set of manifests ([`Template::manifests`]) has its objects applied while its count is above zero. One set of a
///   track is in force at a time: the last one that was made or raised. A count of zero takes a set out of force and
///   leaves its objects, for the next set to take over those of the same names; [`Runtime::remove`] removes those that no
///   other set has taken over. Its instances are as many as its count; they are ready when every object is.
/// - A host and path that another application has ([`Router::holders`](super::Router::holders)) is
///   [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) for a set of manifests that brings it ([`Runtime::hosts`]).
/// - [`Runtime::refusals`] says without a call what a set of this template would be refused for.
/// - The tracks that have any set are listed by [`Runtime::tracks`], so that what nobody declares can be found.
#[async_trait]
pub trait Runtime: fmt::Debug + Send + Sync + 'static {
    /// What this runtime can do.
    fn capabilities(&self) -> RuntimeCapabilities;

    /// What a set of this template would be refused for, each with its path in the template; nothing is made or asked.
    fn refusals(&self, template: &Template) -> Vec<Fault> {
        let _ = template;
        Vec::new()
    }

    /// The hosts by which the objects of a template lead requests to it, each with the path of the field that names it; nothing is
    /// asked. Only manifests have such objects.
    fn hosts(&self, template: &Template) -> Vec<(String, HostPath)> {
        let _ = template;
        Vec::new()
    }

    /// Makes a set if it does not exist.
    async fn ensure(&self, epoch: Epoch, spec: &SetSpec) -> Result<()>;

    /// Sets the number of instances of a set and, in an ordered one, their ordinals.
    async fn scale(&self, epoch: Epoch, key: &SetKey, ordinals: Ordinals) -> Result<()>;

    /// Takes a set away.
    async fn remove(&self, epoch: Epoch, key: &SetKey) -> Result<()>;

    /// A track as it is now; empty if nothing of it exists.
    async fn observe(&self, track: &TrackKey) -> Result<TrackObservation>;

    /// Every track that has a set.
    async fn tracks(&self) -> Result<Vec<TrackKey>>;

    /// Removes what instances leave behind for good: the volumes of a track. The track must have no set.
    async fn purge(&self, epoch: Epoch, track: &TrackKey) -> Result<()>;

    /// Starts a run to completion.
    async fn start_run(&self, epoch: Epoch, spec: &RunSpec) -> Result<()>;

    /// A run as it is now, or nothing if the id is unknown.
    async fn observe_run(&self, id: &InstanceId) -> Result<Option<RunObservation>>;

    /// Stops a run if it still runs, and forgets it; an unknown id is a success.
    async fn remove_run(&self, epoch: Epoch, id: &InstanceId) -> Result<()>;

    /// Tells what changes from now on.
    async fn watch(&self) -> Result<BoxStream<RuntimeEvent>>;
}
