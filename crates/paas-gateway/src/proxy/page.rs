//! What the gateway answers itself: a page for people, problem+json (RFC 9457) for programs.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::Full;

/// Why there is no answer from an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The request is no good.
    Bad(&'static str),
    /// The method cannot be passed on.
    Method,
    /// No route takes it.
    NoRoute,
    /// The service was stopped on purpose.
    Stopped(String),
    /// The service is starting.
    Starting,
    /// No instance of the service is ready.
    NotReady,
    /// The instances did not let themselves be connected to, or broke the connection.
    Upstream(String),
    /// The instance did not answer in time.
    Slow,
    /// The client sent its body too slowly, or broke it off.
    ClientBody,
}

impl Refusal {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Bad(_) => StatusCode::BAD_REQUEST,
            Self::Method => StatusCode::NOT_IMPLEMENTED,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Stopped(_) | Self::Starting | Self::NotReady => StatusCode::SERVICE_UNAVAILABLE,
            Self::Upstream(_) => StatusCode::BAD_GATEWAY,
            Self::Slow => StatusCode::GATEWAY_TIMEOUT,
            Self::ClientBody => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// A word for programs.
    fn code(&self) -> &'static str {
        match self {
            Self::Bad(_) => "bad-request",
            Self::Method => "method-not-supported",
            Self::NoRoute => "no-such-route",
            Self::Stopped(_) => "stopped",
            Self::Starting => "starting",
            Self::NotReady => "no-ready-instance",
            Self::Upstream(_) => "instance-failed",
            Self::Slow => "instance-timed-out",
            Self::ClientBody => "request-body-incomplete",
        }
    }

    fn title(&self) -> &'static str {
        match self {
            Self::Bad(_) => "The request is not valid",
            Self::Method => "The method is not supported",
            Self::NoRoute => "There is nothing at this address",
            Self::Stopped(_) => "The application is stopped",
            Self::Starting => "The application is starting",
            Self::NotReady => "The application is not ready",
            Self::Upstream(_) => "The application failed to answer",
            Self::Slow => "The application took too long to answer",
            Self::ClientBody => "The request was not sent to its end",
        }
    }

    /// For people, and without anything about the inside that a visitor need not know.
    fn detail(&self, host: &str, path: &str) -> String {
        match self {
            Self::Bad(what) => (*what).into(),
            Self::Method => "CONNECT is not passed on.".into(),
            Self::NoRoute => {
                format!("No route takes the host {host:?} and the path {path:?}. Check the address, or add a route.")
            }
            Self::Stopped(reason) if reason.is_empty() => {
                "It was stopped. Its owner can start it again.".into()
            }
            Self::Stopped(reason) => reason.clone(),
            Self::Starting => {
                "Its first instances are starting. Try again in a moment.".into()
            }
            Self::NotReady => {
                "None of its instances is ready. Try again in a moment; the status of the application says why.".into()
            }
            Self::Upstream(_) => "The connection to its instance failed. Its log may say why.".into(),
            Self::Slow => "No answer came in time. Its log may say why.".into(),
            Self::ClientBody => "The body of the request stopped coming.".into(),
        }
    }

    /// For the access log.
    pub(super) fn log(&self) -> String {
        match self {
            Self::Upstream(why) => format!("{}: {why}", self.code()),
            _ => self.code().into(),
        }
    }

    /// The response, as the client's `Accept` asks for.
    pub(super) fn respond(
        &self,
        accept: &HeaderMap,
        (host, path, request_id): (&str, &str, &str),
    ) -> Response<Full<Bytes>> {
        let html = accept.get_all(ACCEPT).iter().any(|value| {
            value
                .to_str()
                .is_ok_and(|value| value.split(',').any(|kind| kind.trim().starts_with("text/html")))
        });
        let (status, title, detail) = (self.status(), self.title(), self.detail(host, path));
        let (kind, body) = if html {
            ("text/html; charset=utf-8", page(status, title, &detail, request_id))
        } else {
            let problem = serde_json::json!({
                "type": format!("urn:paas:gateway:{}", self.code()),
                "title": title,
                "status": status.as_u16(),
                "detail": detail,
                "request_id": request_id,
            });
            ("application/problem+json", problem.to_string())
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if matches!(self, Self::Starting | Self::NotReady) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

fn page(status: StatusCode, title: &str, detail: &str, request_id: &str) -> String {
    let (status, detail, request_id) = (status.as_u16(), escape(detail), escape(request_id));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{status} {title}</title>\n\
         <style>:root{{color-scheme:light dark}}body{{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;\
         margin:20vh auto 0;padding:0 1.5rem}}h1{{font-size:1.5rem}}small{{opacity:.7}}</style>\n\
         <main><h1>{title}</h1><p>{detail}</p><p><small>{status} · request {request_id}</small></p></main>\n</html>\n"
    )
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn text(response: Response<Full<Bytes>>) -> String {
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn people_get_a_page_in_which_nothing_of_the_request_is_markup() {
        let mut accept = HeaderMap::new();
        accept.insert(ACCEPT, HeaderValue::from_static("text/html,application/xhtml+xml"));
        let response = Refusal::NoRoute.respond(&accept, ("a", "/<script>alert(1)</script>", "id"));
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        let page = text(response).await;
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
    }

    #[tokio::test]
    async fn programs_get_a_problem_document() {
        let refusal = Refusal::Stopped("stopped by its owner".into());
        let response = refusal.respond(&HeaderMap::new(), ("a", "/", "id-7"));
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let problem: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(problem["status"], 503);
        assert_eq!(problem["type"], "urn:paas:gateway:stopped");
        assert_eq!(problem["detail"], "stopped by its owner");
        assert_eq!(problem["request_id"], "id-7");
    }
}
