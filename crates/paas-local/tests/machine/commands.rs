//! What the machine promises of commands in instances, beyond the suite.

use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use paas_core::ErrorKind;
use paas_core::conformance::Promise;
use paas_core::model::{ResolvedValue, SecretFingerprint, SecretRef, Template};
use paas_core::port::{
    Exec as _, ExecInput, ExecOptions, ExecOutput, ExecSession, ExecTarget, InstanceId, SetKey, TerminalSize,
};

use super::fixture::{CANARY, Fixture, document, eventually, holds, number, ok, processes};
use super::image;

pub(crate) fn promises() -> Vec<Promise<Fixture>> {
    macro_rules! list {
        ($($name:ident),* $(,)?) => {
            vec![$(Promise { name: stringify!($name), check: |fixture| Box::pin($name(fixture)) }),*]
        };
    }
    list![
        a_command_has_the_namespaces_limits_and_rights_of_its_instance,
        a_command_is_the_instances_user_in_its_working_directory,
        secrets_reach_a_command_and_no_disk,
        a_terminal_belongs_to_the_instance_and_can_be_resized,
        keys_of_a_terminal_are_signals_and_the_end_of_input,
        much_input_comes_back_whole,
        signals_reach_a_command_that_reads_nothing,
        many_commands_run_at_once,
        a_dropped_session_leaves_nothing_of_a_command_behind,
        what_a_command_leaves_in_its_session_ends_with_it,
        a_command_ends_with_its_helper,
        a_command_ends_with_the_server,
        a_command_ends_with_its_instance,
        closing_the_machine_ends_commands,
        the_runtimes_program_cannot_be_written_from_a_container,
        what_is_no_command_is_refused,
    ]
}

/// Everything that a command said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) code: Option<i32>,
}

