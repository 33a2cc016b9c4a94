//! What the machine promises beyond the suites while it is open.

use std::time::Instant;

use paas_core::conformance::Promise;
use paas_core::model::{
    CallTarget, Probe, ProbeCheck, ResolvedFile, ResolvedValue, SecretFingerprint, SecretRef, VolumeMount,
};
use paas_core::port::{Epoch, InstancePhase, Runtime as _};
use paas_gateway::Source;

use super::fixture::{CANARY, EPOCH, Fixture, eventually, get_from, holds, http_port, ok, plain};

pub(crate) fn promises() -> Vec<Promise<Fixture>> {
    macro_rules! list {
        ($($name:ident),* $(,)?) => {
            vec![$(Promise { name: stringify!($name), check: |fixture| Box::pin($name(fixture)) }),*]
        };
    }
    list![
        three_instances_are_ready_soon,
        a_failed_readiness_probe_takes_an_instance_out_of_service_until_it_passes,
        a_failed_liveness_probe_starts_an_instance_anew,
        a_startup_probe_gives_a_slow_start_its_time,
        a_start_that_takes_too_long_is_told,
        a_crash_loop_tells_the_exit_code_and_the_last_lines,
        a_gateway_that_was_killed_comes_back_and_serves,
        components_call_each_other_by_name_and_both_ends_are_counted,
        a_name_that_was_not_declared_is_unknown,
        volumes_outlive_instances_and_go_with_a_purge,
        secrets_reach_the_instance_and_no_disk,
    ]
}

/// A probe that asks every second and judges after one answer.
fn quick(check: ProbeCheck) -> Probe {
    Probe { period_seconds: 1, failure_threshold: 1, ..Probe::new(check) }
}

fn health() -> Probe {
    quick(ProbeCheck::Http { path: "/health".to_owned(), port: None })
}

async fn three_instances_are_ready_soon(fixture: &Fixture) {
    let mut template = fixture.web(&fixture.component("web"));
    template.env.insert("DELAY_MS".to_owned(), plain("20"));
    // The first set also unpacks the image.
    let first = fixture.ensure(template.clone(), 1).await;
    fixture.until_ready(&first, 1).await;
    let begun = Instant::now();
    template.component = fixture.component("other");
    let key = fixture.ensure(template, 3).await;
    fixture.until_ready(&key, 3).await;
    println!("three instances were ready after {:?}", begun.elapsed());
}

async fn a_failed_readiness_probe_takes_an_instance_out_of_service_until_it_passes(fixture: &Fixture) {
    let mut template = fixture.web(&fixture.component("web"));
    template.probes.readiness = Some(health());
    let key = fixture.ensure(template, 1).await;
    fixture.until_ready(&key, 1).await;
    fixture.route(&key.track, "web.test").await;
    fixture.until_answer("web.test", "/break", |status, _| status == 200).await;
    let set =
        fixture.until("it is not ready", &key, |set| set.instances[0].phase == InstancePhase::Unready).await;
    let failure = set.instances[0].failure.as_ref().expect("it says why");
    assert_eq!(failure.reason, "not_ready");
    assert!(failure.message.contains("500"), "{failure:?}");
    assert_eq!(set.instances[0].ready_since, None);
    assert_eq!(fixture.get("web.test", "/").await.0, 503, "what is shown as unready is not served");
    // Nobody outside reaches it now.
    get_from(fixture, &set.instances[0].id, "/mend").await;
    let set = fixture.until_ready(&key, 1).await;
    assert_eq!((set.instances[0].restarts, &set.instances[0].failure), (0, &None));
    assert_eq!(fixture.get("web.test", "/").await.0, 200);
}

async fn a_failed_liveness_probe_starts_an_instance_anew(fixture: &Fixture) {
    let mut template = fixture.web(&fixture.component("web"));
    template.probes.liveness = Some(health());
    let key = fixture.ensure(template, 1).await;
    let before = fixture.until_ready(&key, 1).await;
    fixture.route(&key.track, "web.test").await;
    fixture.until_answer("web.test", "/break", |status, _| status == 200).await;
    let set =
        fixture.until("why it ended", &key, |set| set.instances[0].phase == InstancePhase::BackOff).await;
    let failure = set.instances[0].failure.as_ref().expect("it says why");
    assert_eq!(failure.reason, "unhealthy");
    assert!(failure.message.contains("500"), "{failure:?}");
    let set = fixture.until("it is ready again", &key, |set| set.ready() == 1).await;
    let instance = &set.instances[0];
    assert_eq!((&instance.id, instance.restarts), (&before.instances[0].id, 1));
    assert_eq!(instance.last_exit.as_ref().and_then(|exit| exit.signal), Some(9));
    assert_eq!(fixture.get("web.test", "/health").await, (200, "well".to_owned()));
}

