//! `paas status`

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use paas_core::engine::{AppState, AppStatus, ComponentStatus, InstanceStatus};
use paas_core::port::InstancePhase;

use super::runs::outcome;
use super::{Session, all, in_app};
use crate::cli::args::StatusArgs;
use crate::cli::client::Client;
use crate::cli::duration::age;
use crate::cli::failure::{Exit, Failure};
use crate::cli::live::versions;
use crate::cli::output::{Output, Text, Tone, printable, seconds};
use crate::cli::stream;
use crate::rest::problem::Problem;

pub async fn run(session: &Session, args: StatusArgs) -> Result<(), Failure> {
    let client = session.client()?;
    let output = session.output;
    let Some(app) = &args.app else {
        let env = session.context.env()?;
        let apps: Vec<AppStatus> = all(&client, &format!("/orgs/{}/envs/{}/apps", env.org, env.env)).await?;
        return output.show(&apps, |apps| table(output, apps));
    };
    let at = session.context.app(app)?;
    if args.watch {
        return watch(&client, &in_app(&at, "/status/stream"), |status| {
            output.item(status, |status| format!("{}\n", details(output, status)))?;
            Ok(None)
        })
        .await;
    }
    let status: AppStatus = client.get(&in_app(&at, "")).await?;
    output.show(&status, |status| details(output, status))
}

/// The names of the components.
pub fn components(status: &AppStatus) -> Vec<String> {
    status.components.iter().map(|component| component.name.to_string()).collect()
}

