//! The API server as a service.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use kube::client::Body;
use serde_json::{Value, json};
use tower::{BoxError, Service};

use super::answer::Refused;
use super::apply::precondition;
use super::faults::{FOR_EVER, Fault};
use super::objects::Key;
use super::request::{Request, Selector};
use super::{Inner, State, exec, kinds, logs, metrics, watch};

/// The body of an answer.
pub(super) type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

/// The API server of a [`FakeCluster`](super::FakeCluster) as a tower service.
#[derive(Clone)]
pub struct FakeService {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for FakeService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeService").finish_non_exhaustive()
    }
}

impl FakeService {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }
}

impl Service<http::Request<Body>> for FakeService {
    type Response = Response<AnswerBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            if request.headers().contains_key(header::UPGRADE) {
                return exec::answer(inner, request).await;
            }
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            answer(inner, Request::parse(parts.method, &parts.uri, &parts.headers, body)).await
        })
    }
}

async fn answer(inner: Arc<Inner>, request: Request) -> Result<Response<AnswerBody>, BoxError> {
    let fault = inner.with(|state| state.script.strike(&request));
    match fault {
        None => {}
        Some(Fault::Refused) => return Err(cut("connection refused")),
        Some(Fault::Hangs) => {
            tokio::time::sleep(FOR_EVER).await;
            return Err(cut("connection timed out"));
        }
        Some(Fault::Late(pause)) => tokio::time::sleep(pause).await,
        Some(Fault::TooManyRequests(seconds)) => {
            let refused = Refused::new(429, "TooManyRequests", "too many requests, please try again later");
            return Ok(refusal(&Refused { retry_after: Some(seconds), ..refused }));
        }
        Some(Fault::Status(code)) => {
            return Ok(refusal(&Refused::new(code, "InternalError", "injected by a test")));
        }
        Some(Fault::ErrorAfterCommit) => {
            drop(inner.with(|state| state.perform(&request)));
            return Ok(refusal(&Refused::new(500, "InternalError", "injected by a test, after the commit")));
        }
        Some(Fault::CutAfterCommit) => {
            drop(inner.with(|state| state.perform(&request)));
            return Err(cut("connection reset by peer"));
        }
    }
    if let Err(refused) = inner.with(|state| state.authorize(&request)) {
        return Ok(refusal(&refused));
    }
    let subresource = request.subresource.as_deref();
    if request.asks("watch") {
        return Ok(match watch::open(&inner, &request) {
            Ok(body) => respond(200, "application/json", body),
            Err(refused) => refusal(&refused),
        });
    }
    if request.kind == Some(kinds::POD) && subresource == Some("log") {
        return Ok(match logs::open(&inner, &request) {
            Ok(body) => respond(200, "text/plain", body),
            Err(refused) => refusal(&refused),
        });
    }
    Ok(match inner.with(|state| state.perform(&request)) {
        Ok((code, value)) => json_answer(code, &value),
        Err(refused) => refusal(&refused),
    })
}

fn cut(why: &str) -> BoxError {
    std::io::Error::other(why).into()
}

fn respond(code: u16, content_type: &str, body: AnswerBody) -> Response<AnswerBody> {
    let response = Response::builder().status(code).header(header::CONTENT_TYPE, content_type).body(body);
    response.expect("the status and the header are valid")
}

fn json_answer(code: u16, value: &Value) -> Response<AnswerBody> {
    respond(code, "application/json", whole(value.to_string()))
}

