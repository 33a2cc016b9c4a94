//! From what the gateway shall do to the config that it is told, whole.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use paas_core::ComponentKey;
use paas_core::model::{Port, Protocol};
use paas_core::port::{ServiceState, ServiceTraffic};
use paas_gateway::config::{
    self, Caller, Config, Dial, HostPattern, Listener, PathPrefix, Revision, Route, Serves, Service, State,
};

use super::{Desired, HTTP};

pub(super) fn http_listener(address: SocketAddr) -> Listener {
    Listener { id: config::ListenerId::new(HTTP), address, serves: Serves::Http { trust_forwarded: false } }
}

/// What stands before the number in the name of a TCP listener.
const TCP: &str = "tcp-";

fn tcp_listener(port: u16) -> config::ListenerId {
    config::ListenerId::new(format!("{TCP}{port}"))
}

/// The port of a TCP listener; nothing if it is another one.
pub(in super::super) fn tcp_port(listener: &config::ListenerId) -> Option<u16> {
    listener.as_str().strip_prefix(TCP)?.parse().ok()
}

fn service_id(component: &ComponentKey) -> config::ServiceId {
    config::ServiceId::new(component.to_string())
}

fn port(port: &Port) -> config::Port {
    let protocol = match port.protocol {
        Protocol::Tcp => config::Protocol::Tcp,
        _ => config::Protocol::Http,
    };
    config::Port { name: config::PortName::new(port.name.as_str()), number: port.number, protocol }
}

/// The whole config. What routes or callers lead to and nobody serves is a service that says so.
pub(super) fn compose(desired: &Desired, generation: u64, http: SocketAddr) -> Config {
    let mut config = Config::new(generation);
    config.listeners.push(http_listener(http));
    let mut services: BTreeMap<String, Service> = BTreeMap::new();
    for entry in desired.router.services.values() {
        let traffic = &entry.traffic;
        services.insert(traffic.track.component.to_string(), service(traffic));
    }
    let mut need = |component: &ComponentKey, needed: &Port, state: State| {
        let service = services.entry(component.to_string()).or_insert_with(|| Service {
            id: service_id(component),
            ports: Vec::new(),
            revisions: Vec::new(),
            state,
            rules: Vec::new(),
            balance: config::Balance::default(),
        });
        if !service.ports.iter().any(|known| known.name.as_str() == needed.name.as_str()) {
            service.ports.push(port(needed));
        }
    };
    for entry in desired.router.routes.values() {
        for route in &entry.routes {
            let component = &route.track.component;
            need(component, &route.port, State::Stopped { reason: "nothing is deployed here".to_owned() });
            let id = format!("{}/{}", entry.at, route.name);
            let port = config::PortName::new(route.port.name.as_str());
            let service = service_id(component);
            if let Some(tcp) = route.tcp_port {
                config.listeners.push(Listener {
                    id: tcp_listener(tcp),
                    address: SocketAddr::new(http.ip(), tcp),
                    serves: Serves::Tcp { service, port },
                });
            } else {
                config.routes.push(Route {
                    id: config::RouteId::new(id),
                    host: HostPattern::new(route.host.as_deref().unwrap_or("*")),
                    path: PathPrefix::new(route.path.as_str()),
                    service,
                    port,
                    strip_prefix: false,
                });
            }
        }
    }
    for (container, endpoint) in &desired.endpoints {
        for (_, target) in &endpoint.calls {
            need(&target.component, &target.port, State::Starting);
        }
        if !endpoint.calls.is_empty() {
            config.callers.push(Caller {
                instance: config::InstanceId::new(container),
                component: config::ComponentId::new(endpoint.component.to_string()),
                handover: endpoint.socket.clone(),
                dependencies: endpoint
                    .calls
                    .iter()
                    .map(|(listener, target)| config::Dependency {
                        listener: listener.clone(),
                        service: service_id(&target.component),
                        port: config::PortName::new(target.port.name.as_str()),
                    })
                    .collect(),
            });
        }
    }
    for (container, endpoint) in &desired.endpoints {
        let known = services.get(&endpoint.component.to_string());
        let serves = |service: &Service| {
            service.revisions.iter().any(|revision| revision.id.as_str() == endpoint.revision.as_str())
        };
        if known.is_some_and(serves) {
            config.instances.push(config::Instance {
                id: config::InstanceId::new(container),
                service: service_id(&endpoint.component),
                revision: config::RevisionId::new(endpoint.revision.as_str()),
                ready: endpoint.ready,
                draining: endpoint.draining,
                dial: Dial::Handover(endpoint.socket.clone()),
                ports: BTreeMap::new(),
            });
        }
    }
    config.services = services.into_values().collect();
    config
}

fn service(traffic: &ServiceTraffic) -> Service {
    let revisions = traffic.backends.iter().map(|backend| Revision {
        id: config::RevisionId::new(backend.revision.as_str()),
        weight: backend.weight,
        labels: BTreeMap::from([("release".to_owned(), backend.release.to_string())]),
    });
    Service {
        id: service_id(&traffic.track.component),
        ports: traffic.ports.iter().map(port).collect(),
        revisions: revisions.collect(),
        state: match &traffic.state {
            ServiceState::Stopped { reason } => State::Stopped { reason: reason.clone() },
            _ => State::Serving,
        },
        rules: Vec::new(),
        balance: config::Balance::default(),
    }
}
