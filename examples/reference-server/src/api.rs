//! The REST interface: each handler is one action of the caller's session.

mod answer;
mod app;
mod audit;
mod auth;
mod cluster;
mod config;
mod document;
mod env;
mod event;
mod exec;
mod extract;
mod fallback;
mod follow;
mod grant;
mod health;
mod layer;
mod logs;
mod metrics;
mod node;
mod operation;
mod org;
mod parameter;
mod position;
mod release;
mod route;
mod run;
mod service;
mod sse;
mod token;
mod traffic;

use axum::Router;
use axum::routing::get;

use self::operation::Routes;

pub use metrics::Metrics;
pub use service::Service;

/// Every operation with its handler.
fn routes() -> Routes {
    let groups = [
        org::routes,
        env::routes,
        app::routes,
        release::routes,
        config::routes,
        route::routes,
        event::routes,
    ]
    .into_iter()
    .chain([
        cluster::routes,
        node::routes,
        traffic::routes,
        logs::routes,
        exec::routes,
        run::routes,
        grant::routes,
        audit::routes,
        token::routes,
    ])
    .chain([health::routes as fn(Routes) -> Routes]);
    groups.fold(Routes::default(), |routes, group| group(routes))
}

/// The OpenAPI document.
#[cfg(test)]
fn openapi() -> serde_json::Value {
    document::document(&routes().operations)
}

/// The interface over a platform.
pub fn router(service: Service) -> Router {
    let Routes { router, operations } = routes();
    let document = bytes::Bytes::from(document::document(&operations).to_string());
    let document = move || {
        let document = document.clone();
        async move { ([(http::header::CONTENT_TYPE, "application/json")], document) }
    };
    let router = router
        .route("/openapi.json", get(document))
        .fallback(fallback::unknown_path)
        .method_not_allowed_fallback(fallback::unknown_method);
    layer::around(router, &service).with_state(service)
}

#[cfg(test)]
mod tests;
