//! What survives when the machine is closed, and what comes back.

use std::process::{Command, Stdio};
use std::time::Duration;

use paas_core::conformance::Promise;
use paas_core::port::{InstanceId, Runtime as _};

use super::fixture::{EPOCH, Fixture, document, number};

pub(crate) fn promises() -> Vec<Promise<Fixture>> {
    macro_rules! list {
        ($($name:ident),* $(,)?) => {
            vec![$(Promise { name: stringify!($name), check: |fixture| Box::pin($name(fixture)) }),*]
        };
    }
    list![
        a_machine_that_is_opened_again_serves_without_a_gap,
        after_a_reboot_the_declared_number_comes_back,
        what_was_declared_shortly_before_the_end_is_carried_out,
        an_instance_whose_start_was_cut_off_starts_as_if_for_the_first_time,
        a_closed_machine_refuses_changes,
    ]
}

async fn a_machine_that_is_opened_again_serves_without_a_gap(fixture: &Fixture) {
    let key = fixture.ensure(fixture.web(&fixture.component("web")), 2).await;
    let before = fixture.until_ready(&key, 2).await;
    fixture.route(&key.track, "web.test").await;
    fixture.until_answer("web.test", "/", |status, _| status == 200).await;
    let reopen = async {
        for _ in 0..3 {
            fixture.machine().close().await;
            fixture.open_again().await;
            let now = fixture.observe(&key).await.expect("the set is there at once");
            assert_eq!(now.ready(), 2, "they are ready from the first moment: {now:#?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let requests = async {
        loop {
            let (status, body) = fixture.get("web.test", "/").await;
            assert_eq!(status, 200, "{body}");
        }
    };
    tokio::select! {
        () = reopen => {}
        () = requests => unreachable!("requests go on until the machine was opened"),
    }
    let after = fixture.until_ready(&key, 2).await;
    let identity = |set: &paas_core::port::SetObservation| -> Vec<(InstanceId, u32)> {
        set.instances.iter().map(|instance| (instance.id.clone(), instance.restarts)).collect()
    };
    assert_eq!(identity(&after), identity(&before));
    assert!(after.instances.iter().all(|instance| instance.started_at.is_some()), "{after:#?}");
}

/// A reboot as far as files tell: nothing of what was recorded runs, and its numbers belong to others.
async fn after_a_reboot_the_declared_number_comes_back(fixture: &Fixture) {
    let key = fixture.ensure(fixture.web(&fixture.component("web")), 2).await;
    let before = fixture.until_ready(&key, 2).await;
    fixture.machine().close().await;
    let mut bystander = Command::new("sleep").arg("600").stdout(Stdio::null()).spawn().expect("it starts");
    for instance in &before.instances {
        let file = fixture.folder(&instance.id).join("state.json");
        let mut state = document(&file);
        for process in ["shim_pid", "pid"] {
            let _ = rustix::process::kill_process(number(&state, process), rustix::process::Signal::KILL);
        }
        state["boot_id"] = "00000000-0000-0000-0000-000000000000".into();
        state["pid"] = bystander.id().into();
        state["shim_pid"] = bystander.id().into();
        std::fs::write(&file, state.to_string()).expect("it is written");
    }
    fixture.open_again().await;
    let after = fixture.until_ready(&key, 2).await;
    let alive = bystander.try_wait().expect("it is our child").is_none();
    bystander.kill().expect("it ends");
    bystander.wait().expect("it ended");
    assert!(alive, "a process that has the number of an older one is left alone");
    for (now, then) in after.instances.iter().zip(&before.instances) {
        assert_eq!((&now.id, now.restarts), (&then.id, 1));
    }
}

async fn what_was_declared_shortly_before_the_end_is_carried_out(fixture: &Fixture) {
    let key = fixture.ensure(fixture.web(&fixture.component("web")), 3).await;
    let gone = fixture.ensure(fixture.web(&fixture.component("gone")), 2).await;
    let before = fixture.until_ready(&key, 3).await;
    fixture.until_ready(&gone, 2).await;
    fixture.machine().scale(EPOCH, &key, 1.into()).await.expect("it is declared");
    fixture.machine().remove(EPOCH, &gone).await.expect("it is declared");
    fixture.machine().close().await;
    fixture.open_again().await;
    let after = fixture.until_ready(&key, 1).await;
    assert_eq!(after.instances[0].id, before.instances[0].id, "the oldest one stays");
    super::fixture::eventually("the removed set is gone", async || {
        fixture.observe(&gone).await.map_or(Ok(()), Err)
    })
    .await;
}

/// The server was killed when the second one was declared and its folder was there, but no shim knew of it.
async fn an_instance_whose_start_was_cut_off_starts_as_if_for_the_first_time(fixture: &Fixture) {
    let key = fixture.ensure(fixture.web(&fixture.component("web")), 1).await;
    let before = fixture.until_ready(&key, 1).await;
    let first = &before.instances[0].id;
    fixture.machine().close().await;
    let second = InstanceId("web-cutoff".to_owned());
    let folder = fixture.folder(first);
    let spec = document(&folder.join("instance.json")).to_string().replace(&first.0, &second.0);
    let cut_off = folder.with_file_name(format!("{second}-r0"));
    std::fs::create_dir(&cut_off).expect("a folder");
    std::fs::write(cut_off.join("instance.json"), spec).expect("it is written");
    let declared = std::fs::read_dir(fixture.state().join("declared/sets")).expect("the sets").next();
    let declared = declared.expect("one set").expect("its name").path();
    let mut set = document(&declared);
    set["count"] = 2.into();
    set["instances"]
        .as_array_mut()
        .expect("a list")
        .push(serde_json::json!({ "id": second, "going": false }));
    std::fs::write(&declared, set.to_string()).expect("it is written");

    fixture.open_again().await;
    let after = fixture.until_ready(&key, 2).await;
    let found = after.instances.iter().find(|instance| instance.id == second).expect("it is kept");
    assert_eq!(
        (found.restarts, &found.last_exit),
        (0, &None),
        "nothing is told of what never was: {found:#?}"
    );
}

async fn a_closed_machine_refuses_changes(fixture: &Fixture) {
    let key = fixture.ensure(fixture.web(&fixture.component("web")), 1).await;
    fixture.until_ready(&key, 1).await;
    let closed = fixture.machine();
    closed.close().await;
    fixture.open_again().await;
    let answer = closed.scale(EPOCH, &key, 5.into()).await;
    let error = answer.expect_err("what is written here would be written behind the other one's back");
    assert_eq!(error.kind(), paas_core::ErrorKind::Unavailable, "{}", error.report());
    fixture.until_ready(&key, 1).await;
}
