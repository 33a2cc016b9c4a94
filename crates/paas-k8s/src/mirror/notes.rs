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
                Some(plural) => write(&client, Underway { mirrors, plural }, request).await,
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
    plural: String,
}

impl Underway {
    fn answered(mut self, is_delete: bool, status: StatusCode, body: &Bytes) {
        let refused = matches!(
            status,
            StatusCode::BAD_REQUEST
                | StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::UNPROCESSABLE_ENTITY
                | StatusCode::TOO_MANY_REQUESTS
        );
        // A conflict, or an object that is missing, may be the answer to a call that was repeated after it was carried out.
        if !status.is_success() && !refused {
            return;
        }
        let plural = std::mem::take(&mut self.plural);
        if !status.is_success() {
            return;
        }
        let answer: Answer = serde_json::from_slice(body).unwrap_or_default();
        let uid = if answer.details.uid.is_empty() { answer.metadata.uid } else { answer.details.uid };
        let noted = match answer.metadata.resource_version.parse() {
            _ if is_delete && !uid.is_empty() => Noted::Deleted(uid),
            Ok(version) if !is_delete => Noted::Version(version),
            _ => Noted::Perhaps,
        };
        self.mirrors.note(&plural, noted);
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.mirrors.note(&self.plural, Noted::Perhaps);
    }
}

/// What is known of a write.
#[derive(Debug)]
enum Noted {
    Version(u64),
    Deleted(String),
    Perhaps,
}

impl Mirrors {
    fn note(&self, plural: &str, noted: Noted) {
        match plural {
            "deployments" => self.deployments.note(noted),
            "statefulsets" => self.stateful_sets.note(noted),
            "pods" => self.pods.note(noted),
            "jobs" => self.jobs.note(noted),
            "services" => self.services.note(noted),
            "configmaps" => self.config_maps.note(noted),
            "httproutes" => self.http_routes.note(noted),
            "tcproutes" => self.tcp_routes.note(noted),
            _ => {}
        }
    }
}

impl<K: Mirrored> Mirror<K> {
    fn note(&self, noted: Noted) {
        self.change(|view| match noted {
            Noted::Version(version) => view.wrote(version),
            Noted::Deleted(uid) => view.deleted(uid),
            Noted::Perhaps => view.wrote_perhaps(),
        });
    }
}
