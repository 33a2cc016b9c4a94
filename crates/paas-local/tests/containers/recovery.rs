//! Crashes of the server, of shims, of the machine; full disks; leftovers.

use std::{collections::BTreeSet, sync::Arc};

use paas_local::{Found, Host, Instances, LogOptions};

use super::machine::{Machine, eventually, id, records, said};
use crate::cases;

cases![
    an_instance_is_found_again_by_another_server,
    an_exit_that_nobody_watched_is_known,
    a_killed_shim_means_a_lost_instance,
    a_shim_killed_before_the_server_came_back_too,
    after_a_reboot_nothing_lives,
    a_start_that_was_cut_off_has_not_begun,
    a_removal_that_was_cut_short_is_taken_up_again,
    a_sweep_removes_what_nobody_knows,
    a_full_disk_costs_logs_but_not_the_exit_code,
];

fn state(machine: &Machine, name: &str) -> serde_json::Value {
    let file = machine.instances.folder(&id(name)).join("state.json");
    serde_json::from_slice(&std::fs::read(file).expect("the state")).expect("JSON")
}

fn kill(pid: i64) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is there");
}

fn lives(pid: i64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

async fn an_instance_is_found_again_by_another_server(machine: Arc<Machine>) {
    let instance = machine.start(&machine.spec("old", &["serve-until-term", "127.0.0.1:80"])).await;
    said(&instance, "listening").await;
    let pid = instance.status().await.expect("it runs").pid;
    drop(instance);
    let again = Instances::open(machine.path("instances"), Arc::clone(&machine.host)).expect("the directory");
    let Found::Running(instance) = again.attach(&id("old")).await.expect("it is there") else {
        panic!("it runs")
    };
    assert_eq!(instance.status().await.expect("it runs").pid, pid);
    instance.connect_to("127.0.0.1:80".parse().expect("an address")).await.expect("it serves");
    let exit = instance.stop(std::time::Duration::from_secs(10)).await.expect("it stops");
    assert_eq!(exit.code, Some(0));
}

async fn an_exit_that_nobody_watched_is_known(machine: Arc<Machine>) {
    drop(machine.start(&machine.spec("brief", &["sleep-ms", "50"])).await);
    eventually("its end", || async { matches!(machine.attach("brief").await, Found::Ended(_)) }).await;
    let Found::Ended(exit) = machine.attach("brief").await else { panic!("it has ended") };
    assert_eq!(exit.code, Some(0));
}

async fn a_killed_shim_means_a_lost_instance(machine: Arc<Machine>) {
    let instance = machine.start(&machine.spec("orphan", &["serve", "127.0.0.1:80"])).await;
    said(&instance, "listening").await;
    let state = state(&machine, "orphan");
    let (pid, shim) = (state["pid"].as_i64().expect("pid"), state["shim_pid"].as_i64().expect("pid"));
    // As an ordinary user the numbers inside the user namespace are the host's: only ids are mapped.
    assert!(lives(pid) && lives(shim));
    kill(shim);
    let exit = instance.wait().await;
    assert!(exit.lost, "{exit}");
    assert!(!lives(pid), "what is left of it is killed");
    let Found::Ended(again) = machine.attach("orphan").await else { panic!("it has ended") };
    assert!(again.lost);
}

async fn a_shim_killed_before_the_server_came_back_too(machine: Arc<Machine>) {
    let instance = machine.start(&machine.spec("orphan", &["serve", "127.0.0.1:80"])).await;
    said(&instance, "listening").await;
    let state = state(&machine, "orphan");
    drop(instance);
    kill(state["shim_pid"].as_i64().expect("pid"));
    let Found::Ended(exit) = machine.attach("orphan").await else { panic!("it is lost") };
    assert!(exit.lost);
    assert!(!lives(state["pid"].as_i64().expect("pid")));
}

async fn after_a_reboot_nothing_lives(machine: Arc<Machine>) {
    let instance = machine.start(&machine.spec("before", &["serve", "127.0.0.1:80"])).await;
    said(&instance, "listening").await;
    let folder = machine.instances.folder(&id("before"));
    let mut recorded = state(&machine, "before");
    let pid = recorded["pid"].as_i64().expect("pid");
    drop(instance);
    kill(recorded["shim_pid"].as_i64().expect("pid"));
    // After a reboot the recorded numbers belong to somebody else: here, to the process that is still there.
    recorded["boot_id"] = "another-boot".into();
    std::fs::write(folder.join("state.json"), recorded.to_string()).expect("the state");
    let Found::Ended(exit) = machine.attach("before").await else { panic!("it is lost") };
    assert!(exit.lost);
    if recorded["cgroup"].is_null() {
        assert!(lives(pid), "a process of somebody else is not touched");
        kill(pid);
    }
}

async fn a_start_that_was_cut_off_has_not_begun(machine: Arc<Machine>) {
    let running = machine.start(&machine.spec("running", &["serve", "127.0.0.1:80"])).await;
    assert!(machine.instances.has_begun(&id("running")));
    let spec = machine.instances.folder(&id("running")).join("instance.json");
    let cut_off = machine.instances.folder(&id("cut-off"));
    std::fs::create_dir(&cut_off).expect("a folder");
    assert!(!machine.instances.has_begun(&id("cut-off")), "before anything is in its folder");
    std::fs::copy(spec, cut_off.join("instance.json")).expect("it is written");
    assert!(!machine.instances.has_begun(&id("cut-off")), "before its shim knows of it");
    running.kill().await.expect("it ends");
    assert!(machine.instances.has_begun(&id("running")), "it ran, and has ended");
}

async fn a_removal_that_was_cut_short_is_taken_up_again(machine: Arc<Machine>) {
    let instance = machine.start(&machine.spec("again", &["serve", "127.0.0.1:80"])).await;
    instance.kill().await.expect("it ends");
    let folder = machine.instances.folder(&id("again"));
    for half_gone in [".gone-again", ".gone-another"] {
        std::fs::create_dir_all(folder.with_file_name(half_gone).join("upper")).expect("a folder");
    }
    assert_eq!(machine.instances.list().expect("a list"), [id("again")], "what is half gone is no instance");
    machine.instances.remove(&id("again")).await.expect("it goes");
    machine.instances.sweep(&BTreeSet::new()).await.expect("it sweeps");
    let left = std::fs::read_dir(folder.parent().expect("the instances")).expect("a folder").count();
    assert_eq!(left, 0, "nothing is left of any of them");
}

async fn a_sweep_removes_what_nobody_knows(machine: Arc<Machine>) {
    let known = machine.start(&machine.spec("known", &["serve", "127.0.0.1:80"])).await;
    let unknown = machine.start(&machine.spec("unknown", &["serve", "127.0.0.1:80"])).await;
    let pid = i64::from(unknown.status().await.expect("it runs").pid);
    let vanished = machine.start(&machine.spec("vanished", &["serve", "127.0.0.1:80"])).await;
    let vanished_pid = i64::from(vanished.status().await.expect("it runs").pid);
    drop((unknown, vanished));
    // Somebody removed a folder under a running instance, and a start was cut off before anything ran.
    std::fs::remove_dir_all(machine.instances.folder(&id("vanished")).join("log")).expect("removed");
    std::fs::remove_file(machine.instances.folder(&id("vanished")).join("instance.json")).expect("removed");
    std::fs::create_dir(machine.instances.folder(&id("cut-off"))).expect("a folder");
    let swept = machine.instances.sweep(&BTreeSet::from([id("known")])).await.expect("it sweeps");
    assert_eq!(swept.shims.len(), 2, "{swept:?}");
    assert_eq!(machine.instances.list().expect("a list"), [id("known")]);
    eventually("the end of the unknown ones", || async { !lives(pid) && !lives(vanished_pid) }).await;
    assert!(known.status().await.is_ok(), "the known one is not disturbed");
    let again = machine.instances.sweep(&BTreeSet::from([id("known")])).await.expect("it sweeps");
    assert!(again.is_empty(), "{again:?}");
}

/// As root only: an ordinary user cannot mount a small disk outside of a namespace.
async fn a_full_disk_costs_logs_but_not_the_exit_code(machine: Arc<Machine>) {
    if !machine.host.is_root() {
        return;
    }
    let disk = machine.path("disk");
    std::fs::create_dir(&disk).expect("a folder");
    rustix::mount::mount("tmpfs", &disk, "tmpfs", rustix::mount::MountFlags::empty(), c"size=1m")
        .expect("a small disk");
    let outcome = tokio::spawn(full_disk(Arc::clone(&machine), disk.clone())).await;
    rustix::mount::unmount(&disk, rustix::mount::UnmountFlags::DETACH).expect("it is unmounted");
    outcome.expect("the test holds");
}

async fn full_disk(machine: Arc<Machine>, disk: std::path::PathBuf) {
    let host = Arc::new(Host::probe("test-full-disk"));
    let instances = Instances::open(disk.join("instances"), Arc::clone(&host)).expect("the directory");
    let mut spec = machine.spec("full", &["lines", "50000"]);
    spec.log.file_bytes = 64 << 20;
    let instance = instances.start(&spec, paas_local::Secrets::default()).await.expect("it starts");
    let exit = instance.wait().await;
    assert_eq!(exit.code, Some(0), "{exit}");
    let Found::Ended(again) = instances.attach(&spec.id).await.expect("it is there") else {
        panic!("it has ended")
    };
    assert_eq!(again, exit, "the exit code is on the disk, though that is full");
    let kept = records(&instance, LogOptions::all()).await;
    assert!(!kept.is_empty() && kept.len() < 50_000, "{}", kept.len());
    // Where there was room again, the log says what it lacks.
    let expected = |record: &paas_local::LogRecord| match record.stream.as_str() {
        "system" => record.text.ends_with(" bytes of output were dropped: no space left on the device"),
        _ => record.text.starts_with("line ") && record.text.ends_with("xxxx"),
    };
    let other: Vec<_> = kept.iter().filter(|record| !expected(record)).collect();
    assert!(other.is_empty(), "no half records: {other:?}");
    instances.remove(&spec.id).await.expect("removed");
    assert!(host.release());
}