async fn a_startup_probe_gives_a_slow_start_its_time(fixture: &Fixture) {
    let mut template = fixture.web(&fixture.component("web"));
    template.env.insert("DELAY_MS".to_owned(), plain("2500"));
    template.probes.startup = Some(Probe { failure_threshold: 20, ..quick(ProbeCheck::Tcp { port: None }) });
    template.probes.liveness = Some(health());
    let key = fixture.ensure(template, 1).await;
    let set = fixture.until("it says what it waits for", &key, |set| {
        set.instances[0].phase == InstancePhase::Starting && set.instances[0].failure.is_some()
    });
    let failure = set.await.instances[0].failure.clone().expect("just waited for");
    assert_eq!(failure.reason, "not_ready");
    assert!(failure.message.contains("8080"), "{failure:?}");
    let set = fixture.until_ready(&key, 1).await;
    assert_eq!(set.instances[0].restarts, 0, "the liveness probe did not ask before it had started");
}

async fn a_start_that_takes_too_long_is_told(fixture: &Fixture) {
    let mut template = fixture.template(&fixture.component("web"), &["sleep"]);
    template.probes.startup = Some(health());
    let key = fixture.ensure(template, 1).await;
    let set = fixture
        .until("why it ended", &key, |set| {
            set.instances[0].failure.as_ref().is_some_and(|failure| failure.reason == "unhealthy")
        })
        .await;
    let message =
        set.instances[0].failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default();
    assert!(message.contains("had not started after 1 s"), "{message}");
    fixture.until("another start", &key, |set| set.instances[0].restarts > 0).await;
}

async fn a_crash_loop_tells_the_exit_code_and_the_last_lines(fixture: &Fixture) {
    let template =
        fixture.template(&fixture.component("web"), &["fail", "78", "reading config", "no such key: PORT"]);
    let key = fixture.ensure(template, 1).await;
    let set = fixture
        .until("a crash loop", &key, |set| {
            let failure = set.instances[0].failure.as_ref();
            set.instances[0].restarts > 1 && failure.is_some_and(|failure| failure.reason == "crash_loop")
        })
        .await;
    let failure = set.instances[0].failure.as_ref().expect("just waited for");
    assert!(failure.message.contains("78"), "{failure:?}");
    assert_eq!(failure.last_lines, ["reading config", "no such key: PORT"]);
}

async fn a_gateway_that_was_killed_comes_back_and_serves(fixture: &Fixture) {
    let key = fixture.ensure(fixture.web(&fixture.component("web")), 1).await;
    let before = fixture.until_ready(&key, 1).await;
    fixture.route(&key.track, "web.test").await;
    let address = fixture.machine().gateway_address();
    let body = fixture.until_answer("web.test", "/", |status, _| status == 200).await;
    let gateway = fixture.machine().gateway();
    let pid = gateway.hello().await.expect("it answers").pid;
    let process = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a process");
    rustix::process::kill_process(process, rustix::process::Signal::KILL).expect("it is killed");
    let begun = Instant::now();
    eventually("another gateway", async || match gateway.hello().await {
        Ok(hello) if hello.pid != pid => Ok(()),
        other => Err(other.map(|hello| hello.pid)),
    })
    .await;
    let again = fixture.until_answer("web.test", "/", |status, _| status == 200).await;
    println!("the gateway served again after {:?}", begun.elapsed());
    assert_eq!(again, body, "the same instance answers");
    assert_eq!(fixture.machine().gateway_address(), address, "at the same address");
    assert_eq!(fixture.until_ready(&key, 1).await, before, "no instance noticed");
}

