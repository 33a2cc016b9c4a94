//! One TCP connection.

use std::{sync::Arc, time::Duration};

use tokio::net::TcpStream;

use super::{
    exchange::{About, Exchange},
    forward::Peer,
    tunnel,
};
use crate::{
    config::State,
    gateway::Inner,
    listen::Origin,
    table::{Choice, ListenerTable, Table, Target},
    upstream::Use,
};

/// Connects a client to an instance of the service that its listener leads to; to another, if that fails. If none can
/// be had, the client's connection is closed: TCP knows no other way to say so.
pub(crate) async fn proxy(inner: Arc<Inner>, peer: Arc<Peer>, client: TcpStream) {
    let (mut table, Some(mut target)) = look_up(&inner, &peer.origin) else { return };
    let about = About {
        protocol: "tcp",
        peer: peer.address,
        method: None,
        host: String::new(),
        path: String::new(),
        request_id: String::new(),
    };
    let mut exchange = Exchange::open(inner.log().clone(), about, target.counters(None).clone());
    let mut choice = Choice::default();
    let mut error = "no ready instance".to_owned();
    loop {
        if let State::Stopped { .. } = target.service.state {
            return exchange.failed("stopped");
        }
        let Some(chosen) = target.service.choose(&mut choice, Use::Connection) else {
            match look_up(&inner, &peer.origin) {
                (now, Some(found)) if !Arc::ptr_eq(&now, &table) => {
                    (table, target) = (now, found);
                    continue;
                }
                _ => return exchange.failed(&error),
            }
        };
        if !choice.tried.is_empty() {
            exchange.retried();
        }
        exchange.book_on(target.counters(Some(chosen.revision)));
        let instance = chosen.lease.instance().clone();
        let limit = Duration::from_millis(table.limits.connect_ms.into());
        match instance.connect(target.number(&chosen.member), limit).await {
            Ok(stream) => {
                exchange.uses(chosen.lease);
                return tunnel::run(client, stream, exchange).await;
            }
            Err(failed) => {
                error = format!("cannot connect to instance {}: {failed}", instance.id);
                choice.tried.push(instance.id.clone());
            }
        }
    }
}

fn look_up(inner: &Inner, origin: &Origin) -> (Arc<Table>, Option<Arc<Target>>) {
    let table = inner.table();
    let target = match origin {
        Origin::Listener(listener) => match table.listener(listener) {
            Some(ListenerTable::Tcp(target)) => Some(target.clone()),
            _ => None,
        },
        Origin::Caller { instance, listener, .. } => table.dependency(instance, listener).cloned(),
    };
    (table, target)
}
