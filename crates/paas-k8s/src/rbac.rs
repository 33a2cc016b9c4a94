//! The cluster roles that come with this crate, and which of them grants what the account of the platform lacks.

use std::fmt;
use std::sync::LazyLock;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};

/// The files beside this crate's manifest.
const FILES: [(&str, &str); 3] = [
    ("rbac.yaml", include_str!("../rbac.yaml")),
    ("rbac-manifests.yaml", include_str!("../rbac-manifests.yaml")),
    ("rbac-operations.yaml", include_str!("../rbac-operations.yaml")),
];

static ROLES: LazyLock<Vec<Role>> = LazyLock::new(|| FILES.map(|(file, text)| Role::read(file, text)).into());

/// A cluster role that comes with this crate.
#[derive(Debug)]
pub(crate) struct Role {
    name: String,
    file: &'static str,
    rules: Vec<PolicyRule>,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the cluster role `{}` of `{}`", self.name, self.file)
    }
}

impl Role {
    fn read(file: &'static str, text: &str) -> Self {
        let role: ClusterRole = serde_saphyr::from_str(text).expect("a test reads every role of this crate");
        Self { name: role.metadata.name.unwrap_or_default(), file, rules: role.rules.unwrap_or_default() }
    }

    fn grants(&self, denied: &Denied<'_>) -> bool {
        let has = |values: &[String], wanted: &str| values.iter().any(|value| value == wanted);
        self.rules.iter().any(|rule| {
            has(rule.api_groups.as_deref().unwrap_or_default(), denied.group)
                && has(rule.resources.as_deref().unwrap_or_default(), denied.resource)
                && has(&rule.verbs, denied.verb)
        })
    }
}

/// A verb on a resource, which may be a subresource as in `pods/log`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Denied<'a> {
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) verb: &'a str,
}

impl<'a> Denied<'a> {
    /// What an API server says is denied, in the words of its authorizer: `… cannot VERB resource "RESOURCE" in API group "GROUP" …`.
    ///
    /// Source: `k8s.io/apiserver`, `pkg/endpoints/handlers/responsewriters/errors.go`, `forbiddenMessage`.
    pub(crate) fn told(message: &'a str) -> Option<Self> {
        let (_, rest) = message.split_once(" cannot ")?;
        let (verb, rest) = rest.split_once(" resource \"")?;
        let (resource, rest) = rest.split_once("\" in API group \"")?;
        let (group, _) = rest.split_once('"')?;
        Some(Self { group, resource, verb })
    }

    /// The role that grants it.
    pub(crate) fn role(&self) -> Option<&'static Role> {
        ROLES.iter().find(|role| role.grants(self))
    }
}

/// The remedy for what a role grants.
pub(crate) fn remedy(role: &Role) -> String {
    format!(
        "Bind {role}, which is part of `paas-k8s`, to the platform's account, by a ClusterRoleBinding: a RoleBinding grants it in one namespace."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_grants_what_it_says() {
        let role = |group, resource, verb| Denied { group, resource, verb }.role().map(ToString::to_string);
        assert_eq!(
            role("apps", "statefulsets", "watch").as_deref(),
            Some("the cluster role `paas` of `rbac.yaml`")
        );
        assert_eq!(
            role("", "secrets", "list").as_deref(),
            Some("the cluster role `paas-manifests` of `rbac-manifests.yaml`")
        );
        assert_eq!(
            role("", "nodes", "patch").as_deref(),
            Some("the cluster role `paas-operations` of `rbac-operations.yaml`")
        );
        assert_eq!(role("", "nodes", "delete"), None);
    }

    #[test]
    fn what_an_api_server_denies_is_read_from_its_words() {
        let message = "pods \"a\" is forbidden: User \"paas\" cannot get resource \"pods/log\" in API group \"\" in the namespace \"shop\"";
        assert_eq!(Denied::told(message), Some(Denied { group: "", resource: "pods/log", verb: "get" }));
        let admission = "pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\"";
        assert_eq!(Denied::told(admission), None);
    }
}
