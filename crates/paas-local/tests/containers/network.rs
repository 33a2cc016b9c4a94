//! Sockets that are handed out, and what an instance can reach.

use std::{net::SocketAddr, sync::Arc};

use paas_gateway::handover::Client;
use paas_local::{Dependency, Instance};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::machine::{Machine, said};
use crate::cases;

cases![
    a_server_is_reached_by_a_handed_socket,
    a_server_on_ipv6_is_reached,
    an_ordinary_user_may_listen_on_port_80,
    a_dependency_is_called_through_a_handed_listener,
    a_dependency_on_an_own_port_gets_another_one,
    nothing_else_is_reachable,
];

async fn get(instance: &Instance, address: &str) -> String {
    let address: SocketAddr = address.parse().expect("an address");
    let mut stream = instance.connect_to(address).await.expect("it listens");
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("it is written");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("it answers");
    text
}

async fn a_server_is_reached_by_a_handed_socket(machine: Arc<Machine>) {
    let instance = machine.start(&machine.spec("web", &["serve", "0.0.0.0:8080"])).await;
    said(&instance, "listening").await;
    for _ in 0..10 {
        assert!(get(&instance, "127.0.0.1:8080").await.ends_with("\r\n\r\nweb"));
    }
    let refused =
        instance.connect_to("127.0.0.1:8081".parse().expect("an address")).await.expect_err("nobody listens");
    assert_eq!(refused.kind(), paas_local::ErrorKind::Unavailable);
    // Sockets outlive the instance, but nobody is behind them.
    instance.kill().await.expect("it is killed");
    assert!(instance.connect_to("127.0.0.1:8080".parse().expect("an address")).await.is_err());
}

async fn a_server_on_ipv6_is_reached(machine: Arc<Machine>) {
    let instance = machine.start(&machine.spec("six", &["serve", "[::1]:8080"])).await;
    said(&instance, "listening").await;
    assert!(get(&instance, "[::1]:8080").await.ends_with("six"));
}

async fn an_ordinary_user_may_listen_on_port_80(machine: Arc<Machine>) {
    let mut spec = machine.spec("low", &["serve", "0.0.0.0:80"]);
    spec.user = Some("app".into());
    let instance = machine.start(&spec).await;
    said(&instance, "listening").await;
    assert!(get(&instance, "127.0.0.1:80").await.ends_with("low"));
}

async fn a_dependency_is_called_through_a_handed_listener(machine: Arc<Machine>) {
    let mut spec = machine.spec("caller", &["call", "api:9000"]);
    spec.dependencies =
        vec![Dependency { name: "other".into(), port: 9000 }, Dependency { name: "api".into(), port: 9000 }];
    let instance = machine.start(&spec).await;
    let mut client = Client::connect(&machine.instances.socket(&spec.id)).await.expect("the shim listens");
    let (listener, socket) = client
        .listeners()
        .await
        .expect("they come")
        .into_iter()
        .find(|(l, _)| l.name == "api")
        .expect("it is there");
    assert_eq!(listener.port, 9000);
    let listener = std::net::TcpListener::from(socket);
    listener.set_nonblocking(true).expect("it can");
    let listener = tokio::net::TcpListener::from_std(listener).expect("it is a listener");
    let (mut stream, _) = listener.accept().await.expect("somebody calls");
    let mut request = [0; 64];
    let count = stream.read(&mut request).await.expect("it asks");
    assert!(request[..count].starts_with(b"GET / HTTP/1.1"));
    stream.write_all(b"from outside").await.expect("it listens");
    drop(stream);
    instance.wait().await;
    assert_eq!(super::machine::text(&instance).await, "from outside\n");
}

async fn a_dependency_on_an_own_port_gets_another_one(machine: Arc<Machine>) {
    let mut spec = machine.spec("both", &["serve", "0.0.0.0:8080"]);
    spec.ports = vec![8080];
    spec.dependencies = vec![Dependency { name: "back-end".into(), port: 8080 }];
    let endpoint = spec.endpoints().remove(0);
    assert_eq!((endpoint.address.to_string().as_str(), endpoint.port), ("127.0.77.1", 28081));
    let instance = machine.start(&spec).await;
    said(&instance, "listening").await;
    instance.kill().await.expect("it is killed");

    let mut spec = machine.spec("env", &["env"]);
    spec.ports = vec![8080];
    spec.dependencies = vec![Dependency { name: "back-end".into(), port: 8080 }];
    let said = machine.output(&spec).await;
    for line in ["BACK_END_HOST=back-end", "BACK_END_PORT=28081", "BACK_END_URL=http://back-end:28081"] {
        assert!(said.lines().any(|said| said == line), "{said}");
    }
}

async fn nothing_else_is_reachable(machine: Arc<Machine>) {
    let host = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = host.local_addr().expect("its address").to_string();
    assert_eq!(machine.output(&machine.spec("peek", &["call", &address])).await, "ConnectionRefused\n");
    let said = machine.output(&machine.spec("far", &["call", "192.0.2.1:80"])).await;
    assert_eq!(said, "NetworkUnreachable\n");
    let started = std::time::Instant::now();
    machine.output(&machine.spec("name", &["call", "undeclared:80"])).await;
    assert!(started.elapsed() < std::time::Duration::from_secs(10), "an unknown name fails at once");
}
