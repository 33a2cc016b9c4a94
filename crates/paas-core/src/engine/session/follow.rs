//! Following a release to its end.

use std::time::Duration;

use futures::StreamExt as _;
use futures::channel::mpsc;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Session;
use crate::action::{GetRelease, Status};
use crate::engine::{AppStatus, RolloutRecord};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{ReleaseNumber, ReleaseState};
use crate::name::AppEnv;
use crate::port::BoxStream;

/// The shortest time between two looks at a release that is followed.
const PACE: Duration = Duration::from_millis(50);

/// The longest time between two looks: instances change without a change of any document.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How a release ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It is, or was, the current release.
    Succeeded,
    /// It did not become the current release.
    Aborted {
        /// Why.
        reason: String,
    },
}

/// How far a release is, as it is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Progress {
    /// The application changed.
    Status(Box<AppStatus>),
    /// The release ended; the last item.
    Ended {
        /// How.
        outcome: Outcome,
    },
}

impl Session {
    /// Waits until a release has ended.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] if it has not within `timeout`, and those of [`Session::perform`].
    pub async fn wait_released(
        &self,
        at: &AppEnv,
        number: ReleaseNumber,
        timeout: Duration,
    ) -> Result<Outcome> {
        let waited = tokio::time::timeout(timeout, async {
            let mut changes = self.changes(at).await?;
            loop {
                if let Some(outcome) = self.outcome(at, number).await? {
                    return Ok(outcome);
                }
                changes.next(HEARTBEAT).await?;
            }
        });
        waited.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, "wait for the end of a release")
                .with_context("application", at)
                .with_context("release", number)
                .with_context("seconds", timeout.as_secs_f32()))
        })
    }

    /// Follows a release: the application's status whenever it changed, then how the release ended.
    ///
    /// # Errors
    /// Those of [`Session::perform`].
    pub async fn follow_release(&self, at: &AppEnv, number: ReleaseNumber) -> Result<BoxStream<Progress>> {
        self.outcome(at, number).await?;
        let (mut sender, receiver) = mpsc::channel(1);
        let (session, at) = (self.clone(), at.clone());
        tokio::spawn(async move {
            use futures::SinkExt as _;
            let followed = async {
                let mut changes = session.changes(&at).await?;
                let mut last = None;
                loop {
                    // The outcome is read first: a status read after it is not older.
                    let outcome = session.outcome(&at, number).await?;
                    let status = session.perform(Status { at: at.clone() }).await?;
                    if last.as_ref().is_none_or(|last| !same(last, &status)) {
                        last = Some(status.clone());
                        if sender.send(Ok(Progress::Status(Box::new(status)))).await.is_err() {
                            return Ok(());
                        }
                    }
                    if let Some(outcome) = outcome {
                        drop(sender.send(Ok(Progress::Ended { outcome })).await);
                        return Ok(());
                    }
                    if sender.is_closed() {
                        return Ok(());
                    }
                    changes.next(HEARTBEAT).await?;
                }
            };
            let followed: Result<()> = followed.await;
            if let Err(error) = followed {
                drop(sender.send(Err(error)).await);
            }
        });
        Ok(receiver.boxed())
    }

    async fn outcome(&self, at: &AppEnv, number: ReleaseNumber) -> Result<Option<Outcome>> {
        let release = self.perform(GetRelease { at: at.clone(), number }).await?;
        Ok(match release.state {
            // Its tracks follow the commit at once, but until they have the next release would be refused.
            ReleaseState::Committed { .. } if self.is_active(at, number).await? => None,
            ReleaseState::Committed { .. } => Some(Outcome::Succeeded),
            ReleaseState::Aborted { reason, .. } => Some(Outcome::Aborted { reason }),
            _ => None,
        })
    }

    async fn is_active(&self, at: &AppEnv, number: ReleaseNumber) -> Result<bool> {
        let record = self.services.collections().get::<RolloutRecord>(&RolloutRecord::key_of(at)).await?;
        let active = record.and_then(|record| record.value.coordinator.active);
        Ok(active.is_some_and(|active| active.release == number))
    }

    async fn changes(&self, at: &AppEnv) -> Result<Changes> {
        let from = self.services.store().revision().await?;
        Ok(Changes { session: self.clone(), at: at.clone(), feed: self.services.store().watch(from).await? })
    }
}

/// Whether two statuses are the same but for the moment they were read at.
fn same(a: &AppStatus, b: &AppStatus) -> bool {
    AppStatus { revision: b.revision, ..a.clone() } == *b
}

/// Wakes up when something about an application changed.
struct Changes {
    session: Session,
    at: AppEnv,
    feed: crate::port::ChangeStream,
}

impl Changes {
    /// Returns after a change, or after `heartbeat`.
    async fn next(&mut self, heartbeat: Duration) -> Result<()> {
        let below = self.at.to_string();
        let relevant = async {
            loop {
                match self.feed.next().await {
                    Some(Ok(change)) if change.key.parent == below => return true,
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return false,
                }
            }
        };
        match tokio::time::timeout(heartbeat, relevant).await {
            Ok(true) | Err(_) => {}
            // The feed ended, because this reader was too slow: begin anew; what was missed shows in the next look.
            Ok(false) => *self = self.session.changes(&self.at).await?,
        }
        tokio::time::sleep(PACE).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_reads_back_as_it_was_told() {
        for outcome in [Outcome::Succeeded, Outcome::Aborted { reason: "it crashed".to_owned() }] {
            let told = Progress::Ended { outcome };
            let text = serde_json::to_string(&told).unwrap();
            assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), told, "{text}");
        }
    }
}
