//! The role of `rbac.yaml` is what the platform needs and nothing else; what is missing is named, and stops nothing but what needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use paas_core::memory::Images;
use paas_core::model::{
    CallTarget, ResolvedFile, ResolvedValue, SecretFingerprint, SecretRef, Template, VolumeMount,
};
use paas_core::port::{
    Epoch, Exec as _, ExecInput, ExecOptions, ExecTarget, InstanceId, InstancePhase, LogOptions, Logs as _,
    RouteBinding, Router as _, RunInput, RunSpec, Runtime as _, SetKey, SetSpec,
};
use paas_core::{Bytes, Cpu, ErrorKind, Result};
use paas_k8s::SpaceOptions;
use paas_k8s::fake::{FakeCluster, Fault, Permission, Verb};

use super::fixture::{Fixture, http, options, track, traffic};

const ROLE: &str = include_str!("../../rbac.yaml");
const MANIFESTS: &str = include_str!("../../rbac-manifests.yaml");
const OPERATIONS: &str = include_str!("../../rbac-operations.yaml");
/// How long anything may take that the platform waits for.
const ROUNDS: usize = 3000;

fn rules(text: &str) -> Vec<PolicyRule> {
    let role: ClusterRole = serde_saphyr::from_str(text).unwrap();
    role.rules.unwrap()
}

/// The rules, one for each verb on each resource.
fn single(rules: &[PolicyRule]) -> Vec<(Permission, PolicyRule)> {
    let mut found = Vec::new();
    for rule in rules {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for verb in &rule.verbs {
                    let permission =
                        Permission { group: group.clone(), resource: resource.clone(), verb: verb.clone() };
                    let rule = PolicyRule {
                        api_groups: Some(vec![group.clone()]),
                        resources: Some(vec![resource.clone()]),
                        verbs: vec![verb.clone()],
                        ..rule.clone()
                    };
                    found.push((permission, rule));
                }
            }
        }
    }
    found
}

/// Both roles without a verb on a resource.
pub(crate) fn lacking(verb: &str, resource: &str) -> Vec<PolicyRule> {
    let all = single(&[rules(ROLE), rules(MANIFESTS)].concat());
    let count = all.len();
    let is_it = |it: &Permission| it.verb == verb && it.resource == resource;
    let others: Vec<_> = all.into_iter().filter(|(it, _)| !is_it(it)).map(|(_, rule)| rule).collect();
    assert!(others.len() < count, "the roles have no {verb} {resource}");
    others
}

fn permissions(rules: &[PolicyRule]) -> BTreeSet<Permission> {
    single(rules).into_iter().map(|(permission, _)| permission).collect()
}

pub(crate) async fn fixture(rules: Vec<PolicyRule>) -> Fixture {
    let space = SpaceOptions::default()
        .with_instances(50)
        .with_totals(Cpu::from_milli(20_000), Bytes::from_mebi(10_000))
        .with_defaults(Cpu::from_milli(10), Bytes::from_mebi(16))
        .with_viewers(["developers".to_owned()])
        .isolated();
    let fake = FakeCluster::new(Images::new());
    fake.set_rules(Some(rules));
    Fixture::on(fake, options().with_space(space)).await
}

fn with_files(mut template: Template) -> Template {
    let secret =
        SecretRef { name: "password".to_owned(), version: 1, fingerprint: SecretFingerprint("f".to_owned()) };
    let file = |path: &str, content| ResolvedFile { path: path.to_owned(), content, mode: 0o440 };
    template.files.push(file("/etc/key", ResolvedValue::Secret(secret)));
    template.files.push(file("/etc/plain", ResolvedValue::Plain("plain".to_owned())));
    template
}

fn everything(fixture: &Fixture, name: &str, count: u32) -> SetSpec {
    let mut spec = fixture.spec(&track("shop"), name, count);
    spec.template = with_files(spec.template);
    let volume = VolumeMount { name: "data".parse().unwrap(), path: "/data".to_owned(), read_only: false };
    spec.template.volumes.push(volume);
    let callee = "org/test/shop/api".parse().unwrap();
    spec.template.calls.push(CallTarget { component: callee, port: http() });
    spec
}

