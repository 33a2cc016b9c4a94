//! Requests: redirects, retries, and what answers mean.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Client, Response, StatusCode, Url, redirect};

use super::Remote;
use super::auth::{self, Scope};
use crate::{Error, ErrorKind, Result};

pub(super) const OPERATION: &str = "ask registry";
const REDIRECTS_MAX: usize = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a registry may be silent.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn client() -> Result<Client> {
    // Redirects are followed here, because who gets the credentials is decided here. Bodies must come as they are.
    let built = Client::builder()
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .user_agent(concat!("paas-registry/", env!("CARGO_PKG_VERSION")))
        .build();
    built.map_err(|error| {
        Error::new(ErrorKind::Unavailable, OPERATION, format!("HTTPS cannot be set up: {}", cause(&error)))
            .with_source(error)
            .with_remedy("install the system's certificates (apt-get install ca-certificates)")
    })
}

/// GET until it is answered for good.
pub(super) async fn get(remote: &Remote, scope: &Scope, url: Url, accept: &'static str) -> Result<Response> {
    let options = &remote.registries.options;
    let mut attempt = 1;
    let mut challenged = false;
    loop {
        let authorization = auth::known(remote, scope);
        let (error, asked) = match follow(remote, &url, accept, authorization.as_deref()).await {
            Err(error) if error.kind() == ErrorKind::Unavailable => (error, None),
            Err(error) => return Err(error),
            Ok(response) if response.status().is_success() => return Ok(response),
            Ok(response) if response.status() == StatusCode::UNAUTHORIZED && !challenged => {
                challenged = true;
                let challenges = response.headers().get_all(WWW_AUTHENTICATE).iter();
                let challenges: Vec<String> =
                    challenges.filter_map(|c| c.to_str().ok().map(str::to_owned)).collect();
                auth::answer(remote, scope, &challenges).await?;
                continue;
            }
            Ok(response) => {
                let asked = retry_after(&response);
                (refusal(response).await, asked)
            }
        };
        let again = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::RateLimited);
        let delay = pause(options.backoff, attempt).max(asked.unwrap_or_default());
        if !again || attempt >= options.attempts || delay > options.longest_wait {
            return Err(error);
        }
        tracing::debug!(%url, attempt, ?delay, %error, "the registry is asked again");
        tokio::time::sleep(delay).await;
        attempt += 1;
    }
}

/// One GET with the redirects that it leads to. Only the registry itself gets the credentials.
async fn follow(remote: &Remote, start: &Url, accept: &str, authorization: Option<&str>) -> Result<Response> {
    let mut url = start.clone();
    for _ in 0..=REDIRECTS_MAX {
        let mut request = remote.client.get(url.clone()).header(ACCEPT, accept);
        if let Some(authorization) = authorization
            && url.origin() == remote.base.origin()
        {
            request = request.header(AUTHORIZATION, authorization);
        }
        let response = request.send().await.map_err(|error| broken(&error))?;
        if !response.status().is_redirection() {
            return Ok(response);
        }
        let target = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let next = target.and_then(|target| url.join(target).ok()).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, OPERATION, "it redirects to nowhere that can be read")
        })?;
        let allowed = next.scheme() == "https" || (next.scheme() == "http" && remote.base.scheme() == "http");
        if !allowed {
            return Err(Error::new(
                ErrorKind::Denied,
                OPERATION,
                format!(
                    "it redirects to {}://{}, which is not encrypted",
                    next.scheme(),
                    next.host_str().unwrap_or("")
                ),
            )
            .with_remedy("configure the registry to redirect to https addresses"));
        }
        url = next;
    }
    Err(Error::new(ErrorKind::Unsupported, OPERATION, "it redirects more than 5 times"))
}

/// What an answer that is no success means.
pub(super) async fn refusal(response: Response) -> Error {
    let status = response.status();
    let kind = match status {
        StatusCode::NOT_FOUND => ErrorKind::NotFound,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::Denied,
        StatusCode::TOO_MANY_REQUESTS => ErrorKind::RateLimited,
        StatusCode::REQUEST_TIMEOUT => ErrorKind::Unavailable,
        status if status.is_server_error() => ErrorKind::Unavailable,
        _ => ErrorKind::Unsupported,
    };
    let said = read(response, 64 * 1024).await.ok().and_then(|body| reason(&body));
    let error = Error::new(
        kind,
        OPERATION,
        match said {
            Some(said) => format!("it answers {status}: {said}"),
            None => format!("it answers {status}"),
        },
    );
    match kind {
        ErrorKind::NotFound => {
            error.with_remedy("check the name and the tag; a private image looks missing without credentials")
        }
        _ => error,
    }
}

/// The first error of the body, as the distribution specification has it, short and on one line.
fn reason(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let first = body.get("errors")?.get(0)?;
    let text = |key: &str| first.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
    let joined = format!("{} {}", text("code"), text("message"));
    Some(joined.trim().chars().take(200).collect::<String>().escape_debug().to_string())
        .filter(|said| !said.is_empty())
}

/// The whole body, if it is not larger than `limit`.
pub(super) async fn read(mut response: Response, limit: u64) -> Result<Bytes> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() as u64 > limit {
            return Err(Error::new(
                ErrorKind::TooLarge,
                OPERATION,
                format!("it answers with more than {limit} bytes"),
            ));
        }
    }
    Ok(body.into())
}

/// A connection that could not be made, or broke.
pub(super) fn broken(error: &reqwest::Error) -> Error {
    let what = if error.is_timeout() {
        "it does not answer in time"
    } else if error.is_connect() {
        "it cannot be reached"
    } else {
        "the connection broke"
    };
    Error::new(ErrorKind::Unavailable, OPERATION, format!("{what}: {}", cause(error)))
}

/// The innermost cause, without the address, which may hold a signature.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if std::ptr::eq(std::ptr::from_ref(innermost).cast::<()>(), std::ptr::from_ref(error).cast::<()>()) {
        return "no further cause is known".to_owned();
    }
    innermost.to_string()
}

/// Seconds, as registries write it; the other form, a date, is taken as not said.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Doubled each time, and up to half of it longer, so that many clients do not come back at once.
fn pause(first: Duration, attempt: u32) -> Duration {
    let delay = first.saturating_mul(1 << (attempt - 1).min(10));
    let random = RandomState::new().build_hasher().finish() % 1000;
    delay + delay.mul_f64(f64::from(u32::try_from(random).unwrap_or(0)) / 2000.0)
}
