//! What teams have already: Compose files, and YAML of Kubernetes.

use std::fs;

use crate::journey::{Who, journeys};
use crate::outcome::Outcome;
use crate::platform::{Platform, Setup};
use crate::sample;

journeys! {
    fn a_compose_file_is_deployed_as_it_is();
    fn a_compose_file_that_cannot_be_had_is_refused_whole();
    fn a_folder_of_objects_is_released_compared_and_rolled_back();
    fn objects_come_as_a_stream_too();
    fn objects_are_refused_where_no_cluster_takes_them();
}

const COMPOSE: &str = "
services:
  web:
    image: oci:images:${VERSION:-1}
    command: [web]
    environment: { API_URL: 'http://api:9000', GREETING: '${GREETING}' }
    ports: ['8080:8080']
    depends_on: { api: { condition: service_healthy } }
    labels: { team: shop }
  api:
    image: oci:images:1
    command: api
    environment: { PORT: 9000 }
    expose: [9000]
    healthcheck: { test: [CMD, /sample, '--help'], disable: true }
  tools:
    image: oci:images:1
    profiles: [tools]
";

fn a_compose_file_is_deployed_as_it_is(who: Who) {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1", "2"]);
    fs::write(platform.folder().join("compose.yaml"), COMPOSE).unwrap();
    fs::write(platform.folder().join(".env"), "GREETING=hello\n").unwrap();
    let words = ["deploy", "shop", "--create", "-f", "compose.yaml", "--wait"];
    let deployed = platform.run(words).ended_with(0);
    deployed.complained_of(&["note: services.tools: is left out", "note: services.web.labels", "own host"]);
    assert_eq!(platform.get("shop", "/").version, "1");
    let release = platform.json(["releases", "shop", "1"]);
    let components = &release["version"]["spec"]["components"];
    assert_eq!(components[1]["env"]["GREETING"], "hello", "{components}");
    assert_eq!(components.as_array().unwrap().len(), 2);
    let mut command = platform.command(["deploy", "shop", "-f", "compose.yaml", "--wait"]);
    Outcome::of(command.env("VERSION", "2")).ended_with(0);
    assert_eq!(platform.get("shop", "/").version, "2");
}

fn a_compose_file_that_cannot_be_had_is_refused_whole(who: Who) {
    let platform = Setup::new(who).simulated().start();
    let text = "services: { web: { build: ., privileged: true, volumes: ['./a:/a'] } }";
    fs::write(platform.folder().join("compose.yaml"), text).unwrap();
    let refused = platform.run(["deploy", "shop", "--create", "-f", "compose.yaml"]).ended_with(1);
    refused.complained_of(&[
        "services.web.build",
        "services.web.privileged",
        "services.web.volumes[0]",
        "named volume",
    ]);
    platform.run(["app", "show", "shop"]).ended_with(7);
}

const SETTINGS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: { name: settings }
data: { level: info }
---
apiVersion: v1
kind: Secret
metadata: { name: db }
stringData: { password: correct-horse }
";
const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec: { containers: [{ name: web, image: 'example.org/web:1' }] }
";

fn a_folder_of_objects_is_released_compared_and_rolled_back(who: Who) {
    let platform = Setup::new(who).simulated().start();
    let folder = platform.folder().join("objects");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("10-settings.yaml"), SETTINGS).unwrap();
    fs::write(folder.join("20-web.yml"), WEB).unwrap();
    fs::write(folder.join("README.md"), "not read").unwrap();
    let words = ["deploy", "shop", "--create", "-f", "objects", "--wait"];
    let deployed = platform.run(words).ended_with(0);
    deployed.complained_of(&["note: Secret/db: the value of password is kept as the secret db.password"]);
    assert!(platform.ok(["secret", "list", "shop"]).contains("db.password"));
    let release = platform.ok(["releases", "shop", "1", "-o", "json"]);
    assert!(!release.contains("correct-horse") && release.contains("db.password"), "{release}");
    assert!(platform.ok(["status", "shop"]).contains("objects"));

    fs::write(folder.join("20-web.yml"), WEB.replace("web:1", "web:2")).unwrap();
    fs::write(folder.join("10-settings.yaml"), SETTINGS.replace("name: settings", "name: options")).unwrap();
    platform.ok(["deploy", "shop", "-f", "objects", "--wait"]);
    let diff = platform.ok(["diff", "shop", "1", "2"]);
    for word in ["ConfigMap/settings", "ConfigMap/options", "Deployment/web", "example.org/web:2"] {
        assert!(diff.contains(word), "{word}: {diff}");
    }
    platform.ok(["rollback", "shop", "--wait"]);
    assert_eq!(platform.json(["diff", "shop", "1", "3"])["changes"], serde_json::json!([]));
    let scaled = platform.run(["scale", "shop", "objects=3"]).ended_with(1);
    scaled.complained_of(&["replicas"]);
    platform.run(["stop", "shop"]).ended_with(1).complained_of(&["replicas: 0"]);
    platform.ok(["restart", "shop", "--wait"]);
    platform.ok(["delete", "shop", "--yes"]);
}

fn objects_come_as_a_stream_too(who: Who) {
    let platform = Setup::new(who).simulated().start();
    let mut command =
        platform.command(["deploy", "shop", "--create", "-f", "-", "--component", "all", "--wait"]);
    Outcome::with_input(&mut command, format!("{SETTINGS}---{WEB}").as_bytes()).ended_with(0);
    assert!(platform.ok(["status", "shop"]).contains("all"));
    let mut command = platform.command(["deploy", "shop", "-f", "-"]);
    let wrong =
        Outcome::with_input(&mut command, b"apiVersion: v1\nkind: Secret\nmetadata: {name: A_}\n---\n- 1\n");
    wrong.ended_with(1).complained_of(&["the standard input[1]", "no object of Kubernetes"]);
}

fn objects_are_refused_where_no_cluster_takes_them(who: Who) {
    let platform = Platform::start(who);
    fs::write(platform.folder().join("web.yaml"), WEB).unwrap();
    let refused = platform.run(["deploy", "shop", "--create", "-f", "web.yaml"]).ended_with(1);
    refused.complained_of(&["takes no objects of Kubernetes", "Kubernetes cluster"]);
    platform.run(["releases", "shop", "1"]).ended_with(7);
}
