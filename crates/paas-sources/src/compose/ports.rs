//! Ports: what a service listens on, and what of it the outside reaches.

use std::collections::BTreeMap;

use paas_core::model::{Component, Port, Protocol, RouteSpec};

use super::node::{Node, scalar};
use super::report::Report;

/// Ports on which programs usually speak HTTP.
const HTTP: [u16; 14] = [80, 3000, 3001, 4000, 4200, 5000, 5173, 8000, 8001, 8080, 8081, 8888, 9000, 9090];

/// Published ports by how likely they are an application's front.
const FIRST: [u16; 4] = [80, 8080, 3000, 8000];

/// Images that are named without their ports, because those are always the same.
const WELL_KNOWN: [(&str, u16); 15] = [
    ("postgres", 5432),
    ("redis", 6379),
    ("valkey", 6379),
    ("mysql", 3306),
    ("mariadb", 3306),
    ("mongo", 27017),
    ("rabbitmq", 5672),
    ("memcached", 11211),
    ("nats", 4222),
    ("elasticsearch", 9200),
    ("opensearch", 9200),
    ("kafka", 9092),
    ("minio", 9000),
    ("nginx", 80),
    ("httpd", 80),
];

/// How many ports a range may have.
const WIDEST: u16 = 20;

/// A port of a service, as its file names it.
struct Listed {
    path: String,
    number: u16,
    /// The port of the host under which it is published, if it is.
    published: Option<u16>,
    protocol: Option<Protocol>,
}

/// The ports of a service, and the access points to them.
pub(super) fn read(service: &Node<'_>, component: &mut Component, report: &mut Report) -> Vec<RouteSpec> {
    let mut listed = Vec::new();
    for node in service.each("ports", report) {
        match scalar(node.value) {
            Some(text) => listed.extend(short(&node.path, &text, report)),
            None => listed.extend(long(&node, report)),
        }
    }
    for node in service.each("expose", report) {
        let text = node.text(report).unwrap_or_default();
        for number in numbers(&node.path, &text, report) {
            listed.push(Listed { path: node.path.clone(), number, published: None, protocol: None });
        }
    }
    if listed.is_empty()
        && let Some((name, number)) = WELL_KNOWN.iter().find(|(name, _)| *name == base_name(&component.image))
    {
        report.note(
            &service.path,
            format!("names no port; {name} listens on {number}, which `expose` would change"),
        );
        let path = service.path.clone();
        listed.push(Listed { path, number: *number, published: None, protocol: None });
    }
    let mut by_number: BTreeMap<u16, Vec<Listed>> = BTreeMap::new();
    let mut order = Vec::new();
    for port in listed {
        if !by_number.contains_key(&port.number) {
            order.push(port.number);
        }
        by_number.entry(port.number).or_default().push(port);
    }
    let mut routes = Vec::new();
    for number in order {
        let same = &by_number[&number];
        let said = same.iter().find_map(|port| port.protocol);
        let usual = if HTTP.contains(&number) { Protocol::Http } else { Protocol::Tcp };
        let protocol = said.unwrap_or(usual);
        let name = match protocol {
            Protocol::Http if !component.ports.iter().any(|port| port.name.as_str() == "http") => {
                "http".to_owned()
            }
            Protocol::Http => format!("http-{number}"),
            _ => format!("tcp-{number}"),
        };
        let Some(name) = report.take(&same[0].path, name.parse()) else { continue };
        let port = Port { name, number, protocol };
        for published in same {
            let Some(at) = published.published else { continue };
            routes.extend(route(published, at, &port, said.is_none(), component, report));
        }
        component.ports.push(port);
    }
    routes
}

fn route(
    listed: &Listed,
    published: u16,
    port: &Port,
    guessed: bool,
    component: &Component,
    report: &mut Report,
) -> Option<RouteSpec> {
    let name = format!("{}-{published}", component.name);
    let name = report.take(&listed.path, name.parse())?;
    if guessed {
        let (is, other) = match port.protocol {
            Protocol::Http => ("HTTP", "tcp"),
            _ => ("TCP", "http"),
        };
        report.note(
            &listed.path,
            format!("{} is taken for {is}; `app_protocol: {other}` would change it", port.number),
        );
    }
    Some(RouteSpec {
        name,
        host: None,
        path: None,
        tcp_port: Some(published),
        component: component.name.clone(),
        port: Some(port.name.clone()),
    })
}

/// One access point that speaks HTTP is reached under the platform's own host: the one that browsers would ask first. The
/// others keep their ports.
pub(super) fn default_host(routes: &mut [RouteSpec], components: &[Component], report: &mut Report) {
    let speaks_http = |route: &&mut RouteSpec| {
        let component = components.iter().find(|component| component.name == route.component);
        let ports = component.into_iter().flat_map(|component| &component.ports);
        ports
            .into_iter()
            .any(|port| Some(&port.name) == route.port.as_ref() && port.protocol == Protocol::Http)
    };
    let rank = |route: &&mut RouteSpec| {
        FIRST.iter().position(|port| Some(*port) == route.tcp_port).unwrap_or(FIRST.len())
    };
    if let Some(route) = routes.iter_mut().filter(speaks_http).min_by_key(rank)
        && let Some(published) = route.tcp_port.take()
    {
        let component = route.component.clone();
        report.note(
            &format!("services.{component}.ports"),
            format!("{published} is reached under the platform's own host, `paas route list` says which"),
        );
    }
}

