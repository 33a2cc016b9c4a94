//! Commands as probes.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use paas_core::AppEnv;
use paas_core::model::ResolvedValue;
use paas_core::port::ExecOutput;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::{Shared, secrets, session};
use crate::exec::{Process, Request};
use crate::machine::render;
use crate::{ErrorKind, Instance};

/// How much of what a command said is told.
const SAID_BYTES: usize = 200;

/// Runs the commands of probes in a container. It asks for the secrets of the environment once, so that an instance is
/// not judged by whether they can be had later.
pub(in crate::machine) struct Prober<'a> {
    shared: &'a Shared,
    at: &'a AppEnv,
    env: &'a BTreeMap<String, ResolvedValue>,
    secrets: OnceCell<BTreeMap<String, String>>,
}

/// Why a question was not answered well.
#[derive(Debug)]
pub(in crate::machine) enum Unwell {
    /// The instance answered no, or did not answer.
    Answered(String),
    /// It could not be asked, which says nothing about it.
    NotAsked(String),
}

impl Unwell {
    pub(in crate::machine) fn message(self) -> String {
        match self {
            Self::Answered(why) | Self::NotAsked(why) => why,
        }
    }
}

impl<'a> Prober<'a> {
    pub(in crate::machine) fn new(
        shared: &'a Shared,
        at: &'a AppEnv,
        env: &'a BTreeMap<String, ResolvedValue>,
    ) -> Self {
        Self { shared, at, env, secrets: OnceCell::new() }
    }

    /// Runs a command, and succeeds if it exits with 0. Dropping this kills the command.
    pub(in crate::machine) async fn run(&self, container: &Instance, words: &[String]) -> Result<(), Unwell> {
        let env =
            self.secrets.get_or_try_init(|| render::secret_env(&*self.shared.secrets, self.at, self.env));
        let env = env.await.map_err(|error| Unwell::NotAsked(error.report()))?;
        let request = Request {
            command: words.to_vec(),
            secrets: secrets(env.clone()),
            terminal: None,
            grace: Duration::ZERO,
        };
        let shown = words.join(" ");
        let process = Process::start(container, &request).await.map_err(|error| {
            let why = format!("{shown}: {}", error.detail());
            match error.kind() {
                // The platform's own trouble.
                ErrorKind::Io | ErrorKind::Unavailable | ErrorKind::Protocol => Unwell::NotAsked(why),
                _ => Unwell::Answered(why),
            }
        })?;
        // Whoever drops this ends the command: there is no session to be closed.
        let mut output = session::open(process, false, CancellationToken::new()).output;
        let mut said = Vec::new();
        while let Some(piece) = output.next().await {
            match piece {
                Ok(ExecOutput::Exit(0)) => return Ok(()),
                Ok(ExecOutput::Exit(code)) => {
                    return Err(Unwell::Answered(format!("{shown} exited with {code}{}", last_words(&said))));
                }
                Ok(ExecOutput::Stdout(bytes) | ExecOutput::Stderr(bytes)) => {
                    said.extend(bytes);
                    // Of more, only the end is kept.
                    said.drain(..said.len().saturating_sub(SAID_BYTES));
                }
                Ok(_) => {}
                Err(error) => return Err(Unwell::NotAsked(format!("{shown}: {}", error.report()))),
            }
        }
        Err(Unwell::NotAsked(format!("{shown}: how it ended is not known")))
    }
}

fn last_words(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    match text.trim().lines().last() {
        Some(line) => format!(": {}", line.trim()),
        None => String::new(),
    }
}
