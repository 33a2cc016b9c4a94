//! What users declare: read from YAML and JSON, checked whole, and described by a published schema.

use std::path::Path;

use paas_core::model::{
    Amount, AppSpec, ComponentKind, EnvVar, FileSource, Overlap, ProbeCheck, StrategySpec, Validate,
    ValueSource,
};
use proptest::prelude::*;

const SHOP: &str = "
components:
- name: web
  image: registry.example.org/shop/web:2.1
  ports: [{name: http, number: 8080}, {name: raw, number: 9000, protocol: tcp}]
  env:
    WORKERS: 4
    DEBUG: false
    GREETING: hello
    DB_URL: {secret: db-url}
    THEME: {config: theme}
  files:
  - {path: /etc/shop/theme.css, config: theme, mode: '0440'}
  - {path: /run/secrets/key, secret: key}
  volumes: [{name: uploads, path: /var/uploads}]
  resources: {cpu: 500m, memory: 256Mi, pids: 128}
  probes:
    startup: {tcp: {}, failure_threshold: 30, period_seconds: 1}
    readiness: {http: {path: /healthz}, period_seconds: 2}
    liveness: {command: [/bin/true]}
  depends_on: [{component: api, port: http}]
  instances: {count: 3}
  strategy: {type: rolling, batches: [1, 30%], pause_seconds: 5}
- name: api
  image: shop/api@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
  ports: [{name: http, number: 80}]
- {name: mailer, kind: worker, image: shop/mailer}
- {name: migrate, kind: job, image: shop/migrate}
routes:
- {name: main, host: shop.example.org, component: web}
- {name: raw, tcp_port: 5000, component: web, port: raw}
";

fn read(yaml: &str) -> AppSpec {
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

/// The faults of `yaml` as `path: message`, in order of their paths.
fn faults(yaml: &str) -> Vec<String> {
    let mut faults = Vec::new();
    read(yaml).faults("", &mut faults);
    let mut texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
    texts.sort();
    texts
}

#[test]
fn an_application_reads_from_yaml_and_is_valid() {
    let spec = read(SHOP);
    assert_eq!(faults(SHOP), Vec::<String>::new());
    let web = &spec.components[0];
    assert_eq!(web.env["WORKERS"], EnvVar::Value("4".into()), "a number is read as its text");
    assert_eq!(web.env["DEBUG"], EnvVar::Value("false".into()));
    assert_eq!(web.env["DB_URL"], EnvVar::From(ValueSource::Secret("db-url".into())));
    assert_eq!(web.files[1].source, FileSource::Secret("key".into()));
    assert_eq!(web.instances.max, 10, "counts go up to 10 unless said otherwise");
    assert!(
        matches!(&web.probes.readiness.as_ref().unwrap().check, ProbeCheck::Http { path, .. } if path == "/healthz")
    );
    let Some(StrategySpec::Rolling { batches, max_surge, .. }) = &web.strategy else {
        panic!("{:?}", web.strategy)
    };
    assert_eq!(batches.len(), 2);
    assert_eq!(*max_surge, Amount::Count(1));
    assert_eq!(spec.components[3].kind, ComponentKind::Job);
}

#[test]
fn what_is_written_reads_back_equal() {
    let spec = read(SHOP);
    let json = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<AppSpec>(&json).unwrap(), spec);
    assert_eq!(read(&serde_saphyr::to_string(&spec).unwrap()), spec);
}

#[test]
fn every_fault_is_named_with_its_path() {
    insta::assert_yaml_snapshot!(faults(
        "
components:
- name: web
  image: 'my image'
  command: []
  working_dir: srv
  ports: [{name: http, number: 0}, {name: http, number: 80}, {name: b, number: 80}]
  env: {'1BAD': x, PAAS_ID: y, OK: {secret: 'no spaces'}}
  files:
  - {path: etc/x, content: a}
  - {path: /etc/../x, content: a, mode: '0999'}
  - {path: /proc/x, content: a}
  - {path: /data, content: a}
  volumes: [{name: a, path: /data}, {name: a, path: /data}, {name: c, path: /}]
  resources: {cpu: 1m, memory: 1Mi, pids: 0}
  probes:
    startup: {http: {path: healthz}, success_threshold: 2}
    readiness: {tcp: {port: nope}, period_seconds: 0}
    liveness: {command: []}
  restart: never
  depends_on: [{component: web}, {component: ghost}, {component: worker}]
  instances: {count: 11}
  termination: {drain_seconds: 100000}
  security: {user: 'a b'}
  strategy: {type: rolling, batches: [0, 0%], progress_deadline_seconds: 0}
- {name: web, image: x, instances: {min: 5, max: 2}}
- {name: worker, kind: worker, image: x}
- {name: job, kind: job, image: x, ports: [{name: http, number: 80}], instances: {count: 2}, restart: always}
- {name: a, image: x, ports: [{name: p, number: 1}], depends_on: [{component: b}]}
- {name: b, image: x, ports: [{name: p, number: 1, protocol: tcp}], depends_on: [{component: a, port: q}]}
routes:
- {name: r, host: 'Shop.example', path: shop, component: ghost}
- {name: r, component: worker}
- {name: s, component: a, port: nope}
- {name: t, component: a}
- {name: u, tcp_port: 80, host: x.example, component: b}
- {name: v, component: b}
"
    ));
}

