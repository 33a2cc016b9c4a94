//! The lives of instances: pulled, started, ready, ended, started again.

mod pull;

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use super::{Ending, LINES, State, Tick, seconds};
use crate::memory::Image;
use crate::model::{RestartPolicy, Template};
use crate::port::{
    ExitStatus, ImagePull, InstanceFailure, InstanceId, InstanceObservation, InstancePhase, LogLine,
    LogStream, SetKey,
};

/// The first pause before an instance that ended is started again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// How long a process must have run for its next pause to be the first again.
const STEADY: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);

/// One instance.
#[derive(Debug)]
pub(in crate::memory) struct Instance {
    pub(in crate::memory) id: InstanceId,
    /// Its ordinal, in an ordered set.
    pub(super) ordinal: Option<u32>,
    /// An instance of another set has its ordinal.
    pub(super) waits: bool,
    pub(in crate::memory) phase: InstancePhase,
    pub(in crate::memory) node: u32,
    pub(in crate::memory) lines: VecDeque<LogLine>,
    pub(in crate::memory) previous: VecDeque<LogLine>,
    /// Which life of the instance it is: ticks of an earlier one no longer concern it.
    pub(super) life: u64,
    pub(super) ready_since: Option<Timestamp>,
    started_at: Option<Timestamp>,
    restarts: u32,
    /// Early ends in a row, for the pause.
    early_ends: u32,
    last_exit: Option<ExitStatus>,
    failure: Option<InstanceFailure>,
    pull: Option<ImagePull>,
}

/// What happens to an instance by itself.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stage {
    /// So many layers are here.
    Layers(usize),
    Pulled,
    Ready,
    Ends(Ending),
    Restart,
    Gone,
}

impl Instance {
    /// One that is about to pull its image.
    pub(super) fn new(id: InstanceId, ordinal: Option<u32>, node: u32) -> Self {
        Self {
            id,
            ordinal,
            waits: false,
            phase: InstancePhase::Pending,
            node,
            lines: VecDeque::new(),
            previous: VecDeque::new(),
            life: 0,
            ready_since: None,
            started_at: None,
            restarts: 0,
            early_ends: 0,
            last_exit: None,
            failure: None,
            pull: None,
        }
    }

    pub(in crate::memory) fn is_ready(&self) -> bool {
        self.phase == InstancePhase::Ready
    }

    /// Whether it counts towards the desired number.
    pub(super) fn counts(&self) -> bool {
        self.phase != InstancePhase::Draining
    }

    /// Whether a process of it runs.
    pub(in crate::memory) fn runs(&self) -> bool {
        use InstancePhase::{Draining, Ready, Starting, Unready};
        matches!(self.phase, Starting | Ready | Unready | Draining)
    }

    pub(super) fn observation(&self) -> InstanceObservation {
        InstanceObservation {
            id: self.id.clone(),
            ordinal: self.ordinal,
            phase: self.phase,
            ready_since: self.ready_since,
            started_at: self.started_at,
            restarts: self.restarts,
            last_exit: self.last_exit.clone(),
            failure: self.failure.clone(),
            pull: self.pull.filter(|_| self.phase == InstancePhase::Pending),
        }
    }

    fn last_lines(&self) -> Vec<String> {
        let skip = self.lines.len().saturating_sub(10);
        self.lines.iter().skip(skip).map(|line| line.text.clone()).collect()
    }
}

impl State {
    pub(super) fn instance_tick(&mut self, key: &SetKey, id: &InstanceId, life: u64, what: Stage) {
        match self.instance_mut(key, id) {
            Some((instance, _)) if instance.life == life => {}
            _ => return,
        }
        match what {
            Stage::Layers(layers) => self.layers_came(key, id, layers),
            Stage::Pulled => self.pulled(key, id),
            Stage::Ready => self.set_ready(key, id, true),
            Stage::Ends(ending) => self.end(key, id, ending),
            Stage::Restart => self.start(key, id),
            Stage::Gone => self.forget(key, id),
        }
    }

    fn pulled(&mut self, key: &SetKey, id: &InstanceId) {
        if self.image_of(key).is_some() {
            return self.start(key, id);
        }
        let Some((instance, template)) = self.instance_mut(key, id) else { return };
        let message = format!("image {} ({}) does not exist; push it", template.image, template.digest);
        let failure =
            InstanceFailure { reason: "image_not_found".to_owned(), message, last_lines: Vec::new() };
        instance.failure = Some(failure);
        instance.early_ends += 1;
        let (life, pause) = (instance.life, pause(instance.early_ends));
        self.instance_after(key, id, life, pause, Stage::Pulled);
        self.changed(&key.track);
    }

    fn start(&mut self, key: &SetKey, id: &InstanceId) {
        let image = self.image_of(key).unwrap_or_default();
        let now = self.now;
        let Some((instance, _)) = self.instance_mut(key, id) else { return };
        instance.life += 1;
        instance.phase = InstancePhase::Starting;
        if instance.started_at.replace(now).is_some() {
            instance.restarts += 1;
        }
        instance.previous = std::mem::take(&mut instance.lines);
        let life = instance.life;
        self.print(key, id, LogStream::Platform, "started");
        for line in image.lines() {
            self.print(key, id, LogStream::Stdout, line);
        }
        self.begin_life(key, id, life, &image);
        self.changed(&key.track);
    }

