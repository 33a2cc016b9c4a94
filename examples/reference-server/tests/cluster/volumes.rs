//! Volumes of a test: of a cluster's default class or, on a cluster of `tests/cluster`, which has none, made by hand.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use paas_cluster_harness::{Origin, TestCluster};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::journey::Who;
use crate::platform::{Platform, Setup};

/// Volumes, which go with this.
pub struct Volumes {
    cluster: &'static TestCluster,
    /// The folder of the volumes, whose name is that of their class; none where the cluster makes them.
    folder: Option<TempDir>,
    names: Vec<String>,
}

impl Volumes {
    /// So many volumes on the only node of the cluster, which is this machine.
    pub fn make(cluster: &'static TestCluster, count: usize) -> Self {
        if cluster.origin != Origin::Built {
            return Self { cluster, folder: None, names: Vec::new() };
        }
        let folder = tempfile::Builder::new().prefix("paas-volumes-").rand_bytes(8).tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let class = class_of(&folder);
        let names: Vec<String> = (0..count).map(|number| format!("{class}-{number}")).collect();
        let objects = names.iter().map(|name| {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
            json!({
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": { "name": name },
                "spec": {
                    "capacity": { "storage": "16Mi" },
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": class,
                    "persistentVolumeReclaimPolicy": "Retain",
                    "hostPath": { "path": path, "type": "Directory" },
                },
            })
        });
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects.collect::<Vec<Value>>() });
        let mut command = cluster.kubectl().unwrap();
        let mut child = command.args(["create", "--filename", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(list.to_string().as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "the volumes could not be made");
        Self { cluster, folder: Some(folder), names }
    }

    /// A server whose environment is on the cluster, with these volumes.
    pub fn start(&self) -> Platform {
        let setup = Setup::new(Who::Root);
        match &self.folder {
            Some(folder) => setup.on_with_volumes(self.cluster, Some(&class_of(folder))),
            None => setup.on_with_volumes(self.cluster, None),
        }
        .start()
    }
}

/// Names of objects have no upper case.
fn class_of(folder: &TempDir) -> String {
    folder.path().file_name().unwrap().to_string_lossy().to_lowercase()
}

impl Drop for Volumes {
    fn drop(&mut self) {
        if self.names.is_empty() {
            return;
        }
        let words = ["delete", "persistentvolume", "--ignore-not-found", "--wait=false"];
        let deleted = self.cluster.kubectl().map(|mut it| it.args(words).args(&self.names).status());
        if !matches!(deleted, Ok(Ok(status)) if status.success()) {
            eprintln!("the volumes {:?} are left behind", self.names);
        }
    }
}
