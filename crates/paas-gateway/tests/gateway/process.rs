//! The gateway as a process: this test program, executed again.

use std::{
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use http::StatusCode;
use http_body_util::Full;
use paas_gateway::{
    Config, Control, ErrorKind,
    control::DrainNotice,
    process::{Launch, ensure_running, upgrade},
};

use super::support::*;

const FOLDER: &str = "GATEWAY_TEST_FOLDER";

#[test]
#[ignore = "is the gateway process of the other tests"]
fn be_the_gateway() {
    let folder = std::env::var_os(FOLDER).expect("started by another test");
    paas_gateway::process::run(Path::new(&folder)).unwrap();
}

fn launch(folder: &Path) -> Launch {
    Launch::new(std::env::current_exe().unwrap())
        .with_argument("--ignored")
        .with_argument("--exact")
        .with_argument("process::be_the_gateway")
        .with_argument("--nocapture")
        .with_environment(FOLDER, folder)
}

/// A folder whose gateway ends with the test, however the test ends.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn pid(&self) -> Option<u32> {
        let text = std::fs::read(self.path().join("gateway.json")).ok()?;
        let identity: serde_json::Value = serde_json::from_slice(&text).ok()?;
        u32::try_from(identity["pid"].as_u64()?).ok()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            kill(pid, "KILL");
        }
    }
}

fn kill(pid: u32, signal: &str) {
    // Only what this test started, and it holds the folder's gateway until it is gone.
    let _ = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status();
}

fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

async fn serving(control: &Control) -> (u32, SocketAddr) {
    let status = control.status().await.unwrap();
    (status.pid, status.listeners[0].bound.expect("it listens"))
}

