//! Rules of access points.

use std::collections::BTreeMap;

use super::Checker;
use super::app::find;
use super::text::{host, url_path};
use crate::error::Fault;
use crate::model::{Component, ComponentKind, Protocol, RouteSpec, Validate};

impl Validate for RouteSpec {
    fn faults(&self, path: &str, faults: &mut Vec<Fault>) {
        let mut check = Checker::new(path, faults);
        if let Some(fault) = self.host.as_deref().and_then(host) {
            check.field("host").fault(fault);
        }
        if let Some(fault) = self.path.as_deref().and_then(url_path) {
            check.field("path").fault(fault);
        }
        let Some(port) = self.tcp_port else { return };
        check.field("tcp_port").range(port.into(), 1, 65535, "");
        check.require(self.host.is_none() && self.path.is_none(), || {
            "a TCP port has neither host nor path; remove them, or remove tcp_port".to_owned()
        });
    }
}

/// Checks access points against each other and against the components that they lead to.
pub(super) fn routes(check: &mut Checker<'_>, routes: &[RouteSpec], components: &[Component]) {
    check.unique("name", routes.iter().map(|route| &route.name));
    let mut taken = BTreeMap::new();
    for (index, route) in routes.iter().enumerate() {
        let mut check = check.item(index);
        let path = check.path.clone();
        route.faults(&path, check.faults);
        let address = match route.tcp_port {
            Some(port) => format!("TCP port {port}"),
            None => format!(
                "{}{}",
                route.host.as_deref().unwrap_or("the default host, "),
                route.path.as_deref().unwrap_or("/")
            ),
        };
        if let Some(other) = taken.insert(address.clone(), &route.name) {
            check.fault(format!("{address} is already the address of route {other}; choose another"));
        }
        leads_somewhere(&mut check, route, components);
    }
}

fn leads_somewhere(check: &mut Checker<'_>, route: &RouteSpec, components: &[Component]) {
    let Some(component) = find(components, &route.component) else {
        check.field("component").fault(format!("there is no component {}", route.component));
        return;
    };
    let name = &component.name;
    if !component.kind.serves() {
        check
            .field("component")
            .fault(format!("component {name} is no service, so that nothing can reach it"));
        return;
    }
    if component.kind == ComponentKind::Stateful && component.ports.is_empty() {
        check.field("component").fault(format!("component {name} has no port, so that nothing can reach it"));
        return;
    }
    let port = match &route.port {
        None => component.ports.first(),
        Some(port) => {
            let found = component.ports.iter().find(|candidate| candidate.name == *port);
            check.field("port").require(found.is_some(), || format!("component {name} has no port {port}"));
            found
        }
    };
    if let Some(port) = port
        && port.protocol == Protocol::Tcp
    {
        check.require(route.tcp_port.is_some(), || {
            format!(
                "port {} of component {name} speaks TCP; reach it by tcp_port instead of host and path",
                port.name
            )
        });
    }
}
