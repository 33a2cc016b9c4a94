//! Kubernetes YAML as people have it.

use paas_core::model::Validate as _;
use paas_sources::kubernetes::{Manifests, read};
use paas_sources::{SourceKind, documents};

const STREAM: &str = r#"
apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: ConfigMap
    metadata:
      name: settings
      uid: 0b9f
      resourceVersion: "7"
      annotations: { kubectl.kubernetes.io/last-applied-configuration: "{}", mine: stays }
    data: { level: info }
---
---
apiVersion: v1
kind: Secret
metadata: { name: db, creationTimestamp: null }
type: Opaque
data: { password: aHVudGVyMg==, user: cm9vdA== }
stringData: { user: admin, other: { secret: known } }
---
apiVersion: apps/v1
kind: DeploymentList
items:
  - metadata: { name: web }
    status: { replicas: 1 }
"#;

fn stream(text: &str) -> paas_core::Result<Manifests> {
    let all = documents("app.yaml", text)?;
    assert_eq!(SourceKind::of(&all), SourceKind::Manifests);
    read(all.into_iter().map(|document| ("app.yaml", document)))
}

#[test]
fn lists_streams_and_what_a_cluster_wrote_are_read() {
    let found = stream(STREAM).unwrap();
    let names: Vec<_> = found.objects.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["ConfigMap/settings", "Secret/db", "Deployment/web"]);
    let text = serde_json::to_string(&found.objects).unwrap();
    for gone in ["uid", "resourceVersion", "last-applied", "status", "creationTimestamp", "aHVudGVyMg"] {
        assert!(!text.contains(gone), "{gone}: {text}");
    }
    assert!(text.contains(r#""mine":"stays""#));
    assert_eq!(found.objects[2].api_version(), "apps/v1");
    let spec = found.into_spec(&"objects".parse().unwrap());
    spec.validate("check what was read").unwrap();
}

#[test]
fn values_of_secrets_are_taken_out_and_named() {
    let found = stream(STREAM).unwrap();
    let secrets: Vec<_> =
        found.secrets.iter().map(|it| (it.name.as_str(), std::str::from_utf8(&it.value).unwrap())).collect();
    assert_eq!(secrets, [("db.password", "hunter2"), ("db.user", "admin")]);
    let secret = serde_json::to_value(&found.objects[1]).unwrap();
    assert_eq!(secret["stringData"]["password"]["secret"], "db.password");
    assert_eq!(secret["stringData"]["other"]["secret"], "known");
    assert!(secret.get("data").is_none());
    assert!(!format!("{found:?}").contains("hunter2"), "not even for debugging");
}

#[test]
fn every_document_that_is_no_object_is_named() {
    let error = stream(
        "{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {k: '!'}}\n---\n- 1\n---\nkind: X\n",
    )
    .unwrap_err();
    let told: Vec<_> = error.faults().iter().map(|fault| fault.path.as_str()).collect();
    assert_eq!(told, ["app.yaml[0] Secret/a.data.k", "app.yaml[1]", "app.yaml[2]"]);
    assert!(documents("app.yaml", "a: [").unwrap_err().report().contains("app.yaml"));
}
