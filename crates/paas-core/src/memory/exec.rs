//! Commands inside simulated instances.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream;
use tokio::sync::{mpsc, watch};

use super::cluster::{Ending, Inner, RunOutput, environment};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::port::{
    BoxStream, Exec, ExecInput, ExecOptions, ExecOutput, ExecSession, ExecTarget, InstanceId, RunInput,
    TerminalSize,
};

/// How many pieces of input or output wait at most.
const PIECES: usize = 16;

/// Commands inside the instances of a [`SimulatedCluster`](super::SimulatedCluster).
///
/// Every image has the same few: `echo WORDS`, `warn WORDS` (to the error output), `cat`, `env`, `size` (of the terminal),
/// `asked-size` (the same, after each line of input), `sleep SECONDS`, `exit CODE`.
#[derive(Debug, Clone)]
pub struct SimulatedExec(pub(super) Arc<Inner>);

/// A command that simulated images have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Program {
    Echo(String),
    Warn(String),
    Cat,
    Env,
    Size,
    AskedSize,
    Sleep(Duration),
    Exit(i32),
}

impl Program {
    /// The program of a command line, or the name of what the image lacks.
    pub(super) fn parse(command: &[String]) -> Result<Self, String> {
        let name = command.first().map(String::as_str).unwrap_or_default();
        let rest = || command[1..].join(" ");
        let number = || command.get(1).and_then(|text| text.parse::<u32>().ok()).unwrap_or_default();
        match name {
            "echo" => Ok(Self::Echo(rest())),
            "warn" => Ok(Self::Warn(rest())),
            "cat" => Ok(Self::Cat),
            "env" => Ok(Self::Env),
            "size" => Ok(Self::Size),
            "asked-size" => Ok(Self::AskedSize),
            "sleep" => Ok(Self::Sleep(Duration::from_secs(number().into()))),
            "exit" => Ok(Self::Exit(i32::try_from(number()).unwrap_or(255))),
            missing => Err(missing.to_owned()),
        }
    }

    /// What it prints without input.
    pub(super) fn output(&self, env: &BTreeMap<String, String>) -> Vec<u8> {
        match self {
            Self::Echo(text) | Self::Warn(text) => format!("{text}\n").into_bytes(),
            Self::Env => {
                let lines: Vec<String> =
                    env.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
                lines.concat().into_bytes()
            }
            _ => Vec::new(),
        }
    }

    /// How long it runs without input.
    pub(super) fn takes(&self) -> Duration {
        if let Self::Sleep(duration) = self { *duration } else { Duration::ZERO }
    }

    /// The code that it exits with.
    pub(super) fn code(&self) -> i32 {
        if let Self::Exit(code) = self { *code } else { 0 }
    }
}

#[async_trait]
impl Exec for SimulatedExec {
    async fn exec(&self, target: &ExecTarget, options: &ExecOptions) -> Result<ExecSession> {
        const OPERATION: &str = "run a command in an instance";
        match target {
            ExecTarget::Instance(track, wanted) => {
                let found = self.0.with(|state| {
                    let mut candidates = state.sets_of(track).flat_map(|(_, set)| {
                        set.instances.iter().map(move |instance| (instance, &set.template))
                    });
                    let found = match wanted {
                        Some(id) => candidates.find(|(instance, _)| instance.id == *id && instance.runs()),
                        None => candidates.find(|(instance, _)| instance.is_ready()),
                    };
                    found.map(|(instance, template)| (instance.id.clone(), environment(template.env.clone())))
                });
                let Some((instance, env)) = found else {
                    let error = Error::new(ErrorKind::NotFound, OPERATION).with_context("track", track);
                    return Err(match wanted {
                        Some(id) => error.with_context("instance", id),
                        None => error.with_remedy("Wait until an instance is ready, or name one that runs."),
                    });
                };
                let program = Program::parse(&options.command).map_err(|missing| {
                    let fault = Fault::new("command", format!("the image has no command {missing:?}"));
                    Error::invalid(OPERATION, vec![fault]).with_context("track", track)
                })?;
                Ok(session(Running::new(self.0.clone(), instance), program, env, options))
            }
            ExecTarget::Run(id) => {
                let found =
                    self.0.with(|state| state.run(id).map(|run| (run.spec.input, run.output.subscribe())));
                let Some((input, output)) = found else {
                    return Err(Error::new(ErrorKind::NotFound, "attach to a run").with_context("run", id));
                };
                options.check_run(id, input)?;
                if !input.is_interactive() {
                    return Ok(self.attach(id.clone(), output));
                }
                if !self.0.with(|state| state.claim_run(id)) {
                    return Err(Error::new(ErrorKind::Conflict, "attach to a run a second time")
                        .with_context("run", id));
                }
                let terminal = (input == RunInput::Terminal).then(|| options.terminal.unwrap_or_default());
                Ok(self.begin(id.clone(), output, terminal))
            }
        }
    }
}

impl SimulatedExec {
    /// Output of a run from its beginning. Input other than signals has no reader in a simulation.
    fn attach(&self, id: InstanceId, output: watch::Receiver<RunOutput>) -> ExecSession {
        let (input, mut inputs) = mpsc::channel(PIECES);
        let inner = self.0.clone();
        tokio::spawn(async move {
            while let Some(piece) = inputs.recv().await {
                if let ExecInput::Signal(signal) = piece {
                    inner.with(|state| state.signal_run(&id, signal));
                }
            }
        });
        let output = stream::unfold(Some((output, 0)), |reader| async move {
            let (mut output, told) = reader?;
            let now = output.wait_for(|now| now.bytes.len() > told || now.exit.is_some()).await.ok()?.clone();
            if now.bytes.len() > told {
                let length = now.bytes.len();
                return Some((Ok(ExecOutput::Stdout(now.bytes[told..].to_vec())), Some((output, length))));
            }
            now.exit.map(|code| (Ok(ExecOutput::Exit(code)), None))
        });
        ExecSession { input, output: Box::pin(output) }
    }

