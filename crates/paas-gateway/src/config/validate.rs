//! Whether a config makes sense, as a whole: every fault, each with its path.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    hash::Hash,
};

use serde::{Deserialize, Serialize};

use super::{CONFIG_VERSION, Config, Dial, Match, PortName, Protocol, Serves, Service, ServiceId, id};
use crate::{Error, ErrorKind, Result};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Where: `services[1].ports[0].number`.
    pub path: String,
    /// What, in words.
    pub message: String,
}

/// Everything that is wrong; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            write!(f, "{}{}: {}", if i == 0 { "" } else { "; " }, fault.path, fault.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

impl Config {
    /// Checks the whole config.
    ///
    /// # Errors
    /// `Invalid`, with all [`Faults`] as its source.
    pub fn validate(&self) -> Result<()> {
        let faults = self.faults();
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Invalid, "accept a gateway config")
                .with("generation", self.generation)
                .because(Faults(faults)))
        }
    }

    /// All that is wrong with the config; empty if it is good.
    pub fn faults(&self) -> Vec<Fault> {
        let mut check = Check { faults: Vec::new(), services: HashMap::new() };
        if self.version != CONFIG_VERSION {
            check.fault("version", format!("is {}, this gateway reads {CONFIG_VERSION}", self.version));
        }
        for service in &self.services {
            check.services.entry(service.id.clone()).or_insert(service);
        }
        check.unique("listeners", self.listeners.iter().map(|x| x.id.as_str()));
        check.unique("routes", self.routes.iter().map(|x| x.id.as_str()));
        check.unique("services", self.services.iter().map(|x| x.id.as_str()));
        check.unique("instances", self.instances.iter().map(|x| x.id.as_str()));
        check.listeners(self);
        check.routes(self);
        for (i, service) in self.services.iter().enumerate() {
            check.service(&format!("services[{i}]"), service);
        }
        check.instances(self);
        check.callers(self);
        check.limits(self);
        check.faults
    }
}

struct Check<'a> {
    faults: Vec<Fault>,
    services: HashMap<ServiceId, &'a Service>,
}