impl Said {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    fn take(&mut self, piece: ExecOutput) {
        match piece {
            ExecOutput::Stdout(bytes) => self.stdout.extend(bytes),
            ExecOutput::Stderr(bytes) => self.stderr.extend(bytes),
            ExecOutput::Exit(code) => self.code = Some(code),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn options(words: &[&str]) -> ExecOptions {
    let command = words.iter().map(|word| (*word).to_owned()).collect();
    ExecOptions { command, terminal: None, stdin: false }
}

const SIZE: TerminalSize = TerminalSize { columns: 80, rows: 24 };

fn with_terminal(words: &[&str]) -> ExecOptions {
    ExecOptions { terminal: Some(SIZE), stdin: true, ..options(words) }
}

async fn open(fixture: &Fixture, key: &SetKey, options: &ExecOptions) -> ExecSession {
    let target = ExecTarget::Instance(key.track.clone(), None);
    ok(fixture.machine().exec(&target, options).await)
}

/// Reads a session to its end.
pub(crate) async fn all(session: &mut ExecSession) -> Said {
    let mut said = Said::default();
    let read = tokio::time::timeout(Duration::from_mins(1), async {
        while let Some(piece) = session.output.next().await {
            said.take(ok(piece));
        }
    });
    assert!(read.await.is_ok(), "the command ends; so far: {said:?}");
    said
}

/// Runs a command to its end.
pub(crate) async fn perform(fixture: &Fixture, key: &SetKey, words: &[&str]) -> Said {
    all(&mut open(fixture, key, &options(words)).await).await
}

/// Reads until the text of the output is as wished.
async fn until(session: &mut ExecSession, condition: impl Fn(&str) -> bool) -> String {
    let mut said = Said::default();
    let read = tokio::time::timeout(Duration::from_secs(30), async {
        while !condition(&said.text()) {
            said.take(ok(session.output.next().await.expect("it goes on")));
        }
    });
    assert!(read.await.is_ok(), "the command says more than {said:?}");
    said.text()
}

async fn type_in(session: &ExecSession, text: &str) {
    session.input.send(ExecInput::Stdin(text.as_bytes().to_vec())).await.expect("it takes input");
}

async fn started(fixture: &Fixture, template: Template) -> (SetKey, InstanceId) {
    let key = fixture.ensure(template, 1).await;
    let set = fixture.until_ready(&key, 1).await;
    (key, set.instances[0].id.clone())
}

async fn web(fixture: &Fixture) -> (SetKey, InstanceId) {
    started(fixture, fixture.web(&fixture.component("web"))).await
}

/// Waits until only the first process runs in an instance.
async fn until_alone(fixture: &Fixture, instance: &InstanceId) {
    eventually("nothing but the first process", async || {
        let running = processes(fixture, instance);
        if running.len() == 1 { Ok(()) } else { Err(running) }
    })
    .await;
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(name)).map_or_else(|| panic!("no {name}"), str::trim)
}

async fn a_command_has_the_namespaces_limits_and_rights_of_its_instance(fixture: &Fixture) {
    let (key, _) = web(fixture).await;
    let status = perform(fixture, &key, &["/app", "status"]).await.text();
    for set in ["CapBnd:", "CapEff:", "CapPrm:"] {
        assert_eq!(field(&status, set), "00000000a80425fb", "{set}");
    }
    for set in ["CapAmb:", "CapInh:"] {
        assert_eq!(field(&status, set), "0000000000000000", "{set}");
    }
    assert_eq!((field(&status, "NoNewPrivs:"), field(&status, "Seccomp:")), ("1", "2"));
    let names = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
    let links = async |of: &str| {
        let links: Vec<String> = names.iter().map(|name| format!("/proc/{of}/ns/{name}")).collect();
        let words: Vec<&str> =
            ["/app", "links"].into_iter().chain(links.iter().map(String::as_str)).collect();
        perform(fixture, &key, &words).await.text().replace(&format!("/proc/{of}/"), "")
    };
    let own = links("self").await;
    assert!(own.lines().count() == names.len() && !own.contains("Denied"), "{own}");
    assert_eq!(own, links("1").await);
    let groups =
        async |of: &str| perform(fixture, &key, &["/app", "cat", &format!("/proc/{of}/cgroup")]).await;
    assert_eq!(groups("self").await, groups("1").await);
    let limits =
        async |of: &str| perform(fixture, &key, &["/app", "cat", &format!("/proc/{of}/limits")]).await;
    assert_eq!(limits("self").await, limits("1").await);
    // Namespaces cannot be made, and what is open is open for the command.
    assert_eq!(perform(fixture, &key, &["/app", "syscall", "272", "268435456"]).await.text(), "-1 1\n");
    assert_eq!(perform(fixture, &key, &["/app", "descriptors"]).await.text(), "[0, 1, 2]\n");
}

async fn a_command_is_the_instances_user_in_its_working_directory(fixture: &Fixture) {
    let mut template = fixture.web(&fixture.component("web"));
    template.security.user = Some("app".to_owned());
    template.working_dir = Some("/srv/deep".to_owned());
    let (key, _) = started(fixture, template).await;
    let status = perform(fixture, &key, &["/app", "status"]).await.text();
    assert_eq!(field(&status, "Uid:"), "1000\t1000\t1000\t1000");
    assert_eq!(field(&status, "Gid:"), "1001\t1001\t1001\t1001");
    for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
        assert_eq!(field(&status, set), "0000000000000000", "{set}");
    }
    assert_eq!(field(&status, "NoNewPrivs:"), "1");
    assert_eq!(perform(fixture, &key, &["/app", "where"]).await.text(), "/srv/deep\n");
    let env = perform(fixture, &key, &["/app", "env"]).await.text();
    assert!(env.lines().any(|line| line == "HOME=/home/app"), "{env}");
}

async fn secrets_reach_a_command_and_no_disk(fixture: &Fixture) {
    let mut template = fixture.web(&fixture.component("web"));
    let secret =
        SecretRef { name: "TOKEN".to_owned(), version: 1, fingerprint: SecretFingerprint("0".repeat(64)) };
    template.env.insert("TOKEN".to_owned(), ResolvedValue::Secret(secret));
    let (key, instance) = started(fixture, template).await;
    let env = perform(fixture, &key, &["/app", "env"]).await.text();
    let lines: Vec<&str> = env.lines().collect();
    assert!(lines.contains(&format!("TOKEN={CANARY}").as_str()), "{env}");
    assert!(lines.contains(&format!("PAAS_INSTANCE={instance}").as_str()), "{env}");
    assert!(lines.contains(&"HOME=/root"), "{env}");
    assert!(!env.contains("TERM="), "{env}");
    assert!(!holds(&fixture.state(), CANARY), "the secret is on the disk");
    assert!(holds(&fixture.state(), "PAAS_INSTANCE"), "the search finds what is there");
}

async fn a_terminal_belongs_to_the_instance_and_can_be_resized(fixture: &Fixture) {
    let mut template = fixture.web(&fixture.component("web"));
    template.security.user = Some("app".to_owned());
    let (key, _) = started(fixture, template).await;
    let said = all(&mut open(fixture, &key, &with_terminal(&["/app", "tty"])).await).await.text();
    assert_eq!(said, "0 /dev/pts/0\r\n1 /dev/pts/0\r\n2 /dev/pts/0\r\n");
    let words = ["/app", "write", "/dev/pts/0", "by its name "];
    let said = all(&mut open(fixture, &key, &with_terminal(&words)).await).await.text();
    assert_eq!(said, "by its name written\r\n", "it belongs to the user");
    let env = all(&mut open(fixture, &key, &with_terminal(&["/app", "env"])).await).await.text();
    assert!(env.lines().any(|line| line == "TERM=xterm"), "{env}");

    let mut session = open(fixture, &key, &with_terminal(&["/app", "sizes"])).await;
    until(&mut session, |text| text.contains("24 80\r\n")).await;
    let size = TerminalSize { columns: 132, rows: 50 };
    session.input.send(ExecInput::Resize(size)).await.expect("it takes input");
    until(&mut session, |text| text.contains("50 132\r\n")).await;
}

async fn keys_of_a_terminal_are_signals_and_the_end_of_input(fixture: &Fixture) {
    let (key, instance) = web(fixture).await;
    let mut session = open(fixture, &key, &with_terminal(&["/app", "echo"])).await;
    type_in(&session, "hello\n").await;
    let said = until(&mut session, |text| text.contains("echo hello\r\n")).await;
    assert!(said.starts_with("hello\r\n"), "what is typed is shown: {said:?}");
    type_in(&session, "\u{3}").await;
    assert_eq!(all(&mut session).await.code, Some(130), "Ctrl-C is SIGINT");

    for typed in ["line\n", "without line end"] {
        let mut session = open(fixture, &key, &with_terminal(&["/app", "copy"])).await;
        type_in(&session, typed).await;
        session.input.send(ExecInput::CloseStdin).await.expect("it takes input");
        let said = all(&mut session).await;
        let shown = typed.replace('\n', "\r\n");
        assert_eq!((said.text(), said.code), (format!("{shown}{shown}"), Some(0)));
    }
    until_alone(fixture, &instance).await;
}

async fn much_input_comes_back_whole(fixture: &Fixture) {
    let (key, _) = web(fixture).await;
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut session = open(fixture, &key, &ExecOptions { stdin: true, ..options(&["/app", "copy"]) }).await;
    let input = session.input.clone();
    let pieces: Vec<Vec<u8>> = bytes.chunks(70_001).map(<[u8]>::to_vec).collect();
    let sent = tokio::spawn(async move {
        for piece in pieces {
            input.send(ExecInput::Stdin(piece)).await.expect("it takes input");
        }
        input.send(ExecInput::CloseStdin).await.expect("it takes input");
    });
    let said = all(&mut session).await;
    sent.await.expect("all was sent");
    assert_eq!(said.code, Some(0));
    assert!(said.stdout == bytes, "{} bytes came back of {}", said.stdout.len(), bytes.len());
}

async fn signals_reach_a_command_that_reads_nothing(fixture: &Fixture) {
    let (key, _) = web(fixture).await;
    let mut session = open(fixture, &key, &ExecOptions { stdin: true, ..options(&["/app", "sleep"]) }).await;
    type_in(&session, &"x".repeat(500_000)).await;
    session.input.send(ExecInput::Signal(15)).await.expect("it takes input");
    assert_eq!(all(&mut session).await.code, Some(143));
}

async fn many_commands_run_at_once(fixture: &Fixture) {
    let (key, instance) = web(fixture).await;
    let begun = Instant::now();
    let commands = (0..20).map(async |n| {
        let text = n.to_string();
        let said = perform(fixture, &key, &["/app", "say", &text]).await;
        assert_eq!((said.text(), said.code), (format!("{n}\n"), Some(0)));
    });
    futures::future::join_all(commands).await;
    println!("twenty commands took {:?}", begun.elapsed());
    until_alone(fixture, &instance).await;
}

async fn a_dropped_session_leaves_nothing_of_a_command_behind(fixture: &Fixture) {
    let (key, instance) = web(fixture).await;
    for options in [with_terminal(&["/app", "ignore-term"]), options(&["/app", "ignore-term"])] {
        let mut session = open(fixture, &key, &options).await;
        until(&mut session, |text| text.contains("ready")).await;
        let dropped = Instant::now();
        drop(session);
        until_alone(fixture, &instance).await;
        assert!(dropped.elapsed() >= Duration::from_secs(1), "it had time to end by itself");
    }
    let dropped = Instant::now();
    drop(open(fixture, &key, &options(&["/app", "sleep"])).await);
    until_alone(fixture, &instance).await;
    println!("a command that does nothing about it was gone {:?} after the hang-up", dropped.elapsed());
    no_helper_is_left(fixture).await;
}

async fn what_a_command_leaves_in_its_session_ends_with_it(fixture: &Fixture) {
    let (key, instance) = web(fixture).await;
    let said = perform(fixture, &key, &["/app", "forks", "3"]).await;
    assert_eq!((said.text().as_str(), said.code), ("3 children\n", Some(0)));
    until_alone(fixture, &instance).await;
    no_helper_is_left(fixture).await;
}

/// The helpers of commands that run for this machine.
fn helpers(fixture: &Fixture) -> Vec<rustix::process::Pid> {
    let folder = fixture.state().join("instances");
    let all = std::fs::read_dir("/proc").expect("there is /proc").flatten();
    let helpers = all.filter(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.starts_with("paas-exec __exec ") && line.contains(&*folder.to_string_lossy())
    });
    let pids = helpers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(rustix::process::Pid::from_raw).collect()
}