    /// Runs the program of a run that has waited for somebody. It ends with the session.
    fn begin(
        &self,
        id: InstanceId,
        mut run: watch::Receiver<RunOutput>,
        terminal: Option<TerminalSize>,
    ) -> ExecSession {
        let (input, inputs) = mpsc::channel(PIECES);
        let (outputs, output) = mpsc::channel(PIECES);
        let inner = self.0.clone();
        tokio::spawn(async move {
            let over = async {
                let begun =
                    run.wait_for(|now| now.awaiting.is_some() || now.exit.is_some()).await.ok()?.clone();
                let Some((program, env)) = begun.awaiting else { return begun.exit };
                tokio::select! {
                    code = perform(&program, &env, terminal, inputs, &outputs) => Some(code),
                    ended = run.wait_for(|now| now.exit.is_some()) => ended.ok()?.exit,
                }
            };
            let last = tokio::select! {
                code = over => code,
                () = outputs.closed() => return inner.with(|state| state.signal_run(&id, HANG_UP)),
            };
            let last = last.map(|code| {
                inner.with(|state| state.end_run(&id, Ending::Exit(code)));
                ExecOutput::Exit(code)
            });
            let lost = || Error::new(ErrorKind::Lost, "attach to a run").with_context("run", &id);
            let _ = outputs.send(last.ok_or_else(lost)).await;
        });
        ExecSession { input, output: received(output) }
    }
}

/// What a program is told whose terminal is gone (`SIGHUP` of signal(7)).
const HANG_UP: i32 = 1;

fn received(output: mpsc::Receiver<Result<ExecOutput>>) -> BoxStream<ExecOutput> {
    Box::pin(stream::unfold(
        output,
        |mut output| async move { output.recv().await.map(|piece| (piece, output)) },
    ))
}

/// A command that runs inside an instance, counted as long as this lives.
struct Running {
    cluster: Arc<Inner>,
    instance: InstanceId,
}

impl Running {
    fn new(cluster: Arc<Inner>, instance: InstanceId) -> Self {
        cluster.with(|state| *state.commands.entry(instance.clone()).or_default() += 1);
        Self { cluster, instance }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cluster.with(|state| {
            let left = state.commands.remove(&self.instance).unwrap_or_default().saturating_sub(1);
            if left > 0 {
                state.commands.insert(self.instance.clone(), left);
            }
        });
    }
}

/// Runs a program in a task that ends with it, or when the session is dropped.
fn session(
    running: Running,
    program: Program,
    env: BTreeMap<String, String>,
    options: &ExecOptions,
) -> ExecSession {
    let (input, inputs) = mpsc::channel(PIECES);
    let (outputs, output) = mpsc::channel(PIECES);
    let terminal = options.terminal;
    tokio::spawn(async move {
        let _running = running;
        let run = perform(&program, &env, terminal, inputs, &outputs);
        let code = tokio::select! {
            code = run => code,
            () = outputs.closed() => return,
        };
        let _ = outputs.send(Ok(ExecOutput::Exit(code))).await;
    });
    ExecSession { input, output: received(output) }
}

async fn perform(
    program: &Program,
    env: &BTreeMap<String, String>,
    mut terminal: Option<TerminalSize>,
    mut inputs: mpsc::Receiver<ExecInput>,
    outputs: &mpsc::Sender<Result<ExecOutput>>,
) -> i32 {
    let printed = program.output(env);
    if !printed.is_empty() {
        // A terminal has one output.
        let to_error = matches!(program, Program::Warn(_)) && terminal.is_none();
        let piece = if to_error { ExecOutput::Stderr(printed) } else { ExecOutput::Stdout(printed) };
        let _ = outputs.send(Ok(piece)).await;
    }
    let end = tokio::time::Instant::now() + program.takes();
    loop {
        let piece = match program {
            Program::Cat | Program::AskedSize => inputs.recv().await,
            Program::Size if let Some(size) = terminal => {
                if let Ok(piece) = inputs.try_recv() {
                    Some(piece)
                } else {
                    let text = format!("{} {}\n", size.rows, size.columns);
                    let _ = outputs.send(Ok(ExecOutput::Stdout(text.into_bytes()))).await;
                    return 0;
                }
            }
            Program::Sleep(_) => {
                let piece = tokio::select! {
                    () = tokio::time::sleep_until(end) => return 0,
                    piece = inputs.recv() => piece,
                };
                if piece.is_none() {
                    tokio::time::sleep_until(end).await;
                    return 0;
                }
                piece
            }
            _ => return program.code(),
        };
        match piece {
            Some(ExecInput::Stdin(bytes)) if *program == Program::Cat => {
                let _ = outputs.send(Ok(ExecOutput::Stdout(bytes))).await;
            }
            Some(ExecInput::Stdin(bytes)) if *program == Program::AskedSize && bytes.contains(&b'\n') => {
                let TerminalSize { rows, columns } = terminal.unwrap_or_default();
                let text = format!("{rows} {columns}\n");
                let _ = outputs.send(Ok(ExecOutput::Stdout(text.into_bytes()))).await;
            }
            Some(ExecInput::Signal(signal)) => return 128 + signal,
            Some(ExecInput::Resize(size)) => terminal = Some(size),
            Some(ExecInput::CloseStdin) | None if matches!(program, Program::Cat | Program::AskedSize) => {
                return 0;
            }
            _ => {}
        }
    }
}
