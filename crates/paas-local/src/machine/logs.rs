//! The machine as [`Logs`].
//!
//! The lines of a track are those of the containers that its instances and runs have now, or had before the last restart.
//! One task reads them all from the disk and merges them, as fast as its reader takes them. Who is slower than the log
//! turns over misses lines: the files count them.

mod lines;
mod merge;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use paas_core::port::{BoxStream, InstanceId, LogLine, LogOptions, Logs, RuntimeEvent};
use paas_core::{Error, ErrorKind, Result, TrackKey};
use tokio::sync::{broadcast, mpsc};

use super::container::container_id;
use super::{LocalMachine, Shared};
use merge::Merge;

/// Lines that wait for the reader.
const LINES: usize = 256;

#[async_trait]
impl Logs for LocalMachine {
    async fn logs(&self, track: &TrackKey, options: &LogOptions) -> Result<BoxStream<LogLine>> {
        // First the ear, then the look: what comes in between is heard.
        let events = options.follow.then(|| self.shared.events.subscribe());
        let mut reading = Reading {
            shared: self.shared.clone(),
            track: track.clone(),
            options: options.clone(),
            known: BTreeSet::new(),
            merge: Merge::default(),
        };
        reading.find(options.previous)?;
        // Here, so that a line printed after this call returned is never one that the last ones displace.
        let last = match options.tail {
            Some(count) => reading.last(count).await?,
            None => VecDeque::new(),
        };
        let (send, lines) = mpsc::channel(LINES);
        tokio::spawn(async move {
            let closed = send.clone();
            let outcome = tokio::select! {
                outcome = reading.run(last, events, &send) => outcome,
                () = closed.closed() => Ok(()),
            };
            if let Err(error) = outcome {
                // Nobody has to listen.
                let _ = send.send(Err(error)).await;
            }
        });
        Ok(Box::pin(futures::stream::unfold(lines, |mut lines| async move {
            lines.recv().await.map(|line| (line, lines))
        })))
    }
}

/// One reading of a track's lines.
struct Reading {
    shared: Arc<Shared>,
    track: TrackKey,
    options: LogOptions,
    /// The containers whose lines are read, or were.
    known: BTreeSet<crate::InstanceId>,
    merge: Merge,
}

type Lines = mpsc::Sender<Result<LogLine>>;

impl Reading {
    /// Opens the logs of containers that are not known yet.
    fn find(&mut self, previous: bool) -> Result<()> {
        let wanted = self.options.instance.as_ref();
        let found = self.shared.containers_of(&self.track, wanted, previous);
        let found = found.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "read the lines of an instance")
                .with_context("track", &self.track)
                .with_context("instance", wanted.map_or("", |id| id.0.as_str()))
        })?;
        for (instance, container) in found {
            if self.known.insert(container.clone()) {
                self.merge.add(instance, self.shared.instances.log(&container, self.options.follow)?);
            }
        }
        Ok(())
    }

    async fn run(
        mut self,
        last: VecDeque<LogLine>,
        events: Option<broadcast::Receiver<RuntimeEvent>>,
        lines: &Lines,
    ) -> Result<()> {
        for line in last {
            if lines.send(Ok(line)).await.is_err() {
                return Ok(());
            }
        }
        let Some(mut events) = events else { return self.pass_on(lines).await.map(|_| ()) };
        if self.options.previous {
            self.find(false)?;
        }
        let closing = self.shared.closing.clone();
        loop {
            if !self.pass_on(lines).await? {
                return Ok(());
            }
            tokio::select! {
                () = self.merge.grown() => {}
                event = events.recv() => if self.concerns(event) {
                    match self.find(false) {
                        // It has gone, and its lines with it; another one of its name will not come.
                        Err(error) if error.kind() == ErrorKind::NotFound => {}
                        other => other?,
                    }
                },
                () = closing.cancelled() => return Err(Error::new(ErrorKind::Unavailable, "follow lines")
                    .with_context("track", &self.track)
                    .with_remedy("The machine was closed: open it again.")),
            }
        }
    }

    /// Passes on what is there; `false` if nobody takes it any more.
    async fn pass_on(&mut self, lines: &Lines) -> Result<bool> {
        while let Some(line) = self.next().await? {
            if lines.send(Ok(line)).await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The last ones of the lines that are there.
    async fn last(&mut self, count: usize) -> Result<VecDeque<LogLine>> {
        let mut last = VecDeque::new();
        while let Some(line) = self.next().await? {
            last.push_back(line);
            if last.len() > count {
                last.pop_front();
            }
        }
        Ok(last)
    }

    /// The next line that is wanted of those that are there.
    async fn next(&mut self) -> Result<Option<LogLine>> {
        loop {
            // Reading from the disk does not wait, so that others get their turn here.
            tokio::task::consume_budget().await;
            match self.merge.next()? {
                Some(line) if self.options.since.is_some_and(|since| line.at < since) => {}
                other => return Ok(other),
            }
        }
    }

    fn concerns(&self, event: Result<RuntimeEvent, broadcast::error::RecvError>) -> bool {
        match event {
            Ok(RuntimeEvent::Track(track)) => track == self.track,
            // Which track a run belongs to is looked up; so is what was missed.
            _ => true,
        }
    }
}

impl Shared {
    /// The containers that the instances and runs of a track have, or had before the last restart. An instance that waits
    /// for its next start has the one that ended, in either case. `None` if the wanted instance is unknown.
    fn containers_of(
        &self,
        track: &TrackKey,
        wanted: Option<&InstanceId>,
        previous: bool,
    ) -> Option<Vec<(InstanceId, crate::InstanceId)>> {
        let sets = self.sets();
        let is_wanted = |id: &InstanceId| wanted.is_none_or(|wanted| wanted == id);
        let mut known = wanted.is_none();
        let mut found = Vec::new();
        let of_track = sets.sets.iter().filter(|(key, _)| key.track == *track).map(|(_, set)| set);
        for member in of_track.flat_map(|set| &set.members).filter(|member| is_wanted(&member.seen.id)) {
            known = true;
            let container = match &member.container {
                Some(container) if !previous => Some(container.id().clone()),
                _ => member.previous.clone(),
            };
            found.extend(container.map(|container| (member.seen.id.clone(), container)));
        }
        let of_track = sets.runs.iter().filter(|(_, run)| run.document.spec.track == *track);
        for (id, run) in of_track.filter(|(id, _)| is_wanted(id)) {
            known = true;
            if !previous && run.was_started() {
                found.extend(container_id(id, 0).ok().map(|container| (id.clone(), container)));
            }
        }
        known.then_some(found)
    }
}
