//! Calls between components: their sockets come from shims.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener as StdListener},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

use http::StatusCode;
use http_body_util::Full;
use paas_gateway::{
    Config, Source,
    config::{Caller, Dependency, Dial},
    handover::{Listener, Request, accept, answer, bind, recv_json, send_json},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::support::*;

/// What lives in an instance's network namespace, which here is that of the test.
struct Shim {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Shim {
    fn start(path: &Path, listeners: Vec<(Listener, OwnedFd)>) -> Self {
        let control = bind(path).unwrap();
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut peers: Vec<OwnedFd> = Vec::new();
            while !stopped.load(SeqCst) {
                let ready: Vec<bool> = {
                    let all = std::iter::once(&control).chain(&peers);
                    let mut waits: Vec<_> = all.map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
                    let tick = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
                    poll(&mut waits, Some(&tick)).unwrap();
                    waits.iter().map(|wait| !wait.revents().is_empty()).collect()
                };
                for i in (1..ready.len()).rev().filter(|i| ready[*i]) {
                    match recv_json::<Request>(&peers[i - 1]) {
                        Ok(Some((request, _))) => {
                            let (reply, handed) = answer(&request, &listeners);
                            let fds: Vec<_> = handed.iter().map(AsFd::as_fd).collect();
                            let _ = send_json(&peers[i - 1], &reply, &fds);
                        }
                        _ => drop(peers.remove(i - 1)),
                    }
                }
                if ready[0] {
                    peers.extend(accept(&control));
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn listening(name: &str) -> (Listener, OwnedFd, SocketAddr) {
    let socket = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    (Listener { name: name.into(), port: address.port() }, socket.into(), address)
}

fn caller(instance: &str, component: &str, path: PathBuf, dependencies: &[(&Listener, &str)]) -> Caller {
    Caller {
        instance: instance.into(),
        component: component.into(),
        handover: path,
        dependencies: dependencies
            .iter()
            .map(|(listener, service)| Dependency {
                listener: (*listener).clone(),
                service: (*service).into(),
                port: "http".into(),
            })
            .collect(),
    }
}

fn calls(config: &Config, entries: &[paas_gateway::Snapshot]) -> Vec<(Source, String, u64)> {
    assert!(!config.callers.is_empty());
    let from_components = entries.iter().filter(|entry| matches!(entry.source, Source::Component(_)));
    from_components
        .filter(|entry| entry.requests[1] > 0)
        .map(|entry| (entry.source.clone(), entry.service.as_ref().unwrap().to_string(), entry.requests[1]))
        .collect()
}

#[tokio::test]
async fn an_instance_is_reached_through_sockets_that_its_shim_hands_over_and_without_it_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shim.sock");
    let upstream = Upstream::start("a").await;
    let shim = Shim::start(&path, Vec::new());
    let mut config = config(1, &[("r", 1)], &[("r", upstream.address)]);
    config.instances[0].dial = Dial::Handover(path);
    let (_gateway, address) = gateway(config).await;
    assert_eq!(get(address, "/").await.by(), "a");
    drop(shim);
    for _ in 0..5 {
        assert_eq!(get(address, "/close").await.by(), "a", "sockets in stock outlive the shim");
    }
}

#[tokio::test]
async fn an_application_that_listens_on_ipv6_only_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shim.sock");
    let listener = tokio::net::TcpListener::bind("[::1]:0").await.unwrap();
    let upstream = Upstream::on("six", listener);
    let _shim = Shim::start(&path, Vec::new());
    let mut config = config(1, &[("r", 1)], &[("r", upstream.address)]);
    config.instances[0].dial = Dial::Handover(path);
    let (_gateway, address) = gateway(config).await;
    assert_eq!(get(address, "/").await.by(), "six");
}

#[tokio::test]
async fn without_a_shim_another_instance_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start("a").await;
    let mut config = config(1, &[("r", 1)], &[("r", upstream.address), ("r", upstream.address)]);
    config.instances[0].dial = Dial::Handover(folder.path().join("nobody.sock"));
    let (_gateway, address) = gateway(config).await;
    for _ in 0..10 {
        assert_eq!(get(address, "/").await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn calls_go_where_the_dependency_leads_and_are_counted_with_both_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shim.sock");
    let (api, web) = (Upstream::start("api").await, Upstream::start("web").await);
    let (listener, fd, address) = listening("api");
    let (undeclared, fd2, undeclared_address) = listening("other");
    let mut config = config(1, &[("r", 1)], &[("r", web.address)]);
    config.services.push(service("api", paas_gateway::config::Protocol::Http, &[("r", 1)]));
    config.instances.push(instance("api-0", "api", "r", api.address));
    config.callers.push(caller("r-0", "o/e/a/web", path.clone(), &[(&listener, "api")]));
    // The shim comes after the config.
    let (gateway, _) = gateway(config.clone()).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    let _shim = Shim::start(&path, vec![(listener, fd), (undeclared, fd2)]);
    until("the caller is attached", async || gateway.status().await.callers[0].attached).await;

    let mut client = Client::connect(address).await;
    for host in ["api", "whatever.example.com"] {
        let request = request("GET", host, "/").header("x-forwarded-for", "1.2.3.4");
        let said = client.send(request.body(Full::default()).unwrap()).await;
        assert_eq!(said.by(), "api", "{}", said.body);
        assert_eq!(said.got("x-forwarded-for"), ["1.2.3.4"], "what a component says is passed on");
    }
    let expected = [(Source::Component("o/e/a/web".into()), "api".to_owned(), 2)];
    until("the calls are counted", async || calls(&config, &gateway.statistics().entries) == expected).await;

    // Not declared: closed without a word.
    let mut refused = tokio::net::TcpStream::connect(undeclared_address).await.unwrap();
    let mut nothing = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut refused, &mut nothing).await;
    assert!(nothing.is_empty());

    // The dependency leads elsewhere: the connection that is open follows at its next request.
    config.generation = 2;
    config.callers[0].dependencies[0].service = "web".into();
    gateway.apply(config).await.unwrap();
    let said = client.send(request("GET", "api", "/").body(Full::default()).unwrap()).await;
    assert_eq!(said.by(), "web");
}

#[tokio::test]
async fn a_shim_that_is_new_is_asked_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shim.sock");
    let api = Upstream::start("api").await;
    let (mut listener, fd, address) = listening("api");
    let (other, other_fd, other_address) = listening("api");
    listener.port = 80;
    let other = Listener { port: 80, ..other };
    let mut config = config(1, &[], &[]);
    config.services.push(service("api", paas_gateway::config::Protocol::Http, &[("r", 1)]));
    config.instances.push(instance("api-0", "api", "r", api.address));
    config.callers.push(caller("c", "o/e/a/web", path.clone(), &[(&listener, "api")]));
    let first = Shim::start(&path, vec![(listener, fd)]);
    let (gateway, _) = gateway(config).await;
    assert_eq!(get(address, "/").await.by(), "api");
    drop(first);
    until("its end is noticed", async || !gateway.status().await.callers[0].attached).await;
    // The sockets of the one that is gone work on, until there is another one.
    assert_eq!(get(address, "/").await.by(), "api");
    let _second = Shim::start(&path, vec![(other, other_fd)]);
    assert_eq!(get(other_address, "/").await.by(), "api");
    until("the caller is attached", async || gateway.status().await.callers[0].attached).await;
}
