//! The API component: a greeting, the time, a counter.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::http::{Request, Response};
use crate::instance::Instance;
use crate::json::Object;
use crate::server;
use crate::signals::StopSignal;
use crate::web;

/// Serves until asked to stop.
pub fn serve(instance: &'static Instance, stop: &StopSignal) -> io::Result<()> {
    server::serve("api", instance, stop, answer)
}

fn answer(instance: &Instance, request: &Request) -> Response {
    if let Some(response) = web::common(instance, request) {
        return response;
    }
    let itself = || {
        let itself = Object::default().text("version", &instance.settings.version);
        itself.text("instance", &instance.settings.instance)
    };
    // A route may lead `/api` here, and components call it without.
    match request.path.strip_prefix("/api").unwrap_or(&request.path) {
        "/" | "/greeting" => Response::json(200, itself().text("greeting", "Hello from the API").finish()),
        "/time" => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Response::json(200, itself().number("unix_ms", now.as_millis()).finish())
        }
        "/count" => Response::json(200, itself().number("count", instance.requests()).finish()),
        path => {
            Response::json(404, Object::default().text("error", &format!("no such path: {path}")).finish())
        }
    }
}
