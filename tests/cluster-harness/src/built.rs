//! Clusters of `tests/cluster`, through the task that builds them and brings them up.

use std::env;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::{Gateway, Listener, Origin, Registry, TestCluster};

/// What is read of `cargo xtask cluster status -o json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    name: String,
    kubeconfig: PathBuf,
    gateway: GatewayStatus,
    registry: Registry,
    network_policies: PolicyStatus,
}

#[derive(Debug, Deserialize)]
struct GatewayStatus {
    namespace: String,
    name: String,
    address: IpAddr,
    listeners: Vec<Listener>,
}

#[derive(Debug, Deserialize)]
struct PolicyStatus {
    enforced: bool,
}

/// The cluster of this name, up. One that is up already takes a second.
pub fn cluster(name: &str) -> Result<TestCluster> {
    task(&["up", "--name", name])?;
    let text = task(&["status", "--name", name, "-o", "json"])?;
    let cluster = parse(&text)?;
    keep_listening(&cluster)?;
    Ok(cluster)
}

/// Gives the Gateway a route that stays. Contour takes the listener away with the last route, and with it the connections of
/// whoever asks while tests that share the Gateway come and go.
fn keep_listening(cluster: &TestCluster) -> Result<()> {
    let Some(gateway) = &cluster.gateway else { return Ok(()) };
    let route = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
         metadata: {{ namespace: {namespace}, name: keeps-listening }}\n\
         spec:\n  parentRefs: [{{ name: {name} }}]\n  hostnames: [keeps-listening.test]\n\
         \x20 rules: [{{ backendRefs: [{{ name: nobody, port: 80 }}] }}]\n",
        namespace = gateway.namespace,
        name = gateway.name
    );
    let mut command = cluster.kubectl()?;
    command.args(["apply", "--filename", "-"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().context("failed to start kubectl")?;
    child.stdin.take().context("kubectl has no input")?.write_all(route.as_bytes())?;
    let status = child.wait().context("failed to wait for kubectl")?;
    ensure!(
        status.success(),
        "`kubectl apply` of the route that keeps the Gateway listening ended with {status}"
    );
    Ok(())
}

/// Puts images of a layout into the clusters' registry.
pub fn push(layout: &Path, reference: &str) -> Result<Vec<String>> {
    let layout = std::path::absolute(layout).context("failed to make the layout's path absolute")?;
    let layout = layout.to_str().context("the layout's path is not UTF-8")?;
    Ok(task(&["push", layout, reference])?.lines().map(str::to_owned).collect())
}

/// The kubectl that was built with the cluster of this name.
pub fn kubectl(name: &str) -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Status {
        kubectl: PathBuf,
    }
    let text = task(&["status", "--name", name, "-o", "json"])?;
    let status: Status = serde_json::from_str(&text).context("the status of the cluster names no kubectl")?;
    Ok(status.kubectl)
}

fn parse(text: &str) -> Result<TestCluster> {
    let status: Status = serde_json::from_str(text).context("failed to read the status of the cluster")?;
    let GatewayStatus { namespace, name, address, listeners } = status.gateway;
    Ok(TestCluster {
        origin: Origin::Built,
        name: status.name,
        kubeconfig: status.kubeconfig,
        gateway: Some(Gateway { namespace, name, address, listeners }),
        registry: Some(status.registry),
        enforces_policies: Some(status.network_policies.enforced),
    })
}

/// Runs `cargo xtask cluster …` in the workspace. Its messages go to standard error, the result is its output.
fn task(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Where the alias `xtask` is known.
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    command.args(["xtask", "cluster"]).args(arguments);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("failed to start cargo, which brings the cluster up")?;
    let shown = arguments.join(" ");
    ensure!(output.status.success(), "`cargo xtask cluster {shown}` ended with {}", output.status);
    String::from_utf8(output.stdout).context("the output of the cluster's tool is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_the_tool_is_read() {
        let text = r#"{
            "name": "b", "ready": true, "kubeconfig": "/k/b", "server": "https://10.90.0.11:6443", "nodes": [],
            "gateway": {"class": "contour", "namespace": "projectcontour", "name": "gateway", "address": "10.90.0.200",
                        "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
            "registry": {"push": "127.0.0.1:5105", "pull": "127.0.0.1:5105"},
            "networkPolicies": {"enforced": true}, "kubectl": "/k/kubectl"
        }"#;
        let cluster = parse(text).unwrap();
        assert_eq!((cluster.origin, &*cluster.name), (Origin::Built, "b"));
        assert_eq!(cluster.enforces_policies, Some(true));
        let gateway = cluster.gateway.unwrap();
        assert_eq!(gateway.listener("HTTP").map(|listener| listener.port), Some(80));
    }
}
