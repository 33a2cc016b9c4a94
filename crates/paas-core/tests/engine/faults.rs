//! Ports of the platform that fail while somebody asks for something.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use paas_core::action::{Deploy, NewOrg, PageOptions, RequestOptions};
use paas_core::memory::{
    Call, FaultAction, Faults, Images, Intercepted, Interceptor, MemoryAuthorizer, MemoryKeyRing, Mutations,
    SimulatedCluster, intercept_cluster,
};
use paas_core::port::{
    Authorizer, Epoch, ExecOptions, ExecTarget, InstanceId, KeyRing, LogOptions, Role, Scope, SecretValue,
    Store as _,
};
use paas_core::{ClusterName, Error, ErrorKind, Result};
use serde_json::json;

use crate::support::{Lab, at, name, one, spec, web};

async fn with_keys(interceptors: Vec<Arc<dyn Interceptor>>) -> Lab {
    let ring: Arc<dyn KeyRing> = Arc::new(MemoryKeyRing::new());
    let lab = Lab::with(|builder| builder.key_ring(Arc::new(Intercepted::new(ring, interceptors)))).await;
    lab.populate().await;
    lab
}

async fn set(lab: &Lab, value: &str) -> Result<u64> {
    let written = lab.session.set_secret(&at(), "TOKEN", SecretValue::new(value)).await?;
    Ok(written.secret_version.unwrap())
}

#[tokio::test]
async fn a_secret_is_set_whole_or_not_at_all_when_keys_are_away() {
    let faults = Arc::new(Faults::new());
    let lab = with_keys(vec![faults.clone()]).await;
    assert_eq!(set(&lab, "first").await.unwrap(), 1);
    let before = lab.store.revision().await.unwrap();
    for pattern in ["key_ring.fingerprint", "key_ring.seal"] {
        for how in [FaultAction::FailBefore, FaultAction::FailAfter] {
            faults.always(pattern, how(ErrorKind::Unavailable));
            let error = set(&lab, "second").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
            assert!(!error.report().contains("second"), "{}", error.report());
            // The identity of a request is made with the keys, too.
            let once = RequestOptions { request_id: Some("r-1".to_owned()), ..RequestOptions::default() };
            let session = lab.session.with(once);
            let answer = session.set_secret(&at(), "TOKEN", SecretValue::new("second")).await;
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::Unavailable);
            faults.clear();
        }
    }
    assert_eq!(lab.store.revision().await.unwrap(), before, "nothing was stored");
    assert_eq!(set(&lab, "second").await.unwrap(), 2);
}

#[tokio::test]
async fn a_deploy_needs_no_keys_and_names_the_version_that_was_sealed() {
    let faults = Arc::new(Faults::new());
    let mut lab = with_keys(vec![faults.clone()]).await;
    set(&lab, "first").await.unwrap();
    faults.always("key_ring", FaultAction::FailBefore(ErrorKind::Unavailable));
    lab.release(one(&json!({ "env": { "T": { "secret": "TOKEN" } } }))).await;
    assert_eq!(lab.current().await, Some(1));
}

#[tokio::test]
async fn sealing_is_no_mutation_and_rotating_is() {
    let mutations = Arc::new(Mutations::new());
    let ring: Arc<dyn KeyRing> = Arc::new(MemoryKeyRing::new());
    let ring = Intercepted::new(ring, vec![mutations.clone() as Arc<dyn Interceptor>]);
    let value = SecretValue::new("hush");
    let sealed = ring.seal("context", &value).await.unwrap();
    assert_eq!(ring.open("context", &sealed).await.unwrap(), value);
    ring.fingerprint(&value).await.unwrap();
    assert_eq!(mutations.take(), []);
    ring.rotate().await.unwrap();
    let rotated = Call { port: "key_ring", operation: "rotate", object: String::new(), mutates: true };
    assert_eq!(mutations.take(), [rotated]);
}

/// Every call, as it was told before it was made.
#[derive(Debug, Default)]
struct Calls(Mutex<Vec<String>>);

#[async_trait]
impl Interceptor for Calls {
    async fn before(&self, call: &Call) -> Result<()> {
        let kind = if call.mutates { "may change" } else { "reads" };
        self.0.lock().unwrap().push(format!("{kind}: {call}"));
        Ok(())
    }

