//! Sets of manifests: objects that a later set takes over.

use std::collections::BTreeSet;

use serde_json::json;

use super::super::{eventually, expect_kind, ok};
use super::{Case, EPOCH, RuntimeFixture, Workload};
use crate::error::ErrorKind;
use crate::model::{ComponentKind, Manifest};
use crate::port::SetSpec;

/// A set of config maps, which every cluster of Kubernetes has.
async fn config_maps(case: &Case<'_>, revision: &str, names: &[&str]) -> SetSpec {
    let mut spec = case.spec(revision, Workload::Ready, 1).await;
    let template = &mut spec.template;
    template.kind = ComponentKind::Manifests;
    template.image.clear();
    template.digest.clear();
    template.ports.clear();
    template.env.clear();
    template.files.clear();
    template.probes = crate::model::Probes::default();
    template.manifests = names
        .iter()
        .map(|name| {
            let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name },
                "data": { "revision": revision } });
            serde_json::from_value::<Manifest>(object).expect("it is an object")
        })
        .collect();
    spec
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

async fn until_objects(case: &Case<'_>, expected: &[&str]) {
    let expected = names(expected);
    eventually("the objects", case.fixture.patience(), async || {
        let seen = case.fixture.objects(&case.track).await;
        let seen = seen.expect("a fixture whose backend has manifests names their objects");
        if seen == expected { Ok(()) } else { Err(seen) }
    })
    .await;
}

/// What the capabilities exclude is refused before anything happens.
pub async fn manifests_are_refused_where_unsupported(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "no-manifests");
    if case.runtime.capabilities().manifests {
        return;
    }
    let spec = config_maps(&case, "r1", &["one"]).await;
    let answer = case.runtime.ensure(EPOCH, &spec).await;
    expect_kind(answer, ErrorKind::Unsupported, "manifests are refused");
    assert!(case.set("r1").await.is_none(), "nothing was made");
}

/// A set of manifests has its objects, and an instance that is ready when they are.
pub async fn a_set_of_manifests_is_ready_when_its_objects_are(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "manifests");
    if !case.runtime.capabilities().manifests {
        return;
    }
    let spec = config_maps(&case, "r1", &["one", "two"]).await;
    assert_eq!(case.runtime.refusals(&spec.template), []);
    ok(case.runtime.ensure(EPOCH, &spec).await);
    case.until_ready("r1", 1).await;
    until_objects(&case, &["one", "two"]).await;
    // Again, it changes nothing.
    ok(case.runtime.ensure(EPOCH, &spec).await);
    assert_eq!(case.until_ready("r1", 1).await.desired, 1);
    let other = config_maps(&case, "r1", &["three"]).await;
    let promise = "a revision means one template";
    expect_kind(case.runtime.ensure(EPOCH, &other).await, ErrorKind::Conflict, promise);
    case.clean().await;
}

/// The next set takes over the objects of the same names; removing the earlier one removes those that are left to it.
pub async fn a_later_set_takes_over_the_objects_and_remove_prunes_the_rest(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "takes-over");
    if !case.runtime.capabilities().manifests {
        return;
    }
    let first = config_maps(&case, "r1", &["kept", "left"]).await;
    ok(case.runtime.ensure(EPOCH, &first).await);
    case.until_ready("r1", 1).await;
    // Out of force, its objects stay.
    ok(case.runtime.scale(EPOCH, &first.key, 0.into()).await);
    case.until("no instance", "r1", |set| set.desired == 0 && set.instances.is_empty()).await;
    until_objects(&case, &["kept", "left"]).await;
    let second = config_maps(&case, "r2", &["kept", "new"]).await;
    ok(case.runtime.ensure(EPOCH, &second).await);
    case.until_ready("r2", 1).await;
    until_objects(&case, &["kept", "left", "new"]).await;
    ok(case.runtime.remove(EPOCH, &first.key).await);
    until_objects(&case, &["kept", "new"]).await;
    case.until_ready("r2", 1).await;
    ok(case.runtime.remove(EPOCH, &second.key).await);
    until_objects(&case, &[]).await;
    case.clean().await;
}

/// A set that is raised again has its objects again, and what only the other had goes with that.
pub async fn the_way_back_applies_the_earlier_objects_again(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "way-back");
    if !case.runtime.capabilities().manifests {
        return;
    }
    let first = config_maps(&case, "r1", &["kept", "left"]).await;
    ok(case.runtime.ensure(EPOCH, &first).await);
    case.until_ready("r1", 1).await;
    ok(case.runtime.scale(EPOCH, &first.key, 0.into()).await);
    let second = config_maps(&case, "r2", &["kept", "new"]).await;
    ok(case.runtime.ensure(EPOCH, &second).await);
    case.until_ready("r2", 1).await;
    ok(case.runtime.scale(EPOCH, &second.key, 0.into()).await);
    ok(case.runtime.scale(EPOCH, &first.key, 1.into()).await);
    case.until_ready("r1", 1).await;
    ok(case.runtime.remove(EPOCH, &second.key).await);
    until_objects(&case, &["kept", "left"]).await;
    case.until_ready("r1", 1).await;
    case.clean().await;
}
