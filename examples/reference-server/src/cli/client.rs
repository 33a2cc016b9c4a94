//! Requests to the server.

use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::Context;
use super::failure::{Exit, Failure};
use crate::rest::PREFIX;
use crate::rest::problem::{MEDIA_TYPE, Problem};

/// Sends requests with the caller's token.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
}

impl Client {
    /// A client of the server that `context` names.
    pub fn new(context: &Context) -> Result<Self, Failure> {
        Self::to(context.server()?, context.token())
    }

    /// A client of the server at `address`.
    pub fn to(address: &str, token: Option<String>) -> Result<Self, Failure> {
        let wrong = || {
            Failure::usage(format!("{address:?} is not the address of a server"))
                .with_remedy("Write it like http://127.0.0.1:7878")
        };
        let base = Url::parse(address).map_err(|_| wrong())?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(wrong());
        }
        let mut builder =
            reqwest::Client::builder().connect_timeout(Duration::from_secs(10)).no_proxy().http1_only();
        if base.scheme() == "http" {
            // Loading the system's certificates takes longer than a request, and here nothing asks for them.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| Failure::new(Exit::Error, chain(&error)))?;
        Ok(Self { http, base, token })
    }

    /// The server's address.
    pub fn address(&self) -> &Url {
        &self.base
    }

    /// The URL of an operation.
    pub fn url(&self, path: &str) -> Result<Url, Failure> {
        self.base
            .join(&format!("{PREFIX}{path}"))
            .map_err(|_| Failure::usage(format!("{path:?} is not a path of the interface")))
    }

    /// The headers that every request has.
    pub fn headers(&self) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        if let Some(token) = &self.token {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
                .map_err(|_| Failure::usage("the token has characters that no token has"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }

    /// Begins a request.
    pub fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, Failure> {
        Ok(self.http.request(method, self.url(path)?).headers(self.headers()?))
    }

    /// Sends a request; an answer that is a problem is a failure.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() { Ok(response) } else { Err(problem(response).await) }
    }

    /// Sends a request that asks for another protocol.
    pub async fn open(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() || status.is_informational() {
            Ok(response)
        } else {
            Err(problem(response).await)
        }
    }

    /// Reads an object.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let response = self.send(self.request(Method::GET, path)?.timeout(Duration::from_secs(90))).await?;
        self.json(response).await
    }

    /// Reads an object with parameters.
    pub async fn query<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<T, Failure> {
        let request = self.request(Method::GET, path)?.query(query).timeout(Duration::from_secs(90));
        let response = self.send(request).await?;
        self.json(response).await
    }

    /// Changes something. It is sent once more if the connection was lost, under the same key, so that it happens once.
    pub async fn change<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, Failure> {
        self.change_if(method, path, body, None).await
    }

    /// Changes something that still has the entity tag `expected`.
    pub async fn change_if<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        expected: Option<u64>,
    ) -> Result<T, Failure> {
        let key = uuid::Uuid::now_v7().simple().to_string();
        let mut again = true;
        loop {
            let mut request = self
                .request(method.clone(), path)?
                .header(HeaderName::from_static("idempotency-key"), &key)
                .timeout(Duration::from_secs(90));
            if let Some(expected) = expected {
                request = request.header(http::header::IF_MATCH, format!("\"{expected}\""));
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            match request.send().await {
                Ok(response) if response.status().is_success() => return self.json(response).await,
                Ok(response) => return Err(problem(response).await),
                Err(error) if again && error.is_request() && !error.is_timeout() && !error.is_connect() => {
                    again = false;
                }
                Err(error) => return Err(self.unreachable(&error)),
            }
        }
    }

    /// Opens a stream of lines or events.
    pub async fn stream(
        &self,
        path: &str,
        query: &impl Serialize,
        accept: &'static str,
        last_event: Option<&str>,
    ) -> Result<Response, Failure> {
        let mut request = self.request(Method::GET, path)?.query(query).header(ACCEPT, accept);
        if let Some(id) = last_event {
            request = request.header(HeaderName::from_static("last-event-id"), id);
        }
        self.send(request).await
    }

    async fn json<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        let bytes = if bytes.is_empty() { b"null".as_slice() } else { &bytes };
        serde_json::from_slice(bytes).map_err(|error| {
            Failure::new(Exit::Error, format!("the answer of {} is not understood: {error}", self.base))
                .with_remedy(
                    "Server and command line may be of different versions: compare `paas --version`.",
                )
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        if error.is_timeout() {
            return Failure::new(Exit::Timeout, format!("{} did not answer in time", self.base));
        }
        Failure::new(Exit::Unreachable, format!("{} cannot be reached: {}", self.base, chain(error)))
            .with_remedy(
                "Is the server running? Start it with `paas server`, or name another one with --server.",
            )
    }
}

/// The failure that an answer tells.
async fn problem(response: Response) -> Failure {
    let status = response.status();
    let is_problem =
        response.headers().get(http::header::CONTENT_TYPE).is_some_and(|kind| kind == MEDIA_TYPE);
    let body = response.bytes().await.unwrap_or_default();
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) if is_problem => problem.into(),
        _ => Failure::new(Exit::Error, format!("the server answered {status}"))
            .with_remedy("Is this the address of a paas server?"),
    }
}

/// The last cause of an error, which says most.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
