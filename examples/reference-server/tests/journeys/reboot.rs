//! A reboot: nothing lives, its numbers belong to others, and what was declared comes back.

use std::process::Command;

use crate::faults::running;
use crate::journey::{Who, journeys};
use crate::leftovers;
use crate::platform::eventually;

journeys! {
    fn after_a_reboot_everything_that_was_declared_comes_back();
}

/// The machine as files tell of it after a reboot: the recorded boot is another one, and the recorded processes, if there
/// are any of these numbers, are somebody else's.
fn after_a_reboot_everything_that_was_declared_comes_back(who: Who) {
    let mut platform = running(who, 3);
    platform.ok(["scale", "shop", "web=2", "--wait"]);
    platform.kill_server();
    let directory = platform.directory();
    let states = leftovers::states(&directory);
    leftovers::kill_everything(&directory);
    let mut bystander = Command::new("sleep").arg("600").spawn().unwrap();
    for (file, mut state) in states {
        state["boot_id"] = "00000000-0000-0000-0000-000000000000".into();
        state["pid"] = bystander.id().into();
        state["shim_pid"] = bystander.id().into();
        std::fs::write(file, state.to_string()).unwrap();
    }
    platform.start_server();
    eventually("as many instances as were declared are ready", || {
        let status = platform.json(["status", "shop"]);
        (status["state"] == "running" && status["components"][0]["ready"] == 2).then_some(())
    });
    platform.has_instances(2);
    platform.answers("shop");
    let alive = bystander.try_wait().unwrap().is_none();
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    assert!(alive, "a process that has the number of an older one is left alone");
}
