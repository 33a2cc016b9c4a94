//! The proxy before the API server in memory.

#![allow(clippy::unwrap_used)] // tests may panic

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use paas_api_proxy::{Fault, Gate, Proxy, Selection, Verb, Write};
use paas_core::memory::Images;
use paas_k8s::fake::{FakeCluster, FakeServer};
use paas_k8s::kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use paas_k8s::kube::{Api, Client, Config, Error};
use tokio::sync::Notify;

struct Place {
    proxy: Proxy,
    direct: Api<ConfigMap>,
    by_proxy: Api<ConfigMap>,
    _server: FakeServer,
}

fn client(address: std::net::SocketAddr) -> Client {
    let mut config = Config::new(format!("http://{address}").parse().unwrap());
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

async fn place() -> Place {
    let server = FakeCluster::new(Images::any()).serve().await.unwrap();
    let upstream = client(server.api());
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some("test".to_owned());
    Api::all(upstream.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    let proxy = Proxy::start(upstream.clone()).await.unwrap();
    let by_proxy = Api::namespaced(client(proxy.address()), "test");
    Place { direct: Api::namespaced(upstream, "test"), by_proxy, proxy, _server: server }
}

fn map(name: &str) -> ConfigMap {
    let mut object = ConfigMap::default();
    object.metadata.name = Some(name.to_owned());
    object
}

async fn make(api: &Api<ConfigMap>, name: &str) -> Result<ConfigMap, Error> {
    api.create(&PostParams::default(), &map(name)).await
}

async fn count(api: &Api<ConfigMap>) -> usize {
    api.list(&ListParams::default()).await.unwrap().items.len()
}

#[tokio::test]
async fn writes_are_passed_on_and_remembered_with_what_they_made() {
    let place = place().await;
    let made = make(&place.by_proxy, "a").await.unwrap();
    assert!(make(&place.by_proxy, "a").await.is_err());
    assert_eq!(count(&place.direct).await, 1);
    let writes: Vec<_> = place.proxy.take_writes().iter().map(|(it, code)| format!("{it}: {code}")).collect();
    assert_eq!(writes, ["create configmaps a: 201", "create configmaps a: 409"]);
    let remembered = place.proxy.take_made();
    assert_eq!(remembered.len(), 1);
    assert_eq!((Some(&remembered[0].uid), &*remembered[0].name), (made.metadata.uid.as_ref(), "a"));
}

#[tokio::test]
async fn calls_are_counted_by_what_they_do_and_to_which_resource() {
    let place = place().await;
    make(&place.by_proxy, "a").await.unwrap();
    count(&place.by_proxy).await;
    count(&place.by_proxy).await;
    drop(place.by_proxy.watch(&WatchParams::default(), "0").await.unwrap());
    let calls: Vec<_> = place.proxy.take_calls().into_iter().collect();
    let on = |verb, times| ((verb, "configmaps".to_owned()), times);
    assert_eq!(calls, [on(Verb::List, 2), on(Verb::Watch, 1), on(Verb::Create, 1)]);
    assert!(place.proxy.take_calls().is_empty());
}

#[tokio::test]
async fn an_error_after_a_commit_hides_what_was_done() {
    let place = place().await;
    for fault in [Fault::ErrorAfterCommit, Fault::CutAfterCommit] {
        place.proxy.inject_times(Selection::writes().on(["configmaps"]), fault, 1);
        assert!(make(&place.by_proxy, &format!("{fault:?}").to_lowercase()).await.is_err());
    }
    assert_eq!(count(&place.direct).await, 2);
    assert!(make(&place.by_proxy, "c").await.is_ok(), "a fault for one call meets one call");
}

#[tokio::test]
async fn a_call_that_is_refused_changes_nothing_until_healed() {
    let place = place().await;
    for fault in [Fault::Refused, Fault::TooManyRequests(1), Fault::Expired] {
        place.proxy.inject(Selection::all(), fault);
        assert!(make(&place.by_proxy, "a").await.is_err());
        place.proxy.heal();
    }
    assert_eq!(count(&place.direct).await, 0);
    assert_eq!(place.proxy.struck(), 3);
    make(&place.by_proxy, "a").await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_behind_answers_as_before() {
    let place = place().await;
    assert_eq!(count(&place.by_proxy).await, 0);
    place.proxy.inject(Selection::of([Verb::Get, Verb::List, Verb::Watch]), Fault::Stale);
    make(&place.by_proxy, "a").await.unwrap();
    assert_eq!(count(&place.by_proxy).await, 0);
    place.proxy.heal();
    assert_eq!(count(&place.by_proxy).await, 1);
}

#[tokio::test]
async fn a_watch_passes_until_it_is_cut() {
    use futures::StreamExt as _;
    let place = place().await;
    let events = place.by_proxy.watch(&WatchParams::default(), "0").await.unwrap();
    let mut events = std::pin::pin!(events);
    make(&place.direct, "a").await.unwrap();
    assert!(matches!(events.next().await, Some(Ok(WatchEvent::Added(_)))));
    place.proxy.cut_streams();
    let cut = tokio::time::timeout(Duration::from_secs(10), events.next()).await.unwrap();
    assert!(!matches!(cut, Some(Ok(_))), "{cut:?}");
}

#[derive(Default)]
struct Holding {
    seen: Mutex<Vec<String>>,
    let_go: Notify,
}

#[async_trait]
impl Gate for Holding {
    async fn before(&self, write: &Write) {
        self.seen.lock().unwrap().push(format!("before {write}"));
        self.let_go.notified().await;
    }

    async fn after(&self, write: &Write, status: u16) {
        self.seen.lock().unwrap().push(format!("after {write}: {status}"));
    }
}

#[tokio::test]
async fn what_was_sent_arrives_though_its_client_is_gone() {
    let place = place().await;
    let gate = Arc::new(Holding::default());
    place.proxy.set_gate(Some(gate.clone()));
    let sent = tokio::time::timeout(Duration::from_millis(300), make(&place.by_proxy, "a")).await;
    assert!(sent.is_err(), "it is held, and its client gives up");
    assert_eq!(count(&place.direct).await, 0);
    gate.let_go.notify_one();
    let arrived = async { while count(&place.direct).await == 0 {} };
    tokio::time::timeout(Duration::from_secs(10), arrived).await.unwrap();
    let answered = async {
        while gate.seen.lock().unwrap().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), answered).await.unwrap();
    assert_eq!(*gate.seen.lock().unwrap(), ["before create configmaps a", "after create configmaps a: 201"]);
}
