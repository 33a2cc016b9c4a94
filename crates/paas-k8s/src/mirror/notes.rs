//! Every write through the client is noted, so that no read of a mirror is behind it.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde::Deserialize;

use super::{Mirror, Mirrored, Mirrors};

/// The same client, whose writes are noted in the mirrors.
pub(crate) fn noting(client: Client, mirrors: &Arc<Mirrors>) -> Client {
    let (namespace, mirrors) = (client.default_namespace().to_owned(), Arc::clone(mirrors));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, mirrors) = (client.clone(), Arc::clone(&mirrors));
        async move {
            match plural(&request) {
                Some(plural) => {
                    let underway = Underway { mirrors, plural: Some(plural) };
                    write(&client, underway, request).await
                }
                None => client.send(request).await,
            }
        }
    });
    Client::new(service, namespace)
}

/// What a write concerns, if it is one.
fn plural(request: &Request<Body>) -> Option<String> {
    if request.method() == Method::GET {
        return None;
    }
    let mut parts = request.uri().path().split('/').skip_while(|part| *part != "namespaces").skip(2);
    parts.next().map(str::to_owned)
}

/// What an answer to a write says of the object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    metadata: Meta,
    /// Of a status: what was deleted.
    details: Meta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Meta {
    resource_version: String,
    uid: String,
}

async fn write(
    client: &Client,
    underway: Underway,
    request: Request<Body>,
) -> Result<Response<Body>, kube::Error> {
    let is_delete = request.method() == Method::DELETE;
    // Without an answer nobody knows.
    let (parts, body) = client.send(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    underway.answered(is_delete, parts.status, &body);
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// A write whose end is not known yet. Dropped so, it never will be.
struct Underway {
    mirrors: Arc<Mirrors>,
    /// What it concerns, until its end is noted.
    plural: Option<String>,
}

impl Underway {
    /// It was answered.
    fn answered(mut self, is_delete: bool, status: StatusCode, body: &Bytes) {
        let noted = match status {
            _ if status.is_success() => Some(written(is_delete, body)),
            StatusCode::BAD_REQUEST
            | StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::UNPROCESSABLE_ENTITY
            | StatusCode::TOO_MANY_REQUESTS => None,
            // A conflict, or an object that is missing, may be the answer to a call that was repeated after it was carried out.
            _ => Some(Noted::Perhaps),
        };
        self.end(noted);
    }

    fn end(&mut self, noted: Option<Noted>) {
        if let (Some(plural), Some(noted)) = (self.plural.take(), noted) {
            self.mirrors.note(&plural, noted);
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.end(Some(Noted::Perhaps));
    }
}

/// What the answer to a write that was carried out says.
fn written(is_delete: bool, body: &Bytes) -> Noted {
    let answer: Answer = serde_json::from_slice(body).unwrap_or_default();
    let uid = if answer.details.uid.is_empty() { answer.metadata.uid } else { answer.details.uid };
    match answer.metadata.resource_version.parse() {
        _ if is_delete && !uid.is_empty() => Noted::Deleted(uid),
        Ok(version) if !is_delete => Noted::Version(version),
        _ => Noted::Perhaps,
    }
}

/// What is known of a write.
#[derive(Debug)]
pub(super) enum Noted {
    Version(u64),
    Deleted(String),
    Perhaps,
}

impl<K: Mirrored> Mirror<K> {
    /// Takes in what is known of a write.
    pub(super) fn note(&self, noted: Noted) {
        self.change(|view| match noted {
            Noted::Version(version) => view.wrote(version),
            Noted::Deleted(uid) => view.deleted(uid),
            Noted::Perhaps => view.wrote_perhaps(),
        });
    }
}
