//! Organisations, environments, applications, and a look at what runs.

use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use paas_core::model::{ClusterOrder, OnClusterFailure, OnRunning, Target};
use paas_core::{AppName, ClusterName, ComponentName, EnvName, OrgName};

use crate::cli::duration::Span;

/// `paas org`
#[derive(Debug, Subcommand)]
pub enum OrgCommand {
    /// All that you may see
    List,
    /// Make one
    Create {
        /// The name, never changed later
        name: OrgName,
        /// What people call it
        #[arg(long, default_value = "", hide_default_value = true)]
        display_name: String,
    },
    /// Look at one
    Show {
        /// The name
        name: OrgName,
    },
    /// Change what people call it
    Update {
        /// The name
        name: OrgName,
        /// What people call it
        #[arg(long)]
        display_name: String,
    },
    /// Delete one; it must be empty
    Delete {
        /// The name
        name: OrgName,
        /// Do not ask
        #[arg(long, short = 'y')]
        yes: bool,
    },
}

/// `paas env`
#[derive(Debug, Subcommand)]
pub enum EnvCommand {
    /// All of the organisation
    List,
    /// Make one
    Create {
        /// The name, never changed later
        name: EnvName,
        /// A cluster, with the bounds of instances of a component on it; may be repeated
        #[arg(long, value_name = "CLUSTER[:MIN-MAX]", default_value = "local")]
        cluster: Vec<ClusterArg>,
        /// What a new release does to one that is under way
        #[arg(long, value_enum, default_value = "reject")]
        on_running: OnRunningArg,
        /// How the clusters follow each other in a release
        #[arg(long, value_enum, default_value = "all-at-once")]
        cluster_order: ClusterOrderArg,
        /// What a cluster on which a release fails means for the others
        #[arg(long, value_enum, default_value = "back")]
        on_cluster_failure: OnClusterFailureArg,
    },
    /// Look at one
    Show {
        /// The name
        name: EnvName,
    },
    /// Change one
    Update {
        /// The name
        name: EnvName,
        /// The clusters from now on: applications begin on those that are new and leave those not named
        #[arg(long, value_name = "CLUSTER[:MIN-MAX]")]
        cluster: Vec<ClusterArg>,
        /// What a new release does to one that is under way
        #[arg(long, value_enum)]
        on_running: Option<OnRunningArg>,
        /// How the clusters follow each other in a release
        #[arg(long, value_enum)]
        cluster_order: Option<ClusterOrderArg>,
        /// What a cluster on which a release fails means for the others
        #[arg(long, value_enum)]
        on_cluster_failure: Option<OnClusterFailureArg>,
    },
    /// Delete one; it must be empty
    Delete {
        /// The name
        name: EnvName,
        /// Do not ask
        #[arg(long, short = 'y')]
        yes: bool,
    },
}

/// `CLUSTER[:MIN-MAX]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterArg(pub Target);

impl FromStr for ClusterArg {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let name = |name: &str| name.parse::<ClusterName>().map_err(|fault| fault.message);
        let Some((cluster, bounds)) = text.split_once(':') else { return Ok(Self(Target::new(name(text)?))) };
        let (min, max) = bounds.split_once('-').ok_or("write CLUSTER:MIN-MAX, such as local:1-20")?;
        let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is not a number of instances"));
        let mut target = Target::new(name(cluster)?);
        target.min_instances = number(min)?;
        target.max_instances = number(max)?;
        Ok(Self(target))
    }
}

/// What a new release does to one that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnRunningArg {
    /// It is refused
    Reject,
    /// It waits for the end of the running one
    Queue,
    /// It takes the running one's place
    Supersede,
}

impl From<OnRunningArg> for OnRunning {
    fn from(value: OnRunningArg) -> Self {
        match value {
            OnRunningArg::Reject => Self::Reject,
            OnRunningArg::Queue => Self::Queue,
            OnRunningArg::Supersede => Self::Supersede,
        }
    }
}

/// How the clusters follow each other in a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClusterOrderArg {
    /// All begin at once
    AllAtOnce,
    /// One after the other, in their order, up to the first failure
    OneByOne,
}