#[test]
fn a_stateful_component_may_serve_and_is_kept_running() {
    let faults = faults(
        "
components:
- {name: db, kind: stateful, image: x, restart: never, volumes: [{name: data, path: data}]}
- {name: queue, kind: stateful, image: x, ports: [{name: amqp, number: 5672, protocol: tcp}]}
- {name: web, image: x, ports: [{name: http, number: 80}], depends_on: [{component: db}, {component: queue}]}
routes:
- {name: none, component: db}
- {name: queue, tcp_port: 5672, component: queue}
",
    );
    let paths: Vec<&str> = faults.iter().filter_map(|fault| fault.split_once(": ")).map(|it| it.0).collect();
    let expected = [
        "components[0].restart",
        "components[0].volumes[0].path",
        "components[2].depends_on[0]",
        "routes[0].component",
    ];
    assert_eq!(paths, expected, "{faults:#?}");
}

#[test]
fn every_fault_of_a_schedule_is_named_with_its_path() {
    insta::assert_yaml_snapshot!(faults(
        "
components:
- {name: none, kind: scheduled_job, image: x}
- {name: worker, kind: worker, image: x, schedule: {cron: '0 3 * * *'}}
- {name: four, kind: scheduled_job, image: x, schedule: {cron: '0 3 * *'}}
- {name: nickname, kind: scheduled_job, image: x, schedule: {cron: '@daily'}}
- {name: hour, kind: scheduled_job, image: x, schedule: {cron: '0 25 * * *', time_zone: Europe/Berln}}
- {name: word, kind: scheduled_job, image: x, schedule: {cron: '0 3 * * someday', starting_deadline_seconds: 0}}
- {name: never, kind: scheduled_job, image: x, schedule: {cron: '0 0 30 2 *', starting_deadline_seconds: 604801}}
- name: rest
  kind: scheduled_job
  image: x
  schedule: {cron: '*/5 * * * *'}
  ports: [{name: http, number: 80}]
  instances: {count: 2}
  restart: always
routes:
- {name: r, component: rest}
"
    ));
}

#[test]
fn a_schedule_has_defaults_and_no_other_overlap_than_the_known() {
    let spec =
        read("components: [{name: a, kind: scheduled_job, image: x, schedule: {cron: '*/5 * * * *'}}]");
    let schedule = spec.components[0].schedule.as_ref().unwrap();
    assert_eq!((schedule.time_zone.as_str(), schedule.overlap), ("UTC", Overlap::Forbid));
    assert_eq!(schedule.starting_deadline_seconds, 300);
    let six = "components: [{name: a, kind: scheduled_job, image: x, schedule: {cron: '*/10 * * * * *', time_zone: Asia/Kolkata}}]";
    assert_eq!(faults(six), Vec::<String>::new());
    let wrong = "components: [{name: a, kind: scheduled_job, image: x, schedule: {cron: '* * * * *', overlap: queue}}]";
    let error = serde_saphyr::from_str::<AppSpec>(wrong).unwrap_err().to_string();
    assert!(error.contains("queue") && error.contains("replace"), "{error}");
}

#[test]
fn an_application_without_components_is_refused() {
    assert_eq!(faults("components: []"), ["components: an application needs at least one component"]);
}

#[test]
fn unknown_fields_and_wrong_shapes_are_refused_when_read() {
    let cases = [
        ("components: [{name: a, image: x, colour: red}]", "colour"),
        ("components: [{name: Web, image: x}]", "lower-case"),
        (
            "components: [{name: a, image: x, files: [{path: /a, content: x, secret: y}]}]",
            "exactly one of content",
        ),
        (
            "components: [{name: a, image: x, probes: {liveness: {tcp: {}, http: {path: /}}}}]",
            "exactly one of http",
        ),
        ("components: [{name: a, image: x, resources: {memory: lots}}]", "lots"),
        ("components: [{name: a, image: x, env: {A: [1]}}]", "a text, or {config: NAME}"),
        ("components: [{name: a, image: x, strategy: {type: magic}}]", "magic"),
        ("components: [{name: a, image: x, strategy: {type: rolling, batches: [101%]}}]", "101%"),
    ];
    for (yaml, expected) in cases {
        let error = serde_saphyr::from_str::<AppSpec>(yaml).expect_err(yaml).to_string();
        assert!(error.contains(expected), "{yaml}\n{error}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the published schema is a file beside the crate")]
fn the_published_schema_is_the_one_of_the_types() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/app.json");
    let schema = format!("{:#}\n", AppSpec::json_schema_document());
    if std::env::var_os("PAAS_UPDATE_SCHEMA").is_some() {
        std::fs::write(&file, &schema).unwrap();
    }
    let published = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        published == schema,
        "schema/app.json is old: run this test with PAAS_UPDATE_SCHEMA=1 and commit the file"
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_checks_of_a_schedule_panic(text in "[0-9*/,LW#?a-z @-]{0,30}", zone in "\\PC{0,20}") {
        let schedule = serde_json::json!({ "cron": text, "time_zone": zone });
        let job = serde_json::json!({ "name": "a", "kind": "scheduled_job", "image": "x", "schedule": schedule });
        let spec: AppSpec = serde_json::from_value(serde_json::json!({ "components": [job] })).unwrap();
        let mut faults = Vec::new();
        spec.faults("", &mut faults);
    }

    #[test]
    fn no_text_makes_the_checks_panic(name in "[a-z]{1,5}", text in "\\PC{0,40}", number in any::<u16>()) {
        let spec = serde_json::json!({"components": [{
            "name": name, "image": text, "command": [text], "working_dir": text,
            "ports": [{"name": "p", "number": number}], "env": {text.clone(): text},
            "files": [{"path": text, "content": text, "mode": text}],
            "volumes": [{"name": "v", "path": text}],
            "probes": {"liveness": {"http": {"path": text}}},
            "security": {"user": text}
        }], "routes": [{"name": "r", "host": text, "path": text, "component": name}]});
        let spec: AppSpec = serde_json::from_value(spec).unwrap();
        let mut faults = Vec::new();
        spec.faults("", &mut faults);
        for fault in &faults {
            prop_assert!(!fault.path.is_empty());
        }
    }
}
