//! The account of one request, or of one tunnel: closed when it is dropped, whichever way it ends.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use http::{Method, StatusCode};

use super::body::ClientBody;
use crate::{
    access_log::{AccessLog, Line},
    stats::Counters,
    upstream::Lease,
};

/// What is known about a request before it goes anywhere.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) protocol: &'static str,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) method: Option<Method>,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) request_id: String,
}

/// The account.
#[derive(Debug)]
pub(crate) struct Exchange {
    log: AccessLog,
    about: About,
    started: Instant,
    counters: Arc<Counters>,
    body: Option<ClientBody>,
    lease: Option<Lease>,
    instance: Option<crate::config::InstanceId>,
    answered: Option<(StatusCode, Duration)>,
    retries: u32,
    tunnel: bool,
    bytes_in: u64,
    bytes_out: u64,
    error: Option<String>,
}

impl Exchange {
    /// Opens the account of a request.
    pub(crate) fn open(log: AccessLog, about: About, counters: Arc<Counters>) -> Self {
        counters.in_flight.fetch_add(1, Relaxed);
        Self {
            log,
            about,
            started: Instant::now(),
            counters,
            body: None,
            lease: None,
            instance: None,
            answered: None,
            retries: 0,
            tunnel: false,
            bytes_in: 0,
            bytes_out: 0,
            error: None,
        }
    }

    pub(crate) fn about(&self) -> &About {
        &self.about
    }

    /// Books it elsewhere from now on: on the revision that was chosen.
    pub(crate) fn book_on(&mut self, counters: &Arc<Counters>) {
        if !Arc::ptr_eq(&self.counters, counters) {
            counters.in_flight.fetch_add(1, Relaxed);
            self.counters.in_flight.fetch_sub(1, Relaxed);
            self.counters = counters.clone();
        }
    }

    pub(crate) fn has_body(&mut self, body: ClientBody) {
        self.body = Some(body);
    }

    /// Uses an instance until the end.
    pub(crate) fn uses(&mut self, lease: Lease) {
        self.instance = Some(lease.instance().id.clone());
        self.lease = Some(lease);
    }

    /// One more attempt: the instance before is free.
    pub(crate) fn retried(&mut self) {
        self.lease = None;
        self.retries += 1;
        self.counters.retries.fetch_add(1, Relaxed);
    }

    /// The head of the response is there.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.answered = Some((status, self.started.elapsed()));
    }

    /// The gateway itself answers, with an error.
    pub(crate) fn refused(&mut self, status: StatusCode, error: &str) {
        self.counters.gateway_errors.fetch_add(1, Relaxed);
        self.answered(status);
        self.failed(error);
    }

    /// Notes what went wrong.
    pub(crate) fn failed(&mut self, error: &str) {
        self.error = Some(error.into());
    }

    /// Bytes of the response went to the client.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
        self.counters.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    /// It is a tunnel from now on.
    pub(crate) fn becomes_tunnel(&mut self) {
        if !self.tunnel {
            self.tunnel = true;
            self.counters.in_flight.fetch_sub(1, Relaxed);
            self.counters.connections.fetch_add(1, Relaxed);
            self.counters.connections_total.fetch_add(1, Relaxed);
            self.lease = self.lease.take().map(Lease::into_connection);
        }
    }

    /// Bytes went through the tunnel.
    pub(crate) fn tunnelled(&mut self, up: u64, down: u64) {
        self.bytes_in += up;
        self.bytes_out += down;
        self.counters.bytes_in.fetch_add(up, Relaxed);
        self.counters.bytes_out.fetch_add(down, Relaxed);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let counters = &self.counters;
        if let Some(body) = &self.body {
            let bytes = body.bytes();
            self.bytes_in += bytes;
            counters.bytes_in.fetch_add(bytes, Relaxed);
        }
        if self.tunnel {
            counters.connections.fetch_sub(1, Relaxed);
        } else {
            counters.in_flight.fetch_sub(1, Relaxed);
        }
        match self.answered {
            Some((status, latency)) => counters.answered(status, latency),
            None if self.about.method.is_some() => {
                counters.abandoned.fetch_add(1, Relaxed);
            }
            None => {}
        }
        if self.log.is_on() {
            let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            let take = std::mem::take::<String>;
            self.log.write(Line {
                time: jiff::Timestamp::now(),
                key: self.counters.key().clone(),
                instance: self.instance.take(),
                protocol: self.about.protocol,
                peer: self.about.peer,
                method: self.about.method.take(),
                host: take(&mut self.about.host),
                path: take(&mut self.about.path),
                request_id: take(&mut self.about.request_id),
                status: self.answered.map_or(0, |(status, _)| status.as_u16()),
                latency_us: self.answered.map_or(0, |(_, latency)| micros(latency)),
                duration_us: micros(self.started.elapsed()),
                bytes_in: self.bytes_in,
                bytes_out: self.bytes_out,
                retries: self.retries,
                error: self.error.take(),
            });
        }
    }
}
