//! Answers that come piece by piece: they can be cut and silenced.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use paas_k8s::kube::client::Body;
use tokio::sync::watch;

use crate::Shared;
use crate::call::Call;
use crate::fault::Fault;
use crate::forward::{AnswerBody, Cut};

struct Passing {
    shared: Arc<Shared>,
    call: Call,
    body: Body,
    cuts: u64,
    changes: watch::Receiver<u64>,
}

/// Passes a body on, as long as nothing is broken.
pub(crate) fn pass(shared: Arc<Shared>, call: Call, body: Body) -> AnswerBody {
    let (cuts, changes) = (shared.lock().cuts, shared.changes.subscribe());
    let passing = Passing { shared, call, body, cuts, changes };
    let frames = stream::unfold(Some(passing), |passing| async move {
        let mut passing = passing?;
        match passing.next().await {
            Some(Ok(frame)) => Some((Ok(frame), Some(passing))),
            Some(Err(cut)) => Some((Err(cut), None)),
            None => None,
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

impl Passing {
    async fn next(&mut self) -> Option<Result<Frame<Bytes>, Cut>> {
        loop {
            self.changes.mark_unchanged();
            let (cuts, fault) = {
                let state = self.shared.lock();
                (state.cuts, state.rules.standing(&self.call))
            };
            if cuts != self.cuts || fault == Some(Fault::Refused) {
                return Some(Err(Cut));
            }
            let silent = matches!(fault, Some(Fault::Hangs | Fault::Stale));
            tokio::select! {
                changed = self.changes.changed() => if changed.is_err() { return None },
                frame = self.body.frame(), if !silent => return Some(frame?.map_err(|_| Cut)),
            }
        }
    }
}
