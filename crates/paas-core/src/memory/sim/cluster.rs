//! The simulated cluster of one track: what is really there, as opposed to what a controller has seen.

mod ordered;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::model::RevisionId;
use crate::release::{
    Act, Refusal, RevisionView, RouteSnapshot, RouteView, RunView, Token, Verdict, Weights, World,
};

/// How the instances of a revision behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quality {
    /// Ready after so many milliseconds.
    Good(u32),
    /// Never ready.
    Never,
    /// Ready after so many milliseconds, then dead after as many again, over and over.
    Flapping(u32),
}

#[derive(Clone, Copy, Debug)]
enum Life {
    /// An instance of another set has its ordinal.
    Waiting,
    Starting(Option<Timestamp>),
    Ready(Timestamp),
    Draining(Timestamp),
}

#[derive(Clone, Copy, Debug)]
struct Instance {
    born: u64,
    /// Its ordinal, in ordered sets.
    ordinal: u32,
    life: Life,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Set {
    pub(super) desired: u32,
    /// The ordinal of the first one, in ordered sets.
    pub(super) first: u32,
    instances: Vec<Instance>,
}

impl Instance {
    /// It leaves service; a ready one drains.
    fn take_out(&mut self, now: Timestamp) {
        let drain = if matches!(self.life, Life::Ready(_)) { DRAIN } else { SignedDuration::ZERO };
        self.life = Life::Draining(now.saturating_add(drain).unwrap_or(now));
    }
}

impl Set {
    pub(super) fn ready(&self) -> u32 {
        count(self.instances.iter().filter(|instance| matches!(instance.life, Life::Ready(_))).count())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }
}

fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}

/// Why a write was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteFault {
    /// It came from a writer whose lease has passed to another.
    Fenced,
    /// A quota refused it.
    Refused,
    /// What it is about does not exist.
    Missing,
}

/// A view as a controller's cache holds it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) order: u64,
    /// The ready instances that the world had taken away when it was made.
    pub(super) losses: u32,
    /// The ordinals that are ready, in ordered sets.
    pub(super) ordinals: Vec<u32>,
    pub(super) world: World,
}

#[derive(Clone, Debug)]
pub(super) struct Cluster {
    pub(super) now: Timestamp,
    pub(super) token: u64,
    pub(super) epoch: u64,
    /// Whether the sets are ordered.
    pub(super) ordered: bool,
    pub(super) sets: BTreeMap<RevisionId, Set>,
    pub(super) qualities: BTreeMap<RevisionId, Quality>,
    pub(super) written: Option<Weights>,
    pub(super) confirmed: Option<Weights>,
    confirm_at: Option<Timestamp>,
    pub(super) router_lag: u32,
    /// What the routes say while nobody owns them.
    pub(super) unowned: RouteSnapshot,
    pub(super) quota: Option<u32>,
    refusal: Option<Refusal>,
    runs: BTreeMap<String, (RunView, Timestamp, RunView)>,
    verdicts: BTreeMap<String, (Verdict, Timestamp, Verdict)>,
    /// How runs and bakes that begin from now on will end.
    pub(super) next_run: RunView,
    pub(super) next_verdict: Verdict,
    /// Ready instances that the world, and not a write, has taken away.
    pub(super) losses: u32,
    born: u64,
    order: u64,
}

const DRAIN: SignedDuration = SignedDuration::from_secs(3);

fn after(start: Timestamp, milliseconds: u32) -> Timestamp {
    start.saturating_add(SignedDuration::from_millis(i64::from(milliseconds))).unwrap_or(Timestamp::MAX)
}

impl Cluster {
    pub(super) fn new(ordered: bool) -> Self {
        Self {
            now: Timestamp::UNIX_EPOCH,
            token: 0,
            epoch: 1,
            ordered,
            sets: BTreeMap::new(),
            qualities: BTreeMap::new(),
            written: None,
            confirmed: None,
            confirm_at: None,
            router_lag: 5,
            unowned: RouteSnapshot("before".to_owned()),
            quota: None,
            refusal: None,
            runs: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            next_run: RunView::Succeeded,
            next_verdict: Verdict::Pass,
            losses: 0,
            born: 0,
            order: 0,
        }
    }

