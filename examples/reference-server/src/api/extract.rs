//! What handlers take from requests. Every refusal is a problem that names the field.

use axum::body::Body;
use axum::extract::path::ErrorKind as PathErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use paas_core::Fault;
use serde::de::DeserializeOwned;

use super::position::Position;
use crate::rest::problem::Problem;

/// The largest body of a request in bytes.
pub const MAX_BODY: usize = 1 << 20;

/// The names in the path.
pub struct Names<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Names<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let rejection = match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(names)) => return Ok(Self(names)),
            Err(rejection) => rejection,
        };
        let fault = match rejection {
            PathRejection::FailedToDeserializePathParams(error) => match error.into_kind() {
                PathErrorKind::ParseErrorAtKey { key, value, expected_type } => {
                    Fault::new(key, format!("{value:?} is not of type {expected_type}"))
                }
                PathErrorKind::InvalidUtf8InPathParam { key } => Fault::new(key, "is not UTF-8"),
                PathErrorKind::DeserializeError { key, message, .. } => Fault::new(key, message),
                kind => Fault::new("", kind.to_string()),
            },
            other => Fault::new("", other.body_text()),
        };
        Err(Problem::malformed("the path has a name that is not valid", vec![fault]))
    }
}

/// The parameters of the query.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = form_urlencoded::parse(query.as_bytes());
        serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs)).map(Self).map_err(
            |error| {
                let path = match error.path().to_string() {
                    path if path == "." => String::new(),
                    path => path,
                };
                let fault = Fault::new(path, error.into_inner().to_string());
                Problem::malformed("the query has a parameter that is not valid", vec![fault])
            },
        )
    }
}

/// The body, which must be JSON.
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        check_media_type(request.headers())?;
        let bytes = read(request.into_body()).await?;
        parse(&bytes).map(Self)
    }
}

/// The body, which must be JSON and holds what no answer may repeat: a refusal does not quote it.
pub struct PrivateBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for PrivateBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        check_media_type(request.headers())?;
        let bytes = read(request.into_body()).await?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            let place = format!(
                "is not what this operation takes, at line {} column {}",
                error.line(),
                error.column()
            );
            Problem::malformed("the body is not what this operation takes", vec![Fault::new("", place)])
        })
    }
}

/// Whether the request says that its body is JSON.
fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let detail = format!("a body of type {essence:?} is not understood");
    Err(Problem::new(415, "unsupported_media_type", detail)
        .with_remedy("Send JSON, with the header Content-Type: application/json."))
}

async fn read(body: Body) -> Result<bytes::Bytes, Problem> {
    axum::body::to_bytes(body, MAX_BODY).await.map_err(|error| {
        let source: &dyn std::error::Error = &error;
        let too_large = std::iter::successors(Some(source), |error| error.source())
            .any(<dyn std::error::Error + 'static>::is::<http_body_util::LengthLimitError>);
        if too_large {
            Problem::new(413, "too_large", format!("the body is larger than {MAX_BODY} bytes"))
        } else {
            Problem::malformed("the body could not be read to its end", Vec::new())
        }
    })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = match error.path().to_string() {
            path if path == "." => String::new(),
            path => path,
        };
        let fault = Fault::new(path, error.into_inner().to_string());
        Problem::malformed("the body is not what this operation takes", vec![fault])
    })?;
    deserializer.end().map_err(|error| {
        let fault = Fault::new("", error.to_string());
        Problem::malformed("the body has something after its JSON", vec![fault])
    })?;
    Ok(value)
}

/// The point that a stream goes on after.
pub struct LastEventId(pub Option<Position>);

impl<S: Send + Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get("last-event-id") else { return Ok(Self(None)) };
        match value.to_str().ok().and_then(|text| text.parse().ok()) {
            Some(position) => Ok(Self(Some(position))),
            None => Err(Problem::malformed(
                "the header Last-Event-ID is not valid",
                vec![Fault::new("Last-Event-ID", "is not an id as an event of this stream had it")],
            )),
        }
    }
}
