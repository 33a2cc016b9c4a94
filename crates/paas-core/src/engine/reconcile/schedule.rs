//! Scheduled jobs: when it is time, a run is made; everything else is the run's own affair.
//!
//! A time is settled and its run made in one transaction, which expects the schedule as it was read. Whoever dies before it has
//! done nothing, whoever dies after it leaves a run that the next holder of the lease starts; the backend starts an id once.

use jiff::{SignedDuration, Timestamp};

use super::cache::{AppDocuments, run_key};
use super::context::{Context, Key};
use super::events;
use crate::engine::outages::is_outage;
use crate::engine::{Changes, EventRecord, RunOrigin, RunRecord, ScheduleRecord, Skipped, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Overlap;
use crate::name::{ClusterName, ComponentKey};
use crate::port::{InstanceId, RunInput};
use crate::tenancy::Actor;

/// How many runs of a component that have ended are kept, with what their clusters have of them.
const RUNS_KEPT: usize = 10;
/// How many runs of a component may be under way at once.
const UNDER_WAY_MAX: usize = 20;
/// How far missed times are counted.
const COUNTED: usize = 1_000;

pub(super) async fn reconcile(
    context: &Context,
    component: &ComponentKey,
    cluster: &ClusterName,
) -> Result<()> {
    let Some(documents) = context.cache.app(&component.at) else { return Ok(()) };
    let Some(stored) = documents.schedules.get(&component.component) else { return Ok(()) };
    for run in runs(&documents, component).filter(|run| is_surplus(&documents, run) || may_start(run)) {
        context.queue.add(run_key(run));
    }
    let Some(place) = &documents.place else { return Ok(()) };
    if place.value.deleting.is_some() || place.value.offline.contains(&component.component) {
        return Ok(());
    }
    let record = &stored.value;
    let timetable = record.schedule.timetable().map_err(|fault| {
        Error::new(ErrorKind::Internal, "read a stored schedule")
            .with_context("component", component)
            .with_source(fault.to_string())
    })?;
    let own = Key::Schedule(component.clone(), cluster.clone());
    let now = context.services.now();
    if let Some(next) = timetable.next_after(now) {
        context.wake_at(own.clone(), next);
    }
    let Some(due) = timetable.latest(now).filter(|due| *due > record.settled) else { return Ok(()) };

    let missed = timetable.count_between(record.settled, due, COUNTED);
    let allowed = SignedDuration::from_secs(record.schedule.starting_deadline_seconds.into());
    let deadline = due.saturating_add(allowed).unwrap_or(Timestamp::MAX);
    let settled = Settled { context, stored, missed, due };
    if now > deadline {
        let seconds = record.schedule.starting_deadline_seconds;
        return settled.skip(place, format!("nothing could start it within {seconds} s"), &own).await;
    }
    let under_way: Vec<&Stored<RunRecord>> = documents
        .runs
        .values()
        .map(AsRef::as_ref)
        .filter(|run| is_of(&run.value, component) && run.value.is_under_way())
        .collect();
    let replaced = match record.schedule.overlap {
        Overlap::Forbid if !under_way.is_empty() => {
            let names: Vec<&str> = under_way.iter().map(|run| run.value.id.0.as_str()).collect();
            return settled.skip(place, format!("{} is still under way", names.join(", ")), &own).await;
        }
        Overlap::Allow if under_way.len() >= UNDER_WAY_MAX => {
            return settled.skip(place, format!("{UNDER_WAY_MAX} runs are still under way"), &own).await;
        }
        Overlap::Replace => under_way,
        _ => Vec::new(),
    };
    let id = RunRecord::scheduled_id(component, due);
    match choose(context, component, cluster) {
        Choice::Here => {}
        Choice::There(other) => {
            context.queue.add(Key::Schedule(component.clone(), other));
            return Ok(());
        }
        Choice::Nowhere => {
            let why = "no cluster of its environment runs anything to completion".to_owned();
            return settled.skip(place, why, &own).await;
        }
    }
    // Asked before anything is decided: a run that was given to a cluster stays there.
    let asked = async {
        let ports = context.ports(cluster)?;
        context.call("observe a run", cluster, ports.runtime.observe_run(&id)).await
    };
    if let Err(error) = asked.await {
        if is_outage(&error)
            && let Choice::There(other) = choose(context, component, cluster)
        {
            context.queue.add(Key::Schedule(component.clone(), other));
            return Ok(());
        }
        context.wake_at(own, deadline);
        return Err(error);
    }
    let run = RunRecord {
        track: component.on(cluster.clone()),
        revision: record.revision.clone(),
        command: None,
        input: RunInput::None,
        attended_until: None,
        attached: false,
        origin: RunOrigin::Schedule { at: due },
        created_by: Actor::SYSTEM.to_owned(),
        created_at: now,
        started_at: None,
        stopping: false,
        ended_at: None,
        exit_code: None,
        failure: None,
        last_lines: Vec::new(),
        id,
    };
    settled.run(place, &run, replaced, &own).await
}

/// What is stored when a time is settled.
struct Settled<'a> {
    context: &'a Context,
    stored: &'a Stored<ScheduleRecord>,
    /// How many earlier times passed without being looked at.
    missed: usize,
    due: Timestamp,
}

