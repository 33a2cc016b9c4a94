//! `clusters PAAS SAMPLE`: how long a version takes to be live on a real cluster, beside what `kubectl apply` takes for the
//! same Deployment.
//!
//! Pairs are interleaved, so that both sides meet the same machine. The nodes have the images already. Each of the platform's
//! figures is the wall-clock time of one command line that waits until the version has all traffic; each of kubectl's that of
//! `kubectl apply` and `kubectl rollout status`. Prints a table in Markdown.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use paas_benches::{Backend, Platform, RUNS, row};
use paas_cluster_harness::TestCluster;
use serde_json::{Value, json};

/// Where kubectl's own Deployments are.
const NAMESPACE: &str = "paas-bench-plain";
/// How many instances a version has.
const INSTANCES: u32 = 3;

fn main() -> Result<()> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let (Some(paas), Some(sample), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        bail!("usage: clusters PAAS SAMPLE (the binary `paas` and the sample's static binary)");
    };
    let bench = Bench::start(&paas, &sample)?;
    let outcome = bench.measure();
    bench.end()?;
    let rows = outcome?;
    println!("| what | median of {RUNS} | least | most |\n|---|---|---|---|");
    for (what, times) in &rows {
        println!("{}", row(what, times));
    }
    for pair in rows.chunks(2) {
        let [ours, theirs] = [0, 1].map(|side| pair[side].1[RUNS / 2].as_secs_f64());
        println!("{} takes {:.2} times as long as {}", pair[0].0, ours / theirs, pair[1].0);
    }
    Ok(())
}

struct Bench {
    platform: Platform,
    cluster: TestCluster,
    images: [String; 2],
}

impl Bench {
    fn start(paas: &Path, sample: &Path) -> Result<Self> {
        let cluster = paas_cluster_harness::cluster()?;
        let gateway = cluster.gateway.as_ref().context("the cluster has no Gateway")?;
        let registry = cluster.registry.as_ref().context("the cluster has no registry to push to")?;
        let platform = Platform::start(paas, Backend::None)?;
        let layout = platform.folder().join("images");
        sample_images::write_layout(sample, &layout)?;
        cluster.push(&layout, "bench/sample")?;
        let images = ["1", "2"].map(|version| format!("{}/bench/sample:{version}", registry.pull));
        let kubeconfig = cluster.kubeconfig.to_str().context("the kubeconfig's path is not UTF-8")?;
        let gateway = format!("{}/{}", gateway.namespace, gateway.name);
        let add = ["cluster", "add", "k8s", "--kubeconfig", kubeconfig];
        platform.run(&[&add[..], &["--gateway", &gateway, "--domain", "bench.test"]].concat())?;
        platform.run(&["env", "create", "bench", "--cluster", "k8s"])?;
        Ok(Self { platform, cluster, images })
    }

    fn measure(&self) -> Result<Vec<(&'static str, Vec<Duration>)>> {
        self.kubectl(&["create", "namespace", NAMESPACE], None)?;
        let file = self.specification()?;
        self.platform.run(&["deploy", "shop", "--create", "--file", &file, "--wait"])?;
        let plain = self.plain()?;
        let mut rows = [
            ("`paas deploy` of a new application", Vec::new()),
            ("`kubectl apply` of its Deployment", Vec::new()),
            ("`paas deploy` of the next version", Vec::new()),
            ("`kubectl apply` of it, a rolling update", Vec::new()),
        ];
        // The first of each does not count.
        for index in 0..=RUNS {
            let app = format!("app{index}");
            let ours = self.platform.run(&["deploy", &app, "--create", "--file", &file, "--wait"])?;
            let theirs = self.apply(&named(&plain, &app, &self.images[0]), &app)?;
            let image = format!("web={}", self.images[1]);
            let next = self.platform.run(&["deploy", &app, "--image", &image, "--wait"])?;
            let next_theirs = self.apply(&named(&plain, &app, &self.images[1]), &app)?;
            if index > 0 {
                for (row, took) in rows.iter_mut().zip([ours, theirs, next, next_theirs]) {
                    row.1.push(took);
                }
            }
            self.platform.run(&["delete", &app, "--yes", "--wait"])?;
            self.kubectl(&["-n", NAMESPACE, "delete", "deployment", "--wait", &app], None)?;
        }
        for (_, times) in &mut rows {
            times.sort();
        }
        Ok(rows.into())
    }