async fn no_helper_is_left(fixture: &Fixture) {
    eventually("no helper", async || {
        let left = helpers(fixture);
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

async fn a_command_ends_with_its_helper(fixture: &Fixture) {
    let (key, instance) = web(fixture).await;
    let mut session = open(fixture, &key, &options(&["/app", "ignore-term"])).await;
    until(&mut session, |text| text.contains("ready")).await;
    let helpers = helpers(fixture);
    assert_eq!(helpers.len(), 1);
    rustix::process::kill_process(helpers[0], rustix::process::Signal::KILL).expect("it is killed");
    until_alone(fixture, &instance).await;
    let end = session.output.next().await.expect("it says so").expect_err("how it ended is not known");
    assert_eq!(end.kind(), ErrorKind::Lost, "{}", end.report());
}

/// The argument that makes a process of this program a server that runs a command.
const BE_A_SERVER: &str = "--be-a-server";

/// The directory, if this process shall be a server.
pub(crate) fn folder_of_a_server() -> Option<PathBuf> {
    let mut arguments = std::env::args_os().skip(1);
    arguments.next().filter(|first| first == BE_A_SERVER).and_then(|_| arguments.next()).map(PathBuf::from)
}

/// Opens the machine of a test, runs a command in it, says so, and waits to be killed.
pub(crate) fn be_a_server(folder: &Path) -> ! {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let machine = super::fixture::open(folder).await;
        let component = paas_core::conformance::app("behaviour").component("web".parse().expect("a name"));
        let target = ExecTarget::Instance(component.on(paas_core::ClusterName::local()), None);
        let mut session = ok(machine.exec(&target, &options(&["/app", "ignore-term"])).await);
        until(&mut session, |text| text.contains("ready")).await;
        println!("ready");
        std::future::pending::<()>().await;
    });
    unreachable!("it waits to be killed")
}

async fn a_command_ends_with_the_server(fixture: &Fixture) {
    let (_, instance) = web(fixture).await;
    fixture.machine().close().await;
    let mut server = std::process::Command::new(std::env::current_exe().expect("it is there"))
        .arg(BE_A_SERVER)
        .arg(fixture.directory())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    let said = std::io::BufReader::new(server.stdout.take().expect("it is a pipe")).read_line(&mut line);
    let running = processes(fixture, &instance);
    server.kill().expect("it is killed");
    server.wait().expect("it was killed");
    assert_eq!((said.expect("it says something"), line.as_str()), (6, "ready\n"));
    assert_eq!(running, ["/app web 0.0.0.0:8080", "/app ignore-term"]);
    until_alone(fixture, &instance).await;
    no_helper_is_left(fixture).await;
    fixture.open_again().await;
}

async fn a_command_ends_with_its_instance(fixture: &Fixture) {
    let (key, instance) = web(fixture).await;
    let mut session = open(fixture, &key, &options(&["/app", "ignore-term"])).await;
    until(&mut session, |text| text.contains("ready")).await;
    fixture.kill_process(&instance);
    assert_eq!(all(&mut session).await.code, Some(137));
    let set = fixture.until("it runs again", &key, |set| set.ready() == 1 && set.instances[0].restarts == 1);
    set.await;
    assert_eq!(perform(fixture, &key, &["/app", "exit", "4"]).await.code, Some(4));
}

async fn closing_the_machine_ends_commands(fixture: &Fixture) {
    let (key, instance) = web(fixture).await;
    let mut session = open(fixture, &key, &options(&["/app", "sleep"])).await;
    let closed = fixture.machine();
    closed.close().await;
    until_alone(fixture, &instance).await;
    let end = session.output.next().await.expect("it says so").expect_err("it did not end by itself");
    assert_eq!(end.kind(), ErrorKind::Unavailable, "{}", end.report());
    let target = ExecTarget::Instance(key.track.clone(), None);
    let refused = closed.exec(&target, &options(&["/app", "sleep"])).await.expect_err("it is closed");
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{}", refused.report());
    fixture.open_again().await;
}

/// A program of the container holds the file that a helper runs, and tries to change it.
async fn the_runtimes_program_cannot_be_written_from_a_container(fixture: &Fixture) {
    let made = image::with_a_loader(&fixture.state().join("loader"));
    let mut template = fixture.template(&fixture.component("web"), &["attack"]);
    (template.image, template.digest) = (made.location, made.digest);
    template.kind = paas_core::model::ComponentKind::Worker;
    template.ports.clear();
    let (key, instance) = started(fixture, template).await;
    let log = fixture.folder(&instance).join("log/00000001.log");
    let log = async |what: &str, condition: fn(&str) -> bool| {
        eventually(what, async || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            if condition(&text) { Ok(text) } else { Err(text) }
        })
        .await
    };
    log("the attack", |text| text.contains("attacking")).await;
    // The runtime's own program, as a program of the container: a gateway, which stays.
    let words = ["/proc/self/exe", "__gateway", "/tmp/gateway"];
    let mut session = open(fixture, &key, &options(&words)).await;
    log("it holds the program", |text| text.contains("holds a program")).await;
    session.input.send(ExecInput::Signal(9)).await.expect("it takes input");
    assert_eq!(all(&mut session).await.code, Some(137));
    let said = log("it has tried", |text| text.contains("refused") || text.contains("changed")).await;
    assert!(said.contains("refused: ReadOnlyFilesystem") && !said.contains("changed"), "{said}");
}

async fn what_is_no_command_is_refused(fixture: &Fixture) {
    let (key, instance) = web(fixture).await;
    let target = ExecTarget::Instance(key.track.clone(), None);
    for words in [&[][..], &[""], &["/app", "a\0b"], &["/etc/passwd"], &["/etc"]] {
        let error = fixture.machine().exec(&target, &options(words)).await.expect_err("it is refused");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{words:?}: {}", error.report());
    }
    no_helper_is_left(fixture).await;
    let first = number(&document(&fixture.folder(&instance).join("state.json")), "pid");
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", first.as_raw_nonzero())).expect("it runs");
    assert_eq!(comm, "app\n", "the instance is not disturbed");
}
