//! Frames as those of [`boot`], with which descriptors travel.

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::{
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, recvmsg, sendmsg,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::Interest;

use crate::boot::{self, HEAD, Head};

/// A command's standard streams.
const MAX_FDS: usize = 3;

/// Sends a frame with descriptors.
pub(crate) fn send<T: Serialize>(channel: &UnixStream, value: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let (head, body) = boot::frame(value)?;
    send_head(channel, head, fds)?;
    let mut channel = channel;
    channel.write_all(&body)
}

/// Receives a frame with its descriptors; `None` if the other side closed.
pub(crate) fn receive<T: DeserializeOwned>(channel: &UnixStream) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut head = Head::default();
    let (count, fds) = match receive_head(channel, &mut head) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
        other => other?,
    };
    if count == 0 {
        return Ok(None);
    }
    let mut channel = channel;
    channel.read_exact(&mut head[count..])?;
    let mut body = vec![0; boot::length(head)?];
    channel.read_exact(&mut body)?;
    Ok(Some((serde_json::from_slice(&body)?, fds)))
}

/// As [`send`].
pub(super) async fn send_async<T: Serialize>(
    channel: &tokio::net::UnixStream,
    value: &T,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let (head, body) = boot::frame(value)?;
    channel.async_io(Interest::WRITABLE, || send_head(channel, head, fds)).await?;
    let mut rest = body.as_slice();
    while !rest.is_empty() {
        channel.writable().await?;
        match channel.try_write(rest) {
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// As [`receive`].
pub(super) async fn receive_async<T: DeserializeOwned>(
    channel: &tokio::net::UnixStream,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut head = Head::default();
    let (count, fds) = channel.async_io(Interest::READABLE, || receive_head(channel, &mut head)).await?;
    if count == 0 {
        return Ok(None);
    }
    read_async(channel, &mut head[count..]).await?;
    let mut body = vec![0; boot::length(head)?];
    read_async(channel, &mut body).await?;
    Ok(Some((serde_json::from_slice(&body)?, fds)))
}

async fn read_async(channel: &tokio::net::UnixStream, mut rest: &mut [u8]) -> io::Result<()> {
    while !rest.is_empty() {
        channel.readable().await?;
        match channel.try_read(rest) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => rest = &mut rest[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Descriptors travel with the head of their frame, which the kernel then does not join with anything else.
fn send_head(channel: impl AsFd, head: Head, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    loop {
        match sendmsg(channel.as_fd(), &[IoSlice::new(&head)], &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(HEAD) => return Ok(()),
            Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn receive_head(channel: impl AsFd, head: &mut Head) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let count = loop {
        let mut parts = [IoSliceMut::new(head)];
        match recvmsg(channel.as_fd(), &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => break received.bytes,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok((count, fds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_come_with_their_frame() {
        let (ours, theirs) = UnixStream::pair().expect("a channel");
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        send(&ours, &"first", &[]).expect("it is sent");
        send(&ours, &"second", &[writer.as_fd()]).expect("it is sent");
        drop((ours, writer));
        let (text, fds): (String, _) = receive(&theirs).expect("it comes").expect("it is there");
        assert_eq!((text.as_str(), fds.len()), ("first", 0));
        let (text, fds): (String, _) = receive(&theirs).expect("it comes").expect("it is there");
        assert_eq!((text.as_str(), fds.len()), ("second", 1));
        rustix::io::write(&fds[0], b"through").expect("it is open");
        let mut buffer = [0; 16];
        assert_eq!(rustix::io::read(&reader, &mut buffer).expect("it can be read"), 7);
        assert!(receive::<String>(&theirs).expect("it is closed").is_none());
    }

    #[tokio::test]
    async fn a_large_frame_comes_whole_from_one_kind_of_channel_to_the_other() {
        let (ours, theirs) = UnixStream::pair().expect("a channel");
        ours.set_nonblocking(true).expect("it is set");
        let ours = tokio::net::UnixStream::from_std(ours).expect("it is watched");
        let text = "x".repeat(3 << 20);
        let echo = tokio::task::spawn_blocking(move || {
            let (text, _) = receive::<String>(&theirs).expect("it comes").expect("it is there");
            send(&theirs, &text, &[]).expect("it is sent");
        });
        send_async(&ours, &text, &[]).await.expect("it is sent");
        let back = receive_async::<String>(&ours).await.expect("it comes").expect("it is there");
        assert_eq!(back.0, text);
        echo.await.expect("it has ended");
        assert!(receive_async::<String>(&ours).await.expect("it is closed").is_none());
    }
}
