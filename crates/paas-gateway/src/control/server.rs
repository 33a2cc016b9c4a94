//! The gateway's side of the control socket.

use std::{os::fd::OwnedFd, os::unix::net::UnixListener as StdListener, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use serde::Serialize;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{broadcast::error::RecvError, mpsc, watch},
};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::message::{Answer, CONTROL_VERSION, Call, Hello, Refused, codec};
use crate::{Error, ErrorKind, Gateway, Result};

/// What a client asked the process to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// End, with this grace.
    Shutdown(Duration),
}

type Wire = Framed<UnixStream, LengthDelimitedCodec>;

/// Serves control connections until it is dropped. While `paused` says so, configs are refused: another gateway is
/// taking over.
pub(crate) async fn serve(
    gateway: Gateway,
    socket: OwnedFd,
    paused: watch::Receiver<bool>,
    orders: mpsc::Sender<Order>,
) -> Result<()> {
    let listener = UnixListener::from_std(StdListener::from(socket))
        .map_err(|source| Error::io("listen for control connections", source))?;
    let shared = Arc::new(Shared { gateway, paused, orders });
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if is_ours(&stream) => {
                    connections.spawn(talk(shared.clone(), stream));
                }
                Ok(_) => tracing::warn!("a process of another user was turned away from the control socket"),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a control connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

struct Shared {
    gateway: Gateway,
    paused: watch::Receiver<bool>,
    orders: mpsc::Sender<Order>,
}

fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn talk(shared: Arc<Shared>, stream: UnixStream) {
    let mut wire = Framed::new(stream, codec());
    let mut greeted = false;
    while let Some(Ok(frame)) = wire.next().await {
        let call = match serde_json::from_slice::<Call>(&frame) {
            Ok(call) => call,
            Err(source) => {
                let error = Error::new(ErrorKind::Protocol, "read a control call").because(source);
                if say::<()>(&mut wire, Err(error)).await.is_err() {
                    return;
                }
                continue;
            }
        };
        let said = match call {
            Call::Hello { versions } => {
                let hello = hello(&versions);
                greeted = hello.is_ok();
                say(&mut wire, hello).await
            }
            _ if !greeted => {
                let error =
                    Error::new(ErrorKind::Protocol, "read a control call").with_detail("say hello first");
                say::<()>(&mut wire, Err(error)).await
            }
            Call::WatchDrains => return watch_drains(&shared.gateway, wire).await,
            call => answer(&shared, call, &mut wire).await,
        };
        if said.is_err() {
            return;
        }
    }
}

fn hello(versions: &[u32]) -> Result<Hello> {
    if versions.contains(&CONTROL_VERSION) {
        Ok(Hello {
            version: CONTROL_VERSION,
            pid: std::process::id(),
            build: env!("CARGO_PKG_VERSION").into(),
        })
    } else {
        Err(Error::new(ErrorKind::Protocol, "agree on a control version")
            .with_detail(format!("this gateway speaks {CONTROL_VERSION}, asked for {versions:?}")))
    }
}

async fn answer(shared: &Arc<Shared>, call: Call, wire: &mut Wire) -> std::io::Result<()> {
    let gateway = &shared.gateway;
    match call {
        Call::Hello { .. } | Call::WatchDrains => Ok(()),
        Call::Apply { .. } if *shared.paused.borrow() => {
            let error = Error::new(ErrorKind::Unavailable, "apply a gateway config")
                .with_detail("another gateway is taking over: try again");
            say::<u64>(wire, Err(error)).await
        }
        Call::Apply { config } => {
            // In a task of its own: it is carried out to its end even if the client goes.
            let gateway = gateway.clone();
            let applied = tokio::spawn(async move { gateway.apply(*config).await }).await;
            let applied = applied.unwrap_or_else(|source| {
                Err(Error::new(ErrorKind::Io, "apply a gateway config").because(source))
            });
            say(wire, applied).await
        }
        Call::Config => say(wire, Ok(gateway.config().await.as_deref())).await,
        Call::Status => say(wire, Ok(gateway.status().await)).await,
        Call::Statistics => say(wire, Ok(gateway.statistics())).await,
        Call::WaitDrained { instances, timeout_ms } => {
            let waited = tokio::select! {
                waited = gateway.wait_drained(&instances, Duration::from_millis(timeout_ms)) => waited,
                // It has gone, or does not wait for its answer.
                _ = wire.next() => return Err(std::io::ErrorKind::ConnectionAborted.into()),
            };
            say(wire, waited).await
        }
        Call::Shutdown { grace_ms } => {
            let Ok(order) = shared.orders.reserve().await else {
                let error =
                    Error::new(ErrorKind::Unavailable, "end the gateway").with_detail("it is ending already");
                return say::<()>(wire, Err(error)).await;
            };
            // First the answer: the end may come at once, and takes the connection with it.
            let said = say(wire, Ok(())).await;
            order.send(Order::Shutdown(Duration::from_millis(grace_ms)));
            said
        }
    }
}

async fn watch_drains(gateway: &Gateway, mut wire: Wire) {
    let mut events = gateway.drain_events();
    if say(&mut wire, Ok(())).await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            event = events.recv() => {
                let event = match event {
                    Ok(instance) => Some(crate::DrainEvent { instance }),
                    // `null` is: look at the status, some were missed.
                    Err(RecvError::Lagged(_)) => None,
                    Err(RecvError::Closed) => return,
                };
                if say(&mut wire, Ok(event)).await.is_err() {
                    return;
                }
            }
            _ = wire.next() => return,
        }
    }
}

async fn say<T: Serialize>(wire: &mut Wire, said: Result<T>) -> std::io::Result<()> {
    let answer = match said {
        Ok(value) => Answer::Ok(value),
        Err(error) => Answer::Error(Refused::from(&error)),
    };
    wire.send(Bytes::from(serde_json::to_vec(&answer)?)).await
}
