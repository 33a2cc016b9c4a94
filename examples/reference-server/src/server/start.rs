//! From the first line to the last: open the directory, put the platform together, serve, stop in order.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use paas_core::port::{ClusterPorts, Registry, Store};
use paas_core::{Error, SystemClock};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::accounts::Accounts;
use super::backend::{self, Arounds, Parts};
use super::directory::Directory;
use super::options::{LogFormat, ServerArgs};
use super::token::Token;
use super::{administrator, in_cluster};
use crate::api::{self, Service};
use crate::rest::address::Address;

/// How long the platform may take to stop.
const STOP_TIME: Duration = Duration::from_secs(10);

/// A server, before it runs.
pub struct Server {
    options: ServerArgs,
    arounds: Arounds,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Server {
    /// The server that `paas server` runs.
    pub fn new(options: ServerArgs) -> Self {
        Self { options, arounds: Arounds::default() }
    }

    /// Puts something around the store, such as [`Intercepted`](paas_core::memory::Intercepted), or another one in its place.
    #[must_use]
    pub fn with_store(
        mut self,
        around: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store> + Send + 'static,
    ) -> Self {
        self.arounds.store = Box::new(around);
        self
    }

    /// Puts something around the registry, or another one in its place.
    #[must_use]
    pub fn with_registry(
        mut self,
        around: impl FnOnce(Arc<dyn Registry>) -> Arc<dyn Registry> + Send + 'static,
    ) -> Self {
        self.arounds.registry = Box::new(around);
        self
    }

    /// Puts something around where instances run and requests find them, or another cluster in its place.
    #[must_use]
    pub fn with_cluster(
        mut self,
        around: impl FnOnce(ClusterPorts) -> ClusterPorts + Send + 'static,
    ) -> Self {
        self.arounds.cluster = Box::new(around);
        self
    }

    /// Runs the server until it is told to stop, by SIGTERM or SIGINT. It logs to the standard error.
    ///
    /// A program whose instances run in containers calls [`paas_local::helper_main`] first in its `main`.
    pub fn run(self) -> ExitCode {
        log(self.options.log);
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                eprintln!("error: failed to start the server's threads: {error}");
                return ExitCode::FAILURE;
            }
        };
        let result = runtime.block_on(run(self.options, self.arounds));
        runtime.shutdown_timeout(Duration::from_secs(1));
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                match error.downcast_ref::<Error>() {
                    Some(error) => eprintln!("error: {}", error.report()),
                    None => eprintln!("error: {error:#}"),
                }
                ExitCode::FAILURE
            }
        }
    }
}

async fn run(options: ServerArgs, arounds: Arounds) -> Result<()> {
    let begun = Instant::now();
    if !options.allow_remote && !options.listen.ip().is_loopback() {
        bail!(
            "{} can be reached by other machines, and the interface has no TLS of its own. Put a TLS proxy before it and \
             add --allow-remote, or listen on 127.0.0.1",
            options.listen
        );
    }
    let directory = Directory::take(&options.dir)?;
    let listener = bind(options.listen).await?;
    let address = listener.local_addr()?;
    let parts = backend::open(&options, &directory, arounds).await?;
    let accounts = Accounts::new(Arc::clone(&parts.store), Arc::new(SystemClock));
    let Parts { platform, gateway, machine, .. } = parts;
    let token = administrator::admit(&platform, &accounts, &options).await?;

    let in_cluster = match &options.in_cluster {
        Some(cluster) => {
            Some(in_cluster::declare(&platform, cluster, options.in_cluster_options.as_deref()).await?)
        }
        None => None,
    };

    let closing = CancellationToken::new();
    let service = Service::new(platform.clone(), accounts, closing.clone());
    let serving = tokio::spawn(super::http::serve(listener, api::router(service), closing.clone()));
    let api = format!("http://{address}");
    if let Some(token) = token {
        greet(&api, &token);
    }
    directory.announce(&Address {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api: api.clone(),
        gateway: gateway.map(|gateway| gateway.to_string()),
        started_at: Timestamp::now(),
    })?;
    tracing::info!(
        dir = %directory.path().display(),
        api,
        gateway = gateway.map(tracing::field::display),
        milliseconds = begun.elapsed().as_millis(),
        "serving"
    );
    let reason = stop_asked().await?;
    tracing::info!(reason, "stopping; instances go on running");
    closing.cancel();
    if let Some(declaring) = in_cluster {
        declaring.abort();
    }
    let _ = serving.await;
    if tokio::time::timeout(STOP_TIME, platform.shutdown()).await.is_err() {
        tracing::warn!("the platform did not stop within {} seconds", STOP_TIME.as_secs());
    }
    if let Some(machine) = machine {
        machine.close().await;
    }
    directory.leave();
    Ok(())
}

fn log(format: LogFormat) {
    use std::io::IsTerminal as _;
    let filter = tracing_subscriber::EnvFilter::try_from_env("PAAS_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("failed to listen on {address}: name another address with --listen, or port 0 for a free one")
    })
}

/// Shows a token, on the standard output: the log may be kept somewhere.
fn greet(api: &str, token: &Token) {
    println!("administrator token (shown once): {}", token.reveal());
    println!("log in:  paas login {api}");
}

/// Waits for SIGTERM or SIGINT.
async fn stop_asked() -> Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}
