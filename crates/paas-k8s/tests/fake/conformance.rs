//! The promises of the ports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use paas_core::conformance::exec::{Command, ExecFixture};
use paas_core::conformance::logs::LogsFixture;
use paas_core::conformance::router::{Answer, RouterFixture};
use paas_core::conformance::runtime::{RuntimeFixture, Workload};
use paas_core::conformance::surroundings::SurroundingsFixture;
use paas_core::memory::{Ending, Image};
use paas_core::model::{Port, RestartPolicy, RevisionId, Template, Termination};
use paas_core::port::{
    ClusterPorts, Epoch, Exec, InstanceId, Logs, Router, RouterCapabilities, RunInput, RunObservation,
    RunSpec, Runtime, RuntimeCapabilities, Traffic,
};
use paas_core::{ComponentKey, EnvRef, TrackKey};
use paas_k8s::fake::Reply;
use paas_k8s::kube::Api;
use paas_k8s::kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use super::fixture::{DOMAIN, Fixture, ROUTER, RUNTIME, http, ok, open, options};

#[async_trait]
impl RuntimeFixture for Fixture {
    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(self.cluster.clone())
    }

    fn required(&self) -> RuntimeCapabilities {
        RUNTIME
    }

    fn restart_policies(&self) -> Vec<RestartPolicy> {
        vec![RestartPolicy::Always]
    }

    async fn template(&self, component: &ComponentKey, workload: Workload) -> Template {
        let soon = Duration::from_millis(20);
        match workload {
            Workload::Ready => self.ready(component),
            Workload::NeverReady => self.template(component, "never:1", Image::new().never_ready()),
            Workload::Ends(code) => self.template(
                component,
                &format!("ends:{code}"),
                Image::new().with_end(soon, Ending::Exit(code)),
            ),
            Workload::Lingers => Template {
                termination: Termination { drain_seconds: 1, grace_seconds: 10 },
                ..self.template(component, "lingers:1", Image::new().with_ready_after(soon))
            },
            Workload::UsesTooMuchMemory => {
                self.template(component, "hog:1", Image::new().with_end(soon, Ending::OutOfMemory))
            }
            Workload::MissingImage => {
                let mut template = self.template(component, "ready:1", Image::new());
                "missing:1".clone_into(&mut template.image);
                template.digest = format!("sha256:{}", "0".repeat(64));
                template
            }
            other => unimplemented!("{other:?}"),
        }
    }

    async fn kill(&self, instance: &InstanceId) {
        Fixture::kill(self, instance);
    }

    async fn reopened(&self) -> Option<Arc<dyn Runtime>> {
        Some(Arc::new(open(&self.fake, options()).await))
    }

    async fn objects(&self, track: &TrackKey) -> Option<BTreeSet<String>> {
        let api: Api<ConfigMap> = Api::all(self.fake.client());
        let labels = format!("{DOMAIN}/role=manifest,{DOMAIN}/app={}", track.component.at.app);
        let found = api.list(&ListParams::default().labels(&labels)).await.unwrap();
        Some(found.items.into_iter().filter_map(|it| it.metadata.name).collect())
    }

    fn patience(&self) -> Duration {
        Duration::from_mins(10)
    }
}

fn answer(reply: Reply) -> Answer {
    match reply {
        Reply::Served { labels, .. } => {
            Answer::Served(RevisionId::new(labels[&format!("{DOMAIN}/revision")].clone()).unwrap())
        }
        Reply::Refused(status) => Answer::Refused(status),
        other => unimplemented!("{other:?}"),
    }
}

#[async_trait]
impl RouterFixture for Fixture {
    fn router(&self) -> Arc<dyn Router> {
        Arc::new(self.cluster.clone())
    }

    fn traffic(&self) -> Option<Arc<dyn Traffic>> {
        None
    }

    fn required(&self) -> RouterCapabilities {
        ROUTER
    }

    async fn serve(&self, track: &TrackKey, revision: &RevisionId, count: u32) {
        let mut spec = self.spec(track, "r1", count);
        spec.key.revision = revision.clone();
        ok(self.cluster.ensure(Epoch(1), &spec).await);
        ok(self.cluster.scale(Epoch(1), &spec.key, count.into()).await);
        self.until_ready(&spec.key, count as usize).await;
        // The router learns of pods by its watch and writes the routes anew.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }

    async fn request(&self, host: &str, path: &str) -> Answer {
        answer(self.fake.request(host, path))
    }

    async fn connect(&self, port: u16) -> Answer {
        answer(self.fake.connect(port))
    }

    fn free_port(&self) -> u16 {
        7301
    }

    fn port(&self) -> Port {
        http()
    }
}

#[async_trait]
impl LogsFixture for Fixture {
    fn logs(&self) -> Arc<dyn Logs> {
        Arc::new(self.cluster.clone())
    }

