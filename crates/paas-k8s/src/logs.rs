//! The cluster as [`Logs`]: the API server's own, merged.
//!
//! Kubernetes does not tell the outputs of a container apart, so every line is one of the standard output. A reader that
//! is slow holds the connection back, so that it misses nothing but what the node has thrown away meanwhile.

mod follow;
mod source;

use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use paas_core::port::{BoxStream, InstanceId, LogLine, LogOptions, Logs};
use paas_core::{Error, ErrorKind, Result, TrackKey};

use crate::cluster::{KubernetesCluster, Shared};
use crate::runtime::{find_run, instances_of};

use source::{Position, history};

const OPERATION: &str = "read the lines of instances";
/// Between two looks at a run that has not started.
const PAUSE: Duration = Duration::from_millis(100);

#[async_trait]
impl Logs for KubernetesCluster {
    async fn logs(&self, track: &TrackKey, options: &LogOptions) -> Result<BoxStream<LogLine>> {
        // Events from before the list: an instance that comes meanwhile is told twice and never missed.
        let events = self.shared.events.runtime();
        let Meant { pods: names, run } = meant(&self.shared, track, options).await?;
        let namespace = self.shared.namespace(&track.component.at.env_ref());
        let opened = names.iter().map(|name| history(&self.shared, &namespace, name, options));
        let mut histories = Vec::new();
        for opened in futures::future::join_all(opened).await {
            histories.push(opened?);
        }
        if !options.follow || options.previous {
            return Ok(told_as(run, finish(merged(histories), options)));
        }
        // What is followed begins where the history ends, so the history is read to its end first.
        let mut lines = Vec::new();
        let mut positions = Vec::new();
        for (name, mut history) in names.into_iter().zip(histories) {
            let mut position = Position::default();
            while let Some(line) = history.next().await {
                let line = line?;
                position.pass(line.at);
                lines.push(line);
            }
            positions.push((name, position));
        }
        lines.sort_by_key(|line| line.at); // stable: lines of one instance keep their order
        let lines = tail(lines, options.tail);
        let lines = lines.into_iter().filter(|line| options.since.is_none_or(|since| line.at >= since));
        let history = stream::iter(lines.map(Ok).collect::<Vec<_>>());
        let live = follow::follow(&self.shared, track.clone(), options, positions, events);
        Ok(told_as(run, Box::pin(history.chain(live))))
    }
}

/// Whose lines are meant.
#[derive(Debug, Default)]
struct Meant {
    /// The names of the pods.
    pods: Vec<String>,
    /// The run whose pod it is, which is called otherwise.
    run: Option<InstanceId>,
}

async fn meant(shared: &Shared, track: &TrackKey, options: &LogOptions) -> Result<Meant> {
    let pods = instances_of(shared, OPERATION, track).await?;
    let names = pods.iter().filter_map(|pod| pod.metadata.name.clone());
    let Some(wanted) = &options.instance else { return Ok(Meant { pods: names.collect(), run: None }) };
    let pods: Vec<String> = names.filter(|name| *name == wanted.0).collect();
    if !pods.is_empty() {
        return Ok(Meant { pods, run: None });
    }
    let missing = || {
        Error::new(ErrorKind::NotFound, OPERATION)
            .with_context("track", track)
            .with_context("instance", wanted)
    };
    loop {
        let found = find_run(shared, OPERATION, wanted).await?.ok_or_else(missing)?;
        let labels = found.job.metadata.labels.unwrap_or_default();
        if shared.installation().track_of(&labels).as_ref() != Some(track) {
            return Err(missing());
        }
        let pods: Vec<String> = found.pod.and_then(|pod| pod.metadata.name).into_iter().collect();
        if !pods.is_empty() || !options.follow {
            return Ok(Meant { pods, run: Some(wanted.clone()) });
        }
        tokio::time::sleep(PAUSE).await; // it is about to start
    }
}

/// Lines of a run under its own name.
fn told_as(run: Option<InstanceId>, lines: BoxStream<LogLine>) -> BoxStream<LogLine> {
    let Some(run) = run else { return lines };
    Box::pin(lines.map(move |line| line.map(|line| LogLine { instance: run.clone(), ..line })))
}

/// The last lines of those that exist.
fn tail(mut lines: Vec<LogLine>, tail: Option<usize>) -> Vec<LogLine> {
    if let Some(tail) = tail {
        lines.drain(..lines.len().saturating_sub(tail));
    }
    lines
}

/// Streams of ordered lines as one, in the order of their times; holds one line of each.
fn merged(streams: Vec<BoxStream<LogLine>>) -> BoxStream<LogLine> {
    let heads: Vec<Option<LogLine>> = streams.iter().map(|_| None).collect();
    let begin = (streams.into_iter().map(Some).collect::<Vec<_>>(), heads);
    Box::pin(stream::unfold(begin, |(mut streams, mut heads)| async move {
        for (source, head) in streams.iter_mut().zip(&mut heads) {
            if head.is_some() {
                continue;
            }
            let Some(open) = source else { continue };
            match open.next().await {
                Some(Ok(line)) => *head = Some(line),
                Some(Err(error)) => return Some((Err(error), (Vec::new(), Vec::new()))),
                None => *source = None,
            }
        }
        let first = heads
            .iter()
            .enumerate()
            .filter_map(|(index, head)| head.as_ref().map(|line| (line.at, index)))
            .min()?;
        let line = heads[first.1].take()?;
        Some((Ok(line), (streams, heads)))
    }))
}

/// What of the lines that exist was asked for.
fn finish(lines: BoxStream<LogLine>, options: &LogOptions) -> BoxStream<LogLine> {
    let since = options.since;
    let lines = lines.filter(move |line| {
        let keep = line.as_ref().map_or(true, |line| since.is_none_or(|since| line.at >= since));
        std::future::ready(keep)
    });
    let Some(count) = options.tail else { return Box::pin(lines) };
    // Each instance gave its own last lines; of all together the last ones are known at the end.
    let last = async move {
        let mut last = std::collections::VecDeque::with_capacity(count.min(1024));
        let mut lines = std::pin::pin!(lines);
        while let Some(line) = lines.next().await {
            last.push_back(line);
            if last.len() > count {
                last.pop_front();
            }
        }
        stream::iter(last)
    };
    Box::pin(stream::once(last).flatten())
}
