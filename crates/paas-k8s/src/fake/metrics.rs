//! What a metrics server tells.

use serde_json::{Value, json};

use super::kinds::Kind;

/// The figures of a pod that runs: each container uses a hundredth of a processor and 16 MiB.
pub(super) fn of_pod(kind: &Kind, pod: &Value) -> Option<Value> {
    let runs = pod["status"]["phase"] == "Running";
    let usage = |container: &Value| json!({ "name": container["name"], "usage": { "cpu": "10000000n", "memory": "16384Ki" } });
    let containers: Vec<Value> =
        pod["spec"]["containers"].as_array().into_iter().flatten().map(usage).collect();
    let meta = &pod["metadata"];
    runs.then(|| {
        json!({
            "apiVersion": kind.api_version(),
            "kind": kind.kind,
            "metadata": { "name": meta["name"], "namespace": meta["namespace"], "labels": meta["labels"] },
            "window": "15s",
            "containers": containers,
        })
    })
}
