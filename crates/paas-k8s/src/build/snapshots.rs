//! What the objects look like, reviewed as text.

use std::collections::BTreeMap;
use std::time::Duration;

use insta::assert_yaml_snapshot;
use paas_core::model::{
    CallTarget, ComponentKind, Port, Probe, ProbeCheck, Probes, Protocol, ResolvedFile, ResolvedValue,
    Resources, RestartPolicy, RevisionId, SecretFingerprint, SecretRef, Security, Template, Termination,
    VolumeMount,
};
use paas_core::port::{Epoch, InstanceId, RunInput, RunSpec, SecretValue, SetKey, SetSpec};
use paas_core::{Bytes, ClusterName, Cpu, TrackKey};

use super::{Builder, Inputs, Selection, check, component_service};
use crate::options::{GatewayOptions, KubernetesOptions, SecurityLevel, SpaceOptions, VolumeOptions};
use crate::scheme::Installation;

fn options() -> KubernetesOptions {
    let installation = Installation::new("acme", "paas.example.org").expect("it is valid");
    KubernetesOptions::new(installation, ClusterName::local())
        .with_gateway(GatewayOptions::new("gateway", "main", "apps.example"))
        .with_volumes(VolumeOptions::new(Bytes::from_mebi(1024)).with_storage_class("fast"))
        .with_image_pull_secrets(["registry".to_owned()])
        .with_settle(Duration::from_secs(5))
        .with_space(
            SpaceOptions::default()
                .with_instances(20)
                .with_totals(Cpu::from_milli(8000), Bytes::from_mebi(16384))
                .with_defaults(Cpu::from_milli(250), Bytes::from_mebi(256))
                .isolated()
                .with_viewers(["developers".to_owned()]),
        )
}

fn track() -> TrackKey {
    "org/prod/shop/web@local".parse().expect("it is valid")
}

fn secret() -> SecretRef {
    SecretRef { name: "password".to_owned(), version: 3, fingerprint: SecretFingerprint("f00".to_owned()) }
}

fn port() -> Port {
    Port { name: "http".parse().expect("a name"), number: 8080, protocol: Protocol::Http }
}

fn template() -> Template {
    Template {
        component: track().component,
        kind: ComponentKind::Service,
        image: "registry.example:5000/team/web:1.2".to_owned(),
        digest: format!("sha256:{}", "ab".repeat(32)),
        command: None,
        args: Some(vec!["serve".to_owned(), "$(HOME)".to_owned()]),
        working_dir: Some("/srv".to_owned()),
        ports: vec![port()],
        env: BTreeMap::from([
            ("MODE".to_owned(), ResolvedValue::Plain("$(fast)".to_owned())),
            ("PASSWORD".to_owned(), ResolvedValue::Secret(secret())),
        ]),
        files: vec![
            ResolvedFile {
                path: "/etc/app.toml".to_owned(),
                content: ResolvedValue::Plain("a = 1\n".to_owned()),
                mode: 0o444,
            },
            ResolvedFile {
                path: "/etc/key".to_owned(),
                content: ResolvedValue::Secret(secret()),
                mode: 0o440,
            },
        ],
        volumes: vec![VolumeMount {
            name: "data".parse().expect("a name"),
            path: "/data".to_owned(),
            read_only: false,
        }],
        resources: Resources {
            cpu: Some(Cpu::from_milli(500)),
            memory: Some(Bytes::from_mebi(512)),
            storage: None,
            pids: None,
        },
        probes: Probes {
            startup: None,
            readiness: Some(Probe::new(ProbeCheck::Http { path: "/ready".to_owned(), port: None })),
            liveness: Some(Probe::new(ProbeCheck::Command(vec!["alive".to_owned()]))),
        },
        restart: RestartPolicy::Always,
        calls: vec![CallTarget {
            component: "org/prod/shop/api".parse().expect("it is valid"),
            port: port(),
        }],
        termination: Termination { drain_seconds: 30, grace_seconds: 10 },
        security: Security { read_only_root: true, user: Some("1000:1000".to_owned()) },
        manifests: Vec::new(),
        restart_nonce: 0,
    }
}

