//! The instance's network: loopback, and a listening socket for each dependency.

use std::{net::SocketAddrV4, os::fd::OwnedFd};

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkFlags, LinkMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use paas_gateway::handover::Listener;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use crate::{
    Endpoint, Failure, InstanceSpec,
    error::{ErrorKind, Step},
};

/// Brings the loopback interface up, and lets every user listen on every port: it is the instance's own network.
pub(super) fn bring_up() -> Result<(), Failure> {
    loopback_up().step("bring up the loopback interface")?;
    std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
        .step("open the low ports to ordinary users")
}

fn loopback_up() -> std::io::Result<()> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut link = LinkMessage::default();
    // The first interface of a fresh network namespace.
    link.header.index = 1;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    let payload = NetlinkPayload::from(RouteNetlinkMessage::SetLink(link));
    let mut message = NetlinkMessage::new(NetlinkHeader::default(), payload);
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let (reply, _) = socket.recv_from_full()?;
    let reply = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&reply).map_err(std::io::Error::other)?;
    match reply.payload {
        NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
        _ => Ok(()),
    }
}

/// Listens on behalf of each dependency. Calls wait in the backlog while no gateway accepts.
pub(super) fn listen_for(spec: &InstanceSpec) -> Result<Vec<(Listener, OwnedFd)>, Failure> {
    spec.endpoints().into_iter().map(listen_at).collect()
}

fn listen_at(Endpoint { name, address, port }: Endpoint) -> Result<(Listener, OwnedFd), Failure> {
    let step = || -> rustix::io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &SocketAddrV4::new(address, port))?;
        listen(&socket, 1024)?;
        Ok(socket)
    };
    let socket = step().map_err(|errno| {
        Failure::new(
            ErrorKind::Io,
            format!("cannot listen for the dependency {name} on {address}:{port}: {errno}"),
        )
    })?;
    Ok((Listener { name, port }, socket))
}
