//! What the machine promises of runs with input or a terminal, beyond the suite.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use paas_core::conformance::Promise;
use paas_core::port::{
    Exec as _, ExecInput, ExecOptions, ExecSession, ExecTarget, InstanceId, InstancePhase, RunInput,
    RunObservation, RunSpec, Runtime as _, TerminalSize,
};
use paas_core::{ClusterName, ErrorKind};

use super::commands::all;
use super::fixture::{EPOCH, Fixture, eventually, ok};

pub(crate) fn promises() -> Vec<Promise<Fixture>> {
    macro_rules! list {
        ($($name:ident),* $(,)?) => {
            vec![$(Promise { name: stringify!($name), check: |fixture| Box::pin($name(fixture)) }),*]
        };
    }
    list![
        keys_of_a_runs_terminal_are_signals,
        a_run_waits_for_whoever_is_attached_also_over_a_restart,
        a_run_with_input_is_attached_to_once,
        a_run_whose_conversation_ended_with_the_machine_is_lost,
        a_run_that_is_hung_up_tells_the_signal,
        a_missing_command_is_named_to_who_is_attached,
    ]
}

async fn start(fixture: &Fixture, words: &[&str], input: RunInput) -> InstanceId {
    let component = fixture.component("web");
    let spec = RunSpec {
        id: InstanceId("one-run".to_owned()),
        track: component.on(ClusterName::local()),
        template: fixture.template(&component, &[]),
        command: Some(words.iter().map(|word| (*word).to_owned()).collect()),
        env: BTreeMap::new(),
        input,
        labels: BTreeMap::new(),
    };
    ok(fixture.machine().start_run(EPOCH, &spec).await);
    spec.id
}

fn options(terminal: bool) -> ExecOptions {
    ExecOptions { command: Vec::new(), terminal: terminal.then(TerminalSize::default), stdin: true }
}

async fn attach(fixture: &Fixture, run: &InstanceId, terminal: bool) -> ExecSession {
    ok(fixture.machine().exec(&ExecTarget::Run(run.clone()), &options(terminal)).await)
}

async fn until_exited(fixture: &Fixture, run: &InstanceId) -> RunObservation {
    eventually("the run has ended", async || match ok(fixture.machine().observe_run(run).await) {
        Some(seen) if seen.phase == InstancePhase::Exited => Ok(seen),
        other => Err(other),
    })
    .await
}

async fn keys_of_a_runs_terminal_are_signals(fixture: &Fixture) {
    let run = start(fixture, &["/app", "sizes"], RunInput::Terminal).await;
    let mut session = attach(fixture, &run, true).await;
    let resized = ExecInput::Resize(TerminalSize { columns: 77, rows: 11 });
    // Until the command looks: it sees a change only.
    let painted = async {
        loop {
            session.input.send(resized.clone()).await.expect("it takes input");
            let other = ExecInput::Resize(TerminalSize { columns: 78, rows: 11 });
            session.input.send(other).await.expect("it takes input");
            let piece = tokio::time::timeout(std::time::Duration::from_millis(200), session.output.next());
            if piece.await.is_ok() {
                break;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), painted).await.expect("it is told of its size");
    session.input.send(ExecInput::Stdin(b"\x03".to_vec())).await.expect("it takes input");
    assert_eq!(all(&mut session).await.code, Some(130));
    assert_eq!(until_exited(fixture, &run).await.exit.and_then(|exit| exit.code), Some(130));
}

async fn a_run_waits_for_whoever_is_attached_also_over_a_restart(fixture: &Fixture) {
    let run = start(fixture, &["/app", "copy"], RunInput::Stream).await;
    eventually("it waits", async || match ok(fixture.machine().observe_run(&run).await) {
        Some(seen) if seen.phase == InstancePhase::Ready => Ok(()),
        other => Err(other),
    })
    .await;
    fixture.machine().close().await;
    fixture.open_again().await;
    let mut session = attach(fixture, &run, false).await;
    session.input.send(ExecInput::Stdin(b"after the restart".to_vec())).await.expect("it takes input");
    session.input.send(ExecInput::CloseStdin).await.expect("it takes input");
    let said = all(&mut session).await;
    assert_eq!((said.text().as_str(), said.code), ("after the restart", Some(0)));
    // How it ended is known after the next one too.
    fixture.machine().close().await;
    fixture.open_again().await;
    assert_eq!(until_exited(fixture, &run).await.exit.and_then(|exit| exit.code), Some(0));
}

async fn a_run_with_input_is_attached_to_once(fixture: &Fixture) {
    let run = start(fixture, &["/app", "copy"], RunInput::Stream).await;
    let mut session = attach(fixture, &run, false).await;
    let second = fixture.machine().exec(&ExecTarget::Run(run.clone()), &options(false)).await;
    assert_eq!(second.expect_err("somebody is there").kind(), ErrorKind::Conflict);
    session.input.send(ExecInput::CloseStdin).await.expect("it takes input");
    assert_eq!(all(&mut session).await.code, Some(0), "the first one is not disturbed");
}

async fn a_run_whose_conversation_ended_with_the_machine_is_lost(fixture: &Fixture) {
    let run = start(fixture, &["/app", "sleep"], RunInput::Stream).await;
    let mut session = attach(fixture, &run, false).await;
    eventually("it runs", async || match ok(fixture.machine().observe_run(&run).await) {
        Some(seen) if seen.phase == InstancePhase::Ready => Ok(()),
        other => Err(other),
    })
    .await;
    fixture.machine().close().await;
    let end = session.output.next().await.expect("it says so").expect_err("there is no exit code");
    assert_eq!(end.kind(), ErrorKind::Unavailable, "{}", end.report());
    fixture.open_again().await;
    let seen = until_exited(fixture, &run).await;
    assert_eq!((seen.exit, seen.failure.map(|it| it.reason)), (None, Some("lost".to_owned())));
}

async fn a_run_that_is_hung_up_tells_the_signal(fixture: &Fixture) {
    let run = start(fixture, &["/app", "sleep"], RunInput::Stream).await;
    drop(attach(fixture, &run, false).await);
    let exit = until_exited(fixture, &run).await.exit.expect("how it ended is known");
    assert_eq!((exit.code, exit.signal), (None, Some(1)));
}

async fn a_missing_command_is_named_to_who_is_attached(fixture: &Fixture) {
    let run = start(fixture, &["no-such-program"], RunInput::Stream).await;
    let mut session = attach(fixture, &run, false).await;
    let end = session.output.next().await.expect("it says so").expect_err("there is no exit code");
    assert!(end.report().contains("no-such-program"), "{}", end.report());
    let failure = until_exited(fixture, &run).await.failure.expect("it has not run");
    assert_eq!(failure.reason, "no_entry_point", "{failure:?}");
}
