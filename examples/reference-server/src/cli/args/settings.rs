//! Settings, secrets, access points.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use paas_core::{AppName, ComponentName, PortName, RouteName};

use super::WaitArgs;

/// What happens after a change of the configuration.
#[derive(Debug, Clone, Args)]
pub struct ReleaseArgs {
    /// Release the change at once
    #[arg(long)]
    pub release: bool,
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// `paas config`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Settings, and secrets without their values
    Show {
        /// The application
        app: AppName,
        /// This version instead of the newest
        #[arg(long)]
        version: Option<u64>,
    },
    /// Set some
    Set {
        /// The application
        app: AppName,
        /// A setting; may be repeated
        #[arg(required = true, value_name = "NAME=VALUE")]
        settings: Vec<SettingArg>,
        #[command(flatten)]
        release: ReleaseArgs,
    },
    /// Remove some
    Unset {
        /// The application
        app: AppName,
        /// The names
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        release: ReleaseArgs,
    },
    /// All versions
    History {
        /// The application
        app: AppName,
    },
}

/// `NAME=VALUE`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingArg {
    pub name: String,
    pub value: String,
}

impl FromStr for SettingArg {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

/// `paas secret`
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Names and versions
    List {
        /// The application
        app: AppName,
    },
    /// Give a secret a new value, read from the standard input or a file
    Set {
        /// The application
        app: AppName,
        /// The name
        name: String,
        /// The file that holds the value, byte for byte
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        release: ReleaseArgs,
    },
    /// Remove a secret from the configuration; releases that have it keep it
    Unset {
        /// The application
        app: AppName,
        /// The name
        name: String,
        #[command(flatten)]
        release: ReleaseArgs,
    },
    /// Destroy a version for good; no rollback brings it back
    Revoke {
        /// The application
        app: AppName,
        /// The name
        name: String,
        /// The version
        version: u64,
        /// Do not ask
        #[arg(long, short = 'y')]
        yes: bool,
    },
}

/// `paas route`
#[derive(Debug, Subcommand)]
pub enum RouteCommand {
    /// Access points with their addresses
    List {
        /// The application
        app: AppName,
    },
    /// Add one; it is in force at once
    Add {
        /// The application
        app: AppName,
        /// The name
        name: RouteName,
        /// The component it leads to
        #[arg(long)]
        component: ComponentName,
        /// The component's port by name; its first one if absent
        #[arg(long)]
        port: Option<PortName>,
        /// The host; the platform's own if absent
        #[arg(long, conflicts_with = "tcp_port")]
        host: Option<String>,
        /// The path prefix
        #[arg(long, conflicts_with = "tcp_port")]
        path: Option<String>,
        /// A TCP port of the gateway, instead of host and path
        #[arg(long)]
        tcp_port: Option<u16>,
    },
    /// Remove one
    Remove {
        /// The application
        app: AppName,
        /// The name
        name: RouteName,
    },
}
