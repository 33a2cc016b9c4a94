//! Releases: the history, returning, aborting.

use paas_core::action::{Diff, ListPage, ReleaseStarted, ReleaseSummary, Rollback, RollbackTarget};
use paas_core::engine::{AppStatus, RolloutStatus};
use paas_core::model::{Keep, Release, ReleaseNumber, ReleaseOrigin, ReleaseState};
use reqwest::Method;

use super::{Session, deploy, in_app};
use crate::cli::args::{AbortArgs, AppArgs, ComponentArgs, DiffArgs, ReleasesArgs, RollbackArgs};
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Text, Tone};
use crate::rest::change::{Abort, Selection};

pub async fn list(session: &Session, args: ReleasesArgs) -> Result<(), Failure> {
    let client = session.client()?;
    let output = session.output;
    let at = session.context.app(&args.app)?;
    if let Some(number) = args.number {
        let release: Release = client.get(&in_app(&at, &format!("/releases/{number}"))).await?;
        return output.show(&release, |release| serde_saphyr::to_string(release).unwrap_or_default());
    }
    let page: ListPage<ReleaseSummary> =
        client.query(&in_app(&at, "/releases"), &[("limit", args.limit)]).await?;
    output.show(&page.items, |releases| table(output, releases))
}

fn table(output: Output, releases: &[ReleaseSummary]) -> String {
    let rows = releases.iter().map(|release| {
        let state = match &release.state {
            ReleaseState::Queued => Text::toned("queued", Tone::Warn),
            ReleaseState::Running => Text::toned("running", Tone::Warn),
            ReleaseState::Committed { .. } if release.current => Text::toned("current", Tone::Good),
            ReleaseState::Committed { .. } => "committed".into(),
            ReleaseState::Aborted { reason, .. } => Text::toned(format!("aborted: {reason}"), Tone::Bad),
            _ => "".into(),
        };
        let origin = match release.origin {
            ReleaseOrigin::Deploy => "deploy".to_owned(),
            ReleaseOrigin::Configure => "configure".to_owned(),
            ReleaseOrigin::Restart => "restart".to_owned(),
            ReleaseOrigin::Rollback { to, .. } => format!("rollback to {to}"),
            _ => String::new(),
        };
        let images: Vec<String> =
            release.images.iter().map(|(component, image)| format!("{component}={image}")).collect();
        vec![
            release.number.to_string().into(),
            state,
            origin.into(),
            Text::time(release.created_at),
            release.created_by.clone().into(),
            images.join(" ").into(),
            release.note.clone().into(),
        ]
    });
    output.table(&["RELEASE", "STATE", "ORIGIN", "CREATED", "BY", "IMAGES", "NOTE"], rows.collect())
}

pub async fn diff(session: &Session, args: DiffArgs) -> Result<(), Failure> {
    let client = session.client()?;
    let output = session.output;
    let at = session.context.app(&args.app)?;
    let diff: Diff = client.get(&in_app(&at, &format!("/releases/{}/diff/{}", args.from, args.to))).await?;
    output.show(&diff, |diff| {
        if diff.changes.is_empty() {
            return format!("releases {} and {} do not differ\n", diff.from, diff.to);
        }
        let shown = |value: &Option<serde_json::Value>| match value {
            None => String::new(),
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let rows = diff.changes.iter().map(|change| {
            vec![
                change.path.clone().into(),
                Text::toned(shown(&change.before), Tone::Bad),
                Text::toned(shown(&change.after), Tone::Good),
            ]
        });
        let (from, to) = (format!("RELEASE {}", diff.from), format!("RELEASE {}", diff.to));
        output.table(&["FIELD", &from, &to], rows.collect())
    })
}

pub async fn rollback(session: &Session, args: RollbackArgs) -> Result<(), Failure> {
    let client = session.client()?;
    let at = session.context.app(&args.app)?;
    let rollback = Rollback {
        to: args.to.map_or(RollbackTarget::Previous, |number| RollbackTarget::Number(ReleaseNumber(number))),
        keep: args.keep.map_or(Keep::Nothing, Into::into),
        note: String::new(),
    };
    let started: ReleaseStarted =
        client.change(Method::POST, &in_app(&at, "/rollback"), Some(&rollback)).await?;
    deploy::begun(session, &client, &started, &args.wait).await
}

pub async fn restart(session: &Session, args: ComponentArgs) -> Result<(), Failure> {
    let client = session.client()?;
    let at = session.context.app(&args.app)?;
    let selection = Selection { component: args.component };
    let started: ReleaseStarted =
        client.change(Method::POST, &in_app(&at, "/restart"), Some(&selection)).await?;
    deploy::begun(session, &client, &started, &args.wait).await
}

pub async fn abort(session: &Session, args: AbortArgs) -> Result<(), Failure> {
    let client = session.client()?;
    let at = session.context.app(&args.app)?;
    let status: AppStatus = client.get(&in_app(&at, "")).await?;
    let is_under_way = |rollout: &RolloutStatus| matches!(rollout.state.as_str(), "running" | "aborting");
    if !status.rollout.as_ref().is_some_and(is_under_way) {
        return session.output.say(&format!("no release of {at} is under way"));
    }
    let abort = Abort { reason: args.reason };
    let () = client.change(Method::POST, &in_app(&at, "/abort"), Some(&abort)).await?;
    session.output.say(&format!("the release of {at} is being aborted"))
}

pub async fn control(session: &Session, args: AppArgs, verb: &str, done: &str) -> Result<(), Failure> {
    let client = session.client()?;
    let at = session.context.app(&args.app)?;
    let () = client.change(Method::POST, &in_app(&at, &format!("/{verb}")), None::<&()>).await?;
    session.output.say(&format!("the release of {at} {done}"))
}
