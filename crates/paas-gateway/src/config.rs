//! What the gateway is told to do: one document, applied as a whole or not at all.
//!
//! A config names everything that there is; what it does not name is given up: no new request goes there, what is
//! open runs to its end.

mod host;
mod id;
#[cfg(test)]
mod tests;
mod validate;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

pub use host::{HostPattern, PathPrefix};
pub use id::{ComponentId, InstanceId, ListenerId, PortName, RevisionId, RouteId, ServiceId};
pub use validate::{Fault, Faults};

use crate::handover;

/// The version of [`Config`] that this build reads and writes.
pub const CONFIG_VERSION: u32 = 1;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// [`CONFIG_VERSION`].
    pub version: u32,
    /// Counts up; an older one than what is in force is refused, so that late writers cannot turn time back.
    pub generation: u64,
    /// Where the gateway listens for the world.
    #[serde(default)]
    pub listeners: Vec<Listener>,
    /// Which requests go to which service.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// What requests go to.
    #[serde(default)]
    pub services: Vec<Service>,
    /// What answers for the services.
    #[serde(default)]
    pub instances: Vec<Instance>,
    /// Which instances call services by name.
    #[serde(default)]
    pub callers: Vec<Caller>,
    /// Bounds in time and size.
    #[serde(default)]
    pub limits: Limits,
}

impl Config {
    /// A config that serves nothing.
    pub fn new(generation: u64) -> Self {
        Self {
            version: CONFIG_VERSION,
            generation,
            listeners: Vec::new(),
            routes: Vec::new(),
            services: Vec::new(),
            instances: Vec::new(),
            callers: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// An address at which the gateway accepts connections. While id and address stay, the socket stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Its name.
    pub id: ListenerId,
    /// Port 0 lets the system choose; the status says what it chose.
    pub address: SocketAddr,
    /// What is done with the connections.
    #[serde(flatten)]
    pub serves: Serves,
}

/// What a [`Listener`] does with its connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "protocol", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Serves {
    /// HTTP/1.1 and HTTP/2 without TLS (by prior knowledge), routed by host and path.
    Http {
        /// Whether `X-Forwarded-*` and `Forwarded` of the peers are believed and extended: right only if every
        /// peer is a proxy of one's own. Otherwise they are replaced.
        #[serde(default)]
        trust_forwarded: bool,
    },
    /// Each connection goes whole to one service.
    Tcp {
        /// The service.
        service: ServiceId,
        /// Its port.
        port: PortName,
    },
}

/// Requests with a host and a path below a prefix go to a service. An exact host comes before a wildcard, a longer
/// wildcard before a shorter, a longer path before a shorter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Its name, under which its requests are counted.
    pub id: RouteId,
    /// The host: `shop.example.com`, `*.example.com` (one label or more), or `*` for any.
    pub host: HostPattern,
    /// The path prefix, matched by whole segments: `/api` holds `/api` and `/api/x`, not `/apis`.
    #[serde(default)]
    pub path: PathPrefix,
    /// The service.
    pub service: ServiceId,
    /// Its port.
    pub port: PortName,
    /// Whether the prefix is taken off before the request is passed on.
    #[serde(default)]
    pub strip_prefix: bool,
}

/// Something with ports that instances answer for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name, such as `org/environment/app/component`.
    pub id: ServiceId,
    /// Its ports.
    pub ports: Vec<Port>,
    /// The versions of it that take part, with their weights.
    #[serde(default)]
    pub revisions: Vec<Revision>,
    /// Whether it serves.
    #[serde(default)]
    pub state: State,
    /// Requests that go to a revision of their own, whatever the weights; the first rule that holds decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// How an instance of the chosen revision is chosen.
    #[serde(default)]
    pub balance: Balance,
}

/// A port of a [`Service`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its name.
    pub name: PortName,
    /// The number that instances listen on.
    pub number: u16,
    /// What is spoken there.
    pub protocol: Protocol,
}

/// What is spoken on a [`Port`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP/1.1, with any upgrade.
    Http,
    /// Bytes.
    Tcp,
}

