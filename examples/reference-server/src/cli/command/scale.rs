//! `paas scale`, `stop`, `start`

use paas_core::AppEnv;
use paas_core::action::Scaled;
use paas_core::engine::{AppState, AppStatus};
use paas_core::port::InstancePhase;
use reqwest::Method;

use super::{Session, in_app, status};
use crate::cli::args::{ComponentArgs, ScaleArgs};
use crate::cli::client::Client;
use crate::cli::duration::Span;
use crate::cli::failure::{Exit, Failure};
use crate::rest::change::{Scale, Selection};

pub async fn run(session: &Session, args: ScaleArgs) -> Result<(), Failure> {
    let client = session.client()?;
    let output = session.output;
    let at = session.context.app(&args.app)?;
    let mut scaled = Vec::new();
    for count in &args.counts {
        let path = in_app(&at, &format!("/components/{}/scale", count.component));
        let one: Scaled = client.change(Method::PUT, &path, Some(&Scale { count: count.count })).await?;
        for note in &one.notes {
            eprintln!("note: {note}");
        }
        scaled.push(one);
    }
    output.show(&scaled, |scaled| {
        scaled
            .iter()
            .map(|one| format!("{}: {} instances, before {}\n", one.component, one.to, one.from))
            .collect()
    })?;
    if !args.wait {
        return Ok(());
    }
    until(&client, &at, args.timeout, |status| {
        args.counts.iter().all(|count| {
            status.components.iter().filter(|component| component.name == count.component).all(|component| {
                let instances = component.tracks.iter().flat_map(|track| &track.instances);
                // Those that drain serve out what they have begun, for as long as that takes.
                let staying = instances.filter(|instance| instance.phase != InstancePhase::Draining);
                component.ready == component.desired && staying.count() == component.desired as usize
            })
        })
    })
    .await
}

pub async fn stop(session: &Session, args: ComponentArgs) -> Result<(), Failure> {
    let client = session.client()?;
    let at = session.context.app(&args.app)?;
    let selection = Selection { component: args.component.clone() };
    let () = client.change(Method::POST, &in_app(&at, "/stop"), Some(&selection)).await?;
    if args.wait.wait {
        until(&client, &at, args.wait.timeout, |status| {
            status
                .components
                .iter()
                .filter(|it| args.component.as_ref().is_none_or(|name| *name == it.name))
                .all(|component| {
                    component.offline && component.tracks.iter().all(|track| track.instances.is_empty())
                })
        })
        .await?;
    }
    session.output.say(&format!("{at} is out of service; `paas start {}` brings it back", at.app))
}

pub async fn start(session: &Session, args: ComponentArgs) -> Result<(), Failure> {
    let client = session.client()?;
    let at = session.context.app(&args.app)?;
    let selection = Selection { component: args.component.clone() };
    let () = client.change(Method::POST, &in_app(&at, "/start"), Some(&selection)).await?;
    if args.wait.wait {
        until(&client, &at, args.wait.timeout, |status| {
            let ready = |name| {
                let mut found = status.components.iter().filter(|component| component.name == name);
                found.all(|component| !component.offline && component.ready == component.desired)
            };
            match &args.component {
                Some(name) => ready(name.clone()),
                None => status.state == AppState::Running,
            }
        })
        .await?;
    }
    session.output.say(&format!("{at} is back in service"))
}

/// Waits until the state of an application is as wanted.
pub async fn until(
    client: &Client,
    at: &AppEnv,
    timeout: Span,
    wanted: impl Fn(&AppStatus) -> bool,
) -> Result<(), Failure> {
    let path = in_app(at, "/status/stream");
    let watched = status::watch(client, &path, |status| Ok(wanted(status).then_some(())));
    match tokio::time::timeout(timeout.0, watched).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::new(
            Exit::Timeout,
            format!("{at} is not as wanted within {} seconds; it goes on", timeout.0.as_secs()),
        )
        .with_remedy(format!("Look at it with `paas status {}`.", at.app))),
    }
}
