//! Whether the platform could work on a cluster.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use paas_core::port::ClusterReport;
use paas_core::{Error, ErrorKind, Result};

use crate::error::failed;

const OPERATION: &str = "reach a cluster";
/// How many questions are asked at once.
const CONCURRENT: usize = 8;

/// What is needed of everything, and what of it a cluster may lack: group, resource, verbs, and the feature that goes without
/// it. `rbac.yaml` says the same.
const NEEDS: &[(&str, &str, &[&str], Option<&str>)] = &[
    ("", "namespaces", &["get", "create", "patch"], None),
    ("", "resourcequotas", &["get", "create", "patch"], None),
    ("", "limitranges", &["get", "create", "patch"], None),
    ("networking.k8s.io", "networkpolicies", &["get", "create", "patch", "delete"], None),
    ("apps", "deployments", &["get", "list", "watch", "create", "patch", "delete"], None),
    ("batch", "jobs", &["get", "list", "watch", "create", "patch", "delete"], None),
    ("", "pods", &["get", "list", "watch", "patch", "delete"], None),
    ("", "services", &["get", "list", "watch", "create", "patch", "delete"], None),
    ("", "configmaps", &["get", "list", "watch", "create", "patch", "delete"], None),
    ("", "secrets", &["get", "create"], None),
    ("policy", "poddisruptionbudgets", &["get", "create", "patch", "delete"], None),
    ("", "pods/log", &["get"], None),
    ("", "pods/exec", &["get", "create"], Some("commands in instances")),
    ("", "persistentvolumeclaims", &["get", "list", "create", "delete"], Some("volumes")),
];

/// Asks the API server for its version, and what the account may do.
pub(crate) async fn probe(client: &Client, routes: bool) -> Result<ClusterReport> {
    let version = client.apiserver_version().await.map_err(|error| failed(OPERATION, error))?;
    let route: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];
    let gateway = routes.then_some(("gateway.networking.k8s.io", "httproutes", route, None));
    let questions = NEEDS.iter().copied().chain(gateway).flat_map(|(group, resource, verbs, feature)| {
        verbs.iter().map(move |verb| (group, resource, *verb, feature))
    });
    let answers: Vec<Option<(String, Option<&str>)>> = stream::iter(questions)
        .map(|(group, resource, verb, feature)| async move {
            let allowed = may(client, group, resource, verb).await?;
            let name = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
            Ok::<_, Error>((!allowed).then(|| (format!("{verb} {name}"), feature)))
        })
        .buffered(CONCURRENT)
        .try_collect()
        .await?;
    let (mut missing, mut limitations) = (Vec::new(), Vec::<String>::new());
    for (permission, feature) in answers.into_iter().flatten() {
        match feature {
            None => missing.push(permission),
            Some(feature) => limitations.push(format!("No {feature}: the account may not {permission}.")),
        }
    }
    if !missing.is_empty() {
        return Err(Error::new(ErrorKind::Denied, "use a cluster")
            .with_context("missing", missing.join(", "))
            .with_remedy("Bind the cluster role of `paas-k8s/rbac.yaml` to the account."));
    }
    Ok(ClusterReport { version: Some(version.git_version), limitations })
}

async fn may(client: &Client, group: &str, resource: &str, verb: &str) -> Result<bool> {
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (resource, None),
    };
    let attributes = ResourceAttributes {
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource,
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            non_resource_attributes: None,
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer =
        api.create(&PostParams::default(), &review).await.map_err(|error| failed(OPERATION, error))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