/// Looks at each state until `look` gives something; a lost connection is taken up again.
pub async fn watch<T>(
    client: &Client,
    path: &str,
    mut look: impl FnMut(&AppStatus) -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let none: [(&str, &str); 0] = [];
    let mut seen = false;
    loop {
        match client.stream(path, &none, "text/event-stream", None).await {
            Ok(response) => {
                let mut events = pin!(stream::events(response));
                while let Some(event) = events.next().await {
                    let event = event?;
                    if event.data.is_empty() {
                        continue;
                    }
                    let wrong =
                        |error| Failure::new(Exit::Error, format!("an event is not understood: {error}"));
                    if event.kind == "problem" {
                        let problem: Problem = serde_json::from_str(&event.data).map_err(wrong)?;
                        return Err(problem.into());
                    }
                    let status: AppStatus = serde_json::from_str(&event.data).map_err(wrong)?;
                    seen = true;
                    if let Some(found) = look(&status)? {
                        return Ok(found);
                    }
                }
            }
            Err(failure) if failure.exit == Exit::Unreachable && seen => {}
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn state(state: AppState) -> Text {
    let tone = match state {
        AppState::Running => Tone::Good,
        AppState::Releasing | AppState::Degraded | AppState::Deleting => Tone::Warn,
        AppState::Failing | AppState::Unknown => Tone::Bad,
        _ => Tone::Faint,
    };
    Text::toned(state.as_str().replace('_', " "), tone)
}

fn table(output: Output, apps: &[AppStatus]) -> String {
    let rows = apps.iter().map(|app| {
        let current =
            app.current.as_ref().map_or_else(|| "-".to_owned(), |release| release.number.to_string());
        let (ready, desired) = app.components.iter().fold((0, 0), |(ready, desired), component| {
            (ready + component.ready, desired + component.desired)
        });
        vec![
            app.at.app.to_string().into(),
            state(app.state),
            current.into(),
            format!("{ready}/{desired}").into(),
            addresses(app).into(),
        ]
    });
    output.table(&["APPLICATION", "STATE", "RELEASE", "READY", "ADDRESSES"], rows.collect())
}

fn addresses(app: &AppStatus) -> String {
    let all: Vec<&str> =
        app.routes.iter().flat_map(|route| route.addresses.values()).map(String::as_str).collect();
    all.join(" ")
}

fn details(output: Output, status: &AppStatus) -> String {
    let now = Timestamp::now();
    let current =
        status.current.as_ref().map_or_else(String::new, |release| format!(", release {}", release.number));
    let word = state(status.state);
    let mut text = format!("{}: {}{current}\n", status.at, output.paint(&word.text, word.tone));
    for reason in &status.reasons {
        text.push_str(&format!("  {}\n", output.paint(&printable(reason), Tone::Warn)));
    }
    if let Some(rollout) = &status.rollout {
        let paused = if rollout.paused { ", paused" } else { "" };
        let reason =
            rollout.reason.as_ref().map_or_else(String::new, |reason| format!(": {}", printable(reason)));
        text.push_str(&format!("release {} is {}{paused}{reason}\n", rollout.release, rollout.state));
    }
    if !status.components.is_empty() {
        let rows = status.components.iter().flat_map(|component| {
            let several = component.tracks.len() > 1;
            component.tracks.iter().map(move |track| {
                let cluster = if several { format!("@{}", track.cluster) } else { String::new() };
                let step =
                    track.step.map_or_else(String::new, |(step, steps)| format!("step {step} of {steps}"));
                vec![
                    format!("{}{cluster}", component.name).into(),
                    ready(component),
                    versions(track).into(),
                    step.into(),
                ]
            })
        });
        text.push('\n');
        text.push_str(&output.table(&["COMPONENT", "READY", "VERSIONS", ""], rows.collect()));
        for track in status.components.iter().flat_map(|component| &component.tracks) {
            for hold in &track.holds {
                text.push_str(&format!("held: {}\n", output.paint(&printable(hold), Tone::Warn)));
            }
        }
    }
    text.push_str(&schedules(output, status));
    text.push_str(&clusters(output, status));
    let instances: Vec<&InstanceStatus> = status
        .components
        .iter()
        .flat_map(|component| &component.tracks)
        .flat_map(|track| &track.instances)
        .collect();
    if !instances.is_empty() {
        // Of a stateful component it matters which one it is.
        let ordered = instances.iter().any(|instance| instance.ordinal.is_some());
        let rows = instances.iter().map(|instance| {
            let ordinal = instance.ordinal.map_or_else(String::new, |ordinal| ordinal.to_string());
            let mut row: Vec<Text> = vec![
                instance.id.to_string().into(),
                instance
                    .release
                    .map_or_else(|| instance.revision.to_string(), |number| number.to_string())
                    .into(),
                phase(instance.phase),
                instance.restarts.into(),
                instance.started_at.map_or_else(String::new, |then| age(then, now)).into(),
                why(instance),
            ];
            if ordered {
                row.insert(1, ordinal.into());
            }
            row
        });
        text.push('\n');
        let mut titles = vec!["INSTANCE", "RELEASE", "PHASE", "RESTARTS", "AGE", "WHY"];
        if ordered {
            titles.insert(1, "ORDINAL");
        }
        text.push_str(&output.table(&titles, rows.collect()));
    }
    if !status.routes.is_empty() {
        let rows = status.routes.iter().map(|route| {
            let addresses: Vec<&str> = route.addresses.values().map(String::as_str).collect();
            vec![
                route.route.name.to_string().into(),
                route.route.component.to_string().into(),
                Text::from(addresses.join(" ")),
            ]
        });
        text.push('\n');
        text.push_str(&output.table(&["ROUTE", "LEADS TO", "ADDRESS"], rows.collect()));
    }
    text
}

/// The scheduled jobs: when they run, and how it went the last time.
fn schedules(output: Output, status: &AppStatus) -> String {
    let scheduled = status.components.iter().filter_map(|it| it.schedule.as_ref().map(|own| (it, own)));
    let rows: Vec<Vec<Text>> = scheduled
        .map(|(component, own)| {
            let last = own.last.as_ref();
            let skipped = own.skipped.as_ref().map_or_else(String::new, |skipped| {
                format!(
                    "{} skipped until {}: {}",
                    skipped.count,
                    seconds(skipped.at),
                    printable(&skipped.reason)
                )
            });
            vec![
                component.name.to_string().into(),
                format!("{} {}", own.schedule.cron, own.schedule.time_zone).into(),
                own.next.map_or_else(|| Text::toned("-", Tone::Faint), |next| seconds(next).into()),
                last.map_or_else(|| "-".to_owned(), |run| seconds(run.created_at)).into(),
                last.map_or_else(|| "".into(), outcome),
                Text::toned(skipped, Tone::Warn),
            ]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    format!("\n{}", output.table(&["SCHEDULED", "SCHEDULE", "NEXT", "LAST", "OUTCOME", ""], rows))
}

/// Each cluster, if there are several or one of them cannot be reached.
fn clusters(output: Output, status: &AppStatus) -> String {
    if status.clusters.len() < 2 && status.clusters.iter().all(|cluster| cluster.away.is_none()) {
        return String::new();
    }
    let now = Timestamp::now();
    let rows = status.clusters.iter().map(|cluster| {
        let state = match &cluster.away {
            Some(away) => Text::toned(format!("away for {}", age(away.since, now)), Tone::Bad),
            None if cluster.leaving => Text::toned("leaving", Tone::Faint),
            None if cluster.behind.is_some() => Text::toned("behind", Tone::Warn),
            None => Text::toned("reached", Tone::Good),
        };
        let release = cluster.release.map_or_else(|| "-".to_owned(), |number| number.to_string());
        vec![
            (&cluster.cluster).into(),
            cluster.region.clone().unwrap_or_default().into(),
            release.into(),
            state,
        ]
    });
    format!("\n{}", output.table(&["CLUSTER", "REGION", "RELEASE", ""], rows.collect()))
}

fn ready(component: &ComponentStatus) -> Text {
    if component.offline {
        return Text::toned("offline", Tone::Faint);
    }
    if component.schedule.is_some() {
        return Text::toned("-", Tone::Faint);
    }
    let tone = match component.ready {
        ready if ready >= component.desired => Tone::Good,
        0 => Tone::Bad,
        _ => Tone::Warn,
    };
    Text::toned(format!("{}/{}", component.ready, component.desired), tone)
}

fn phase(phase: InstancePhase) -> Text {
    match phase {
        InstancePhase::Pending => Text::toned("pending", Tone::Faint),
        InstancePhase::Starting => Text::toned("starting", Tone::Warn),
        InstancePhase::Ready => Text::toned("ready", Tone::Good),
        InstancePhase::Unready => Text::toned("unready", Tone::Bad),
        InstancePhase::BackOff => Text::toned("back-off", Tone::Bad),
        InstancePhase::Draining => Text::toned("draining", Tone::Faint),
        InstancePhase::Exited => Text::toned("exited", Tone::Faint),
        _ => "".into(),
    }
}

/// Why an instance is not ready: how far its image has come, or what went wrong.
fn why(instance: &InstanceStatus) -> Text {
    if let Some(pull) = instance.pull {
        return Text::toned(format!("pulling: {pull}"), Tone::Warn);
    }
    let Some(failure) = &instance.failure else { return "".into() };
    let first = failure.message.lines().next().unwrap_or_default();
    Text::toned(format!("{}: {first}", failure.reason.replace('_', " ")), Tone::Bad)
}