/// `[[ADDRESS:]PUBLISHED:]NUMBER[/PROTOCOL]`
fn short(path: &str, text: &str, report: &mut Report) -> Vec<Listed> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    if protocol != "tcp" {
        report.fault(path, format!("{text:?} is not TCP; only TCP is served, remove it"));
        return Vec::new();
    }
    let (rest, number) = ports.rsplit_once(':').map_or((None, ports), |(rest, number)| (Some(rest), number));
    // An address of IPv6 stands in brackets.
    let (address, published) = match rest.map(|rest| rest.rsplit_once(':').unwrap_or(("", rest))) {
        None => ("", None),
        Some((address, published)) => (address, Some(published)),
    };
    let inner = numbers(path, number, report);
    let Some(published) = published.filter(|published| !published.is_empty()) else {
        if !is_loopback(address) {
            report.fault(
                path,
                format!("{text:?} is published under a port that the machine chooses; write PORT:{number}"),
            );
        }
        return inner
            .into_iter()
            .map(|number| Listed { path: path.to_owned(), number, published: None, protocol: None })
            .collect();
    };
    let outer = numbers(path, published, report);
    if inner.len() != outer.len() {
        report.fault(
            path,
            format!(
                "{text:?} has {} ports outside and {} inside; write as many of both",
                outer.len(),
                inner.len()
            ),
        );
        return Vec::new();
    }
    let local = is_loopback(address);
    if local {
        report.note(path, format!("{text:?} is for the machine itself, so that it gets no access point"));
    } else if !address.is_empty() && address != "0.0.0.0" && address != "[::]" {
        report.note(path, format!("the address {address} is left out: the gateway's is used"));
    }
    let pairs = inner.into_iter().zip(outer);
    pairs
        .map(|(number, outer)| Listed {
            path: path.to_owned(),
            number,
            published: (!local).then_some(outer),
            protocol: None,
        })
        .collect()
}

fn long(node: &Node<'_>, report: &mut Report) -> Vec<Listed> {
    node.only(&["target", "published", "host_ip", "protocol", "app_protocol", "mode", "name"], report);
    let protocol = node.field("protocol").and_then(|it| it.text(report));
    if protocol.is_some_and(|protocol| protocol != "tcp") {
        report.fault(&node.path, "is not TCP; only TCP is served, remove it");
        return Vec::new();
    }
    let Some(target) = node.field("target") else {
        report.fault(&node.path, "has no target; name the port that the service listens on");
        return Vec::new();
    };
    let Some(text) = target.text(report) else { return Vec::new() };
    let host = node.field("host_ip").and_then(|it| it.text(report)).unwrap_or_default();
    let published = node.field("published").and_then(|it| it.text(report)).unwrap_or_default();
    let address = if host.is_empty() { published } else { format!("{host}:{published}") };
    let shown = if address.is_empty() { text } else { format!("{address}:{text}") };
    let says = node.field("app_protocol").and_then(|it| it.text(report));
    let protocol = says.map(|says| match says.as_str() {
        "http" | "http2" | "h2c" | "ws" | "grpc" | "kubernetes.io/h2c" | "kubernetes.io/ws" => Protocol::Http,
        _ => Protocol::Tcp,
    });
    let mut listed = if node.field("published").is_none() {
        let inner = numbers(&target.path, &scalar(target.value).unwrap_or_default(), report);
        let path = &node.path;
        inner
            .into_iter()
            .map(|number| Listed { path: path.clone(), number, published: None, protocol })
            .collect()
    } else {
        short(&node.path, &shown, report)
    };
    for port in &mut listed {
        port.protocol = protocol;
    }
    listed
}

/// One port or a range of them.
fn numbers(path: &str, text: &str, report: &mut Report) -> Vec<u16> {
    let (text, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    match (port(first), port(last)) {
        _ if protocol != "tcp" => {
            report.fault(path, format!("{text}/{protocol} is not TCP; only TCP is served, remove it"));
            Vec::new()
        }
        (Some(first), Some(last)) if first <= last && last - first < WIDEST => (first..=last).collect(),
        (Some(first), Some(last)) if first <= last => {
            report.fault(path, format!("{text} are too many ports; at most {WIDEST} are allowed"));
            Vec::new()
        }
        _ => {
            report.fault(path, format!("{text:?} is not a port; use 1 to 65535"));
            Vec::new()
        }
    }
}

fn is_loopback(address: &str) -> bool {
    address.starts_with("127.") || address == "[::1]" || address == "::1" || address == "localhost"
}

/// `docker.io/library/redis:7-alpine` is `redis`.
fn base_name(image: &str) -> &str {
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split([':', '@']).next().unwrap_or(name)
}
