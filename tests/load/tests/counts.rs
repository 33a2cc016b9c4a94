//! The load counts what fails: it is the measure of other tests, so it must not be blind.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use paas_load::{OpenLoop, hold_sockets};

async fn serve(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn load(address: SocketAddr, keep_alive: bool) -> OpenLoop {
    let timeout = Duration::from_millis(300);
    OpenLoop { keep_alive, timeout, ..OpenLoop::new(address, "localhost") }
}

#[tokio::test]
async fn every_answer_is_counted_by_version() {
    let address = serve(Router::new().route("/", get(|| async { ([("x-version", "7")], "hello") }))).await;
    for keep_alive in [true, false] {
        let report = load(address, keep_alive).start().unwrap().stop_after(100).await.unwrap();
        assert!(report.sent >= 100, "{report}");
        assert_eq!((report.failed, report.by_version["7"]), (0, report.sent), "{report}");
    }
}

#[tokio::test]
async fn an_error_a_stall_and_a_refused_connection_are_failures() {
    let count = Arc::new(AtomicUsize::new(0));
    let flaky = get(move || {
        let turn = count.fetch_add(1, Ordering::Relaxed);
        async move {
            match turn % 10 {
                3 => StatusCode::BAD_GATEWAY,
                7 => {
                    tokio::time::sleep(Duration::from_mins(1)).await;
                    StatusCode::OK
                }
                _ => StatusCode::OK,
            }
        }
    });
    let address = serve(Router::new().route("/", flaky)).await;
    let report = load(address, true).start().unwrap().stop_after(100).await.unwrap();
    assert!((15..=25).contains(&(report.failed * 100 / report.sent)), "{report}");
    assert!(report.failures.iter().any(|failure| failure.what.contains("502")), "{report}");
    assert!(report.failures.iter().any(|failure| failure.what.contains("no answer")), "{report}");

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let report = load(closed, true).start().unwrap().stop_after(10).await.unwrap();
    assert_eq!(report.failed, report.sent, "{report}");
}

#[tokio::test]
async fn a_cut_websocket_is_told() {
    use axum::extract::ws::{Message, WebSocketUpgrade};
    let cut_after = |limit: usize| {
        get(move |upgrade: WebSocketUpgrade| async move {
            upgrade.on_upgrade(move |mut socket| async move {
                for _ in 0..limit {
                    let Some(Ok(Message::Text(text))) = socket.recv().await else { return };
                    let _ = socket.send(Message::Text(text)).await;
                }
            })
        })
    };
    let router = Router::new().route("/short", cut_after(2)).route("/long", cut_after(1000));
    let address = serve(router).await;
    let held = hold_sockets(address, "localhost", "/long", 3).await.unwrap();
    let short = hold_sockets(address, "localhost", "/short", 2).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let report = short.stop().await;
    assert_eq!(report.cut.len(), 2, "{report:?}");
    let report = held.stop().await;
    assert!(report.cut.is_empty() && report.echoes >= 6, "{report:?}");
}

#[tokio::test]
async fn only_loopback_is_a_target() {
    assert!(OpenLoop::new("192.0.2.1:80".parse().unwrap(), "x").start().is_err());
    assert!(hold_sockets("192.0.2.1:80".parse().unwrap(), "x", "/", 1).await.is_err());
}
