//! Commands in instances and beside them, and what instances print.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::journey::{Who, journeys};
use crate::outcome::{Background, Outcome};
use crate::platform::{Platform, eventually};
use crate::sample;
use crate::specification::{Web, shop};
use crate::terminal::Terminal;

journeys! {
    fn a_command_runs_in_an_instance_and_ends_with_its_code();
    fn a_command_has_the_callers_terminal();
    fn a_one_off_command_runs_beside_the_instances();
    fn a_one_off_command_reads_the_callers_input();
    fn a_one_off_command_has_the_callers_terminal_and_ends_with_it();
    fn what_is_not_declared_cannot_be_reached();
    fn lines_are_read_followed_and_kept_over_a_restart();
}

fn running(who: Who, count: u32) -> Platform {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1"]);
    platform.deploy_ok("shop", &Web::version("1", count).env("LEVEL: high").yaml());
    platform
}

fn a_command_runs_in_an_instance_and_ends_with_its_code(who: Who) {
    let platform = running(who, 2);
    let exec = |words: &[&str]| {
        platform.run(["exec", "shop", "web", "--", "/sample-app"].into_iter().chain(words.iter().copied()))
    };
    assert_eq!(exec(&["print", "hello", "there"]).ended_with(0).stdout, "hello there\n");
    exec(&["exit", "7"]).ended_with(7);
    let environment = exec(&["env"]).ended_with(0).stdout;
    assert!(environment.lines().any(|line| line == "LEVEL=high"), "{environment}");
    let wrong = exec(&["nonsense"]).ended_with(2);
    assert!(
        wrong.stdout.is_empty() && wrong.stderr.contains("nonsense"),
        "each output on its own: {wrong:?}"
    );
    let missing = platform.run(["exec", "shop", "web", "--", "/missing"]);
    assert_ne!(missing.code, 0);
    missing.complained_of(&["/missing"]);
    let input = "through and back";
    let cat = ["exec", "-i", "shop", "web", "--", "/sample-app", "cat"];
    assert_eq!(platform.run_with_input(cat, input).ended_with(0).stdout, input);

    let status = platform.json(["status", "shop"]);
    for instance in status["components"][0]["tracks"][0]["instances"].as_array().unwrap() {
        let id = instance["id"].as_str().unwrap();
        let words = ["exec", "--instance", id, "shop", "web", "--", "/sample-app", "env"];
        assert!(platform.ok(words).contains(&format!("PAAS_INSTANCE={id}\n")));
    }
    let nobody = platform.run(["exec", "--instance", "web-none", "shop", "web", "--", "/sample-app", "env"]);
    nobody.ended_with(7).complained_of(&["web-none"]);
    platform.run(["exec", "shop", "none", "--", "/sample-app", "env"]).ended_with(7);
    assert!(platform.ok(["audit"]).contains("exec"), "who ran what is kept");
}

fn a_command_has_the_callers_terminal(who: Who) {
    let platform = running(who, 1);
    let command = &mut platform.command(["exec", "-it", "shop", "web", "--", "/sample-app", "cat"]);
    let mut terminal = Terminal::start(command);
    terminal.types(b"typed\n");
    terminal.shows("what was typed, and what was printed", |shown| shown.matches("typed").count() >= 2);
    terminal.types(b"\x04");
    let (code, shown) = terminal.end();
    assert_eq!(code, 0, "{shown}");

    let command = &mut platform.command(["exec", "-it", "shop", "web", "--", "/sample-app", "worker"]);
    let mut terminal = Terminal::start(command);
    terminal.shows("that the command runs", |shown| shown.contains("worker 1 begins"));
    terminal.types(b"\x03");
    let (code, shown) = terminal.end();
    assert!(
        code == 0 && shown.contains("stopped after"),
        "Ctrl-C is the command's, which handles it: {shown}"
    );
}

fn a_one_off_command_runs_beside_the_instances(who: Who) {
    let platform = running(who, 1);
    let before = platform.shims();
    let run = |words: &[&str]| {
        platform.run(["run", "shop", "web", "--", "/sample-app"].into_iter().chain(words.iter().copied()))
    };
    assert_eq!(run(&["print", "once"]).ended_with(0).stdout, "once\n");
    run(&["exit", "9"]).ended_with(9);
    assert!(
        run(&["env"]).ended_with(0).stdout.contains("LEVEL=high"),
        "it has the component's configuration"
    );
    eventually("only the instances are left", || (platform.shims() == before).then_some(()));
}

fn a_one_off_command_reads_the_callers_input(who: Who) {
    let platform = running(who, 1);
    let before = platform.shims();
    let run = |words: &'static [&'static str]| {
        ["run", "-i", "shop", "web", "--", "/sample-app"].into_iter().chain(words.iter().copied())
    };
    // More than any buffer on the way holds.
    let input = "through and back\n".repeat(500_000);
    let file = platform.folder().join("input");
    std::fs::write(&file, &input).unwrap();
    let mut command = platform.command(run(&["cat"]));
    let cat = Outcome::of(command.stdin(std::fs::File::open(file).unwrap())).ended_with(0);
    assert!(cat.stdout == input, "{} of {} bytes came back", cat.stdout.len(), input.len());
    platform.run_with_input(run(&["exit", "9"]), "nobody reads it").ended_with(9);
    assert_eq!(platform.run_with_input(run(&["print", "once"]), "").ended_with(0).stdout, "once\n");
    let wrong = platform.run_with_input(run(&["nonsense"]), "").ended_with(2);
    assert!(
        wrong.stdout.is_empty() && wrong.stderr.contains("nonsense"),
        "each output on its own: {wrong:?}"
    );
    let missing = platform.run_with_input(["run", "-i", "shop", "web", "--", "/missing"], "");
    assert_ne!(missing.code, 0);
    missing.complained_of(&["/missing"]);
    // Without -i there is none.
    let without = ["run", "shop", "web", "--", "/sample-app", "cat"];
    assert_eq!(platform.run_with_input(without, "not for it").ended_with(0).stdout, "");
    let refused = platform.run_with_input(["run", "-it", "shop", "web", "--", "/sample-app", "cat"], "");
    refused.ended_with(2).complained_of(&["-t needs a terminal"]);
    eventually("only the instances are left", || (platform.shims() == before).then_some(()));
}

