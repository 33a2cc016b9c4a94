//! Starting, stopping, logs, exits, and what an instance is given.

use std::{sync::Arc, time::Duration};

use paas_local::{ErrorKind, FileSpec, Found, LogOptions, Secrets, Volume};

use super::machine::{Machine, id, records, said, text};
use crate::cases;

cases![
    an_exit_code_is_kept,
    output_is_kept_with_its_streams,
    a_stop_signal_that_is_handled_ends_it_gracefully,
    a_program_without_handler_is_stopped_at_once,
    a_program_that_does_not_stop_is_killed_after_the_grace_period,
    a_name_is_taken_once,
    logs_are_followed_to_the_end,
    logs_have_a_tail_and_a_beginning,
    logs_rotate_and_stay_bounded,
    volumes_survive,
    files_and_secrets_are_in_memory_only,
    environment_has_defaults_and_secrets,
    a_pausing_instance_runs_until_it_is_stopped,
];

async fn an_exit_code_is_kept(machine: Arc<Machine>) {
    let instance = machine.start(&machine.spec("seven", &["exit", "7"])).await;
    let exit = instance.wait().await;
    assert_eq!((exit.code, exit.signal, exit.lost), (Some(7), None, false));
    let Found::Ended(again) = machine.attach("seven").await else { panic!("it has ended") };
    assert_eq!(again, exit);
    machine.instances.remove(&id("seven")).await.expect("removed");
    assert!(machine.instances.list().expect("a list").is_empty());
    machine.instances.remove(&id("seven")).await.expect("removing what is gone is fine");
}

async fn output_is_kept_with_its_streams(machine: Arc<Machine>) {
    let instance = machine.start(&machine.spec("talk", &["no-such-thing"])).await;
    assert_eq!(instance.wait().await.code, Some(64));
    let all = records(&instance, LogOptions::all()).await;
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!((all[0].stream.as_str(), all[0].text.as_str()), ("stderr", "unknown: no-such-thing"));
    assert!(!all[0].partial);
}

async fn a_stop_signal_that_is_handled_ends_it_gracefully(machine: Arc<Machine>) {
    let instance = machine.start(&machine.spec("graceful", &["serve-until-term", "127.0.0.1:80"])).await;
    said(&instance, "listening").await;
    let exit = instance.stop(Duration::from_secs(20)).await.expect("it stops");
    assert_eq!(exit.code, Some(0), "{exit}");
    assert!(text(&instance).await.ends_with("terminating\n"));
}

async fn a_program_without_handler_is_stopped_at_once(machine: Arc<Machine>) {
    let instance = machine.start(&machine.spec("deaf", &["sleep"])).await;
    let started = std::time::Instant::now();
    let exit = instance.stop(Duration::from_secs(30)).await.expect("it stops");
    assert_eq!(exit.signal, Some(9));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

async fn a_program_that_does_not_stop_is_killed_after_the_grace_period(machine: Arc<Machine>) {
    let instance = machine.start(&machine.spec("stubborn", &["ignore-term"])).await;
    said(&instance, "ready").await;
    let started = std::time::Instant::now();
    let exit = instance.stop(Duration::from_millis(300)).await.expect("it stops");
    assert_eq!(exit.signal, Some(9));
    assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
}

async fn a_name_is_taken_once(machine: Arc<Machine>) {
    let spec = machine.spec("one", &["sleep"]);
    let first = machine.start(&spec).await;
    let error = machine.instances.start(&spec, Secrets::default()).await.expect_err("it is taken");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(first.status().await.is_ok(), "the first one is not disturbed");
}

async fn logs_are_followed_to_the_end(machine: Arc<Machine>) {
    let instance = machine.start(&machine.spec("counting", &["count"])).await;
    let mut stream = instance.logs(LogOptions::all().following()).expect("the log");
    for i in 0..20 {
        let record = stream.next_record().await.expect("it goes on").expect("it can be read");
        assert_eq!(record.text, format!("count {i}"));
    }
    instance.kill().await.expect("it is killed");
    while let Some(record) = stream.next_record().await {
        record.expect("it can be read");
    }
}

async fn logs_have_a_tail_and_a_beginning(machine: Arc<Machine>) {
    let instance = machine.start(&machine.spec("lines", &["lines", "1000"])).await;
    instance.wait().await;
    let all = records(&instance, LogOptions::all()).await;
    assert_eq!(all.len(), 1000);
    let tail = records(&instance, LogOptions::tail(3)).await;
    assert_eq!(tail, all[997..]);
    let since = records(&instance, LogOptions::all().since(all[500].time)).await;
    assert!(since.len() <= 1000 && since.last() == all.last() && since[0].time >= all[500].time);
}

async fn logs_rotate_and_stay_bounded(machine: Arc<Machine>) {
    let mut spec = machine.spec("chatty", &["lines", "20000"]);
    spec.log.file_bytes = 64 * 1024;
    spec.log.files = 3;
    let instance = machine.start(&spec).await;
    instance.wait().await;
    let folder = machine.instances.folder(&spec.id).join("log");
    let sizes: Vec<u64> = std::fs::read_dir(folder)
        .expect("the log")
        .map(|e| e.expect("a file").metadata().expect("its size").len())
        .collect();
    assert!(sizes.len() <= 3, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size <= 96 * 1024), "{sizes:?}");
    let last = records(&instance, LogOptions::tail(1)).await;
    assert!(last[0].text.starts_with("line 19999 "), "{last:?}");
}

