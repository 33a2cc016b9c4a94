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
use crate::gateway_api;
use crate::rbac::{self, Denied};

const OPERATION: &str = "reach a cluster";
/// How many questions are asked at once.
const CONCURRENT: usize = 8;

/// Group, resource, verbs, and the feature that goes without them; nothing goes without the others.
type Need = (&'static str, &'static str, &'static [&'static str], Option<&'static str>);

const ALL: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];

const APPLY: &[&str] = &["get", "list", "create", "patch", "delete"];
const MANIFESTS: Option<&str> = Some("manifests with objects of this kind");

/// What the platform does on a cluster. The role `paas` of `rbac.yaml` says the same, and `paas-manifests` of `rbac-manifests.yaml`.
const NEEDS: &[Need] = &[
    ("", "namespaces", &["get", "list", "create", "patch", "delete"], None),
    ("", "resourcequotas", &["get", "create", "patch"], None),
    ("", "limitranges", &["get", "create", "patch"], None),
    ("networking.k8s.io", "networkpolicies", &["get", "create", "patch", "delete"], None),
    ("apps", "deployments", ALL, None),
    ("batch", "jobs", ALL, None),
    ("", "pods", &["list", "watch", "patch", "delete"], None),
    ("", "services", ALL, None),
    ("", "configmaps", &["get", "list", "watch", "create", "patch"], None),
    ("", "secrets", &["get", "create"], None),
    ("policy", "poddisruptionbudgets", &["get", "create", "patch", "delete"], None),
    ("", "pods/log", &["get"], None),
    ("", "pods/exec", &["get", "create"], Some("commands in instances")),
    ("", "pods/attach", &["get", "create"], Some("runs with input or a terminal")),
    ("", "persistentvolumeclaims", &["get", "list", "create", "delete"], Some("volumes")),
    ("apps", "statefulsets", ALL, Some("stateful components")),
    ("apps", "statefulsets/status", &["patch"], Some("stateful components")),
    ("batch", "cronjobs", APPLY, MANIFESTS),
    ("", "serviceaccounts", APPLY, MANIFESTS),
    ("", "secrets", &["list", "patch", "delete"], MANIFESTS),
    ("", "persistentvolumeclaims", &["patch"], MANIFESTS),
    ("", "configmaps", &["delete"], MANIFESTS),
    ("policy", "poddisruptionbudgets", &["list"], MANIFESTS),
    ("autoscaling", "horizontalpodautoscalers", APPLY, MANIFESTS),
    ("networking.k8s.io", "ingresses", APPLY, MANIFESTS),
];

/// What it does with a Gateway.
const ROUTES: &[Need] = &[
    (GATEWAY, "httproutes", ALL, None),
    (GATEWAY, "tcproutes", ALL, Some("access points by TCP")),
    (GATEWAY, "gateways", &["get"], Some("access points by TCP")),
    (GATEWAY, "grpcroutes", APPLY, MANIFESTS),
];
const GATEWAY: &str = gateway_api::GROUP;

/// What it does for people who look at environments with the cluster's own tools.
const VIEWERS: &[Need] =
    &[(RBAC, "rolebindings", &["get", "create", "patch"], None), (RBAC, "clusterroles", &["bind"], None)];
const RBAC: &str = "rbac.authorization.k8s.io";
/// The role that viewers get; `bind` is asked for with its name.
const VIEW: &str = "view";

/// The resources that are in no namespace.
const OF_THE_CLUSTER: &[&str] = &["namespaces", "clusterroles"];

/// A permission that the account has or lacks.
#[derive(Debug, Clone, Copy)]
struct Question {
    group: &'static str,
    resource: &'static str,
    verb: &'static str,
    /// What goes without it; everything needs it if nothing is said.
    feature: Option<&'static str>,
}

impl Question {
    /// The verb, the resource, and where.
    fn permission(self) -> String {
        let Self { group, resource, verb, .. } = self;
        let place =
            if OF_THE_CLUSTER.contains(&resource) { "at the cluster scope" } else { "in all namespaces" };
        let dot = if group.is_empty() { "" } else { "." };
        format!("{verb} {resource}{dot}{group} {place}")
    }

