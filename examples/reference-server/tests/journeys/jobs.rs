//! Jobs of a release: run to their end before what depends on them; a release whose job fails changes nothing.

use crate::application::only;
use crate::journey::{Who, journeys};
use crate::leftovers;
use crate::outcome::Background;
use crate::platform::{Platform, eventually};
use crate::sample;

journeys! {
    fn what_depends_on_a_job_waits_until_it_has_ended();
    fn a_release_whose_job_fails_goes_back_and_is_explained();
}

/// A web component that depends on a job with these arguments.
fn specification(version: &str, job: &str) -> String {
    format!(
        "
components:
- name: migrate
  kind: job
  image: 'oci:images:{version}'
  args: [{job}]
- name: web
  image: 'oci:images:{version}'
  args: [web]
  ports: [{{name: http, number: 8080}}]
  depends_on: [{{component: migrate}}]
  instances: {{count: 2}}
  probes: {{readiness: {{http: {{path: /readyz}}}}}}
routes: [{{name: web, component: web}}]
"
    )
}

/// The containers of a component that were made and are not removed.
fn containers(platform: &Platform, component: &str) -> Vec<serde_json::Value> {
    let states = leftovers::states(&platform.directory());
    let of_component = states.into_iter().filter(|(file, _)| {
        let folder = file.parent().and_then(|folder| folder.file_name()).unwrap();
        folder.to_string_lossy().starts_with(&format!("{component}-"))
    });
    of_component.map(|(_, state)| state).collect()
}

fn runs(platform: &Platform, component: &str) -> bool {
    containers(platform, component).iter().any(|state| leftovers::program_of(state).is_some())
}

fn what_depends_on_a_job_waits_until_it_has_ended(who: Who) {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1", "2"]);
    let file = platform.specify(&specification("1", "sleep, '2000'"));
    let mut command =
        platform.command(["deploy", "shop", "--create", "-f", &file, "--wait", "--timeout", "60s"]);
    let deploying = Background::start(&mut command);
    eventually("the web component waits for the job, which runs", || {
        let status = platform.run(["status", "shop"]).stdout;
        (runs(&platform, "migrate") && status.contains("waits for component `migrate`")).then_some(())
    });
    eventually("the web component begins", || (!containers(&platform, "web").is_empty()).then_some(()));
    assert!(!runs(&platform, "migrate"), "the job had ended by then");
    deploying.end().ended_with(0);
    assert_eq!(platform.versions("shop", 12), only("1"));

    // Each release has a run of its own, and what it printed can be read afterwards.
    platform.deploy_ok("shop", &specification("2", "print, migrated"));
    assert_eq!(platform.versions("shop", 12), only("2"));
    let printed = platform.ok(["logs", "shop", "migrate"]);
    assert_eq!(printed.matches("migrated").count(), 1, "{printed}");
    assert!(!runs(&platform, "migrate"));
}

fn a_release_whose_job_fails_goes_back_and_is_explained(who: Who) {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1", "2"]);
    platform.deploy_ok("shop", &specification("1", "print, migrated"));
    let before = platform.shims();
    let outcome = platform.deploy("shop", &specification("2", "migrate")).ended_with(3);
    let status = platform.ok(["status", "shop"]);
    let (events, history) = (platform.ok(["events", "shop"]), platform.ok(["releases", "shop"]));
    for told in [&outcome.stderr, &status, &events, &history] {
        for word in ["migrate", "code 2", "sample-app has no `migrate`"] {
            assert!(told.contains(word), "{word:?} is told: {told}");
        }
    }
    assert_eq!(platform.shims(), before, "no instance of the web component was touched");
    assert_eq!(platform.versions("shop", 12), only("1"));
    platform.deploy_ok("shop", &specification("2", "print, migrated"));
    assert_eq!(platform.versions("shop", 12), only("2"));
}
