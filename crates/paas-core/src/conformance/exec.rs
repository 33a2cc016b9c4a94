//! The promises of [`Exec`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;

use super::{expect_kind, ok, track};
use crate::error::ErrorKind;
use crate::name::{ClusterName, TrackKey};
use crate::port::{
    Exec, ExecInput, ExecOptions, ExecOutput, ExecSession, ExecTarget, InstanceId, InstancePhase, RunInput,
    RunObservation, TerminalSize,
};

/// A command whose behaviour the suite knows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Prints this text and a line end on its standard output and ends with 0.
    Echo(String),
    /// Prints this text and a line end on its error output and ends with 0.
    Warn(String),
    /// Copies its input to its output until the input ends.
    Cat,
    /// Prints its environment, a `NAME=value` a line.
    Env,
    /// Ends with this code.
    Exit(i32),
    /// Runs for an hour.
    Sleep,
    /// Prints the size of its terminal as `ROWS COLUMNS`.
    Size,
    /// Prints the size of its terminal as `ROWS COLUMNS` after each line that it reads, and ends with 0 at the end of those.
    AskedSize,
    /// Is not in the image.
    Missing,
}

/// Commands under test.
#[async_trait]
pub trait ExecFixture: Send + Sync {
    /// The port.
    fn exec(&self) -> Arc<dyn Exec>;

    /// Makes one more instance of a track, with the variable `CONFORMANCE=yes`, and returns when it is ready.
    async fn start(&self, track: &TrackKey) -> InstanceId;

    /// Starts a run with a command; needed if the runtime has runs, with input and a terminal if it has interactive ones.
    async fn run(&self, track: &TrackKey, command: Command, input: RunInput) -> Option<InstanceId>;

    /// A run that was started by [`ExecFixture::run`] as the runtime sees it.
    async fn observe_run(&self, run: &InstanceId) -> Option<RunObservation>;

    /// The words of a command in the instances that [`ExecFixture::start`] makes.
    fn words(&self, command: &Command) -> Vec<String>;

    /// Whether a command that was started by the suite still runs in an instance; nothing if the backend cannot tell.
    async fn still_runs(&self, instance: &InstanceId, command: &Command) -> Option<bool>;

    /// The cluster's name.
    fn cluster(&self) -> ClusterName {
        ClusterName::local()
    }

    /// How long to wait for output.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// Defines a test for each promise of [`Exec`](crate::port::Exec): attributes of the tests, then an expression for the fixture.
#[macro_export]
macro_rules! exec_conformance {
    ($($form:tt)*) => {
        $crate::conformance_tests! { exec, [$($form)*],
            output_comes_before_the_exit_code,
            outputs_stay_apart_without_a_terminal,
            input_is_passed_on_and_can_end,
            dropping_the_input_closes_it,
            input_and_output_do_not_wait_for_each_other,
            the_environment_is_the_instances_own,
            a_terminal_has_the_size_asked_for,
            a_signal_ends_the_command,
            a_missing_command_is_invalid_and_named,
            an_instance_can_be_named,
            no_running_instance_is_not_found,
            dropping_the_session_ends_the_command,
            attaching_shows_a_runs_output_and_exit,
            a_run_goes_on_when_its_session_is_dropped,
            a_run_without_input_has_an_empty_one_and_takes_none,
            a_run_with_input_reads_it_to_its_end,
            a_run_that_ignores_its_input_prints_and_ends_with_its_code,
            a_run_with_a_terminal_has_the_size_of_whoever_is_attached,
            a_run_with_input_ends_when_its_session_is_dropped,
        }
    };
}

struct Case<'a> {
    fixture: &'a dyn ExecFixture,
    track: TrackKey,
}

#[derive(Debug, Default)]
struct Output {
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

impl<'a> Case<'a> {
    fn new(fixture: &'a dyn ExecFixture, name: &str) -> Self {
        Self { fixture, track: track(name, fixture.cluster()) }
    }

    fn options(&self, command: &Command) -> ExecOptions {
        ExecOptions { command: self.fixture.words(command), terminal: None, stdin: *command == Command::Cat }
    }

