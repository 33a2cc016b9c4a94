//! What was counted of the requests of applications.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use paas_core::AppEnv;
use paas_core::engine::AppTraffic;

use super::answer::{Answer, Outcome};
use super::app::here;
use super::auth::Caller;
use super::extract::Names;
use super::metrics::{OPEN_METRICS, traffic_text};
use super::operation::{Routes, get};
use crate::rest::problem::Problem;

const TAG: &str = "applications";

pub fn routes(routes: Routes) -> Routes {
    routes
        .add(
            get(&here("/traffic"), TAG, "getTraffic", "The requests, in figures")
                .about(
                    "By access point, by version, and by who called whom, since the router of each cluster began to count. \
                     Clusters that do not tell are named.",
                )
                .gives::<AppTraffic>(200, "What was counted."),
            traffic,
        )
        .add(
            get("/metrics", TAG, "getTrafficMetrics", "The requests to applications, for Prometheus")
                .about(
                    "Of every application that the caller may see: a series for each access point or calling component, \
                     component and revision. Of the busiest thousand only, if there are more.",
                )
                .gives_as::<String>(200, OPEN_METRICS, "The counters."),
            metrics,
        )
}

async fn traffic(caller: Caller, Names(at): Names<AppEnv>) -> Outcome<AppTraffic> {
    Ok(Answer::ok(caller.session().traffic(&at).await?))
}

async fn metrics(caller: Caller) -> Result<impl IntoResponse, Problem> {
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], traffic_text(caller.session().all_traffic().await?)))
}
