//! A secret's value is where the application reads it, and nowhere else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::client::Client;
use crate::journey::{Who, journeys};
use crate::leftovers;
use crate::platform::{Platform, Setup};
use crate::sample;
use crate::specification::Web;

journeys! {
    fn a_secret_is_where_the_application_reads_it_and_nowhere_else();
}

/// With characters that every encoding treats in a way of its own.
const CANARY: &str = "c4n@ry/value+with=odd&bytes \"quoted\" ~ÿ>?";

fn a_secret_is_where_the_application_reads_it_and_nowhere_else(who: Who) {
    // The most talkative log there is.
    let mut platform = Setup::new(who).logging("trace").start();
    sample::versions(&platform, &["1", "2"]);
    platform.ok(["app", "create", "shop"]);
    let value = platform.folder().join("value");
    fs::write(&value, CANARY).unwrap();
    platform.ok(["secret", "set", "shop", "API_KEY", "--file", value.to_str().unwrap()]);
    fs::remove_file(value).unwrap();
    platform.run_with_input(["secret", "set", "shop", "OTHER_KEY"], CANARY).ended_with(0);
    let spec = |version: &str| {
        let web = Web::version(version, 2).env("API_KEY: {secret: API_KEY}");
        web.with("files: [{path: /run/key, secret: OTHER_KEY}]").yaml()
    };
    platform.deploy_ok("shop", &spec("1"));
    assert_eq!(platform.variable("shop", "API_KEY"), CANARY);
    assert_eq!(platform.get("shop", "/file?path=/run/key").body, CANARY);

    // What a platform does in a day: releases, faults, restarts, the way back, refusals.
    platform.deploy_ok("shop", &spec("2"));
    platform.get("shop", "/crash?code=9");
    platform.deploy("shop", &Web::version("1", 2).env("API_KEY: {secret: MISSING}").yaml()).ended_with(1);
    for wrong in [
        format!("{{\"text\": {}, \"more\": 1}}", Value::from(CANARY)),
        Value::from(CANARY).to_string(),
        format!("{{\"base64\": {}}}", Value::from(CANARY)),
        format!("{{\"text\": {}", Value::from(CANARY)),
        CANARY.to_owned(),
    ] {
        let path = "/orgs/acme/envs/prod/apps/shop/secrets/API_KEY";
        let answer =
            Client::new(&platform).send("PUT", path, &[], Some(&wrong)).refused_with(400, "malformed");
        Encodings::of(CANARY).are_not_in("the refusal of a malformed secret", answer.text.as_bytes());
    }
    platform.kill_server();
    platform.start_server();
    platform.ok(["rollback", "shop", "--wait", "--timeout", "60s"]);
    platform.ok(["secret", "unset", "shop", "API_KEY"]);
    assert_eq!(platform.variable("shop", "API_KEY"), CANARY);

    let encodings = Encodings::of(CANARY);
    encodings.are_found_where_they_are(&platform);
    for file in files(&platform.directory()) {
        encodings.are_not_in(&file.display().to_string(), &fs::read(&file).unwrap_or_default());
    }
    encodings.are_not_in("the server's log", platform.server_log().as_bytes());
    assert!(platform.server_log().contains("DEBUG"), "the log told everything that it could");
    for (path, answer) in answers(&platform) {
        encodings.are_not_in(&path, answer.as_bytes());
    }
    for command in [
        &["status", "shop"][..],
        &["releases", "shop", "1"],
        &["diff", "shop", "1", "2"],
        &["config", "show", "shop", "--version", "2"],
        &["secret", "list", "shop"],
        &["events", "shop"],
        &["audit"],
    ] {
        encodings.are_not_in(&command.join(" "), platform.run(command.iter().copied()).text().as_bytes());
    }
    for pid in leftovers::processes(&platform.directory(), "") {
        for part in ["cmdline", "environ"] {
            let seen = fs::read(format!("/proc/{pid}/{part}")).unwrap_or_default();
            encodings.are_not_in(&format!("{part} of process {pid}"), &seen);
        }
    }
}

