//! Probes: has an instance started, can it serve, does it live.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant as Moment};

use paas_core::PortName;
use paas_core::model::{Probe, ProbeCheck, Template};
use paas_core::port::InstanceFailure;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::error::failure;
use super::exec::{Prober, Unwell};
use crate::Instance;

/// The first pause between two questions to an instance that is starting; each later one is half as long again, up to
/// the probe's period.
const EAGER: Duration = Duration::from_millis(4);

/// How long an instance may take to start before it is worth a word: most are not there yet when they are first asked.
const QUIET: Duration = Duration::from_secs(1);

/// How an instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Health {
    /// It has not been ready yet, and what it said last.
    Starting(InstanceFailure),
    /// It can serve.
    Ready,
    /// It could serve and cannot now.
    Unready(InstanceFailure),
}

/// Who is asked, and what about.
pub(super) struct Subject<'a> {
    pub(super) container: &'a Instance,
    pub(super) template: &'a Template,
    pub(super) prober: Prober<'a>,
}

/// What is asked where nothing is declared: a service that its first port accepts, others nothing.
fn readiness(template: &Template) -> Option<Probe> {
    match &template.probes.readiness {
        Some(probe) => Some(probe.clone()),
        None if template.kind.serves() && !template.ports.is_empty() => {
            Some(Probe::new(ProbeCheck::Tcp { port: None }))
        }
        None => None,
    }
}

/// Asks an instance how it is for as long as this future is polled, and ends if the instance must be started anew.
pub(super) async fn watch(
    subject: &Subject<'_>,
    was_ready: bool,
    tell: mpsc::Sender<Health>,
) -> InstanceFailure {
    let template = subject.template;
    if !was_ready
        && let Some(probe) = &template.probes.startup
        && let Err(why) = started(subject, probe, &tell).await
    {
        return why;
    }
    let lives = async {
        match &template.probes.liveness {
            Some(probe) => lives(subject, probe).await,
            None => std::future::pending().await,
        }
    };
    let serves = async {
        if let Some(probe) = readiness(template) {
            serves(subject, &probe, was_ready, &tell).await
        } else {
            say(&tell, Health::Ready).await;
            std::future::pending().await
        }
    };
    tokio::select! {
        why = lives => why,
        why = serves => why,
    }
}

/// Tells the keeper; one that is gone need not be told.
async fn say(tell: &mpsc::Sender<Health>, health: Health) {
    let _ = tell.send(health).await;
}

/// Tells why an instance has not been ready yet, once it has taken longer than usual.
async fn say_starting(tell: &mpsc::Sender<Health>, begun: Moment, why: impl FnOnce() -> String) {
    if begun.elapsed() >= QUIET {
        say(tell, Health::Starting(failure("not_ready", why()))).await;
    }
}

/// Waits for the first success of the startup probe. It may fail for as long as its threshold of periods takes.
async fn started(
    subject: &Subject<'_>,
    probe: &Probe,
    tell: &mpsc::Sender<Health>,
) -> Result<(), InstanceFailure> {
    let period = Duration::from_secs(probe.period_seconds.into());
    let begun = Moment::now();
    let until = begun + period.saturating_mul(probe.failure_threshold);
    let mut pause = EAGER;
    loop {
        let Err(why) = ask(subject, probe).await.map_err(Unwell::message) else { return Ok(()) };
        if Moment::now() >= until {
            let message =
                format!("it had not started after {} s: {why}", (period * probe.failure_threshold).as_secs());
            return Err(failure("unhealthy", message));
        }
        say_starting(tell, begun, || format!("it has not started yet: {why}")).await;
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(period);
    }
}

/// Ends when the liveness probe has failed as often as it may.
async fn lives(subject: &Subject<'_>, probe: &Probe) -> InstanceFailure {
    let mut failures = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(probe.period_seconds.into())).await;
        match ask(subject, probe).await {
            Ok(()) => failures = 0,
            // An instance is not ended because of the platform's own trouble.
            Err(Unwell::NotAsked(why)) => {
                tracing::warn!(instance = %subject.container.id(), "its liveness probe cannot be carried out: {why}");
            }
            Err(Unwell::Answered(why)) => {
                failures += 1;
                if failures >= probe.failure_threshold {
                    return failure(
                        "unhealthy",
                        format!("its liveness probe failed {failures} times in a row: {why}"),
                    );
                }
            }
        }
    }
}

