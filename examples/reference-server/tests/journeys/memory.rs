//! Memory: an instance that takes more than its limit is killed, named as such, and started again. Where a machine cannot enforce
//! that, it says so, and so does each deploy that declares a limit.

use crate::journey::{Who, journeys};
use crate::outcome::Outcome;
use crate::platform::{Platform, eventually};
use crate::sample;
use crate::specification::Web;

journeys! {
    fn an_instance_that_takes_too_much_memory_is_killed_or_the_deploy_says_that_nothing_limits_it();
}

/// Whether limits of memory are enforced, by what the machine says of itself.
fn is_enforced(platform: &Platform) -> bool {
    let nodes = platform.json(["node", "list", "local"]);
    assert!(nodes[0]["name"].is_string(), "the machine is listed: {nodes}");
    let mut problems = nodes[0]["problems"].as_array().into_iter().flatten();
    !problems.any(|problem| problem.as_str().unwrap().contains("no limit of memory"))
}

fn instances(platform: &Platform) -> Vec<serde_json::Value> {
    let status = platform.json(["status", "shop"]);
    status["components"][0]["tracks"][0]["instances"].as_array().unwrap().clone()
}

fn an_instance_that_takes_too_much_memory_is_killed_or_the_deploy_says_that_nothing_limits_it(who: Who) {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1"]);
    let limited = Web::version("1", 2).with("resources: {memory: 32Mi}");
    let deployed = platform.deploy("shop", &limited.yaml()).ended_with(0);
    if is_enforced(&platform) {
        is_killed(&platform, &deployed);
    } else {
        // An ordinary user has no control groups unless the machine's administrator gives them some.
        assert_eq!(who, Who::User, "root has them");
        lives_on(&platform, &deployed);
    }
}

fn is_killed(platform: &Platform, deployed: &Outcome) {
    assert!(!deployed.stderr.contains("is not limited"), "{deployed:?}");
    // It may die before it has answered.
    let _ = platform.try_get("shop", "/alloc?mb=64");
    eventually("it is named, and both are ready again", || {
        let instances = instances(platform);
        let ready = instances.iter().filter(|instance| instance["phase"] == "ready").count();
        let killed = instances.iter().any(|instance| instance["last_exit"]["out_of_memory"] == true);
        (ready == 2 && killed).then_some(())
    });
    platform.answers("shop");
    eventually("the events name the limit", || {
        let events = platform.ok(["events", "shop"]);
        (events.contains("memory") && events.contains("32Mi")).then_some(())
    });
}

fn lives_on(platform: &Platform, deployed: &Outcome) {
    let note = "web is not limited in memory on local";
    assert!(deployed.stderr.contains(note), "{deployed:?}");
    assert_eq!(platform.get("shop", "/alloc?mb=64").status, 200, "nothing kills it");
    let restarts: Vec<_> = instances(platform).iter().map(|it| it["restarts"].clone()).collect();
    assert_eq!(restarts, [0, 0]);
    let without = platform.deploy("shop", &Web::version("1", 2).yaml()).ended_with(0);
    assert!(
        !without.stderr.contains("is not limited"),
        "nothing is told where no limit is declared: {without:?}"
    );
}