    fn specification(&self) -> Result<String> {
        let file = self.platform.folder().join("app.yaml");
        let image = &self.images[0];
        let text = format!(
            "components:\n  - name: web\n    image: {image}\n    args: [web]\n    ports: [{{ name: http, number: 8080 }}]\n    \
             instances: {{ count: {INSTANCES} }}\n    probes: {{ readiness: {{ http: {{ path: /readyz }}, period_seconds: 1 }} }}\n\
             routes: [{{ name: web, component: web }}]\n"
        );
        fs::write(&file, text)?;
        Ok(file.to_string_lossy().into_owned())
    }

    /// The Deployment that the platform has made, without what ties it to the platform.
    fn plain(&self) -> Result<Value> {
        let text = self.kubectl(&["get", "deployments", "--all-namespaces", "-o", "json"], None)?;
        let all: Value = serde_json::from_str(&text).context("failed to read the Deployments")?;
        let found = all["items"].as_array().into_iter().flatten().find(|it| {
            let image = &it["spec"]["template"]["spec"]["containers"][0]["image"];
            image.as_str().is_some_and(|image| image.contains("bench/sample"))
        });
        let mut spec = found.context("the platform has made no Deployment")?["spec"].clone();
        spec["template"]["metadata"] = json!({});
        // Ours is never updated; kubectl's is, in Kubernetes' own way.
        spec["strategy"] = Value::Null;
        Ok(spec)
    }

    /// Applies a Deployment and waits until all of its pods are ready.
    fn apply(&self, deployment: &Value, name: &str) -> Result<Duration> {
        let started = Instant::now();
        self.kubectl(&["apply", "-f", "-"], Some(&deployment.to_string()))?;
        let wait = ["-n", NAMESPACE, "rollout", "status", "--timeout=60s"];
        self.kubectl(&[&wait[..], &[&format!("deployment/{name}")]].concat(), None)?;
        Ok(started.elapsed())
    }

    fn kubectl(&self, arguments: &[&str], input: Option<&str>) -> Result<String> {
        let mut command = self.cluster.kubectl()?;
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = output(&mut command, input.unwrap_or_default()).context("failed to run kubectl")?;
        ensure!(
            output.status.success(),
            "`kubectl {}` ended with {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).context("kubectl's output is not UTF-8")
    }

    /// Takes everything down that was started.
    fn end(self) -> Result<()> {
        self.platform.run(&["delete", "shop", "--yes", "--wait"])?;
        self.platform.run(&["env", "delete", "bench", "--yes"])?;
        self.kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found"], None)?;
        self.platform.end()
    }
}

fn output(command: &mut Command, input: &str) -> std::io::Result<std::process::Output> {
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    child.wait_with_output()
}

/// The Deployment under a name, with an image.
fn named(spec: &Value, name: &str, image: &str) -> Value {
    let mut spec = spec.clone();
    let labels = json!({ "bench": name });
    spec["replicas"] = json!(INSTANCES);
    spec["selector"] = json!({ "matchLabels": labels });
    spec["template"]["metadata"] = json!({ "labels": labels });
    spec["template"]["spec"]["containers"][0]["image"] = json!(image);
    // It spreads and pulls as the platform's does; whose pods it spreads against is said by labels.
    for spread in spec["template"]["spec"]["topologySpreadConstraints"].as_array_mut().into_iter().flatten() {
        spread["labelSelector"] = json!({ "matchLabels": labels });
    }
    let metadata = json!({ "name": name, "namespace": NAMESPACE });
    json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec })
}
