//! Compose files as people have them.

use std::collections::BTreeMap;
use std::io::{Error as IoError, ErrorKind};

use paas_core::model::{ComponentKind, EnvVar, Validate as _};
use paas_sources::compose::{Compose, Converted, Files};

/// Files by their paths.
#[derive(Debug)]
struct Known(BTreeMap<&'static str, &'static str>);

impl Files for Known {
    fn read(&self, path: &str) -> std::io::Result<String> {
        self.0.get(path).map(ToString::to_string).ok_or_else(|| IoError::from(ErrorKind::NotFound))
    }
}

fn variables(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn faults(compose: &Compose<'_>) -> Vec<String> {
    let error = compose.convert().expect_err("it must be refused");
    assert_eq!(error.kind(), paas_core::ErrorKind::Invalid);
    error.faults().iter().map(ToString::to_string).collect()
}

#[test]
fn a_shop_of_six_services_becomes_components() {
    let files = Known([("./settings.toml", "theme = 'dark'\n")].into());
    let compose = Compose::new(include_str!("compose/shop.yaml")).with_files(&files);
    let Converted { spec, notes, .. } = compose.convert().unwrap();
    spec.validate("check what was read").unwrap();
    insta::assert_yaml_snapshot!("shop", serde_json::json!({ "spec": spec, "notes": notes }));
}

#[test]
fn everything_that_cannot_be_had_is_refused_at_once_with_its_path() {
    let files = Known(BTreeMap::new());
    let refused = faults(&Compose::new(include_str!("compose/refused.yaml")).with_files(&files));
    insta::assert_yaml_snapshot!("refused", refused);
}

#[test]
fn variables_profiles_and_other_files_are_read() {
    let base =
        "services: { base: { image: none, user: '${UID_OF_APP:-7}', environment: { A: base, B: base } } }";
    let files = Known([("defaults.env", "A=file\nC=\"${WHO:-nobody}\"\n"), ("base.yaml", base)].into());
    let text = include_str!("compose/varied.yaml");
    let compose = || {
        let from = variables(&[("VERSION", "3"), ("API_TOKEN", "t")]);
        Compose::new(text)
            .with_variables(from)
            .with_files(&files)
            .with_env_file("VERSION=1\nREGISTRY=r.example.org")
            .unwrap()
    };
    let read = compose().convert().unwrap();
    let [web] = &read.spec.components[..] else { panic!("{:?}", read.spec) };
    assert_eq!(web.image, "r.example.org/shop/web:3", "what is set wins over the file");
    assert_eq!(web.security.user.as_deref(), Some("7"), "of what it extends");
    let env: Vec<_> = web.env.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    let value = |text: &str| EnvVar::Value(text.to_owned());
    let expected =
        [("A", "base"), ("API_TOKEN", "t"), ("B", "base"), ("C", "nobody"), ("GREETING", "hello world, $5")];
    let expected: Vec<_> = expected.iter().map(|(name, text)| format!("{name}={:?}", value(text))).collect();
    assert_eq!(env, expected);
    let said = |word: &str| read.notes.iter().any(|note| note.contains(word));
    assert!(
        said("UNSET") && said("services.debug") && said("services.tools") && said("API_TOKEN"),
        "{:?}",
        read.notes
    );

    let all = compose().with_profiles(["debug".to_owned()]).convert().unwrap();
    let names: Vec<_> = all.spec.components.iter().map(|component| component.name.as_str()).collect();
    assert_eq!(names, ["debug", "web"]);

    let missing = faults(&Compose::new(text).with_files(&files));
    assert_eq!(missing, ["services.web.image: variable VERSION is needed: say which version"]);
}

#[test]
fn the_usual_port_of_a_front_gets_the_default_host_and_the_rest_their_ports() {
    let text = "
services:
  api: { image: example.org/api:1, ports: ['8080:8080'] }
  site: { image: example.org/site:1, ports: ['80:80', { target: 9443, published: 9443, app_protocol: tcp }] }
  db: { image: example.org/db:1, ports: ['5432:5432'] }";
    let read = Compose::new(text).convert().unwrap();
    let routes: Vec<_> = read.spec.routes.iter().map(|route| (route.name.as_str(), route.tcp_port)).collect();
    let expected =
        [("api-8080", Some(8080)), ("db-5432", Some(5432)), ("site-80", None), ("site-9443", Some(9443))];
    assert_eq!(routes, expected);
}

#[test]
fn who_is_waited_for_to_complete_is_a_job() {
    let text = "
services:
  web: { image: a:1, ports: ['80:80'], depends_on: { setup: { condition: service_completed_successfully } } }
  setup: { image: b:1 }
  idle: { image: c:1 }";
    let read = Compose::new(text).convert().unwrap();
    let kinds: Vec<_> = read.spec.components.iter().map(|component| component.kind).collect();
    assert_eq!(kinds, [ComponentKind::Worker, ComponentKind::Job, ComponentKind::Service]);
}

#[test]
fn services_that_extend_each_other_in_a_circle_are_refused() {
    let text = "services: { a: { image: a:1, extends: b }, b: { extends: a } }";
    let refused = faults(&Compose::new(text));
    assert!(refused[0].contains("in a circle"), "{refused:?}");
}

#[test]
fn what_is_no_yaml_is_refused_with_its_line() {
    let refused = faults(&Compose::new("services:\n  web: {image: [}"));
    assert!(refused[0].contains("line 2"), "{refused:?}");
    assert!(faults(&Compose::new("services: {}"))[0].contains("no service"));
}
