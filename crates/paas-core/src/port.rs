//! Ports: what the platform needs from the outside, one trait each.
//!
//! Rules that hold for every port:
//! - Each sentence of a trait's contract has a test in its conformance suite; the in-memory implementation
//!   defines the semantics.
//! - A dropped future leaves the call *done* or *not done*, never half done; repeating it converges.
//! - Mutating calls of [`Runtime`] and [`Router`] carry the caller's [`Epoch`]: a backend that declares
//!   `fenced` rejects one lower than the highest it has seen for that object with
//!   [`ErrorKind::Fenced`](crate::ErrorKind::Fenced).
//! - What a backend's capabilities exclude fails with
//!   [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) before anything happens.
//! - Streams are bounded; a reader that is too slow gets [`ErrorKind::Lagged`](crate::ErrorKind::Lagged) once,
//!   then the stream ends: list again.

mod admission;
mod authorizer;
mod driver;
mod exec;
mod feed;
mod keyring;
mod logs;
mod metrics;
mod nodes;
mod registry;
mod router;
mod runtime;
mod spaces;
mod store;
mod traffic;

use std::fmt;
use std::pin::Pin;

use futures::Stream;
use serde::{Deserialize, Serialize};

use crate::error::Result;

pub use admission::{Admission, AdmissionRequest};
pub use authorizer::{AccessRequest, Authorizer, Decision, Permission, Role, Scope};
pub use driver::{ClusterPorts, ClusterReport, Driver, OpenCluster, SecretSource, SecretValue};
pub use exec::{Exec, ExecInput, ExecOptions, ExecOutput, ExecSession, ExecTarget, TerminalSize};
pub use feed::{FeedSource, follow_feed};
pub use keyring::KeyRing;
pub use logs::{LogLine, LogOptions, LogStream, Logs};
pub use metrics::{Metrics, Usage};
pub use nodes::{DrainReport, Node, Nodes};
pub use registry::{ImageQuery, Registry, ResolvedImage};
pub use router::{
    Backend, HostPath, RouteBinding, Router, RouterCapabilities, RouterEvent, ServiceObservation,
    ServiceState, ServiceTraffic,
};
pub use runtime::{
    ExitStatus, ImagePull, InstanceFailure, InstanceId, InstanceObservation, InstancePhase, Ordinals,
    RunInput, RunObservation, RunSpec, Runtime, RuntimeCapabilities, RuntimeEvent, SetKey, SetObservation,
    SetSpec, TrackObservation,
};
pub use spaces::{Drift, Spaces};
pub use store::{
    Change, ChangeStream, Document, DocumentKey, Expect, ListOptions, Page, Revision, Store, StoreLimits,
    Txn, Write,
};
pub use traffic::{Latency, Responses, Traffic, TrafficCount, TrafficFigures, TrafficSource};

/// A stream of results, as ports return them.
pub type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T>> + Send + 'static>>;

/// A fencing epoch: who got the lease later has the higher one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
