//! Accepting.

use std::{sync::Arc, time::Duration};

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{Origin, connection};
use crate::{gateway::Inner, proxy::Peer};

/// Accepts until it is stopped; its connections end then after their next response.
pub(super) async fn accept_all(
    inner: Arc<Inner>,
    listener: Arc<TcpListener>,
    origin: Origin,
    stop: CancellationToken,
) {
    let accepting = async {
        loop {
            // Without a permit nobody is accepted: they wait in the backlog, where they cost nothing.
            let Ok(permit) = inner.permits().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, address)) => {
                    prepare(&stream);
                    let address = matches!(origin, Origin::Listener(_)).then_some(address);
                    let peer = Arc::new(Peer {
                        origin: origin.clone(),
                        address,
                        stop: stop.clone(),
                        _permit: permit,
                    });
                    let inner = inner.clone();
                    inner.connections.clone().spawn(async move {
                        connection::serve(inner, peer, stream).await;
                    });
                }
                // The one that connected has gone already.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
                // Out of files or memory: others must end first.
                Err(error) => {
                    tracing::warn!(%error, ?origin, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = accepting => {}
    }
}

/// A client that vanished without a word is noticed after a while. What fails here is a convenience only.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, Duration::from_mins(1));
    let _ = sockopt::set_tcp_keepintvl(stream, Duration::from_secs(15));
    let _ = sockopt::set_tcp_keepcnt(stream, 4);
}