impl Settled<'_> {
    /// Nothing runs at this time. It is told once for each reason, and counted.
    async fn skip(
        &self,
        place: &Stored<crate::engine::AppEnvRecord>,
        reason: String,
        own: &Key,
    ) -> Result<()> {
        let mut record = self.stored.clone();
        record.value.settled = self.due;
        let before = record.value.skipped.take();
        let told = before.as_ref().is_none_or(|before| before.reason != reason);
        let count = before.map_or(0, |before| before.count) + 1 + self.missed as u64;
        record.value.skipped = Some(Skipped { at: self.due, count, reason: reason.clone() });
        let events: Vec<EventRecord> = told
            .then(|| {
                events::run_skipped(self.context, &record.value.component, self.due, self.missed, &reason)
            })
            .into_iter()
            .collect();
        let mut changes = Changes::new();
        changes.update(&record)?;
        changes.expect(place.unchanged());
        self.context.commit(changes, &events, own).await
    }

    /// A run is made, in place of those that it replaces.
    async fn run(
        &self,
        place: &Stored<crate::engine::AppEnvRecord>,
        run: &RunRecord,
        replaced: Vec<&Stored<RunRecord>>,
        own: &Key,
    ) -> Result<()> {
        let mut record = self.stored.clone();
        record.value.settled = self.due;
        record.value.skipped = None;
        let mut changes = Changes::new();
        changes.update(&record)?;
        changes.create(run)?;
        // Nobody has taken the application offline or deleted it meanwhile.
        changes.expect(place.unchanged());
        for earlier in replaced.into_iter().filter(|earlier| !earlier.value.stopping) {
            let mut earlier = earlier.clone();
            earlier.value.stopping = true;
            earlier.value.failure = Some(format!("it was replaced by the run of {}", self.due));
            changes.update(&earlier)?;
        }
        let events: Vec<EventRecord> = (self.missed > 0)
            .then(|| events::runs_missed(self.context, &record.value.component, self.due, self.missed))
            .into_iter()
            .collect();
        self.context.commit(changes, &events, own).await
    }
}

/// Where the next run goes.
enum Choice {
    Here,
    There(ClusterName),
    Nowhere,
}

/// The first cluster that answered when it was asked last; this one, if none did.
fn choose(context: &Context, component: &ComponentKey, here: &ClusterName) -> Choice {
    let targets = context.cache.targets(&component.at.env_ref());
    let clusters = context.services.clusters();
    // One that is not open now may be able to.
    let able = |name: &ClusterName| clusters.get(name).is_none_or(|ports| ports.runtime.capabilities().runs);
    let able: Vec<ClusterName> =
        targets.into_iter().map(|target| target.cluster).filter(|name| able(name)).collect();
    let answers = |name: &&ClusterName| {
        clusters.contains_key(*name)
            && !context.services.outages().is_silent(name)
            && context.cache.tombstone(&component.at, name).is_none()
    };
    let first = able.iter().find(answers);
    match first.or_else(|| able.iter().find(|name| *name == here)).or(able.first()) {
        None => Choice::Nowhere,
        Some(chosen) if chosen == here => Choice::Here,
        Some(chosen) => Choice::There(chosen.clone()),
    }
}

fn is_of(run: &RunRecord, component: &ComponentKey) -> bool {
    run.is_of_schedule() && run.track.component == *component
}

/// The runs of a scheduled job.
fn runs<'a>(documents: &'a AppDocuments, component: &'a ComponentKey) -> impl Iterator<Item = &'a RunRecord> {
    documents.runs.values().map(|run| &run.value).filter(move |run| is_of(run, component))
}

/// By this, runs of a component follow each other.
fn age(run: &RunRecord) -> (Timestamp, &InstanceId) {
    (run.created_at, &run.id)
}

fn may_start(run: &RunRecord) -> bool {
    run.is_under_way() && run.started_at.is_none()
}

/// Whether a run that has ended is older than all that are kept of its component.
fn is_surplus(documents: &AppDocuments, run: &RunRecord) -> bool {
    let newer = runs(documents, &run.track.component)
        .filter(|other| !other.is_under_way() && age(other) > age(run))
        .count();
    !run.is_under_way() && run.is_of_schedule() && newer >= RUNS_KEPT
}

fn has_schedule(documents: &AppDocuments, run: &RunRecord) -> bool {
    run.is_of_schedule() && documents.schedules.contains_key(&run.track.component.component)
}

/// Whether a run that has ended is kept for as long as no later ones take its place.
pub(super) fn is_kept(documents: &AppDocuments, run: &RunRecord) -> bool {
    has_schedule(documents, run) && !run.is_under_way() && !is_surplus(documents, run)
}

/// Whether a run that has ended gives way to later ones at once.
pub(super) fn made_room(documents: &AppDocuments, run: &RunRecord) -> bool {
    has_schedule(documents, run) && is_surplus(documents, run)
}

/// Whether a run waits until earlier ones have ended, because its schedule lets no two be under way. Nothing is concluded from
/// what those are told: the feed may bring that after the run.
pub(super) fn must_wait(documents: &AppDocuments, run: &RunRecord) -> bool {
    let component = &run.track.component;
    let schedule = documents.schedules.get(&component.component);
    run.is_of_schedule()
        && schedule.is_some_and(|it| it.value.schedule.overlap != Overlap::Allow)
        && runs(documents, component).any(|other| other.is_under_way() && age(other) < age(run))
}

/// Whether a run of a scheduled job has been refused for longer than it may be late.
pub(super) fn is_too_late(documents: &AppDocuments, run: &RunRecord, now: Timestamp) -> bool {
    let schedule = documents.schedules.get(&run.track.component.component);
    let seconds = schedule.map_or(0, |it| it.value.schedule.starting_deadline_seconds);
    let until = run.created_at.saturating_add(SignedDuration::from_secs(seconds.into()));
    run.is_of_schedule() && until.is_ok_and(|until| now > until)
}
