//! The keeper of one instance: starts its container, asks how it is, starts another one when it ends, and takes it out of
//! service in order.

use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use jiff::Timestamp;
use paas_core::model::{RestartPolicy, Template};
use paas_core::port::{ExitStatus, InstanceFailure, InstanceId, InstancePhase, RuntimeEvent, SetKey};
use tokio::sync::{mpsc, watch};

use super::Shared;
use super::container::{Found, container_id, ready_file};
use super::error::{failure, image_failure, start_failure};
use super::exec::Prober;
use super::gateway::Endpoint;
use super::set::Member;
use super::{health, render};
use crate::{Exit, Instance, LogOptions};

/// The pause before the second start; each later one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// An instance that ran for so long has not failed early.
const STABLE: Duration = Duration::from_secs(10);
/// How many of the last lines explain an end.
const LAST_LINES: usize = 10;

/// A name for a new instance: its component's, and random digits.
pub(super) fn new_id(key: &SetKey) -> InstanceId {
    let number = uuid::Uuid::new_v4().as_u128() & 0xffff_ffff;
    InstanceId(format!("{}-{number:08x}", key.track.component.component))
}

/// The keeper of one instance.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    key: SetKey,
    id: InstanceId,
    /// Its ordinal, in an ordered set.
    ordinal: Option<u32>,
    template: Arc<Template>,
    going: watch::Receiver<bool>,
    /// Ends in a row that came early.
    early: u32,
}

/// Waits until an instance shall go. A sender that is gone went with the set.
async fn told_to_go(going: &mut watch::Receiver<bool>) {
    let _ = going.wait_for(|going| *going).await;
}