async fn components_call_each_other_by_name_and_both_ends_are_counted(fixture: &Fixture) {
    let (front, back) = (fixture.component("front"), fixture.component("back"));
    let mut template = fixture.web(&back);
    template.env.insert("REVISION".to_owned(), plain("the back"));
    let back_key = fixture.ensure(template, 1).await;
    let mut template = fixture.web(&front);
    template.calls = vec![CallTarget { component: back.clone(), port: http_port() }];
    let front_key = fixture.ensure(template, 1).await;
    fixture.until_ready(&back_key, 1).await;
    fixture.until_ready(&front_key, 1).await;
    fixture.route(&back_key.track, "back.test").await;
    fixture.route(&front_key.track, "front.test").await;
    // The caller listens on that port itself, so that the other one has another number there.
    let port = fixture.until_answer("front.test", "/env/BACK_PORT", |status, _| status == 200).await;
    let call = format!("/call/back:{port}");
    let body = fixture.until_answer("front.test", &call, |_, body| body.contains("200 OK")).await;
    assert!(body.ends_with("the back"), "{body}");
    let statistics = fixture.machine().gateway().statistics().await.expect("it answers");
    let called = statistics.entries.iter().find(|entry| {
        matches!(&entry.source, Source::Component(caller) if caller.as_str() == front.to_string())
            && entry.service.as_ref().is_some_and(|service| service.as_str() == back.to_string())
            && entry.revision.as_ref().is_some_and(|revision| revision.as_str() == "r1")
    });
    let called = called.unwrap_or_else(|| panic!("the call is not counted: {statistics:#?}"));
    assert!(called.requests[1] >= 1, "{called:?}");
}

async fn a_name_that_was_not_declared_is_unknown(fixture: &Fixture) {
    let back = fixture.ensure(fixture.web(&fixture.component("back")), 1).await;
    let front = fixture.ensure(fixture.web(&fixture.component("front")), 1).await;
    fixture.until_ready(&back, 1).await;
    fixture.until_ready(&front, 1).await;
    fixture.route(&front.track, "front.test").await;
    let body = fixture.until_answer("front.test", "/call/back:80", |status, _| status == 200).await;
    assert!(!body.contains("HTTP/1.1"), "it is not reached: {body}");
}

async fn volumes_outlive_instances_and_go_with_a_purge(fixture: &Fixture) {
    let mut template = fixture.web(&fixture.component("web"));
    template.volumes.push(VolumeMount {
        name: "data".parse().expect("a name"),
        path: "/data".to_owned(),
        read_only: false,
    });
    let key = fixture.ensure(template.clone(), 1).await;
    let before = fixture.until_ready(&key, 1).await;
    fixture.route(&key.track, "web.test").await;
    fixture.until_answer("web.test", "/write/remembered", |status, _| status == 200).await;
    fixture.kill_process(&before.instances[0].id);
    fixture.until("it starts again", &key, |set| set.ready() == 1 && set.instances[0].restarts == 1).await;
    assert_eq!(fixture.get("web.test", "/file/data/text").await, (200, "remembered".to_owned()));
    ok(fixture.machine().remove(EPOCH, &key).await);
    eventually("the set is gone", async || fixture.observe(&key).await.map_or(Ok(()), Err)).await;
    fixture.ensure(template, 1).await;
    fixture.until_ready(&key, 1).await;
    assert_eq!(fixture.get("web.test", "/file/data/text").await, (200, "remembered".to_owned()));
    ok(fixture.machine().remove(EPOCH, &key).await);
    eventually("the set is gone", async || fixture.observe(&key).await.map_or(Ok(()), Err)).await;
    assert!(holds(&fixture.state().join("volumes"), "remembered"), "the volume is there without a set");
    ok(fixture.machine().purge(Epoch(u64::MAX), &key.track).await);
    assert!(!holds(&fixture.state().join("volumes"), "remembered"), "the volume is gone");
}

async fn secrets_reach_the_instance_and_no_disk(fixture: &Fixture) {
    let secret = || {
        ResolvedValue::Secret(SecretRef {
            name: "TOKEN".to_owned(),
            version: 1,
            fingerprint: SecretFingerprint("0".repeat(64)),
        })
    };
    let mut template = fixture.web(&fixture.component("web"));
    template.env.insert("TOKEN".to_owned(), secret());
    template.files.push(ResolvedFile { path: "/run/token".to_owned(), content: secret(), mode: 0o444 });
    let key = fixture.ensure(template, 1).await;
    fixture.until_ready(&key, 1).await;
    fixture.route(&key.track, "web.test").await;
    assert_eq!(fixture.until_answer("web.test", "/env/TOKEN", |status, _| status == 200).await, CANARY);
    assert_eq!(fixture.get("web.test", "/file/run/token").await, (200, CANARY.to_owned()));
    assert!(!holds(&fixture.state(), CANARY), "the secret is on the disk");
    assert!(holds(&fixture.state(), "web.test"), "the search finds what is there");
}
