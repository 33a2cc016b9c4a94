//! What the backend promises beyond the ports' suites: connections to an instance's port, the cluster's own events, volumes
//! that outlive instances and revisions, and traffic that nobody declared.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use libtest_mimic::{Failed, Trial};
use paas_core::conformance::router::RouterFixture;
use paas_core::conformance::runtime::{RuntimeFixture, Workload};
use paas_core::model::{CallTarget, RevisionId, VolumeMount};
use paas_core::port::{
    Backend, Epoch, InstanceId, Router as _, Runtime, ServiceState, ServiceTraffic, SetKey, SetSpec, Spaces,
};
use paas_core::{Bytes, ErrorKind, TrackKey};
use paas_k8s::kube::Api;
use paas_k8s::kube::api::{DeleteParams, ListParams, PostParams};
use paas_k8s::{SpaceOptions, VolumeOptions};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::fixture::{Fixture, Place, ok};

const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, test: for<'a> fn(&'a Fixture) -> LocalBoxFuture<'a, ()>| {
        Trial::test(format!("backend::{name}"), move || {
            run(|place| Fixture::new(place).boxed_local(), move |fixture, _| test(fixture))
        })
    };
    vec![
        trial("a_port_of_an_instance_is_reached_through_the_api_server", |it| forward(it).boxed_local()),
        trial("what_the_cluster_noticed_of_a_track_is_told", |it| events(it).boxed_local()),
        Trial::test("backend::a_volume_outlives_instances_and_revisions", || {
            run(with_volumes, |fixture, place| volumes(fixture, place).boxed_local())
        }),
        Trial::test("backend::traffic_that_nobody_declared_is_denied", || {
            let isolated = |place| {
                Fixture::with(place, |options, _| options.with_space(SpaceOptions::default().isolated()))
            };
            run(
                |place| isolated(place).boxed_local(),
                |fixture, place| isolation(fixture, place).boxed_local(),
            )
        }),
    ]
}

/// Opens a corner of the cluster, lets a check have it, and leaves nothing.
fn run(
    open: impl FnOnce(&'static Place) -> LocalBoxFuture<'static, Fixture>,
    check: impl for<'a> FnOnce(&'a Fixture, &'static Place) -> LocalBoxFuture<'a, ()>,
) -> Result<(), Failed> {
    let place = Place::get()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let fixture = open(place).await;
        let outcome = std::panic::AssertUnwindSafe(check(&fixture, place)).catch_unwind().await;
        if outcome.is_ok() {
            fixture.close().await;
        }
        outcome.map_err(|panic| match panic.downcast::<String>() {
            Ok(text) => Failed::from(*text),
            Err(other) => Failed::from(*other.downcast::<&str>().unwrap_or(Box::new("it panicked"))),
        })
    })
}

fn track(component: &str) -> TrackKey {
    format!("conformance/test/backend/{component}@local").parse().unwrap()
}

async fn set(fixture: &Fixture, component: &str, revision: &str) -> SetSpec {
    let key = SetKey { track: track(component), revision: RevisionId::new(revision).unwrap() };
    let template = RuntimeFixture::template(fixture, &key.track.component, Workload::Ready).await;
    SetSpec { key, template, count: 1, first: 0, labels: std::collections::BTreeMap::new() }
}

/// Makes a set and waits for its only instance.
async fn start(fixture: &Fixture, set: &SetSpec) -> InstanceId {
    ok(Runtime::ensure(&fixture.cluster, Epoch(1), set).await);
    fixture.until_ready(&set.key, 1).await.instances[0].id.clone()
}

async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(Instant::now() < end, "it never came about that {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn forward(fixture: &Fixture) {
    let set = set(fixture, "web", "r1").await;
    let nobody = fixture.cluster.forward(&set.key.track, None, 8080).await;
    assert_eq!(nobody.map(drop).unwrap_err().kind(), ErrorKind::NotFound, "nobody is ready yet");
    let instance = start(fixture, &set).await;
    // The one that is named, any, and both at once: each connection is one of its own.
    let (mut named, mut any) = futures::join!(
        async { ok(fixture.cluster.forward(&set.key.track, Some(&instance), 8080).await) },
        async { ok(fixture.cluster.forward(&set.key.track, None, 8080).await) }
    );
    for stream in [&mut named, &mut any] {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("revision=r1"), "{answer}");
    }
    let stranger = InstanceId("nobody".to_owned());
    let answer = fixture.cluster.forward(&set.key.track, Some(&stranger), 8080).await;
    assert_eq!(answer.map(drop).unwrap_err().kind(), ErrorKind::NotFound);
}

async fn events(fixture: &Fixture) {
    let good = set(fixture, "web", "r1").await;
    let instance = start(fixture, &good).await;
    let started = format!("Pod/{instance}");
    let of_good = eventually("the start of an instance is told", async || {
        let all = ok(fixture.cluster.events(&good.key.track).await);
        all.iter().any(|event| event.object == started && event.reason == "Started").then_some(all)
    })
    .await;
    assert!(of_good.is_sorted_by_key(|event| event.at), "the oldest is first: {of_good:#?}");
    // A test beside this one may have closed the only node for a moment.
    let failed = |reason: &str| reason.starts_with("Fail") && reason != "FailedScheduling";
    assert!(!of_good.iter().any(|event| event.warning && failed(&event.reason)), "{of_good:#?}");

    let mut bad = set(fixture, "api", "r1").await;
    bad.template = RuntimeFixture::template(fixture, &bad.key.track.component, Workload::MissingImage).await;
    ok(Runtime::ensure(&fixture.cluster, Epoch(1), &bad).await);
    eventually("a warning says that there is no such image", async || {
        let all = ok(fixture.cluster.events(&bad.key.track).await);
        all.into_iter().find(|event| event.warning && event.message.contains("sha256:0000"))
    })
    .await;
    let again = ok(fixture.cluster.events(&good.key.track).await);
    assert!(!again.iter().any(|event| event.message.contains("sha256:0000")), "it is another track's");
}