    /// A view of everything, as it is now.
    pub(super) fn look(&mut self) -> Seen {
        self.order += 1;
        let revisions = self.sets.iter().map(|(id, set)| (id.clone(), self.view(id, set))).collect();
        let routes = RouteView {
            written: self.written.clone(),
            confirmed: self.confirmed.clone(),
            snapshot: self.written.is_none().then(|| self.unowned.clone()),
        };
        let world = World {
            observed_at: Token(self.token),
            revisions,
            routes,
            runs: self.runs.iter().map(|(key, (now, ..))| (key.clone(), now.clone())).collect(),
            refusal: self.refusal.clone(),
            demanded: None,
            verdicts: self.verdicts.iter().map(|(key, (now, ..))| (key.clone(), now.clone())).collect(),
        };
        Seen { order: self.order, losses: self.losses, ordinals: self.ready_ordinals(), world }
    }

    fn view(&self, id: &RevisionId, set: &Set) -> RevisionView {
        let mut view = RevisionView { desired: set.desired, first: set.first, ..RevisionView::default() };
        for instance in &set.instances {
            match instance.life {
                Life::Waiting | Life::Starting(_) => view.total += 1,
                Life::Ready(since) => {
                    view.total += 1;
                    view.ready_since.push(since);
                }
                Life::Draining(_) => view.draining += 1,
            }
        }
        if matches!(self.qualities.get(id), Some(Quality::Never | Quality::Flapping(_))) {
            view.failing.push("exited with status 1".to_owned());
        }
        view
    }

    /// Carries an act out for a writer of this epoch.
    pub(super) fn write(&mut self, epoch: u64, act: &Act) -> Result<u64, WriteFault> {
        if epoch < self.epoch {
            return Err(WriteFault::Fenced);
        }
        self.epoch = epoch;
        match act {
            Act::Ensure { revision, count, first } => {
                if !self.sets.contains_key(revision) {
                    self.admit(revision, 0, *count)?;
                    self.sets.insert(
                        revision.clone(),
                        Set { desired: *count, first: *first, instances: Vec::new() },
                    );
                }
            }
            Act::Scale { revision, count, first } => {
                let before = self.sets.get(revision).ok_or(WriteFault::Missing)?.desired;
                self.admit(revision, before, *count)?;
                if let Some(set) = self.sets.get_mut(revision) {
                    (set.desired, set.first) = (*count, *first);
                }
            }
            Act::Remove { revision } => {
                self.sets.remove(revision);
            }
            Act::Shift { weights } => {
                self.written = Some(weights.clone());
                self.confirm_at = Some(after(self.now, self.router_lag));
            }
            Act::Unroute { snapshot } => {
                self.written = None;
                if let Some(snapshot) = snapshot {
                    self.unowned = snapshot.clone();
                } else {
                    self.unowned = RouteSnapshot(String::new());
                }
                self.confirm_at = Some(after(self.now, self.router_lag));
            }
            Act::Run { key, .. } => {
                let run = (RunView::Running, after(self.now, 2_000), self.next_run.clone());
                self.runs.entry(key.to_string()).or_insert(run);
            }
            Act::StopRun { key } => {
                let stopped = RunView::Failed("stopped".to_owned());
                self.runs.insert(key.to_string(), (stopped.clone(), self.now, stopped));
            }
            Act::Judge { key, .. } => {
                let bake = (Verdict::Pending, after(self.now, 2_000), self.next_verdict.clone());
                self.verdicts.entry(key.to_string()).or_insert(bake);
            }
        }
        if self.ordered {
            // Which instances go shows at once; a count alone tells it of sets without ordinals.
            self.follow_ordinals();
        }
        self.token += 1;
        Ok(self.token)
    }

    fn admit(&mut self, revision: &RevisionId, before: u32, now: u32) -> Result<(), WriteFault> {
        if now <= before {
            return Ok(());
        }
        let all: u32 = self.sets.values().map(|set| set.desired).sum::<u32>() - before + now;
        if self.quota.is_some_and(|quota| all > quota) {
            let missing = format!("{} instances", all - self.quota.unwrap_or(0));
            self.refusal = Some(Refusal { revision: revision.clone(), missing });
            return Err(WriteFault::Refused);
        }
        self.refusal = None;
        Ok(())
    }

    /// Lets time pass, and everything react.
    pub(super) fn advance(&mut self, milliseconds: u32) {
        self.now = after(self.now, milliseconds);
        self.react();
    }

