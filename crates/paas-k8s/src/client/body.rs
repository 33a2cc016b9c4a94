//! A body of an answer that may not be silent for ever.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};
use tower::BoxError;

use super::CallError;

/// A body with a longest silence. It keeps its call's place until it has ended or is dropped.
pub struct Timed<B> {
    inner: Pin<Box<B>>,
    silence: Option<(Duration, Pin<Box<Sleep>>)>,
    _place: Option<OwnedSemaphorePermit>,
}

impl<B> std::fmt::Debug for Timed<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timed").finish_non_exhaustive()
    }
}

impl<B> Timed<B> {
    pub(super) fn new(inner: B, silence: Option<Duration>, place: Option<OwnedSemaphorePermit>) -> Self {
        let silence = silence.map(|longest| (longest, Box::pin(sleep(longest))));
        Self { inner: Box::pin(inner), silence, _place: place }
    }
}

impl<B> Body for Timed<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = self.inner.as_mut().poll_frame(cx) {
            if let Some((longest, sleep)) = &mut self.silence {
                sleep.as_mut().reset(Instant::now() + *longest);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let Some((longest, sleep)) = &mut self.silence else { return Poll::Pending };
        let longest = *longest;
        sleep.as_mut().poll(cx).map(|()| Some(Err(CallError::TimedOut(longest).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