async fn ready(fixture: &Fixture, key: &SetKey, count: usize) -> Result<InstanceId> {
    for _ in 0..ROUNDS {
        let seen = fixture.cluster.observe(&key.track).await?;
        let set =
            seen.sets.get(&key.revision).filter(|set| set.ready() == count && set.instances.len() == count);
        if let Some(instance) = set.and_then(|set| set.instances.first()) {
            return Ok(instance.id.clone());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{key} never had {count} ready instances")
}

/// Everything that the engine does through the ports: release, scale, route, look, print, command, run, remove.
async fn exercise(fixture: &Fixture) -> Result<()> {
    let cluster = &fixture.cluster;
    let (first, second) = (everything(fixture, "r1", 2), everything(fixture, "r2", 2));
    // What was made once is found by who makes it again after a failure.
    fixture.fake.inject(Verb::Create, Some("secrets"), Fault::ErrorAfterCommit, 1);
    match cluster.ensure(Epoch(1), &first).await {
        Err(error) if error.kind() == ErrorKind::Unavailable => {}
        other => other?,
    }
    fixture.fake.heal();
    cluster.ensure(Epoch(1), &first).await?;
    // What goes with a set that was removed does not take away what comes with the next one.
    cluster.remove(Epoch(1), &first.key).await?;
    cluster.ensure(Epoch(1), &first).await?;
    ready(fixture, &first.key, 2).await?;
    cluster.apply_service(Epoch(1), &traffic(&[("r1", 1)])).await?;
    let at = track("shop").component.at;
    let route = |name: &str, tcp_port: Option<u16>| RouteBinding {
        name: name.parse().unwrap(),
        host: (tcp_port.is_none()).then(|| "shop.example".to_owned()),
        path: "/".to_owned(),
        tcp_port,
        track: track("shop"),
        port: http(),
    };
    cluster.apply_routes(Epoch(1), &at, &[route("main", None), route("raw", Some(7301))]).await?;
    cluster.observe_routes(&at).await?;
    cluster.ensure(Epoch(1), &second).await?;
    ready(fixture, &second.key, 2).await?;
    cluster.apply_service(Epoch(1), &traffic(&[("r1", 1), ("r2", 1)])).await?;
    for _ in 0..ROUNDS {
        if cluster.observe_service(&track("shop")).await?.is_some_and(|seen| seen.confirmed) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    cluster.apply_service(Epoch(1), &traffic(&[("r2", 1)])).await?;
    cluster.scale(Epoch(1), &first.key, 0.into()).await?;
    cluster.scale(Epoch(1), &second.key, 3.into()).await?;
    cluster.scale(Epoch(1), &second.key, 1.into()).await?;
    let instance = ready(fixture, &second.key, 1).await?;
    cluster.remove(Epoch(1), &first.key).await?;
    cluster.tracks().await?;

    let mut lines = cluster.logs(&track("shop"), &LogOptions::default()).await?;
    while let Some(line) = lines.next().await {
        line?;
    }
    let command =
        ExecOptions { command: vec!["sleep".to_owned(), "100".to_owned()], stdin: false, terminal: None };
    let target = ExecTarget::Instance(track("shop"), Some(instance));
    drop(cluster.exec(&target, &command).await?);

    let id = InstanceId("run-1".to_owned());
    let run = RunSpec {
        id: id.clone(),
        track: track("shop"),
        template: with_files(fixture.ready(&track("shop").component)),
        command: Some(vec!["sleep".to_owned(), "3600".to_owned()]),
        env: BTreeMap::new(),
        input: RunInput::None,
        labels: BTreeMap::new(),
    };
    cluster.start_run(Epoch(1), &run).await?;
    cluster.start_run(Epoch(2), &run).await?;
    let command = ExecOptions { command: Vec::new(), stdin: false, terminal: None };
    let session = cluster.exec(&ExecTarget::Run(id.clone()), &command).await?;
    let _ = session.input.send(ExecInput::Signal(15)).await;
    for _ in 0..ROUNDS {
        let seen = cluster.observe_run(&id).await?;
        if seen.is_none_or(|seen| seen.phase == InstancePhase::Exited) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    cluster.remove_run(Epoch(2), &id).await?;

    let id = InstanceId("run-2".to_owned());
    let command = Some(vec!["cat".to_owned()]);
    let run = RunSpec { id: id.clone(), command, input: RunInput::Stream, ..run };
    cluster.start_run(Epoch(2), &run).await?;
    let options = ExecOptions { command: Vec::new(), stdin: true, terminal: None };
    let mut session = cluster.exec(&ExecTarget::Run(id.clone()), &options).await?;
    drop(session.input);
    while let Some(piece) = session.output.next().await {
        piece?;
    }
    cluster.remove_run(Epoch(2), &id).await?;

    crate::ordered::exercise(fixture).await?;

    cluster.apply_routes(Epoch(2), &at, &[]).await?;
    cluster.remove_service(Epoch(2), &track("shop")).await?;
    cluster.remove(Epoch(2), &second.key).await?;
    for _ in 0..ROUNDS {
        if cluster.observe(&track("shop")).await?.sets.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    cluster.purge(Epoch(2), &track("shop")).await?;
    let env = track("shop").component.at.env_ref();
    for space in paas_core::port::Spaces::list(cluster).await? {
        paas_core::port::Spaces::ensure(cluster, Epoch(2), &space).await?;
    }
    paas_core::port::Spaces::remove(cluster, Epoch(2), &env).await?;
    // What follows the cluster has had its turn.
    tokio::time::sleep(Duration::from_secs(20)).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_role_suffices_and_nothing_in_it_is_superfluous() {
    let fixture = fixture(rules(ROLE)).await;
    exercise(&fixture).await.unwrap_or_else(|error| panic!("{}", error.report()));
    let (needed, granted) = (fixture.fake.needed(), permissions(&rules(ROLE)));
    let missing: Vec<_> = needed.difference(&granted).map(ToString::to_string).collect();
    let superfluous: Vec<_> = granted.difference(&needed).map(ToString::to_string).collect();
    assert_eq!((missing, superfluous), (Vec::new(), Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn with_the_role_for_manifests_nothing_is_missing() {
    let fixture = fixture([rules(ROLE), rules(MANIFESTS)].concat()).await;
    let report = fixture.cluster.probe().await.unwrap();
    assert_eq!(report.limitations, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_roles_have_nothing_in_common() {
    let [role, manifests, operations] = [ROLE, MANIFESTS, OPERATIONS].map(|text| permissions(&rules(text)));
    let all = role.len() + manifests.len() + operations.len();
    assert_eq!((&(&role | &manifests) | &operations).len(), all);
}

#[tokio::test(start_paused = true)]
async fn each_permission_that_is_missing_is_named_and_stops_only_what_needs_it() {
    let all = single(&rules(ROLE));
    for (index, (missing, _)) in all.iter().enumerate() {
        let others: Vec<PolicyRule> = all
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != index)
            .map(|(_, (_, rule))| rule.clone())
            .collect();
        let fixture = fixture(others).await;
        let named = match fixture.cluster.probe().await {
            Ok(report) => report.limitations.join("\n"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Denied, "{missing}: {}", error.report());
                error.report()
            }
        };
        assert!(named.contains(&missing.to_string()), "the probe names {missing}: {named}");
        if let Err(error) = exercise(&fixture).await {
            let told = error.report();
            assert_eq!(error.kind(), ErrorKind::Denied, "{missing}: {told}");
            assert!(told.contains(&missing.verb) && told.contains(&missing.resource), "{missing}: {told}");
        }
    }
}
