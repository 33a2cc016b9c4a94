//! A machine for one test: a directory, containers, a gateway, and the proof that nothing is left afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use libtest_mimic::Failed;
use paas_core::conformance::Promise;
use paas_core::model::{
    ComponentKind, Port, Probes, Protocol, ResolvedValue, Resources, RestartPolicy, RevisionId, SecretRef,
    Security, Template, Termination,
};
use paas_core::port::{
    Backend, Epoch, InstanceId, InstanceObservation, RouteBinding, Router, Runtime, SecretSource,
    SecretValue, ServiceState, ServiceTraffic, SetKey, SetObservation, SetSpec,
};
use paas_core::{AppEnv, ClusterName, ComponentKey, Result, TrackKey};
use paas_local::{Found, Instances, LocalMachine, MachineOptions};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::image;
use crate::support::leftovers;

/// What every secret of these tests holds.
pub(crate) const CANARY: &str = "canary-5f1d7c0e-do-not-write-me";
pub(crate) const EPOCH: Epoch = Epoch(7);
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs one test with a machine of its own.
pub(crate) fn run(promise: Promise<Fixture>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let fixture = runtime.block_on(Fixture::new());
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        runtime
            .block_on(async { tokio::time::timeout(Duration::from_mins(2), (promise.check)(&fixture)).await })
    }));
    // Whatever happened, everything is removed; but the test's own failure is the one to be told.
    let left = runtime.block_on(fixture.close());
    match outcome {
        Ok(Ok(())) => left.map_err(Failed::from),
        Ok(Err(_)) => Err(Failed::from("it took longer than two minutes")),
        Err(panic) => match panic.downcast::<String>() {
            Ok(text) => Err(Failed::from(*text)),
            Err(other) => Err(Failed::from(*other.downcast::<&str>().unwrap_or(Box::new("it panicked")))),
        },
    }
}

#[derive(Debug)]
struct Canaries;

#[async_trait]
impl SecretSource for Canaries {
    async fn reveal(&self, _: &AppEnv, _: &SecretRef) -> Result<SecretValue> {
        Ok(SecretValue::new(CANARY))
    }
}

