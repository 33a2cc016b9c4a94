//! Rules of probes.

use super::Checker;
use super::text::url_path;
use crate::model::{Component, Probe, ProbeCheck};

pub(super) fn probes(check: &mut Checker<'_>, component: &Component) {
    let probes = &component.probes;
    let all =
        [("startup", &probes.startup), ("readiness", &probes.readiness), ("liveness", &probes.liveness)];
    for (name, declared) in all {
        let Some(declared) = declared else { continue };
        let mut check = check.field(name);
        probe(&mut check, declared, component);
        check
            .field("success_threshold")
            .require(name == "readiness" || declared.success_threshold == 1, || {
                format!("must be 1 for a {name} probe: a first success settles it")
            });
    }
}

fn probe(check: &mut Checker<'_>, probe: &Probe, component: &Component) {
    check.field("period_seconds").range(probe.period_seconds.into(), 1, 3600, " s");
    check.field("timeout_seconds").range(probe.timeout_seconds.into(), 1, 600, " s");
    check.field("failure_threshold").range(probe.failure_threshold.into(), 1, 1000, "");
    check.field("success_threshold").range(probe.success_threshold.into(), 1, 100, "");
    let port = match &probe.check {
        ProbeCheck::Http { path, port } => {
            // A probe may have a query, which a route may not.
            let without_query = path.split_once('?').map_or(path.as_str(), |(path, _)| path);
            if let Some(fault) = url_path(without_query) {
                check.field("http").field("path").fault(fault);
            }
            let plain = path.bytes().all(|b| b.is_ascii_graphic());
            check
                .field("http")
                .field("path")
                .require(plain, || format!("{path:?} has spaces or special characters"));
            Some(("http", port))
        }
        ProbeCheck::Tcp { port } => Some(("tcp", port)),
        ProbeCheck::Command(words) => {
            let named = words.first().is_some_and(|word| !word.is_empty());
            check.field("command").require(named, || "the command is empty; name a program".to_owned());
            None
        }
    };
    match port {
        Some((kind, Some(port))) if !component.ports.iter().any(|candidate| candidate.name == *port) => {
            check.field(kind).field("port").fault(format!("component {} has no port {port}", component.name));
        }
        Some((kind, None)) if component.ports.is_empty() => {
            check.field(kind).fault("the component has no port to ask; declare one, or use a command");
        }
        _ => {}
    }
}