    async fn open(&self, options: &ExecOptions) -> ExecSession {
        let target = ExecTarget::Instance(self.track.clone(), None);
        ok(self.fixture.exec().exec(&target, options).await)
    }

    async fn perform(&self, command: Command) -> Output {
        let session = self.open(&self.options(&command)).await;
        self.collect(session).await
    }

    async fn collect(&self, session: ExecSession) -> Output {
        let ExecSession { input, mut output } = session;
        let mut all = Output::default();
        let read = tokio::time::timeout(self.fixture.patience(), async {
            while let Some(piece) = output.next().await {
                assert!(all.code.is_none(), "the exit code is the last piece");
                match ok(piece) {
                    ExecOutput::Stdout(bytes) => all.stdout.push_str(&String::from_utf8_lossy(&bytes)),
                    ExecOutput::Stderr(bytes) => all.stderr.push_str(&String::from_utf8_lossy(&bytes)),
                    ExecOutput::Exit(code) => all.code = Some(code),
                }
            }
        });
        assert!(read.await.is_ok(), "the command ends; so far: {all:?}");
        drop(input);
        all
    }
}

/// Every byte that the command printed comes before the exit code, which is the last piece.
pub async fn output_comes_before_the_exit_code(fixture: &dyn ExecFixture) {
    let case = Case::new(fixture, "exec-output");
    fixture.start(&case.track).await;
    let output = case.perform(Command::Echo("hello there".to_owned())).await;
    assert_eq!((output.stdout.as_str(), output.code), ("hello there\n", Some(0)));
    assert_eq!(case.perform(Command::Exit(3)).await.code, Some(3));
}

/// Without a terminal, output and error output stay apart.
pub async fn outputs_stay_apart_without_a_terminal(fixture: &dyn ExecFixture) {
    let case = Case::new(fixture, "exec-apart");
    fixture.start(&case.track).await;
    let output = case.perform(Command::Warn("careful".to_owned())).await;
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", "careful\n"));
}

/// Input is passed on; its end is seen by the command.
pub async fn input_is_passed_on_and_can_end(fixture: &dyn ExecFixture) {
    let case = Case::new(fixture, "exec-input");
    fixture.start(&case.track).await;
    let session = case.open(&case.options(&Command::Cat)).await;
    for text in ["one ", "two\n"] {
        session.input.send(ExecInput::Stdin(text.as_bytes().to_vec())).await.expect("it takes input");
    }
    session.input.send(ExecInput::CloseStdin).await.expect("it takes input");
    let output = case.collect(session).await;
    assert_eq!((output.stdout.as_str(), output.code), ("one two\n", Some(0)));
}

/// Dropping the sender closes the standard input.
pub async fn dropping_the_input_closes_it(fixture: &dyn ExecFixture) {
    let case = Case::new(fixture, "exec-closed");
    fixture.start(&case.track).await;
    let ExecSession { input, output } = case.open(&case.options(&Command::Cat)).await;
    drop(input);
    let (unused, _) = tokio::sync::mpsc::channel(1);
    assert_eq!(case.collect(ExecSession { input: unused, output }).await.code, Some(0));
}

/// A command that prints while it reads gets all of its input, however much that is: nobody waits for the other side.
pub async fn input_and_output_do_not_wait_for_each_other(fixture: &dyn ExecFixture) {
    const PIECES: usize = 64;
    let case = Case::new(fixture, "exec-both-ways");
    fixture.start(&case.track).await;
    let session = case.open(&case.options(&Command::Cat)).await;
    // More than any buffer on the way holds.
    let piece: Vec<u8> = "there and back\n".repeat(1000).into_bytes();
    let input = session.input.clone();
    let feed = async {
        for _ in 0..PIECES {
            input.send(ExecInput::Stdin(piece.clone())).await.expect("it takes input");
        }
        input.send(ExecInput::CloseStdin).await.expect("it takes input");
    };
    let (output, ()) = futures::join!(case.collect(session), feed);
    assert_eq!((output.stdout.len(), output.code), (PIECES * piece.len(), Some(0)));
}

/// The command runs with the instance's environment.
pub async fn the_environment_is_the_instances_own(fixture: &dyn ExecFixture) {
    let case = Case::new(fixture, "exec-env");
    fixture.start(&case.track).await;
    let output = case.perform(Command::Env).await;
    assert!(output.stdout.lines().any(|line| line == "CONFORMANCE=yes"), "{}", output.stdout);
}

/// A terminal has the size asked for.
pub async fn a_terminal_has_the_size_asked_for(fixture: &dyn ExecFixture) {
    let case = Case::new(fixture, "exec-terminal");
    fixture.start(&case.track).await;
    let terminal = Some(TerminalSize { columns: 101, rows: 37 });
    let session = case.open(&ExecOptions { terminal, ..case.options(&Command::Size) }).await;
    let output = case.collect(session).await;
    assert_eq!((output.stdout.trim(), output.code), ("37 101", Some(0)));
}

/// A signal reaches the command; its code is 128 and the signal.
pub async fn a_signal_ends_the_command(fixture: &dyn ExecFixture) {
    let case = Case::new(fixture, "exec-signal");
    fixture.start(&case.track).await;
    let session = case.open(&case.options(&Command::Sleep)).await;
    session.input.send(ExecInput::Signal(9)).await.expect("it takes input");
    assert_eq!(case.collect(session).await.code, Some(137));
}

/// A command that is not in the image is `Invalid`, and is named.
pub async fn a_missing_command_is_invalid_and_named(fixture: &dyn ExecFixture) {
    let case = Case::new(fixture, "exec-missing");
    fixture.start(&case.track).await;
    let options = case.options(&Command::Missing);
    let target = ExecTarget::Instance(case.track.clone(), None);
    let answer = fixture.exec().exec(&target, &options).await;
    let error = answer.expect_err("a missing command is refused");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error.report());
    assert!(error.report().contains(&options.command[0]), "it names the command: {}", error.report());
}

