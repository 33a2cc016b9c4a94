//! The role of `rbac.yaml` on a real cluster: an account with it and nothing else does everything that the engine does, and each
//! permission that an account lacks is named.
//!
//! That the role has nothing superfluous is proven on the API server in memory, which tells what was needed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule};
use libtest_mimic::Trial;
use paas_core::conformance::router::{Answer, RouterFixture};
use paas_core::conformance::runtime::{RuntimeFixture, Workload};
use paas_core::model::RevisionId;
use paas_core::port::{
    Backend, Epoch, Exec as _, ExecOptions, ExecOutput, ExecTarget, LogOptions, Logs as _, RouteBinding,
    Router as _, RunInput, RunSpec, Runtime as _, ServiceState, ServiceTraffic, SetKey, SetSpec,
};
use paas_core::{Bytes, ErrorKind, TrackKey};
use paas_k8s::client::connect;
use paas_k8s::kube::api::{DeleteParams, ListParams, PostParams};
use paas_k8s::kube::config::AuthInfo;
use paas_k8s::kube::{Api, Client, Config, Resource};
use paas_k8s::{CallLimits, SpaceOptions};
use serde_json::json;

use crate::fixture::{Fixture, Place, account, ok};

const ROLE: &str = include_str!("../../rbac.yaml");
const MANIFESTS: &str = include_str!("../../rbac-manifests.yaml");
/// How many accounts are asked about at once.
const AT_ONCE: usize = 4;
/// How long the API server may take to know a role that was just made.
const KNOWN: Duration = Duration::from_secs(20);

pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, test: fn(&'static Place, &tokio::runtime::Runtime)| {
        Trial::test(format!("least_privilege::{name}"), move || {
            let place = Place::get()?;
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            test(place, &runtime);
            Ok(())
        })
    };
    vec![
        trial("an_account_with_the_role_does_everything", |place, runtime| runtime.block_on(suffices(place))),
        trial("each_permission_that_is_missing_is_named", |place, runtime| runtime.block_on(is_named(place))),
        trial("what_is_denied_stops_only_what_needs_it", |place, runtime| {
            runtime.block_on(stops_little(place));
        }),
    ]
}

/// Accounts of one test, with their roles; everything goes with [`Accounts::close`].
struct Accounts {
    config: Config,
    client: Client,
    name: String,
    made: usize,
}

impl Accounts {
    async fn new(place: &Place) -> Self {
        let config = account(place).await;
        let mut limits = CallLimits::default();
        (limits.per_second, limits.burst) = (1000, 1000);
        let client = ok(connect(config.clone(), limits));
        let random = format!("{:x}", uuid::Uuid::new_v4().as_u128());
        Self { config, client, name: format!("paas-least-{}", &random[..8]), made: 0 }
    }

    async fn create<K>(&self, api: Api<K>, object: serde_json::Value)
    where
        K: Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
    {
        let object: K = serde_json::from_value(object).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
    }

