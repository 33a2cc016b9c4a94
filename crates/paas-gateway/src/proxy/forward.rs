//! One HTTP request, from its head to the head of its response.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{CONNECTION, COOKIE, UPGRADE},
    request::Parts,
    uri::PathAndQuery,
};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::{
    body::{ClientBody, ResponseBody},
    exchange::{About, Exchange},
    headers::{self, Claims, X_REQUEST_ID},
    page::Refusal,
    tunnel,
};
use crate::{
    config::{Match, Rule, State},
    gateway::Inner,
    listen::Origin,
    table::{Choice, Chosen, ListenerTable, Table, Target},
    upstream::{Connection, SendFailure, Use},
};

/// How often a request is tried at most, however many instances there are.
const ATTEMPTS: usize = 32;

/// Who is at the other end of a client's connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) origin: Origin,
    pub(crate) address: Option<SocketAddr>,
    /// Cancelled when the connection is to end after its next response.
    pub(crate) stop: CancellationToken,
    /// One of the connections that may be open at once, upgraded ones included: held, never looked at.
    pub(crate) _permit: OwnedSemaphorePermit,
}

/// Answers a request: there is always an answer. On a connection that is to end, it says so.
pub(crate) async fn serve(
    inner: Arc<Inner>,
    peer: Arc<Peer>,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let (version, stop) = (request.version(), peer.stop.clone());
    let mut response = exchange(inner, peer, request).await;
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if version < Version::HTTP_2 && !switches && stop.is_cancelled() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn exchange(
    inner: Arc<Inner>,
    peer: Arc<Peer>,
    mut request: Request<Incoming>,
) -> Response<ResponseBody> {
    let version = request.version();
    let named = headers::host(request.uri(), request.headers(), version);
    let (authority, host) = named.unwrap_or_default();
    let about = About {
        protocol: if version == Version::HTTP_2 { "http/2" } else { "http/1.1" },
        peer: peer.address,
        method: Some(request.method().clone()),
        host,
        path: request.uri().path().to_owned(),
        request_id: headers::request_id(request.headers()),
    };
    let found = Found::look_up(&inner, &peer.origin, &about);
    let counters = match (&found.target, &found.unrouted) {
        (Some(target), _) => target.counters(None).clone(),
        (None, Some(unrouted)) => unrouted.clone(),
        (None, None) => inner.unrouted(&peer.origin),
    };
    let mut exchange = Exchange::open(inner.log().clone(), about, counters);

    let upgrade = headers::upgrade(request.headers(), version);
    let client = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    let (mut parts, incoming) = request.into_parts();
    let accept = accept_of(&parts.headers);

    let target = match admit(&parts.method, exchange.about(), found.target) {
        Ok(target) => target,
        Err(refusal) => return refuse(&refusal, &accept, exchange),
    };
    let body = ClientBody::new(incoming, millis(found.table.limits.body_idle_ms));
    exchange.has_body(body.clone());
    let choice = Choice::new(ruled(&target, &parts));
    let claims = match (&peer.origin, found.trusted) {
        (Origin::Caller { .. }, _) => Claims::Keep,
        (Origin::Listener(_), true) => Claims::Extend,
        (Origin::Listener(_), false) => Claims::Replace,
    };
    let about = exchange.about();
    headers::prepare_request(&mut parts.headers, &authority, peer.address, claims, &about.request_id);
    if let Some(protocol) = &upgrade {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, protocol.clone());
    }
    parts.uri = inner_uri(&parts.uri, &target);
    parts.version = Version::HTTP_11;
    // What hyper attached to the client's request is not for the instance.
    parts.extensions.clear();

    let attempt = Attempts { inner: &inner, peer: &peer, table: found.table, target, choice, parts, body };
    match attempt.run(&mut exchange).await {
        Ok((response, chosen, connection)) => {
            answer(response, chosen, connection, client.map(|client| (client, peer)), &accept, exchange)
        }
        Err(refusal) => refuse(&refusal, &accept, exchange),
    }
}

/// What the table in force says about a request.
struct Found {
    table: Arc<Table>,
    target: Option<Arc<Target>>,
    unrouted: Option<Arc<crate::stats::Counters>>,
    trusted: bool,
}

impl Found {
    fn look_up(inner: &Inner, origin: &Origin, about: &About) -> Self {
        let table = inner.table();
        let (target, unrouted, trusted) = match origin {
            Origin::Listener(listener) => match table.listener(listener) {
                Some(ListenerTable::Http { trust_forwarded, unrouted }) => (
                    table.routes.find(&about.host, &about.path).cloned(),
                    Some(unrouted.clone()),
                    *trust_forwarded,
                ),
                _ => (None, None, false),
            },
            Origin::Caller { instance, listener, .. } => {
                (table.dependency(instance, listener).cloned(), None, false)
            }
        };
        Self { table, target, unrouted, trusted }
    }
}

