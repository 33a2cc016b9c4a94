//! One history: a track, its cluster, its store, two controllers, and everything that happens to them.

mod rest;

use std::collections::VecDeque;

use super::Subject;
use super::cluster::{Cluster, Quality, Seen, WriteFault};
use super::coverage::{Coverage, FaultKind};
use super::invariant::ordered::check_running;
use super::invariant::{Deciding, Sight, Violation, check_command, check_write};
use super::op::{self, Op, Trouble};
use crate::model::{ReleaseNumber, RevisionId};
use crate::release::{
    AbortReason, Act, Command, CommitMode, Detach, Event, Phase, Plan, RolloutId, RunView, StartRollout,
    Token, TrackState, TrackVersion, Verdict,
};

/// What the histories of one run have in common.
pub(super) struct Setting<'a> {
    pub(super) subject: &'a dyn Subject,
    /// The plans that deploys choose from.
    pub(super) plans: Vec<Plan>,
    pub(super) back: Plan,
    pub(super) removal: Plan,
}

impl Setting<'_> {
    /// Whether instances have ordinals.
    pub(super) fn is_ordered(&self) -> bool {
        self.plans.iter().any(|plan| plan.ordered)
    }
}

#[derive(Default)]
struct Controller {
    epoch: u64,
    /// The latest write that it knows of.
    written: u64,
    /// The latest view that it has seen: a cache never goes backward.
    order: u64,
    /// Whether the next view must be read from the cluster.
    fresh: bool,
    pending: Option<Pending>,
}

/// A decision that is stored, or about to be, with what is still to do.
struct Pending {
    revision: u64,
    store: Option<TrackState>,
    events: Vec<Event>,
    acts: VecDeque<Act>,
    used: TrackState,
    sight: Sight,
}

pub(super) struct History<'a> {
    setting: &'a Setting<'a>,
    cluster: Cluster,
    views: VecDeque<Seen>,
    stored: TrackState,
    revision: u64,
    controllers: [Controller; 2],
    leader: usize,
    releases: u64,
    committed: Option<RevisionId>,
    coverage: Coverage,
    /// Actions so far: what users, the world and controllers did, every single write included.
    actions: usize,
}

/// How a history ended.
pub(super) struct Outcome {
    pub(super) violation: Option<Violation>,
    pub(super) coverage: Coverage,
    pub(super) actions: usize,
}

type Step = Result<(), Violation>;

/// How many past views a cache may answer with.
const CACHED: usize = 6;

impl<'a> History<'a> {
    fn new(setting: &'a Setting<'a>) -> Self {
        let key = "acme/prod/shop/web@local".parse().expect("a valid track");
        Self {
            setting,
            cluster: Cluster::new(setting.is_ordered()),
            views: VecDeque::new(),
            stored: TrackState::new(key, 3),
            revision: 0,
            controllers: [Controller { epoch: 1, ..Controller::default() }, Controller::default()],
            leader: 0,
            releases: 0,
            committed: None,
            coverage: Coverage::default(),
            actions: 0,
        }
    }

    /// Runs the actions, then lets everything come to rest.
    pub(super) fn run(setting: &'a Setting<'a>, ops: &[Op]) -> Outcome {
        let mut history = Self::new(setting);
        let ended = ops.iter().try_for_each(|op| history.act(op)).and_then(|()| {
            let actions = history.actions;
            let ended = history.settle();
            history.actions = actions;
            ended
        });
        Outcome { violation: ended.err(), coverage: history.coverage, actions: history.actions }
    }

