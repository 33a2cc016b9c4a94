//! Memory: an instance that takes more than its limit is killed, named as such, and started again.

use crate::journey::{Who, journeys};
use crate::platform::{Platform, eventually};
use crate::sample;
use crate::specification::Web;

journeys! {
    #[root]
    fn an_instance_that_takes_too_much_memory_is_killed_and_comes_back();
}

/// Where an ordinary user has no control groups, there are no limits to run into; the server says so at its start.
fn an_instance_that_takes_too_much_memory_is_killed_and_comes_back(who: Who) {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1"]);
    platform.deploy_ok("shop", &Web::version("1", 2).with("resources: {memory: 32Mi}").yaml());
    // It may die before it has answered.
    let _ = platform.try_get("shop", "/alloc?mb=64");
    eventually("it is named, and both are ready again", || {
        let status = platform.json(["status", "shop"]);
        let instances = status["components"][0]["tracks"][0]["instances"].as_array()?.clone();
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
