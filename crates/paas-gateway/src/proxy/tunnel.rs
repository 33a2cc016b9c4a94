//! Connections that carry bytes: upgraded ones, and TCP. Nothing cuts them but their ends.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};

use super::{exchange::Exchange, forward::Peer};

/// Bytes on their way in each direction: many connections are open, few are busy.
const BUFFER: usize = 8 * 1024;

/// Joins both ends of an upgrade, once each has changed its protocol.
/// The connection counts as one of the peer's until then.
pub(super) fn start(client: OnUpgrade, instance: OnUpgrade, mut exchange: Exchange, peer: Arc<Peer>) {
    exchange.becomes_tunnel();
    tokio::spawn(async move {
        match tokio::try_join!(client, instance) {
            Ok((client, instance)) => run(TokioIo::new(client), TokioIo::new(instance), exchange).await,
            Err(error) => exchange.failed(&format!("the upgrade failed: {error}")),
        }
        drop(peer);
    });
}

/// Carries bytes until both ends have closed, or one broke.
pub(super) async fn run<C, I>(client: C, mut instance: I, mut exchange: Exchange)
where
    C: AsyncRead + AsyncWrite + Unpin,
    I: AsyncRead + AsyncWrite + Unpin,
{
    exchange.becomes_tunnel();
    let mut client = Counted { inner: client, exchange };
    let copied = copy_bidirectional_with_sizes(&mut client, &mut instance, BUFFER, BUFFER).await;
    if let Err(error) = copied {
        client.exchange.failed(&format!("the connection broke: {error}"));
    }
}

/// Counts as the bytes pass, for connections live long.
struct Counted<C> {
    inner: C,
    exchange: Exchange,
}

impl<C: AsyncRead + Unpin> AsyncRead for Counted<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.exchange.tunnelled((buf.filled().len() - before) as u64, 0);
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Counted<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.exchange.tunnelled(0, written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