impl Check<'_> {
    fn fault(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.faults.push(Fault { path: path.into(), message: message.into() });
    }

    /// Checks the names of a list and that none appears twice.
    fn unique<'b>(&mut self, path: &str, names: impl Iterator<Item = &'b str>) {
        let mut seen = HashMap::new();
        for (i, name) in names.enumerate() {
            if let Some(message) = id::fault(name) {
                self.fault(format!("{path}[{i}].id"), message);
            } else if let Some(first) = seen.insert(name, i) {
                self.fault(format!("{path}[{i}].id"), format!("{name} is also the id of {path}[{first}]"));
            }
        }
    }

    fn distinct<K: Eq + Hash + fmt::Debug>(&mut self, seen: &mut HashSet<K>, key: K, path: &str, what: &str) {
        let text = format!("{key:?}");
        if !seen.insert(key) {
            self.fault(path, format!("{what} {text} is there twice"));
        }
    }

    fn target(&mut self, path: &str, service: &ServiceId, port: &PortName, needs: Option<Protocol>) {
        let Some(found) = self.services.get(service) else {
            self.fault(format!("{path}.service"), format!("there is no service {service}"));
            return;
        };
        match (found.ports.iter().find(|candidate| candidate.name == *port), needs) {
            (None, _) => self.fault(format!("{path}.port"), format!("service {service} has no port {port}")),
            (Some(found), Some(needed)) if found.protocol != needed => self.fault(
                format!("{path}.port"),
                format!("port {port} of service {service} does not speak HTTP: use a tcp listener"),
            ),
            _ => {}
        }
    }

    fn listeners(&mut self, config: &Config) {
        let mut addresses = HashSet::new();
        for (i, listener) in config.listeners.iter().enumerate() {
            let path = format!("listeners[{i}]");
            if listener.address.port() != 0 {
                self.distinct(&mut addresses, listener.address, &format!("{path}.address"), "address");
            }
            if let Serves::Tcp { service, port } = &listener.serves {
                self.target(&path, service, port, None);
            }
        }
    }

    fn routes(&mut self, config: &Config) {
        let mut seen = HashSet::new();
        for (i, route) in config.routes.iter().enumerate() {
            let path = format!("routes[{i}]");
            if let Some(message) = route.host.fault() {
                self.fault(format!("{path}.host"), message);
            }
            if let Some(message) = route.path.fault() {
                self.fault(format!("{path}.path"), message);
            }
            self.distinct(&mut seen, (route.host.as_str(), route.path.as_str()), &path, "host and path");
            self.target(&path, &route.service, &route.port, Some(Protocol::Http));
        }
    }

    fn service(&mut self, path: &str, service: &Service) {
        let mut names = HashSet::new();
        for (i, port) in service.ports.iter().enumerate() {
            let path = format!("{path}.ports[{i}]");
            if let Some(message) = id::fault(port.name.as_str()) {
                self.fault(format!("{path}.name"), message);
            }
            self.distinct(&mut names, port.name.as_str(), &format!("{path}.name"), "port");
            if port.number == 0 {
                self.fault(format!("{path}.number"), "must not be 0");
            }
        }
        let mut revisions = HashSet::new();
        for (i, revision) in service.revisions.iter().enumerate() {
            let path = format!("{path}.revisions[{i}].id");
            if let Some(message) = id::fault(revision.id.as_str()) {
                self.fault(&path, message);
            }
            self.distinct(&mut revisions, revision.id.as_str(), &path, "revision");
        }
        for (i, rule) in service.rules.iter().enumerate() {
            let path = format!("{path}.rules[{i}]");
            if !revisions.contains(rule.revision.as_str()) {
                self.fault(
                    format!("{path}.revision"),
                    format!("service {} has no revision {}", service.id, rule.revision),
                );
            }
            if rule.when.is_empty() {
                self.fault(format!("{path}.when"), "must hold a condition: use weights for all requests");
            }
            for (k, condition) in rule.when.iter().enumerate() {
                let (Match::Header { name, .. } | Match::Cookie { name, .. } | Match::Query { name, .. }) =
                    condition;
                let good = match condition {
                    Match::Header { name, .. } => http::HeaderName::from_bytes(name.as_bytes())
                        .is_ok_and(|known| known.as_str() == name),
                    _ => id::fault(name).is_none() && !name.contains(['=', ';', '&']),
                };
                if !good {
                    self.fault(format!("{path}.when[{k}].name"), format!("{name:?} is not a good name"));
                }
            }
        }
    }

    fn instances(&mut self, config: &Config) {
        for (i, instance) in config.instances.iter().enumerate() {
            let path = format!("instances[{i}]");
            match self.services.get(&instance.service).copied() {
                None => {
                    self.fault(
                        format!("{path}.service"),
                        format!("there is no service {}", instance.service),
                    );
                }
                Some(service) => {
                    if !service.revisions.iter().any(|revision| revision.id == instance.revision) {
                        let message = format!("service {} has no revision {}", service.id, instance.revision);
                        self.fault(format!("{path}.revision"), message);
                    }
                    self.port_overrides(&path, service, &instance.ports);
                }
            }
            if let Dial::Handover(socket) = &instance.dial
                && !socket.is_absolute()
            {
                self.fault(format!("{path}.dial"), "the path of the socket must be absolute");
            }
        }
    }

    fn port_overrides(&mut self, path: &str, service: &Service, ports: &BTreeMap<PortName, u16>) {
        for (name, number) in ports {
            if !service.ports.iter().any(|port| port.name == *name) {
                let message = format!("service {} has no port {name}", service.id);
                self.fault(format!("{path}.ports.{name}"), message);
            }
            if *number == 0 {
                self.fault(format!("{path}.ports.{name}"), "must not be 0");
            }
        }
    }

    fn callers(&mut self, config: &Config) {
        let mut instances = HashSet::new();
        for (i, caller) in config.callers.iter().enumerate() {
            let path = format!("callers[{i}]");
            for (member, text) in
                [("instance", caller.instance.as_str()), ("component", caller.component.as_str())]
            {
                if let Some(message) = id::fault(text) {
                    self.fault(format!("{path}.{member}"), message);
                }
            }
            self.distinct(&mut instances, &caller.instance, &format!("{path}.instance"), "instance");
            if !caller.handover.is_absolute() {
                self.fault(format!("{path}.handover"), "the path of the socket must be absolute");
            }
            let mut listeners = HashSet::new();
            for (k, dependency) in caller.dependencies.iter().enumerate() {
                let path = format!("{path}.dependencies[{k}]");
                self.distinct(&mut listeners, &dependency.listener, &format!("{path}.listener"), "listener");
                self.target(&path, &dependency.service, &dependency.port, None);
            }
        }
    }

    fn limits(&mut self, config: &Config) {
        let limits = &config.limits;
        for (name, value) in [
            ("connections", limits.connections),
            ("header_read_ms", limits.header_read_ms),
            ("connect_ms", limits.connect_ms),
            ("response_ms", limits.response_ms),
            ("body_idle_ms", limits.body_idle_ms),
        ] {
            if value == 0 {
                self.fault(format!("limits.{name}"), "must be above 0");
            }
        }
        if limits.header_bytes < 8192 {
            self.fault("limits.header_bytes", "must be 8192 or more");
        }
    }
}
