//! Probes.

use k8s_openapi::api::core::v1::{ExecAction, HTTPGetAction, Probe as PodProbe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use paas_core::PortName;
use paas_core::model::{Port, Probe, ProbeCheck, Template};

/// How often an instance is asked until it answers for the first time, in seconds.
const EAGER: i32 = 1;

/// The three probes of a container.
#[derive(Debug, Default)]
pub(super) struct PodProbes {
    pub(super) startup: Option<PodProbe>,
    pub(super) readiness: Option<PodProbe>,
    pub(super) liveness: Option<PodProbe>,
}

/// Without a readiness probe a service is ready when its first port accepts a connection, and a worker when it runs.
///
/// Kubernetes asks at the period from the beginning, so a slow period would make a slow start. Where nothing else waits
/// for the start (no liveness, no startup probe), the readiness check is also the startup probe, asked every second and
/// never given up.
pub(super) fn probes(template: &Template) -> PodProbes {
    let ports = &template.ports;
    let default = || {
        let serves = template.kind.serves() && !ports.is_empty();
        serves.then(|| Probe { period_seconds: 5, ..Probe::new(ProbeCheck::Tcp { port: None }) })
    };
    let readiness = template.probes.readiness.clone().or_else(default);
    let startup = match (&template.probes.startup, &template.probes.liveness) {
        (Some(startup), _) => Some(probe(startup, ports, Kind::Startup)),
        (None, None) => readiness.as_ref().map(|readiness| PodProbe {
            period_seconds: Some(EAGER),
            failure_threshold: Some(i32::MAX),
            ..probe(readiness, ports, Kind::Startup)
        }),
        (None, Some(_)) => None,
    };
    PodProbes {
        startup,
        readiness: readiness.map(|readiness| probe(&readiness, ports, Kind::Readiness)),
        liveness: template.probes.liveness.as_ref().map(|liveness| probe(liveness, ports, Kind::Liveness)),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Startup,
    Readiness,
    Liveness,
}

fn probe(probe: &Probe, ports: &[Port], kind: Kind) -> PodProbe {
    let seconds = |value: u32| i32::try_from(value.max(1)).unwrap_or(i32::MAX);
    let mut made = PodProbe {
        period_seconds: Some(seconds(probe.period_seconds)),
        timeout_seconds: Some(seconds(probe.timeout_seconds)),
        failure_threshold: Some(seconds(probe.failure_threshold)),
        // Kubernetes allows nothing but 1 for the other two.
        success_threshold: Some(if kind == Kind::Readiness { seconds(probe.success_threshold) } else { 1 }),
        ..PodProbe::default()
    };
    match &probe.check {
        ProbeCheck::Http { path, port } => {
            made.http_get = Some(HTTPGetAction {
                path: Some(path.clone()),
                port: number(ports, port.as_ref()),
                ..HTTPGetAction::default()
            });
        }
        ProbeCheck::Tcp { port } => {
            let port = number(ports, port.as_ref());
            made.tcp_socket = Some(TCPSocketAction { port, ..TCPSocketAction::default() });
        }
        ProbeCheck::Command(command) => made.exec = Some(ExecAction { command: Some(command.clone()) }),
        // `build::check` refuses what is not known here.
        _ => {}
    }
    made
}

fn number(ports: &[Port], name: Option<&PortName>) -> IntOrString {
    let port = match name {
        Some(name) => ports.iter().find(|port| port.name == *name),
        None => ports.first(),
    };
    IntOrString::Int(port.map_or(0, |port| i32::from(port.number)))
}
