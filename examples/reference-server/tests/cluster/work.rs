//! What runs to completion on a cluster: by a schedule, and because somebody asks for it.

use serde_json::Value;

use crate::place;
use crate::platform::{Platform, eventually};
use crate::sample;
use crate::specification::Web;

/// An application that is a scheduled job alone.
fn report(image: &str, command: &str) -> String {
    format!(
        "
components:
- name: report
  kind: scheduled_job
  image: '{image}'
  args: [{command}]
  schedule: {{cron: '*/5 * * * * *', overlap: forbid}}
"
    )
}

fn runs(platform: &Platform) -> Vec<Value> {
    platform.json(["runs", "shop", "report"]).as_array().unwrap().clone()
}

/// The run that was made last of those that have ended with this code.
fn ended(platform: &Platform, code: i64) -> Option<Value> {
    runs(platform).into_iter().find(|run| run["ended_at"].is_string() && run["exit_code"] == code)
}

pub fn runs_by_its_schedule() {
    let mut platform = place::start();
    let image = sample::pushed(&platform, place::first(), &["1"]).remove(0);
    platform.deploy_ok("shop", &report(&image, "print, reported"));
    let run = eventually("a run has ended", || ended(&platform, 0));
    assert_eq!(run["origin"]["type"], "schedule", "{run:#}");
    let id = run["id"].as_str().unwrap();
    let lines = platform.ok(["logs", "shop", "report", "--instance", id]);
    assert!(lines.contains("reported"), "{lines}");

    // The times go on with another server.
    platform.kill_server();
    platform.start_server();
    let newest = |platform: &Platform| runs(platform)[0]["created_at"].as_str().map(str::to_owned);
    let before = newest(&platform);
    eventually("a later time runs", || (newest(&platform) > before).then_some(()));
    let mut times: Vec<String> =
        runs(&platform).iter().filter_map(|run| run["origin"]["at"].as_str().map(str::to_owned)).collect();
    let all = times.len();
    times.sort();
    times.dedup();
    assert_eq!(times.len(), all, "no time runs twice");

    platform.deploy_ok("shop", &report(&image, "exit, \"3\""));
    let failed = eventually("a run fails", || ended(&platform, 3));
    let at = failed["origin"]["at"].as_str().unwrap();
    eventually("the failure is told", || {
        let events = platform.ok(["events", "shop"]);
        (events.contains(&format!("the run of {at} failed")) && events.contains("code 3")).then_some(())
    });
    platform.ok(["delete", "shop", "--yes", "--wait", "--timeout", "60s"]);
}

pub fn a_command_reads_its_input() {
    let platform = place::start();
    let image = sample::pushed(&platform, place::first(), &["1"]).remove(0);
    platform.deploy_ok("shop", &Web::new(&image, 1).env("LEVEL: high").yaml());
    let cat = |verb: &'static str| [verb, "-i", "shop", "web", "--", "/sample-app", "cat"];
    let said = platform.run_with_input(cat("run"), "in and out\n").ended_with(0);
    assert_eq!(said.stdout, "in and out\n");
    // More than any buffer on the way holds; in an instance, because a node that is busy can lose the end of what a
    // container printed just before it ended.
    let input = "through and back\n".repeat(50_000);
    let inside = platform.run_with_input(cat("exec"), &input).ended_with(0);
    assert!(inside.stdout == input, "{} of {} bytes came back", inside.stdout.len(), input.len());
    let seen = platform.ok(["run", "shop", "web", "--", "/sample-app", "env"]);
    assert!(seen.contains("LEVEL=high"), "a command sees what instances see: {seen}");
    let missing = platform.run(["run", "shop", "web", "--", "/missing"]);
    assert_ne!(missing.code, 0);
    missing.complained_of(&["/missing"]);
}
