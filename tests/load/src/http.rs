//! Requests at a fixed rate.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};

use crate::reach::Reach;
use crate::report::Report;

/// Requests at a fixed rate to one address.
#[derive(Debug, Clone)]
pub struct OpenLoop {
    /// Where to connect.
    pub address: SocketAddr,
    /// Whether that may be another address than loopback.
    pub reach: Reach,
    /// The host asked for.
    pub host: String,
    /// The path asked for.
    pub path: String,
    /// Requests a second.
    pub rate: u32,
    /// Whether connections are used again.
    pub keep_alive: bool,
    /// How long an answer may take; more is a failure.
    pub timeout: Duration,
    /// The header of answers by whose value they are counted.
    pub version_header: String,
    /// An end in any case, counted from the start.
    pub at_most: Duration,
}

/// A load under way.
#[derive(Debug)]
pub struct Running {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    task: JoinHandle<Report>,
}

impl OpenLoop {
    /// 200 requests a second for `/` of `host`, with keep-alive, five seconds a request, two minutes at the most.
    pub fn new(address: SocketAddr, host: impl Into<String>) -> Self {
        Self {
            address,
            reach: Reach::Loopback,
            host: host.into(),
            path: "/".to_owned(),
            rate: 200,
            keep_alive: true,
            timeout: Duration::from_secs(5),
            version_header: "x-version".to_owned(),
            at_most: Duration::from_mins(2),
        }
    }

    /// Begins to send.
    ///
    /// # Errors
    /// If the address is out of reach or the rate is zero.
    pub fn start(self) -> Result<Running> {
        self.reach.check(self.address)?;
        ensure!(self.rate > 0, "a rate of zero sends nothing");
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let task = tokio::spawn(self.run(stop.clone(), sent.clone()));
        Ok(Running { stop, sent, task })
    }

    async fn run(self, stop: Arc<AtomicBool>, sent: Arc<AtomicU64>) -> Report {
        let start = Instant::now();
        let client = Arc::new(Client { target: self, idle: Mutex::default() });
        let interval = Duration::from_secs(1) / client.target.rate;
        let report = Arc::new(Mutex::new(Report::default()));
        let mut requests = JoinSet::new();
        let mut number = 0_u32;
        while !stop.load(Ordering::Relaxed) && start.elapsed() < client.target.at_most {
            tokio::time::sleep_until((start + interval * number).into()).await;
            number += 1;
            sent.fetch_add(1, Ordering::Relaxed);
            let (client, report) = (client.clone(), report.clone());
            requests.spawn(async move {
                let begun = Instant::now();
                let timeout = client.target.timeout;
                let outcome = tokio::time::timeout(timeout, client.request()).await;
                let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                match outcome {
                    Ok(Ok(version)) => report.answered(version, begun.elapsed()),
                    Ok(Err(error)) => report.failed(start.elapsed(), format!("{error:#}")),
                    Err(_) => report.failed(start.elapsed(), format!("no answer within {timeout:?}")),
                }
            });
            while requests.try_join_next().is_some() {}
        }
        while requests.join_next().await.is_some() {}
        let mut report = std::mem::take(&mut *report.lock().unwrap_or_else(PoisonError::into_inner));
        report.latencies.sort_unstable();
        report
    }
}

impl Running {
    /// How many requests have been sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Goes on until at least `count` requests have been sent, then ends as [`Running::stop`] does.
    pub async fn stop_after(self, count: u64) -> Result<Report> {
        while self.sent() < count && !self.task.is_finished() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.stop().await
    }

    /// Sends no more, waits for the answers that are still due, and tells what was seen.
    pub async fn stop(self) -> Result<Report> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.context("the load ended early")
    }
}

struct Client {
    target: OpenLoop,
    idle: Mutex<Vec<SendRequest<Empty<Bytes>>>>,
}

impl Client {
    /// Sends one request and returns the version that answered.
    async fn request(&self) -> Result<String> {
        let mut sender = self.connection().await?;
        let mut request = Request::get(&self.target.path).header(HOST, &self.target.host);
        if !self.target.keep_alive {
            request = request.header(CONNECTION, "close");
        }
        let request = request.body(Empty::new()).context("the request is malformed")?;
        let answer = sender.send_request(request).await.context("failed to get an answer")?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.context("the answer ended early")?.to_bytes();
        if !head.status.is_success() {
            bail!("status {}: {}", head.status, String::from_utf8_lossy(&body[..body.len().min(200)]));
        }
        let name =
            HeaderName::try_from(&self.target.version_header).context("the version header has a bad name")?;
        let version = head.headers.get(name).map(HeaderValue::to_str).transpose().unwrap_or_default();
        let version = version.unwrap_or_default().to_owned();
        if self.target.keep_alive && !sender.is_closed() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        }
        Ok(version)
    }

    /// A connection that is idle, or a new one.
    async fn connection(&self) -> Result<SendRequest<Empty<Bytes>>> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match idle {
                Some(sender) if sender.is_ready() => return Ok(sender),
                Some(_) => {}
                None => break,
            }
        }
        let stream = TcpStream::connect(self.target.address).await.context("failed to connect")?;
        stream.set_nodelay(true).context("failed to set TCP_NODELAY")?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.context("failed to begin HTTP")?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