fn admit(method: &Method, about: &About, target: Option<Arc<Target>>) -> Result<Arc<Target>, Refusal> {
    if about.host.is_empty() {
        return Err(Refusal::Bad("The Host header is missing, is there twice, or names no host."));
    }
    if *method == Method::CONNECT {
        return Err(Refusal::Method);
    }
    let target = target.ok_or(Refusal::NoRoute)?;
    match &target.service.state {
        State::Stopped { reason } => Err(Refusal::Stopped(reason.clone())),
        _ => Ok(target),
    }
}

/// The attempts to have one request answered.
struct Attempts<'a> {
    inner: &'a Inner,
    peer: &'a Peer,
    table: Arc<Table>,
    target: Arc<Target>,
    choice: Choice,
    parts: Parts,
    body: ClientBody,
}

type Answered = (Response<Incoming>, Chosen, Connection);

enum Failure {
    /// Another attempt is safe.
    Again(Refusal),
    /// It is not.
    Final(Refusal),
}

impl Attempts<'_> {
    async fn run(mut self, exchange: &mut Exchange) -> Result<Answered, Refusal> {
        let mut last = None;
        let mut fresh = false;
        for attempt in 0..ATTEMPTS {
            let Some(chosen) = self.choose(exchange) else { break };
            if attempt > 0 {
                exchange.retried();
            }
            exchange.book_on(self.target.counters(Some(chosen.revision)));
            match self.try_once(&chosen, &mut fresh).await {
                Ok((response, connection)) => return Ok((response, chosen, connection)),
                Err(Failure::Final(refusal)) => return Err(refusal),
                Err(Failure::Again(refusal)) => last = Some(refusal),
            }
        }
        Err(last.unwrap_or(match self.target.service.state {
            State::Starting => Refusal::Starting,
            _ => Refusal::NotReady,
        }))
    }

    /// Looks into the table anew if the one at hand has nobody left, but another is in force.
    fn choose(&mut self, exchange: &Exchange) -> Option<Chosen> {
        loop {
            if let Some(chosen) = self.target.service.choose(&mut self.choice, Use::Request) {
                return Some(chosen);
            }
            let found = Found::look_up(self.inner, &self.peer.origin, exchange.about());
            if Arc::ptr_eq(&found.table, &self.table) {
                return None;
            }
            self.table = found.table;
            self.target = found.target?;
            if matches!(self.target.service.state, State::Stopped { .. }) {
                return None;
            }
            self.choice.ruled = ruled(&self.target, &self.parts);
        }
    }

    async fn try_once(
        &mut self,
        chosen: &Chosen,
        fresh: &mut bool,
    ) -> Result<(Response<Incoming>, Connection), Failure> {
        let instance = chosen.lease.instance();
        let port = self.target.number(&chosen.member);
        let look = !self.parts.method.is_idempotent();
        let pooled = if *fresh { None } else { instance.pooled(port, look) };
        let mut connection = match pooled {
            Some(connection) => connection,
            None => match instance.connect_http(port, millis(self.table.limits.connect_ms)).await {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::debug!(instance = %instance.id, %error, "cannot connect");
                    self.choice.tried.push(instance.id.clone());
                    return Err(Failure::Again(Refusal::Upstream(format!(
                        "cannot connect to instance {}: {error}",
                        instance.id
                    ))));
                }
            },
        };
        let request = Request::from_parts(self.parts.clone(), self.body.attempt());
        let failure = match self.send(&mut connection, request).await {
            Some(Ok(response)) => return Ok((response, connection)),
            Some(Err(failure)) => failure,
            None => return Err(Failure::Final(Refusal::Slow)),
        };
        tracing::debug!(instance = %instance.id, error = %failure.error, unwritten = failure.unwritten,
            reused = connection.reused, "no response");
        if self.body.has_failed() {
            return Err(Failure::Final(Refusal::ClientBody));
        }
        if connection.reused {
            // The others of its pool are likely to be as old.
            *fresh = true;
        } else {
            self.choice.tried.push(instance.id.clone());
        }
        let refusal = Refusal::Upstream(format!(
            "instance {} broke the connection before it answered: {}",
            instance.id, failure.error
        ));
        let safe = failure.unwritten || self.parts.method.is_idempotent() || failure.is_reset();
        if safe && self.body.is_repeatable() {
            Err(Failure::Again(refusal))
        } else {
            Err(Failure::Final(refusal))
        }
    }

    /// `None` if there was no head in time, which begins when the body has gone out.
    async fn send(
        &self,
        connection: &mut Connection,
        request: Request<super::RequestBody>,
    ) -> Option<Result<Response<Incoming>, SendFailure>> {
        let limit = millis(self.table.limits.response_ms);
        let sending = connection.send(request);
        tokio::pin!(sending);
        loop {
            if let Ok(sent) = tokio::time::timeout(limit, &mut sending).await {
                return Some(sent);
            }
            if self.body.still_coming().is_none_or(|last| last.elapsed() >= limit) {
                return None;
            }
        }
    }
}