    /// The role that grants it.
    fn role(self) -> Option<&'static rbac::Role> {
        Denied { group: self.group, resource: self.resource, verb: self.verb }.role()
    }

    /// What goes without it, and what grants it.
    fn limitation(self, feature: &str) -> String {
        let denied = format!("No {feature}: the account may not {}.", self.permission());
        match self.role() {
            Some(role) => format!("{denied} It is granted by {role}."),
            None => denied,
        }
    }

    async fn ask(self, client: Client) -> Result<(Self, bool)> {
        let (resource, subresource) = match self.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (self.resource, None),
        };
        let attributes = ResourceAttributes {
            group: Some(self.group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource,
            verb: Some(self.verb.to_owned()),
            name: (self.verb == "bind").then(|| VIEW.to_owned()),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            non_resource_attributes: None,
        };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let api: Api<SelfSubjectAccessReview> = Api::all(client);
        let answer = api.create(&PostParams::default(), &review).await;
        let answer = answer.map_err(|error| failed(OPERATION, error))?;
        Ok((self, answer.status.is_some_and(|status| status.allowed)))
    }
}

/// What of a cluster is used beside what always is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Uses {
    pub(crate) routes: bool,
    pub(crate) viewers: bool,
}

fn questions(uses: Uses) -> Vec<Question> {
    let mut questions = Vec::new();
    let routes = if uses.routes { ROUTES } else { &[] };
    let viewers = if uses.viewers { VIEWERS } else { &[] };
    for (group, resource, verbs, feature) in [NEEDS, routes, viewers].concat() {
        questions.extend(verbs.iter().map(|&verb| Question { group, resource, verb, feature }));
    }
    questions
}

/// Asks the API server for its version, and what the account may do.
pub(crate) async fn probe(client: &Client, uses: Uses) -> Result<ClusterReport> {
    let version = client.apiserver_version().await.map_err(|error| failed(OPERATION, error))?;
    let asked = questions(uses).into_iter().map(|question| question.ask(client.clone()));
    let answers: Vec<(Question, bool)> = stream::iter(asked).buffered(CONCURRENT).try_collect().await?;
    let denied = answers.into_iter().filter(|(_, allowed)| !allowed).map(|(question, _)| question);
    let (missing, lacking): (Vec<Question>, Vec<Question>) =
        denied.partition(|question| question.feature.is_none());
    if let Some(first) = missing.first() {
        let permissions: Vec<String> = missing.iter().map(|question| question.permission()).collect();
        let error =
            Error::new(ErrorKind::Denied, "use a cluster").with_context("missing", permissions.join(", "));
        return Err(match first.role() {
            Some(role) => error.with_remedy(rbac::remedy(role)),
            None => error,
        });
    }
    let limitations = lacking.into_iter().filter_map(|it| Some(it.limitation(it.feature?))).collect();
    Ok(ClusterReport { version: Some(version.git_version), limitations })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use k8s_openapi::api::rbac::v1::ClusterRole;

    use super::*;

    /// What is asked is what the manifest of the role grants: nothing is granted that nobody would miss, and nothing is missed that
    /// was granted.
    #[test]
    fn the_manifest_grants_what_is_asked() {
        let granted_by = |text: &str| {
            let role: ClusterRole = serde_saphyr::from_str(text).unwrap();
            let mut granted = BTreeSet::new();
            for rule in role.rules.unwrap() {
                for group in rule.api_groups.iter().flatten() {
                    for resource in rule.resources.iter().flatten() {
                        granted.extend(
                            rule.verbs.iter().map(|verb| (group.clone(), resource.clone(), verb.clone())),
                        );
                    }
                }
            }
            granted
        };
        let role = granted_by(include_str!("../rbac.yaml"));
        let both = &role | &granted_by(include_str!("../rbac-manifests.yaml"));
        let asked = questions(Uses { routes: true, viewers: true }).into_iter();
        let asked: BTreeSet<_> =
            asked.map(|it| (it.group.to_owned(), it.resource.to_owned(), it.verb.to_owned())).collect();
        assert_eq!(asked, both);
    }
}
