//! Bodies: of requests, so that they can be sent once more; of responses, so that their end is known.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::exchange::Exchange;
use crate::upstream::{Connection, Instance};

/// How much of a body is held for another attempt.
const HELD: usize = 64 * 1024;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request from the client, of which [`RequestBody`]s are given out, one at a time.
#[derive(Debug, Clone)]
pub(crate) struct ClientBody(Option<Arc<Mutex<Shared>>>);

#[derive(Debug)]
struct Shared {
    incoming: Incoming,
    held: Vec<Bytes>,
    held_bytes: usize,
    /// More than [`HELD`] went by: the beginning is gone.
    overflown: bool,
    ended: bool,
    /// The client failed: it went away, or sent too slowly.
    failed: bool,
    attempt: u32,
    bytes: u64,
    idle: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    last: Instant,
}

impl ClientBody {
    pub(crate) fn new(incoming: Incoming, idle: Duration) -> Self {
        if incoming.is_end_stream() {
            return Self(None);
        }
        Self(Some(Arc::new(Mutex::new(Shared {
            incoming,
            held: Vec::new(),
            held_bytes: 0,
            overflown: false,
            ended: false,
            failed: false,
            attempt: 0,
            bytes: 0,
            idle,
            timer: None,
            last: Instant::now(),
        }))))
    }

    /// The body for the next attempt; those given out before end in an error.
    pub(crate) fn attempt(&self) -> RequestBody {
        RequestBody(self.0.as_ref().map(|shared| {
            let (number, hint) = {
                let mut locked = lock(shared);
                locked.attempt += 1;
                let hint = if locked.bytes == 0 { locked.incoming.size_hint() } else { SizeHint::new() };
                (locked.attempt, hint)
            };
            Attempt { shared: shared.clone(), number, position: 0, hint }
        }))
    }

    /// Whether everything that was read is still held.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.0.as_ref().is_none_or(|shared| !lock(shared).overflown)
    }

    /// Whether the client is the one who failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| lock(shared).failed)
    }

    /// When the last bytes came, if more are to come.
    pub(crate) fn still_coming(&self) -> Option<Instant> {
        let locked = lock(self.0.as_ref()?);
        (!locked.ended && !locked.failed).then_some(locked.last)
    }

    /// How many bytes came.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |shared| lock(shared).bytes)
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().expect("no holder of this lock panics")
}

/// The body of one attempt.
#[derive(Debug)]
pub(crate) struct RequestBody(Option<Attempt>);

#[derive(Debug)]
struct Attempt {
    shared: Arc<Mutex<Shared>>,
    number: u32,
    position: usize,
    hint: SizeHint,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(Attempt { shared, number, position, .. }) = &mut self.0 else { return Poll::Ready(None) };
        let mut shared = lock(shared);
        let shared = &mut *shared;
        if shared.attempt != *number {
            return Poll::Ready(Some(Err("the request is being tried elsewhere".into())));
        }
        if !shared.overflown
            && let Some(held) = shared.held.get(*position)
        {
            *position += 1;
            return Poll::Ready(Some(Ok(Frame::data(held.clone()))));
        }
        if shared.ended {
            return Poll::Ready(None);
        }
        let Poll::Ready(frame) = Pin::new(&mut shared.incoming).poll_frame(cx) else {
            let idle = shared.idle;
            let timer = shared.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
            ready!(timer.as_mut().poll(cx));
            shared.failed = true;
            return Poll::Ready(Some(Err("the client sent nothing of its body for too long".into())));
        };
        shared.timer = None;
        shared.last = Instant::now();
        match frame {
            None => {
                shared.ended = true;
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                shared.failed = true;
                Poll::Ready(Some(Err(error.into())))
            }
            Some(Ok(frame)) => {
                match frame.data_ref() {
                    Some(data) => {
                        shared.bytes += data.len() as u64;
                        if !shared.overflown && shared.held_bytes + data.len() <= HELD {
                            shared.held_bytes += data.len();
                            shared.held.push(data.clone());
                            *position += 1;
                        } else {
                            shared.overflown = true;
                            shared.held = Vec::new();
                        }
                    }
                    // Trailers are not held.
                    None => shared.overflown = true,
                }
                if shared.incoming.is_end_stream() {
                    shared.ended = true;
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|Attempt { shared, position, .. }| {
            let shared = lock(shared);
            shared.ended && (shared.overflown || *position >= shared.held.len())
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |attempt| attempt.hint)
    }
}

/// The body of a response to the client.
#[derive(Debug)]
pub(crate) enum ResponseBody {
    /// Made here.
    Own(Full<Bytes>, Option<Box<Exchange>>),
    /// Of an instance.
    Proxied(Box<Proxied>),
}

#[derive(Debug)]
pub(crate) struct Proxied {
    incoming: Incoming,
    exchange: Option<Exchange>,
    connection: Option<(Arc<Instance>, Connection)>,
}

impl ResponseBody {
    /// Of an instance; the connection goes back to the pool when the body was read to its end.
    pub(crate) fn proxied(
        incoming: Incoming,
        exchange: Exchange,
        instance: Arc<Instance>,
        connection: Connection,
    ) -> Self {
        Self::Proxied(Box::new(Proxied {
            incoming,
            exchange: Some(exchange),
            connection: Some((instance, connection)),
        }))
    }
}

impl Proxied {
    fn end(&mut self) {
        if let Some((instance, connection)) = self.connection.take() {
            instance.give_back(connection);
        }
        // After the connection: whoever sees the instance free finds it so.
        self.exchange = None;
    }
}

impl Drop for Proxied {
    fn drop(&mut self) {
        if self.connection.is_some() {
            if self.incoming.is_end_stream() {
                self.end();
            } else if let Some(exchange) = &mut self.exchange {
                exchange.failed("the client closed before the end of the response");
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Own(full, exchange) => {
                let frame = ready!(Pin::new(full).poll_frame(cx));
                if let (Some(exchange), Some(Ok(frame))) = (exchange, &frame) {
                    exchange.sent(frame.data_ref().map_or(0, Bytes::len));
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Self::Proxied(proxied) => {
                let frame = ready!(Pin::new(&mut proxied.incoming).poll_frame(cx));
                match &frame {
                    None => proxied.end(),
                    Some(Ok(frame)) => {
                        if let Some(exchange) = &mut proxied.exchange {
                            exchange.sent(frame.data_ref().map_or(0, Bytes::len));
                        }
                    }
                    Some(Err(error)) => {
                        proxied.connection = None;
                        if let Some(mut exchange) = proxied.exchange.take() {
                            exchange.failed(&format!("the instance broke off its response: {error}"));
                        }
                    }
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(full, _) => full.is_end_stream(),
            Self::Proxied(proxied) => proxied.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(full, _) => full.size_hint(),
            Self::Proxied(proxied) => proxied.incoming.size_hint(),
        }
    }
}