    pub(super) fn react(&mut self) {
        let now = self.now;
        if self.confirm_at.is_some_and(|at| at <= now) {
            self.confirm_at = None;
            self.confirmed.clone_from(&self.written);
        }
        for (state, at, end) in self.runs.values_mut() {
            if *at <= now {
                state.clone_from(end);
            }
        }
        for (state, at, end) in self.verdicts.values_mut() {
            if *at <= now {
                state.clone_from(end);
            }
        }
        let ids: Vec<RevisionId> = self.sets.keys().cloned().collect();
        for id in ids {
            let quality = self.qualities.get(&id).copied().unwrap_or(Quality::Good(20));
            if let Some(mut set) = self.sets.remove(&id) {
                self.live_on(&mut set, quality);
                if !self.ordered {
                    self.follow_count(&mut set, quality);
                }
                self.sets.insert(id, set);
            }
        }
        if self.ordered {
            self.follow_ordinals();
        }
    }

    /// What instances do by themselves.
    fn live_on(&mut self, set: &mut Set, quality: Quality) {
        let now = self.now;
        set.instances.retain(|instance| !matches!(instance.life, Life::Draining(until) if until <= now));
        for instance in &mut set.instances {
            match (instance.life, quality) {
                (Life::Starting(Some(at)), _) if at <= now => instance.life = Life::Ready(at),
                (Life::Ready(since), Quality::Flapping(up)) if after(since, up) <= now => {
                    self.losses += 1;
                    instance.life = Life::Starting(Some(after(now, up)));
                }
                _ => {}
            }
        }
    }

    fn ready_at(&self, quality: Quality) -> Option<Timestamp> {
        match quality {
            Quality::Good(delay) | Quality::Flapping(delay) => Some(after(self.now, delay)),
            Quality::Never => None,
        }
    }

    fn follow_count(&mut self, set: &mut Set, quality: Quality) {
        let (now, ready_at) = (self.now, self.ready_at(quality));
        let alive =
            set.instances.iter().filter(|instance| !matches!(instance.life, Life::Draining(_))).count();
        let desired = set.desired as usize;
        for _ in alive..desired {
            self.born += 1;
            set.instances.push(Instance { born: self.born, ordinal: 0, life: Life::Starting(ready_at) });
        }
        if alive > desired {
            // Unready ones go first, then the youngest; ready ones drain.
            let rank =
                |instance: &Instance| (matches!(instance.life, Life::Ready(_)), u64::MAX - instance.born);
            let mut alive: Vec<&mut Instance> = set
                .instances
                .iter_mut()
                .filter(|instance| !matches!(instance.life, Life::Draining(_)))
                .collect();
            alive.sort_by_key(|instance| rank(instance));
            let surplus = alive.len() - desired;
            for instance in alive.into_iter().take(surplus) {
                instance.take_out(now);
            }
            set.instances.retain(|instance| !matches!(instance.life, Life::Draining(until) if until <= now));
        }
    }

    /// Kills every `nth` running instance; how many that were.
    pub(super) fn kill(&mut self, nth: u32, restart: u32) -> u32 {
        let (mut index, mut killed) = (0, 0);
        for (id, set) in &mut self.sets {
            let again = match self.qualities.get(id) {
                Some(Quality::Never) => None,
                _ => Some(after(self.now, restart)),
            };
            for instance in &mut set.instances {
                let Life::Ready(_) = instance.life else { continue };
                index += 1;
                if index % nth.max(1) == 0 {
                    self.losses += 1;
                    killed += 1;
                    instance.life = Life::Starting(again);
                }
            }
        }
        killed
    }

    /// Makes everything behave from now on; what can never become ready stays as it is.
    pub(super) fn calm(&mut self) {
        self.quota = None;
        self.router_lag = 5;
        for quality in self.qualities.values_mut() {
            if matches!(quality, Quality::Flapping(_)) {
                *quality = Quality::Good(20);
            }
        }
        self.react();
    }

    /// When something will happen by itself.
    pub(super) fn next_change(&self) -> Option<Timestamp> {
        let lives =
            self.sets.values().flat_map(|set| &set.instances).filter_map(|instance| match instance.life {
                Life::Starting(at) => at,
                Life::Draining(at) => Some(at),
                Life::Waiting | Life::Ready(_) => None,
            });
        let runs = self.runs.values().filter(|(now, _, end)| now != end).map(|(_, at, _)| *at);
        let bakes = self.verdicts.values().filter(|(now, _, end)| now != end).map(|(_, at, _)| *at);
        lives.chain(runs).chain(bakes).chain(self.confirm_at).min()
    }
}
