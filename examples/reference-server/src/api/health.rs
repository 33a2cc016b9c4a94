//! For whoever watches the server.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use schemars::JsonSchema;
use serde::Serialize;

use super::Service;
use super::answer::{Answer, Outcome};
use super::metrics::OPEN_METRICS;
use super::operation::{Routes, probe};
use crate::rest::problem::Problem;

/// How the server is.
#[derive(Serialize, JsonSchema)]
pub struct Health {
    /// `ok`.
    status: &'static str,
    /// The server's version.
    version: &'static str,
}

const OK: Health = Health { status: "ok", version: env!("CARGO_PKG_VERSION") };

pub fn routes(routes: Routes) -> Routes {
    routes
        .add(
            probe("/healthz", "health", "Whether the server lives").open().gives::<Health>(200, "It lives."),
            healthz,
        )
        .add(
            probe(
                "/readyz",
                "ready",
                "Whether the server can answer: its store can be read and it is not stopping",
            )
            .open()
            .gives::<Health>(200, "It can."),
            readyz,
        )
        .add(
            probe("/metrics", "metrics", "Counters in the format of Prometheus; they name no tenants")
                .open()
                .gives_as::<String>(200, OPEN_METRICS, "The counters."),
            metrics,
        )
}

async fn healthz() -> Outcome<Health> {
    Ok(Answer::ok(OK))
}

async fn readyz(State(service): State<Service>) -> Outcome<Health> {
    if service.closing().is_cancelled() {
        return Err(Problem::new(503, "unavailable", "the server is stopping"));
    }
    service.store().revision().await?;
    Ok(Answer::ok(OK))
}

async fn metrics(State(service): State<Service>) -> Result<impl IntoResponse, Problem> {
    let census = service.census().await?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], service.metrics().text(&census)))
}