/// A revision of a [`Service`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Its name.
    pub id: RevisionId,
    /// Its share, in relation to the others *that have a ready instance*; 0 is none at all.
    pub weight: u32,
    /// For whoever reads the config back, such as the number of its release.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Whether a [`Service`] serves; the reason is shown to people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// It does, as far as it has ready instances.
    #[default]
    Serving,
    /// It will: its first instances are starting. As `Serving`, but the error page says so while none is ready.
    Starting,
    /// It does not, on purpose: requests are refused, even if instances are ready.
    Stopped {
        /// Why, in a sentence for the visitor.
        #[serde(default)]
        reason: String,
    },
}

/// Sends requests that match to one revision. If that has no ready instance, the weights decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// All must hold.
    pub when: Vec<Match>,
    /// The revision, whatever its weight.
    pub revision: RevisionId,
}

/// A condition on a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "in", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Match {
    /// A header.
    Header {
        /// Its name, in lower case.
        name: String,
        /// Its value.
        value: ValueMatch,
    },
    /// A cookie.
    Cookie {
        /// Its name.
        name: String,
        /// Its value.
        value: ValueMatch,
    },
    /// A parameter of the query, compared as it is written.
    Query {
        /// Its name.
        name: String,
        /// Its value.
        value: ValueMatch,
    },
}

/// A condition on a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ValueMatch {
    /// It is there.
    Present,
    /// It is this.
    Exact(String),
    /// It begins with this.
    Prefix(String),
}

impl ValueMatch {
    /// Whether a value fulfils it.
    pub fn holds(&self, value: &str) -> bool {
        match self {
            Self::Present => true,
            Self::Exact(exact) => value == exact,
            Self::Prefix(prefix) => value.starts_with(prefix.as_str()),
        }
    }
}

/// How one of a revision's ready instances is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Balance {
    /// The one with the fewest requests in flight; among equals in turn.
    #[default]
    LeastInflight,
    /// In turn.
    RoundRobin,
}

/// Something that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its name.
    pub id: InstanceId,
    /// What it answers for.
    pub service: ServiceId,
    /// As which revision.
    pub revision: RevisionId,
    /// Whether it may get requests.
    pub ready: bool,
    /// Whether it is to be left alone: nothing new, what is open runs on.
    #[serde(default)]
    pub draining: bool,
    /// How it is reached.
    pub dial: Dial,
    /// Port numbers that differ from the service's, for instances that share an address.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<PortName, u16>,
}

/// How an instance is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Dial {
    /// At an address that the gateway reaches itself.
    Tcp(IpAddr),
    /// On the loopback of a network namespace, 127.0.0.1 or `::1`, with sockets handed over by the shim at this path.
    Handover(PathBuf),
}

/// An instance that calls services by names of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The instance.
    pub instance: InstanceId,
    /// The component that it belongs to, under which its calls are counted.
    pub component: ComponentId,
    /// The shim that hands over its listeners. It may come later than the config.
    pub handover: PathBuf,
    /// What its listeners lead to; calls on any other are refused.
    #[serde(default)]
    pub dependencies: Vec<Dependency>,
}

/// Where a caller's listener leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// The listener, as its shim names it.
    pub listener: handover::Listener,
    /// The service.
    pub service: ServiceId,
    /// Its port.
    pub port: PortName,
}

/// Bounds in time and size. All must be above 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Connections of the world and of callers that are open at once; more wait to be accepted. It is lowered to what
    /// the system's limit of open files allows, two for each.
    pub connections: u32,
    /// Bytes of a request's head.
    pub header_bytes: u32,
    /// Milliseconds for a request's head, and for a connection to be used again.
    pub header_read_ms: u32,
    /// Milliseconds for a connection to an instance.
    pub connect_ms: u32,
    /// Milliseconds until the head of a response.
    pub response_ms: u32,
    /// Milliseconds without a byte of a request's body.
    pub body_idle_ms: u32,
    /// Bytes of one file of the access log; five files are kept. 0 turns the log off.
    pub access_log_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            header_bytes: 64 * 1024,
            header_read_ms: 30_000,
            connect_ms: 1_000,
            response_ms: 60_000,
            body_idle_ms: 60_000,
            access_log_bytes: 16 << 20,
        }
    }
}
