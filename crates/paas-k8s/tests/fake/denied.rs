//! What an API server denies is a state of the cluster that names the permission and who grants it, and no flood of warnings.

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use paas_core::action::{ClusterState, ClusterView, NewCluster};
use paas_core::engine::{Platform, Session};
use paas_core::memory::Images;
use paas_core::port::SecretValue;
use paas_core::tenancy::Actor;
use paas_k8s::KubernetesDriver;
use paas_k8s::fake::FakeCluster;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::fixture::{DOMAIN, ok};
use super::least_privilege::{fixture, lacking};

/// What was logged.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<(Level, String)>>>);

impl Log {
    fn at(&self, level: Level) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|(of, _)| *of == level).map(|(_, line)| line.clone()).collect()
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("paas_k8s")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push((*event.metadata().level(), line.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_may_not_be_followed_is_told_once_and_followed_when_it_may() {
    for verb in ["list", "watch"] {
        let log = Log::default();
        let _logging = tracing::subscriber::set_default(log.clone());
        let fixture = fixture(lacking(verb, "statefulsets")).await;
        tokio::time::sleep(Duration::from_hours(1)).await;
        let warnings = log.at(Level::WARN);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let told = warnings.concat();
        assert!(told.contains(&format!("cannot {verb} resource \\\"statefulsets\\\"")), "{told}");
        assert!(told.contains("the cluster role `paas` of `rbac.yaml`"), "{told}");
        fixture.fake.set_rules(None);
        tokio::time::sleep(Duration::from_mins(1)).await;
        let known = log.at(Level::INFO);
        assert_eq!(known, ["message=changes are followed again kind=statefulsets "]);
    }
}

async fn show(session: &Session) -> ClusterView {
    ok(session.get_cluster(&"east".parse().unwrap()).await).value
}

#[tokio::test]
async fn a_cluster_that_answers_and_denies_a_verb_is_denied_and_not_unreachable() {
    let fake = FakeCluster::new(Images::new());
    let server = fake.serve().await.unwrap();
    let driver = KubernetesDriver::new(DOMAIN).unwrap();
    let platform = ok(Platform::in_memory().driver(Arc::new(driver)).build().await);
    let session = platform.session(Actor::system());
    let new = NewCluster {
        name: "east".parse().unwrap(),
        kind: "kubernetes".to_owned(),
        region: None,
        labels: [].into(),
        config: Value::Null,
    };
    ok(session.add_cluster(new, Some(SecretValue::new(server.kubeconfig()))).await);

    fake.set_rules(Some(lacking("create", "namespaces")));
    let denied = show(&session).await;
    assert_eq!(denied.state, ClusterState::Denied);
    let reason = denied.reason.unwrap();
    assert!(reason.contains("create namespaces at the cluster scope"), "{reason}");
    assert!(reason.contains("Bind the cluster role `paas` of `rbac.yaml`"), "{reason}");

    // What only a feature needs is a limitation.
    fake.set_rules(Some(lacking("watch", "statefulsets")));
    let limited = show(&session).await;
    assert_eq!((limited.state, limited.reason), (ClusterState::Open, None));
    let limitation = "No stateful components: the account may not watch statefulsets.apps in all namespaces. It is granted by the cluster role `paas` of `rbac.yaml`.";
    assert_eq!(limited.report.unwrap().limitations, [limitation]);

    fake.set_rules(None);
    assert_eq!(show(&session).await.report.unwrap().limitations, Vec::<String>::new());
    drop(server);
    assert_eq!(show(&session).await.state, ClusterState::Unreachable);
}
