//! From a template and an image to what a container is made of.

use std::collections::BTreeMap;

use paas_core::model::{CallTarget, ResolvedValue, Template};
use paas_core::port::{InstanceId, SecretSource};
use paas_core::{AppEnv, Error, ErrorKind, Result, TrackKey};
use paas_gateway::handover::Listener;
use paas_registry::Image;

use super::Shared;
use crate::{Command, Dependency, FileSpec, InstanceSpec, Limits, Secrets, Volume};

/// What a container of an instance is made of.
pub(super) async fn instance(
    shared: &Shared,
    track: &TrackKey,
    (id, ordinal): (&InstanceId, Option<u32>),
    container: crate::InstanceId,
    template: &Template,
    image: &Image,
) -> Result<(InstanceSpec, Secrets)> {
    let config = image.config();
    let command = command(template, image)?;
    let mut spec = InstanceSpec::new(container, image.layers().to_vec(), Command::Program(command));
    let at = &track.component.at;
    let mut secrets = Secrets::default();
    spec.env = config.env.iter().cloned().collect();
    spec.env.extend(platform_variables(at, track, id));
    for (name, value) in &template.env {
        match value {
            ResolvedValue::Plain(text) => drop(spec.env.insert(name.clone(), text.clone())),
            // What the image or the platform has under that name must not be told instead.
            _ => drop(spec.env.remove(name)),
        }
    }
    secrets.env = secret_env(&*shared.secrets, at, &template.env).await?;
    for file in &template.files {
        let content = |content: Vec<u8>| FileSpec { path: file.path.clone(), mode: file.mode, content };
        match &file.content {
            ResolvedValue::Plain(text) => spec.files.push(content(text.clone().into_bytes())),
            ResolvedValue::Secret(secret) => {
                secrets.files.push(content(shared.secrets.reveal(at, secret).await?.reveal().to_vec()));
            }
            _ => {}
        }
    }
    // A volume of an ordinal is that of whichever instance has it.
    let directory = match ordinal {
        Some(ordinal) => shared.volumes_of(track).join(ordinal.to_string()),
        None => shared.volumes_of(track),
    };
    spec.host_name = ordinal.map(|ordinal| host_name(track, ordinal));
    spec.volumes = template
        .volumes
        .iter()
        .map(|volume| Volume {
            source: directory.join(volume.name.as_str()),
            target: volume.path.clone(),
            read_only: volume.read_only,
        })
        .collect();
    spec.working_dir = template.working_dir.clone().or_else(|| Some(config.working_dir.clone()));
    spec.user =
        template.security.user.clone().or_else(|| Some(config.user.clone())).filter(|user| !user.is_empty());
    spec.read_only_root = template.security.read_only_root;
    spec.ports = template.ports.iter().map(|port| port.number).collect();
    spec.dependencies = template
        .calls
        .iter()
        .map(|call| Dependency { name: call.component.component.to_string(), port: call.port.number })
        .collect();
    spec.limits = Limits {
        memory: template.resources.memory.map(paas_core::Bytes::get),
        cpu_millis: template.resources.cpu.and_then(|cpu| u32::try_from(cpu.milli()).ok()),
        pids: template.resources.pids.or(Limits::default().pids),
        ..Limits::default()
    };
    spec.stop_signal = config.stop_signal.as_deref().and_then(signal);
    spec.labels = BTreeMap::from([
        ("track".to_owned(), track.to_string()),
        ("instance".to_owned(), id.to_string()),
        ("digest".to_owned(), template.digest.clone()),
    ]);
    Ok((spec, secrets))
}

/// The host name of an ordinal, cut to what the kernel takes (`sethostname(2)`: 64 bytes) and DNS too.
fn host_name(track: &TrackKey, ordinal: u32) -> String {
    let (at, ordinal) = (&track.component.at, format!("-{ordinal}"));
    let mut name = format!("{}-{}", at.app, track.component.component);
    name.truncate(63 - ordinal.len());
    name + &ordinal
}

/// The secret part of an environment.
pub(super) async fn secret_env(
    source: &dyn SecretSource,
    at: &AppEnv,
    env: &BTreeMap<String, ResolvedValue>,
) -> Result<BTreeMap<String, String>> {
    let mut secrets = BTreeMap::new();
    for (name, value) in env {
        let ResolvedValue::Secret(secret) = value else { continue };
        let value = source.reveal(at, secret).await?;
        let text = String::from_utf8(value.reveal().to_vec()).map_err(|_| {
            Error::new(ErrorKind::Invalid, "put a secret into the environment")
                .with_context("secret", &secret.name)
                .with_remedy("Its value is not text: give it to the component as a file.")
        })?;
        secrets.insert(name.clone(), text);
    }
    Ok(secrets)
}

/// What the platform tells every instance about itself.
fn platform_variables(at: &AppEnv, track: &TrackKey, id: &InstanceId) -> [(String, String); 5] {
    [
        ("PAAS_ORG", at.org.to_string()),
        ("PAAS_ENV", at.env.to_string()),
        ("PAAS_APP", at.app.to_string()),
        ("PAAS_COMPONENT", track.component.component.to_string()),
        ("PAAS_INSTANCE", id.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
}

/// What runs: as container engines combine an image's entry point and command with what is given.
pub(super) fn command(template: &Template, image: &Image) -> Result<Vec<String>> {
    let config = image.config();
    let words: Vec<String> = match (&template.command, &template.args) {
        (Some(command), args) => command.iter().chain(args.iter().flatten()).cloned().collect(),
        (None, Some(args)) => config.entrypoint.iter().chain(args).cloned().collect(),
        (None, None) => config.command(),
    };
    if words.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "find out what to run")
            .with_context("image", &template.image)
            .with_remedy("The image names no program: give the component a command."));
    }
    Ok(words)
}

/// Which listener of a container leads where.
pub(super) fn callers(spec: &InstanceSpec, calls: &[CallTarget]) -> Vec<(Listener, CallTarget)> {
    let listeners =
        spec.endpoints().into_iter().map(|endpoint| Listener { name: endpoint.name, port: endpoint.port });
    listeners.zip(calls.iter().cloned()).collect()
}

/// A signal as images write it: `SIGQUIT`, `QUIT` or `3` (signal(7), the numbers of x86 and ARM).
fn signal(text: &str) -> Option<i32> {
    const NAMES: [(&str, i32); 10] = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("KILL", 9),
        ("USR1", 10),
        ("USR2", 12),
        ("TERM", 15),
        ("STOP", 19),
        ("WINCH", 28),
        ("PWR", 30),
    ];
    let name = text.trim().to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    match name.parse::<i32>() {
        Ok(number) => (1..=64).contains(&number).then_some(number),
        Err(_) => NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number),
    }
}