async fn volumes_survive(machine: Arc<Machine>) {
    let volume = Volume { source: machine.path("volume"), target: "/data/deep".into(), read_only: false };
    let mut spec = machine.spec("writer", &["write", "/data/deep/file", "kept"]);
    spec.volumes = vec![volume.clone()];
    assert_eq!(machine.output(&spec).await, "written\n");
    let mut spec = machine.spec("reader", &["cat", "/data/deep/file"]);
    spec.volumes = vec![volume.clone()];
    assert_eq!(machine.output(&spec).await, "kept");
    let mut spec = machine.spec("denied", &["write", "/data/deep/file", "changed"]);
    spec.volumes = vec![Volume { read_only: true, ..volume }];
    assert_eq!(machine.output(&spec).await, "ReadOnlyFilesystem\n");
    assert_eq!(std::fs::read_to_string(machine.path("volume/file")).expect("the file"), "kept");
}

async fn files_and_secrets_are_in_memory_only(machine: Arc<Machine>) {
    let file =
        |path: &str, mode, content: &str| FileSpec { path: path.into(), mode, content: content.into() };
    let mut spec = machine.spec("secrets", &["serve", "127.0.0.1:80"]);
    spec.files = vec![file("/etc/app/config", 0o444, "configuration")];
    let secrets = Secrets {
        env: [("TOKEN".to_owned(), "canary-in-env".to_owned())].into(),
        files: vec![file("/run/secrets/key", 0o400, "canary-in-file")],
    };
    let instance = machine.instances.start(&spec, secrets.clone()).await.expect("it starts");
    said(&instance, "listening").await;
    let found = std::process::Command::new("grep")
        .args(["-rsl", "--devices=skip", "canary-in-"])
        .arg(machine.dir.path())
        .output()
        .expect("grep runs");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "nothing on the disk holds a secret");

    let mut spec = machine.spec("reads", &["cat", "/etc/app/config", "/run/secrets/key"]);
    spec.files = vec![file("/etc/app/config", 0o444, "configuration;")];
    assert_eq!(
        machine.output_with(&spec, secrets.clone()).await,
        "configuration;canary-in-file\n".trim_end()
    );
    let spec = machine.spec("stats", &["stat", "/run/secrets/key"]);
    assert_eq!(machine.output_with(&spec, secrets.clone()).await, "/run/secrets/key 100400 0:0 14\n");
    let spec = machine.spec("writes", &["write", "/run/secrets/key", "x"]);
    assert_eq!(machine.output_with(&spec, secrets).await, "ReadOnlyFilesystem\n");
}

async fn environment_has_defaults_and_secrets(machine: Arc<Machine>) {
    let mut spec = machine.spec("env", &["env"]);
    spec.env.insert("GREETING".into(), "hello".into());
    spec.env.insert("TOKEN".into(), "overridden".into());
    let secrets = Secrets { env: [("TOKEN".to_owned(), "secret".to_owned())].into(), ..Secrets::default() };
    let said = machine.output_with(&spec, secrets).await;
    let mut lines: Vec<&str> = said.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "GREETING=hello",
            "HOME=/root",
            "HOSTNAME=env",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "TOKEN=secret"
        ]
    );
}

async fn a_pausing_instance_runs_until_it_is_stopped(machine: Arc<Machine>) {
    let mut spec = machine.spec("pause", &[]);
    spec.command = paas_local::Command::Pause;
    let instance = machine.start(&spec).await;
    assert!(instance.status().await.is_ok());
    let exit = instance.stop(Duration::from_secs(10)).await.expect("it stops");
    assert_eq!(exit.signal, Some(9));
}
