//! The five stories in the life of an application, each of which begins where the one before ended.

use std::fmt;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::{Answer, HERE};

/// What a user does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Story {
    Deploy,
    Release,
    Scale,
    Rollback,
    Delete,
}

impl Story {
    pub const ALL: [Self; 5] = [Self::Deploy, Self::Release, Self::Scale, Self::Rollback, Self::Delete];

    /// The one that begins where this one ends; after the last, the last.
    pub fn next(self) -> Self {
        let after = Self::ALL.into_iter().find(|other| *other > self);
        after.unwrap_or(self)
    }

    /// The request: method, path and body.
    pub fn request(self, images: &Images) -> (Method, String, Option<Value>) {
        let spec = |version: u32| json!({ "change": { "spec": app(images, version) } });
        match self {
            Self::Deploy => (Method::POST, format!("{HERE}/releases"), Some(spec(1))),
            Self::Release => (Method::POST, format!("{HERE}/releases"), Some(spec(2))),
            Self::Scale => (Method::PUT, format!("{HERE}/components/web/scale"), Some(json!({ "count": 3 }))),
            Self::Rollback => {
                (Method::POST, format!("{HERE}/rollback"), Some(json!({ "to": { "number": 1 } })))
            }
            Self::Delete => (Method::DELETE, format!("{HERE}?confirm=app"), None),
        }
    }

    /// Whether the answer is what the user hopes for. After a deletion that is complete there is nothing to be deleted.
    pub fn accepts(self, answer: &Answer) -> bool {
        let hoped = if self == Self::Scale { StatusCode::OK } else { StatusCode::ACCEPTED };
        answer.status == hoped || (self == Self::Delete && answer.status == StatusCode::NOT_FOUND)
    }

    /// What the application may answer while the story goes on, if it was up before it.
    pub fn visitors_see(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Release | Self::Rollback => Some(&["200 v1 hunter2", "200 v2 hunter2"]),
            Self::Scale => Some(&["200 v2 hunter2"]),
            Self::Deploy | Self::Delete => None,
        }
    }

    /// The version whose revisions the story brings.
    pub fn new_version(self) -> &'static str {
        match self {
            Self::Deploy => "v1",
            Self::Release => "v2",
            Self::Scale | Self::Rollback | Self::Delete => "unknown",
        }
    }

    /// Whether the application has the state that the user asked for, as far as its status tells.
    pub fn is_told(self, status: &Value) -> bool {
        let number = match self {
            Self::Deploy => 1,
            Self::Release | Self::Scale => 2,
            Self::Rollback => 3,
            Self::Delete => return status["state"] == "not_deployed",
        };
        status["state"] == "running" && status["current"]["number"] == number
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deploy => "deploy",
            Self::Release => "release",
            Self::Scale => "scale",
            Self::Rollback => "rollback",
            Self::Delete => "delete",
        })
    }
}

/// What the application is made of.
#[derive(Debug, Clone)]
pub struct Images {
    /// References of images without their tags, which are versions.
    pub repository: String,
    /// Whether there are volumes.
    pub volumes: bool,
}

/// A web component with a secret, an API with a volume that it calls, a worker. Nothing waits for longer than it must.
fn app(images: &Images, version: u32) -> Value {
    let image = format!("{}:{version}", images.repository);
    let volumes = if images.volumes { json!([{ "name": "data", "path": "/data" }]) } else { json!([]) };
    let termination = json!({ "drain_seconds": 0, "grace_seconds": 5 });
    json!({
        "components": [
            {
                "name": "web", "image": image, "args": ["web"],
                "ports": [{ "name": "http", "number": 8080 }],
                "env": { "API_URL": "http://api:9000", "KEY": { "secret": "KEY" } },
                "depends_on": [{ "component": "api" }],
                "instances": { "count": 2 },
                "termination": termination,
            },
            {
                "name": "api", "image": image, "args": ["api"],
                "ports": [{ "name": "http", "number": 9000 }],
                "env": { "PORT": "9000" },
                "volumes": volumes,
                "termination": termination,
            },
            { "name": "worker", "kind": "worker", "image": image, "args": ["worker"], "termination": termination },
        ],
        "routes": [{ "name": "main", "component": "web" }],
    })
}
