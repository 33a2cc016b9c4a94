//! A call on its way to the API server and back.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use paas_k8s::kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::call::{Call, Verb, Write};
use crate::fault::{Fault, Recorded};
use crate::{Made, Shared, stream};

pub(crate) type AnswerBody = UnsyncBoxBody<Bytes, Cut>;
type Answer = Result<Response<AnswerBody>, Cut>;

/// The connection is cut.
#[derive(Debug)]
pub(crate) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is cut by the proxy")
    }
}

impl std::error::Error for Cut {}

/// Answers a call.
pub(crate) async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    if request.headers().contains_key(header::UPGRADE) {
        return upgrade(&shared, request).await;
    }
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(header::HOST);
    let call = arrived(&shared, &parts);
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let fault = shared.lock().rules.strike(&call);
    match fault {
        None | Some(Fault::ErrorAfterCommit | Fault::CutAfterCommit) => {}
        Some(Fault::Refused) => return Err(Cut),
        Some(Fault::Hangs) => return hang(&shared, &call).await,
        Some(Fault::TooManyRequests(seconds)) => {
            let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests");
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            return Ok(response);
        }
        Some(Fault::Expired) => return Ok(refuse(StatusCode::GONE, "Expired")),
        Some(Fault::Stale) if call.verb.writes() => {}
        Some(Fault::Stale) => {
            if let Some(recorded) = shared.lock().rules.recorded(&asked(&parts)) {
                return Ok(recorded.response());
            }
        }
    }
    if call.streams(&parts) {
        let response = send(&shared, parts, body).await?;
        let (head, body) = response.into_parts();
        return Ok(Response::from_parts(head, stream::pass(shared, call, body)));
    }
    // What was sent arrives, whatever becomes of the client.
    let (told, answer) = oneshot::channel();
    let whole = carry_out(Arc::clone(&shared), call, parts, body);
    shared.calls.lock().await.spawn(async move { drop(told.send(whole.await)) });
    let recorded = answer.await.map_err(|_| Cut)??;
    match fault {
        Some(Fault::ErrorAfterCommit) => Ok(refuse(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")),
        Some(Fault::CutAfterCommit) => Err(Cut),
        _ => Ok(recorded.response()),
    }
}

/// Takes a call apart, and counts it.
fn arrived(shared: &Shared, parts: &Parts) -> Call {
    let call = Call::of(parts);
    *shared.lock().calls.entry((call.verb, call.about())).or_default() += 1;
    call
}

/// Waits until a fault ends, then cuts the connection: nothing ever came of the call.
async fn hang(shared: &Shared, call: &Call) -> Answer {
    let mut changes = shared.changes.subscribe();
    loop {
        changes.mark_unchanged();
        if shared.lock().rules.standing(call) != Some(Fault::Hangs) {
            return Err(Cut);
        }
        changes.changed().await.map_err(|_| Cut)?;
    }
}

/// Passes a call on that is answered whole, past the gate if it is a write.
async fn carry_out(shared: Arc<Shared>, call: Call, parts: Parts, body: Bytes) -> Result<Recorded, Cut> {
    while shared.calls.lock().await.try_join_next().is_some() {}
    let asked = asked(&parts);
    let write = call.write(&body);
    let gate = shared.lock().gate.clone();
    if let (Some(gate), Some(write)) = (&gate, &write) {
        gate.before(write).await;
    }
    let response = send(&shared, parts, body).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let recorded = Recorded { status: head.status, headers: head.headers, body };
    match &write {
        Some(write) => {
            let mut state = shared.lock();
            state.made.extend(made(write, &recorded));
            state.writes.push((write.clone(), recorded.status.as_u16()));
        }
        None if matches!(call.verb, Verb::Get | Verb::List) => {
            shared.lock().rules.record(asked, recorded.clone());
        }
        None => {}
    }
    if let (Some(gate), Some(write)) = (&gate, &write) {
        gate.after(write, recorded.status.as_u16()).await;
    }
    Ok(recorded)
}

async fn send(shared: &Shared, parts: Parts, body: Bytes) -> Result<Response<Body>, Cut> {
    let request = Request::from_parts(parts, Body::from(body.to_vec()));
    shared.upstream.send(request).await.map_err(|_| Cut)
}

/// What a reading call asks for: the same is answered by the same.
fn asked(parts: &Parts) -> String {
    let accept = parts.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    format!("{} {}", parts.uri, accept.unwrap_or_default())
}

/// The object that a write has made.
fn made(write: &Write, answer: &Recorded) -> Option<Made> {
    if answer.status != StatusCode::CREATED || write.resource.contains('/') {
        return None;
    }
    let object: Value = serde_json::from_slice(&answer.body).ok()?;
    Some(Made {
        resource: write.resource.clone(),
        namespace: write.namespace.clone(),
        name: write.name.clone(),
        uid: object["metadata"]["uid"].as_str()?.to_owned(),
    })
}

impl Recorded {
    fn response(self) -> Response<AnswerBody> {
        let mut response = Response::new(whole(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        // The body is whole now, however it came.
        response.headers_mut().remove(header::TRANSFER_ENCODING);
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response
    }
}

fn whole(body: Bytes) -> AnswerBody {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

fn refuse(code: StatusCode, reason: &str) -> Response<AnswerBody> {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": "injected by a test", "reason": reason, "code": code.as_u16(),
    });
    let mut response = Response::new(whole(Bytes::from(status.to_string())));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Passes a connection on that becomes something else than HTTP.
async fn upgrade(shared: &Arc<Shared>, mut request: Request<Incoming>) -> Answer {
    let near = hyper::upgrade::on(&mut request);
    let (mut parts, _) = request.into_parts();
    parts.headers.remove(header::HOST);
    let call = arrived(shared, &parts);
    match shared.lock().rules.strike(&call) {
        None | Some(Fault::Stale) => {}
        Some(Fault::Expired) => return Ok(refuse(StatusCode::GONE, "Expired")),
        Some(Fault::TooManyRequests(_)) => {
            return Ok(refuse(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"));
        }
        Some(Fault::ErrorAfterCommit) => {
            return Ok(refuse(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"));
        }
        Some(Fault::Refused | Fault::CutAfterCommit | Fault::Hangs) => return Err(Cut),
    }
    let mut response = send(shared, parts, Bytes::new()).await?;
    let far = hyper::upgrade::on(&mut response);
    let (head, body) = response.into_parts();
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
        return Ok(Response::from_parts(head, whole(body)));
    }
    shared.calls.lock().await.spawn(async move {
        if let (Ok(near), Ok(far)) = (near.await, far.await) {
            let (mut near, mut far) = (TokioIo::new(near), TokioIo::new(far));
            // One of the two ends; then so does the other.
            drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
        }
    });
    Ok(Response::from_parts(head, whole(Bytes::new())))
}