/// A named instance is the one that the command runs in; an unknown one is `NotFound`.
pub async fn an_instance_can_be_named(fixture: &dyn ExecFixture) {
    let case = Case::new(fixture, "exec-named");
    let instance = fixture.start(&case.track).await;
    let options = case.options(&Command::Exit(5));
    let target = ExecTarget::Instance(case.track.clone(), Some(instance));
    let session = ok(fixture.exec().exec(&target, &options).await);
    assert_eq!(case.collect(session).await.code, Some(5));
    let target = ExecTarget::Instance(case.track.clone(), Some(InstanceId("nobody".to_owned())));
    expect_kind(fixture.exec().exec(&target, &options).await, ErrorKind::NotFound, "an unknown instance");
}

/// No instance that runs is `NotFound`.
pub async fn no_running_instance_is_not_found(fixture: &dyn ExecFixture) {
    let case = Case::new(fixture, "exec-none");
    let target = ExecTarget::Instance(case.track.clone(), None);
    let answer = fixture.exec().exec(&target, &case.options(&Command::Exit(0))).await;
    expect_kind(answer, ErrorKind::NotFound, "nothing runs");
}

/// Dropping the session ends the command.
pub async fn dropping_the_session_ends_the_command(fixture: &dyn ExecFixture) {
    let case = Case::new(fixture, "exec-dropped");
    let instance = fixture.start(&case.track).await;
    let session = case.open(&case.options(&Command::Sleep)).await;
    drop(session);
    super::eventually("the command has ended", fixture.patience(), async || {
        match fixture.still_runs(&instance, &Command::Sleep).await {
            Some(true) => Err("it still runs"),
            Some(false) | None => Ok(()),
        }
    })
    .await;
}

