//! Who may do what, as the rules of RBAC say, and the questions about it.
//!
//! Source: `k8s.io/apiserver`, `pkg/endpoints/request/requestinfo.go`, for the verb of a request; the authorizer of RBAC,
//! `k8s.io/kubernetes`, `plugin/pkg/auth/authorizer/rbac`, for what a rule allows.

use std::collections::BTreeSet;
use std::fmt;

use http::Method;
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::{Value, json};

use super::answer::Refused;
use super::objects::Key;
use super::request::Request;
use super::{FakeCluster, State};

/// The path of questions about oneself.
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// Something that a call needs: a verb on a resource, which may be a subresource as in `pods/log`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// The API group; empty for the core.
    pub group: String,
    /// The plural name.
    pub resource: String,
    /// The verb.
    pub verb: String,
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, resource, verb } = self;
        if group.is_empty() { write!(f, "{verb} {resource}") } else { write!(f, "{verb} {resource}.{group}") }
    }
}

/// What the account of the callers may do, and what it has needed.
#[derive(Debug, Default)]
pub(super) struct Access {
    /// None: everything.
    rules: Option<Vec<PolicyRule>>,
    needed: BTreeSet<Permission>,
}

impl FakeCluster {
    /// Lets callers do only what these rules allow, in every namespace; what they do not allow is answered with 403. `None` allows
    /// everything again. A watch that is open stays open.
    pub fn set_rules(&self, rules: Option<Vec<PolicyRule>>) {
        self.inner.with(|state| state.access.rules = rules);
    }

    /// Every permission that a call has needed so far, allowed or not.
    pub fn needed(&self) -> BTreeSet<Permission> {
        self.inner.with(|state| state.access.needed.clone())
    }
}

impl Access {
    fn allows(&self, wanted: &Permission, name: Option<&str>) -> bool {
        let Some(rules) = &self.rules else { return true };
        let has = |values: Option<&Vec<String>>, wanted: &str| {
            values.is_some_and(|values| values.iter().any(|value| value == "*" || value == wanted))
        };
        rules.iter().any(|rule| {
            let names = rule.resource_names.as_deref().unwrap_or_default();
            let is_named = names.is_empty() || name.is_some_and(|name| names.iter().any(|it| it == name));
            has(rule.api_groups.as_ref(), &wanted.group)
                && has(rule.resources.as_ref(), &wanted.resource)
                && has(Some(&rule.verbs), &wanted.verb)
                && is_named
        })
    }
}

impl State {
    /// Refuses a request that the rules do not allow.
    pub(super) fn authorize(&mut self, request: &Request) -> Result<(), Refused> {
        for (wanted, name) in self.wanted_by(request) {
            let allowed = self.access.allows(&wanted, name.as_deref());
            self.access.needed.insert(wanted.clone());
            if !allowed {
                return Err(forbidden(request, &wanted));
            }
        }
        Ok(())
    }

    /// What a request needs, each with the name of the object.
    fn wanted_by(&self, request: &Request) -> Vec<(Permission, Option<String>)> {
        let Some(kind) = request.kind else { return Vec::new() };
        let resource = match &request.subresource {
            Some(subresource) => format!("{}/{subresource}", kind.plural),
            None => kind.plural.to_owned(),
        };
        let named = |verb: &str| {
            let permission = Permission {
                group: kind.group.to_owned(),
                resource: resource.clone(),
                verb: verb.to_owned(),
            };
            (permission, request.name.clone())
        };
        let mut wanted = vec![named(verb(request))];
        // From Kubernetes 1.35 on, what starts something by a WebSocket is authorised as `create` too.
        if matches!(request.subresource.as_deref(), Some("exec" | "attach" | "portforward"))
            && request.method == Method::GET
        {
            wanted.push(named("create"));
        }
        let applies = request.method == Method::PATCH && request.content_type.contains("apply-patch");
        if let Some(name) = request.name.as_deref().filter(|_| applies)
            && self.objects.get(&Key::new(kind, request.namespace.as_deref(), name)).is_none()
        {
            wanted.push(named("create"));
        }
        // Nobody may give what he does not have, unless he may bind the role.
        if kind.plural == "rolebindings" && request.method != Method::GET {
            let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let role = &body["roleRef"];
            if let (Some(name), Some("ClusterRole")) = (role["name"].as_str(), role["kind"].as_str()) {
                let bind = Permission {
                    group: kind.group.to_owned(),
                    resource: "clusterroles".to_owned(),
                    verb: "bind".to_owned(),
                };
                wanted.push((bind, Some(name.to_owned())));
            }
        }
        wanted
    }

    /// The answer to a question about oneself; everybody may ask.
    pub(super) fn review(&self, request: &Request) -> Option<Value> {
        if request.path != REVIEWS || request.method != Method::POST {
            return None;
        }
        let mut review: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let asked = &review["spec"]["resourceAttributes"];
        let text = |field: &str| asked[field].as_str().unwrap_or_default().to_owned();
        let resource = match asked["subresource"].as_str() {
            Some(subresource) => format!("{}/{subresource}", text("resource")),
            None => text("resource"),
        };
        let wanted = Permission { group: text("group"), resource, verb: text("verb") };
        let allowed = self.access.allows(&wanted, asked["name"].as_str());
        review["status"] = json!({ "allowed": allowed });
        Some(review)
    }
}

fn verb(request: &Request) -> &'static str {
    match request.method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if request.name.is_some() => "delete",
        Method::DELETE => "deletecollection",
        _ if request.asks("watch") => "watch",
        _ if request.name.is_some() => "get",
        _ => "list",
    }
}

/// The refusal in the words of the API server.
fn forbidden(request: &Request, wanted: &Permission) -> Refused {
    let Permission { group, resource, verb } = wanted;
    let object = match &request.name {
        Some(name) => format!(" {name:?}"),
        None => String::new(),
    };
    let full = if group.is_empty() { resource.clone() } else { format!("{resource}.{group}") };
    let place = match &request.namespace {
        Some(namespace) => format!("in the namespace {namespace:?}"),
        None => "at the cluster scope".to_owned(),
    };
    let message = format!(
        "{full}{object} is forbidden: User \"fake\" cannot {verb} resource {resource:?} in API group {group:?} {place}"
    );
    Refused::new(403, "Forbidden", message)
}
