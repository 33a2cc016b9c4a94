//! WebSockets that are held open and used.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::{SinkExt, StreamExt};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// How long an echo may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// WebSockets that are held open, each echoing a message ten times a second.
#[derive(Debug)]
pub struct HeldSockets {
    stop: Arc<AtomicBool>,
    echoes: Arc<AtomicU64>,
    tasks: JoinSet<Result<()>>,
    count: usize,
}

/// What held WebSockets have seen.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SocketReport {
    /// How many were held.
    pub sockets: usize,
    /// Messages that came back.
    pub echoes: u64,
    /// Why sockets were cut, one entry each.
    pub cut: Vec<String>,
}

/// Opens `count` WebSockets and keeps each in use until stopped.
///
/// # Errors
/// If one cannot be opened, or the address is not a loopback address.
pub async fn hold_sockets(address: SocketAddr, host: &str, path: &str, count: usize) -> Result<HeldSockets> {
    ensure!(address.ip().is_loopback(), "{address} is not a loopback address");
    let (stop, echoes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let stream = TcpStream::connect(address).await.context("failed to connect")?;
        let request =
            format!("ws://{host}{path}").into_client_request().context("the address is malformed")?;
        let (socket, _) = tokio_tungstenite::client_async(request, stream)
            .await
            .with_context(|| format!("failed to open WebSocket {number}"))?;
        let (stop, echoes) = (stop.clone(), echoes.clone());
        tasks.spawn(async move { echo(socket, number, &stop, &echoes).await });
    }
    Ok(HeldSockets { stop, echoes, tasks, count })
}

impl HeldSockets {
    /// Closes the sockets and tells what they have seen.
    pub async fn stop(mut self) -> SocketReport {
        self.stop.store(true, Ordering::Relaxed);
        let mut cut = Vec::new();
        while let Some(outcome) = self.tasks.join_next().await {
            match outcome {
                Ok(Ok(())) => {}
                Ok(Err(error)) => cut.push(format!("{error:#}")),
                Err(error) => cut.push(error.to_string()),
            }
        }
        SocketReport { sockets: self.count, echoes: self.echoes.load(Ordering::Relaxed), cut }
    }
}

async fn echo(
    mut socket: WebSocketStream<TcpStream>,
    number: usize,
    stop: &AtomicBool,
    echoes: &AtomicU64,
) -> Result<()> {
    let start = Instant::now();
    let mut round = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let text = format!("echo {number} {round}");
        let at = || format!("WebSocket {number} after {:.3} s", start.elapsed().as_secs_f64());
        socket.send(Message::text(text.clone())).await.with_context(at)?;
        loop {
            let message = tokio::time::timeout(PATIENCE, socket.next()).await.with_context(at)?;
            match message {
                Some(Ok(Message::Text(answer))) if answer.contains(&text) => break,
                Some(Ok(Message::Close(_))) | None => bail!("{} was closed by the other end", at()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error).with_context(at),
            }
        }
        echoes.fetch_add(1, Ordering::Relaxed);
        round += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let _ = socket.close(None).await;
    Ok(())
}
