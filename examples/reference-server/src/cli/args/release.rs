//! Releases and what changes them.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use paas_core::model::Keep;
use paas_core::{AppName, ComponentName};

use super::app::{ClusterOrderArg, OnClusterFailureArg};
use crate::cli::duration::Span;

/// An application.
#[derive(Debug, Clone, Args)]
pub struct AppArgs {
    /// The application
    pub app: AppName,
}

/// An application, or one of its components.
#[derive(Debug, Clone, Args)]
pub struct ComponentArgs {
    /// The application
    pub app: AppName,
    /// Only this component
    pub component: Option<ComponentName>,
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Whether to follow a release to its end.
#[derive(Debug, Clone, Args)]
pub struct WaitArgs {
    /// Follow it to its end
    #[arg(long, short = 'w')]
    pub wait: bool,
    /// How long to follow it; the release goes on when this time has passed
    #[arg(long, default_value = "15m", value_name = "TIME")]
    pub timeout: Span,
}

/// `paas deploy`
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(false))]
pub struct DeployArgs {
    /// The application
    pub app: AppName,
    /// A specification, Compose file or objects of Kubernetes; or `-`
    ///
    /// In YAML or JSON; which of them it is, is told by the content. A folder holds objects of Kubernetes; `-` is the standard
    /// input.
    #[arg(long, short = 'f', value_name = "FILE", group = "change")]
    pub file: Option<PathBuf>,
    /// An active profile of a Compose file; may be repeated
    #[arg(long, value_name = "NAME", requires = "file")]
    pub profile: Vec<String>,
    /// The component that objects of Kubernetes become
    #[arg(long, value_name = "NAME", default_value = "objects", requires = "file")]
    pub component: ComponentName,
    /// A new image for a component; may be repeated
    #[arg(long, short = 'i', value_name = "COMPONENT=IMAGE", group = "change")]
    pub image: Vec<ImageArg>,
    /// What runs now, with the configuration as it is now
    #[arg(long, group = "change")]
    pub current: bool,
    /// Make the application if it does not exist
    #[arg(long)]
    pub create: bool,
    /// Only if this is still the current release
    #[arg(long, value_name = "NUMBER")]
    pub expected: Option<u64>,
    /// How the clusters follow each other, this time
    #[arg(long, value_enum)]
    pub cluster_order: Option<ClusterOrderArg>,
    /// What a cluster on which it fails means for the others, this time
    #[arg(long, value_enum)]
    pub on_cluster_failure: Option<OnClusterFailureArg>,
    /// A remark for the history
    #[arg(long, default_value = "", hide_default_value = true)]
    pub note: String,
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// `COMPONENT=IMAGE`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageArg {
    pub component: ComponentName,
    pub image: String,
}

impl FromStr for ImageArg {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (component, image) = text.split_once('=').ok_or("write COMPONENT=IMAGE")?;
        if image.is_empty() {
            return Err("the image is missing; write COMPONENT=IMAGE".into());
        }
        let component = component.parse().map_err(|fault: paas_core::Fault| fault.message)?;
        Ok(Self { component, image: image.into() })
    }
}

/// `paas scale`
#[derive(Debug, Clone, Args)]
pub struct ScaleArgs {
    /// The application
    pub app: AppName,
    /// The number of instances of a component; may be repeated
    #[arg(required = true, value_name = "COMPONENT=COUNT")]
    pub counts: Vec<CountArg>,
    /// Wait until so many are ready
    #[arg(long, short = 'w')]
    pub wait: bool,
    /// How long to wait
    #[arg(long, default_value = "5m", value_name = "TIME")]
    pub timeout: Span,
}

/// `COMPONENT=COUNT`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountArg {
    pub component: ComponentName,
    pub count: u32,
}

impl FromStr for CountArg {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (component, count) = text.split_once('=').ok_or("write COMPONENT=COUNT, such as web=3")?;
        Ok(Self {
            component: component.parse().map_err(|fault: paas_core::Fault| fault.message)?,
            count: count.parse().map_err(|_| format!("{count:?} is not a number of instances"))?,
        })
    }
}

/// `paas releases`
#[derive(Debug, Clone, Args)]
pub struct ReleasesArgs {
    /// The application
    pub app: AppName,
    /// Only this release, whole
    pub number: Option<u64>,
    /// At most so many, the newest first
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub limit: u16,
}

/// `paas diff`
#[derive(Debug, Clone, Args)]
pub struct DiffArgs {
    /// The application
    pub app: AppName,
    /// The release to compare from
    pub from: u64,
    /// The release to compare to
    pub to: u64,
}

/// What a rollback leaves as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KeepArg {
    /// Today's settings and secrets, with the earlier images
    Config,
    /// Today's images, with the earlier settings and secrets
    Images,
}

impl From<KeepArg> for Keep {
    fn from(keep: KeepArg) -> Self {
        match keep {
            KeepArg::Config => Self::Config,
            KeepArg::Images => Self::Images,
        }
    }
}

/// `paas rollback`
#[derive(Debug, Clone, Args)]
pub struct RollbackArgs {
    /// The application
    pub app: AppName,
    /// The release to return to; the one before the current one if absent
    #[arg(long, value_name = "NUMBER")]
    pub to: Option<u64>,
    /// What stays as it is today
    #[arg(long, value_enum)]
    pub keep: Option<KeepArg>,
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// `paas abort`
#[derive(Debug, Clone, Args)]
pub struct AbortArgs {
    /// The application
    pub app: AppName,
    /// Why, for the history
    #[arg(long, default_value = "", hide_default_value = true)]
    pub reason: String,
}
