//! What outlives instances.

use super::super::{expect_kind, ok};
use super::{Case, EPOCH, RuntimeFixture, Workload};
use crate::error::ErrorKind;
use crate::model::VolumeMount;
use crate::port::SetSpec;

fn with_volume(mut spec: SetSpec) -> SetSpec {
    spec.template.volumes.push(VolumeMount {
        name: "data".parse().expect("the name is valid"),
        path: "/data".to_owned(),
        read_only: false,
    });
    spec
}

/// `purge` needs a track without sets.
pub async fn purge_needs_a_track_without_sets(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "purge");
    if !case.runtime.capabilities().volumes {
        return;
    }
    let spec = with_volume(case.spec("r1", Workload::Ready, 1).await);
    ok(case.runtime.ensure(EPOCH, &spec).await);
    case.until_ready("r1", 1).await;
    let answer = case.runtime.purge(EPOCH, &case.track).await;
    expect_kind(answer, ErrorKind::Conflict, "volumes in use are not removed");
    ok(case.runtime.remove(EPOCH, &spec.key).await);
    case.until_empty().await;
    ok(case.runtime.purge(EPOCH, &case.track).await);
    ok(case.runtime.purge(EPOCH, &case.track).await);
    case.clean().await;
}

/// What the capabilities exclude is refused before anything happens.
pub async fn volumes_are_refused_where_unsupported(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "no-volumes");
    if case.runtime.capabilities().volumes {
        return;
    }
    let spec = with_volume(case.spec("r1", Workload::Ready, 1).await);
    let answer = case.runtime.ensure(EPOCH, &spec).await;
    expect_kind(answer, ErrorKind::Unsupported, "volumes are refused");
    assert!(case.set("r1").await.is_none(), "nothing was made");
}
