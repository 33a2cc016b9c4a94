//! Two clusters, of which one is cut off from the server for a minute in the middle of a release.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use paas_api_proxy::{Fault, Proxy, Selection};
use paas_cluster_harness::TestCluster;
use paas_k8s::kube::config::{KubeConfigOptions, Kubeconfig};
use paas_k8s::kube::{Client, Config};
use tempfile::TempDir;

use crate::application::only;
use crate::journey::Who;
use crate::place;
use crate::platform::{Setup, eventually};
use crate::sample;
use crate::specification::Web;

/// For how long the second cluster is away.
const AWAY: Duration = Duration::from_mins(1);
/// In what time the other cluster has the new version, whatever becomes of this one.
const DELAYED: Duration = Duration::from_secs(20);

/// A proxy before the API server of a cluster, which is the only way that the server knows.
struct Behind {
    runtime: tokio::runtime::Runtime,
    proxy: Proxy,
    kubeconfig: PathBuf,
    _folder: TempDir,
}

impl Behind {
    fn new(cluster: &TestCluster) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let proxy = runtime.block_on(async {
            let read = Kubeconfig::read_from(&cluster.kubeconfig).unwrap();
            let chosen = KubeConfigOptions::default();
            let mut config = Config::from_custom_kubeconfig(read, &chosen).await.unwrap();
            config.default_retry = false;
            Proxy::start(Client::try_from(config).unwrap()).await.unwrap()
        });
        let folder = tempfile::Builder::new().prefix("paas-behind-").tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, paas_k8s::fake::kubeconfig(proxy.address())).unwrap();
        Self { runtime, proxy, kubeconfig, _folder: folder }
    }

    /// Nothing gets through and nothing is refused, as when packets are lost.
    fn cut_off(&self) {
        let _in_runtime = self.runtime.enter();
        self.proxy.inject(Selection::all(), Fault::Hangs);
    }
}

pub fn one_cluster_is_away() {
    let mut clusters = place::get(2).expect("two clusters");
    let behind = Behind::new(&clusters[1]);
    clusters[1].kubeconfig.clone_from(&behind.kubeconfig);
    let platform = Setup::new(Who::Root).on(&clusters).start();
    let images = sample::pushed(&platform, place::first(), &["1", "2"]);
    let gateway = clusters[1].gateway.as_ref().expect("the second cluster has a Gateway");
    let second = SocketAddr::new(gateway.address, 80);
    platform.deploy_ok("shop", &Web::new(&images[0], 2).yaml());
    assert_eq!(platform.versions("shop", 5), only("1"));
    assert_eq!(platform.versions_at(second, "shop", 5), only("1"));

    behind.cut_off();
    let begun = Instant::now();
    let file = platform.specify(&Web::new(&images[1], 2).yaml());
    platform.ok(["deploy", "shop", "-f", &file]);
    eventually("the cluster that is there has the new version", || {
        (platform.versions("shop", 5) == only("2")).then_some(())
    });
    println!("the other cluster has the new version after {:?}", begun.elapsed());
    assert!(begun.elapsed() < DELAYED, "a cluster that is away delayed the other: {:?}", begun.elapsed());
    eventually("the status names the cluster that is away", || {
        let status = platform.ok(["status", "shop"]);
        (status.contains(&clusters[1].name) && status.contains("since")).then_some(())
    });
    while begun.elapsed() < AWAY {
        assert_eq!(platform.versions_at(second, "shop", 5), only("1"), "what runs there serves on");
        std::thread::sleep(Duration::from_secs(1)); // the absence is what is tested
    }
    behind.proxy.heal();
    eventually("the cluster that was away follows", || {
        (platform.versions_at(second, "shop", 5) == only("2")).then_some(())
    });
    eventually("all is as declared", || {
        let status = platform.json(["status", "shop"]);
        (status["state"] == "running" && status["reasons"] == serde_json::json!([])).then_some(())
    });
    let releases = platform.json(["releases", "shop"]);
    assert_eq!(releases.as_array().map(Vec::len), Some(2), "nobody had to release it again: {releases}");
    assert_eq!(platform.versions("shop", 5), only("2"));
    platform.ok(["delete", "shop", "--yes", "--wait", "--timeout", "60s"]);
}
