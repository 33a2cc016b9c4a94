//! Keep-alive connections to an instance.

use std::{
    collections::HashMap,
    error::Error as StdError,
    io,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use http::{Request, Response};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::SharedStream;
use crate::proxy::RequestBody;

/// Connections to one port that may idle.
const IDLE: usize = 64;

/// How long they may.
const IDLE_FOR: Duration = Duration::from_mins(1);

/// A connection that carries one request at a time.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: http1::SendRequest<RequestBody>,
    stream: SharedStream,
    port: u16,
    pub(crate) reused: bool,
}

/// Why a request got no response.
#[derive(Debug)]
pub(crate) struct SendFailure {
    /// The error.
    pub(crate) error: hyper::Error,
    /// The request was not written, not even in part.
    pub(crate) unwritten: bool,
}

impl SendFailure {
    /// The connection was reset: bytes that it was given will not be read by anyone.
    pub(crate) fn is_reset(&self) -> bool {
        let mut cause: Option<&(dyn StdError + 'static)> = self.error.source();
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe);
            }
            cause = error.source();
        }
        false
    }
}

/// Makes a connection of a stream, and starts the task that works it.
pub(super) async fn handshake(stream: TcpStream, port: u16) -> io::Result<Connection> {
    let stream = SharedStream::new(stream);
    let (sender, connection) = http1::Builder::new()
        .max_headers(256)
        .preserve_header_case(false)
        .handshake(TokioIo::new(stream.clone()))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(async move {
        // Errors reach whoever waits for a response; an idle connection that ends is not an error.
        if let Err(error) = connection.with_upgrades().await {
            tracing::trace!(%error, "a connection to an instance ended");
        }
    });
    Ok(Connection { sender, stream, port, reused: false })
}

impl Connection {
    /// Sends a request and waits for the head of its response.
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendFailure> {
        self.sender.try_send_request(request).await.map_err(|mut failure| SendFailure {
            unwritten: failure.take_message().is_some(),
            error: failure.into_error(),
        })
    }

    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(super) async fn ready(mut self) -> Option<Self> {
        self.sender.ready().await.ok().map(|()| self)
    }
}

#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<HashMap<u16, Vec<Idle>>>);

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pool {
    pub(super) fn take(&self, port: u16, look: bool) -> Option<Connection> {
        let mut all = self.lock();
        let idle = all.get_mut(&port)?;
        // The one used last: the others can end when there is less to do.
        while let Some(Idle { mut connection, .. }) = idle.pop() {
            if connection.is_ready() && (!look || connection.stream.is_quiet()) {
                connection.reused = true;
                return Some(connection);
            }
        }
        None
    }

    pub(super) fn put(&self, connection: Connection) {
        let mut all = self.lock();
        let idle = all.entry(connection.port).or_default();
        if idle.len() < IDLE {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    pub(super) fn clear(&self) {
        let all = std::mem::take(&mut *self.lock());
        drop(all);
    }

    pub(super) fn sweep(&self) {
        let mut all = self.lock();
        all.retain(|_, idle| {
            idle.retain(|idle| idle.since.elapsed() < IDLE_FOR && idle.connection.is_ready());
            !idle.is_empty()
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u16, Vec<Idle>>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}
