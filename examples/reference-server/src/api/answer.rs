//! Answers: JSON with status, entity tag and location; problems with their own media type.

use axum::Json;
use axum::http::header::{ETAG, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use paas_core::action::Versioned;
use paas_core::port::Revision;
use serde::Serialize;

use crate::rest::problem::{MEDIA_TYPE, Problem};

/// The result of every handler.
pub type Outcome<T> = Result<Answer<T>, Problem>;

/// A body with its status and headers.
pub struct Answer<T> {
    status: StatusCode,
    headers: HeaderMap,
    body: Option<T>,
}

impl<T> Answer<T> {
    /// 200 with a body.
    pub fn ok(body: T) -> Self {
        Self { status: StatusCode::OK, headers: HeaderMap::new(), body: Some(body) }
    }

    /// The same as 201: something was made.
    pub fn created(self) -> Self {
        Self { status: StatusCode::CREATED, ..self }
    }

    /// The same as 202: something was begun.
    pub fn accepted(self) -> Self {
        Self { status: StatusCode::ACCEPTED, ..self }
    }

    /// 204 without a body.
    pub fn nothing() -> Self {
        Self { status: StatusCode::NO_CONTENT, headers: HeaderMap::new(), body: None }
    }

    /// With the entity tag of a version.
    pub fn tagged(self, revision: Revision) -> Self {
        self.with(ETAG, format!("\"{revision}\""))
    }

    /// Names where to find what was made.
    pub fn at(self, location: String) -> Self {
        self.with(LOCATION, location)
    }

    fn with(mut self, name: HeaderName, value: String) -> Self {
        // Names are checked and versions are numbers, so the conversion cannot fail; a header less is the worst.
        if let Ok(value) = HeaderValue::try_from(value) {
            self.headers.insert(name, value);
        }
        self
    }
}

impl<T> Answer<Versioned<T>> {
    /// 200 with an object and the entity tag of its version, for `If-Match`.
    pub fn versioned(object: Versioned<T>) -> Self {
        let revision = object.revision;
        Self::ok(object).tagged(revision)
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match self.body {
            Some(body) => (self.status, self.headers, Json(body)).into_response(),
            None => (self.status, self.headers).into_response(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"paas\""));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        let body = serde_json::to_vec(&self).expect("a problem is text and numbers");
        (status, headers, body).into_response()
    }
}
