//! The layer that bounds calls.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, header};
use kube::client::Body;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tower::buffer::Buffer;
use tower::{BoxError, Layer, Service, ServiceExt as _};

use super::body::Timed;
use super::pace::Pace;
use super::{CallError, CallLimits};

/// How many calls wait for the connection at most.
const WAITING: usize = 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Bounds the calls of a client: a time limit for each, and limits of their number and rate.
///
/// - A call that may be repeated (GET, PUT, PATCH, DELETE; their preconditions keep them from happening twice) is repeated
///   after a lost connection, a time-out and 429, 500, 502, 503 and 504, with growing pauses, or those that the server asks for.
/// - A POST is repeated after 429 only, which says that it was not carried out.
/// - An eviction is never repeated: its 429 is an answer.
#[derive(Debug, Clone)]
pub struct BoundedCalls {
    limits: CallLimits,
}

impl BoundedCalls {
    /// A layer with these limits.
    pub fn new(limits: CallLimits) -> Self {
        Self { limits }
    }
}

impl<S> Layer<S> for BoundedCalls
where
    S: Service<Request<Body>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError> + Send + Sync,
{
    type Service = Bounded<S::Future>;

    fn layer(&self, inner: S) -> Bounded<S::Future> {
        Bounded {
            inner: Buffer::new(inner, WAITING),
            shared: Arc::new(Shared {
                places: Arc::new(Semaphore::new(self.limits.concurrent)),
                pace: Pace::new(self.limits.per_second, self.limits.burst),
                limits: self.limits.clone(),
            }),
        }
    }
}

/// A service whose calls are bounded.
#[derive(Debug)]
pub struct Bounded<F> {
    inner: Buffer<Request<Body>, F>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: CallLimits,
    places: Arc<Semaphore>,
    pace: Pace,
}

/// What is expected of a call's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It comes whole and soon.
    Call,
    /// It goes on, with a sign of life now and then.
    Watch,
    /// It goes on and may be silent.
    Stream,
}

fn kind<B>(request: &Request<B>) -> Kind {
    let query = request.uri().query().unwrap_or_default();
    let asks = |what: &str| query.split('&').any(|pair| pair == what);
    if asks("watch=true") {
        Kind::Watch
    } else if request.headers().contains_key(header::UPGRADE) || asks("follow=true") {
        Kind::Stream
    } else {
        Kind::Call
    }
}

impl<F, B, E> Service<Request<Body>> for Bounded<F>
where
    F: Future<Output = Result<Response<B>, E>> + Send + 'static,
    E: Into<BoxError> + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Timed<B>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(())) // each call waits for its own turn
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (inner, shared) = (self.inner.clone(), Arc::clone(&self.shared));
        Box::pin(async move { perform(inner, &shared, request).await })
    }
}

async fn perform<F, B, E>(
    inner: Buffer<Request<Body>, F>,
    shared: &Shared,
    request: Request<Body>,
) -> Result<Response<Timed<B>>, BoxError>
where
    F: Future<Output = Result<Response<B>, E>> + Send + 'static,
    E: Into<BoxError> + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let limits = &shared.limits;
    let kind = kind(&request);
    let place = Arc::clone(&shared.places).acquire_owned().await?;
    let mut next = Some(request);
    let mut pause = FIRST_PAUSE;
    let mut left = limits.retries;
    while let Some(request) = next.take() {
        shared.pace.turn().await;
        let again = if left > 0 { copy(&request) } else { None };
        let is_post = request.method() == Method::POST;
        let is_eviction = request.uri().path().ends_with("/eviction");
        let mut service = inner.clone();
        let answer = timeout(limits.timeout, async move { service.ready().await?.call(request).await }).await;
        left = left.saturating_sub(1);
        let asked = match &answer {
            Ok(Ok(response)) => {
                let repeat = match response.status() {
                    StatusCode::TOO_MANY_REQUESTS => !is_eviction,
                    StatusCode::INTERNAL_SERVER_ERROR
                    | StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT => !is_post,
                    _ => false,
                };
                repeat.then(|| asked_pause(response))
            }
            // Whoever waited for so long already is told: it tries again by itself, and says meanwhile what is the matter.
            Err(_) => None,
            Ok(Err(_)) => (!is_post).then_some(None),
        };
        // The server's own wish comes first, if it is one that can be granted.
        let wait = asked.map(|asked| asked.unwrap_or(pause)).filter(|wait| *wait <= limits.longest_pause);
        if let (Some(again), Some(wait)) = (again, wait) {
            sleep(wait).await;
            pause = (pause * 2).min(limits.longest_pause);
            next = Some(again);
            continue;
        }
        let response = match answer {
            Err(_) => return Err(CallError::TimedOut(limits.timeout).into()),
            Ok(Err(error)) => return Err(told(error)),
            Ok(Ok(response)) => response,
        };
        let (silence, place) = match kind {
            Kind::Call => (Some(limits.timeout), Some(place)),
            Kind::Watch => (Some(limits.watch_silence), None),
            Kind::Stream => (None, None),
        };
        return Ok(response.map(|body| Timed::new(body, silence, place)));
    }
    Err(CallError::Failed("it was never called".to_owned()).into())
}

fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let body = request.body().try_clone()?;
    let mut copy = Request::new(body);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy.extensions_mut().clone_from(request.extensions());
    *copy.version_mut() = request.version();
    Some(copy)
}

fn asked_pause<B>(response: &Response<B>) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// An error of the connection in one sentence; errors of kube itself stay what they are.
fn told(error: BoxError) -> BoxError {
    if error.is::<kube::Error>() {
        return error;
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    CallError::Failed(text).into()
}
