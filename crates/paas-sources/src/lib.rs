//! What exists already, read as applications of the platform.
//!
//! - [`compose`]: Docker Compose files become components.
//! - [`kubernetes`]: Kubernetes YAML becomes a component of the kind `manifests`.
//! - [`SourceKind`]: which of them a text is.
//!
//! Nothing is dropped in silence: what the platform cannot do is a fault, what has no meaning for it is a note.

pub mod compose;
pub mod kubernetes;
mod source;

pub use source::{SourceKind, documents};
