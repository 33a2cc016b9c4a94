//! Calls of an API server, taken apart (Kubernetes API Concepts, "Resource URIs").

use std::fmt;

use http::{Method, header, request::Parts};
use serde_json::Value;

/// The kind of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// One object is read.
    Get,
    /// Objects are listed.
    List,
    /// A watch begins.
    Watch,
    /// An object is made.
    Create,
    /// An object is declared by server-side apply.
    Apply,
    /// An object is patched in another way.
    Patch,
    /// An object is replaced.
    Replace,
    /// An object is deleted.
    Delete,
    /// Anything else: discovery, logs, commands.
    Other,
}

impl Verb {
    /// Whether it may change something.
    pub fn writes(self) -> bool {
        matches!(self, Self::Create | Self::Apply | Self::Patch | Self::Replace | Self::Delete)
    }
}

/// A call that may change something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Write {
    /// What it does.
    pub verb: Verb,
    /// The resource by its plural name, with a subresource: `deployments`, `pods/eviction`.
    pub resource: String,
    /// The namespace, if there is one.
    pub namespace: Option<String>,
    /// The object's name.
    pub name: String,
}

impl fmt::Display for Write {
    /// Without the namespace, which may be another one in each run of a test.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.verb {
            Verb::Create => "create",
            Verb::Apply => "apply",
            Verb::Patch => "patch",
            Verb::Replace => "replace",
            Verb::Delete => "delete",
            Verb::Get | Verb::List | Verb::Watch | Verb::Other => "read",
        };
        write!(f, "{verb} {} {}", self.resource, self.name)
    }
}

/// What a call is about.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) verb: Verb,
    /// Empty for what is about no resource.
    pub(crate) resource: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    subresource: Option<String>,
}

impl Call {
    pub(crate) fn of(parts: &Parts) -> Self {
        let path: Vec<&str> = parts.uri.path().split('/').filter(|part| !part.is_empty()).collect();
        let rest = match path.as_slice() {
            ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
            _ => &[],
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let resource = rest.first().copied().unwrap_or_default().to_owned();
        let name = rest.get(1).map(|name| (*name).to_owned());
        let subresource = rest.get(2).map(|name| (*name).to_owned());
        let verb = verb(parts, &resource, name.is_some(), subresource.as_deref());
        Self { verb, resource, namespace, name, subresource }
    }

    /// The resource with its subresource.
    pub(crate) fn about(&self) -> String {
        match &self.subresource {
            Some(subresource) => format!("{}/{subresource}", self.resource),
            None => self.resource.clone(),
        }
    }

    /// The write that it is, if it is one.
    pub(crate) fn write(&self, body: &[u8]) -> Option<Write> {
        self.verb.writes().then(|| {
            let in_body = || {
                let object: Value = serde_json::from_slice(body).unwrap_or_default();
                object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
            };
            let name = self.name.clone().unwrap_or_else(in_body);
            Write { verb: self.verb, resource: self.about(), namespace: self.namespace.clone(), name }
        })
    }

    /// Whether its answer comes piece by piece, for as long as somebody reads it.
    pub(crate) fn streams(&self, parts: &Parts) -> bool {
        self.verb == Verb::Watch || asks(parts, "follow")
    }
}

fn verb(parts: &Parts, resource: &str, is_named: bool, subresource: Option<&str>) -> Verb {
    // A review is a question, though it is asked by POST.
    if resource.is_empty()
        || resource.ends_with("reviews")
        || matches!(subresource, Some("log" | "exec" | "attach" | "portforward"))
    {
        return Verb::Other;
    }
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match parts.method {
        Method::POST => Verb::Create,
        Method::PATCH if content_type == Some("application/apply-patch+yaml") => Verb::Apply,
        Method::PATCH => Verb::Patch,
        Method::PUT => Verb::Replace,
        Method::DELETE => Verb::Delete,
        _ if asks(parts, "watch") => Verb::Watch,
        _ if is_named => Verb::Get,
        _ => Verb::List,
    }
}

fn asks(parts: &Parts, what: &str) -> bool {
    let query = parts.uri.query().unwrap_or_default();
    query.split('&').any(|pair| matches!(pair.split_once('='), Some((name, "true" | "1")) if name == what))
}