pub(crate) struct Fixture {
    dir: TempDir,
    machine: Mutex<LocalMachine>,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let machine = open(dir.path()).await;
        Self { dir, machine: Mutex::new(machine) }
    }

    pub(crate) fn machine(&self) -> LocalMachine {
        self.machine.lock().expect("nobody panics with it").clone()
    }

    /// The directory of the test.
    pub(crate) fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// Where the machine keeps everything.
    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Opens the machine again, which was closed.
    pub(crate) async fn open_again(&self) -> LocalMachine {
        let machine = open(self.dir.path()).await;
        *self.machine.lock().expect("nobody panics with it") = machine.clone();
        machine
    }

    /// The folder of the latest container of an instance.
    pub(crate) fn folder(&self, instance: &InstanceId) -> PathBuf {
        let folder = self.state().join("instances");
        let numbers = std::fs::read_dir(&folder).expect("the instances").flatten().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let (id, number) = name.rsplit_once("-r")?;
            (id == instance.0).then(|| number.parse::<u32>().ok())?
        });
        folder.join(format!("{instance}-r{}", numbers.max().expect("the instance was started")))
    }

    /// Kills the first process of an instance.
    pub(crate) fn kill_process(&self, instance: &InstanceId) {
        let pid = number(&document(&self.folder(instance).join("state.json")), "pid");
        // It may have ended by itself in between.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }

    pub(crate) fn component(&self, name: &str) -> ComponentKey {
        paas_core::conformance::app("behaviour").component(name.parse().expect("tests choose valid names"))
    }

    /// A service of the test program, which is started with these words.
    pub(crate) fn template(&self, component: &ComponentKey, words: &[&str]) -> Template {
        let made = image::of_the_tests();
        Template {
            component: component.clone(),
            kind: ComponentKind::Service,
            image: made.location,
            digest: made.digest,
            command: None,
            args: Some(words.iter().map(|word| (*word).to_owned()).collect()),
            working_dir: None,
            ports: vec![http_port()],
            env: BTreeMap::new(),
            files: Vec::new(),
            volumes: Vec::new(),
            resources: Resources::default(),
            probes: Probes::default(),
            restart: RestartPolicy::Always,
            calls: Vec::new(),
            termination: Termination::default(),
            security: Security::default(),
            manifests: Vec::new(),
            restart_nonce: 0,
        }
    }

    /// A service that answers requests.
    pub(crate) fn web(&self, component: &ComponentKey) -> Template {
        self.template(component, &["web", "0.0.0.0:8080"])
    }

    /// Makes a set with revision `r1`.
    pub(crate) async fn ensure(&self, template: Template, count: u32) -> SetKey {
        let track = template.component.on(ClusterName::local());
        self.ensure_revision(track, &revision("r1"), template, count).await
    }

    pub(crate) async fn ensure_revision(
        &self,
        track: TrackKey,
        revision: &RevisionId,
        template: Template,
        count: u32,
    ) -> SetKey {
        let key = SetKey { track, revision: revision.clone() };
        let spec = SetSpec { key: key.clone(), template, count, first: 0, labels: BTreeMap::new() };
        ok(self.machine().ensure(EPOCH, &spec).await);
        key
    }

    /// Makes one more instance of revision `r1` of a track, and waits until it is ready.
    pub(crate) async fn one_more(&self, track: &TrackKey, template: Template) -> InstanceId {
        let key = SetKey { track: track.clone(), revision: revision("r1") };
        let ids = |set: &SetObservation| -> Vec<InstanceId> {
            set.instances.iter().map(|instance| instance.id.clone()).collect()
        };
        let before = self.observe(&key).await.map(|set| ids(&set)).unwrap_or_default();
        let count = before.len() + 1;
        if before.is_empty() {
            self.ensure_revision(track.clone(), &key.revision, template, 1).await;
        } else {
            ok(self.machine().scale(EPOCH, &key, u32::try_from(count).expect("few instances").into()).await);
        }
        let after = ids(&self.until_ready(&key, count).await);
        after.into_iter().find(|id| !before.contains(id)).expect("there is one more")
    }

    /// What is seen of an instance, whichever set it is in.
    pub(crate) async fn seen(&self, instance: &InstanceId) -> Option<InstanceObservation> {
        for track in ok(self.machine().tracks().await) {
            let observed = ok(self.machine().observe(&track).await);
            let mut instances = observed.sets.into_values().flat_map(|set| set.instances);
            if let Some(seen) = instances.find(|seen| seen.id == *instance) {
                return Some(seen);
            }
        }
        None
    }

    /// Sends a service's traffic to `r1`, and a host to the service.
    pub(crate) async fn route(&self, track: &TrackKey, host: &str) {
        let traffic = ServiceTraffic {
            track: track.clone(),
            ports: vec![http_port()],
            backends: vec![Backend { revision: revision("r1"), weight: 1, release: 1 }],
            state: ServiceState::Serving,
        };
        ok(self.machine().apply_service(EPOCH, &traffic).await);
        let route = RouteBinding {
            name: "main".parse().expect("a name"),
            host: Some(host.to_owned()),
            path: "/".to_owned(),
            tcp_port: None,
            track: track.clone(),
            port: http_port(),
        };
        ok(self.machine().apply_routes(EPOCH, &track.component.at, &[route]).await);
    }

    pub(crate) async fn observe(&self, key: &SetKey) -> Option<SetObservation> {
        ok(self.machine().observe(&key.track).await).sets.remove(&key.revision)
    }

    /// Waits until a set is as described. As [`eventually`], in a form that may be sent.
    pub(crate) async fn until(
        &self,
        what: &str,
        key: &SetKey,
        condition: impl Fn(&SetObservation) -> bool + Send,
    ) -> SetObservation {
        let end = Instant::now() + PATIENCE;
        loop {
            let seen = self.observe(key).await;
            match seen {
                Some(set) if condition(&set) => return set,
                other => {
                    assert!(Instant::now() < end, "waited {PATIENCE:?} for: {what}; last seen: {other:#?}");
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn until_ready(&self, key: &SetKey, count: usize) -> SetObservation {
        self.until(&format!("{count} ready instances"), key, |set| {
            set.ready() == count && set.instances.len() == count
        })
        .await
    }

    /// One request to the gateway: status and body, or 0 if it was cut.
    pub(crate) async fn get(&self, host: &str, path: &str) -> (u16, String) {
        get(self.machine().gateway_address(), host, path).await.unwrap_or_else(|error| (0, error.to_string()))
    }

    /// Asks until the answer is as wished.
    pub(crate) async fn until_answer(
        &self,
        host: &str,
        path: &str,
        condition: impl Fn(u16, &str) -> bool,
    ) -> String {
        eventually("the answer", async || {
            let (status, body) = self.get(host, path).await;
            if condition(status, &body) { Ok(body) } else { Err((status, body)) }
        })
        .await
    }

    /// Removes everything, and says what could not be.
    async fn close(&self) -> Result<(), String> {
        let machine = self.machine();
        machine.close().await;
        let mut left = Vec::new();
        let instances = Instances::open(self.state().join("instances"), Arc::new(machine.host().clone()))
            .map_err(|error| error.chain())?;
        for id in instances.list().map_err(|error| error.chain())? {
            if let Err(error) = instances.remove(&id).await {
                left.push(error.chain());
            }
        }
        instances.sweep(&BTreeSet::new()).await.map_err(|error| error.chain())?;
        if let Err(error) = machine.gateway().shutdown(Duration::from_millis(100)).await {
            left.push(error.chain());
        }
        let until = Instant::now() + Duration::from_secs(10);
        while !leftovers::of(self.dir.path()).is_empty() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        left.extend(leftovers::of(self.dir.path()));
        if !machine.host().release() {
            left.push("control groups are left".into());
        }
        for folder in ["images", "volumes"] {
            if let Err(error) = instances.remove_tree(self.state().join(folder)).await {
                left.push(error.chain());
            }
        }
        if let Err(error) = std::fs::remove_dir_all(self.dir.path()) {
            left.push(format!("files are left: {error}"));
        }
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    }
}

pub(crate) async fn open(dir: &Path) -> LocalMachine {
    let options = MachineOptions::new(dir.join("state")).with_installation("paas-test");
    ok(LocalMachine::open(options, Arc::new(Canaries)).await)
}

pub(crate) fn http_port() -> Port {
    Port { name: "http".parse().expect("a name"), number: 8080, protocol: Protocol::Http }
}

pub(crate) fn revision(name: &str) -> RevisionId {
    RevisionId::new(name).expect("tests choose valid names")
}

pub(crate) fn plain(text: &str) -> ResolvedValue {
    ResolvedValue::Plain(text.to_owned())
}

#[track_caller]
pub(crate) fn ok<T>(answer: Result<T>) -> T {
    answer.unwrap_or_else(|error| panic!("{}", error.report()))
}

/// Asks until the answer is there or patience ends; then fails with what was waited for and what was seen last.
pub(crate) async fn eventually<T, S: Debug>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, S>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(seen) => {
                assert!(Instant::now() < end, "waited {PATIENCE:?} for: {what}; last seen: {seen:#?}");
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn get(address: SocketAddr, host: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no answer in HTTP: {text:?}")))?;
    Ok((status, body.to_owned()))
}

/// The body of an answer to a request that does not come by the gateway.
pub(crate) async fn get_from(fixture: &Fixture, instance: &InstanceId, path: &str) -> String {
    let folder = fixture.folder(instance);
    let id = folder.file_name().and_then(|name| name.to_str()?.parse().ok()).expect("a name");
    let host = Arc::new(fixture.machine().host().clone());
    let instances = Instances::open(fixture.state().join("instances"), host).expect("the instances");
    let Ok(Found::Running(container)) = instances.attach(&id).await else { panic!("{id} does not run") };
    let address = SocketAddr::from(([127, 0, 0, 1], 8080));
    let mut stream = container.connect_to(address).await.expect("it accepts");
    let request = format!("GET {path} HTTP/1.1\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it listens");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("it answers");
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or(text)
}

/// The command lines of what runs in an instance, its first process first.
pub(crate) fn processes(fixture: &Fixture, instance: &InstanceId) -> Vec<String> {
    let first = number(&document(&fixture.folder(instance).join("state.json")), "pid").as_raw_nonzero().get();
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(wanted) = namespace(first) else { return Vec::new() };
    let line = |pid: i32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ")
    };
    let all = std::fs::read_dir("/proc").expect("there is /proc").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let others = pids.filter(|pid| *pid != first && namespace(*pid).as_ref() == Some(&wanted));
    // A process that has ended and was not waited for has no command line.
    std::iter::once(first).chain(others).map(line).filter(|line| !line.is_empty()).collect()
}

/// A JSON document of the machine.
pub(crate) fn document(path: &Path) -> serde_json::Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).expect("it is JSON")
}

/// A process that a document names.
pub(crate) fn number(document: &serde_json::Value, field: &str) -> rustix::process::Pid {
    let number = document[field].as_i64().and_then(|number| i32::try_from(number).ok());
    number.and_then(rustix::process::Pid::from_raw).expect("the document names a process")
}

/// Whether any file below a directory that can be read holds a text.
pub(crate) fn holds(directory: &Path, text: &str) -> bool {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => holds(&entry.path(), text),
        Ok(kind) if kind.is_file() => std::fs::read(entry.path())
            .is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes())),
        _ => false,
    })
}