/// Attaching to a run shows what it prints and how it ends.
pub async fn attaching_shows_a_runs_output_and_exit(fixture: &dyn ExecFixture) {
    let case = Case::new(fixture, "exec-attach");
    let Some(run) = fixture.run(&case.track, Command::Echo("from a run".to_owned()), RunInput::None).await
    else {
        return;
    };
    let options = ExecOptions { command: Vec::new(), terminal: None, stdin: false };
    let session = ok(fixture.exec().exec(&ExecTarget::Run(run), &options).await);
    let output = case.collect(session).await;
    assert_eq!((output.stdout.as_str(), output.code), ("from a run\n", Some(0)));
    let unknown = ExecTarget::Run(InstanceId("conformance-nobody".to_owned()));
    expect_kind(fixture.exec().exec(&unknown, &options).await, ErrorKind::NotFound, "an unknown run");
}

/// A run that is attached to goes on when the session is dropped.
pub async fn a_run_goes_on_when_its_session_is_dropped(fixture: &dyn ExecFixture) {
    let case = Case::new(fixture, "exec-detach");
    let Some(run) = fixture.run(&case.track, Command::Sleep, RunInput::None).await else { return };
    let options = ExecOptions::default();
    drop(ok(fixture.exec().exec(&ExecTarget::Run(run.clone()), &options).await));
    let session = ok(fixture.exec().exec(&ExecTarget::Run(run), &options).await);
    session.input.send(ExecInput::Signal(9)).await.expect("it can be attached to again");
    assert_eq!(case.collect(session).await.code, Some(137), "it ran until it was killed");
}

/// Attaches to a run as what it was started with.
async fn attach(fixture: &dyn ExecFixture, run: &InstanceId, input: RunInput) -> ExecSession {
    let terminal = (input == RunInput::Terminal).then_some(TerminalSize { columns: 101, rows: 37 });
    let options = ExecOptions { command: Vec::new(), terminal, stdin: input.is_interactive() };
    ok(fixture.exec().exec(&ExecTarget::Run(run.clone()), &options).await)
}

/// A run that was started without input reads the end of it at once; to pass some, or a terminal, is `Unsupported`.
pub async fn a_run_without_input_has_an_empty_one_and_takes_none(fixture: &dyn ExecFixture) {
    let case = Case::new(fixture, "exec-run-empty");
    let Some(run) = fixture.run(&case.track, Command::Cat, RunInput::None).await else { return };
    let target = ExecTarget::Run(run.clone());
    let terminal = Some(TerminalSize::default());
    for options in [
        ExecOptions { stdin: true, ..ExecOptions::default() },
        ExecOptions { terminal, ..ExecOptions::default() },
    ] {
        let answer = fixture.exec().exec(&target, &options).await;
        expect_kind(answer, ErrorKind::Unsupported, "it was started without");
    }
    let output = case.collect(attach(fixture, &run, RunInput::None).await).await;
    assert_eq!((output.stdout.as_str(), output.code), ("", Some(0)));
}

/// A run with input is given every byte of it, then its end; without a terminal it cannot have one.
pub async fn a_run_with_input_reads_it_to_its_end(fixture: &dyn ExecFixture) {
    const LINES: usize = 4_000;
    let case = Case::new(fixture, "exec-run-input");
    let Some(run) = fixture.run(&case.track, Command::Cat, RunInput::Stream).await else { return };
    let terminal = Some(TerminalSize::default());
    let options = ExecOptions { terminal, stdin: true, ..ExecOptions::default() };
    let answer = fixture.exec().exec(&ExecTarget::Run(run.clone()), &options).await;
    expect_kind(answer, ErrorKind::Unsupported, "it was started without a terminal");

    // More than any buffer on the way holds.
    let lines: Vec<String> = (0..LINES).map(|number| format!("line {number:0>59}\n")).collect();
    let text = lines.concat();
    let session = attach(fixture, &run, RunInput::Stream).await;
    let (input, pieces) = (session.input.clone(), text.clone().into_bytes());
    let feed = async {
        for piece in pieces.chunks(10_000) {
            input.send(ExecInput::Stdin(piece.to_vec())).await.expect("it takes input");
        }
        input.send(ExecInput::CloseStdin).await.expect("it takes input");
    };
    let (output, ()) = futures::join!(case.collect(session), feed);
    assert_eq!((output.stdout.len(), output.code), (text.len(), Some(0)));
    assert!(output.stdout == text, "every byte is where it was");
}

