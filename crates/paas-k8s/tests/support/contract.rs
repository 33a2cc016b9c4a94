//! What programs rely on of an API server: the same promises are checked on the one in memory and on a real one, so that what
//! is learned from the first holds on the second (Kubernetes API Concepts; Server-Side Apply).

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use paas_k8s::kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, WatchEvent, WatchParams,
};
use paas_k8s::kube::{Api, Client, Error};
use serde_json::{Value, json};

/// An API server, and a namespace of the test's own on it.
pub(crate) struct Server {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

/// Every promise, for a macro that makes tests of them.
macro_rules! promises {
    ($make:ident) => {
        $make! {
            a_name_is_taken_once
            what_is_not_there_is_not_found
            a_name_that_is_no_name_is_invalid
            an_old_version_is_a_conflict
            equal_content_is_no_new_version
            an_immutable_config_map_keeps_its_data
            a_field_of_another_manager_is_a_conflict_unless_forced
            a_field_that_its_only_manager_leaves_out_goes
            apply_with_an_identity_makes_nothing
            apply_with_a_version_makes_what_is_missing
            a_deletion_keeps_to_its_preconditions
            a_finalizer_keeps_an_object_until_it_is_removed
            a_watch_tells_what_came_after_the_list
            a_watch_with_a_selector_tells_what_leaves_it
            labels_select
            a_list_in_pages_is_whole
            the_status_is_changed_by_its_own_path_only
            a_new_spec_is_a_new_generation
        }
    };
}
pub(crate) use promises;

impl Server {
    fn maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn make(&self, name: &str, data: &str) -> ConfigMap {
        self.maps().create(&PostParams::default(), &map(name, data)).await.unwrap()
    }

    async fn make_labelled(&self, name: &str, labels: &[(&str, &str)]) -> ConfigMap {
        let mut object = map(name, "a");
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        object.metadata.labels = Some(labels.collect());
        self.maps().create(&PostParams::default(), &object).await.unwrap()
    }
}

fn map(name: &str, data: &str) -> ConfigMap {
    let mut object = ConfigMap::default();
    object.metadata.name = Some(name.to_owned());
    object.data = Some(BTreeMap::from([("key".to_owned(), data.to_owned())]));
    object
}

fn applied(name: &str, data: Value) -> Patch<Value> {
    Patch::Apply(
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data }),
    )
}

fn version(object: &ConfigMap) -> String {
    object.metadata.resource_version.clone().unwrap()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, Error>, code: u16, reason: &str) {
    match outcome {
        Err(Error::Api(status)) => assert_eq!((status.code, &*status.reason), (code, reason), "{status:?}"),
        other => panic!("{other:?} instead of {code} {reason}"),
    }
}

pub(crate) async fn a_name_is_taken_once(server: &Server) {
    server.make("taken", "a").await;
    let again = server.maps().create(&PostParams::default(), &map("taken", "b")).await;
    refused(again, 409, "AlreadyExists");
}

pub(crate) async fn what_is_not_there_is_not_found(server: &Server) {
    refused(server.maps().get("missing").await, 404, "NotFound");
    refused(server.maps().delete("missing", &DeleteParams::default()).await, 404, "NotFound");
    let patch = Patch::Merge(json!({ "data": { "key": "b" } }));
    refused(server.maps().patch("missing", &PatchParams::default(), &patch).await, 404, "NotFound");
    let nowhere: Api<ConfigMap> = Api::namespaced(server.client.clone(), "no-such-namespace");
    refused(nowhere.create(&PostParams::default(), &map("a", "a")).await, 404, "NotFound");
}

pub(crate) async fn a_name_that_is_no_name_is_invalid(server: &Server) {
    let made = server.maps().create(&PostParams::default(), &map("No_Name", "a")).await;
    refused(made, 422, "Invalid");
}

