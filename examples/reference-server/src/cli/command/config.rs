//! `paas config` and `paas secret`

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use paas_core::AppName;
use paas_core::action::{ConfigChange, ConfigItem, ConfigSummary, ConfigView, ConfigWritten, Deploy};
use reqwest::Method;

use super::{Session, all, consent, deploy, in_app};
use crate::cli::args::{ConfigCommand, ReleaseArgs, SecretCommand};
use crate::cli::client::Client;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Output, Text, Tone, seconds};
use crate::rest::change::NewSecret;

pub async fn config(session: &Session, command: ConfigCommand) -> Result<(), Failure> {
    let client = session.client()?;
    let output = session.output;
    match command {
        ConfigCommand::Show { app, version } => {
            let at = session.context.app(&app)?;
            let query: Vec<_> = version.map(|version| ("version", version)).into_iter().collect();
            let view: ConfigView = client.query(&in_app(&at, "/config"), &query).await?;
            output.show(&view, |view| table(output, view, true))
        }
        ConfigCommand::Set { app, settings, release } => {
            let change = ConfigChange {
                set: settings.into_iter().map(|setting| (setting.name, setting.value)).collect(),
                ..ConfigChange::default()
            };
            apply(session, &client, &app, &change, &release).await
        }
        ConfigCommand::Unset { app, names, release } => {
            let change = ConfigChange { unset: names.into_iter().collect(), ..ConfigChange::default() };
            apply(session, &client, &app, &change, &release).await
        }
        ConfigCommand::History { app } => {
            let at = session.context.app(&app)?;
            let versions: Vec<ConfigSummary> = all(&client, &in_app(&at, "/config/history")).await?;
            output.show(&versions, |versions| {
                let rows = versions.iter().map(|version| {
                    vec![
                        version.version.into(),
                        version.settings.into(),
                        version.secrets.into(),
                        Text::time(version.created_at),
                        version.created_by.clone().into(),
                    ]
                });
                output.table(&["VERSION", "SETTINGS", "SECRETS", "CREATED", "BY"], rows.collect())
            })
        }
    }
}

async fn apply(
    session: &Session,
    client: &Client,
    app: &AppName,
    change: &ConfigChange,
    release: &ReleaseArgs,
) -> Result<(), Failure> {
    let at = session.context.app(app)?;
    let written: ConfigWritten = client.change(Method::PATCH, &in_app(&at, "/config"), Some(change)).await?;
    told(session, client, app, &written, release).await
}

/// Tells of the new version, and releases it if that was asked for.
async fn told(
    session: &Session,
    client: &Client,
    app: &AppName,
    written: &ConfigWritten,
    release: &ReleaseArgs,
) -> Result<(), Failure> {
    let text = if written.changed {
        format!("the configuration of {app} is now version {}", written.version)
    } else {
        format!("nothing changed: the configuration of {app} is version {}", written.version)
    };
    if !release.release {
        return session.output.show(written, |_| {
            let hint = if written.changed { ", in force from the next release on" } else { "" };
            format!("{text}{hint}\n")
        });
    }
    session.output.say(&text)?;
    let at = session.context.app(app)?;
    deploy::release(session, client, &at, &Deploy::current(), &release.wait).await
}

pub async fn secret(session: &Session, command: SecretCommand) -> Result<(), Failure> {
    let client = session.client()?;
    let output = session.output;
    match command {
        SecretCommand::List { app } => {
            let at = session.context.app(&app)?;
            let view: ConfigView = client.get(&in_app(&at, "/config")).await?;
            output.show(&view, |view| table(output, view, false))
        }
        SecretCommand::Set { app, name, file, release } => {
            let at = session.context.app(&app)?;
            let value = NewSecret::Base64(STANDARD.encode(read_secret(&name, file.as_deref())?));
            let path = in_app(&at, &format!("/secrets/{name}"));
            let written: ConfigWritten = client.change(Method::PUT, &path, Some(&value)).await?;
            told(session, &client, &app, &written, &release).await
        }
        SecretCommand::Unset { app, name, release } => {
            let at = session.context.app(&app)?;
            let path = in_app(&at, &format!("/secrets/{name}"));
            let written: ConfigWritten = client.change(Method::DELETE, &path, None::<&()>).await?;
            told(session, &client, &app, &written, &release).await
        }
        SecretCommand::Revoke { app, name, version, yes } => {
            let at = session.context.app(&app)?;
            if !yes {
                consent(&format!(
                    "Destroy version {version} of the secret {name} for good? No rollback brings it back."
                ))?;
            }
            let path = in_app(&at, &format!("/secrets/{name}/versions/{version}"));
            let () = client.change(Method::DELETE, &path, None::<&()>).await?;
            output.say(&format!("version {version} of the secret {name} was destroyed"))
        }
    }
}

/// The value of a secret: a file as it is, or the standard input; of a terminal one line that is not shown.
fn read_secret(name: &str, file: Option<&Path>) -> Result<Vec<u8>, Failure> {
    if let Some(file) = file {
        return std::fs::read(file).map_err(|error| {
            Failure::new(Exit::Error, format!("failed to read {}: {error}", file.display()))
        });
    }
    let mut stdin = std::io::stdin().lock();
    if stdin.is_terminal() {
        eprint!("value of {name}: ");
        return crate::cli::terminal::read_hidden_line();
    }
    let mut value = Vec::new();
    stdin.read_to_end(&mut value)?;
    // `echo value | paas secret set` means the value and not its line end; a file is taken byte for byte.
    if value.ends_with(b"\n") {
        value.pop();
    }
    Ok(value)
}

fn table(output: Output, view: &ConfigView, settings: bool) -> String {
    let rows = view.items.iter().filter_map(|(name, item)| match item {
        ConfigItem::Setting { value } => settings.then(|| vec![name.into(), Text::from(value), "".into()]),
        ConfigItem::Secret(secret) => {
            let mut state = format!("version {}", secret.version);
            if let Some(at) = secret.set_at {
                state.push_str(&format!(", set {}", seconds(at)));
            }
            if let Some(by) = &secret.set_by {
                state.push_str(&format!(" by {by}"));
            }
            let revoked = if secret.revoked { Text::toned("revoked", Tone::Bad) } else { "".into() };
            Some(vec![name.into(), Text::toned(format!("(secret, {state})"), Tone::Faint), revoked])
        }
        _ => None,
    });
    output.table(&["NAME", "VALUE", ""], rows.collect())
}
