//! YAML of Kubernetes as an application, on a real cluster.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::place;
use crate::platform::{Platform, eventually};
use crate::sample;

fn objects(image: &str, settings: &str) -> String {
    format!(
        "
apiVersion: v1
kind: ConfigMap
metadata: {{ name: {settings} }}
data: {{ LEVEL: of-{settings} }}
---
apiVersion: v1
kind: Secret
metadata: {{ name: db }}
stringData: {{ PASSWORD: correct-horse }}
---
apiVersion: v1
kind: Service
metadata: {{ name: web }}
spec: {{ selector: {{ app: web }}, ports: [{{ port: 80, targetPort: 8080 }}] }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: web }}
spec:
  replicas: 2
  selector: {{ matchLabels: {{ app: web }} }}
  template:
    metadata: {{ labels: {{ app: web }} }}
    spec:
      containers:
      - name: web
        image: '{image}'
        args: [web]
        ports: [{{ containerPort: 8080 }}]
        envFrom: [{{ configMapRef: {{ name: {settings} }} }}, {{ secretRef: {{ name: db }} }}]
        readinessProbe: {{ httpGet: {{ path: /readyz, port: 8080 }}, periodSeconds: 1 }}
"
    )
}

/// What kubectl says, as JSON.
fn kubectl(words: &[&str]) -> Option<Value> {
    let mut command = place::first().kubectl().unwrap();
    let answer = command.args(words).args(["-o", "json"]).stderr(Stdio::null()).output().unwrap();
    answer.status.success().then(|| serde_json::from_slice(&answer.stdout).unwrap())
}

/// The namespace of the only environment of a platform.
fn namespace(platform: &Platform) -> String {
    let all = kubectl(&["get", "deployments", "--all-namespaces"]).unwrap();
    let image = platform.folder().file_name().unwrap().to_string_lossy().to_lowercase();
    let of_ours = |it: &&Value| {
        let used = it["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
        it["metadata"]["name"] == "web"
            && used.contains(image.trim_matches(|c: char| !c.is_ascii_alphanumeric()))
    };
    let found = all["items"].as_array().unwrap().iter().find(of_ours).cloned();
    found.expect("the deployment is on the cluster")["metadata"]["namespace"].as_str().unwrap().to_owned()
}

pub fn objects_live_like_an_application() {
    let platform = place::start();
    let images = sample::pushed(&platform, place::first(), &["1", "2"]);
    let file = platform.folder().join("objects.yaml");
    fs::write(&file, objects(&images[0], "settings")).unwrap();
    platform.ok(["deploy", "shop", "--create", "-f", "objects.yaml", "--wait", "--timeout", "90s"]);
    let at = namespace(&platform);
    let get = |kind: &str, name: &str| kubectl(&["get", kind, name, "-n", &at]);
    let ready = || get("deployment", "web").map(|it| it["status"]["readyReplicas"].clone());
    assert_eq!(ready(), Some(Value::from(2)), "who waits is told when everything is ready");
    let component = platform.json(["status", "shop"])["components"][0]["name"].as_str().unwrap().to_owned();
    let words = ["exec", "shop", &component, "--", "/sample-app", "env"];
    let seen = platform.ok(words);
    assert!(seen.contains("LEVEL=of-settings") && seen.contains("PASSWORD=correct-horse"), "{seen}");

    // What somebody changes or deletes is restored.
    let scale = ["scale", "deployment", "web", "--replicas=4", "-n", &at];
    assert!(place::first().kubectl().unwrap().args(scale).output().unwrap().status.success());
    let delete = ["delete", "configmap", "settings", "-n", &at];
    assert!(place::first().kubectl().unwrap().args(delete).output().unwrap().status.success());
    eventually("the number is restored", || {
        (get("deployment", "web")?["spec"]["replicas"] == 2).then_some(())
    });
    eventually("what was deleted is there again", || get("configmap", "settings"));

    fs::write(&file, objects(&images[1], "options")).unwrap();
    platform.ok(["deploy", "shop", "-f", "objects.yaml", "--wait", "--timeout", "90s"]);
    let image =
        || get("deployment", "web").unwrap()["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    assert_eq!(image(), images[1].as_str());
    assert!(get("configmap", "options").is_some());
    eventually("what the release has no more is pruned", || {
        get("configmap", "settings").is_none().then_some(())
    });
    platform.ok(["rollback", "shop", "--wait", "--timeout", "90s"]);
    assert_eq!(image(), images[0].as_str());
    assert!(get("configmap", "settings").is_some());
    eventually("so is what the way back has no more", || get("configmap", "options").is_none().then_some(()));

    // An object that somebody else made is reported, and stays as it is.
    let create = ["create", "configmap", "options", "--from-literal=LEVEL=mine", "-n", &at];
    assert!(place::first().kubectl().unwrap().args(create).output().unwrap().status.success());
    platform.ok(["deploy", "shop", "-f", "objects.yaml"]);
    eventually("the status names the foreign object", || {
        platform.ok(["status", "shop"]).contains("options").then_some(())
    });
    assert_eq!(get("configmap", "options").unwrap()["data"]["LEVEL"], "mine");
    platform.ok(["abort", "shop"]);
    eventually("the release is over", || {
        (platform.json(["status", "shop"])["state"] == "running").then_some(())
    });

    platform.ok(["delete", "shop", "--yes", "--wait", "--timeout", "90s"]);
    eventually("everything that was ours is gone", || {
        let gone = |kind, name| get(kind, name).is_none();
        (gone("deployment", "web") && gone("service", "web") && gone("configmap", "settings")).then_some(())
    });
    assert_eq!(get("configmap", "options").unwrap()["data"]["LEVEL"], "mine", "what is not ours stays");
}
