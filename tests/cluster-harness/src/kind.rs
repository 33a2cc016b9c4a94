//! Clusters that kind makes, where Docker runs.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::{Origin, TestCluster};

/// Whether the program is there, and Docker answers it.
pub fn is_available() -> bool {
    let succeeds = |program: &str, argument: &str| {
        let mut command = Command::new(program);
        command.arg(argument).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    succeeds("kind", "version") && succeeds("docker", "info")
}

/// The cluster of this name, made if there is none. Images get into it by `kind load`; it has no Gateway.
pub fn cluster(name: &str) -> Result<TestCluster> {
    let full = format!("paas-{name}");
    let folder = std::env::temp_dir().join("paas-kind");
    fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let kubeconfig = folder.join(format!("{full}.kubeconfig"));
    let existing = output(Command::new("kind").args(["get", "clusters"]))?;
    if existing.lines().any(|line| line.trim() == full) {
        write_kubeconfig(&full, &kubeconfig)?;
    } else {
        let mut command = Command::new("kind");
        command
            .args(["create", "cluster", "--wait", "120s", "--name", &full, "--kubeconfig"])
            .arg(&kubeconfig);
        output(&mut command)?;
    }
    Ok(TestCluster {
        origin: Origin::Kind,
        name: full,
        kubeconfig,
        gateway: None,
        registry: None,
        enforces_policies: None, // it depends on kind's version
    })
}

fn write_kubeconfig(name: &str, path: &Path) -> Result<()> {
    let text = output(Command::new("kind").args(["get", "kubeconfig", "--name", name]))?;
    fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().context("failed to start kind")?;
    ensure!(output.status.success(), "kind ended with {}", output.status);
    String::from_utf8(output.stdout).context("kind's output is not UTF-8")
}