pub(super) fn refusal(refused: &Refused) -> Response<AnswerBody> {
    let mut response = json_answer(refused.code, &refused.status());
    if let Some(seconds) = refused.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

pub(super) fn whole(text: impl Into<Bytes>) -> AnswerBody {
    Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

type Answer = Result<(u16, Value), Refused>;

impl State {
    /// Carries out a request that is answered at once.
    fn perform(&mut self, request: &Request) -> Answer {
        if let Some(answer) = self.discovery(request) {
            return answer;
        }
        if let Some(review) = self.review(request) {
            return Ok((201, review));
        }
        let Some(kind) = request.kind else { return Err(no_path(request)) };
        if kind.group == crate::gateway_api::GROUP && !self.settings.has_gateway_api {
            return Err(no_path(request));
        }
        if request.method == Method::GET {
            self.reads += 1;
        } else {
            self.writes += 1;
        }
        let namespace = request.namespace.as_deref();
        match (&request.method, &request.name, request.subresource.as_deref()) {
            (&Method::GET, None, _) => Ok((200, self.list(request))),
            (&Method::POST, None, _) => self.create(request),
            (&Method::GET, Some(name), None | Some("status")) => {
                let key = Key::new(kind, namespace, name);
                self.objects.get(&key).cloned().map(|it| (200, it)).ok_or_else(|| Refused::missing(&key))
            }
            (&Method::PUT, Some(name), sub @ (None | Some("status"))) => {
                let key = Key::new(kind, namespace, name);
                self.put(request, &key, sub.is_some()).map(|object| (200, object))
            }
            (&Method::PATCH, Some(name), None | Some("status")) => {
                let key = Key::new(kind, namespace, name);
                let code = if self.objects.get(&key).is_some() { 200 } else { 201 };
                self.patch(request, &key).map(|object| (code, object))
            }
            (&Method::DELETE, Some(name), None) => {
                self.remove(request, &Key::new(kind, namespace, name)).map(|object| (200, object))
            }
            (&Method::POST, Some(name), Some("eviction")) if kind == kinds::POD => {
                let key = Key::new(kind, namespace, name);
                self.evict(&key).map(|()| (201, json!({ "kind": "Status", "status": "Success" })))
            }
            _ => Err(Refused::new(405, "MethodNotAllowed", "the server does not allow this method")),
        }
    }

    fn discovery(&self, request: &Request) -> Option<Answer> {
        let parts: Vec<&str> = request.path.split('/').filter(|part| !part.is_empty()).collect();
        let (group, version) = match parts.as_slice() {
            ["version"] => {
                return Some(Ok((
                    200,
                    json!({ "major": "1", "minor": "33", "gitVersion": "v1.33.0-fake",
                    "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "",
                    "platform": "" }),
                )));
            }
            ["api", version] => ("", *version),
            ["apis", group, version] => (*group, *version),
            _ => return None,
        };
        let known = self.settings.has_gateway_api || group != crate::gateway_api::GROUP;
        let resources: Vec<Value> = kinds::of_version(group, version)
            .filter(|_| known)
            .map(|kind| {
                json!({ "name": kind.plural, "singularName": "", "kind": kind.kind,
                    "namespaced": kind.namespaced, "verbs": ["get", "list", "watch", "create"] })
            })
            .collect();
        if resources.is_empty() {
            return Some(Err(no_path(request)));
        }
        let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        Some(Ok((
            200,
            json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version,
                "resources": resources }),
        )))
    }

    fn list(&self, request: &Request) -> Value {
        let Some(kind) = request.kind else { return Value::Null };
        let selector = Selector::of(request);
        let items: Vec<Value> = self
            .objects
            .of(if kind == kinds::POD_METRICS { kinds::POD } else { kind })
            .filter(|(key, _)| request.namespace.is_none() || request.namespace == key.namespace)
            .map(|(_, object)| object)
            .filter(|object| selector.fits(object))
            .filter_map(|object| {
                if kind == kinds::POD_METRICS { metrics::of_pod(kind, object) } else { Some(object.clone()) }
            })
            .collect();
        json!({
            "apiVersion": kind.api_version(),
            "kind": format!("{}List", kind.kind),
            "metadata": { "resourceVersion": self.objects.newest().to_string() },
            "items": items,
        })
    }

    fn create(&mut self, request: &Request) -> Answer {
        let kind = request.kind.ok_or_else(|| no_path(request))?;
        let mut object: Value = serde_json::from_slice(&request.body)
            .map_err(|error| Refused::bad_request(format!("the object is not JSON: {error}")))?;
        let Some(name) = object["metadata"]["name"].as_str().map(str::to_owned) else {
            return Err(Refused::bad_request("the object has no name"));
        };
        let key = Key::new(kind, request.namespace.as_deref(), &name);
        if self.objects.get(&key).is_some() {
            return Err(Refused::exists(&key));
        }
        self.admit(&key, &object)?;
        if let Some(meta) = object["metadata"].as_object_mut() {
            meta.remove("resourceVersion");
        }
        if kind.namespaced && kind.kind != "Event" {
            object["status"] = Value::Null;
            if let Some(map) = object.as_object_mut() {
                map.remove("status");
            }
        }
        Ok((201, self.put_new(kind, request.namespace.as_deref(), &name, object)))
    }

    /// What every new object has to satisfy.
    pub(super) fn admit(&self, key: &Key, object: &Value) -> Result<(), Refused> {
        if let Some(namespace) = &key.namespace {
            match self.objects.get(&Key::new(kinds::NAMESPACE, None, namespace)) {
                None => return Err(Refused::missing_namespace(namespace)),
                Some(found) if !found["metadata"]["deletionTimestamp"].is_null() => {
                    let message = format!("namespace {namespace} is being terminated");
                    return Err(Refused::new(403, "Forbidden", message));
                }
                Some(_) => {}
            }
        }
        let name = &key.name;
        let valid = !name.is_empty()
            && name.len() <= 253
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b));
        if !valid {
            return Err(Refused::invalid(
                key,
                "metadata.name: Invalid value: a lowercase RFC 1123 subdomain",
            ));
        }
        let service = key.kind == kinds::SERVICE;
        if service && (name.len() > 63 || !name.starts_with(|c: char| c.is_ascii_lowercase())) {
            return Err(Refused::invalid(key, "metadata.name: Invalid value: a DNS-1035 label"));
        }
        let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
        for (label, value) in labels {
            if value.as_str().is_none_or(|value| value.len() > 63) {
                let message =
                    format!("metadata.labels: Invalid value: {label}: must be no more than 63 bytes");
                return Err(Refused::invalid(key, &message));
            }
        }
        Ok(())
    }

    fn put(&mut self, request: &Request, key: &Key, is_status: bool) -> Result<Value, Refused> {
        let mut object: Value = serde_json::from_slice(&request.body)
            .map_err(|error| Refused::bad_request(format!("the object is not JSON: {error}")))?;
        let Some(before) = self.objects.get(key).cloned() else { return Err(Refused::missing(key)) };
        precondition(key, &before, &object["metadata"])?;
        if is_status {
            let status = object["status"].take();
            object = before;
            object["status"] = status;
        } else {
            object["status"] = before["status"].clone();
        }
        self.replace(key, object)
    }

    fn remove(&mut self, request: &Request, key: &Key) -> Result<Value, Refused> {
        let options: Value = if request.body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&request.body).unwrap_or_default()
        };
        let Some(object) = self.objects.get(key) else { return Err(Refused::missing(key)) };
        precondition(key, object, &options["preconditions"])?;
        self.delete(key, options["gracePeriodSeconds"].as_u64())
    }
}

fn no_path(request: &Request) -> Refused {
    Refused::new(
        404,
        "NotFound",
        format!("the server could not find the requested resource {}", request.path),
    )
}