pub(crate) async fn an_old_version_is_a_conflict(server: &Server) {
    let old = server.make("versions", "a").await;
    let patch = Patch::Merge(json!({ "data": { "key": "b" } }));
    let new = server.maps().patch("versions", &PatchParams::default(), &patch).await.unwrap();
    assert_ne!(version(&old), version(&new));
    let mut replaced = old.clone();
    replaced.data = Some(BTreeMap::from([("key".to_owned(), "c".to_owned())]));
    refused(server.maps().replace("versions", &PostParams::default(), &replaced).await, 409, "Conflict");
    let patch = json!({ "metadata": { "resourceVersion": version(&old) }, "data": { "key": "c" } });
    let patched = server.maps().patch("versions", &PatchParams::default(), &Patch::Merge(patch)).await;
    refused(patched, 409, "Conflict");
    assert_eq!(server.maps().get("versions").await.unwrap().data, new.data);
}

pub(crate) async fn equal_content_is_no_new_version(server: &Server) {
    let made = server.make("equal", "a").await;
    let patch = Patch::Merge(json!({ "data": { "key": "a" } }));
    let same = server.maps().patch("equal", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(version(&made), version(&same));
}

pub(crate) async fn an_immutable_config_map_keeps_its_data(server: &Server) {
    let mut object = map("immutable", "a");
    object.immutable = Some(true);
    server.maps().create(&PostParams::default(), &object).await.unwrap();
    let patch = Patch::Merge(json!({ "data": { "key": "b" } }));
    let changed = server.maps().patch("immutable", &PatchParams::default(), &patch).await;
    refused(changed, 422, "Invalid");
    let labels = Patch::Merge(json!({ "metadata": { "labels": { "a": "b" } } }));
    server.maps().patch("immutable", &PatchParams::default(), &labels).await.unwrap();
}

pub(crate) async fn a_field_of_another_manager_is_a_conflict_unless_forced(server: &Server) {
    let maps = server.maps();
    let (ours, theirs) = (PatchParams::apply("ours"), PatchParams::apply("theirs"));
    maps.patch("managed", &ours, &applied("managed", json!({ "key": "a" }))).await.unwrap();
    let same = applied("managed", json!({ "key": "a" }));
    maps.patch("managed", &theirs, &same).await.expect("equal values are shared");
    let other = applied("managed", json!({ "key": "b" }));
    refused(maps.patch("managed", &theirs, &other).await, 409, "Conflict");
    let forced = maps.patch("managed", &theirs.force(), &other).await.unwrap();
    assert_eq!(forced.data.unwrap()["key"], "b");
    let back = applied("managed", json!({ "key": "a" }));
    refused(maps.patch("managed", &ours, &back).await, 409, "Conflict");
}

pub(crate) async fn a_field_that_its_only_manager_leaves_out_goes(server: &Server) {
    let maps = server.maps();
    let ours = PatchParams::apply("ours");
    maps.patch("left-out", &ours, &applied("left-out", json!({ "a": "1", "b": "2" }))).await.unwrap();
    let patch = Patch::Merge(json!({ "data": { "c": "3" } }));
    maps.patch("left-out", &PatchParams::default(), &patch).await.unwrap();
    let now = maps.patch("left-out", &ours, &applied("left-out", json!({ "a": "1" }))).await.unwrap();
    let expected = BTreeMap::from([("a", "1"), ("c", "3")].map(|(k, v)| (k.to_owned(), v.to_owned())));
    assert_eq!(now.data, Some(expected));
}

/// An object that was deleted, as somebody would apply it who has seen it.
async fn deleted(server: &Server, field: &str, value: impl FnOnce(&ConfigMap) -> String) -> Value {
    let gone = server.make("applied", "a").await;
    server.maps().delete("applied", &DeleteParams::default()).await.unwrap();
    let mut object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "applied" } });
    object["metadata"][field] = json!(value(&gone));
    object
}

pub(crate) async fn apply_with_an_identity_makes_nothing(server: &Server) {
    let object = deleted(server, "uid", |gone| gone.metadata.uid.clone().unwrap()).await;
    let made = server.maps().patch("applied", &PatchParams::apply("ours"), &Patch::Apply(object)).await;
    refused(made, 409, "Conflict");
    assert_eq!(server.maps().get_opt("applied").await.unwrap(), None);
}

