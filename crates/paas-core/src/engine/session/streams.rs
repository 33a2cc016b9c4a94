//! Answers that come in a stream: events, lines, commands.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Session;
use super::attendance::attended;
use crate::action::{AttachRun, ReadEvents, ReadLogs, UseExec};
use crate::engine::outages::is_outage;
use crate::engine::{Collections, EventRecord, Record as _, RunRecord, Services, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Environment;
use crate::name::{AppEnv, ComponentName, TrackKey};
use crate::port::{
    BoxStream, ClusterPorts, ExecOptions, ExecSession, ExecTarget, InstanceId, ListOptions, LogLine,
    LogOptions, Revision, Scope,
};

/// An event with the point in the stream where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventAt {
    /// The event.
    #[serde(flatten)]
    pub event: EventRecord,
    /// Pass it to go on after this event.
    pub revision: Revision,
}

impl Session {
    /// Follows the events of a scope: those after `from`, or new ones only. A reader that was away for longer than
    /// changes are kept gets the events that are still stored, then the new ones.
    ///
    /// # Errors
    /// Those of [`Session::perform`]; in the stream, [`ErrorKind::Lagged`] once to a reader that is too slow.
    pub async fn events_stream(&self, scope: Scope, from: Option<Revision>) -> Result<BoxStream<EventAt>> {
        self.perform(ReadEvents { scope: scope.clone() }).await?;
        let store = self.services.store();
        let from = match from {
            Some(from) => from.min(store.revision().await?),
            None => store.revision().await?,
        };
        let (missed, from) = match store.watch(from).await {
            Ok(changes) => return Ok(follow(changes, scope)),
            Err(error) if error.kind() == ErrorKind::Compacted => {
                stored_since(self.services.collections(), &scope, from).await?
            }
            Err(error) => return Err(error),
        };
        let changes = store.watch(from).await?;
        Ok(stream::iter(missed.into_iter().map(Ok)).chain(follow(changes, scope)).boxed())
    }

    /// What the instances of a component print, merged over its clusters. Without `follow` at most 10,000 lines of each
    /// cluster are read.
    ///
    /// # Errors
    /// Those of [`Session::perform`]; [`ErrorKind::Unsupported`] if no cluster keeps lines.
    pub async fn logs(
        &self,
        at: &AppEnv,
        component: &ComponentName,
        options: LogOptions,
    ) -> Result<BoxStream<LogLine>> {
        const LINES_MAX: usize = 10_000;
        self.perform(ReadLogs { at: at.clone(), component: component.clone() }).await?;
        let mut sources = Vec::new();
        let bounded = LogOptions { tail: Some(options.tail.unwrap_or(LINES_MAX).min(LINES_MAX)), ..options };
        let mut missing = None;
        for (track, ports) in tracks(&self.services, at, component).await? {
            let Some(logs) = &ports.logs else { continue };
            match within(&track, logs.logs(&track, &bounded)).await {
                Ok(lines) => sources.push(lines),
                // An instance is on one of the clusters only.
                Err(error) if error.kind() == ErrorKind::NotFound && bounded.instance.is_some() => {
                    missing = Some(error);
                }
                // What the other clusters print is worth more than nothing.
                Err(error) if is_outage(&error) => missing = Some(error),
                Err(error) => return Err(error),
            }
        }
        match (sources.len(), missing) {
            (0, Some(error)) => Err(error),
            (0, None) => Err(Error::new(ErrorKind::Unsupported, "read lines on the environment's clusters")
                .with_context("component", at.component(component.clone()))),
            (1, _) => Ok(sources.remove(0)),
            _ if bounded.follow => Ok(stream::select_all(sources).boxed()),
            _ => Ok(merged(sources, bounded.tail.unwrap_or(LINES_MAX)).await),
        }
    }

    /// Runs a command in an instance of a component; the first ready one if none is named.
    ///
    /// # Errors
    /// Those of [`Session::perform`] and of [`Exec`](crate::port::Exec).
    pub async fn exec(
        &self,
        at: &AppEnv,
        component: &ComponentName,
        instance: Option<InstanceId>,
        options: ExecOptions,
    ) -> Result<ExecSession> {
        self.perform(UseExec {
            at: at.clone(),
            component: component.clone(),
            command: options.command.clone(),
        })
        .await?;
        let mut last = None;
        for (track, ports) in tracks(&self.services, at, component).await? {
            let Some(exec) = &ports.exec else { continue };
            let target = ExecTarget::Instance(track.clone(), instance.clone());
            match within(&track, exec.exec(&target, &options)).await {
                // Another cluster may have an instance.
                Err(error) if error.kind() == ErrorKind::NotFound || is_outage(&error) => last = Some(error),
                other => return other,
            }
        }
        Err(last.unwrap_or_else(|| unsupported(at, component)))
    }

