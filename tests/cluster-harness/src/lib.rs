//! Finds the Kubernetes cluster that tests run on, or brings one up.
//!
//! The same tests run on all kinds; the first of these is taken:
//!
//! 1. what `KUBECONFIG` names: one cluster for each path in it. What the tests cannot find out by themselves is said by
//!    [`GATEWAY_VARIABLE`] and [`REGISTRY_VARIABLE`];
//! 2. kind, where the program is there and Docker runs;
//! 3. the clusters of `tests/cluster`, by `cargo xtask cluster`.
//!
//! A cluster that was brought up stays up, so that the next tests have it at once; `cargo xtask cluster down --all` takes
//! those of the third kind down.
//!
//! ```no_run
//! let cluster = paas_cluster_harness::cluster()?;
//! eprintln!("{cluster}");
//! let kubeconfig = &cluster.kubeconfig;
//! # let _ = kubeconfig;
//! # anyhow::Ok(())
//! ```

mod built;
mod given;
mod kind;
mod shell;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

pub use given::{GATEWAY_VARIABLE, REGISTRY_VARIABLE};
pub use shell::IMAGE_VARIABLE;

/// A cluster that tests may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestCluster {
    /// Where it comes from.
    pub origin: Origin,
    /// Its name, unique among the clusters of one origin.
    pub name: String,
    /// A kubeconfig whose current context is an administrator of this cluster.
    pub kubeconfig: PathBuf,
    /// The Gateway of the Gateway API that routes can be attached to, if there is one.
    pub gateway: Option<Gateway>,
    /// The registry that its nodes pull from, if there is one that tests may push to.
    pub registry: Option<Registry>,
    /// Whether network policies are enforced, where that is known.
    pub enforces_policies: Option<bool>,
}

/// Where a cluster comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// `KUBECONFIG` names it.
    Given,
    /// It was made by kind.
    Kind,
    /// It is one of `tests/cluster`.
    Built,
}

/// A Gateway, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// The namespace of the object.
    pub namespace: String,
    /// The name of the object.
    pub name: String,
    /// Where its listeners answer this machine.
    pub address: IpAddr,
    /// Its listeners.
    pub listeners: Vec<Listener>,
}

/// A listener of a Gateway.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Listener {
    /// Its name: what a route calls `sectionName`.
    pub name: String,
    /// Its port.
    pub port: u16,
    /// `HTTP`, `TCP`, ….
    pub protocol: String,
}

/// A registry.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Registry {
    /// Its name for this machine, as in `127.0.0.1:5105`; it speaks HTTP.
    pub push: String,
    /// Its name for nodes, in references to images.
    pub pull: String,
}

impl Gateway {
    /// The first listener of a protocol.
    pub fn listener(&self, protocol: &str) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.protocol == protocol)
    }
}

impl TestCluster {
    /// Puts images of an OCI layout where the nodes find them, and returns the references to pull. `reference` is a
    /// repository, for every image that has a tag, or a repository and a tag; without a registry's name.
    ///
    /// # Errors
    /// The cluster has no registry that this crate knows how to fill, or the layout has no such image.
    pub fn push(&self, layout: &Path, reference: &str) -> Result<Vec<String>> {
        match self.origin {
            Origin::Built => built::push(layout, reference),
            Origin::Given | Origin::Kind => bail!(
                "images are pushed to a cluster of tests/cluster only; push to the registry of {} by its own means",
                self.name
            ),
        }
    }

    /// A command of `kubectl` as an administrator of this cluster: the one that was built with it, or the one on the path.
    ///
    /// # Errors
    /// The cluster cannot be asked for it.
    pub fn kubectl(&self) -> Result<Command> {
        let program = match self.origin {
            Origin::Built => built::kubectl(&self.name)?,
            Origin::Given | Origin::Kind => PathBuf::from("kubectl"),
        };
        let mut command = Command::new(program);
        command.env("KUBECONFIG", &self.kubeconfig);
        Ok(command)
    }

    /// The reference, by its digest, of an image with busybox as `/bin/sh` and a `/tmp` that everybody may write to. For a
    /// cluster of `tests/cluster` it is made of the machine's `/bin/busybox`; for others [`IMAGE_VARIABLE`] names one.
    ///
    /// # Errors
    /// It cannot be made, or is not named.
    pub fn shell_image(&self) -> Result<String> {
        shell::image(self)
    }
}

impl fmt::Display for TestCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = match self.origin {
            Origin::Given => "which KUBECONFIG names",
            Origin::Kind => "which kind made",
            Origin::Built => "of tests/cluster",
        };
        write!(f, "cluster {} ({origin}), kubeconfig {}", self.name, self.kubeconfig.display())
    }
}

/// One cluster.
///
/// # Errors
/// None was found, and none could be brought up; the error says what is missing.
pub fn cluster() -> Result<TestCluster> {
    clusters(1)?.pop().context("no cluster was found")
}

/// As many clusters as a test needs, all of one origin.
///
/// # Errors
/// As for [`cluster`]; also when `KUBECONFIG` names fewer.
pub fn clusters(count: usize) -> Result<Vec<TestCluster>> {
    let found = if let Some(given) = given::clusters(count)? {
        given
    } else if kind::is_available() {
        (0..count).map(|index| kind::cluster(&name(index))).collect::<Result<_>>()?
    } else {
        (0..count).map(|index| built::cluster(&name(index))).collect::<Result<_>>()?
    };
    for cluster in &found {
        eprintln!("tests run on {cluster}");
    }
    Ok(found)
}

/// `a`, `b`, ….
fn name(index: usize) -> String {
    char::from(b'a' + u8::try_from(index % 26).unwrap_or_default()).to_string()
}