/// A fixture whose volumes are of the cluster's default class, or on a cluster of `tests/cluster`, which has none, of one that
/// the test makes.
fn with_volumes(place: &'static Place) -> LocalBoxFuture<'static, Fixture> {
    async move {
        let volume = |class: Option<String>| {
            let options = VolumeOptions::new(Bytes::from_mebi(16));
            class.into_iter().fold(options, VolumeOptions::with_storage_class)
        };
        let fixture = Fixture::with(place, |options, installation| {
            options.with_volumes(volume(place.is_built().then(|| installation.to_owned())))
        })
        .await;
        if place.is_built() {
            let folder = folder(&fixture);
            fs::create_dir(&folder).unwrap();
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
            let made: PersistentVolume = serde_json::from_value(json!({
                "metadata": { "name": fixture.installation },
                "spec": {
                    "capacity": { "storage": "16Mi" },
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": fixture.installation,
                    "persistentVolumeReclaimPolicy": "Retain",
                    "hostPath": { "path": folder, "type": "Directory" },
                },
            }))
            .unwrap();
            let api: Api<PersistentVolume> = Api::all(fixture.cluster.client().clone());
            api.create(&PostParams::default(), &made).await.unwrap();
        }
        fixture
    }
    .boxed_local()
}

/// Where the volume of a test lies, on this machine.
fn folder(fixture: &Fixture) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("paas-volume-{}", fixture.installation))
}

async fn volumes(fixture: &Fixture, place: &'static Place) {
    let cluster = &fixture.cluster;
    let with_volume = async |revision: &str| {
        let mut set = set(fixture, "web", revision).await;
        let path = "/data".to_owned();
        set.template.volumes = vec![VolumeMount { name: "data".parse().unwrap(), path, read_only: false }];
        set
    };
    let (first, second) = (with_volume("r1").await, with_volume("r2").await);
    let instance = start(fixture, &first).await;
    assert_eq!(
        fixture.script(&instance, "echo kept > /data/file && cat /data/file").await.as_deref(),
        Some("kept\n")
    );
    RuntimeFixture::kill(fixture, &instance).await;
    eventually("an instance that was ended sees its volume again", async || {
        let text = fixture.script(&instance, "cat /data/file").await?;
        (text == "kept\n").then_some(())
    })
    .await;
    ok(Runtime::remove(cluster, Epoch(1), &first.key).await);
    let instance = start(fixture, &second).await;
    let text = fixture.script(&instance, "cat /data/file").await;
    assert_eq!(text.as_deref(), Some("kept\n"), "the next revision has the same volume");

    let space = track("web").component.at.env_ref();
    ok(Runtime::remove(cluster, Epoch(1), &second.key).await);
    eventually("the set is gone", async || {
        ok(cluster.observe(&track("web")).await).sets.is_empty().then_some(())
    })
    .await;
    let refused = Spaces::remove(cluster, Epoch(1), &space).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "an environment goes only without its volumes");
    ok(cluster.purge(Epoch(1), &track("web")).await);
    let claims: Api<PersistentVolumeClaim> = Api::all(cluster.client().clone());
    eventually("the volume is gone with its track", async || {
        let found = claims.list(&ListParams::default()).await.unwrap().items;
        let ours = |claim: &PersistentVolumeClaim| {
            let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
            class == Some(fixture.installation.as_str())
        };
        (!place.is_built() || !found.iter().any(ours)).then_some(())
    })
    .await;
    if place.is_built() {
        let api: Api<PersistentVolume> = Api::all(cluster.client().clone());
        api.delete(&fixture.installation, &DeleteParams::default()).await.unwrap();
        fs::remove_dir_all(folder(fixture)).unwrap();
    }
}

async fn isolation(fixture: &Fixture, place: &'static Place) {
    assert_ne!(place.enforces_policies(), Some(false), "the cluster does not enforce network policies");
    let cluster = &fixture.cluster;
    let (api, mut web) = (set(fixture, "api", "r1").await, set(fixture, "web", "r1").await);
    let port = RouterFixture::port(fixture);
    web.template.calls = vec![CallTarget { component: api.key.track.component.clone(), port: port.clone() }];
    start(fixture, &api).await;
    let traffic = ServiceTraffic {
        track: api.key.track.clone(),
        ports: vec![port],
        backends: vec![Backend { revision: api.key.revision.clone(), weight: 1, release: 1 }],
        state: ServiceState::Serving,
    };
    ok(cluster.apply_service(Epoch(1), &traffic).await);
    let web = start(fixture, &web).await;
    let other = start(fixture, &set(fixture, "other", "r1").await).await;
    let ask = |host: &str| format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 3 {host} 8080; true");
    eventually("what is declared is let through, by its name", async || {
        fixture.script(&web, &ask("api")).await?.contains("revision=r1").then_some(())
    })
    .await;
    let named =
        "while read -r address name; do [ \"$name\" = api ] && echo $address; done < /etc/hosts; true";
    let address = fixture.script(&web, named).await.unwrap_or_default().trim().to_owned();
    let declared = fixture.script(&web, &ask(&address)).await.unwrap_or_default();
    assert!(declared.contains("revision=r1"), "by its address, too: {declared:?}");
    let undeclared = fixture.script(&other, &ask(&address)).await;
    assert_eq!(undeclared.as_deref(), Some(""), "nobody declared this call");
}
