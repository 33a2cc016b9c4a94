//! The lines of several containers in the order of their times.

use std::collections::VecDeque;

use futures::future::{BoxFuture, FutureExt as _, select_all};
use paas_core::port::{InstanceId, LogLine};

use super::lines::Joiner;
use crate::instances::Tail;
use crate::{Error, Result};

/// Reads several logs and merges what is there. Lines of one container never change their order.
#[derive(Debug, Default)]
pub(super) struct Merge {
    logs: Vec<Log>,
}

#[derive(Debug)]
struct Log {
    tail: Tail,
    joiner: Joiner,
    /// Lines that were read and not given yet.
    waiting: VecDeque<LogLine>,
    /// Whether there was nothing more to read.
    dry: bool,
    /// Whether everything was read, and nothing more will come.
    over: bool,
}

impl Log {
    /// Reads until a line waits, or there is nothing more for now.
    fn fill(&mut self) -> Result<()> {
        while self.waiting.is_empty() && !self.dry {
            // Asked before reading: what was written before the end is then read in any case.
            let complete = self.tail.is_complete();
            let batch = self.tail.batch().map_err(|error| Error::io("read the log of an instance", error))?;
            if batch.is_empty() {
                self.dry = true;
                if complete {
                    self.over = true;
                    self.waiting.extend(self.joiner.finish());
                }
            }
            self.waiting.extend(batch.into_iter().filter_map(|record| self.joiner.push(record)));
        }
        Ok(())
    }
}

impl Merge {
    pub(super) fn add(&mut self, instance: InstanceId, tail: Tail) {
        let joiner = Joiner::new(instance);
        self.logs.push(Log { tail, joiner, waiting: VecDeque::new(), dry: false, over: false });
    }

    /// The earliest of the lines that are there; nothing if all were given.
    pub(super) fn next(&mut self) -> Result<Option<LogLine>> {
        for log in &mut self.logs {
            log.fill()?;
        }
        let waiting = self.logs.iter_mut().filter(|log| !log.waiting.is_empty());
        let earliest = waiting.min_by_key(|log| log.waiting.front().map(|line| line.at));
        let line = earliest.and_then(|log| log.waiting.pop_front());
        if line.is_none() {
            self.logs.retain(|log| !log.over);
        }
        Ok(line)
    }

    /// Waits until there may be more.
    pub(super) async fn grown(&mut self) {
        let waits: Vec<BoxFuture<'_, ()>> = self
            .logs
            .iter_mut()
            .map(|log| {
                async {
                    log.tail.grown().await;
                    log.dry = false;
                }
                .boxed()
            })
            .collect();
        if waits.is_empty() {
            std::future::pending::<()>().await;
        } else {
            select_all(waits).await;
        }
    }
}
