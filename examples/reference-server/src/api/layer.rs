//! What surrounds every handler: identity of the request, time limit, counters, log.

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument as _;

use super::Service;
use crate::rest::problem::Problem;

/// How long a handler may take until its answer begins.
const TIME_LIMIT: Duration = Duration::from_mins(1);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Surrounds every handler of `router`.
pub fn around(router: Router<Service>, service: &Service) -> Router<Service> {
    router
        .layer(from_fn(limit_time))
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
            Problem::new(500, "internal", "the server failed to answer this request").into_response()
        }))
        .layer(from_fn_with_state(service.clone(), observe))
}

async fn limit_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(TIME_LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!("the answer took more than {} seconds", TIME_LIMIT.as_secs());
            Problem::new(504, "timeout", detail)
                .with_remedy("Try again; the request may have been carried out.")
                .into_response()
        }
    }
}

async fn observe(State(service): State<Service>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = request_id(&request);
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default(), %method, route);
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    service.metrics().request(&method, &route, status, begun.elapsed());
    span.in_scope(|| {
        let milliseconds = begun.elapsed().as_secs_f64() * 1000.0;
        if status.is_server_error() {
            tracing::error!(status = status.as_u16(), milliseconds, "answered");
        } else {
            tracing::debug!(status = status.as_u16(), milliseconds, "answered");
        }
    });
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The id that the caller gave, if it is one, or a new one.
fn request_id(request: &Request) -> HeaderValue {
    let given = request.headers().get(&REQUEST_ID).filter(|id| {
        (1..=64).contains(&id.len()) && id.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
    });
    given.cloned().unwrap_or_else(|| {
        HeaderValue::try_from(uuid::Uuid::now_v7().simple().to_string())
            .expect("hexadecimal digits are a header")
    })
}