/// Which is why whoever applies what was looked at gives its identity, too.
pub(crate) async fn apply_with_a_version_makes_what_is_missing(server: &Server) {
    let object = deleted(server, "resourceVersion", version).await;
    let made = server.maps().patch("applied", &PatchParams::apply("ours"), &Patch::Apply(object)).await;
    assert_ne!(made.unwrap().metadata.uid, None);
}

pub(crate) async fn a_deletion_keeps_to_its_preconditions(server: &Server) {
    let old = server.make("looked-at", "a").await;
    let patch = Patch::Merge(json!({ "data": { "key": "b" } }));
    let new = server.maps().patch("looked-at", &PatchParams::default(), &patch).await.unwrap();
    let looked_at = |object: &ConfigMap, uid: &str| {
        DeleteParams::default().preconditions(Preconditions {
            resource_version: object.metadata.resource_version.clone(),
            uid: Some(uid.to_owned()),
        })
    };
    let uid = new.metadata.uid.clone().unwrap();
    refused(server.maps().delete("looked-at", &looked_at(&old, &uid)).await, 409, "Conflict");
    let another = "7f000000-0000-4000-8000-000000000000";
    refused(server.maps().delete("looked-at", &looked_at(&new, another)).await, 409, "Conflict");
    server.maps().delete("looked-at", &looked_at(&new, &uid)).await.unwrap();
    assert_eq!(server.maps().get_opt("looked-at").await.unwrap(), None);
}

pub(crate) async fn a_finalizer_keeps_an_object_until_it_is_removed(server: &Server) {
    let mut object = map("finalized", "a");
    object.metadata.finalizers = Some(vec!["example.org/kept".to_owned()]);
    server.maps().create(&PostParams::default(), &object).await.unwrap();
    server.maps().delete("finalized", &DeleteParams::default()).await.unwrap();
    let kept = server.maps().get("finalized").await.unwrap();
    assert!(kept.metadata.deletion_timestamp.is_some());
    let again = server.maps().create(&PostParams::default(), &map("finalized", "b")).await;
    refused(again, 409, "AlreadyExists");
    let patch = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    server.maps().patch("finalized", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(server.maps().get_opt("finalized").await.unwrap(), None);
}

/// The events of a watch of one object from a version on, as a word for each and its data.
async fn told(server: &Server, parameters: WatchParams, from: &str, count: usize) -> Vec<String> {
    let events = server.maps().watch(&parameters, from).await.unwrap();
    let words = events.filter_map(|event| async move {
        let (word, object) = match event.unwrap() {
            WatchEvent::Added(object) => ("added", object),
            WatchEvent::Modified(object) => ("modified", object),
            WatchEvent::Deleted(object) => ("deleted", object),
            WatchEvent::Bookmark(_) => return None,
            WatchEvent::Error(status) => panic!("{status:?}"),
        };
        Some(format!("{word} {}", object.data.unwrap_or_default().remove("key").unwrap_or_default()))
    });
    let words = words.take(count).collect::<Vec<_>>();
    tokio::time::timeout(Duration::from_secs(30), words).await.expect("the events come")
}

pub(crate) async fn a_watch_tells_what_came_after_the_list(server: &Server) {
    server.make("watched-before", "before").await;
    let listed = server.maps().list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    server.make("watched", "a").await;
    let patch = Patch::Merge(json!({ "data": { "key": "b" } }));
    server.maps().patch("watched", &PatchParams::default(), &patch).await.unwrap();
    server.maps().delete("watched", &DeleteParams::default()).await.unwrap();
    let only = WatchParams::default().fields("metadata.name=watched");
    let told = told(server, only, &listed, 3).await;
    assert_eq!(told, ["added a", "modified b", "deleted b"]);
}

pub(crate) async fn a_watch_with_a_selector_tells_what_leaves_it(server: &Server) {
    let listed = server.maps().list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    server.make_labelled("selected", &[("watched", "yes")]).await;
    for label in ["no", "yes"] {
        let patch = Patch::Merge(json!({ "metadata": { "labels": { "watched": label } } }));
        server.maps().patch("selected", &PatchParams::default(), &patch).await.unwrap();
    }
    let told = told(server, WatchParams::default().labels("watched=yes"), &listed, 3).await;
    assert_eq!(told, ["added a", "deleted a", "added a"]);
}

pub(crate) async fn labels_select(server: &Server) {
    server.make_labelled("select-1", &[("select", "x"), ("tier", "web")]).await;
    server.make_labelled("select-2", &[("select", "x"), ("tier", "api")]).await;
    server.make_labelled("select-3", &[("select", "x")]).await;
    for (selector, expected) in [
        ("select=x", vec!["select-1", "select-2", "select-3"]),
        ("select=x,tier=web", vec!["select-1"]),
        ("select=x,tier!=web", vec!["select-2", "select-3"]),
        ("select=x,tier in (web,api)", vec!["select-1", "select-2"]),
        ("select=x,tier notin (web)", vec!["select-2", "select-3"]),
        ("select=x,tier", vec!["select-1", "select-2"]),
        ("select=x,!tier", vec!["select-3"]),
    ] {
        let found = server.maps().list(&ListParams::default().labels(selector)).await.unwrap();
        let names: Vec<_> = found.items.iter().filter_map(|it| it.metadata.name.as_deref()).collect();
        assert_eq!(names, expected, "{selector}");
    }
}

pub(crate) async fn a_list_in_pages_is_whole(server: &Server) {
    for number in 0..5 {
        server.make_labelled(&format!("page-{number}"), &[("paged", "yes")]).await;
    }
    let mut parameters = ListParams::default().labels("paged=yes").limit(2);
    let mut names = Vec::new();
    loop {
        let page = server.maps().list(&parameters).await.unwrap();
        names.extend(page.items.into_iter().filter_map(|it| it.metadata.name));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => break,
        }
    }
    assert_eq!(names, ["page-0", "page-1", "page-2", "page-3", "page-4"]);
}

