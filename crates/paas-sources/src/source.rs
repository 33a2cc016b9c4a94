//! Which kind of source a text is, told by its content.

use paas_core::{Error, Fault, Result};
use serde_json::Value;

/// The most documents in one text.
const MOST: usize = 1_000;

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceKind {
    /// The platform's own specification, `components` at the top; or what may become one.
    Specification,
    /// A Compose file: `services` at the top.
    Compose,
    /// Objects of Kubernetes: `apiVersion` and `kind` in each document.
    Manifests,
}

impl SourceKind {
    /// The kind of these documents.
    ///
    /// ```
    /// use paas_sources::{SourceKind, documents};
    ///
    /// let kind = |text| documents("app.yaml", text).map(|it| SourceKind::of(&it));
    /// assert_eq!(kind("services: { web: { image: nginx } }")?, SourceKind::Compose);
    /// assert_eq!(kind("apiVersion: v1\nkind: Service")?, SourceKind::Manifests);
    /// assert_eq!(kind("components: []")?, SourceKind::Specification);
    /// # Ok::<(), paas_core::Error>(())
    /// ```
    pub fn of(documents: &[Value]) -> Self {
        let is_object = |document: &Value| document["apiVersion"].is_string() && document["kind"].is_string();
        match documents {
            [one] if super::compose::is_compose(one) => Self::Compose,
            all if all.iter().any(is_object) => Self::Manifests,
            _ => Self::Specification,
        }
    }
}

/// The documents of a text in YAML or JSON; empty ones are left out.
///
/// # Errors
/// [`Invalid`](paas_core::ErrorKind::Invalid) with the place in the text that is no YAML.
pub fn documents(name: &str, text: &str) -> Result<Vec<Value>> {
    let options = serde_saphyr::options! { with_snippet: false };
    let refused = |message: String| Error::invalid("read YAML", vec![Fault::new(name, message)]);
    let mut all: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| refused(error.to_string()))?;
    all.retain(|document| !document.is_null());
    if all.len() > MOST {
        return Err(refused(format!("has {} documents; at most {MOST} are read", all.len())));
    }
    Ok(all)
}
