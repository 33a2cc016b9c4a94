//! Images that exist in memory only, and how what runs from them behaves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};

use super::Ending;
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::port::{ImageQuery, Registry, ResolvedImage};

/// How an instance of a simulated image behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pull: Duration,
    layers: Vec<u64>,
    ready_after: Option<Duration>,
    ends: Option<(Duration, Ending)>,
    drains_for: Duration,
    stops_in: Duration,
    lines: Vec<String>,
    ports: Vec<u16>,
    has_command: bool,
}

impl Default for Image {
    fn default() -> Self {
        Self {
            pull: Duration::ZERO,
            layers: Vec::new(),
            ready_after: Some(Duration::ZERO),
            ends: None,
            drains_for: Duration::ZERO,
            stops_in: Duration::ZERO,
            lines: Vec::new(),
            ports: Vec::new(),
            has_command: true,
        }
    }
}

impl Image {
    /// An image that is pulled in no time and whose instances are ready at once and run for ever.
    pub fn new() -> Self {
        Self::default()
    }

    /// Pulling it takes so long on every start of an instance.
    #[must_use]
    pub fn with_pull(mut self, pull: Duration) -> Self {
        self.pull = pull;
        self
    }

    /// It has layers of these sizes in bytes: while it is pulled, instances tell after each one how far it has come.
    #[must_use]
    pub fn with_layers(mut self, layers: impl IntoIterator<Item = u64>) -> Self {
        self.layers = layers.into_iter().collect();
        self
    }

    /// An instance is ready so long after its process started.
    #[must_use]
    pub fn with_ready_after(mut self, ready_after: Duration) -> Self {
        self.ready_after = Some(ready_after);
        self
    }

    /// An instance never becomes ready.
    #[must_use]
    pub fn never_ready(mut self) -> Self {
        self.ready_after = None;
        self
    }

    /// Its process ends by itself so long after it started, every time.
    #[must_use]
    pub fn with_end(mut self, after: Duration, ending: Ending) -> Self {
        self.ends = Some((after, ending));
        self
    }

    /// Requests that are under way when an instance is taken out of service take so long to end.
    #[must_use]
    pub fn with_drain(mut self, drains_for: Duration) -> Self {
        self.drains_for = drains_for;
        self
    }

    /// Its process takes so long to end after the stop signal.
    #[must_use]
    pub fn with_stop(mut self, stops_in: Duration) -> Self {
        self.stops_in = stops_in;
        self
    }

    /// It prints these lines whenever it starts.
    #[must_use]
    pub fn with_lines(mut self, lines: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.lines = lines.into_iter().map(Into::into).collect();
        self
    }

    /// It says that it listens on these ports.
    #[must_use]
    pub fn with_ports(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        self.ports = ports.into_iter().collect();
        self
    }

    /// It names no command of its own.
    #[must_use]
    pub fn without_command(mut self) -> Self {
        self.has_command = false;
        self
    }

    /// How long pulling it takes.
    pub fn pull(&self) -> Duration {
        self.pull
    }

    /// The sizes of its layers in bytes, if they are told.
    pub fn layers(&self) -> &[u64] {
        &self.layers
    }

    /// How long an instance takes from its start until it is ready; nothing if it never is.
    pub fn ready_after(&self) -> Option<Duration> {
        self.ready_after
    }

    /// When after each start an instance ends by itself, and how.
    pub fn ends(&self) -> Option<&(Duration, Ending)> {
        self.ends.as_ref()
    }

    /// How long an instance that was taken out of service has requests under way.
    pub fn drains_for(&self) -> Duration {
        self.drains_for
    }

    /// How long an instance takes from its stop signal to its end.
    pub fn stops_in(&self) -> Duration {
        self.stops_in
    }

    /// What an instance prints when it starts.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

/// A registry in memory; clones show the same images.
///
/// The digest of an image is a hash of its reference and of how often it was pushed, so that equal behaviour under two
/// references is two images and pushing again makes a new one.
#[derive(Debug, Clone, Default)]
pub struct Images(Arc<Mutex<Catalog>>);

#[derive(Debug, Default)]
struct Catalog {
    any: bool,
    refuse: BTreeMap<String, ErrorKind>,
    digests: BTreeMap<String, String>,
    images: BTreeMap<String, Image>,
    pushes: u64,
}

impl Images {
    /// A registry without images.
    pub fn new() -> Self {
        Self::default()
    }

    /// A registry where every well-formed reference leads to an image with the default behaviour, unless another one was pushed
    /// under it.
    pub fn any() -> Self {
        let images = Self::default();
        images.lock().any = true;
        images
    }