/// A listener with a port that stays over restarts.
async fn fixed(mut config: Config) -> (Config, SocketAddr) {
    let address = refusing().await;
    config.listeners[0].address = address;
    (config, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_is_started_once_found_again_and_outlives_its_starter() {
    let folder = Folder::new();
    let (one, two) = (launch(folder.path()), launch(folder.path()));
    let (one, two) = tokio::join!(ensure_running(folder.path(), &one), ensure_running(folder.path(), &two));
    let (one, two) = (one.unwrap(), two.unwrap());
    let pid = one.hello().await.unwrap().pid;
    assert_eq!(two.hello().await.unwrap().pid, pid);
    assert_eq!(folder.pid(), Some(pid));
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session: u32 = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert_eq!(session, pid, "it has a session of its own");
    for (name, mode) in [("control.sock", 0o600), ("takeover.sock", 0o600)] {
        let metadata = std::fs::metadata(folder.path().join(name)).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777, mode, "{name}");
    }

    one.shutdown(Duration::from_secs(1)).await.unwrap();
    until("the process is gone", async || !lives(pid)).await;
    assert_eq!(one.hello().await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_cannot_start_says_why() {
    let folder = Folder::new();
    let launch = Launch::new("/bin/sh").with_argument("-c").with_argument("echo no such thing >&2; exit 3");
    let error = ensure_running(folder.path(), &launch).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.to_string().contains("no such thing") && error.to_string().contains("exit status: 3"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_does_what_the_gateway_does() {
    let folder = Folder::new();
    let upstream = Upstream::start("a").await;
    let control = ensure_running(folder.path(), &launch(folder.path())).await.unwrap();
    assert_eq!(control.config().await.unwrap(), None);
    let config = config(3, &[("r", 1)], &[("r", upstream.address)]);
    assert_eq!(control.apply(config.clone()).await.unwrap(), 3);
    assert_eq!(control.config().await.unwrap(), Some(config.clone()));
    assert!(control.status().await.unwrap().persisted);
    let (_, address) = serving(&control).await;
    assert_eq!(get(address, "/").await.by(), "a");
    let requests: u64 =
        control.statistics().await.unwrap().entries.iter().map(|entry| entry.requests[1]).sum();
    assert_eq!(requests, 1);

    let mut older = config.clone();
    older.generation = 2;
    assert_eq!(control.apply(older).await.unwrap_err().kind(), ErrorKind::Stale);
    let mut wrong = config.clone();
    wrong.generation = 4;
    wrong.routes[0].service = "nowhere".into();
    wrong.limits.connections = 0;
    let error = control.apply(wrong).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let chain = error.chain();
    assert!(chain.contains("routes[0].service") && chain.contains("limits.connections"), "{chain}");
    let error = control.wait_drained(&ids(&["r-0"]), BOUND).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);

    let mut notices = control.watch_drains();
    assert_eq!(notices.next().await, Some(DrainNotice::LookAgain));
    let slow = tokio::spawn(async move { get(address, "/slow").await });
    until("the request is in flight", async || upstream.requests() == 2).await;
    let mut draining = config;
    draining.generation = 4;
    draining.instances[0].draining = true;
    control.apply(draining).await.unwrap();
    assert_eq!(control.wait_drained(&ids(&["r-0"]), BOUND).await.unwrap(), []);
    assert_eq!(notices.next().await, Some(DrainNotice::Free("r-0".into())));
    assert_eq!(slow.await.unwrap().status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_crashed_is_started_anew_and_serves_the_last_config_at_once() {
    let folder = Folder::new();
    let upstream = Upstream::start("a").await;
    let control = ensure_running(folder.path(), &launch(folder.path())).await.unwrap();
    let (config, address) = fixed(config(7, &[("r", 1)], &[("r", upstream.address)])).await;
    control.apply(config).await.unwrap();
    let (pid, _) = serving(&control).await;
    assert_eq!(get(address, "/").await.by(), "a");

    kill(pid, "KILL");
    until("the process is gone", async || !lives(pid)).await;
    let again = ensure_running(folder.path(), &launch(folder.path())).await.unwrap();
    assert_eq!(get(address, "/").await.by(), "a");
    // The control from before finds the new process.
    let status = control.status().await.unwrap();
    assert_eq!((status.generation, status.persisted), (Some(7), true));
    assert_ne!(status.pid, pid);
    assert_eq!(again.hello().await.unwrap().pid, status.pid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_the_gateway_after_what_is_in_flight() {
    let folder = Folder::new();
    let upstream = Upstream::start("a").await;
    let control = ensure_running(folder.path(), &launch(folder.path())).await.unwrap();
    control.apply(config(1, &[("r", 1)], &[("r", upstream.address)])).await.unwrap();
    let (pid, address) = serving(&control).await;
    let slow = tokio::spawn(async move { get(address, "/slow").await });
    until("the request is in flight", async || upstream.requests() == 1).await;
    kill(pid, "TERM");
    assert_eq!(slow.await.unwrap().status, StatusCode::OK);
    until("the process is gone", async || !lives(pid)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_refuses_no_connection_cuts_none_and_knows_who_is_used_by_the_old_process() {
    let folder = Folder::new();
    let upstream = Upstream::start("a").await;
    let control = ensure_running(folder.path(), &launch(folder.path())).await.unwrap();
    let config = config(1, &[("r", 1)], &[("r", upstream.address)]);
    control.apply(config.clone()).await.unwrap();
    let (before, address) = serving(&control).await;

    let mut held = tokio::net::TcpStream::connect(address).await.unwrap();
    let body_to_come = b"POST / HTTP/1.1\r\nhost: app.localhost\r\ncontent-length: 4\r\n\r\nab";
    tokio::io::AsyncWriteExt::write_all(&mut held, body_to_come).await.unwrap();
    until("it is in flight", async || control.status().await.unwrap().instances[0].requests == 1).await;

    let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let closed = Arc::<AtomicUsize>::default();
    let (stopped, count, advised) = (stop.clone(), sent.clone(), closed.clone());
    let load = tokio::spawn(async move {
        let mut kept = Client::connect(address).await;
        while !stopped.load(SeqCst) {
            let mut fresh = Client::connect(address).await;
            let closing = request("GET", "app.localhost", "/").header("connection", "close");
            let said = fresh.send(closing.body(Full::default()).unwrap()).await;
            assert_eq!(said.status, StatusCode::OK);
            let said = kept.get("/").await;
            assert_eq!(said.status, StatusCode::OK);
            if said.headers.get("connection").is_some_and(|value| value == "close") {
                kept = Client::connect(address).await;
                advised.fetch_add(1, SeqCst);
            }
            count.fetch_add(2, SeqCst);
        }
    });
    let mut processes = vec![before];
    for _ in 0..3 {
        let so_far = sent.load(SeqCst);
        until("requests go on", async || sent.load(SeqCst) > so_far + 20).await;
        let upgraded = upgrade(folder.path(), &launch(folder.path())).await.unwrap();
        let (pid, same) = serving(&upgraded).await;
        assert_eq!(same, address);
        assert!(!processes.contains(&pid));
        processes.push(pid);
    }
    let so_far = sent.load(SeqCst);
    until("requests go on", async || sent.load(SeqCst) > so_far + 20).await;
    stop.store(true, SeqCst);
    load.await.unwrap();
    assert_eq!(closed.load(SeqCst), 3, "a kept connection was told to close by each old process");

    // The first process lives on for the sake of one request; those between have gone.
    until("the others are gone", async || !lives(processes[1]) && !lives(processes[2])).await;
    assert!(lives(processes[0]));
    tokio::io::AsyncWriteExt::write_all(&mut held, b"cd").await.unwrap();
    let mut read = vec![0; 15];
    tokio::io::AsyncReadExt::read_exact(&mut held, &mut read).await.unwrap();
    assert_eq!(read, b"HTTP/1.1 200 OK");
    drop(held);
    until("the first is gone", async || !lives(processes[0])).await;
    assert_eq!(control.status().await.unwrap().generation, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_with_users_in_the_old_process_is_not_free() {
    let folder = Folder::new();
    let upstream = Upstream::start("a").await;
    let control = ensure_running(folder.path(), &launch(folder.path())).await.unwrap();
    let mut config = config(1, &[("r", 1)], &[("r", upstream.address)]);
    control.apply(config.clone()).await.unwrap();
    let (before, address) = serving(&control).await;
    let mut held = tokio::net::TcpStream::connect(address).await.unwrap();
    let body_to_come = b"POST / HTTP/1.1\r\nhost: app.localhost\r\ncontent-length: 4\r\n\r\nab";
    tokio::io::AsyncWriteExt::write_all(&mut held, body_to_come).await.unwrap();
    until("it is in flight", async || control.status().await.unwrap().instances[0].requests == 1).await;

    let control = upgrade(folder.path(), &launch(folder.path())).await.unwrap();
    config.generation = 2;
    config.instances.clear();
    control.apply(config).await.unwrap();
    let left = control.wait_drained(&ids(&["r-0"]), Duration::from_millis(100)).await.unwrap();
    assert_eq!((left.len(), left[0].requests), (1, 1));
    drop(held);
    assert_eq!(control.wait_drained(&ids(&["r-0"]), BOUND).await.unwrap(), []);
    until("the old process is gone", async || !lives(before)).await;
}
