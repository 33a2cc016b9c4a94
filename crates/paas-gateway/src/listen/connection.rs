//! One connection of a client.

use std::{convert::Infallible, io::Cursor, sync::Arc, time::Duration};

use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::TcpStream,
};

use super::Origin;
use crate::{
    config::Protocol,
    gateway::Inner,
    proxy::{Peer, proxy_tcp, serve as serve_request},
    table::ListenerTable,
};

/// What a client that speaks HTTP/2 begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 128;

/// Serves a connection to its end. Once it is told to stop, that is after the next response: a connection that idles
/// waits for it, for its client may have sent the request already.
pub(super) async fn serve(inner: Arc<Inner>, peer: Arc<Peer>, stream: TcpStream) {
    let table = inner.table();
    let http = match &peer.origin {
        Origin::Listener(listener) => match table.listener(listener) {
            Some(ListenerTable::Http { .. }) => true,
            Some(ListenerTable::Tcp(_)) => false,
            None => return,
        },
        Origin::Caller { instance, listener, .. } => match table.dependency(instance, listener) {
            Some(target) => target.protocol == Protocol::Http,
            // It was declared when the instance started, but is not any more: close.
            None => return,
        },
    };
    let limits = table.limits.clone();
    drop(table);
    if !http {
        return proxy_tcp(inner, peer, stream).await;
    }
    let patience = Duration::from_millis(limits.header_read_ms.into());
    let (mut read, write) = stream.into_split();
    let begun = tokio::select! {
        begun = tokio::time::timeout(patience, begin(&mut read)) => begun,
        () = inner.hurry.cancelled() => return,
    };
    // Nothing sensible came, or nothing in time.
    let Ok(Ok((start, http2))) = begun else { return };
    let stream = tokio::io::join(Cursor::new(start).chain(read), write);
    if http2 {
        serve_http2(inner, peer, stream, limits.header_bytes).await;
    } else {
        serve_http1(inner, peer, stream, (limits.header_bytes, patience)).await;
    }
}

/// Reads just enough to tell which HTTP it is.
async fn begin(read: &mut (impl AsyncRead + Unpin)) -> std::io::Result<(Vec<u8>, bool)> {
    let mut start = Vec::with_capacity(512);
    loop {
        if read.read_buf(&mut start).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if start.len() >= PREFACE.len() {
            let http2 = start.starts_with(PREFACE);
            return Ok((start, http2));
        }
        if !PREFACE.starts_with(&start) {
            return Ok((start, false));
        }
    }
}

async fn serve_http1(
    inner: Arc<Inner>,
    peer: Arc<Peer>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    (header_bytes, patience): (u32, Duration),
) {
    let shared = inner.clone();
    let service = service_fn(move |request| {
        let (inner, peer) = (shared.clone(), peer.clone());
        async move { Ok::<_, Infallible>(serve_request(inner, peer, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(header_bytes as usize)
        .max_headers(100)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = inner.hurry.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "a client's connection ended");
    }
}

async fn serve_http2(
    inner: Arc<Inner>,
    peer: Arc<Peer>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    header_bytes: u32,
) {
    let stop = peer.stop.clone();
    let service = service_fn(move |request| {
        let (inner, peer) = (inner.clone(), peer.clone());
        async move { Ok::<_, Infallible>(serve_request(inner, peer, request).await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(header_bytes)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "a client's connection ended");
    }
}