fn a_one_off_command_has_the_callers_terminal_and_ends_with_it(who: Who) {
    let platform = running(who, 1);
    let before = platform.shims();
    let words = ["run", "-it", "shop", "web", "--", "/sample-app"];
    let command = |last: &'static str| platform.command(words.into_iter().chain([last]));
    let mut terminal = Terminal::start(&mut command("cat"));
    terminal.types(b"typed\n");
    terminal.shows("what was typed, and what was printed", |shown| shown.matches("typed").count() >= 2);
    terminal.types(b"\x04");
    let (code, shown) = terminal.end();
    assert_eq!(code, 0, "{shown}");

    let mut terminal = Terminal::start(&mut command("worker"));
    terminal.shows("that the command runs", |shown| shown.contains("worker 1 begins"));
    terminal.types(b"\x03");
    let (code, shown) = terminal.end();
    assert!(
        code == 0 && shown.contains("stopped after"),
        "Ctrl-C is the command's, which handles it: {shown}"
    );

    let mut terminal = Terminal::start(&mut command("worker"));
    terminal.shows("that the command runs", |shown| shown.contains("worker 1 begins"));
    drop(terminal);
    eventually("it ends with its caller, who was killed", || (platform.shims() == before).then_some(()));
}

fn what_is_not_declared_cannot_be_reached(who: Who) {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1"]);
    platform.deploy_ok("shop", &shop("1", 1));
    let ask = |component: &str, url: &str| {
        platform.run(["exec", "shop", component, "--", "/sample-app", "get", url])
    };
    assert!(ask("web", "http://api:9000/greeting").ended_with(0).stdout.contains("Hello"));
    // The worker declares no dependency: it knows no API, not by its name and not by its address.
    for url in
        ["http://api:9000/greeting", "http://127.0.77.1:9000/greeting", "http://127.0.0.1:9000/greeting"]
    {
        let asked = ask("worker", url);
        assert_ne!(asked.code, 0, "{url}: {asked:?}");
    }
    let server = format!("{}/healthz", platform.api());
    let asked = ask("web", &server);
    assert_ne!(asked.code, 0, "the platform itself is out of reach: {asked:?}");
}

fn lines_are_read_followed_and_kept_over_a_restart(who: Who) {
    let mut platform = Platform::start(who);
    sample::versions(&platform, &["1"]);
    platform.deploy_ok("shop", &shop("1", 1));
    eventually("the worker's lines arrive", || {
        platform.ok(["logs", "shop", "worker", "-n", "5"]).lines().nth(2).map(drop)
    });
    let lines = platform.ok(["logs", "shop", "worker", "-n", "3"]);
    assert_eq!(lines.lines().count(), 3);
    assert!(lines.lines().all(|line| line.starts_with("worker-")), "each names its instance: {lines}");
    let json = platform.ok(["logs", "shop", "worker", "-n", "2", "-o", "json"]);
    let parsed: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(parsed.iter().all(|line| line["at"].is_string() && line["text"].is_string()), "{json}");
    platform.run(["logs", "shop"]).ended_with(2).complained_of(&["web, api, worker"]);
    let future = platform.ok(["logs", "shop", "worker", "--since", "2100-01-01T00:00:00Z"]);
    assert_eq!(future, "");

    // Who follows sees every line once, also those of a time in which the server was away.
    let mut command = platform.command(["logs", "shop", "worker", "--follow", "-n", "1", "-o", "json"]);
    let mut following = Background::start(command.stderr(Stdio::null()));
    let mut followed = BufReader::new(following.stdout()).lines();
    let mut next = || {
        let line: serde_json::Value = serde_json::from_str(&followed.next().unwrap().unwrap()).unwrap();
        line["text"].as_str().unwrap().to_owned()
    };
    let mut seen = vec![next(), next()];
    platform.kill_server();
    std::thread::sleep(std::time::Duration::from_millis(500)); // the worker goes on
    platform.start_server();
    seen.extend((0..12).map(|_| next()));
    let all = platform.ok(["logs", "shop", "worker", "-o", "json"]);
    let all: Vec<String> = all
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["text"].as_str().unwrap().to_owned()
        })
        .collect();
    let first = all.iter().position(|line| *line == seen[0]).expect("it was printed");
    assert_eq!(all[first..first + seen.len()], seen, "without a gap, and none twice");

    platform.get("shop", "/crash?code=9");
    eventually("the lines before the crash are kept", || {
        let previous = platform.run(["logs", "shop", "web", "--previous"]);
        previous.stdout.contains("crashing with 9").then_some(())
    });
}