    fn act(&mut self, op: &Op) -> Step {
        if self.stored.phase == Phase::Detached {
            return self.is_restored();
        }
        self.actions += 1;
        match op {
            Op::Deploy { quality, strategy, supersede, lockstep } => {
                self.deploy(*quality, *strategy, *supersede, *lockstep)?;
            }
            Op::Restart { strategy, supersede, lockstep } => {
                let current = self.committed.as_ref().and_then(|it| self.cluster.qualities.get(it));
                if let Some(quality) = current.copied() {
                    self.deploy(quality, *strategy, *supersede, *lockstep)?;
                }
            }
            Op::Rollback { back } => self.roll_back(*back)?,
            Op::Withdraw => {
                let start = self.start_of(None, self.setting.removal.clone());
                self.command(&Command::Start(start))?;
            }
            Op::Scale(count) => self.command(&Command::Scale { count: *count })?,
            Op::Abort => self.command(&Command::Abort { reason: AbortReason::User(String::new()) })?,
            Op::Retry => self.command(&Command::Retry)?,
            Op::Pause => self.command(&Command::Pause)?,
            Op::Resume => self.command(&Command::Resume)?,
            Op::Grant => self.grant()?,
            Op::Offline => self.command(&Command::Offline)?,
            Op::Online => self.command(&Command::Online)?,
            Op::Detach { release } => {
                let mode = if *release { Detach::Release } else { Detach::Delete };
                self.command(&Command::Detach { mode })?;
            }
            Op::Kill { nth, restart } => {
                if self.cluster.kill(*nth, *restart) > 0 {
                    self.coverage.record(self.stored.phase, FaultKind::Killed);
                }
            }
            Op::Quota(quota) => self.cluster.quota = *quota,
            Op::RouterLag(lag) => self.cluster.router_lag = *lag,
            Op::Verdict(which) => {
                let (run, verdict) = match which {
                    0 => (RunView::Failed("status 1".to_owned()), Verdict::Fail("too slow".to_owned())),
                    1 => (RunView::Lost, Verdict::Inconclusive),
                    _ => (RunView::Succeeded, Verdict::Pass),
                };
                (self.cluster.next_run, self.cluster.next_verdict) = (run, verdict);
            }
            Op::Advance(milliseconds) => {
                self.cluster.advance(*milliseconds);
                if self.cluster.written != self.cluster.confirmed {
                    self.coverage.record(self.stored.phase, FaultKind::RouterLag);
                }
            }
            Op::Takeover => self.take_over(),
            Op::Reconcile { who, lag, trouble } => self.reconcile(*who, *lag, *trouble).map(drop)?,
        }
        check_running(&self.cluster)?;
        self.remember();
        Ok(())
    }

    fn remember(&mut self) {
        let seen = self.cluster.look();
        self.views.push_back(seen);
        if self.views.len() > CACHED {
            self.views.pop_front();
        }
    }

    fn command(&mut self, command: &Command) -> Step {
        let now = self.cluster.now;
        let after = self.setting.subject.apply(&self.stored, command, now);
        check_command(&self.stored, command, &after, |state| {
            self.setting.subject.apply(state, command, now)
        })?;
        if let Ok((state, _)) = after
            && state != self.stored
        {
            if state.phase == Phase::Detaching {
                self.committed = None;
            }
            self.stored = state;
            self.revision += 1;
        }
        Ok(())
    }

    fn start_of(&mut self, revision: Option<u64>, plan: Plan) -> StartRollout {
        self.releases += 1;
        let to = revision.map(|number| TrackVersion {
            release: ReleaseNumber(self.releases),
            revision: RevisionId::new(format!("r{number}")).expect("a valid revision"),
        });
        StartRollout::new(RolloutId::new(format!("rollout-{}", self.releases)), to, plan)
    }

    fn deploy(&mut self, quality: Quality, strategy: u32, supersede: bool, lockstep: bool) -> Step {
        let plans = &self.setting.plans;
        let patient = plans.iter().find(|plan| strategy == op::STALLS && !plan.abort_on_deadline);
        let plan = patient.unwrap_or(&plans[strategy as usize % plans.len()]).clone();
        let number = self.releases + 1;
        let mut start = self.start_of(Some(number), plan);
        if lockstep {
            start.commit = CommitMode::Lockstep { granted: false };
        }
        if let Some(to) = &start.to {
            self.cluster.qualities.insert(to.revision.clone(), quality);
        }
        let command = if supersede { Command::Supersede(start) } else { Command::Start(start) };
        self.command(&command)
    }

    fn roll_back(&mut self, back: u32) -> Step {
        let Some(number) = self.releases.checked_sub(u64::from(back)).filter(|number| *number > 0) else {
            return Ok(());
        };
        let start = self.start_of(Some(number), self.setting.back.clone());
        self.command(&Command::Start(start))
    }

    fn grant(&mut self) -> Step {
        let rollout = self.stored.rollout.as_ref().map(|rollout| rollout.id.clone());
        match rollout.filter(|_| self.stored.is_ready_to_commit()) {
            Some(rollout) => self.command(&Command::GrantCommit { rollout }),
            None => Ok(()),
        }
    }

    fn take_over(&mut self) {
        self.leader = 1 - self.leader;
        let epoch = self.controllers.iter().map(|controller| controller.epoch).max().unwrap_or(0) + 1;
        let leader = &mut self.controllers[self.leader];
        *leader = Controller { epoch, fresh: true, ..Controller::default() };
    }

    /// The process of a controller died; it comes back with a new lease and an empty cache.
    fn restart(&mut self, who: usize) {
        let epoch = self.controllers.iter().map(|controller| controller.epoch).max().unwrap_or(0) + 1;
        self.controllers[who] = Controller { epoch, fresh: true, ..Controller::default() };
        self.leader = who;
    }

