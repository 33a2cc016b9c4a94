//! What is answered where there is no operation.

use axum::http::{Method, Uri};

use crate::rest::problem::Problem;

/// There is nothing at this path.
pub async fn unknown_path(uri: Uri) -> Problem {
    Problem::new(404, "not_found", format!("there is nothing at {}", shortened(uri.path())))
        .with_remedy("GET /openapi.json lists every operation.")
}

/// The path has no such method.
pub async fn unknown_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{method} is not an operation of {}", shortened(uri.path()));
    Problem::new(405, "method_not_allowed", detail).with_remedy("The header Allow names those there are.")
}

fn shortened(path: &str) -> String {
    path.chars().take(200).collect()
}
