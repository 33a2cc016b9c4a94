//! Scheduled jobs: what runs, when, and what is told of it.

use serde_json::Value;

use crate::journey::{Who, journeys};
use crate::platform::{Platform, eventually};
use crate::sample;

journeys! {
    fn a_scheduled_job_runs_by_its_schedule_and_its_runs_are_told();
    fn a_schedule_that_cannot_be_followed_is_refused_whole();
}

/// An application that is a scheduled job alone.
fn specification(command: &str, cron: &str) -> String {
    format!(
        "
components:
- name: report
  kind: scheduled_job
  image: 'oci:images:1'
  args: [{command}]
  schedule: {{cron: '{cron}', overlap: allow}}
"
    )
}

fn runs(platform: &Platform) -> Vec<Value> {
    platform.json(["runs", "shop", "report"]).as_array().unwrap().clone()
}

/// The run that was made last of those that have ended.
fn ended(platform: &Platform) -> Option<Value> {
    runs(platform).into_iter().find(|run| run["ended_at"].is_string())
}

fn a_scheduled_job_runs_by_its_schedule_and_its_runs_are_told(who: Who) {
    let mut platform = Platform::start(who);
    sample::versions(&platform, &["1"]);
    platform.deploy_ok("shop", &specification("print, reported", "*/1 * * * * *"));
    let run = eventually("a run has ended", || ended(&platform));
    assert_eq!(run["exit_code"], 0, "{run:#}");
    assert_eq!(run["origin"]["type"], "schedule", "{run:#}");
    let id = run["id"].as_str().unwrap();
    let lines = platform.ok(["logs", "shop", "report", "--instance", id]);
    assert!(lines.contains("reported"), "{lines}");

    // The times go on with another server, and none runs twice: each has one identity.
    platform.kill_server();
    platform.start_server();
    let newest = |platform: &Platform| runs(platform)[0]["created_at"].as_str().map(str::to_owned);
    let before = newest(&platform);
    eventually("a later time runs", || (newest(&platform) > before).then_some(()));

    let status = platform.json(["status", "shop"]);
    let schedule = &status["components"][0]["schedule"];
    assert!(schedule["next"].is_string() && schedule["last"]["id"].is_string(), "{schedule:#}");
    assert!(platform.ok(["status", "shop"]).contains("*/1 * * * * * UTC"));
    eventually("a bounded number is kept", || (runs(&platform).len() >= 10).then_some(()));
    eventually("and no more of those that have ended", || {
        let ended = runs(&platform).into_iter().filter(|run| run["ended_at"].is_string()).count();
        (ended <= 10).then_some(())
    });

    platform.ok(["stop", "shop"]);
    eventually("nothing is under way", || {
        runs(&platform).iter().all(|run| run["ended_at"].is_string()).then_some(())
    });
    let before = newest(&platform);
    std::thread::sleep(std::time::Duration::from_secs(3)); // what must not happen has no predicate
    assert_eq!(newest(&platform), before, "it is offline");
    platform.ok(["start", "shop"]);
    eventually("it runs again", || (newest(&platform) > before).then_some(()));

    platform.deploy_ok("shop", &specification("exit, \"3\"", "*/1 * * * * *"));
    let failed = eventually("a run fails", || ended(&platform).filter(|run| run["exit_code"] == 3));
    let at = failed["origin"]["at"].as_str().unwrap();
    eventually("the failure is told", || {
        let events = platform.ok(["events", "shop"]);
        (events.contains(&format!("the run of {at} failed")) && events.contains("code 3")).then_some(())
    });

    // By hand: an action like any other, and a run like the others.
    platform.deploy_ok("shop", &specification("print, now", "0 0 1 1 *"));
    let now = platform.run(["run", "shop", "report"]).ended_with(0);
    assert_eq!(now.stdout, "now\n");
    assert_eq!(runs(&platform)[0]["origin"]["type"], "manual");
    assert!(platform.ok(["audit"]).contains("exec.start_run"));

    platform.ok(["delete", "shop", "--yes"]);
    eventually("nothing is left", || platform.shims().is_empty().then_some(()));
}

fn a_schedule_that_cannot_be_followed_is_refused_whole(who: Who) {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1"]);
    let wrong = "
components:
- {name: a, kind: scheduled_job, image: 'oci:images:1'}
- {name: b, kind: scheduled_job, image: 'oci:images:1', schedule: {cron: '0 0 30 2 *', time_zone: Europe/Berln}}
- {name: c, kind: worker, image: 'oci:images:1', schedule: {cron: '* * * * *'}}
";
    platform.deploy("shop", wrong).ended_with(1).complained_of(&[
        "components[0].schedule",
        "components[1].schedule.cron",
        "components[1].schedule.time_zone",
        "components[2].schedule",
    ]);
}
