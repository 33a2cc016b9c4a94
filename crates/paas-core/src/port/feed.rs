//! The feed of a store as a stream that holds no buffer of its own: every reader reads the store's own record.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream;
use tokio::sync::watch;

use super::{Change, ChangeStream, Revision};
use crate::error::Result;

/// How many changes are read at a time.
const BATCH: usize = 256;

/// The kept record of a store's changes.
#[async_trait]
pub trait FeedSource: fmt::Debug + Send + Sync + 'static {
    /// The changes of the commits after `after`, whole commits in order, about `limit` of them and at least one
    /// commit if there is any.
    ///
    /// # Errors
    /// [`ErrorKind::Compacted`](crate::ErrorKind::Compacted) with the context `floor` if commits after `after` are no
    /// longer kept.
    async fn read(&self, after: Revision, limit: usize) -> Result<Vec<Change>>;
}

struct Follower<S: ?Sized> {
    source: Arc<S>,
    newest: watch::Receiver<Revision>,
    position: Revision,
    ready: VecDeque<Change>,
    failed: bool,
}

/// Every change after `from`, then the new ones: `newest` tells the newest revision after each commit.
///
/// The stream ends when the sender of `newest` is gone, and after an error.
pub fn follow_feed<S: FeedSource + ?Sized>(
    source: Arc<S>,
    from: Revision,
    newest: watch::Receiver<Revision>,
) -> ChangeStream {
    let follower = Follower { source, newest, position: from, ready: VecDeque::new(), failed: false };
    Box::pin(stream::unfold(follower, |mut follower| async move {
        let item = follower.next().await?;
        Some((item, follower))
    }))
}

impl<S: FeedSource + ?Sized> Follower<S> {
    async fn next(&mut self) -> Option<Result<Change>> {
        loop {
            if self.failed {
                return None;
            }
            if let Some(change) = self.ready.pop_front() {
                return Some(Ok(change));
            }
            let position = self.position;
            if self.newest.wait_for(|newest| *newest > position).await.is_err() {
                return None;
            }
            match self.source.read(self.position, BATCH).await {
                Ok(changes) => {
                    // A commit without changes in the record cannot be: the position always moves on.
                    self.position = changes.last().map_or(*self.newest.borrow(), |change| change.revision);
                    self.ready.extend(changes);
                }
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
    }
}
