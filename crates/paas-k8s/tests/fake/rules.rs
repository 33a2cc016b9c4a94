//! One of everything that is refused, and an application that is not.

use paas_core::ClusterName;
use paas_core::model::{Manifest, Template};
use paas_core::port::Runtime as _;
use paas_k8s::{GatewayOptions, Installation, KubernetesOptions};
use serde_json::{Value, json};

use super::fixture::{DOMAIN, Fixture};

fn template(objects: &[Value]) -> Template {
    let object = |object: &Value| serde_json::from_value::<Manifest>(object.clone()).unwrap();
    let mut template: Template = serde_json::from_value(json!({
        "component": { "at": { "org": "acme", "env": "prod", "app": "shop" }, "component": "objects" },
        "kind": "manifests", "image": "", "digest": "", "restart": "always"
    }))
    .unwrap();
    template.manifests = objects.iter().map(object).collect();
    template
}

async fn told(objects: &[Value]) -> Vec<String> {
    let options = KubernetesOptions::new(Installation::new("test", DOMAIN).unwrap(), ClusterName::local())
        .with_gateway(GatewayOptions::new("gateways", "public", "apps.example"));
    let fixture = Fixture::with(options).await;
    fixture.cluster.refusals(&template(objects)).iter().map(ToString::to_string).collect()
}

fn object(api_version: &str, kind: &str, name: &str, more: Value) -> Value {
    let mut object = json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": name } });
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
    object
}

fn deployment(name: &str, pod: Value) -> Value {
    object("apps/v1", "Deployment", name, json!({ "spec": { "template": { "spec": pod } } }))
}

#[tokio::test]
async fn kinds_are_refused_with_their_reasons() {
    let kinds = [
        ("v1", "Namespace"),
        ("v1", "Pod"),
        ("v1", "PersistentVolume"),
        ("v1", "ResourceQuota"),
        ("apps/v1", "DaemonSet"),
        ("apps/v1", "ReplicaSet"),
        ("rbac.authorization.k8s.io/v1", "ClusterRole"),
        ("networking.k8s.io/v1", "NetworkPolicy"),
        ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ("gateway.networking.k8s.io/v1", "Gateway"),
        ("example.org/v1", "Deployment"),
        ("apps/v1beta1", "Deployment"),
    ];
    let objects: Vec<Value> =
        kinds.iter().map(|(version, kind)| object(version, kind, "a", json!({}))).collect();
    insta::assert_yaml_snapshot!("refused_kinds", told(&objects).await);
}

#[tokio::test]
async fn everything_that_objects_may_not_say_is_named_with_its_path() {
    let objects = [
        deployment(
            "web",
            json!({
                "hostNetwork": true, "serviceAccountName": "admin", "hostPID": true, "nodeName": "one", "priorityClassName": "system-node-critical",
                "securityContext": { "runAsUser": 0, "sysctls": [{ "name": "a", "value": "b" }] },
                "imagePullSecrets": [{ "name": "theirs" }],
                "volumes": [
                    { "name": "host", "hostPath": { "path": "/" } },
                    { "name": "nfs", "nfs": { "server": "a", "path": "/" } },
                    { "name": "secret", "secret": { "secretName": "theirs" } },
                    { "name": "claim", "persistentVolumeClaim": { "claimName": "theirs" } },
                ],
                "initContainers": [{ "name": "init", "securityContext": { "privileged": true } }],
                "containers": [{
                    "name": "web",
                    "securityContext": { "allowPrivilegeEscalation": true, "capabilities": { "add": ["SYS_ADMIN"] },
                        "seccompProfile": { "type": "Unconfined" }, "runAsNonRoot": false, "procMount": "Unmasked" },
                    "ports": [{ "containerPort": 80, "hostPort": 80 }],
                    "env": [{ "name": "A", "valueFrom": { "secretKeyRef": { "name": "theirs", "key": "a" } } }],
                    "envFrom": [{ "secretRef": { "name": "theirs" } }]
                }]
            }),
        ),
        object(
            "v1",
            "Service",
            "web",
            json!({ "spec": { "type": "NodePort", "externalIPs": ["10.0.0.1"],
            "selector": { "paas.example.org/app": "other" } } }),
        ),
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "status": {}, "metadata": {
            "name": "a", "namespace": "other", "finalizers": ["a"], "uid": "b", "ownerReferences": [{}],
            "labels": { "sub.paas.example.org/role": "set" },
            "annotations": { "nginx.ingress.kubernetes.io/server-snippet": "x" } } }),
        object("v1", "PersistentVolumeClaim", "data", json!({})),
        object(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            "a",
            json!({ "spec": { "scaleTargetRef": { "kind": "Deployment", "name": "other" } } }),
        ),
        object(
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            "a",
            json!({ "spec": {
            "parentRefs": [{ "name": "internal", "namespace": "gateways" }],
            "rules": [{ "backendRefs": [{ "name": "web", "namespace": "other" }] }] } }),
        ),
        object(
            "networking.k8s.io/v1",
            "Ingress",
            "a",
            json!({ "spec": { "tls": [{ "secretName": "theirs" }] } }),
        ),
        object("batch/v1", "Job", "a", json!({ "spec": { "ttlSecondsAfterFinished": 10 } })),
        json!({ "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": { "name": "a", "annotations": { "eks.amazonaws.com/role-arn": "admin" } } }),
        object("v1", "Secret", "token", json!({ "type": "kubernetes.io/service-account-token" })),
    ];
    insta::assert_yaml_snapshot!("refused_fields", told(&objects).await);
}

#[tokio::test]
async fn an_ordinary_application_is_taken() {
    let settings = object("v1", "ConfigMap", "settings", json!({ "data": { "a": "b" } }));
    let pod = json!({
        "volumes": [{ "name": "settings", "configMap": { "name": "settings" } }, { "name": "tmp", "emptyDir": {} }],
        "containers": [{ "name": "web", "image": "a",
            "securityContext": { "capabilities": { "drop": ["ALL"], "add": ["NET_BIND_SERVICE"] } },
            "env": [{ "name": "A", "valueFrom": { "secretKeyRef": { "name": "db", "key": "a" } } }] }]
    });
    let objects = [
        settings,
        object("v1", "Secret", "db", json!({ "stringData": { "a": { "secret": "db.a" } } })),
        deployment("web", pod),
        object(
            "v1",
            "Service",
            "web",
            json!({ "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80 }] } }),
        ),
        object(
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            "web",
            json!({ "spec": {
            "parentRefs": [{ "name": "public", "namespace": "gateways" }],
            "rules": [{ "backendRefs": [{ "name": "web", "port": 80 }] }] } }),
        ),
        object(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            "web",
            json!({ "spec": { "scaleTargetRef": { "kind": "Deployment", "name": "web" } } }),
        ),
    ];
    assert_eq!(told(&objects).await, [""; 0]);
}