    fn view_for(&mut self, who: usize, lag: u32) -> Seen {
        let floor = self.controllers[who].order;
        let cached = self.views.iter().rev().nth(lag as usize).filter(|seen| seen.order >= floor && lag > 0);
        let seen = match cached {
            Some(seen) if !self.controllers[who].fresh => {
                let seen = seen.clone();
                self.coverage.record(self.stored.phase, FaultKind::StaleView);
                seen
            }
            _ => self.cluster.look(),
        };
        self.controllers[who].fresh = false;
        self.controllers[who].order = seen.order;
        seen
    }

    /// One pass of a controller; whether anything was written.
    fn reconcile(&mut self, who: usize, lag: u32, trouble: Trouble) -> Result<bool, Violation> {
        if self.controllers[who].epoch == 0 {
            return Ok(false);
        }
        if self.controllers[who].pending.is_none() {
            self.decide(who, lag)?;
        }
        let mut budget = match trouble {
            Trouble::Killed(writes) | Trouble::Paused(writes) => Some(writes),
            _ => None,
        };
        let mut wrote = false;
        while let Some(pending) = &self.controllers[who].pending {
            if pending.store.is_none() && pending.acts.is_empty() {
                self.controllers[who].pending = None;
                break;
            }
            if budget == Some(0) {
                self.interrupt(who, trouble);
                break;
            }
            budget = budget.map(|left| left - 1);
            wrote = true;
            if !self.write_one(who, trouble)? {
                break;
            }
        }
        Ok(wrote)
    }

    fn interrupt(&mut self, who: usize, trouble: Trouble) {
        let before_store =
            self.controllers[who].pending.as_ref().is_some_and(|pending| pending.store.is_some());
        if let Trouble::Killed(_) = trouble {
            let kind = if before_store { FaultKind::DiedBeforeStore } else { FaultKind::DiedBeforeAct };
            self.coverage.record(self.stored.phase, kind);
            self.restart(who);
        }
    }

    fn decide(&mut self, who: usize, lag: u32) -> Step {
        let seen = self.view_for(who, lag);
        let own_write = self.controllers[who].written;
        let before = self.stored.clone().acted(Token(own_write));
        let now = self.cluster.now;
        let decision = self.setting.subject.next(&before, &seen.world, now);
        let committed = self.committed.as_ref();
        Deciding { before: &before, seen: &seen, decision: &decision, now, own_write, committed }.check()?;
        let sight = Sight::of(&seen, self.cluster.ordered.then(|| decision.state.effective_count()));
        let store = (decision.state != before).then(|| decision.state.clone());
        self.controllers[who].pending = Some(Pending {
            revision: self.revision,
            store,
            events: decision.events,
            acts: decision.acts.into(),
            used: decision.state,
            sight,
        });
        Ok(())
    }

    /// The next write of a controller's pending decision; whether it may go on.
    fn write_one(&mut self, who: usize, trouble: Trouble) -> Result<bool, Violation> {
        self.actions += 1;
        let Some(pending) = &mut self.controllers[who].pending else { return Ok(false) };
        if let Some(state) = pending.store.take() {
            let stale = pending.revision != self.revision;
            if stale || who != self.leader {
                // Compare-and-set fails: somebody else decided meanwhile.
                self.coverage.record(self.stored.phase, FaultKind::Fenced);
                self.controllers[who].pending = None;
                return Ok(false);
            }
            for event in &pending.events {
                if let Event::Committed { to, .. } = event {
                    self.committed = to.as_ref().map(|to| to.revision.clone());
                }
            }
            self.stored = state;
            self.revision += 1;
            return Ok(true);
        }
        let Some(act) = pending.acts.pop_front() else { return Ok(false) };
        let (used, sight, epoch) = (pending.used.clone(), pending.sight, self.controllers[who].epoch);
        if trouble == Trouble::LostWrite {
            self.coverage.record(self.stored.phase, FaultKind::LostWrite);
            self.controllers[who].pending = None;
            self.controllers[who].fresh = true;
            return Ok(false);
        }
        if epoch >= self.cluster.epoch {
            check_write(&self.cluster, &act, &used, sight)?;
        }
        let answer = self.cluster.write(epoch, &act);
        if trouble == Trouble::LostAnswer && answer.is_ok() {
            self.coverage.record(self.stored.phase, FaultKind::LostAnswer);
            self.controllers[who].pending = None;
            self.controllers[who].fresh = true;
            return Ok(false);
        }
        match answer {
            Ok(token) => {
                let controller = &mut self.controllers[who];
                controller.written = controller.written.max(token);
                self.remember();
                return Ok(true);
            }
            Err(WriteFault::Refused) => self.coverage.record(self.stored.phase, FaultKind::Refused),
            Err(WriteFault::Fenced) => self.coverage.record(self.stored.phase, FaultKind::Fenced),
            Err(WriteFault::Missing) => {}
        }
        self.controllers[who].pending = None;
        self.controllers[who].fresh = true;
        Ok(false)
    }
}
