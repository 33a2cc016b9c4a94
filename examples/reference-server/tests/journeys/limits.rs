//! Limits that a machine cannot enforce: the server says so before it serves.

use std::fs;

use crate::journey::{Who, journeys};
use crate::leftovers;
use crate::platform::Platform;
use crate::sample;
use crate::specification::Web;

journeys! {
    fn a_server_says_at_its_start_which_limits_it_cannot_enforce();
}

/// Whether a process is in a control group of ours where this controller works (cgroups(7)).
fn is_limited(pid: u32, controller: &str) -> bool {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    groups.lines().any(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let works = match controllers {
            // Version 2: the group tells which controllers it has.
            "" => fs::read_to_string(format!("/sys/fs/cgroup{path}/cgroup.controllers")).unwrap_or_default(),
            _ => controllers.replace(',', " "),
        };
        path.contains("/paas-") && works.split_whitespace().any(|works| works == controller)
    })
}

fn a_server_says_at_its_start_which_limits_it_cannot_enforce(who: Who) {
    let platform = Platform::start(who);
    let log = platform.server_log();
    let before = log.lines().take_while(|line| !line.contains("serving")).collect::<Vec<_>>();
    assert!(before.len() < log.lines().count(), "it serves: {log}");
    sample::versions(&platform, &["1"]);
    platform.deploy_ok("shop", &Web::version("1", 1).with("resources: {memory: 64Mi, cpu: 500m}").yaml());
    let states = leftovers::states(&platform.directory());
    let program = states.iter().find_map(|(_, state)| leftovers::program_of(state)).expect("it runs");
    let machines = platform.json(["node", "list", "local"]);
    for controller in ["memory", "cpu", "pids"] {
        let words = format!("no limit of {controller}: ");
        let is_told = before.iter().any(|line| line.contains("WARN") && line.contains(&words));
        assert_eq!(is_told, !is_limited(program, controller), "{controller}: {before:#?}");
        assert_eq!(machines[0]["problems"].to_string().contains(&words), is_told, "{machines}");
    }
}
