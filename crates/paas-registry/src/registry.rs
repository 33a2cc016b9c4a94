//! Registries over HTTP. Source: OCI distribution specification 1.1; Docker's token authentication for the rest.

mod auth;
mod http;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, LINK};
use tokio_util::io::StreamReader;

pub use auth::Credentials;

use crate::source::{RawManifest, Source};
use crate::{BlobReader, Descriptor, Error, ErrorKind, Limits, MediaType, Reference, Result, Tag};

/// Everything that can be asked for as a manifest, best first.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
/// Pages of tags that are read, and bytes of one.
const TAG_PAGES_MAX: usize = 100;
const TAG_PAGE_BYTES: u64 = 4 * 1024 * 1024;

/// How registries are reached: credentials, plain HTTP, time-outs. Clones share connections and tokens.
///
/// Registries on loopback are spoken to over plain HTTP, all others over HTTPS unless they are allowed by
/// [`Registries::with_plain_http`]. Credentials that are not given are looked for where `docker login` leaves them.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    options: Options,
    shared: Arc<Shared>,
}

#[derive(Debug, Clone)]
struct Options {
    credentials: BTreeMap<String, Credentials>,
    plain_http: BTreeSet<String>,
    docker_config: bool,
    attempts: u32,
    backoff: Duration,
    longest_wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            credentials: BTreeMap::new(),
            plain_http: BTreeSet::new(),
            docker_config: true,
            attempts: 5,
            backoff: Duration::from_millis(250),
            longest_wait: Duration::from_secs(30),
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    client: OnceLock<reqwest::Client>,
    tokens: Mutex<BTreeMap<auth::Scope, auth::Token>>,
}

impl Registries {
    /// Gives credentials for a registry (`registry.example.com:5000`); they go before those of `docker login`.
    #[must_use]
    pub fn with_credentials(mut self, registry: impl Into<String>, credentials: Credentials) -> Self {
        self.options.credentials.insert(registry.into(), credentials);
        // Tokens that others got with other credentials are not for these.
        self.shared = Arc::default();
        self
    }

    /// Allows plain HTTP for a registry: names, contents and credentials can then be read and changed on the way.
    #[must_use]
    pub fn with_plain_http(mut self, registry: impl Into<String>) -> Self {
        self.options.plain_http.insert(registry.into());
        self
    }

    /// Does not look for credentials of `docker login`.
    #[must_use]
    pub fn without_docker_config(mut self) -> Self {
        self.options.docker_config = false;
        self.shared = Arc::default();
        self
    }

    /// How often a request is sent at most, and how long to wait before the second time (doubled each time).
    #[must_use]
    pub fn with_retries(mut self, attempts: u32, backoff: Duration) -> Self {
        (self.options.attempts, self.options.backoff) = (attempts.max(1), backoff);
        self
    }

    /// The registry of a reference, as a source.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if no address can be made of the registry's name; [`ErrorKind::Unavailable`] if TLS cannot be set up.
    pub fn source(&self, reference: &Reference) -> Result<Arc<dyn Source>> {
        let registry = reference.registry();
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        let plain = reference.is_loopback() || self.options.plain_http.contains(registry);
        let scheme = if plain { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{host}/v2/")).map_err(|error| {
            Error::new(ErrorKind::Invalid, http::OPERATION, error.to_string()).with("registry", registry)
        })?;
        Ok(Arc::new(Remote {
            registry: registry.to_owned(),
            base,
            client: self.client()?,
            registries: self.clone(),
        }))
    }

    fn client(&self) -> Result<reqwest::Client> {
        if let Some(client) = self.shared.client.get() {
            return Ok(client.clone());
        }
        let built = http::client()?;
        Ok(self.shared.client.get_or_init(|| built).clone())
    }
}

/// One registry.
#[derive(Debug)]
struct Remote {
    registry: String,
    base: Url,
    client: reqwest::Client,
    registries: Registries,
}

impl Remote {
    fn url(&self, reference: &Reference, rest: &str) -> Result<Url> {
        // Repository, tag and digest are of letters that need no escape.
        self.base.join(&format!("{}/{rest}", reference.repository())).map_err(|error| {
            Error::new(ErrorKind::Invalid, http::OPERATION, error.to_string()).with("image", reference)
        })
    }

    async fn get(&self, reference: &Reference, url: Url, accept: &'static str) -> Result<reqwest::Response> {
        let scope = auth::Scope::pull(&self.registry, reference.repository());
        let answer = http::get(self, &scope, url, accept).await;
        answer.map_err(|error| error.with("image", reference).with("registry", &self.registry))
    }
}

#[async_trait]
impl Source for Remote {
    async fn manifest(&self, reference: &Reference, limits: &Limits) -> Result<RawManifest> {
        let url = self.url(reference, &format!("manifests/{}", reference.identifier()))?;
        let response = self.get(reference, url, ACCEPT).await?;
        let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = MediaType::new(media_type.unwrap_or_default());
        let bytes = http::read(response, limits.manifest_bytes)
            .await
            .map_err(|error| error.with("image", reference))?;
        Ok(RawManifest::new(media_type, bytes))
    }

    async fn blob(&self, reference: &Reference, descriptor: &Descriptor) -> Result<BlobReader> {
        let url = self.url(reference, &format!("blobs/{}", descriptor.digest))?;
        let response = self.get(reference, url, "*/*").await?;
        let registry = self.registry.clone();
        let chunks = response.bytes_stream().map(move |chunk| {
            chunk.map_err(|error| http::broken(&error).with("registry", &registry).into_io())
        });
        Ok(Box::pin(StreamReader::new(chunks)))
    }

    async fn tags(&self, repository: &Reference) -> Result<Vec<Tag>> {
        #[derive(serde::Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let mut next = Some(self.url(repository, "tags/list?n=1000")?);
        let mut tags = Vec::new();
        let mut pages = 0;
        while let Some(url) = next.take() {
            pages += 1;
            if pages > TAG_PAGES_MAX {
                return Err(Error::new(
                    ErrorKind::TooLarge,
                    "list tags",
                    "there are more than 100 pages of them",
                )
                .with("image", repository));
            }
            let response = self.get(repository, url.clone(), "application/json").await?;
            next = response.headers().get(LINK).and_then(|link| next_page(&url, link.to_str().ok()?));
            let page: Page =
                crate::spec::parse("list of tags", &http::read(response, TAG_PAGE_BYTES).await?)?;
            // What is no tag by the specification cannot be pulled either.
            tags.extend(page.tags.unwrap_or_default().iter().filter_map(|tag| tag.parse::<Tag>().ok()));
        }
        tags.sort();
        tags.dedup();
        Ok(tags)
    }
}

/// `Link: </v2/…?last=…>; rel="next"`, which must lead to the same registry.
fn next_page(current: &Url, link: &str) -> Option<Url> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let url = current.join(target).ok()?;
    (parameters.contains("next") && url.origin() == current.origin() && url != *current).then_some(url)
}

#[cfg(test)]
mod tests;