/// A text in every form in which it might lie somewhere.
struct Encodings(BTreeMap<&'static str, Vec<u8>>);

impl Encodings {
    fn of(text: &str) -> Self {
        let json = Value::from(text).to_string();
        let base64 = |engine: &dyn Fn(&[u8]) -> String, skipped: usize| {
            // In the midst of something the groups of three begin elsewhere: without what its neighbours take part in.
            let shifted = &text.as_bytes()[skipped..];
            engine(&shifted[..shifted.len() / 3 * 3]).into_bytes()
        };
        let standard = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
        let safe = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let percent = |spaces: &str, upper: bool| {
            let bytes = text.bytes().map(|byte| match byte {
                b' ' if !spaces.is_empty() => spaces.to_owned(),
                byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                    char::from(byte).to_string()
                }
                byte if upper => format!("%{byte:02X}"),
                byte => format!("%{byte:02x}"),
            });
            bytes.collect::<String>().into_bytes()
        };
        Self(BTreeMap::from([
            ("plain", text.as_bytes().to_vec()),
            ("JSON", json.as_bytes()[1..json.len() - 1].to_vec()),
            ("debug output", format!("{text:?}")[1..].trim_end_matches('"').as_bytes().to_vec()),
            ("base64", base64(&standard, 0)),
            ("base64, shifted by one", base64(&standard, 1)),
            ("base64, shifted by two", base64(&standard, 2)),
            ("base64 for URLs", base64(&safe, 0)),
            ("base64 for URLs, shifted by one", base64(&safe, 1)),
            ("base64 for URLs, shifted by two", base64(&safe, 2)),
            ("URL encoding", percent("", true)),
            ("URL encoding, lower case", percent("", false)),
            ("form encoding", percent("+", true)),
            ("hexadecimal", hex::encode(text).into_bytes()),
            (
                "a list of numbers",
                format!("{:?}", text.as_bytes())[1..].trim_end_matches(']').as_bytes().to_vec(),
            ),
        ]))
    }

    fn found_in(&self, content: &[u8]) -> Option<&'static str> {
        let is_in = |form: &[u8]| content.windows(form.len()).any(|window| window == form);
        self.0.iter().find(|(_, form)| is_in(form)).map(|(name, _)| *name)
    }

    #[track_caller]
    fn are_not_in(&self, place: &str, content: &[u8]) {
        let found = self.found_in(content);
        assert_eq!(found, None, "the secret lies in {place}");
    }

    /// The search finds what is there, in every form.
    fn are_found_where_they_are(&self, platform: &Platform) {
        for (name, form) in &self.0 {
            let file = platform.directory().join("planted");
            fs::write(&file, [b"before ".as_slice(), form, b" after"].concat()).unwrap();
            let found = files(&platform.directory())
                .iter()
                .any(|file| self.found_in(&fs::read(file).unwrap_or_default()).is_some());
            assert!(found, "{name} is found");
            fs::remove_file(file).unwrap();
        }
    }
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let parts = entries.map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => files(&entry.path()),
        Ok(kind) if kind.is_file() => vec![entry.path()],
        _ => Vec::new(),
    });
    parts.flatten().collect()
}

/// What every reading operation of the interface answers, by path.
fn answers(platform: &Platform) -> Vec<(String, String)> {
    let document: Value = serde_json::from_str(&platform.ask("/openapi.json").unwrap().body).unwrap();
    let token = platform.json(["token", "list"])[0]["id"].as_str().unwrap().to_owned();
    let names = [
        ("{org}", "acme"),
        ("{env}", "prod"),
        ("{app}", "shop"),
        ("{cluster}", "local"),
        ("{component}", "web"),
        ("{number}", "1"),
        ("{from}", "1"),
        ("{to}", "2"),
        ("{version}", "1"),
        ("{secret}", "API_KEY"),
        ("{route}", "web"),
        ("{token}", &token),
    ];
    let mut answers = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        // Streams have no end, WebSockets are no answers, and there is no run.
        let skipped = ["/stream", "/exec", "/attach", "{run}"].iter().any(|part| path.contains(part));
        let Some(operation) = operations.get("get").filter(|_| !skipped) else { continue };
        let mut path = names.iter().fold(path.clone(), |path, (name, value)| path.replace(name, value));
        assert!(!path.contains('{'), "{path} has a parameter that is not filled");
        let takes_scope = operation["parameters"].to_string().contains("\"scope\"");
        for scope in ["platform", "org:acme", "env:acme/prod", "app_env:acme/prod/shop"] {
            if takes_scope {
                path = format!("{}?scope={scope}", path.split('?').next().unwrap());
            }
            let answer = platform.ask(&path).unwrap();
            // The cluster that the server is built with is not removed.
            let expected = if path.ends_with("/removal") { 409 } else { 200 };
            assert_eq!(answer.status, expected, "{path}: {answer:?}");
            answers.push((path.clone(), answer.body));
            if !takes_scope {
                break;
            }
        }
    }
    assert!(answers.len() > 20, "{answers:?}");
    answers
}
