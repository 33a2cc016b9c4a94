//! New lines, across restarts and with instances that come later.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use paas_core::port::{BoxStream, LogLine, LogOptions, RuntimeEvent};
use paas_core::{Result, TrackKey};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::OPERATION;
use super::source::{Position, live};
use crate::cluster::Shared;
use crate::error::is_missing;
use crate::runtime::instances_of;

/// How many lines wait for a slow reader; then the connections are held back.
const WAITING: usize = 1024;
/// Lines within this time are put into the order of their times.
const TOGETHER: Duration = Duration::from_millis(20);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The lines after those that were told, until the stream is dropped.
pub(super) fn follow(
    shared: &Arc<Shared>,
    track: TrackKey,
    options: &LogOptions,
    positions: Vec<(String, Position)>,
    events: BoxStream<RuntimeEvent>,
) -> BoxStream<LogLine> {
    let (lines, receiver) = mpsc::channel(WAITING);
    let followed = Followed {
        shared: Arc::downgrade(shared),
        namespace: shared.namespace(&track.component.at.env_ref()),
        track,
        only_these: options.instance.is_some(),
        positions: positions.into_iter().collect(),
        lines,
    };
    let task = tokio::spawn(followed.run(events));
    // Dropping the stream drops the receiver, which ends the task; the guard ends it at once.
    let guard = AbortOnDrop(task);
    let batches = stream::unfold((receiver, guard), |(mut receiver, guard)| async move {
        let mut batch: Vec<Result<LogLine>> = vec![receiver.recv().await?];
        tokio::time::sleep(TOGETHER).await;
        while let Ok(line) = receiver.try_recv() {
            batch.push(line);
        }
        batch.sort_by_key(|line| line.as_ref().ok().map(|line| line.at));
        Some((stream::iter(batch), (receiver, guard)))
    });
    Box::pin(batches.flatten())
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Followed {
    shared: Weak<Shared>,
    namespace: String,
    track: TrackKey,
    only_these: bool,
    positions: BTreeMap<String, Position>,
    lines: mpsc::Sender<Result<LogLine>>,
}

impl Followed {
    async fn run(mut self, mut events: BoxStream<RuntimeEvent>) {
        let mut readers = JoinSet::new();
        for (name, position) in self.positions.clone() {
            self.read(&mut readers, name, position);
        }
        loop {
            if !self.only_these && self.look(&mut readers).await.is_none() {
                return;
            }
            loop {
                match events.next().await {
                    Some(Ok(RuntimeEvent::Track(track))) if track == self.track && !self.only_these => break,
                    Some(Ok(_)) => {}
                    // Too many events: look again, and from now on at new ones.
                    Some(Err(_)) | None => {
                        let Some(shared) = self.shared.upgrade() else { return };
                        events = shared.events.runtime();
                        break;
                    }
                }
            }
        }
    }

    /// Reads from instances that were not known.
    async fn look(&mut self, readers: &mut JoinSet<()>) -> Option<()> {
        let shared = self.shared.upgrade()?;
        match instances_of(&shared, OPERATION, &self.track).await {
            Ok(pods) => {
                for name in pods.iter().filter_map(|pod| pod.metadata.name.clone()) {
                    if !self.positions.contains_key(&name) {
                        self.positions.insert(name.clone(), Position::default());
                        self.read(readers, name, Position::default());
                    }
                }
            }
            Err(error) => tracing::debug!(error = %error.report(), "cannot look for new instances"),
        }
        Some(())
    }

    fn read(&self, readers: &mut JoinSet<()>, name: String, position: Position) {
        let (shared, namespace, lines) = (self.shared.clone(), self.namespace.clone(), self.lines.clone());
        readers.spawn(read(shared, namespace, name, position, lines));
    }
}

/// Reads from an instance until it is gone.
async fn read(
    shared: Weak<Shared>,
    namespace: String,
    name: String,
    mut position: Position,
    lines: mpsc::Sender<Result<LogLine>>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(strong) = shared.upgrade() else { return };
        let opened = live(&strong, &namespace, &name, position).await;
        drop(strong);
        if let Ok(Some(mut opened)) = opened {
            while let Some(line) = opened.next().await {
                if let Ok(line) = &line {
                    if position.has_passed(line.at) {
                        continue;
                    }
                    position.pass(line.at);
                    pause = FIRST_PAUSE;
                }
                if lines.send(line).await.is_err() {
                    return;
                }
            }
        }
        let Some(strong) = shared.upgrade() else { return };
        let api: Api<Pod> = strong.api(&namespace);
        match api.get_metadata_opt(&name).await {
            Ok(None) => return,
            Err(error) if is_missing(&error) => return,
            Ok(Some(_)) | Err(_) => {}
        }
        drop(strong);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