/// Why a container is no longer served.
enum End {
    Exited(Exit),
    Unhealthy(InstanceFailure),
    Going,
    Closing,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, key: SetKey, member: &Member, template: Arc<Template>) -> Self {
        let (id, ordinal) = (member.seen.id.clone(), member.seen.ordinal);
        Self { shared, key, id, ordinal, template, going: member.going.subscribe(), early: 0 }
    }

    /// Keeps the instance until it goes or the machine is closed.
    pub(super) async fn run(mut self, found: Option<Found>) {
        let mut number = found.as_ref().map_or(0, |found| found.containers.restarts);
        let was_ready = found.as_ref().is_some_and(Found::was_ready);
        let mut found = found.map(|found| found.state);
        loop {
            let begun = Moment::now();
            let end = match found.take() {
                Some(crate::Found::Running(container)) => self.serve(&container, was_ready).await,
                Some(crate::Found::Ended(exit)) => End::Exited(exit),
                None if *self.going.borrow() => End::Going,
                None => match self.start(number).await {
                    Ok(crate::Found::Running(container)) => self.serve(&container, false).await,
                    Ok(crate::Found::Ended(exit)) => End::Exited(exit),
                    // Told to go, or closed, before there was a container.
                    Err(None) => break,
                    Err(Some(failure)) => {
                        self.early += 1;
                        if !self.wait_for_next_start(failure).await {
                            break;
                        }
                        continue;
                    }
                },
            };
            let (exit, why) = match end {
                End::Closing => return,
                End::Going => break,
                End::Exited(exit) => (exit, None),
                End::Unhealthy(why) => match self.kill(number).await {
                    Some(exit) => (exit, Some(why)),
                    None => break,
                },
            };
            self.early = if begun.elapsed() < STABLE { self.early + 1 } else { 1 };
            let failure = self.ended(number, &exit, why).await;
            if self.stays_ended(&exit) {
                tokio::select! {
                    () = told_to_go(&mut self.going) => break,
                    () = self.shared.closing.cancelled() => return,
                }
            }
            if !self.wait_for_next_start(failure).await {
                break;
            }
            number += 1;
        }
        if !self.shared.closing.is_cancelled() {
            self.leave(number).await;
        }
    }

    /// Waits until no other instance of the track has its ordinal.
    async fn wait_for_ordinal(&self) {
        let Some(ordinal) = self.ordinal else { return };
        let mut events = self.shared.events.subscribe();
        while self.shared.sets().is_held(&self.key.track, &self.id, ordinal) {
            // Whatever happens to the track is told; a listener that fell behind looks again.
            let _ = events.recv().await;
        }
    }

    /// Starts a container; or tells why not, or nothing if it shall not be started any more.
    async fn start(&mut self, number: u32) -> Result<crate::Found, Option<InstanceFailure>> {
        self.show(|member| member.enter(InstancePhase::Pending, member.seen.failure.clone()));
        let shared = self.shared.clone();
        let mut going = self.going.clone();
        let prepared = async {
            self.wait_for_ordinal().await;
            let tell = |pull| self.show(|member| member.pulls(Some(pull)));
            let fetched = shared.images.fetch(&self.template, tell).await;
            self.show(|member| member.pulls(None));
            let image = fetched.map_err(|error| image_failure(&error))?;
            let container = container_id(&self.id, number).map_err(|error| start_failure(&error))?;
            let own = (&self.id, self.ordinal);
            let rendered = render::instance(&shared, &self.key.track, own, container, &self.template, &image);
            let rendered = rendered.await.map_err(|error| failure("start_failed", error.report()))?;
            Ok((rendered, shared.starts.acquire().await))
        };
        // All this may take long, and leaves nothing behind; what follows is short, and is not interrupted.
        let ((spec, secrets), turn) = tokio::select! {
            prepared = prepared => prepared.map_err(Some)?,
            () = told_to_go(&mut going) => return Err(None),
            () = shared.closing.cancelled() => return Err(None),
        };
        let calls = render::callers(&spec, &self.template.calls);
        let work = async {
            // What a start left that was interrupted.
            shared.instances.remove(&spec.id).await?;
            shared.launch(&spec, secrets).await
        };
        let found = work.await.map_err(|error| Some(start_failure(&error)))?;
        drop(turn);
        let endpoint = Endpoint {
            component: self.key.track.component.clone(),
            revision: self.key.revision.clone(),
            socket: shared.instances.socket(&spec.id),
            ready: false,
            draining: false,
            calls,
        };
        shared.gateway.change(|desired| {
            desired.endpoints.insert(spec.id.as_str().to_owned(), endpoint);
        });
        self.show(|member| {
            member.container = match &found {
                crate::Found::Running(container) => Some(container.clone()),
                crate::Found::Ended(_) => None,
            };
            member.seen.started_at = Some(Timestamp::now());
            member.seen.restarts = number;
            // Why it ended the last time is told until it is ready.
            member.enter(InstancePhase::Starting, member.seen.failure.clone());
        });
        Ok(found)
    }

    /// Lets a container serve until it ends, must end, or shall go.
    async fn serve(&mut self, container: &Instance, was_ready: bool) -> End {
        if *self.going.borrow() {
            return End::Going;
        }
        let mut going = self.going.clone();
        let (tell, mut told) = mpsc::channel(8);
        let (shared, template) = (self.shared.clone(), self.template.clone());
        let prober = Prober::new(&shared, &self.key.track.component.at, &template.env);
        let subject = health::Subject { container, template: &template, prober };
        let health = health::watch(&subject, was_ready, tell);
        tokio::pin!(health);
        loop {
            tokio::select! {
                exit = container.wait() => return End::Exited(exit),
                why = &mut health => return End::Unhealthy(why),
                () = told_to_go(&mut going) => return End::Going,
                () = self.shared.closing.cancelled() => return End::Closing,
                Some(health) = told.recv() => self.set_health(container, health).await,
            }
        }
    }

    /// The gateway is told first, so that an instance that is shown as ready is served.
    async fn set_health(&self, container: &Instance, health: health::Health) {
        let ready = health == health::Health::Ready;
        if let Some(change) = self.shared.gateway.set_ready(container.id().as_str(), ready)
            && let Err(error) = self.shared.gateway.in_force(change).await
        {
            tracing::warn!(instance = %self.id, "{}", error.report());
        }
        self.show(|member| match health {
            health::Health::Ready => member.enter(InstancePhase::Ready, None),
            health::Health::Starting(why) => {
                // Why it ended the last time says more than that it is not there yet.
                let ended = member.seen.failure.clone().filter(|failure| failure.reason != "not_ready");
                member.enter(InstancePhase::Starting, ended.or(Some(why)));
            }
            health::Health::Unready(why) => member.enter(InstancePhase::Unready, Some(why)),
        });
        self.note_ready(container.id());
    }

    /// Notes whether it is ready for whoever opens the machine while it runs. Without the note it is asked first.
    fn note_ready(&self, container: &crate::InstanceId) {
        let ready_since = {
            let mut sets = self.shared.sets();
            let member = sets.sets.get_mut(&self.key).and_then(|set| set.member(&self.id));
            member.and_then(|member| member.seen.ready_since)
        };
        let file = ready_file(&self.shared, container);
        let noted = match ready_since {
            Some(since) => std::fs::write(&file, since.to_string()),
            None => match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        };
        if let Err(error) = noted {
            tracing::debug!(instance = %self.id, "{}: {error}", file.display());
        }
    }

    /// Kills a container that is not well. Nothing if it cannot be reached.
    async fn kill(&self, number: u32) -> Option<Exit> {
        let container = container_id(&self.id, number).ok()?;
        match self.shared.instances.attach(&container).await {
            Ok(crate::Found::Running(container)) => container.kill().await.ok(),
            Ok(crate::Found::Ended(exit)) => Some(exit),
            Err(_) => None,
        }
    }

    /// Notes how a container ended, and says why in words.
    async fn ended(&self, number: u32, exit: &Exit, why: Option<InstanceFailure>) -> InstanceFailure {
        self.forget_endpoint(number);
        let last_lines = self.last_lines(number).await;
        let mut told = why.unwrap_or_else(|| {
            if exit.out_of_memory {
                let limit =
                    self.template.resources.memory.map_or_else(String::new, |limit| format!(" of {limit}"));
                failure("out_of_memory", format!("it used more memory than its limit{limit} and was killed"))
            } else if exit.lost {
                failure("lost", "how it ended is not known: its supervisor or the machine went down")
            } else {
                failure("crash_loop", format!("it {exit}"))
            }
        });
        told.last_lines = last_lines;
        let status = ExitStatus {
            code: exit.code,
            signal: exit.signal,
            out_of_memory: exit.out_of_memory,
            at: exit.at,
        };
        // All at once, so that nobody sees an end without its reason.
        self.show(|member| {
            member.container = None;
            member.previous = container_id(&self.id, number).ok();
            member.seen.last_exit = Some(status);
            if self.stays_ended(exit) {
                member.enter(InstancePhase::Exited, (!exit.is_success()).then(|| told.clone()));
            } else {
                member.enter(InstancePhase::BackOff, Some(told.clone()));
            }
        });
        self.keep_the_last_output(number).await;
        told
    }

    /// Of the containers that have ended only the last one is kept, and of that only what it said.
    async fn keep_the_last_output(&self, number: u32) {
        let instances = &self.shared.instances;
        let id = |number| container_id(&self.id, number).ok();
        if let Some(old) = number.checked_sub(1).and_then(id)
            && let Err(error) = instances.remove(&old).await
        {
            // It goes with the instance, or when the machine is opened again.
            tracing::warn!(instance = %self.id, "{}", error.chain());
        }
        if let Some(last) = id(number)
            && let Err(error) = instances.remove_files(&last).await
        {
            tracing::warn!(instance = %self.id, "{}", error.chain());
        }
    }

    /// Whether the restart policy leaves it at this end.
    fn stays_ended(&self, exit: &Exit) -> bool {
        match self.template.restart {
            RestartPolicy::Never => true,
            RestartPolicy::OnFailure => exit.is_success(),
            _ => false,
        }
    }

    /// Pauses before the next start; false if the instance shall go or the machine is closed.
    async fn wait_for_next_start(&mut self, mut failure: InstanceFailure) -> bool {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.early.saturating_sub(1).min(16));
        let pause = doubled.min(LONGEST_PAUSE);
        if self.early > 1 {
            failure.message = format!("{}; {} starts failed in a row", failure.message, self.early);
        }
        self.show(|member| member.enter(InstancePhase::BackOff, Some(failure)));
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = told_to_go(&mut self.going) => false,
            () = self.shared.closing.cancelled() => false,
        }
    }

    /// Takes the instance away: out of service, drained, stopped, forgotten.
    async fn leave(&self, number: u32) {
        let container = container_id(&self.id, number).ok();
        if let Some(container) = &container
            && let Ok(crate::Found::Running(running)) = self.shared.instances.attach(container).await
        {
            self.show(|member| member.seen.phase = InstancePhase::Draining);
            tokio::select! {
                () = self.drain(&running) => {}
                _ = running.wait() => {}
                () = self.shared.closing.cancelled() => return,
            }
            let grace = Duration::from_secs(self.template.termination.grace_seconds.into());
            let stopped = tokio::select! {
                stopped = running.stop(grace) => stopped,
                () = self.shared.closing.cancelled() => return,
            };
            if let Err(error) = stopped {
                tracing::warn!(instance = %self.id, "the instance did not stop in order: {}", error.chain());
            }
        }
        self.forget_endpoint(number);
        for old in [number.checked_sub(1), Some(number)].into_iter().flatten() {
            let Ok(container) = container_id(&self.id, old) else { continue };
            while let Err(error) = self.shared.instances.remove(&container).await {
                tracing::warn!(instance = %self.id, "what is left of the instance stays for now: {}", error.chain());
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(5)) => {}
                    () = self.shared.closing.cancelled() => return,
                }
            }
        }
        self.forget();
    }

    /// Nothing new for the container, and time for what is under way.
    async fn drain(&self, container: &Instance) {
        let name = container.id().as_str();
        let change = self.shared.gateway.change(|desired| {
            if let Some(endpoint) = desired.endpoints.get_mut(name) {
                endpoint.draining = true;
            }
        });
        if !self.template.kind.serves() {
            return;
        }
        let until = Moment::now() + Duration::from_secs(self.template.termination.drain_seconds.into());
        // A gateway that is away comes back within moments; what it held open is gone then.
        while let Err(error) = self.shared.gateway.in_force(change).await {
            tracing::warn!(instance = %self.id, "{}", error.report());
            if Moment::now() > until || self.shared.closing.is_cancelled() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let ids = [paas_gateway::config::InstanceId::new(name)];
        let control = self.shared.gateway.control();
        loop {
            let left = until.saturating_duration_since(Moment::now());
            // A call has an end, so that a long drain is several calls.
            match control.wait_drained(&ids, left.min(Duration::from_secs(20))).await {
                Ok(users) if users.is_empty() => return,
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(instance = %self.id, "{}", error.chain());
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
            if left.is_zero() {
                return;
            }
        }
    }

    fn forget_endpoint(&self, number: u32) {
        let Ok(container) = container_id(&self.id, number) else { return };
        self.shared.gateway.change(|desired| {
            desired.endpoints.remove(container.as_str());
        });
    }

    /// Removes the instance from its set, and the set with its last instance.
    fn forget(&self) {
        let mut sets = self.shared.sets();
        let Some(set) = sets.sets.get_mut(&self.key) else { return };
        set.members.retain(|member| member.seen.id != self.id);
        set.document = set.record();
        let last = set.document.removed && set.members.is_empty();
        let outcome = if last {
            self.shared.documents.remove_set(&set.document)
        } else {
            self.shared.documents.put_set(&set.document)
        };
        if let Err(error) = outcome {
            // The next opening of the machine finds an instance without a container, and forgets it then.
            tracing::warn!(instance = %self.id, "{}", error.report());
        }
        if last {
            sets.sets.remove(&self.key);
        }
        drop(sets);
        self.shared.tell(RuntimeEvent::Track(self.key.track.clone()));
    }

    async fn last_lines(&self, number: u32) -> Vec<String> {
        let Ok(container) = container_id(&self.id, number) else { return Vec::new() };
        let Ok(mut stream) = self.shared.instances.logs(&container, LogOptions::tail(LAST_LINES)) else {
            return Vec::new();
        };
        let mut lines = Vec::new();
        while let Some(Ok(record)) = stream.next_record().await {
            lines.push(record.text);
        }
        lines
    }

    /// Changes what is seen of the instance, and tells if it is different then.
    fn show(&self, change: impl FnOnce(&mut Member)) {
        let changed = {
            let mut sets = self.shared.sets();
            let Some(member) = sets.sets.get_mut(&self.key).and_then(|set| set.member(&self.id)) else {
                return;
            };
            let before = member.seen.clone();
            change(member);
            member.seen != before
        };
        if changed {
            self.shared.tell(RuntimeEvent::Track(self.key.track.clone()));
        }
    }
}
