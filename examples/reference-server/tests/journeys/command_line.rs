//! The command line as people and scripts see it.

use std::process::Command;

use crate::journey::{Who, journeys};
use crate::outcome::Outcome;
use crate::platform::{Platform, Setup};
use crate::sample;
use crate::specification::Web;
use crate::terminal::Terminal;

journeys! {
    fn every_exit_code_means_what_the_help_says();
    fn results_are_tables_json_or_yaml();
    fn colour_is_for_terminals();
    fn a_login_is_kept_and_used();
    fn who_waits_sees_how_far_a_release_is();
    fn shells_complete_what_is_typed();
    fn organisations_environments_and_applications_are_changed_and_deleted();
}

fn every_exit_code_means_what_the_help_says(who: Who) {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1"]);
    let run = |words: &str| platform.run(words.split(' '));
    run("--help").ended_with(0);
    run("org list").ended_with(0);
    run("delpoy shop").ended_with(2).complained_of(&["deploy"]);
    run("deploy shop").ended_with(2);
    run("status").ended_with(0);
    run("status shop").ended_with(7).complained_of(&["shop"]);
    run("org show nowhere").ended_with(7).complained_of(&["nowhere"]);
    run("org create acme").ended_with(8).complained_of(&["acme"]);
    run("org create Acme!").ended_with(2).complained_of(&["Acme!"]);
    run("status --server http://127.0.0.1:1").ended_with(5).complained_of(&["paas server"]);
    run("status --server nonsense").ended_with(2).complained_of(&["http://127.0.0.1:7878"]);
    let mut command = platform.command(["status"]);
    Outcome::of(command.env("PAAS_TOKEN", "nonsense")).ended_with(6).complained_of(&["paas login"]);
    let mut command = platform.command(["status"]);
    Outcome::of(command.env_remove("PAAS_ORG")).ended_with(2).complained_of(&["--org", "PAAS_ORG"]);
    let wrong = Web::version("1", 0).with("prots: []").yaml();
    platform.deploy("shop", &wrong).ended_with(1).complained_of(&["prots"]);
    // Every fault is named, with its path.
    let wrong = Web::version("1", 11).with("depends_on: [{component: nothing}]").yaml();
    let refused = platform.deploy("shop", &wrong).ended_with(1);
    refused.complained_of(&["components[0].instances", "components[0].depends_on[0]"]);
    platform.deploy_ok("shop", &Web::version("1", 1).yaml());
    let slow = platform.specify(&Web::version("1", 1).env("READY_DELAY_MS: '60000'").yaml());
    let words = ["deploy", "shop", "-f", &slow, "--wait", "--timeout", "1s"];
    platform.run(words).ended_with(4).complained_of(&["paas abort shop", "it goes on"]);
    run("deploy shop --current").ended_with(8).complained_of(&["release 2", "abort it", "release 1"]);
    run("abort shop").ended_with(0);
}