    /// Makes `reference` lead to `image` from now on, and returns its digest. Instances of what it led to before are
    /// not touched.
    pub fn push(&self, reference: &str, image: Image) -> String {
        let mut catalog = self.lock();
        catalog.pushes += 1;
        let digest = digest_of(&format!("{reference}#{}", catalog.pushes));
        catalog.digests.insert(reference.to_owned(), digest.clone());
        catalog.images.insert(digest.clone(), image);
        digest
    }

    /// Makes every lookup of `reference` fail with `kind`.
    pub fn refuse(&self, reference: &str, kind: ErrorKind) {
        self.lock().refuse.insert(reference.to_owned(), kind);
    }

    /// How instances of an image behave; nothing if the registry lacks it.
    pub fn behavior(&self, digest: &str) -> Option<Image> {
        let catalog = self.lock();
        catalog.images.get(digest).cloned().or_else(|| catalog.any.then(Image::default))
    }

    /// How instances of what a reference leads to now behave; nothing if the registry lacks it.
    pub(super) fn named(&self, reference: &str) -> Option<Image> {
        let catalog = self.lock();
        let image = catalog.digests.get(reference).and_then(|digest| catalog.images.get(digest));
        image.cloned().or_else(|| catalog.any.then(Image::default))
    }

    fn lock(&self) -> MutexGuard<'_, Catalog> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest_of(text: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(text.as_bytes())))
}

/// The repository of a reference: what stands before the tag or digest.
fn repository(reference: &str) -> &str {
    let name = reference.split('@').next().unwrap_or(reference);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

fn check_reference(operation: &'static str, reference: &str) -> Result<()> {
    let malformed = |why: &str| {
        Err(Error::invalid(operation, vec![Fault::new("image", format!("{reference:?} {why}"))])
            .with_context("image", reference))
    };
    if reference.is_empty() || reference.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return malformed("is not an image reference; write name:tag or name@sha256:…");
    }
    match reference.split_once('@') {
        Some((_, digest)) if !is_digest(digest) => {
            malformed("has a malformed digest; write sha256: and 64 hexadecimal digits")
        }
        Some(("", _)) => malformed("has no name before its digest"),
        _ if repository(reference).is_empty() => malformed("has no name before its tag"),
        _ => Ok(()),
    }
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

#[async_trait]
impl Registry for Images {
    async fn resolve(&self, query: &ImageQuery) -> Result<ResolvedImage> {
        const OPERATION: &str = "resolve an image";
        let reference = &query.reference;
        check_reference(OPERATION, reference)?;
        let catalog = self.lock();
        if let Some(kind) = catalog.refuse.get(reference) {
            return Err(Error::new(*kind, OPERATION).with_context("image", reference));
        }
        let digest = match reference.split_once('@') {
            Some((_, digest)) if catalog.any || catalog.images.contains_key(digest) => {
                Some(digest.to_owned())
            }
            Some(_) => None,
            None => {
                catalog.digests.get(reference).cloned().or_else(|| catalog.any.then(|| digest_of(reference)))
            }
        };
        let Some(digest) = digest else {
            return Err(Error::new(ErrorKind::NotFound, OPERATION)
                .with_context("image", reference)
                .with_remedy("Push the image, or correct its name or tag."));
        };
        let image = catalog.images.get(&digest).cloned().unwrap_or_default();
        Ok(ResolvedImage {
            reference: reference.clone(),
            digest,
            size: None,
            exposed_ports: image.ports,
            has_command: image.has_command,
        })
    }

    async fn list(&self, query: &ImageQuery, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        const OPERATION: &str = "list the tags of an image";
        check_reference(OPERATION, &query.reference)?;
        let wanted = repository(&query.reference);
        let catalog = self.lock();
        if let Some(kind) = catalog.refuse.get(&query.reference) {
            return Err(Error::new(*kind, OPERATION).with_context("image", &query.reference));
        }
        let mut tags: Vec<String> = catalog
            .digests
            .keys()
            .filter(|reference| repository(reference) == wanted)
            .map(|reference| reference[wanted.len()..].strip_prefix(':').unwrap_or("latest").to_owned())
            .collect();
        if tags.is_empty() && !catalog.any {
            return Err(Error::new(ErrorKind::NotFound, OPERATION).with_context("image", &query.reference));
        }
        tags.sort();
        tags.retain(|tag| after.is_none_or(|after| tag.as_str() > after));
        tags.truncate(limit);
        Ok(tags)
    }
}