    /// Attaches to a one-off command. One that was only just asked for is waited for.
    ///
    /// One with input or a terminal ends when the session is dropped; any other goes on.
    ///
    /// # Errors
    /// Those of [`Session::perform`] and of [`Exec`](crate::port::Exec); [`ErrorKind::Conflict`] if somebody was attached
    /// to one with input or a terminal before.
    pub async fn attach(&self, at: &AppEnv, id: &InstanceId, options: ExecOptions) -> Result<ExecSession> {
        let run = self.perform(AttachRun { at: at.clone(), id: id.clone() }).await?;
        let exec = self.services.clusters().get(&run.track.cluster).and_then(|ports| ports.exec.clone());
        let exec = exec.ok_or_else(|| unsupported(at, &run.track.component.component))?;
        let until = tokio::time::Instant::now() + PATIENCE;
        let session = loop {
            match exec.exec(&ExecTarget::Run(id.clone()), &options).await {
                // It is started by a reconciler, soon.
                Err(error)
                    if error.kind() == ErrorKind::NotFound
                        && run.ended_at.is_none()
                        && tokio::time::Instant::now() < until =>
                {
                    tokio::time::sleep(PAUSE).await;
                }
                other => break other?,
            }
        };
        if !run.input.is_interactive() {
            return Ok(session);
        }
        Ok(attended(Arc::clone(&self.services), RunRecord::key_of(at, id), session))
    }
}

/// How long a cluster may take to begin to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether a run was started.
const PAUSE: Duration = Duration::from_millis(25);

async fn within<T>(track: &TrackKey, call: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(PATIENCE, call).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Timeout, "reach a cluster")
            .with_context("cluster", &track.cluster)
            .with_context("seconds", PATIENCE.as_secs()))
    })
}

fn unsupported(at: &AppEnv, component: &ComponentName) -> Error {
    Error::new(ErrorKind::Unsupported, "run a command on the environment's clusters")
        .with_context("component", at.component(component.clone()))
}

/// The tracks of a component with the ports of their clusters.
async fn tracks(
    services: &Services,
    at: &AppEnv,
    component: &ComponentName,
) -> Result<Vec<(TrackKey, ClusterPorts)>> {
    let env = services.collections().get::<Environment>(&Environment::key_of(&at.env_ref())).await?;
    let env = env.ok_or_else(|| Error::not_found("environment", at.env_ref()))?;
    let key = at.component(component.clone());
    let clusters = services.clusters();
    let tracks = env.value.targets.into_iter().filter_map(|target| {
        let ports = clusters.get(&target.cluster)?.clone();
        Some((key.on(target.cluster), ports))
    });
    Ok(tracks.collect())
}

fn follow(changes: crate::port::ChangeStream, scope: Scope) -> BoxStream<EventAt> {
    changes
        .filter_map(move |change| {
            let event = match change {
                Err(error) => Some(Err(error)),
                Ok(change) if change.key.kind == EventRecord::KIND => {
                    change.document.filter(|document| document.created == document.modified).map(|document| {
                        Stored::<EventRecord>::decode(document)
                            .map(|event| EventAt { event: event.value, revision: change.revision })
                    })
                }
                Ok(_) => None,
            };
            let wanted = match event {
                Some(Ok(event)) if !scope.contains(&event.event.scope) => None,
                other => other,
            };
            futures::future::ready(wanted)
        })
        .boxed()
}

/// The stored events of a scope after `from`, in order, and the revision up to which they are complete.
async fn stored_since(
    collections: &Collections,
    scope: &Scope,
    from: Revision,
) -> Result<(Vec<EventAt>, Revision)> {
    let upto = collections.store().revision().await?;
    // Those of an organisation are below it and below its applications.
    let parent = EventRecord::parent_of(scope);
    let options = match scope {
        Scope::AppEnv(_) => ListOptions { parent: Some(parent), ..ListOptions::default() },
        _ => ListOptions { parent_prefix: Some(parent), ..ListOptions::default() },
    };
    let mut events: Vec<EventAt> = collections
        .all::<EventRecord>(options)
        .await?
        .into_iter()
        .filter(|event| event.created > from && event.created <= upto && scope.contains(&event.value.scope))
        .map(|event| EventAt { event: event.value, revision: event.created })
        .collect();
    events.sort_by(|a, b| a.revision.cmp(&b.revision).then_with(|| a.event.id.cmp(&b.event.id)));
    Ok((events, upto))
}

/// Lines that end, in the order of their times, the last `tail` of them.
async fn merged(sources: Vec<BoxStream<LogLine>>, tail: usize) -> BoxStream<LogLine> {
    let mut queues = Vec::with_capacity(sources.len());
    for source in sources {
        queues.push(source.collect::<VecDeque<Result<LogLine>>>().await);
    }
    let total: usize = queues.iter().map(VecDeque::len).sum();
    Merge { queues }.skip(total.saturating_sub(tail)).boxed()
}

/// Takes the earliest line of several queues. Lines of one queue never change their order.
struct Merge {
    queues: Vec<VecDeque<Result<LogLine>>>,
}

impl Stream for Merge {
    type Item = Result<LogLine>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let earliest = self.queues.iter_mut().filter(|queue| !queue.is_empty()).min_by(|a, b| {
            match (a.front(), b.front()) {
                (Some(Ok(a)), Some(Ok(b))) => a.at.cmp(&b.at),
                _ => Ordering::Equal,
            }
        });
        Poll::Ready(earliest.and_then(VecDeque::pop_front))
    }
}