    async fn start(&self, track: &TrackKey) -> InstanceId {
        self.one_more(track).await
    }

    async fn print(&self, instance: &InstanceId, text: &str) {
        assert!(self.fake.print(&instance.0, text));
    }

    async fn restart(&self, instance: &InstanceId) {
        Fixture::kill(self, instance);
        tokio::time::sleep(Duration::from_mins(2)).await;
    }

    fn patience(&self) -> Duration {
        Duration::from_mins(10)
    }
}

#[async_trait]
impl ExecFixture for Fixture {
    fn exec(&self) -> Arc<dyn Exec> {
        Arc::new(self.cluster.clone())
    }

    async fn start(&self, track: &TrackKey) -> InstanceId {
        self.one_more(track).await
    }

    async fn run(&self, track: &TrackKey, command: Command, input: RunInput) -> Option<InstanceId> {
        let id = InstanceId(format!("run-of-{}", track.component.at.app));
        let spec = RunSpec {
            id: id.clone(),
            track: track.clone(),
            template: self.ready(&track.component),
            command: Some(self.words(&command)),
            env: BTreeMap::new(),
            input,
            labels: BTreeMap::new(),
        };
        ok(self.cluster.start_run(Epoch(1), &spec).await);
        Some(id)
    }

    async fn observe_run(&self, run: &InstanceId) -> Option<RunObservation> {
        ok(self.cluster.observe_run(run).await)
    }

    fn words(&self, command: &Command) -> Vec<String> {
        let words = match command {
            Command::Echo(text) => vec!["echo", text],
            Command::Warn(text) => vec!["warn", text],
            Command::Cat => vec!["cat"],
            Command::Env => vec!["env"],
            Command::Exit(3) => vec!["exit", "3"],
            Command::Exit(5) => vec!["exit", "5"],
            Command::Exit(_) => vec!["exit", "0"],
            Command::Sleep => vec!["sleep", "3600"],
            Command::Size => vec!["size"],
            Command::AskedSize => vec!["asked-size"],
            Command::Missing => vec!["no-such-command"],
            other => unimplemented!("{other:?}"),
        };
        words.into_iter().map(str::to_owned).collect()
    }

    async fn still_runs(&self, instance: &InstanceId, _: &Command) -> Option<bool> {
        Some(self.fake.commands_in(&instance.0) > 0)
    }
}

#[async_trait]
impl SurroundingsFixture for Fixture {
    fn ports(&self) -> ClusterPorts {
        self.cluster.ports()
    }

    fn required(&self) -> [bool; 3] {
        [true, true, true]
    }

    fn moves(&self) -> bool {
        true
    }

    async fn start(&self, track: &TrackKey) -> InstanceId {
        self.one_more(track).await
    }

    async fn disturb(&self, env: &EnvRef) {
        let namespaces: Api<Namespace> = Api::all(self.fake.client());
        let all = namespaces.list(&ListParams::default()).await.unwrap();
        let of_env = |it: &Namespace| {
            it.metadata
                .labels
                .iter()
                .flatten()
                .any(|(key, value)| key == "paas.example.org/org" && value == env.org.as_str())
        };
        let name = all.items.into_iter().find(of_env).unwrap().metadata.name.unwrap();
        let weaker =
            json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "privileged" } } });
        namespaces.patch(&name, &PatchParams::default(), &Patch::Merge(weaker)).await.unwrap();
    }
}

mod runtime {
    use super::Fixture;
    paas_core::runtime_conformance!(
        #[tokio::test(start_paused = true)] => Fixture::new().await
    );
}

mod router {
    use super::Fixture;
    paas_core::router_conformance!(
        #[tokio::test(start_paused = true)] => Fixture::new().await
    );
}

mod logs {
    use super::Fixture;
    paas_core::logs_conformance!(
        #[tokio::test(start_paused = true)] => Fixture::new().await
    );
}

mod exec {
    use super::Fixture;
    paas_core::exec_conformance!(
        #[tokio::test(start_paused = true)] => Fixture::new().await
    );
}

mod surroundings {
    use super::Fixture;
    paas_core::surroundings_conformance!(
        #[tokio::test(start_paused = true)] => Fixture::new().await
    );
}
