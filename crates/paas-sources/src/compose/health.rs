//! A health check as a readiness probe: with Compose, too, it decides who is waited for and starts nothing again.

use paas_core::model::{Probe, ProbeCheck, Probes};

use super::measure;
use super::node::{Node, scalar};
use super::report::Report;

/// Compose's defaults: every 30 s, 30 s long, 3 times.
const EVERY: u32 = 30;
const LONGEST: u32 = 30;
const RETRIES: u32 = 3;

/// The probes of a service.
pub(super) fn read(service: &Node<'_>, report: &mut Report) -> Probes {
    let Some(check) = service.field("healthcheck") else { return Probes::default() };
    check.only(
        &["test", "interval", "timeout", "retries", "start_period", "start_interval", "disable"],
        report,
    );
    if check.field("disable").and_then(|it| it.truth(report)) == Some(true) {
        return Probes::default();
    }
    let Some(test) = check.field("test") else {
        report.note(&check.path, "is left out: the check of the image is not known; name a `test`");
        return Probes::default();
    };
    let Some(command) = command(&test, report) else { return Probes::default() };
    let mut time = |name: &str, default: u32| {
        let Some(node) = check.field(name) else { return default };
        let text = node.text(report).unwrap_or_default();
        report.take(&node.path, measure::seconds(&text)).unwrap_or(default).max(1)
    };
    let (period_seconds, timeout_seconds) = (time("interval", EVERY), time("timeout", LONGEST));
    let retries = check.field("retries").and_then(|it| it.number(report));
    let readiness = Probe {
        period_seconds,
        timeout_seconds,
        failure_threshold: retries.unwrap_or(RETRIES).max(1),
        ..Probe::new(ProbeCheck::Command(command))
    };
    // `start_period` needs no counterpart: an instance that is not ready yet is not touched.
    Probes { readiness: Some(readiness), ..Probes::default() }
}

fn command(test: &Node<'_>, report: &mut Report) -> Option<Vec<String>> {
    let shell = |script: &str| vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()];
    if let Some(script) = scalar(test.value) {
        return (script != "NONE").then(|| shell(&script));
    }
    let words: Vec<String> = test.items(report).iter().filter_map(|item| item.text(report)).collect();
    match words.split_first() {
        Some((first, _)) if first == "NONE" => None,
        Some((first, rest)) if first == "CMD" && !rest.is_empty() => Some(rest.to_vec()),
        Some((first, rest)) if first == "CMD-SHELL" && !rest.is_empty() => Some(shell(&rest.join(" "))),
        _ => {
            report.fault(&test.path, "must begin with NONE, CMD or CMD-SHELL, and then name a command");
            None
        }
    }
}