    /// A role with these rules, bound to `subject`.
    async fn role(&self, name: &str, rules: &[PolicyRule], subject: serde_json::Value) {
        let meta = json!({ "name": name, "labels": { "paas-test": self.name } });
        self.create::<ClusterRole>(
            Api::all(self.client.clone()),
            json!({ "metadata": meta, "rules": rules }),
        )
        .await;
        let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name });
        let binding = json!({ "metadata": meta, "roleRef": role, "subjects": [subject] });
        self.create::<ClusterRoleBinding>(Api::all(self.client.clone()), binding).await;
    }

    /// The service account of a pod that has these rules, by its token.
    async fn of_a_pod(&mut self, rules: &[PolicyRule]) -> Config {
        let namespace = self.name.clone();
        self.create::<Namespace>(Api::all(self.client.clone()), json!({ "metadata": { "name": namespace } }))
            .await;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &namespace);
        self.create(accounts.clone(), json!({ "metadata": { "name": "paas" } })).await;
        let subject = json!({ "kind": "ServiceAccount", "name": "paas", "namespace": namespace });
        self.role(&namespace, rules, subject).await;
        let request = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
        let answer = accounts.create_token_request("paas", &PostParams::default(), &request).await.unwrap();
        let mut config = self.config.clone();
        config.auth_info =
            AuthInfo { token: Some(answer.status.expect("a token").token.into()), ..AuthInfo::default() };
        config
    }

    /// An account that has these rules, whom the administrator speaks for.
    async fn of_somebody(&self, number: usize, rules: &[PolicyRule]) -> Config {
        let user = format!("{}-{number}", self.name);
        let subject = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user });
        self.role(&user, rules, subject).await;
        let mut config = self.config.clone();
        config.auth_info.impersonate = Some(user);
        config
    }

    async fn somebody(&mut self, rules: &[PolicyRule]) -> Config {
        self.made += 1;
        self.of_somebody(self.made, rules).await
    }

    async fn close(self) {
        let ours = ListParams::default().labels(&format!("paas-test={}", self.name));
        let roles: Api<ClusterRole> = Api::all(self.client.clone());
        roles.delete_collection(&DeleteParams::default(), &ours).await.unwrap();
        let bindings: Api<ClusterRoleBinding> = Api::all(self.client.clone());
        bindings.delete_collection(&DeleteParams::default(), &ours).await.unwrap();
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let _ = namespaces.delete(&self.name, &DeleteParams::background()).await; // not every test made one
    }
}

fn rules_of(text: &str) -> Vec<PolicyRule> {
    let role: ClusterRole = serde_saphyr::from_str(text).unwrap();
    role.rules.unwrap()
}

/// With the role for manifests nothing is missing.
fn rules() -> Vec<PolicyRule> {
    [rules_of(ROLE), rules_of(MANIFESTS)].concat()
}

/// The rules without one verb on one resource, for each of them, with the words of what is missing.
fn without_each() -> Vec<(String, String, Vec<PolicyRule>)> {
    let mut single = Vec::new();
    for rule in rules_of(ROLE) {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for verb in &rule.verbs {
                    single.push(PolicyRule {
                        api_groups: Some(vec![group.clone()]),
                        resources: Some(vec![resource.clone()]),
                        verbs: vec![verb.clone()],
                        ..rule.clone()
                    });
                }
            }
        }
    }
    let first =
        |values: &Option<Vec<String>>| values.as_ref().and_then(|it| it.first().cloned()).unwrap_or_default();
    let without = |index: usize| {
        let (missing, mut others) = (single[index].clone(), single.clone());
        others.remove(index);
        others.extend(rules_of(MANIFESTS));
        (missing.verbs[0].clone(), (first(&missing.resources), first(&missing.api_groups)), others)
    };
    let named = |index| {
        let (verb, (resource, group), others) = without(index);
        let resource = if group.is_empty() { resource } else { format!("{resource}.{group}") };
        (verb, resource, others)
    };
    (0..single.len()).map(named).collect()
}

fn lacking(verb: &str, resource: &str) -> Vec<PolicyRule> {
    let found = without_each().into_iter().find(|(v, r, _)| v == verb && r == resource);
    found.unwrap_or_else(|| panic!("the role has no {verb} {resource}")).2
}

fn space() -> SpaceOptions {
    SpaceOptions::default()
        .with_instances(20)
        .with_viewers(["developers".to_owned()])
        .isolated()
        .with_defaults(paas_core::Cpu::from_milli(10), Bytes::from_mebi(32))
}

fn track() -> TrackKey {
    "conformance/test/least/web@local".parse().unwrap()
}

async fn set(fixture: &Fixture, name: &str, count: u32) -> SetSpec {
    let key = SetKey { track: track(), revision: RevisionId::new(name).unwrap() };
    let template = RuntimeFixture::template(fixture, &key.track.component, Workload::Ready).await;
    SetSpec { key, template, count, first: 0, labels: BTreeMap::new() }
}

