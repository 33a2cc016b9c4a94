//! An application's life: deployed from each kind of source, looked at, scaled, stopped, started, deleted.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::platform::{Platform, eventually};
use crate::sample;

/// The sample with a web component, an API that it calls, and a worker.
fn shop(image: &str, count: u32) -> String {
    format!(
        "
components:
- name: web
  image: '{image}'
  args: [web]
  ports: [{{name: http, number: 8080}}]
  env: {{API_URL: 'http://api:9000'}}
  depends_on: [{{component: api}}]
  instances: {{count: {count}}}
  probes: {{readiness: {{http: {{path: /readyz}}}}}}
- name: api
  image: '{image}'
  args: [api]
  ports: [{{name: http, number: 9000}}]
  env: {{PORT: 9000}}
  probes: {{readiness: {{http: {{path: /readyz}}}}}}
- name: worker
  kind: worker
  image: '{image}'
  args: [worker]
  env: {{WORK_INTERVAL_MS: 100}}
routes: [{{name: web, component: web}}]
"
    )
}

/// One web component.
pub fn web(image: &str, count: u32) -> String {
    format!(
        "
components:
- name: web
  image: '{image}'
  args: [web]
  ports: [{{name: http, number: 8080}}]
  instances: {{count: {count}}}
  probes: {{readiness: {{http: {{path: /readyz}}}}}}
routes: [{{name: web, component: web}}]
"
    )
}

#[test]
fn an_application_of_three_components_is_deployed_from_a_layout() {
    let platform = Platform::start();
    sample::layout(&platform.folder().join("images"), &["1"]);
    platform.deploy_ok("shop", &shop("oci:images:1", 3));

    let answer = platform.get("shop", "/api/greeting");
    assert_eq!(answer.status, 200, "the web component reaches the API that it declares: {answer:?}");
    let instances: std::collections::BTreeSet<_> = (0..30)
        .map(|_| platform.get("shop", "/api/info").body)
        .map(|body| serde_json::from_str::<serde_json::Value>(&body).unwrap()["instance"].to_string())
        .collect();
    assert_eq!(instances.len(), 3, "requests reach all three instances");

    // What is not declared cannot be reached: the worker declares no dependency, so that it knows no API.
    let undeclared =
        platform.run(["exec", "shop", "worker", "--", "/sample-app", "get", "http://api:9000/greeting"]);
    assert_ne!(undeclared.code, 0, "{undeclared:?}");
    let declared =
        platform.run(["exec", "shop", "web", "--", "/sample-app", "get", "http://api:9000/greeting"]);
    assert_eq!(declared.code, 0, "{declared:?}");

    eventually("the worker's lines arrive", || {
        platform.run(["logs", "shop", "worker", "-n", "5"]).stdout.lines().nth(2).map(drop)
    });
    let exit = platform.run(["exec", "shop", "web", "--", "/sample-app", "exit", "7"]);
    assert_eq!(exit.code, 7, "exec ends with the command's code: {exit:?}");
    let input = platform
        .run_with_input(["exec", "-i", "shop", "web", "--", "/sample-app", "cat"], "through and back");
    assert_eq!((input.code, input.stdout.as_str()), (0, "through and back"), "{input:?}");
    let once = platform.run(["run", "shop", "web", "--", "/sample-app", "print", "once"]);
    assert_eq!((once.code, once.stdout.trim()), (0, "once"), "{once:?}");
}

#[test]
fn an_application_is_deployed_from_an_archive() {
    let platform = Platform::start();
    let archive = platform.folder().join("web.tar");
    sample::image("from-archive").build().unwrap().write_archive(&archive, &["1".parse().unwrap()]).unwrap();
    platform.deploy_ok("shop", &web("oci-archive:web.tar:1", 1));
    assert_eq!(platform.get("shop", "/").version, "from-archive");
}

