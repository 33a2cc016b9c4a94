//! The machine under the suites of [`Runtime`] and [`Router`].

use std::sync::Arc;

use async_trait::async_trait;
use paas_core::conformance::router::{Answer, RouterFixture};
use paas_core::conformance::runtime::{RuntimeFixture, Workload};
use paas_core::model::{RevisionId, Template};
use paas_core::port::{
    InstanceId, Router, RouterCapabilities, Runtime, RuntimeCapabilities, SetKey, Traffic,
};
use paas_core::{Bytes, ComponentKey, TrackKey};

use super::fixture::{EPOCH, Fixture, get, ok, plain};

#[async_trait]
impl RuntimeFixture for Fixture {
    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(self.machine())
    }

    fn required(&self) -> RuntimeCapabilities {
        // An ordinary user has limits only where control groups were delegated.
        let root = rustix::process::geteuid().is_root();
        RuntimeCapabilities {
            fenced: true,
            cpu_limits: root,
            memory_limits: root,
            storage_limits: false,
            volumes: true,
            runs: true,
            interactive_runs: true,
            survives_server: true,
            manifests: false,
            ordered_sets: true,
        }
    }

    async fn template(&self, component: &ComponentKey, workload: Workload) -> Template {
        match workload {
            Workload::Ready => self.web(component),
            Workload::NeverReady => Fixture::template(self, component, &["sleep"]),
            Workload::Ends(code) => Fixture::template(self, component, &["exit", &code.to_string()]),
            Workload::Lingers => {
                let mut template = self.web(component);
                template.env.insert("LINGER_MS".to_owned(), plain("1000"));
                template
            }
            Workload::UsesTooMuchMemory => {
                let mut template = Fixture::template(self, component, &["alloc", "256"]);
                template.resources.memory = Some(Bytes::new(32 << 20));
                template
            }
            Workload::MissingImage => {
                let mut template = self.web(component);
                template.image = template.image.replace(":1", ":missing");
                template.digest = format!("sha256:{}", "0".repeat(64));
                template
            }
            other => unimplemented!("{other:?}"),
        }
    }

    async fn kill(&self, instance: &InstanceId) {
        self.kill_process(instance);
    }

    async fn reopened(&self) -> Option<Arc<dyn Runtime>> {
        self.machine().close().await;
        Some(Arc::new(self.open_again().await))
    }
}

#[async_trait]
impl RouterFixture for Fixture {
    fn router(&self) -> Arc<dyn Router> {
        Arc::new(self.machine())
    }

    fn traffic(&self) -> Option<Arc<dyn Traffic>> {
        Some(Arc::new(self.machine()))
    }

    fn required(&self) -> RouterCapabilities {
        RouterCapabilities {
            fenced: true,
            weights: true,
            matches: false,
            mirror: false,
            tcp: true,
            wildcard_hosts: true,
        }
    }

    async fn serve(&self, track: &TrackKey, revision: &RevisionId, count: u32) {
        let mut template = self.web(&track.component);
        template.env.insert("REVISION".to_owned(), plain(revision.as_str()));
        let key = SetKey { track: track.clone(), revision: revision.clone() };
        self.ensure_revision(track.clone(), revision, template, count).await;
        ok(self.machine().scale(EPOCH, &key, count.into()).await);
        self.until_ready(&key, count as usize).await;
    }

    async fn request(&self, host: &str, path: &str) -> Answer {
        match self.get(host, path).await {
            (200, body) => Answer::Served(super::fixture::revision(&body)),
            (status, _) => Answer::Refused(status),
        }
    }

    async fn connect(&self, port: u16) -> Answer {
        let address = std::net::SocketAddr::new(self.machine().gateway_address().ip(), port);
        match get(address, "anything", "/").await {
            Ok((200, body)) => Answer::Served(super::fixture::revision(&body)),
            _ => Answer::Refused(0),
        }
    }

    fn free_port(&self) -> u16 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("it is bound").port()
    }
}