/// What a run with input prints is not lost if it reads nothing and is over soon, and its code is told.
pub async fn a_run_that_ignores_its_input_prints_and_ends_with_its_code(fixture: &dyn ExecFixture) {
    for (input, name) in [(RunInput::Stream, "exec-run-quick"), (RunInput::Terminal, "exec-run-brief")] {
        let case = Case::new(fixture, name);
        let Some(run) = fixture.run(&case.track, Command::Echo("at once".to_owned()), input).await else {
            return;
        };
        let session = attach(fixture, &run, input).await;
        let _ = session.input.send(ExecInput::Stdin(b"not read\n".to_vec())).await; // it may be over
        let output = case.collect(session).await;
        assert!(output.stdout.contains("at once"), "{input:?}: {output:?}");
        assert_eq!(output.code, Some(0), "{input:?}: {output:?}");
    }
    let case = Case::new(fixture, "exec-run-code");
    let Some(run) = fixture.run(&case.track, Command::Exit(3), RunInput::Stream).await else { return };
    assert_eq!(case.collect(attach(fixture, &run, RunInput::Stream).await).await.code, Some(3));
    let seen = fixture.observe_run(&run).await.expect("it is kept");
    assert_eq!(seen.exit.and_then(|exit| exit.code), Some(3), "the runtime tells the same");
}

/// The terminal of a run has the size of the one that is attached.
pub async fn a_run_with_a_terminal_has_the_size_of_whoever_is_attached(fixture: &dyn ExecFixture) {
    let case = Case::new(fixture, "exec-run-terminal");
    let Some(run) = fixture.run(&case.track, Command::AskedSize, RunInput::Terminal).await else { return };
    let mut session = attach(fixture, &run, RunInput::Terminal).await;
    for size in [TerminalSize { columns: 101, rows: 37 }, TerminalSize { columns: 99, rows: 33 }] {
        let wanted = format!("{} {}", size.rows, size.columns);
        let mut shown = String::new();
        let told = async {
            while !shown.contains(&wanted) {
                // A size may arrive after the line that was sent behind it.
                session.input.send(ExecInput::Resize(size)).await.expect("it takes input");
                session.input.send(ExecInput::Stdin(b"\n".to_vec())).await.expect("it takes input");
                match session.output.next().await.map(ok) {
                    Some(ExecOutput::Stdout(bytes)) => shown.push_str(&String::from_utf8_lossy(&bytes)),
                    other => panic!("it goes on, and not with {other:?}"),
                }
            }
        };
        assert!(tokio::time::timeout(fixture.patience(), told).await.is_ok(), "{wanted}: {shown:?}");
    }
    session.input.send(ExecInput::CloseStdin).await.expect("it takes input");
    assert_eq!(case.collect(session).await.code, Some(0));
}

/// A run with input is hung up when the session is dropped, and that is not taken for a success.
pub async fn a_run_with_input_ends_when_its_session_is_dropped(fixture: &dyn ExecFixture) {
    for (input, name) in [(RunInput::Stream, "exec-run-left"), (RunInput::Terminal, "exec-run-gone")] {
        let case = Case::new(fixture, name);
        let Some(run) = fixture.run(&case.track, Command::Sleep, input).await else { return };
        let session = attach(fixture, &run, input).await;
        super::eventually("the run is under way", fixture.patience(), async || {
            match fixture.observe_run(&run).await {
                Some(seen) if seen.phase == InstancePhase::Ready => Ok(()),
                other => Err(other),
            }
        })
        .await;
        drop(session);
        let seen = super::eventually("the run has ended", fixture.patience(), async || {
            match fixture.observe_run(&run).await {
                Some(seen) if seen.phase != InstancePhase::Exited => Err(seen),
                ended => Ok(ended),
            }
        })
        .await;
        let code = seen.and_then(|seen| seen.exit).and_then(|exit| exit.code);
        assert_ne!(code, Some(0), "{input:?}: it did not succeed");
    }
}