/// A deployment that never has a pod.
async fn deployment(server: &Server, name: &str) -> (Api<Deployment>, Deployment) {
    let api: Api<Deployment> = Api::namespaced(server.client.clone(), &server.namespace);
    let object = json!({
        "metadata": { "name": name },
        "spec": {
            "replicas": 0,
            "paused": true,
            "selector": { "matchLabels": { "name": name } },
            "template": {
                "metadata": { "labels": { "name": name } },
                "spec": { "containers": [{ "name": "main", "image": "registry.example/none" }] },
            },
        },
    });
    let made = api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    (api, made)
}

pub(crate) async fn the_status_is_changed_by_its_own_path_only(server: &Server) {
    let (api, _) = deployment(server, "status").await;
    let patch = Patch::Merge(json!({ "status": { "collisionCount": 7 } }));
    let by_object = api.patch("status", &PatchParams::default(), &patch).await.unwrap();
    assert_ne!(by_object.status.and_then(|it| it.collision_count), Some(7));
    let patch = Patch::Merge(json!({ "spec": { "minReadySeconds": 7 }, "status": { "collisionCount": 7 } }));
    let by_status = api.patch_status("status", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(by_status.status.and_then(|it| it.collision_count), Some(7));
    assert_ne!(by_status.spec.and_then(|it| it.min_ready_seconds), Some(7));
}

pub(crate) async fn a_new_spec_is_a_new_generation(server: &Server) {
    let (api, made) = deployment(server, "generation").await;
    assert_eq!(made.metadata.generation, Some(1));
    let labels = Patch::Merge(json!({ "metadata": { "labels": { "a": "b" } } }));
    let labelled = api.patch("generation", &PatchParams::default(), &labels).await.unwrap();
    assert_eq!(labelled.metadata.generation, Some(1));
    let spec = Patch::Merge(json!({ "spec": { "minReadySeconds": 3 } }));
    let changed = api.patch("generation", &PatchParams::default(), &spec).await.unwrap();
    assert_eq!(changed.metadata.generation, Some(2));
}
