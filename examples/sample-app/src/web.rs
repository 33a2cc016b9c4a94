//! The web component: a page, JSON, health, and the ways to misbehave on request.

use std::io;
use std::thread;
use std::time::Duration;

use crate::client;
use crate::http::{Request, Response};
use crate::instance::Instance;
use crate::json::{Object, quoted};
use crate::page;
use crate::server;
use crate::signals::StopSignal;

/// Serves until asked to stop.
pub fn serve(instance: &'static Instance, stop: &StopSignal) -> io::Result<()> {
    server::serve("web", instance, stop, answer)
}

fn answer(instance: &Instance, request: &Request) -> Response {
    if let Some(response) = common(instance, request) {
        return response;
    }
    match request.path.as_str() {
        "/" => Response::html(page::render(instance, &greeting(instance).unwrap_or_else(|reason| reason))),
        "/api/greeting" => match greeting(instance) {
            Ok(greeting) => Response::json(200, greeting),
            Err(reason) => Response::json(502, Object::default().text("error", &reason).finish()),
        },
        path => Response::text(404, format!("no such page: {path}")),
    }
}

/// The answer of the API component.
fn greeting(instance: &Instance) -> Result<String, String> {
    let Some(url) = &instance.settings.api_url else {
        return Err("no API is declared: API_URL is not set".to_owned());
    };
    let answer = client::get(&format!("{url}/greeting")).map_err(|error| error.to_string())?;
    if answer.status == 200 { Ok(answer.body) } else { Err(format!("the API answered {}", answer.status)) }
}

/// What every component that serves answers: health, itself, and misbehaviour.
pub fn common(instance: &Instance, request: &Request) -> Option<Response> {
    let settings = &instance.settings;
    let health = |well: bool, words: [&str; 2]| {
        let (status, words) = if well { (200, words[0]) } else { (503, words[1]) };
        Response::text(status, words)
    };
    match request.path.as_str() {
        "/healthz" => return Some(health(true, ["alive", ""])),
        "/readyz" => return Some(health(instance.is_ready(), ["ready", "not ready"])),
        _ => {}
    }
    let number = instance.count();
    thread::sleep(settings.slow);
    if number % 100 < settings.fail_percent {
        return Some(Response::text(500, "failing, because FAIL_PERCENT says so"));
    }
    let milliseconds = |name| Duration::from_millis(request.number(name).unwrap_or(0));
    Some(match request.path.as_str() {
        "/api/info" => Response::json(200, info(instance)),
        "/env" => environment(request),
        "/file" => file(request),
        "/echo" => Response::bytes(request.body.clone()),
        "/headers" => Response::json(200, headers(request)),
        "/slow" => {
            thread::sleep(milliseconds("ms"));
            Response::text(200, "slow")
        }
        "/alloc" => {
            let megabytes = request.number("mb").and_then(|number| usize::try_from(number).ok()).unwrap_or(1);
            Response::text(200, format!("{} MB held", instance.allocate(megabytes)))
        }
        "/crash" => {
            let code = request.number("code").and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
            let mut response = Response::text(200, format!("crashing with {code}"));
            response.exit = Some(code);
            response
        }
        _ => return None,
    })
}

/// This instance, as JSON.
fn info(instance: &Instance) -> String {
    Object::default()
        .text("version", &instance.settings.version)
        .text("instance", &instance.settings.instance)
        .number("pid", std::process::id())
        .number("requests", instance.requests())
        .number("uptime_ms", instance.uptime().as_millis())
        .finish()
}

/// The environment, or one variable of it by `?name=`. An application of yours should not do this.
fn environment(request: &Request) -> Response {
    if let Some(name) = request.parameter("name") {
        return match std::env::var(&name) {
            Ok(value) => Response::text(200, value),
            Err(_) => Response::text(404, format!("{name} is not set")),
        };
    }
    let all = std::env::vars_os().fold(Object::default(), |object, (name, value)| {
        object.text(&name.to_string_lossy(), &value.to_string_lossy())
    });
    Response::json(200, all.finish())
}

/// A file of the image, a volume or the configuration, by `?path=`. An application of yours should not do this.
fn file(request: &Request) -> Response {
    let path = request.parameter("path").unwrap_or_default();
    match std::fs::read(&path) {
        Ok(content) => Response::bytes(content),
        Err(error) => Response::text(404, format!("failed to read {path}: {error}")),
    }
}

/// The request's headers, as they arrived: what the gateway has added can be seen.
fn headers(request: &Request) -> String {
    let pairs = request.headers().iter().map(|(name, value)| format!("[{},{}]", quoted(name), quoted(value)));
    Object::default().raw("headers", &format!("[{}]", pairs.collect::<Vec<_>>().join(","))).finish()
}
