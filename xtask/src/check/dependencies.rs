//! The dependency rule: which crates may know which, and that the core knows no outside world.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};

use crate::workspace::{Workspace, cargo, output_of};

/// The crates that each library of the workspace may depend on. A crate that is not here has yet to be placed.
const EDGES: [(&str, &[&str]); 7] = [
    ("paas-core", &[]),
    ("paas-gateway", &[]),
    ("paas-registry", &["paas-core"]),
    ("paas-adapters", &["paas-core"]),
    ("paas-k8s", &["paas-core"]),
    ("paas-local", &["paas-core", "paas-gateway", "paas-registry"]),
    ("paas-sources", &["paas-core"]),
];

/// Where benches and journeys take their images and clusters from, and what lies before a cluster that is measured.
const SUPPORT: [&str; 3] = ["sample-images", "paas-cluster-harness", "paas-api-proxy"];

/// What `paas-core` must not reach, through whichever crate and feature.
const OUTSIDE_WORLD: [&str; 25] = [
    "axum",
    "curl",
    "h2",
    "http",
    "http-body",
    "hyper",
    "hyper-util",
    "k8s-openapi",
    "kube",
    "kube-client",
    "kube-core",
    "mio",
    "nix",
    "oci-client",
    "reqwest",
    "rusqlite",
    "rustix",
    "rustls",
    "socket2",
    "sqlx",
    "sqlx-core",
    "tokio-tungstenite",
    "tonic",
    "tower",
    "ureq",
];

/// The parts of tokio that do I/O.
const OUTSIDE_TOKIO: [&str; 6] = ["fs", "full", "io-std", "net", "process", "signal"];

/// Every edge between members is one that the architecture has. Tests may use more than the library does.
pub fn edges(workspace: &Workspace) -> Result<()> {
    let libraries = workspace.root.join("crates");
    let mut faults = Vec::new();
    for package in &workspace.packages {
        let is_library = package.folder().is_some_and(|folder| folder.starts_with(&libraries));
        let allowed = EDGES.iter().find(|(name, _)| *name == package.name).map(|(_, allowed)| *allowed);
        for dependency in package.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
            let for_tests = dependency.kind.as_deref() == Some("dev");
            let onto_library = EDGES.iter().any(|(name, _)| *name == dependency.name)
                || SUPPORT.contains(&&*dependency.name);
            if !onto_library && !for_tests {
                faults.push(format!("{} uses {}, which is no library", package.name, dependency.name));
            } else if is_library && !for_tests {
                match allowed {
                    None => faults.push(format!("{} has no place in xtask's table of edges", package.name)),
                    Some(allowed) if !allowed.contains(&dependency.name.as_str()) => {
                        faults.push(format!("{} must not use {}", package.name, dependency.name));
                    }
                    Some(_) => {}
                }
            }
        }
    }
    for fault in &faults {
        eprintln!("    {fault}");
    }
    ensure!(faults.is_empty(), "{} edges that the architecture does not have", faults.len());
    Ok(())
}

/// `paas-core` reaches no Kubernetes, HTTP, SQL, process or file, whatever its features.
///
/// Taken from cargo's resolution for this one package: in the workspace's own graph the features of all members
/// are united, and everyone's tokio has a network.
pub fn core_is_pure(workspace: &Workspace) -> Result<()> {
    let mut faults = BTreeSet::new();
    for features in [&[][..], &["--all-features"], &["--no-default-features"]] {
        let mut command = cargo();
        command.current_dir(&workspace.root);
        command.args([
            "tree",
            "--locked",
            "--package",
            "paas-core",
            "--edges",
            "normal,build",
            "--target",
            "all",
        ]);
        command.args(["--prefix", "none", "--no-dedupe", "--format", "{p}|{f}"]).args(features);
        let graph = String::from_utf8(output_of(&mut command)?)?;
        ensure!(graph.lines().count() > 10, "`cargo tree` names no dependencies: {graph:?}");
        faults.extend(impurities(&graph).into_iter().map(|fault| match features {
            [] => format!("with default features: {fault}"),
            [flag, ..] => format!("with {flag}: {fault}"),
        }));
    }
    for fault in &faults {
        eprintln!("    {fault}");
    }
    if !faults.is_empty() {
        bail!("paas-core reaches the outside world; `cargo tree -p paas-core -i <crate>` shows how");
    }
    Ok(())
}

/// The forbidden crates and features in lines of `name version …|feature,feature`.
fn impurities(graph: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in graph.lines() {
        let (package, features) = line.split_once('|').unwrap_or((line, ""));
        let name = package.split(' ').next().unwrap_or_default();
        if OUTSIDE_WORLD.contains(&name) {
            found.insert(format!("uses {name}"));
        }
        if name == "tokio" {
            let outside = features.split(',').filter(|feature| OUTSIDE_TOKIO.contains(feature));
            found.extend(outside.map(|feature| format!("uses tokio's `{feature}`")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_crate_and_a_forbidden_feature_are_found() {
        let graph =
            "paas-core v0.1.0 (path)|default\ntokio v1.54.0|default,net,time\nhyper v1.0.0|\nhex v0.4.0|";
        let found: Vec<String> = impurities(graph).into_iter().collect();
        assert_eq!(found, ["uses hyper", "uses tokio's `net`"]);
    }

    #[test]
    fn a_crate_whose_name_only_starts_so_is_not_forbidden() {
        assert!(impurities("http-range-header v1.0.0|\ntokio-stream v0.1.0|net").is_empty());
    }
}
