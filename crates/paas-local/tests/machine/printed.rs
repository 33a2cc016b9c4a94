//! What the machine promises of lines and of runs that are attached to, beyond the suites.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use paas_core::conformance::Promise;
use paas_core::conformance::logs::LogsFixture as _;
use paas_core::model::Template;
use paas_core::port::{
    BoxStream, Exec as _, ExecInput, ExecOptions, ExecTarget, InstanceId, LogLine, LogOptions, LogStream,
    Logs as _, RunInput, RunSpec, Runtime as _, SetKey, TerminalSize,
};
use paas_core::{ClusterName, ErrorKind, TrackKey};

use super::commands::{all, options};
use super::fixture::{EPOCH, Fixture, eventually, get_from, ok};

pub(crate) fn promises() -> Vec<Promise<Fixture>> {
    macro_rules! list {
        ($($name:ident),* $(,)?) => {
            vec![$(Promise { name: stringify!($name), check: |fixture| Box::pin($name(fixture)) }),*]
        };
    }
    list![
        a_reader_that_is_slower_than_the_log_turns_over_is_told_how_many_lines_it_missed,
        a_long_line_comes_whole,
        lines_of_an_instance_that_crashes_are_there_while_it_waits,
        lines_survive_the_machine_and_go_with_the_instance,
        more_readers_than_a_supervisor_listens_to_all_follow,
        lines_of_runs_are_lines_of_their_track,
        a_run_is_attached_to_byte_for_byte,
        a_run_that_does_nothing_about_an_interrupt_ends_by_it,
        a_run_takes_no_input_and_says_so,
        a_run_that_cannot_start_says_so_to_who_is_attached,
    ]
}

async fn open(fixture: &Fixture, track: &TrackKey, options: &LogOptions) -> BoxStream<LogLine> {
    ok(fixture.machine().logs(track, options).await)
}

async fn read(fixture: &Fixture, track: &TrackKey, options: &LogOptions) -> Vec<LogLine> {
    let lines = open(fixture, track, options).await.map(ok).collect::<Vec<_>>();
    tokio::time::timeout(Duration::from_secs(30), lines).await.expect("a stream without follow ends")
}