    fn begin_life(&mut self, key: &SetKey, id: &InstanceId, life: u64, image: &Image) {
        if let Some(ready_after) = image.ready_after() {
            self.instance_after(key, id, life, ready_after, Stage::Ready);
        }
        if let Some((after, ending)) = image.ends() {
            self.instance_after(key, id, life, *after, Stage::Ends(*ending));
        }
    }

    pub(super) fn set_ready(&mut self, key: &SetKey, id: &InstanceId, ready: bool) {
        use InstancePhase::{Ready, Starting, Unready};
        let now = self.now;
        let Some((instance, _)) = self.instance_mut(key, id) else { return };
        match (instance.phase, ready) {
            (Starting | Unready, true) => {
                instance.phase = Ready;
                instance.ready_since = Some(now);
                instance.failure = None;
            }
            (Ready, false) => {
                instance.phase = Unready;
                instance.ready_since = None;
                let message = "its readiness probe fails".to_owned();
                instance.failure =
                    Some(InstanceFailure { reason: "unhealthy".to_owned(), message, last_lines: Vec::new() });
            }
            _ => return,
        }
        self.changed(&key.track);
    }

    /// The process of an instance ended by itself.
    pub(super) fn end(&mut self, key: &SetKey, id: &InstanceId, ending: Ending) {
        let now = self.now;
        let (reason, text) = match ending {
            Ending::Exit(code) => ("crash_loop", format!("it exited with code {code}")),
            Ending::Signal(signal) => ("crash_loop", format!("it was ended by signal {signal}")),
            Ending::OutOfMemory => (
                "out_of_memory",
                "it was killed for using more memory than its limit; raise resources.memory".to_owned(),
            ),
        };
        let Some((instance, template)) = self.instance_mut(key, id) else { return };
        if !instance.runs() {
            return;
        }
        if instance.phase == InstancePhase::Draining {
            return self.forget(key, id);
        }
        instance.last_exit = Some(exit_status(ending, now));
        let steady = instance.started_at.is_some_and(|started| now.duration_since(started) >= STEADY);
        instance.early_ends = if steady { 1 } else { instance.early_ends + 1 };
        instance.ready_since = None;
        instance.life += 1;
        let again = match template.restart {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => ending != Ending::Exit(0),
            RestartPolicy::Never => false,
        };
        let pause = pause(instance.early_ends);
        let life = instance.life;
        let failed = again || ending != Ending::Exit(0);
        instance.phase = if again { InstancePhase::BackOff } else { InstancePhase::Exited };
        let message =
            if again { format!("{text}; it is started again in {}", seconds(pause)) } else { text.clone() };
        let reason = reason.to_owned();
        let last_lines = instance.last_lines();
        instance.failure = failed.then_some(InstanceFailure { reason, message, last_lines });
        self.print(key, id, LogStream::Platform, &text);
        if again {
            self.instance_after(key, id, life, pause, Stage::Restart);
        }
        self.changed(&key.track);
    }

    pub(super) fn print(&mut self, key: &SetKey, id: &InstanceId, stream: LogStream, text: &str) {
        let line = self.line(id, stream, text);
        if let Some((instance, _)) = self.instance_mut(key, id) {
            instance.lines.push_back(line.clone());
            if instance.lines.len() > LINES {
                instance.lines.pop_front();
            }
        }
        if let Some(followers) = self.logs.get(&key.track) {
            let _ = followers.send(line);
        }
    }

    /// The set that an instance belongs to.
    pub(in crate::memory) fn find_instance(&self, id: &InstanceId) -> Option<(&SetKey, &Instance)> {
        self.sets.iter().find_map(|(key, set)| {
            set.instances.iter().find(|instance| instance.id == *id).map(|instance| (key, instance))
        })
    }

    pub(super) fn instance_mut(
        &mut self,
        key: &SetKey,
        id: &InstanceId,
    ) -> Option<(&mut Instance, &Template)> {
        let set = self.sets.get_mut(key)?;
        let template = &set.template;
        set.instances.iter_mut().find(|instance| instance.id == *id).map(|instance| (instance, template))
    }

    pub(super) fn image_of(&self, key: &SetKey) -> Option<Image> {
        let template = &self.sets.get(key)?.template;
        if template.manifests.is_empty() {
            return self.images.behavior(&template.digest);
        }
        self.behavior_of(&template.manifests)
    }

    pub(super) fn instance_after(
        &mut self,
        set: &SetKey,
        id: &InstanceId,
        life: u64,
        after: Duration,
        what: Stage,
    ) {
        self.after(after, Tick::Instance { set: set.clone(), id: id.clone(), life, what });
    }
}

/// The pause after so many early ends in a row.
fn pause(early_ends: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << early_ends.saturating_sub(1).min(16));
    doubled.min(LONGEST_PAUSE)
}

pub(super) fn exit_status(ending: Ending, at: Timestamp) -> ExitStatus {
    let (code, signal) = match ending {
        Ending::Exit(code) => (Some(code), None),
        Ending::Signal(signal) => (None, Some(signal)),
        Ending::OutOfMemory => (None, Some(9)),
    };
    ExitStatus { code, signal, out_of_memory: ending == Ending::OutOfMemory, at }
}
