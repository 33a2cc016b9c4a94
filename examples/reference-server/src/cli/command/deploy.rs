//! `paas deploy`, and following a release to its end.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use paas_core::AppEnv;
use paas_core::action::{ConfigWritten, Deploy, DeployChange, NewApp, ReleaseStarted, Versioned};
use paas_core::engine::{AppRecord, Outcome, Progress};
use paas_core::model::{Release, ReleaseNumber, ReleaseState};
use paas_sources::kubernetes::FoundSecret;
use reqwest::Method;

use super::{Session, in_app, in_org};
use crate::cli::args::{DeployArgs, WaitArgs};
use crate::cli::client::Client;
use crate::cli::failure::{Exit, Failure};
use crate::cli::live::Live;
use crate::cli::source::{self, Reading};
use crate::cli::{image, stream};
use crate::rest::change::NewSecret;
use crate::rest::problem::Problem;

pub async fn run(session: &Session, args: DeployArgs) -> Result<(), Failure> {
    let at = session.context.app(&args.app)?;
    let mut secrets = Vec::new();
    let change = if let Some(file) = &args.file {
        let reading = Reading { file, profiles: &args.profile, component: &args.component };
        let read = source::read(&reading)?;
        for note in &read.notes {
            eprintln!("note: {note}");
        }
        secrets = read.secrets;
        DeployChange::Spec(read.spec)
    } else if args.current {
        DeployChange::Current
    } else {
        let mut images = BTreeMap::new();
        for image in args.image {
            let seen = image::seen_from(Path::new("."), &image.image);
            if images.insert(image.component.clone(), seen).is_some() {
                return Err(Failure::usage(format!("component {} is named twice", image.component)));
            }
        }
        DeployChange::Images(images)
    };
    let deploy = Deploy {
        cluster_order: args.cluster_order.map(Into::into),
        on_cluster_failure: args.on_cluster_failure.map(Into::into),
        note: args.note,
        expected: args.expected.map(ReleaseNumber),
        ..Deploy::new(change)
    };
    let client = session.client()?;
    let started = async || {
        keep(&client, &at, &secrets).await?;
        release(session, &client, &at, &deploy, &args.wait).await
    };
    match started().await {
        Err(failure) if args.create && failure.is_not_found() => {
            let new = NewApp::new(args.app.clone());
            let _: Versioned<AppRecord> =
                client.change(Method::POST, &in_org(&at.org, "/apps"), Some(&new)).await?;
            started().await
        }
        other => other,
    }
}

/// Sets the secrets whose values were found in objects, so that the release can name them.
async fn keep(client: &Client, at: &AppEnv, secrets: &[FoundSecret]) -> Result<(), Failure> {
    for secret in secrets {
        let value = NewSecret::Base64(STANDARD.encode(&secret.value));
        let path = in_app(at, &format!("/secrets/{}", secret.name));
        let _: ConfigWritten = client.change(Method::PUT, &path, Some(&value)).await?;
    }
    Ok(())
}

/// Makes a release and, if that was asked for, follows it.
pub async fn release(
    session: &Session,
    client: &Client,
    at: &AppEnv,
    deploy: &Deploy,
    wait: &WaitArgs,
) -> Result<(), Failure> {
    let started: ReleaseStarted = client.change(Method::POST, &in_app(at, "/releases"), Some(deploy)).await?;
    begun(session, client, &started, wait).await
}

/// Tells of a release that has begun and, if that was asked for, follows it.
pub async fn begun(
    session: &Session,
    client: &Client,
    started: &ReleaseStarted,
    wait: &WaitArgs,
) -> Result<(), Failure> {
    let output = session.output;
    let ReleaseStarted { at, number, .. } = started;
    for note in &started.notes {
        eprintln!("note: {note}");
    }
    if !wait.wait {
        return output.show(started, |started| {
            let state = if started.queued { "waits for its turn" } else { "has begun" };
            format!("release {number} of {at} {state}\nfollow it: paas status {} --watch\n", at.app)
        });
    }
    output.say(&format!("release {number} of {at}"))?;
    let mut live = Live::new(output, *number);
    let followed = follow(client, at, *number, &mut live);
    let outcome = match tokio::time::timeout(wait.timeout.0, followed).await {
        Ok(outcome) => outcome?,
        Err(_) => {
            live.finish();
            let seconds = wait.timeout.0.as_secs();
            return Err(Failure::new(
                Exit::Timeout,
                format!("release {number} of {at} has not ended within {seconds} seconds; it goes on"),
            )
            .with_remedy(format!(
                "Follow it with `paas status {0} --watch`, or end it with `paas abort {0}`.",
                at.app
            )));
        }
    };
    live.finish();
    match outcome {
        Outcome::Succeeded => {
            if output.is_table() {
                output.say(&format!("release {number} of {at} is current"))
            } else {
                let release: Release = client.get(&in_app(at, &format!("/releases/{number}"))).await?;
                output.show(&release, |_| String::new())
            }
        }
        Outcome::Aborted { reason } => {
            Err(Failure::new(Exit::Aborted, format!("release {number} of {at} was aborted: {reason}"))
                .with_remedy(format!(
                    "The release before is still current. Look at it with `paas status {}`.",
                    at.app
                )))
        }
        _ => Err(Failure::new(Exit::Error, format!("release {number} of {at} ended in an unknown way"))),
    }
}

/// Follows a release through lost connections and restarts of the server.
async fn follow(
    client: &Client,
    at: &AppEnv,
    number: ReleaseNumber,
    live: &mut Live,
) -> Result<Outcome, Failure> {
    let none: [(&str, &str); 0] = [];
    let path = in_app(at, &format!("/releases/{number}"));
    loop {
        match client.stream(&format!("{path}/stream"), &none, "text/event-stream", None).await {
            Ok(response) => {
                let mut events = pin!(stream::events(response));
                while let Some(event) = events.next().await {
                    let event = event?;
                    if event.data.is_empty() {
                        continue;
                    }
                    if event.kind == "problem" {
                        let problem: Problem = serde_json::from_str(&event.data).map_err(not_understood)?;
                        return Err(problem.into());
                    }
                    match serde_json::from_str(&event.data).map_err(not_understood)? {
                        Progress::Status(status) => live.show(&status),
                        Progress::Ended { outcome } => return Ok(outcome),
                        _ => {}
                    }
                }
            }
            Err(failure) if failure.exit == Exit::Unreachable => {}
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        // The server may have been away while the release ended.
        if let Ok(release) = client.get::<Release>(&path).await {
            match release.state {
                ReleaseState::Committed { .. } => return Ok(Outcome::Succeeded),
                ReleaseState::Aborted { reason, .. } => return Ok(Outcome::Aborted { reason }),
                _ => {}
            }
        }
    }
}

fn not_understood(error: serde_json::Error) -> Failure {
    Failure::new(Exit::Error, format!("an event of the server is not understood: {error}"))
}
