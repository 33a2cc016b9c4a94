//! Who may do what.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use paas_core::port::Role;

use crate::cli::duration::Span;
use crate::rest::scope::ScopeName;
use crate::rest::token::ActorId;

/// `paas login`
#[derive(Debug, Clone, Args)]
pub struct LoginArgs {
    /// The server's address
    #[arg(default_value = "http://127.0.0.1:7878")]
    pub url: String,
    /// The file that holds the token; the standard input if absent
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// `paas grant`
#[derive(Debug, Subcommand)]
pub enum GrantCommand {
    /// Roles on a scope
    List {
        /// The scope; the organisation if absent
        #[arg(long)]
        scope: Option<ScopeName>,
    },
    /// Give a role
    Add {
        /// Who gets it: alice, user:alice or service:ci
        #[arg(value_parser = ActorId::new)]
        actor: ActorId,
        /// The role
        #[arg(value_enum)]
        role: RoleArg,
        /// On what; the organisation if absent
        #[arg(long)]
        scope: Option<ScopeName>,
    },
    /// Take a role away
    Remove {
        /// Who has it: alice, user:alice or service:ci
        #[arg(value_parser = ActorId::new)]
        actor: ActorId,
        /// On what; the organisation if absent
        #[arg(long)]
        scope: Option<ScopeName>,
    },
}

/// A role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// Sees everything but secrets
    Viewer,
    /// Deploys, scales, configures, rolls back, runs commands
    Developer,
    /// Makes and deletes environments and applications, and grants roles
    Owner,
    /// Makes and deletes organisations, clusters and users; on the platform only
    PlatformAdmin,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Viewer => Self::Viewer,
            RoleArg::Developer => Self::Developer,
            RoleArg::Owner => Self::Owner,
            RoleArg::PlatformAdmin => Self::PlatformAdmin,
        }
    }
}

/// `paas token`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Tokens, without their secrets
    List,
    /// Make one; it is printed once and never again
    Create {
        /// Whose token it is: alice, user:alice or service:ci; yours if absent
        #[arg(long, value_parser = ActorId::new)]
        user: Option<ActorId>,
        /// What it is for
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
        /// How long it is valid; without end if absent
        #[arg(long, value_name = "TIME")]
        expires: Option<Span>,
    },
    /// Make one invalid, at once
    Revoke {
        /// Its id
        id: String,
    },
}

/// `paas audit`
#[derive(Debug, Clone, Args)]
pub struct AuditArgs {
    /// Of the platform instead of the organisation
    #[arg(long)]
    pub platform: bool,
    /// At most so many, the newest
    #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub limit: u16,
}
