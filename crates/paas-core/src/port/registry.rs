//! Where images come from.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// An image, before its content is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageQuery {
    /// The reference as declared: `name:tag`, `name@sha256:…`, `oci:PATH[:TAG]`, `oci-archive:PATH[:TAG]`.
    pub reference: String,
    /// The organisation on whose behalf it is read, for credentials and permissions.
    pub org: Option<String>,
}

/// An image whose content is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedImage {
    /// The reference as declared.
    pub reference: String,
    /// The digest of its manifest or index, `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// The size of all its parts in bytes, if known.
    pub size: Option<u64>,
    /// The TCP ports that the image says it listens on.
    pub exposed_ports: Vec<u16>,
    /// Whether the image names a command of its own.
    pub has_command: bool,
}

/// Where images come from.
///
/// # Contract
/// - [`Registry::resolve`] tells the digest that a reference has now; a reference with a digest resolves to that digest.
/// - A missing image is [`ErrorKind::NotFound`](crate::ErrorKind::NotFound), refused access
///   [`ErrorKind::Denied`](crate::ErrorKind::Denied), an unreachable registry
///   [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable), a malformed reference
///   [`ErrorKind::Invalid`](crate::ErrorKind::Invalid); each names the reference.
/// - [`Registry::list`] gives tags in ascending order, in pages.
#[async_trait]
pub trait Registry: fmt::Debug + Send + Sync + 'static {
    /// The digest that a reference has now.
    async fn resolve(&self, query: &ImageQuery) -> Result<ResolvedImage>;

    /// The tags of a repository after `after`, at most `limit`.
    async fn list(&self, query: &ImageQuery, after: Option<&str>, limit: usize) -> Result<Vec<String>>;
}
