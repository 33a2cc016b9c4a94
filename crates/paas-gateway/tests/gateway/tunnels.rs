//! WebSocket, other upgrades, TCP.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use futures::{SinkExt, StreamExt};
use paas_gateway::{
    Gateway,
    config::{Config, Listener, Protocol, Serves},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

use super::support::*;

/// A WebSocket server that says everything back, with its name before it.
async fn echo(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
                while let Some(Ok(message)) = socket.next().await {
                    if let Message::Text(text) = message
                        && socket.send(Message::text(format!("{name}:{text}"))).await.is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    address
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn open(address: SocketAddr) -> Socket {
    let stream = TcpStream::connect(address).await.unwrap();
    let url = "ws://app.localhost/socket";
    tokio_tungstenite::client_async(url, MaybeTlsStream::Plain(stream)).await.unwrap().0
}

async fn ask(socket: &mut Socket, text: &str) -> String {
    socket.send(Message::text(text.to_owned())).await.unwrap();
    let said = tokio::time::timeout(BOUND, socket.next()).await.unwrap().unwrap().unwrap();
    said.into_text().unwrap().to_string()
}

fn connections(gateway: &Gateway) -> (u64, u64) {
    let entries = gateway.statistics().entries;
    (
        entries.iter().map(|entry| entry.connections).sum(),
        entries.iter().map(|entry| entry.connections_total).sum(),
    )
}

#[tokio::test]
async fn a_websocket_lives_through_every_change_until_an_end_closes_it() {
    let (a, b) = (echo("a").await, echo("b").await);
    let (gateway, address) = gateway(config(1, &[("r", 1)], &[("r", a)])).await;
    let mut socket = open(address).await;
    assert_eq!(ask(&mut socket, "1").await, "a:1");
    assert_eq!(connections(&gateway), (1, 1));

    // Drained, replaced, its whole service and its listener gone: it is nobody's business but its ends'.
    let mut draining = config(2, &[("r", 1)], &[("r", a), ("r", b)]);
    draining.instances[0].draining = true;
    gateway.apply(draining).await.unwrap();
    assert_eq!(ask(&mut socket, "2").await, "a:2");
    gateway.apply(config(3, &[("r2", 1)], &[("r2", b)])).await.unwrap();
    assert_eq!(ask(&mut socket, "3").await, "a:3");
    assert_eq!(ask(&mut open(address).await, "new").await, "b:new");
    gateway.apply(Config::new(4)).await.unwrap();
    assert_eq!(ask(&mut socket, "4").await, "a:4");

    let left = gateway.wait_drained(&ids(&["r-0"]), Duration::from_millis(20)).await.unwrap();
    assert_eq!((left[0].requests, left[0].connections), (0, 1));
    let status = gateway.status().await;
    assert!(status.instances.iter().any(|of| of.instance.as_str() == "r-0" && of.connections == 1));
    drop(socket);
    assert_eq!(gateway.wait_drained(&ids(&["r-0"]), BOUND).await.unwrap(), []);
    until("nothing is counted as open", async || connections(&gateway).0 == 0).await;
}

#[tokio::test]
async fn any_upgrade_is_passed_on_and_bytes_behind_the_head_are_not_lost() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\nearly";
        stream.write_all(answer).await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        (String::from_utf8(head).unwrap(), rest)
    });
    let (_gateway, address) = gateway(config(1, &[("r", 1)], &[("r", upstream)])).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    let request = b"GET /x HTTP/1.1\r\nHost: app.localhost\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n";
    client.write_all(request).await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"early") {
        assert!(client.read_buf(&mut read).await.unwrap() > 0, "{}", String::from_utf8_lossy(&read));
    }
    let head = String::from_utf8(read).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("upgrade: chat\r\n"), "{head}");
    client.write_all(b"and on").await.unwrap();
    client.shutdown().await.unwrap();
    let (head, rest) = server.await.unwrap();
    assert!(head.contains("upgrade: chat\r\n") && head.contains("connection: upgrade\r\n"), "{head}");
    assert_eq!(rest, b"and on");
}

#[tokio::test]
async fn an_upgrade_that_the_instance_declines_is_an_ordinary_response() {
    let upstream = Upstream::start("a").await;
    let (_gateway, address) = gateway(config(1, &[("r", 1)], &[("r", upstream.address)])).await;
    let mut client = Client::connect(address).await;
    let request =
        request("GET", "app.localhost", "/").header("connection", "upgrade").header("upgrade", "chat");
    let said = client.send(request.body(http_body_util::Full::default()).unwrap()).await;
    assert_eq!(said.by(), "a");
    assert_eq!(client.get("/").await.by(), "a");
}

/// A TCP server that says its name and then everything back.
async fn parrot(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                stream.write_all(name.as_bytes()).await?;
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await?;
                write.shutdown().await
            });
        }
    });
    address
}

fn tcp_config(generation: u64, instances: &[(&str, SocketAddr)]) -> Config {
    let mut config = config(generation, &[], &[]);
    config.listeners.push(Listener {
        id: "tcp".into(),
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        serves: Serves::Tcp { service: "db".into(), port: "http".into() },
    });
    config.services.push(service("db", Protocol::Tcp, &[("r", 1)]));
    for (id, address) in instances {
        config.instances.push(instance(id, "db", "r", *address));
    }
    config
}

#[tokio::test]
async fn tcp_goes_to_an_instance_that_lives_ends_half_by_half_and_survives_configs() {
    let a = parrot("a").await;
    let dead = refusing().await;
    let (gateway, _) = gateway(tcp_config(1, &[("dead", dead), ("a", a)])).await;
    let address = bound(&gateway, "tcp").await;
    for _ in 0..6 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'a');
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'a');
    gateway.apply(tcp_config(2, &[])).await.unwrap();
    stream.write_all(b"still here").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"still here");
    // Nobody is left: the connection is closed.
    let mut refused = TcpStream::connect(address).await.unwrap();
    let mut nothing = Vec::new();
    assert_eq!(refused.read_to_end(&mut nothing).await.unwrap_or(0), 0);
    until("all are closed", async || connections(&gateway).0 == 0).await;
    assert_eq!(connections(&gateway).1, 7);
}