/// Tells whether it can serve, for ever.
async fn serves(
    subject: &Subject<'_>,
    probe: &Probe,
    was_ready: bool,
    tell: &mpsc::Sender<Health>,
) -> InstanceFailure {
    let period = Duration::from_secs(probe.period_seconds.into());
    let (mut ready, mut ever) = (was_ready, was_ready);
    let (mut in_a_row, mut pause) = (0, EAGER);
    let begun = Moment::now();
    loop {
        let answer = ask(subject, probe).await.map_err(Unwell::message);
        if answer.is_ok() == ready {
            in_a_row = 0;
        } else {
            in_a_row += 1;
        }
        match answer {
            Ok(()) if !ready && in_a_row >= probe.success_threshold => {
                (ready, ever, in_a_row) = (true, true, 0);
                say(tell, Health::Ready).await;
            }
            Err(why) if !ever => {
                say_starting(tell, begun, || format!("it is not ready: {why}")).await;
            }
            Err(why) if ready && in_a_row >= probe.failure_threshold => {
                (ready, in_a_row) = (false, 0);
                say(tell, Health::Unready(failure("not_ready", format!("it is not ready any more: {why}"))))
                    .await;
            }
            _ => {}
        }
        tokio::time::sleep(if ever { period } else { pause }).await;
        pause = (pause * 3 / 2).min(period);
    }
}

/// Asks once.
async fn ask(Subject { container, template, prober }: &Subject<'_>, probe: &Probe) -> Result<(), Unwell> {
    let limit = Duration::from_secs(probe.timeout_seconds.into());
    let question = async {
        let port = |name: &Option<PortName>| number(template, name.as_ref());
        let answer = match &probe.check {
            ProbeCheck::Http { path, port: name } => match port(name) {
                Ok(port) => http(container, port, path).await,
                Err(why) => Err(why),
            },
            ProbeCheck::Tcp { port: name } => match port(name) {
                Ok(port) => connect(container, port).await.map(drop),
                Err(why) => Err(why),
            },
            ProbeCheck::Command(words) => return prober.run(container, words).await,
            _ => Err("this kind of probe is not known here".to_owned()),
        };
        answer.map_err(Unwell::Answered)
    };
    match tokio::time::timeout(limit, question).await {
        Ok(answer) => answer,
        Err(_) => Err(Unwell::Answered(format!("no answer within {} s", limit.as_secs()))),
    }
}

fn number(template: &Template, port: Option<&PortName>) -> Result<u16, String> {
    let found = match port {
        Some(name) => template.ports.iter().find(|port| port.name == *name),
        None => template.ports.first(),
    };
    found.map(|port| port.number).ok_or_else(|| "the component has no such port".to_owned())
}

/// A connection to a port inside, by whichever address family it listens on.
async fn connect(container: &Instance, port: u16) -> Result<TcpStream, String> {
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let error = match container.connect_to(v4).await {
        Ok(stream) => return Ok(stream),
        Err(error) => error,
    };
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    container.connect_to(v6).await.map_err(|_| {
        let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        format!("port {port} does not accept connections: {why}")
    })
}

/// One GET; only the status line is looked at (RFC 9112, section 4).
async fn http(container: &Instance, port: u16, path: &str) -> Result<(), String> {
    let mut stream = connect(container, port).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: paas-probe\r\nConnection: close\r\n\r\n"
    );
    let broken = |error: std::io::Error| format!("GET {path} on port {port}: {error}");
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut head = Vec::with_capacity(256);
    while !head.contains(&b'\n') && head.len() < 1024 {
        if stream.read_buf(&mut head).await.map_err(broken)? == 0 {
            break;
        }
    }
    let line = String::from_utf8_lossy(&head);
    let line = line.lines().next().unwrap_or_default();
    let status = line.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
    match status {
        Some(200..=399) => Ok(()),
        Some(status) => Err(format!("GET {path} on port {port} was answered with status {status}")),
        None => Err(format!("GET {path} on port {port} was not answered in HTTP")),
    }
}