fn results_are_tables_json_or_yaml(who: Who) {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1", "2"]);
    platform.deploy_ok("shop", &Web::version("1", 1).yaml());
    platform.ok(["config", "set", "shop", "LEVEL=1"]);
    platform.ok(["deploy", "shop", "--image", "web=oci:images:2", "--wait"]);
    for words in [
        &["org", "list"][..],
        &["org", "show", "acme"],
        &["env", "list"],
        &["env", "show", "prod"],
        &["app", "list"],
        &["app", "show", "shop"],
        &["status"],
        &["status", "shop"],
        &["releases", "shop"],
        &["releases", "shop", "1"],
        &["diff", "shop", "1", "2"],
        &["config", "show", "shop"],
        &["config", "history", "shop"],
        &["secret", "list", "shop"],
        &["route", "list", "shop"],
        &["grant", "list"],
        &["token", "list"],
        &["audit"],
        &["scale", "shop", "web=1"],
        &["deploy", "shop", "--current", "--wait"],
    ] {
        let table = platform.ok(words.iter().copied());
        assert!(!table.trim().is_empty() && !table.contains('\u{1b}'), "{words:?}: {table:?}");
        let json = platform.json(words.iter().copied());
        let yaml = platform.ok(words.iter().copied().chain(["-o", "yaml"]));
        let yaml: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
        // What changes something, or is written down itself, is not the same twice.
        if !matches!(words[0], "scale" | "deploy" | "audit") {
            assert_eq!(json, yaml, "{words:?}");
        }
    }
    // One document an item, so that a stream can be read as it comes.
    let events = platform.ok(["events", "shop", "-o", "json"]);
    assert!(events.lines().count() > 3);
    assert!(events.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{events}");
    // An error is for programs too.
    let missing = platform.run(["status", "none", "-o", "json"]).ended_with(7);
    let problem: serde_json::Value = serde_json::from_str(&missing.stderr).unwrap();
    assert_eq!((&problem["status"], &problem["kind"]), (&404.into(), &"not_found".into()));
}

fn colour_is_for_terminals(who: Who) {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1"]);
    platform.deploy_ok("shop", &Web::version("1", 1).yaml());
    let colour = |words: &str| platform.ok(words.split(' ')).contains('\u{1b}');
    assert!(!colour("status shop"), "not in a pipe");
    assert!(colour("status shop --color always"));
    let on_terminal = |variables: &[(&str, &str)], words: &str| {
        let mut command = platform.command(words.split(' '));
        let (code, shown) = Terminal::start(command.envs(variables.iter().copied())).end();
        assert_eq!(code, 0, "{shown}");
        shown
    };
    assert!(on_terminal(&[], "status shop").contains('\u{1b}'), "on a terminal");
    assert!(!on_terminal(&[("NO_COLOR", "1")], "status shop").contains('\u{1b}'));
    assert!(!on_terminal(&[], "status shop --color never").contains('\u{1b}'));
    assert!(!on_terminal(&[], "status shop -o json").contains('\u{1b}'), "JSON is for programs");
    let live = on_terminal(&[], "restart shop --wait");
    assert!(live.contains('●') && live.contains("release 2"), "a live view: {live:?}");
}

fn a_login_is_kept_and_used(who: Who) {
    let platform = Platform::start(who);
    let plain = |words: &[&str]| {
        let mut command = platform.command(words.iter().copied());
        for name in ["PAAS_SERVER", "PAAS_TOKEN", "PAAS_ORG", "PAAS_ENV"] {
            command.env_remove(name);
        }
        command
    };
    Outcome::of(&mut plain(&["status"])).ended_with(2).complained_of(&["paas login"]);
    let login = ["login", platform.api(), "--org", "acme", "--env", "prod"];
    let wrong = Outcome::with_input(&mut plain(&login), b"paas_0123456789abcdef_nonsense\n");
    wrong.ended_with(6);
    let right = Outcome::with_input(&mut plain(&login), format!("{}\n", platform.token()).as_bytes());
    assert!(right.ended_with(0).stdout.contains("user:admin"));
    Outcome::of(&mut plain(&["status"])).ended_with(0);
    Outcome::of(&mut plain(&["env", "create", "test"])).ended_with(0);
    // Only the environment changes; the token is known.
    Outcome::of(&mut plain(&["login", platform.api(), "--env", "test"])).ended_with(0);
    // A token is never sent to a server that did not make it.
    let other =
        Outcome::of(&mut plain(&["status", "--server", &platform.api().replace("127.0.0.1", "localhost")]));
    other.ended_with(6);

    // Somebody else, who may do little.
    platform.ok(["grant", "add", "alice", "viewer"]);
    let token = platform.ok(["token", "create", "--user", "alice"]);
    let mut command = platform.command(["status"]);
    Outcome::of(command.env("PAAS_TOKEN", token.trim())).ended_with(0);
    let mut command = platform.command(["app", "create", "shop"]);
    Outcome::of(command.env("PAAS_TOKEN", token.trim())).ended_with(6).complained_of(&["alice", "owner"]);
    Outcome::of(&mut plain(&["logout"])).ended_with(0);
    Outcome::of(&mut plain(&["status"])).ended_with(2);
}

fn who_waits_sees_how_far_a_release_is(who: Who) {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1", "2"]);
    platform.deploy_ok("shop", &Web::version("1", 3).in_batches().yaml());
    let released = platform.deploy("shop", &Web::version("2", 3).in_batches().yaml()).ended_with(0);
    // Results on the standard output, how far it is on the other one.
    assert_eq!(released.stdout, "release 2 of acme/prod/shop\nrelease 2 of acme/prod/shop is current\n");
    released.complained_of(&["web:", "release 1", "release 2", "step "]);
    // A script follows the same by the result alone.
    let json = platform.json(["restart", "shop", "--wait"]);
    assert_eq!((&json["number"], &json["state"]["type"]), (&3.into(), &"committed".into()), "{json}");
}

fn shells_complete_what_is_typed(who: Who) {
    let platform = Setup::new(who).simulated().start();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = platform.ok(["completion", shell]);
        assert!(script.contains("rollback") && script.contains("image"), "{shell}: {script}");
    }
    // bash(1) reads the script and completes with it.
    let script = platform.ok(["completion", "bash"]);
    let typed = "COMP_WORDS=(paas roll); COMP_CWORD=1; _paas paas roll paas; echo \"${COMPREPLY[@]}\"";
    // It is too long to be an argument.
    let mut bash = Command::new("bash");
    let completed =
        Outcome::with_input(bash.arg("-s"), format!("{script}\n{typed}\n").as_bytes()).ended_with(0);
    assert_eq!(completed.stdout.trim(), "rollback", "{completed:?}");
}

fn organisations_environments_and_applications_are_changed_and_deleted(who: Who) {
    let platform = Platform::start(who);
    platform.ok(["org", "create", "tools", "--display-name", "Tools"]);
    platform.ok(["org", "update", "tools", "--display-name", "Tools and more"]);
    assert_eq!(platform.json(["org", "show", "tools"])["display_name"], "Tools and more");
    let there = |words: &[&'static str]| [words, &["--org", "tools"]].concat();
    platform.ok(there(&["env", "create", "test"]));
    let changed = ["env", "update", "test", "--cluster", "local:2-5", "--on-running", "supersede"];
    platform.ok(there(&changed));
    let shown = platform.json(there(&["env", "show", "test"]));
    assert_eq!(shown["on_running"], "supersede", "{shown}");
    let target = &shown["targets"][0];
    assert_eq!((target["min_instances"].as_u64(), target["max_instances"].as_u64()), (Some(2), Some(5)));
    platform.ok(there(&["app", "create", "shop"]));

    // What has something in it stays, and nobody is asked where nobody can answer.
    platform.run(there(&["org", "delete", "tools"])).ended_with(2).complained_of(&["--yes"]);
    platform.run(there(&["org", "delete", "tools", "--yes"])).ended_with(8);
    for words in [["app", "delete", "shop", "--yes"], ["env", "delete", "test", "--yes"]] {
        platform.ok(there(&words));
    }
    platform.ok(["org", "delete", "tools", "--yes"]);
    platform.run(["org", "show", "tools"]).ended_with(7);
}
