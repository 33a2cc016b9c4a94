//! What can be typed.

mod access;
mod app;
mod cluster;
mod release;
mod settings;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use paas_core::{EnvName, OrgName};

pub use access::{AuditArgs, GrantCommand, LoginArgs, TokenCommand};
pub use app::{
    AppCommand, DeleteArgs, EnvCommand, EventsArgs, ExecArgs, LogsArgs, OrgCommand, RunArgs, RunsArgs,
    StatusArgs,
};
pub use cluster::{ClusterCommand, NodeCommand};
pub use release::{
    AbortArgs, AppArgs, ComponentArgs, DeployArgs, DiffArgs, ReleasesArgs, RollbackArgs, ScaleArgs, WaitArgs,
};
pub use settings::{ConfigCommand, ReleaseArgs, RouteCommand, SecretCommand};

use crate::server::ServerArgs;

/// What the exit codes mean, for the end of the help.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  an error that no other code names
  2  the command line is wrong
  3  the release was aborted or failed
  4  the time allowed has passed
  5  the server cannot be reached
  6  not logged in, or not allowed
  7  the object does not exist
  8  the object exists already, or its state does not allow this now
  exec and run end with the exit code of the command, 128 + n if signal n ended it

Environment:
  PAAS_SERVER, PAAS_TOKEN, PAAS_ORG, PAAS_ENV stand for what `paas login` keeps; NO_COLOR turns colour off";

/// A platform on one machine and its command line.
#[derive(Debug, Parser)]
#[command(name = "paas", version, after_help = EXIT_CODES, propagate_version = false)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The server's address, such as <http://127.0.0.1:7878>
    #[arg(long, global = true, env = "PAAS_SERVER", value_name = "URL", help_heading = "Common")]
    pub server: Option<String>,
    /// The organisation
    #[arg(long, global = true, env = "PAAS_ORG", help_heading = "Common")]
    pub org: Option<OrgName>,
    /// The environment
    #[arg(long, short = 'e', global = true, env = "PAAS_ENV", help_heading = "Common")]
    pub env: Option<EnvName>,
    /// How results are printed
    #[arg(long, short = 'o', global = true, value_enum, default_value_t, help_heading = "Common")]
    pub output: Format,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN", help_heading = "Common")]
    pub color: Color,
    /// Where `paas login` keeps its file
    #[arg(
        long,
        global = true,
        env = "PAAS_CONFIG",
        value_name = "FILE",
        help_heading = "Common",
        hide = true
    )]
    pub config: Option<PathBuf>,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// Tables for people
    #[default]
    Table,
    /// JSON, as the server gives it
    Json,
    /// YAML
    Yaml,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Color {
    /// On a terminal
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server
    Server(ServerArgs),
    /// Make the keys and the administrator's token of a server that will run elsewhere, such as in a cluster
    Init {
        /// The directory for the files `keys.json` and `admin-token`; what is there stays
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Remember a server, a token, and the organisation and environment to work in
    Login(LoginArgs),
    /// Forget them
    Logout,
    /// Organisations
    #[command(subcommand)]
    Org(OrgCommand),
    /// Environments
    #[command(subcommand)]
    Env(EnvCommand),
    /// Clusters: where applications run
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// The machines of clusters
    #[command(subcommand)]
    Node(NodeCommand),
    /// Applications
    #[command(subcommand)]
    App(AppCommand),
    /// Release an application: a specification, or new images
    Deploy(DeployArgs),
    /// What runs, how it is, and why
    Status(StatusArgs),
    /// What instances use now
    Top(AppArgs),
    /// The requests in figures: by access point, by version, and by who called whom
    Traffic(AppArgs),
    /// What instances print
    Logs(LogsArgs),
    /// Run a command in a running instance
    Exec(ExecArgs),
    /// Run a command, or a scheduled job, in an instance of its own, once
    Run(RunArgs),
    /// Runs of scheduled jobs and one-off commands, and how they ended
    Runs(RunsArgs),
    /// Change the number of instances, at once
    Scale(ScaleArgs),
    /// Renew all instances, without interruption
    Restart(ComponentArgs),
    /// Take an application out of service; everything is kept
    Stop(ComponentArgs),
    /// Bring a stopped application back
    Start(ComponentArgs),
    /// The history of releases, or one release
    Releases(ReleasesArgs),
    /// What differs between two releases
    Diff(DiffArgs),
    /// Return to an earlier release
    Rollback(RollbackArgs),
    /// Stop the release under way and return to the one before
    Abort(AbortArgs),
    /// Try the held release again
    Retry(AppArgs),
    /// Hold the release under way
    Pause(AppArgs),
    /// Go on with a paused release
    Resume(AppArgs),
    /// Settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Secrets; values are read from a file or the standard input
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Access points
    #[command(subcommand)]
    Route(RouteCommand),
    /// What happened to an application
    Events(EventsArgs),
    /// Delete an application from an environment; what will be lost is named first
    Delete(DeleteArgs),
    /// Roles: who may do what
    #[command(subcommand)]
    Grant(GrantCommand),
    /// Tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Who did what, with what result
    Audit(AuditArgs),
    /// Print the completion for a shell
    Completion {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// Every command with its options, as `--help` shows it; those that all have are shown with the first.
    #[test]
    fn the_help_says_what_can_be_typed() {
        fn write(command: &mut clap::Command, path: &str, text: &mut String) {
            let help = command.render_help().to_string();
            let own =
                if text.is_empty() { &help } else { help.split("\n\nCommon:").next().unwrap_or_default() };
            text.push_str(&format!("## {path}\n{own}\n\n"));
            for command in command.get_subcommands_mut() {
                let path = format!("{path} {}", command.get_name());
                write(command, &path, text);
            }
        }
        let mut text = String::new();
        let mut command = Arguments::command().term_width(100);
        command.build();
        write(&mut command, "paas", &mut text);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn the_arguments_hold_together() {
        Arguments::command().debug_assert();
    }
}
