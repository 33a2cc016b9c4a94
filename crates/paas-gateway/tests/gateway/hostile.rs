//! Clients that mean no good.

use std::{net::SocketAddr, time::Duration};

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::support::*;

/// Sends bytes, and reads until the gateway closes.
async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut read = Vec::new();
    let _ = tokio::time::timeout(BOUND, stream.read_to_end(&mut read)).await.expect("the gateway closes");
    String::from_utf8_lossy(&read).into_owned()
}

fn status(response: &str) -> u16 {
    response.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn a_request_with_two_lengths_never_becomes_two_requests() {
    let upstream = Upstream::start("a").await;
    let (_gateway, address) = gateway(config(1, &[("r", 1)], &[("r", upstream.address)])).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: app.localhost\r\n\r\n";
    for (head, seen) in [
        // Both lengths: chunked counts (RFC 9112 section 6.3), and only that is passed on.
        (
            format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 5 + smuggled.len()),
            None,
        ),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n".into(), None),
        // Lengths that contradict, that are no numbers, codings that are not the last or unknown.
        ("Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde".into(), Some(400)),
        ("Content-Length: +5\r\n\r\nabcde".into(), Some(400)),
        ("Content-Length: 5, 5\r\n\r\nabcde".into(), Some(400)),
        ("Transfer-Encoding: chunked, identity\r\n\r\nabcde".into(), Some(400)),
        ("Transfer-Encoding: xchunked\r\n\r\nabcde".into(), Some(400)),
        ("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n".into(), Some(400)),
        ("X: y\r\n Transfer-Encoding: chunked\r\n\r\n".into(), Some(400)),
    ] {
        let before = upstream.requests();
        let close = if seen.is_some() { "" } else { "Connection: close\r\n" };
        let sent = format!("POST /first HTTP/1.1\r\nHost: app.localhost\r\n{close}{head}{smuggled}");
        let read = raw(address, sent.as_bytes()).await;
        assert!(!read.contains("/smuggled"), "{head:?}: {read}");
        if let Some(code) = seen {
            assert_eq!(status(&read), code, "{head:?}: {read}");
            assert_eq!(upstream.requests(), before, "{head:?} reached the instance");
        } else {
            assert_eq!(status(&read), 200, "{head:?}: {read}");
            assert_eq!(upstream.requests(), before + 1);
            let body = read.split("\r\n\r\n").nth(1).unwrap_or_default();
            assert!(!(body.contains("content-length") && body.contains("transfer-encoding")), "{body}");
        }
    }
}

#[tokio::test]
async fn a_request_without_a_proper_host_is_refused() {
    let upstream = Upstream::start("a").await;
    let (_gateway, address) = gateway(config(1, &[("r", 1)], &[("r", upstream.address)])).await;
    for hosts in [
        "",
        "Host:\r\n",
        "Host: a b\r\n",
        "Host: app.localhost\r\nHost: app.localhost\r\n",
        "Host: x@app.localhost\r\n",
        "Host: app.localhost:x\r\n",
        "Host: app.localhost/..\r\n",
    ] {
        let read =
            raw(address, format!("GET / HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n").as_bytes()).await;
        assert_eq!(status(&read), 400, "{hosts:?}: {read}");
    }
    assert_eq!(upstream.requests(), 0);
    let read =
        raw(address, b"GET http://app.localhost/x HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n")
            .await;
    assert!(status(&read) == 200 && read.contains("[\"host\",\"app.localhost\"]"), "{read}");
    let read = raw(
        address,
        b"CONNECT app.localhost:80 HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(status(&read), 501, "{read}");
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let upstream = Upstream::start("a").await;
    let (_gateway, address) = gateway(config(1, &[("r", 1)], &[("r", upstream.address)])).await;
    let start = "GET / HTTP/1.1\r\nHost: app.localhost\r\n";
    let long = format!("{start}X: {}\r\n\r\n", "x".repeat(200 * 1024));
    let read = raw(address, long.as_bytes()).await;
    assert!(matches!(status(&read), 431 | 0), "{read}");
    let many = format!("{start}{}\r\n", "X: y\r\n".repeat(200));
    let read = raw(address, many.as_bytes()).await;
    assert_eq!(status(&read), 431, "{read}");
    assert_eq!(upstream.requests(), 0);
    assert_eq!(get(address, "/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn clients_that_dawdle_over_the_head_are_cut_and_leave_room() {
    let upstream = Upstream::start("a").await;
    let mut config = config(1, &[("r", 1)], &[("r", upstream.address)]);
    config.limits.header_read_ms = 300;
    config.limits.connections = 8;
    let (gateway, address) = gateway(config).await;
    // Twice as many as there is room for, in every stage of dawdling.
    let mut dawdlers = Vec::new();
    for start in ["", "P", "PRI * HT", "GET / HT"].into_iter().cycle().take(16) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        dawdlers.push(stream);
    }
    until("the room is full", async || gateway.status().await.client_connections == 8).await;
    assert_eq!(get(address, "/").await.status, StatusCode::OK);
    for mut stream in dawdlers {
        let mut read = Vec::new();
        let _ = tokio::time::timeout(BOUND, stream.read_to_end(&mut read)).await.expect("it is cut");
    }
    until("the room is empty", async || gateway.status().await.client_connections == 0).await;
}

#[tokio::test]
async fn a_client_that_dawdles_over_the_body_is_cut_and_frees_the_instance() {
    let upstream = Upstream::start("a").await;
    let mut config = config(1, &[("r", 1)], &[("r", upstream.address)]);
    config.limits.body_idle_ms = 200;
    let (gateway, address) = gateway(config).await;
    let read = raw(address, b"POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 10\r\n\r\nabc").await;
    assert_eq!(status(&read), 408, "{read}");
    until("the instance is free", async || gateway.status().await.instances[0].requests == 0).await;
}

#[tokio::test]
async fn more_connections_than_allowed_wait_and_are_served_in_the_end() {
    let upstream = Upstream::start("a").await;
    let mut config = config(1, &[("r", 1)], &[("r", upstream.address)]);
    config.limits.connections = 4;
    let (_gateway, address) = gateway(config).await;
    let all = (0..40).map(|_| async move {
        let mut client = Client::connect(address).await;
        client.get("/").await.status
    });
    let all = tokio::time::timeout(Duration::from_secs(15), futures::future::join_all(all)).await.unwrap();
    assert!(all.iter().all(|status| *status == StatusCode::OK));
}
