//! Arguments about clusters.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Subcommand;
use paas_core::ClusterName;

use super::settings::SettingArg;
use crate::cli::duration::Span;

/// `NAMESPACE/NAME`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayArg {
    pub namespace: String,
    pub name: String,
}

impl FromStr for GatewayArg {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, name) = text.split_once('/').ok_or("write NAMESPACE/NAME")?;
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

/// `paas node`
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// All of a cluster
    List {
        /// The cluster
        cluster: ClusterName,
    },
    /// Keep new instances away from one; what runs there goes on
    Cordon {
        /// The cluster
        cluster: ClusterName,
        /// The machine
        node: String,
    },
    /// Let new instances come to one again
    Uncordon {
        /// The cluster
        cluster: ClusterName,
        /// The machine
        node: String,
    },
    /// Cordon one, and let the platform's instances leave it as their budgets of disruption allow
    Drain {
        /// The cluster
        cluster: ClusterName,
        /// The machine
        node: String,
        /// How long to wait for them to go, at most 15m
        #[arg(long, default_value = "5m", value_name = "SPAN")]
        timeout: Span,
    },
}

/// `paas cluster`
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// All that you may see
    List,
    /// Add a Kubernetes cluster; it must answer
    Add {
        /// The name, never changed later
        name: ClusterName,
        /// The file with what gives access to it; without one the server's own service account in its cluster
        #[arg(long, value_name = "FILE")]
        kubeconfig: Option<PathBuf>,
        /// The context of the kubeconfig, if it is not the current one
        #[arg(long)]
        context: Option<String>,
        /// The Gateway that routes are attached to; without one the cluster has no access points
        #[arg(long, value_name = "NAMESPACE/NAME", requires = "domain")]
        gateway: Option<GatewayArg>,
        /// The domain of access points without a host of their own; its names lead to the Gateway
        #[arg(long, requires = "gateway")]
        domain: Option<String>,
        /// The file with everything else, in YAML or JSON: volumes, security, image pull secrets, bounds of environments
        #[arg(long, value_name = "FILE")]
        options: Option<PathBuf>,
        /// Where it is
        #[arg(long)]
        region: Option<String>,
        /// What it can be chosen by; may be repeated
        #[arg(long, value_name = "NAME=VALUE")]
        label: Vec<SettingArg>,
        /// Add it although it cannot be reached now
        #[arg(long)]
        unreachable: bool,
    },
    /// Look at one, and ask it how it is
    Show {
        /// The name
        name: ClusterName,
    },
    /// Give one other credentials
    Update {
        /// The name
        name: ClusterName,
        /// The file with what gives access to it
        #[arg(long, value_name = "FILE")]
        kubeconfig: Option<PathBuf>,
        /// Where it is
        #[arg(long)]
        region: Option<String>,
        /// Change it although it cannot be reached now
        #[arg(long)]
        unreachable: bool,
    },
    /// Remove one that no environment targets and on which nothing is left
    Remove {
        /// The name
        name: ClusterName,
        /// It never comes back: forget what is left there, which stays on it
        #[arg(long)]
        force: bool,
        /// Do not ask
        #[arg(long, short = 'y')]
        yes: bool,
    },
}