fn spec() -> SetSpec {
    SetSpec {
        key: SetKey { track: track(), revision: RevisionId::new("0a1b2c3d4e5f").expect("it is valid") },
        template: template(),
        count: 3,
        first: 0,
        labels: BTreeMap::from([
            ("org".to_owned(), "other".to_owned()),
            ("team".to_owned(), "web".to_owned()),
        ]),
    }
}

fn inputs() -> Inputs {
    Inputs {
        secrets: BTreeMap::from([(secret(), SecretValue::new("hunter2"))]),
        hosts: BTreeMap::from([("api".parse().expect("a name"), "10.96.0.7".to_owned())]),
    }
}

#[test]
fn a_set() {
    let options = options();
    let objects = Builder::new(&options).set(Epoch(7), &spec(), "1ncarnat", &inputs());
    assert_yaml_snapshot!("deployment", objects.deployment);
    assert_yaml_snapshot!("revision_service", objects.service);
    assert_yaml_snapshot!("config_map", objects.config_map);
    assert_yaml_snapshot!("secret", objects.secret);
    assert_yaml_snapshot!("budget", objects.budget);
    assert_yaml_snapshot!("policy", objects.policy);
    assert_yaml_snapshot!("claims", objects.claims);
}

#[test]
fn a_run() {
    let options = options().with_security(SecurityLevel::Baseline);
    let run = RunSpec {
        id: InstanceId("shop/migrate#4".to_owned()),
        track: track(),
        template: Template { volumes: Vec::new(), files: Vec::new(), ..template() },
        command: Some(vec!["migrate".to_owned()]),
        env: BTreeMap::from([("STEP".to_owned(), ResolvedValue::Plain("4".to_owned()))]),
        input: RunInput::None,
        labels: BTreeMap::new(),
    };
    let objects = Builder::new(&options).run(Epoch(7), &run, &inputs());
    assert_yaml_snapshot!("job", objects.job);
    for input in [RunInput::None, RunInput::Stream, RunInput::Terminal] {
        let run = RunSpec { input, ..run.clone() };
        assert_eq!(crate::build::input_of(&Builder::new(&options).run(Epoch(7), &run, &inputs()).job), input);
    }
}

#[test]
fn a_space() {
    let options = options();
    let objects = Builder::new(&options).space(&track().component.at.env_ref());
    assert_yaml_snapshot!("namespace", objects.namespace);
    assert_yaml_snapshot!("quota", objects.quota);
    assert_yaml_snapshot!("limits", objects.limits);
    assert_yaml_snapshot!("policies", objects.policies);
    assert_yaml_snapshot!("viewers", objects.viewers);
}

#[test]
fn a_components_service() {
    let options = options();
    let builder = Builder::new(&options);
    let revision = Selection::Revision(RevisionId::new("0a1b2c3d4e5f").expect("it is valid"));
    assert_yaml_snapshot!("component_service", component_service(&builder, &track(), &[port()], &revision));
    let headless = component_service(&builder, &track(), &[], &Selection::Nobody);
    assert_eq!(headless.spec.and_then(|spec| spec.cluster_ip).as_deref(), Some("None"));
}

#[test]
fn an_image_is_named_by_its_digest_in_its_registry() {
    let mut options = options();
    options.default_registry = Some("mirror.example".to_owned());
    let image = |name: &str| {
        let template = Template { image: name.to_owned(), digest: "sha256:00".to_owned(), ..template() };
        Builder::new(&options).image(&template)
    };
    assert_eq!(image("web:1"), "mirror.example/web@sha256:00");
    assert_eq!(image("team/web@sha256:11"), "mirror.example/team/web@sha256:00");
    assert_eq!(image("localhost/web:1"), "localhost/web@sha256:00");
    assert_eq!(image("host:5000/team/web"), "host:5000/team/web@sha256:00");
}

#[test]
fn a_template_that_kubernetes_can_carry_is_not_refused() {
    assert!(check("make a set", &options(), &template(), false).is_ok());
    let none = KubernetesOptions { volumes: None, ..options() };
    let error = check("make a set", &none, &template(), false).expect_err("it has a volume");
    assert_eq!(error.faults()[0].path, "volumes");
}