impl From<ClusterOrderArg> for ClusterOrder {
    fn from(value: ClusterOrderArg) -> Self {
        match value {
            ClusterOrderArg::AllAtOnce => Self::AllAtOnce,
            ClusterOrderArg::OneByOne => Self::OneByOne,
        }
    }
}

/// What a cluster on which a release fails means for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnClusterFailureArg {
    /// All go back, those that have it too
    Back,
    /// Those that have it keep it
    Keep,
}

impl From<OnClusterFailureArg> for OnClusterFailure {
    fn from(value: OnClusterFailureArg) -> Self {
        match value {
            OnClusterFailureArg::Back => Self::Back,
            OnClusterFailureArg::Keep => Self::Keep,
        }
    }
}

/// `paas app`
#[derive(Debug, Subcommand)]
pub enum AppCommand {
    /// All of the organisation
    List,
    /// Make one; nothing runs until its first release
    Create {
        /// The name, never changed later
        name: AppName,
        /// What people call it
        #[arg(long, default_value = "", hide_default_value = true)]
        display_name: String,
    },
    /// Look at one
    Show {
        /// The name
        name: AppName,
    },
    /// Delete one with everything it has, in every environment
    Delete {
        /// The name
        name: AppName,
        /// Do not ask
        #[arg(long, short = 'y')]
        yes: bool,
    },
}

/// `paas status`
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// The application; all of the environment if absent
    pub app: Option<AppName>,
    /// Follow it until interrupted
    #[arg(long, short = 'w', requires = "app")]
    pub watch: bool,
}

/// `paas logs`
#[derive(Debug, Clone, Args)]
pub struct LogsArgs {
    /// The application
    pub app: AppName,
    /// The component; the only one if absent
    pub component: Option<ComponentName>,
    /// Go on with new lines
    #[arg(long, short = 'f')]
    pub follow: bool,
    /// Only lines since then: a time such as 2026-01-31T12:00:00Z, or a span such as 10m
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only the last lines
    #[arg(long, short = 'n', value_name = "LINES")]
    pub tail: Option<u32>,
    /// The lines before the last restart
    #[arg(long, conflicts_with = "follow")]
    pub previous: bool,
    /// Only this instance
    #[arg(long)]
    pub instance: Option<String>,
    /// With the time of each line
    #[arg(long, short = 't')]
    pub timestamps: bool,
}

/// `paas exec`
#[derive(Debug, Clone, Args)]
pub struct ExecArgs {
    /// The application
    pub app: AppName,
    /// The component
    pub component: ComponentName,
    /// The instance; the first ready one if absent
    #[arg(long)]
    pub instance: Option<String>,
    /// Pass the standard input on
    #[arg(long, short = 'i')]
    pub interactive: bool,
    /// With a terminal
    #[arg(long, short = 't')]
    pub tty: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `paas run`
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The application
    pub app: AppName,
    /// The component whose image and configuration it has
    pub component: ComponentName,
    /// Pass the standard input on
    #[arg(long, short = 'i')]
    pub interactive: bool,
    /// With a terminal
    #[arg(long, short = 't')]
    pub tty: bool,
    /// The command and its arguments; its own if absent: a scheduled job runs now
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `paas runs`
#[derive(Debug, Clone, Args)]
pub struct RunsArgs {
    /// The application
    pub app: AppName,
    /// Only this component
    pub component: Option<ComponentName>,
}

/// `paas events`
#[derive(Debug, Clone, Args)]
pub struct EventsArgs {
    /// The application
    pub app: AppName,
    /// Go on with new ones
    #[arg(long, short = 'f')]
    pub follow: bool,
    /// At most so many, the newest
    #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub limit: u16,
}

/// `paas delete`
#[derive(Debug, Clone, Args)]
pub struct DeleteArgs {
    /// The application
    pub app: AppName,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Wait until nothing of it is left
    #[arg(long, short = 'w')]
    pub wait: bool,
    /// How long to wait
    #[arg(long, default_value = "15m", value_name = "TIME")]
    pub timeout: Span,
}
