//! The permissions of what is asked of a cluster itself: its machines, and what instances use.

use std::fmt;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Action, Effect, Work};
use crate::engine::EventKind;
use crate::error::Result;
use crate::name::{AppEnv, ClusterName};
use crate::port::{Permission, Scope};
use crate::tenancy::permissions;

/// Reads the machines of a cluster.
#[derive(Debug, Clone)]
pub struct ReadNodes {
    /// Which cluster.
    pub cluster: ClusterName,
}

#[async_trait]
impl Action for ReadNodes {
    type Output = ();
    const NAME: &'static str = "node.read";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::CLUSTER_READ
    }

    fn scope(&self) -> Scope {
        Scope::Cluster { cluster: self.cluster.clone() }
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, _: &mut Work<'_>) -> Result<()> {
        Ok(())
    }
}

/// What is done to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeUse {
    /// New instances are kept away from it.
    Cordon,
    /// It takes new instances again.
    Uncordon,
    /// The instances of this platform leave it.
    Drain,
}

impl fmt::Display for NodeUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cordon => "cordon",
            Self::Uncordon => "uncordon",
            Self::Drain => "drain",
        })
    }
}

/// Cordons, uncordons or drains a machine of a cluster.
#[derive(Debug, Clone)]
pub struct UseNode {
    /// Which cluster.
    pub cluster: ClusterName,
    /// Which machine.
    pub node: String,
    /// What is done to it.
    pub what: NodeUse,
}

#[async_trait]
impl Action for UseNode {
    type Output = ();
    const NAME: &'static str = "node.use";
    const EFFECT: Effect = Effect::Access;

    fn permission(&self) -> Permission {
        permissions::NODE_WRITE
    }

    fn scope(&self) -> Scope {
        Scope::Cluster { cluster: self.cluster.clone() }
    }

    fn detail(&self) -> Value {
        json!({ "node": self.node, "what": self.what.to_string() })
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<()> {
        let did = match self.what {
            NodeUse::Cordon => "keeps new instances away from",
            NodeUse::Uncordon => "lets new instances come to",
            NodeUse::Drain => "drains",
        };
        let message = format!("{} {did} the machine {} of {}", work.actor(), self.node, self.cluster);
        work.event(EventKind::Changed, self.scope(), message);
        Ok(())
    }
}

/// Reads what the instances of an application use.
#[derive(Debug, Clone)]
pub struct ReadUsage {
    /// Where.
    pub at: AppEnv,
}

#[async_trait]
impl Action for ReadUsage {
    type Output = ();
    const NAME: &'static str = "usage.read";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::APP_READ
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<()> {
        work.place(&self.at).await.map(drop)
    }
}
