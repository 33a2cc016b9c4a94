use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener as StdListener, TcpStream as StdStream},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    thread,
    time::Duration,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::{io::AsyncReadExt, io::AsyncWriteExt, net::TcpSocket};

use super::*;
use crate::ErrorKind;

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("socketpair")
}

/// A shim that serves connections one after the other until nobody is left to hold its listener's path.
fn shim(path: &Path, listeners: Vec<(Listener, OwnedFd)>, connections: usize) -> thread::JoinHandle<()> {
    let control = bind(path).expect("bind");
    thread::spawn(move || {
        for _ in 0..connections {
            let mut waits = [rustix::event::PollFd::new(&control, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut waits, None).expect("poll");
            let peer = accept(&control).expect("accept");
            while let Ok(Some((request, _))) = recv_json::<Request>(&peer) {
                let (reply, handed) = answer(&request, &listeners);
                let fds: Vec<_> = handed.iter().map(AsFd::as_fd).collect();
                send_json(&peer, &reply, &fds).expect("reply");
            }
        }
    })
}

#[test]
fn a_packet_arrives_whole_with_descriptors_that_work() {
    let (a, b) = pair();
    let (left, right) = pair();
    send(&a, b"{}", &[left.as_fd()]).unwrap();
    let packet = recv(&b).unwrap().unwrap();
    assert_eq!((packet.bytes.as_slice(), packet.fds.len()), (&b"{}"[..], 1));
    send(&packet.fds[0], b"through", &[]).unwrap();
    assert_eq!(recv(&right).unwrap().unwrap().bytes, b"through");
}

#[test]
fn a_closed_peer_is_the_end_and_not_an_error() {
    let (a, b) = pair();
    drop(a);
    assert!(recv(&b).unwrap().is_none());
}

#[test]
fn the_largest_packet_with_the_most_descriptors_passes_and_one_more_is_refused() {
    let (a, b) = pair();
    let fds = vec![a.as_fd(); MAX_FDS];
    send(&a, &vec![b'x'; MAX_PACKET], &fds).unwrap();
    let packet = recv(&b).unwrap().unwrap();
    assert_eq!((packet.bytes.len(), packet.fds.len()), (MAX_PACKET, MAX_FDS));
    assert_eq!(send(&a, &vec![b'x'; MAX_PACKET + 1], &[]).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(send(&a, b"x", &vec![a.as_fd(); MAX_FDS + 1]).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(send(&a, b"", &[]).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_truncated_packet_is_an_error_and_the_next_one_is_read() {
    let (a, b) = pair();
    rustix::net::send(&a, &vec![b'x'; MAX_PACKET + 1], rustix::net::SendFlags::empty()).unwrap();
    send(&a, b"next", &[]).unwrap();
    assert_eq!(recv(&b).unwrap_err().kind(), ErrorKind::Protocol);
    assert_eq!(recv(&b).unwrap().unwrap().bytes, b"next");
}

#[test]
fn a_document_of_another_shape_is_an_error_and_the_connection_stays_in_step() {
    let (a, b) = pair();
    send(&a, br#"{"op":"fly"}"#, &[]).unwrap();
    send_json(&a, &Request::Listeners, &[]).unwrap();
    assert_eq!(recv_json::<Request>(&b).unwrap_err().kind(), ErrorKind::Protocol);
    assert_eq!(recv_json::<Request>(&b).unwrap().unwrap().0, Request::Listeners);
}

#[test]
fn requests_look_as_documented() {
    let sockets = Request::Sockets { family: Family::Inet6, count: 16 };
    assert_eq!(serde_json::to_string(&sockets).unwrap(), r#"{"op":"sockets","family":"inet6","count":16}"#);
    assert_eq!(serde_json::to_string(&Request::Listeners).unwrap(), r#"{"op":"listeners"}"#);
    let hello = Request::Hello { versions: vec![1] };
    assert_eq!(serde_json::to_string(&hello).unwrap(), r#"{"op":"hello","versions":[1]}"#);
}

#[tokio::test]
async fn sockets_made_by_a_shim_connect_and_its_listeners_accept() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("a-long-name-".repeat(15));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("shim.sock");
    let listening = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address: SocketAddr = listening.local_addr().unwrap();
    listening.set_nonblocking(true).unwrap();
    let listener = Listener { name: "api".into(), port: address.port() };
    let thread = shim(&path, vec![(listener.clone(), listening.into())], 2);

    let mut client = Client::connect(&path).await.unwrap();
    let mut listeners = client.listeners().await.unwrap();
    assert_eq!(listeners.len(), 1);
    let (named, fd) = listeners.remove(0);
    assert_eq!(named, listener);
    let listening = tokio::net::TcpListener::from_std(fd.into()).unwrap();

    let mut fds = client.sockets(Family::Inet, 3).await.unwrap();
    assert_eq!(fds.len(), 3);
    let socket = TcpSocket::from_std_stream(StdStream::from(fds.remove(0)));
    let (connected, accepted) = tokio::join!(socket.connect(address), listening.accept());
    connected.unwrap().write_all(b"hello").await.unwrap();
    let mut read = Vec::new();
    accepted.unwrap().0.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"hello");

    // The shim closes: the client learns it without asking.
    drop(client);
    let client = Client::connect(&path).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(20), client.closed()).await;
    assert!(early.is_err(), "the shim is still there");
    let twin = rustix::io::dup(&client).unwrap();
    rustix::net::shutdown(&twin, rustix::net::Shutdown::Write).unwrap();
    thread.join().unwrap();
    tokio::time::timeout(Duration::from_secs(5), client.closed()).await.expect("the end was seen");
}

#[tokio::test]
async fn a_shim_of_another_version_is_named_as_such() {
    let (reply, _) = answer(&Request::Hello { versions: vec![7] }, &[]);
    assert!(matches!(reply, Answer::Error(text) if text.contains("version 1") && text.contains('7')));
}

#[test]
fn nobody_listening_is_unavailable() {
    let state = tempfile::tempdir().unwrap();
    let error = connect(&state.path().join("shim.sock")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    drop(bind(&state.path().join("shim.sock")).unwrap());
    let error = connect(&state.path().join("shim.sock")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