#[test]
#[ignore = "needs docker-registry: apt-get install docker-registry; run by cargo xtask test"]
fn an_application_is_deployed_from_a_registry() {
    let platform = Platform::start();
    let registry = sample::registry(platform.folder());
    let image = registry.push("shop/web", "1", "from-registry");
    platform.deploy_ok("shop", &web(&image, 1));
    assert_eq!(platform.get("shop", "/").version, "from-registry");
}

#[test]
fn an_application_is_scaled_stopped_started_and_deleted() {
    let platform = Platform::start();
    sample::layout(&platform.folder().join("images"), &["1"]);
    platform.deploy_ok("shop", &web("oci:images:1", 1));
    for count in [10_usize, 1] {
        let begun = Instant::now();
        platform.ok(["scale", "shop", &format!("web={count}"), "--wait"]);
        assert!(begun.elapsed() < Duration::from_secs(10), "scaling took {:?}", begun.elapsed());
        eventually("as many instances as declared", || {
            (platform.processes("__shim").len() == count).then_some(())
        });
    }
    let refused = platform.run(["scale", "shop", "web=11"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("10"), "the bound is named: {refused:?}");

    platform.ok(["scale", "shop", "web=2", "--wait"]);
    platform.ok(["stop", "shop"]);
    eventually("nothing runs", || platform.processes("__shim").is_empty().then_some(()));
    let stopped = platform.get("shop", "/");
    assert_eq!(stopped.status, 503);
    assert!(stopped.body.contains("stopped"), "{stopped:?}");
    platform.ok(["start", "shop"]);
    eventually("it answers again", || (platform.get("shop", "/").status == 200).then_some(()));
    eventually("both instances are back", || (platform.processes("__shim").len() == 2).then_some(()));

    let unsure = platform.run(["delete", "shop"]);
    assert_ne!(unsure.code, 0, "without an answer nothing is deleted");
    assert_eq!(platform.get("shop", "/").status, 200);
    let deleted = platform.run(["delete", "shop", "--yes", "--wait"]);
    assert_eq!(deleted.code, 0, "{deleted:?}");
    assert_eq!(platform.get("shop", "/").status, 404);
    assert!(platform.processes("__shim").is_empty());
}

#[test]
fn settings_and_secrets_reach_the_application_and_nothing_else() {
    let canary = "c4n@ry/value+with=odd&bytes";
    let platform = Platform::start();
    sample::layout(&platform.folder().join("images"), &["1"]);
    platform.deploy_ok("shop", &web("oci:images:1", 1));
    platform.ok(["config", "set", "shop", "THEME=dark"]);
    let set = platform.run_with_input(["secret", "set", "shop", "API_KEY"], canary);
    assert_eq!(set.code, 0, "{set:?}");
    let spec = web("oci:images:1", 1).replace(
        "  instances",
        "  env: {THEME: {config: THEME}, API_KEY: {secret: API_KEY}}\n  files: [{path: /run/key, secret: API_KEY}]\n  instances",
    );
    platform.deploy_ok("shop", &spec);
    assert_eq!(platform.get("shop", "/env?name=THEME").body, "dark");
    assert_eq!(platform.get("shop", "/env?name=API_KEY").body, canary);
    assert_eq!(platform.get("shop", "/file?path=/run/key").body, canary);

    let encoded = [canary.to_owned(), base64(canary), "c4n%40ry%2Fvalue%2Bwith%3Dodd%26bytes".to_owned()];
    for needle in &encoded {
        let found =
            Command::new("grep").args(["-rlaF", "--", needle]).arg(platform.directory()).output().unwrap();
        assert!(found.stdout.is_empty(), "{needle} lies in {}", String::from_utf8_lossy(&found.stdout));
        assert!(!platform.server_log().contains(needle.as_str()));
        for words in [["secret", "list", "shop"], ["releases", "shop", "2"], ["events", "shop", "-n"]] {
            let words: Vec<_> =
                words.into_iter().filter(|word| *word != "-n").chain(["-o", "json"]).collect();
            let answer = platform.run(words.clone()).text();
            assert!(!answer.contains(needle.as_str()), "{words:?} tells the secret");
        }
    }
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