    async fn after(&self, _: &Call) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn calls_of_a_cluster_are_told_with_their_objects_and_whether_they_may_change_something() {
    let calls = Arc::new(Calls::default());
    let cluster = SimulatedCluster::new(Images::any());
    let ports = intercept_cluster(cluster.ports(), &[calls.clone() as Arc<dyn Interceptor>]);
    let (track, env) = (at().component(web()).on(ClusterName::local()), at().env_ref());
    let nodes = ports.nodes.unwrap();
    let node = nodes.list().await.unwrap().remove(0).name;
    nodes.cordon(&node, true).await.unwrap();
    nodes.drain(&node, Duration::ZERO).await.unwrap();
    let spaces = ports.spaces.unwrap();
    spaces.ensure(Epoch(1), &env).await.unwrap();
    assert_eq!(spaces.list().await.unwrap(), std::slice::from_ref(&env));
    spaces.remove(Epoch(1), &env).await.unwrap();
    assert!(ports.metrics.unwrap().usage(&track).await.unwrap().is_empty());
    let lines = ports.logs.unwrap().logs(&track, &LogOptions::default()).await.unwrap();
    assert_eq!(lines.count().await, 0);
    let command = ExecOptions { command: vec!["env".to_owned()], ..ExecOptions::default() };
    let target = ExecTarget::Instance(track.clone(), Some(InstanceId("i-1".to_owned())));
    let answer = ports.exec.unwrap().exec(&target, &command).await;
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::NotFound);
    let expected = [
        "reads: nodes.list ".to_owned(),
        format!("may change: nodes.cordon {node}"),
        format!("may change: nodes.drain {node}"),
        format!("may change: spaces.ensure {env}"),
        "reads: spaces.list ".to_owned(),
        format!("may change: spaces.remove {env}"),
        format!("reads: metrics.usage {track}"),
        format!("reads: logs.logs {track}"),
        format!("may change: exec.exec i-1 of {track}"),
    ];
    assert_eq!(*calls.0.lock().unwrap(), expected);
}

/// What an actor with every role gets for each kind of request.
async fn everything(lab: &Lab) -> Vec<(&'static str, Result<()>)> {
    let session = &lab.session;
    let (page, org) = (PageOptions::default, at().org);
    let lines = session.logs(&at(), &web(), LogOptions::default()).await;
    let command = ExecOptions { command: vec!["env".to_owned()], ..ExecOptions::default() };
    vec![
        ("create", session.create_org(NewOrg::new(name("more"))).await.map(drop)),
        ("list", session.list_orgs(page()).await.map(drop)),
        ("show", session.get_org(&org).await.map(drop)),
        ("deploy", session.deploy(&at(), Deploy::spec(spec())).await.map(drop)),
        ("status", session.status(&at()).await.map(drop)),
        ("scale", session.scale(&at(), &web(), 3).await.map(drop)),
        ("grant", session.grant(session.actor(), Role::Owner, Scope::Org { org }).await.map(drop)),
        ("audit", session.audit(Scope::Platform, page()).await.map(drop)),
        ("events", session.events_stream(Scope::Platform, None).await.map(drop)),
        ("logs", lines.map(drop)),
        ("exec", session.exec(&at(), &web(), None, command).await.map(drop)),
    ]
}

#[tokio::test]
async fn an_authorizer_that_fails_allows_nothing() {
    let grants = Arc::new(MemoryAuthorizer::new());
    grants.grant("user:root", Role::PlatformAdmin, Scope::Platform);
    let faults = Arc::new(Faults::new());
    let authorizer: Arc<dyn Authorizer> = grants.clone();
    let authorizer = Arc::new(Intercepted::new(authorizer, vec![faults.clone() as Arc<dyn Interceptor>]));
    let mut lab = Lab::with(|builder| builder.authorizer(authorizer)).await;
    lab.populate().await;
    lab.release(spec()).await;
    let before = lab.store.revision().await.unwrap();
    for how in [FaultAction::FailBefore, FaultAction::FailAfter] {
        faults.always("authorizer", how(ErrorKind::Unavailable));
        for (what, answer) in everything(&lab).await {
            let error = answer.expect_err(what);
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}: {}", error.report());
        }
        faults.clear();
    }
    assert_eq!(lab.store.revision().await.unwrap(), before, "nothing was done");
    let refused = |error: &Error| error.kind() == ErrorKind::Unavailable;
    for (what, answer) in everything(&lab).await {
        assert!(!answer.as_ref().is_err_and(refused), "{what} works again: {answer:?}");
    }
}
