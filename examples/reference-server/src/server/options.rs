//! What `paas server` takes.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use paas_core::ClusterName;

/// `paas server`
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// The directory for everything: database, keys, images, volumes
    #[arg(long, env = "PAAS_DIR", default_value_os_t = default_directory(), hide_default_value = true)]
    pub dir: PathBuf,
    /// Where the interface listens; port 0 takes a free one, which DIR/server.json names
    #[arg(long, default_value = "127.0.0.1:7878", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Where the gateway listens for the applications' requests
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub gateway: SocketAddr,
    /// A PostgreSQL database that several servers share, instead of a file in DIR, as
    /// `postgres://user:password@host:5432/database`
    #[arg(long, env = "PAAS_STORE", hide_env_values = true, value_name = "URL")]
    pub store: Option<String>,
    /// The file with the keys that seal secrets; DIR/keys.json if absent. Servers that share a store need the same one
    #[arg(long, env = "PAAS_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// The domain of the labels on everything that is made in clusters; it must never change
    #[arg(long, default_value = "paas.local", value_name = "DOMAIN")]
    pub label_domain: String,
    /// Listen on an address that other machines reach; the interface has no TLS of its own
    #[arg(long)]
    pub allow_remote: bool,
    /// Print another administrator's token at this start, as the first start does: for when none is left
    #[arg(long)]
    pub new_admin_token: bool,
    /// The file with the administrator's token, as `paas init` makes it: with it nothing is printed, and another token in it takes
    /// the place of the one before at the next start
    #[arg(long, env = "PAAS_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Add the Kubernetes cluster in which this server runs, under this name, by the service account of its pod
    #[arg(long, env = "PAAS_IN_CLUSTER", value_name = "NAME")]
    pub in_cluster: Option<ClusterName>,
    /// The file with the options of that cluster, in YAML or JSON, as `paas cluster add --options` takes them; what it says holds
    /// from each start on
    #[arg(long, env = "PAAS_IN_CLUSTER_OPTIONS", value_name = "FILE", requires = "in_cluster")]
    pub in_cluster_options: Option<PathBuf>,
    /// How often everything is looked at although nothing has asked for it, in seconds
    #[arg(long, env = "PAAS_RESYNC", default_value_t = 600, value_name = "SECONDS",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub resync: u32,
    /// How the log is written, to the standard error
    #[arg(long, value_enum, default_value_t)]
    pub log: LogFormat,
    /// Where instances run, beside the clusters that are added
    #[arg(long, value_enum, default_value_t)]
    pub backend: Backend,
}

impl ServerArgs {
    /// Everything in `dir`, with the interface and the gateway on loopback ports that are free.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            dir: dir.into(),
            listen: any,
            gateway: any,
            store: None,
            key_file: None,
            label_domain: "paas.local".to_owned(),
            allow_remote: false,
            new_admin_token: false,
            admin_token_file: None,
            in_cluster: None,
            in_cluster_options: None,
            resync: 600,
            log: LogFormat::default(),
            backend: Backend::default(),
        }
    }
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// A JSON object a line
    Json,
}

/// Where instances run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Backend {
    /// In containers on this machine
    #[default]
    Local,
    /// Nowhere: only on clusters that are added
    None,
    /// In a simulation, for tests of the interface
    #[value(hide = true)]
    Memory,
}

/// `$XDG_DATA_HOME/paas`, `~/.local/share/paas`, or `/var/lib/paas` for root.
fn default_directory() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/paas");
    }
    set("XDG_DATA_HOME")
        .or_else(|| Some(set("HOME")?.join(".local/share")))
        .unwrap_or_else(|| PathBuf::from("."))
        .join("paas")
}
