//! Probes by commands.

use std::time::Duration;

use paas_core::conformance::Promise;
use paas_core::model::{Probe, ProbeCheck};
use paas_core::port::InstancePhase;

use super::commands::perform;
use super::fixture::{Fixture, eventually, processes};

pub(crate) fn promises() -> Vec<Promise<Fixture>> {
    macro_rules! list {
        ($($name:ident),* $(,)?) => {
            vec![$(Promise { name: stringify!($name), check: |fixture| Box::pin($name(fixture)) }),*]
        };
    }
    list![
        an_instance_is_ready_as_long_as_its_command_succeeds,
        an_instance_whose_liveness_command_fails_is_started_anew,
        a_command_that_takes_too_long_is_killed_and_told,
        a_command_that_is_not_there_is_told,
    ]
}

fn command(words: &[&str]) -> Probe {
    let check = ProbeCheck::Command(words.iter().map(|word| (*word).to_owned()).collect());
    Probe { period_seconds: 1, failure_threshold: 1, ..Probe::new(check) }
}

async fn an_instance_is_ready_as_long_as_its_command_succeeds(fixture: &Fixture) {
    let mut template = fixture.web(&fixture.component("web"));
    template.probes.readiness = Some(command(&["/app", "missing", "/tmp/busy"]));
    let key = fixture.ensure(template, 1).await;
    fixture.until_ready(&key, 1).await;
    let said = perform(fixture, &key, &["/app", "write", "/tmp/busy", "yes"]).await;
    assert_eq!(said.text(), "written\n");
    let set =
        fixture.until("it is not ready", &key, |set| set.instances[0].phase == InstancePhase::Unready).await;
    let failure = set.instances[0].failure.as_ref().expect("it says why");
    assert_eq!(failure.reason, "not_ready");
    let expected = "/app missing /tmp/busy exited with 1: looked for /tmp/busy";
    assert!(failure.message.ends_with(expected), "{failure:?}");
    assert_eq!(set.instances[0].restarts, 0);
}

async fn an_instance_whose_liveness_command_fails_is_started_anew(fixture: &Fixture) {
    let mut template = fixture.web(&fixture.component("web"));
    template.probes.liveness = Some(command(&["/app", "missing", "/tmp/sick"]));
    let key = fixture.ensure(template, 1).await;
    let before = fixture.until_ready(&key, 1).await;
    perform(fixture, &key, &["/app", "write", "/tmp/sick", "yes"]).await;
    let set =
        fixture.until("why it ended", &key, |set| set.instances[0].phase == InstancePhase::BackOff).await;
    let failure = set.instances[0].failure.as_ref().expect("it says why");
    assert_eq!(failure.reason, "unhealthy");
    assert!(failure.message.contains("/app missing /tmp/sick exited with 1"), "{failure:?}");
    // The new one has a root file system of its own.
    let set = fixture.until("it is ready again", &key, |set| set.ready() == 1).await;
    assert_eq!((&set.instances[0].id, set.instances[0].restarts), (&before.instances[0].id, 1));
}

async fn a_command_that_takes_too_long_is_killed_and_told(fixture: &Fixture) {
    let mut template = fixture.web(&fixture.component("web"));
    template.probes.readiness = Some(Probe { timeout_seconds: 1, ..command(&["/app", "ignore-term"]) });
    let key = fixture.ensure(template, 1).await;
    let told = |set: &paas_core::port::SetObservation| {
        let failure = set.instances.first().and_then(|instance| instance.failure.clone());
        failure.is_some_and(|failure| failure.message.contains("no answer within 1 s"))
    };
    let set = fixture.until("it says why", &key, told).await;
    assert_eq!(set.instances[0].phase, InstancePhase::Starting);
    let instance = set.instances[0].id.clone();
    let commands =
        || processes(fixture, &instance).iter().filter(|line| line.contains("ignore-term")).count();
    // Two more questions, and between them moments without any.
    for _ in 0..2 {
        eventually("a command runs", async || if commands() > 0 { Ok(()) } else { Err(()) }).await;
        let begun = std::time::Instant::now();
        eventually("no command runs", async || if commands() == 0 { Ok(()) } else { Err(commands()) }).await;
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
}

async fn a_command_that_is_not_there_is_told(fixture: &Fixture) {
    let mut template = fixture.web(&fixture.component("web"));
    template.probes.readiness = Some(command(&["curl", "localhost"]));
    let key = fixture.ensure(template, 1).await;
    let set = fixture
        .until("it says why", &key, |set| {
            let failure = set.instances.first().and_then(|instance| instance.failure.as_ref());
            failure.is_some_and(|failure| failure.message.contains("\"curl\" is not in the image"))
        })
        .await;
    assert_eq!(set.instances[0].phase, InstancePhase::Starting);
}
