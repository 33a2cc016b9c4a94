//! The machine as an [`Exec`].
//!
//! The environment of a command has secrets in it, which are on no disk. So they are asked for again, in the version that
//! the instance was started with.

mod input;
mod interactive;
mod probe;
mod run;
mod session;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use paas_core::port::{Exec, ExecOptions, ExecSession, ExecTarget, InstanceId, InstancePhase};
use paas_core::{Error, ErrorKind, Fault, Result, TrackKey};

pub(super) use probe::{Prober, Unwell};

use super::{LocalMachine, Shared, render};
use crate::exec::{Process, Request, Size};
use crate::{Instance, Secrets};

const OPERATION: &str = "run a command in an instance";
/// How long a command may go on whose session was dropped: enough for an editor to save what is open.
const GRACE: Duration = Duration::from_secs(2);

#[async_trait]
impl Exec for LocalMachine {
    async fn exec(&self, target: &ExecTarget, options: &ExecOptions) -> Result<ExecSession> {
        self.shared.check_open()?;
        match target {
            ExecTarget::Instance(track, wanted) => {
                check(&options.command)?;
                let (container, secrets) = self.shared.find(track, wanted.as_ref()).await?;
                let request = Request {
                    command: options.command.clone(),
                    secrets,
                    terminal: options.terminal.map(|size| Size { rows: size.rows, columns: size.columns }),
                    grace: GRACE,
                };
                let process = Process::start(&container, &request).await?;
                Ok(session::open(process, options.stdin, self.shared.closing.clone()))
            }
            ExecTarget::Run(id) => run::attach(&self.shared, id, options),
            other => {
                Err(Error::new(ErrorKind::Unsupported, OPERATION)
                    .with_context("target", format!("{other:?}")))
            }
        }
    }
}

/// Refuses what cannot be a command.
fn check(command: &[String]) -> Result<()> {
    let fault = match command.first() {
        None => "there is no command",
        Some(name) if name.is_empty() => "the name of the command is empty",
        Some(_) if command.iter().any(|word| word.contains('\0')) => "a word holds a NUL",
        Some(_) => return Ok(()),
    };
    Err(Error::invalid(OPERATION, vec![Fault::new("command", fault)]))
}

impl Shared {
    /// What runs for an instance, or for the first one that is ready, and the secrets of its environment.
    async fn find(&self, track: &TrackKey, wanted: Option<&InstanceId>) -> Result<(Instance, Secrets)> {
        let found = {
            let sets = self.sets();
            let of_track = sets.sets.iter().filter(|(key, _)| key.track == *track).map(|(_, set)| set);
            let mut members = of_track.flat_map(|set| set.members.iter().map(move |member| (set, member)));
            let member = match wanted {
                Some(id) => members.find(|(_, member)| member.seen.id == *id && member.runs()),
                None => {
                    members.find(|(_, member)| member.seen.phase == InstancePhase::Ready && member.runs())
                }
            };
            member.and_then(|(set, member)| {
                Some((member.container.clone()?, set.document.spec.template.env.clone()))
            })
        };
        let Some((container, env)) = found else {
            let error = Error::new(ErrorKind::NotFound, OPERATION).with_context("track", track);
            return Err(match wanted {
                Some(id) => error
                    .with_context("instance", id)
                    .with_remedy("No instance of that name runs: look at the status for those that do."),
                None => error.with_remedy("Wait until an instance is ready, or name one that runs."),
            });
        };
        let env = render::secret_env(&*self.secrets, &track.component.at, &env).await?;
        Ok((container, secrets(env)))
    }
}

/// A command needs no files: they are there.
fn secrets(env: BTreeMap<String, String>) -> Secrets {
    Secrets { env, files: Vec::new() }
}
