//! Runs to completion.

use super::super::{eventually, expect_kind, ok};
use super::{Case, EPOCH, RuntimeFixture, Workload};
use crate::error::ErrorKind;
use crate::port::{InstanceId, InstancePhase, RunInput, RunObservation, RunSpec};

/// Whether runs can be tested; where they are not supported, checks that one is refused.
async fn has_runs(case: &Case<'_>) -> bool {
    if case.runtime.capabilities().runs {
        return true;
    }
    let run = case.run("conformance-refused", Workload::Ends(0)).await;
    let answer = case.runtime.start_run(EPOCH, &run).await;
    expect_kind(answer, ErrorKind::Unsupported, "what the capabilities exclude is refused");
    false
}

async fn until_ended(case: &Case<'_>, id: &InstanceId) -> RunObservation {
    eventually("the run has ended", case.fixture.patience(), async || {
        match ok(case.runtime.observe_run(id).await) {
            Some(run) if run.phase == InstancePhase::Exited => Ok(run),
            other => Err(other),
        }
    })
    .await
}

/// A run is started at most once per id and kept, with its exit status, until it is removed.
pub async fn a_run_is_started_once_and_kept_until_removed(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "run-once");
    if !has_runs(&case).await {
        return;
    }
    let run = case.run("conformance-run-once", Workload::Ends(0)).await;
    ok(case.runtime.start_run(EPOCH, &run).await);
    let ended = until_ended(&case, &run.id).await;
    assert_eq!(ended.exit.as_ref().and_then(|exit| exit.code), Some(0), "{ended:?}");
    ok(case.runtime.start_run(EPOCH, &run).await);
    assert_eq!(ok(case.runtime.observe_run(&run.id).await), Some(ended), "a known id changes nothing");
    ok(case.runtime.remove_run(EPOCH, &run.id).await);
    assert_eq!(ok(case.runtime.observe_run(&run.id).await), None);
    ok(case.runtime.remove_run(EPOCH, &run.id).await);
}

/// A run that failed tells its exit code.
pub async fn a_failed_run_tells_its_code(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "run-failed");
    if !has_runs(&case).await {
        return;
    }
    let run = case.run("conformance-run-failed", Workload::Ends(4)).await;
    ok(case.runtime.start_run(EPOCH, &run).await);
    let ended = until_ended(&case, &run.id).await;
    assert_eq!(ended.exit.as_ref().and_then(|exit| exit.code), Some(4), "{ended:?}");
    ok(case.runtime.remove_run(EPOCH, &run.id).await);
}

/// `remove_run` stops a run that still runs.
pub async fn a_run_can_be_stopped(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "run-stopped");
    if !has_runs(&case).await {
        return;
    }
    let run = case.run("conformance-run-stopped", Workload::Ready).await;
    ok(case.runtime.start_run(EPOCH, &run).await);
    assert!(ok(case.runtime.observe_run(&run.id).await).is_some(), "it is known once start_run returned");
    ok(case.runtime.remove_run(EPOCH, &run.id).await);
    eventually("the run is forgotten", fixture.patience(), async || {
        ok(case.runtime.observe_run(&run.id).await).map_or(Ok(()), Err)
    })
    .await;
}

/// An unknown run is nothing, and removing it is a success.
pub async fn an_unknown_run_is_nothing(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "run-unknown");
    if !has_runs(&case).await {
        return;
    }
    let id = InstanceId("conformance-run-unknown".to_owned());
    assert_eq!(ok(case.runtime.observe_run(&id).await), None);
    ok(case.runtime.remove_run(EPOCH, &id).await);
}

/// A backend whose runs have neither input nor a terminal says so, and makes nothing.
pub async fn input_is_refused_where_unsupported(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "run-input");
    if !has_runs(&case).await || case.runtime.capabilities().interactive_runs {
        return;
    }
    for input in [RunInput::Stream, RunInput::Terminal] {
        let run = RunSpec { input, ..case.run("conformance-run-input", Workload::Ends(0)).await };
        let answer = case.runtime.start_run(EPOCH, &run).await;
        expect_kind(answer, ErrorKind::Unsupported, "what the capabilities exclude is refused");
        assert_eq!(ok(case.runtime.observe_run(&run.id).await), None);
    }
}