fn traffic(fixture: &Fixture, name: &str) -> ServiceTraffic {
    ServiceTraffic {
        track: track(),
        ports: vec![RouterFixture::port(fixture)],
        backends: vec![Backend { revision: RevisionId::new(name).unwrap(), weight: 1, release: 1 }],
        state: ServiceState::Serving,
    }
}

async fn suffices(place: &'static Place) {
    let mut accounts = Accounts::new(place).await;
    let config = accounts.of_a_pod(&rules()).await;
    let fixture = Fixture::over(place, config, space()).await;
    until_known(&fixture).await;
    let cluster = &fixture.cluster;
    let (first, second) = (set(&fixture, "r1", 1).await, set(&fixture, "r2", 1).await);
    ok(cluster.ensure(Epoch(1), &first).await);
    fixture.until_ready(&first.key, 1).await;
    ok(cluster.apply_service(Epoch(1), &traffic(&fixture, "r1")).await);
    let at = track().component.at;
    let host = format!("{}.example", accounts.name);
    let route = RouteBinding {
        name: "main".parse().unwrap(),
        host: Some(host.clone()),
        path: "/".to_owned(),
        tcp_port: None,
        track: track(),
        port: RouterFixture::port(&fixture),
    };
    ok(cluster.apply_routes(Epoch(1), &at, &[route]).await);
    let end = Instant::now() + Duration::from_mins(1);
    while !matches!(fixture.request(&host, "/").await, Answer::Served(_)) {
        assert!(Instant::now() < end, "the access point never served");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ok(cluster.ensure(Epoch(1), &second).await);
    fixture.until_ready(&second.key, 1).await;
    ok(cluster.apply_service(Epoch(1), &traffic(&fixture, "r2")).await);
    ok(cluster.scale(Epoch(1), &second.key, 2.into()).await);
    let seen = fixture.until_ready(&second.key, 2).await;
    ok(cluster.remove(Epoch(1), &first.key).await);
    let instance = &seen.instances[0].id;
    assert_eq!(fixture.script(instance, "echo hello").await.as_deref(), Some("hello\n"));
    let lines: Vec<_> = ok(cluster.logs(&track(), &LogOptions::default()).await).try_collect().await.unwrap();
    drop(lines);

    let run = RunSpec {
        id: paas_core::port::InstanceId("run-least".to_owned()),
        track: track(),
        template: second.template.clone(),
        command: Some(vec!["echo".to_owned(), "done".to_owned()]),
        env: BTreeMap::new(),
        input: RunInput::None,
        labels: BTreeMap::new(),
    };
    ok(cluster.start_run(Epoch(1), &run).await);
    let options = ExecOptions { command: Vec::new(), stdin: false, terminal: None };
    let session = ok(cluster.exec(&ExecTarget::Run(run.id.clone()), &options).await);
    let output: Vec<_> = session.output.try_collect().await.unwrap();
    assert!(!output.is_empty());
    ok(cluster.remove_run(Epoch(1), &run.id).await);
    let run = RunSpec {
        id: paas_core::port::InstanceId("run-input".to_owned()),
        command: Some(vec!["cat".to_owned()]),
        input: RunInput::Stream,
        ..run
    };
    ok(cluster.start_run(Epoch(1), &run).await);
    let options = ExecOptions { command: Vec::new(), stdin: true, terminal: None };
    let session = ok(cluster.exec(&ExecTarget::Run(run.id.clone()), &options).await);
    drop(session.input);
    let output: Vec<_> = session.output.try_collect().await.unwrap();
    assert_eq!(output, [ExecOutput::Exit(0)]);
    ok(cluster.remove_run(Epoch(1), &run.id).await);

    ok(cluster.apply_routes(Epoch(1), &at, &[]).await);
    ok(cluster.remove_service(Epoch(1), &track()).await);
    ok(cluster.remove(Epoch(1), &second.key).await);
    let end = Instant::now() + Duration::from_mins(1);
    while !ok(cluster.observe(&track()).await).sets.is_empty() {
        assert!(Instant::now() < end, "the set never went");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ok(cluster.purge(Epoch(1), &track()).await);
    assert_eq!(ok(cluster.probe().await).limitations, Vec::<String>::new());
    fixture.close().await;
    accounts.close().await;
}

/// Waits until the API server knows the role.
async fn until_known(fixture: &Fixture) {
    let end = Instant::now() + KNOWN;
    while let Err(error) = fixture.cluster.probe().await {
        assert!(Instant::now() < end, "{}", error.report());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn is_named(place: &'static Place) {
    let accounts = Accounts::new(place).await;
    let all = without_each();
    let checked = stream::iter(all.iter().enumerate()).map(|(number, (verb, resource, rules))| {
        let accounts = &accounts;
        async move {
            let config = accounts.of_somebody(number, rules).await;
            let fixture = Fixture::over(place, config, space()).await;
            let missing = format!("{verb} {resource}");
            let end = Instant::now() + KNOWN;
            loop {
                // Until the role is known, more is missing.
                let told = named_by_the_probe(&fixture).await;
                if told == [missing.as_str()] {
                    return;
                }
                assert!(Instant::now() < end, "the probe names {missing} and nothing else: {told:?}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    });
    checked.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    accounts.close().await;
}

/// The permissions that are missing, by the probe: a verb and a resource each.
async fn named_by_the_probe(fixture: &Fixture) -> Vec<String> {
    let permission = |told: &str| told.split(' ').take(2).collect::<Vec<_>>().join(" ");
    match fixture.cluster.probe().await {
        Ok(report) => {
            let named = |told: &String| Some(permission(told.split_once("may not ")?.1));
            report.limitations.iter().filter_map(named).collect()
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Denied, "{}", error.report());
            let missing = error.context().iter().find(|(name, _)| *name == "missing");
            let missing = missing.map(|(_, missing)| missing.clone()).unwrap_or_default();
            missing.split(", ").map(permission).collect()
        }
    }
}

async fn stops_little(place: &'static Place) {
    let mut accounts = Accounts::new(place).await;
    // Nobody follows the pods: what is asked is answered all the same.
    let config = accounts.somebody(&lacking("watch", "pods")).await;
    let blind = Fixture::over(place, config, space()).await;
    let spec = set(&blind, "r1", 1).await;
    let end = Instant::now() + KNOWN;
    while let Err(error) = blind.cluster.ensure(Epoch(1), &spec).await {
        assert!(error.kind() == ErrorKind::Denied && Instant::now() < end, "{}", error.report());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    blind.until_ready(&spec.key, 1).await;
    blind.close().await;

    for (verb, resource) in [("create", "deployments.apps"), ("create", "namespaces"), ("get", "services")] {
        let config = accounts.somebody(&lacking(verb, resource)).await;
        let fixture = Fixture::over(place, config, space()).await;
        let spec = set(&fixture, "r1", 1).await;
        let plain = resource.split('.').next().unwrap_or_default();
        let end = Instant::now() + KNOWN;
        loop {
            let told = match fixture.cluster.ensure(Epoch(1), &spec).await {
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Denied, "{}", error.report());
                    error.report()
                }
                Ok(()) => {
                    let error =
                        fixture.cluster.apply_service(Epoch(1), &traffic(&fixture, "r1")).await.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Denied, "{}", error.report());
                    error.report()
                }
            };
            if told.contains(&format!("cannot {verb} resource \"{plain}\"")) {
                break;
            }
            assert!(Instant::now() < end, "{verb} {resource} is named: {told}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        ok(fixture.cluster.observe(&track()).await);
        fixture.close().await;
    }
    accounts.close().await;
}