fn answer(
    mut response: Response<Incoming>,
    chosen: Chosen,
    connection: Connection,
    client: Option<(OnUpgrade, Arc<Peer>)>,
    accept: &HeaderMap,
    mut exchange: Exchange,
) -> Response<ResponseBody> {
    let instance = chosen.lease.instance().clone();
    exchange.uses(chosen.lease);
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let served = switched.then(|| hyper::upgrade::on(&mut response));
    let (mut parts, incoming) = response.into_parts();
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    if let Some(served) = served {
        let protocol = parts.headers.get(UPGRADE).cloned();
        let (Some((client, peer)), Some(protocol)) = (client, protocol) else {
            let refusal = Refusal::Upstream("the instance changed the protocol unasked".into());
            return refuse(&refusal, accept, exchange);
        };
        headers::strip_hop_by_hop(&mut parts.headers);
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, protocol);
        name_request(&mut parts.headers, exchange.about());
        exchange.answered(parts.status);
        tunnel::start(client, served, exchange, peer);
        return Response::from_parts(parts, ResponseBody::Own(http_body_util::Full::default(), None));
    }
    headers::strip_hop_by_hop(&mut parts.headers);
    name_request(&mut parts.headers, exchange.about());
    exchange.answered(parts.status);
    Response::from_parts(parts, ResponseBody::proxied(incoming, exchange, instance, connection))
}

fn name_request(headers: &mut HeaderMap, about: &About) {
    if !headers.contains_key(X_REQUEST_ID)
        && let Ok(id) = HeaderValue::from_str(&about.request_id)
    {
        headers.insert(X_REQUEST_ID, id);
    }
}

fn refuse(refusal: &Refusal, accept: &HeaderMap, mut exchange: Exchange) -> Response<ResponseBody> {
    exchange.refused(refusal.status(), &refusal.log());
    let about = exchange.about();
    let (mut parts, body) =
        refusal.respond(accept, (&about.host, &about.path, &about.request_id)).into_parts();
    name_request(&mut parts.headers, exchange.about());
    Response::from_parts(parts, ResponseBody::Own(body, Some(Box::new(exchange))))
}

/// Only what a page is chosen by: the rest of the headers goes on its way.
fn accept_of(headers: &HeaderMap) -> HeaderMap {
    headers.get_all(http::header::ACCEPT).iter().map(|value| (http::header::ACCEPT, value.clone())).collect()
}

/// The revision of the first rule that holds.
fn ruled(target: &Target, parts: &Parts) -> Option<usize> {
    let rules = &target.service.rules;
    let rule = rules.iter().find(|rule| rule_holds(rule, parts))?;
    target.service.position(&rule.revision)
}

fn rule_holds(rule: &Rule, parts: &Parts) -> bool {
    rule.when.iter().all(|condition| match condition {
        Match::Header { name, value } => parts
            .headers
            .get_all(name.as_str())
            .iter()
            .any(|field| field.to_str().is_ok_and(|field| value.holds(field))),
        Match::Cookie { name, value } => parts.headers.get_all(COOKIE).iter().any(|field| {
            field.to_str().is_ok_and(|field| {
                field
                    .split(';')
                    .filter_map(|pair| pair.trim().split_once('='))
                    .any(|(key, found)| key == name && value.holds(found.trim_matches('"')))
            })
        }),
        Match::Query { name, value } => parts.uri.query().unwrap_or_default().split('&').any(|pair| {
            let (key, found) = pair.split_once('=').unwrap_or((pair, ""));
            key == name && value.holds(found)
        }),
    })
}

/// The target in origin form (RFC 9112 section 3.2.1), without the prefix if it is to be taken off.
fn inner_uri(uri: &Uri, target: &Target) -> Uri {
    let whole = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let stripped = target.strip.as_ref().filter(|prefix| prefix.as_str() != "/").and_then(|prefix| {
        let rest = whole.as_str().strip_prefix(prefix.as_str())?;
        let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
        rest.parse::<PathAndQuery>().ok()
    });
    Uri::from(stripped.unwrap_or(whole))
}

fn millis(count: u32) -> Duration {
    Duration::from_millis(count.into())
}