fn texts(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

fn following() -> LogOptions {
    LogOptions { follow: true, tail: Some(0), ..LogOptions::default() }
}

async fn until(lines: &mut BoxStream<LogLine>, expected: &str) {
    let wait = async { while ok(lines.next().await.expect("it goes on")).text != expected {} };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("the line comes");
}

async fn a_reader_that_is_slower_than_the_log_turns_over_is_told_how_many_lines_it_missed(fixture: &Fixture) {
    const LINES: usize = 150_000;
    let key = fixture.ensure(fixture.web(&fixture.component("web")), 1).await;
    let set = fixture.until_ready(&key, 1).await;
    let mut lines = open(fixture, &key.track, &following()).await;
    // More than is kept: eight megabytes.
    get_from(fixture, &set.instances[0].id, &format!("/flood/{LINES}")).await;
    let (mut seen, mut missed) = (0, 0);
    let wait = async {
        loop {
            let line = ok(lines.next().await.expect("it goes on"));
            if line.stream == LogStream::Platform {
                let count = line.text.split(' ').next().and_then(|word| word.parse::<usize>().ok());
                missed += count.unwrap_or_else(|| panic!("it has a count: {line:?}"));
            } else if let Some(number) = line.text.strip_prefix("flood ") {
                let number: usize = number.split(' ').next().expect("a number").parse().expect("a number");
                seen += 1;
                assert_eq!(number + 1, seen + missed, "what is missed is counted where it is missing");
                if number + 1 == LINES {
                    return;
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), wait).await.expect("the last line comes");
    println!("{seen} lines came, {missed} were missed");
    assert!(missed > 0, "the log has turned over");
}

async fn a_long_line_comes_whole(fixture: &Fixture) {
    let key = fixture.ensure(fixture.web(&fixture.component("web")), 1).await;
    let set = fixture.until_ready(&key, 1).await;
    let text = "abcdefgh".repeat(10_000);
    get_from(fixture, &set.instances[0].id, &format!("/print/{text}")).await;
    eventually("the line", async || {
        let lines = read(fixture, &key.track, &LogOptions { tail: Some(1), ..LogOptions::default() }).await;
        if texts(&lines) == [text.as_str()] { Ok(()) } else { Err(lines.first().map(|line| line.text.len())) }
    })
    .await;
}

async fn lines_of_an_instance_that_crashes_are_there_while_it_waits(fixture: &Fixture) {
    let template = fixture.template(&fixture.component("web"), &["fail", "3", "no such key: PORT"]);
    let key = fixture.ensure(template, 1).await;
    fixture.until("a crash loop", &key, |set| set.instances[0].restarts > 2).await;
    for previous in [false, true] {
        eventually("what it said", async || {
            let options = LogOptions { previous, ..LogOptions::default() };
            let lines = read(fixture, &key.track, &options).await;
            if texts(&lines) == ["no such key: PORT"] { Ok(()) } else { Err(lines) }
        })
        .await;
    }
    let folders = std::fs::read_dir(fixture.state().join("instances")).expect("the instances").count();
    assert!(folders <= 2, "{folders} containers are kept of one that crashes");
}

async fn lines_survive_the_machine_and_go_with_the_instance(fixture: &Fixture) {
    let key = fixture.ensure(fixture.web(&fixture.component("web")), 1).await;
    let instance = fixture.until_ready(&key, 1).await.instances[0].id.clone();
    fixture.print(&instance, "before the restart").await;
    fixture.restart(&instance).await;
    fixture.print(&instance, "after the restart").await;
    fixture.machine().close().await;
    fixture.open_again().await;
    let lines = read(fixture, &key.track, &LogOptions::default()).await;
    assert_eq!(texts(&lines), ["listening", "after the restart"]);
    let previous = LogOptions { previous: true, ..LogOptions::default() };
    assert_eq!(texts(&read(fixture, &key.track, &previous).await), ["listening", "before the restart"]);
    let ended = fixture.state().join(format!("instances/{instance}-r0"));
    assert!(!ended.join("upper").exists(), "what the instance before the restart wrote is gone");

    let mut lines = open(fixture, &key.track, &following()).await;
    ok(fixture.machine().remove(EPOCH, &key).await);
    eventually("the set is gone", async || fixture.observe(&key).await.map_or(Ok(()), Err)).await;
    assert!(read(fixture, &key.track, &LogOptions::default()).await.is_empty());
    let left = std::fs::read_dir(fixture.state().join("instances")).expect("the instances").count();
    assert_eq!(left, 0, "no folder is left");
    // Who follows the track goes on with what comes later.
    let again = fixture.ensure(fixture.web(&fixture.component("web")), 1).await;
    fixture.until_ready(&again, 1).await;
    until(&mut lines, "listening").await;
}

async fn more_readers_than_a_supervisor_listens_to_all_follow(fixture: &Fixture) {
    let key = fixture.ensure(fixture.web(&fixture.component("web")), 1).await;
    let instance = fixture.until_ready(&key, 1).await.instances[0].id.clone();
    let mut readers = Vec::new();
    for _ in 0..80 {
        readers.push(open(fixture, &key.track, &LogOptions { follow: true, ..LogOptions::default() }).await);
    }
    for lines in &mut readers {
        until(lines, "listening").await;
    }
    fixture.print(&instance, "for all").await;
    futures::future::join_all(readers.iter_mut().map(|lines| until(lines, "for all"))).await;
}

/// Starts a run of the test program.
async fn run(fixture: &Fixture, words: &[&str], change: impl FnOnce(&mut Template)) -> RunSpec {
    let component = fixture.component("web");
    let mut template = fixture.template(&component, words);
    change(&mut template);
    let spec = RunSpec {
        id: InstanceId("one-run".to_owned()),
        track: component.on(ClusterName::local()),
        template,
        command: None,
        env: BTreeMap::new(),
        input: RunInput::None,
        labels: BTreeMap::new(),
    };
    ok(fixture.machine().start_run(EPOCH, &spec).await);
    spec
}

async fn attach(fixture: &Fixture, run: &RunSpec) -> paas_core::port::ExecSession {
    ok(fixture.machine().exec(&ExecTarget::Run(run.id.clone()), &options(&[])).await)
}

async fn lines_of_runs_are_lines_of_their_track(fixture: &Fixture) {
    let component = fixture.component("web");
    let key = SetKey { track: component.on(ClusterName::local()), revision: super::fixture::revision("r1") };
    fixture.ensure(fixture.web(&component), 1).await;
    fixture.until_ready(&key, 1).await;
    let mut lines = open(fixture, &key.track, &following()).await;
    let run = run(fixture, &["say", "from a run"], |_| {}).await;
    until(&mut lines, "from a run").await;
    let only = LogOptions { instance: Some(run.id.clone()), ..LogOptions::default() };
    eventually("the line of the run", async || {
        let lines = read(fixture, &key.track, &only).await;
        if texts(&lines) == ["from a run"] { Ok(()) } else { Err(lines) }
    })
    .await;
    ok(fixture.machine().remove_run(EPOCH, &run.id).await);
    let answer = fixture.machine().logs(&key.track, &only).await.map(|_| ());
    assert_eq!(answer.expect_err("it is forgotten").kind(), ErrorKind::NotFound);
}

async fn a_run_is_attached_to_byte_for_byte(fixture: &Fixture) {
    let run = run(fixture, &["bytes"], |_| {}).await;
    let said = all(&mut attach(fixture, &run).await).await;
    assert_eq!((said.stdout.as_slice(), said.code), (&[0xff, 0x00, b'\n', 0xfe][..], Some(0)));
    // Also when it has ended, and when the machine was opened again.
    assert_eq!(all(&mut attach(fixture, &run).await).await, said);
    fixture.machine().close().await;
    fixture.open_again().await;
    assert_eq!(all(&mut attach(fixture, &run).await).await, said);
}

async fn a_run_that_does_nothing_about_an_interrupt_ends_by_it(fixture: &Fixture) {
    let run = run(fixture, &["sleep"], |_| {}).await;
    let mut session = attach(fixture, &run).await;
    session.input.send(ExecInput::Signal(2)).await.expect("it takes input");
    assert_eq!(all(&mut session).await.code, Some(137));
}

async fn a_run_takes_no_input_and_says_so(fixture: &Fixture) {
    let run = run(fixture, &["sleep"], |_| {}).await;
    let terminal = Some(TerminalSize { columns: 80, rows: 24 });
    for options in [
        ExecOptions { stdin: true, ..ExecOptions::default() },
        ExecOptions { terminal, ..ExecOptions::default() },
    ] {
        let answer = fixture.machine().exec(&ExecTarget::Run(run.id.clone()), &options).await;
        assert_eq!(answer.expect_err("it has neither").kind(), ErrorKind::Unsupported);
    }
}

async fn a_run_that_cannot_start_says_so_to_who_is_attached(fixture: &Fixture) {
    let run = run(fixture, &[], |template| template.command = Some(vec!["no-such-program".to_owned()])).await;
    let mut session = attach(fixture, &run).await;
    let end = session.output.next().await.expect("it says so").expect_err("there is no exit code");
    assert!(end.report().contains("no-such-program"), "{}", end.report());
}
