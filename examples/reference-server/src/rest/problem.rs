//! Errors as problem details (RFC 9457).

use std::error::Error as _;
use std::fmt;

use paas_core::{Error, ErrorKind, Fault};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The media type of problem details.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Why a request failed, as RFC 9457 says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Identifies the kind of problem: `urn:paas:problem:` and the kind.
    #[serde(rename = "type")]
    pub uri: String,
    /// The kind in words.
    pub title: String,
    /// The status of the answer.
    #[schemars(range(min = 400, max = 599))]
    pub status: u16,
    /// What failed, with which objects, and why.
    pub detail: String,
    /// The kind as a stable word, such as `not_found`.
    pub kind: String,
    /// Every fault of an invalid request, with the path of the field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// What can be done about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Problem {
    /// A problem of `kind` with the status `status`.
    pub fn new(status: u16, kind: &str, detail: impl Into<String>) -> Self {
        Self {
            uri: format!("urn:paas:problem:{kind}"),
            title: kind.replace('_', " "),
            status,
            detail: detail.into(),
            kind: kind.to_owned(),
            faults: Vec::new(),
            remedy: None,
        }
    }

    /// A request that does not have the documented shape.
    pub fn malformed(detail: impl Into<String>, faults: Vec<Fault>) -> Self {
        Self { faults, ..Self::new(400, "malformed", detail) }
    }

    /// Adds what can be done about it.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// The status for an error of `kind`.
pub fn status_of(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::NotFound => 404,
        ErrorKind::AlreadyExists | ErrorKind::Conflict | ErrorKind::Lost | ErrorKind::Cancelled => 409,
        ErrorKind::Unauthenticated => 401,
        ErrorKind::Denied | ErrorKind::QuotaExceeded => 403,
        ErrorKind::Invalid | ErrorKind::Unsupported => 422,
        ErrorKind::Unavailable | ErrorKind::Fenced => 503,
        ErrorKind::Compacted | ErrorKind::Lagged => 410,
        ErrorKind::TooLarge => 413,
        ErrorKind::Timeout => 504,
        _ => 500,
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let kind = error.kind();
        let mut detail = error.to_string();
        if kind == ErrorKind::Internal {
            // The causes of a defect are for the log; they may name what a caller must not see.
            tracing::error!(error = error.report(), "a request failed by a defect");
        } else {
            let mut source = error.source();
            while let Some(cause) = source {
                detail.push_str(": ");
                detail.push_str(&cause.to_string());
                source = cause.source();
            }
        }
        Self {
            faults: error.faults().to_vec(),
            remedy: error.remedy().map(str::to_owned),
            ..Self::new(status_of(kind), kind.as_str(), detail)
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)?;
        for fault in &self.faults {
            write!(f, "\n  {fault}")?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "\n{remedy}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_client_or_server_status_and_keeps_faults_and_remedy() {
        let error = Error::invalid("deploy web", vec![Fault::new("components[0].image", "is empty")])
            .with_remedy("Name an image.");
        let problem = Problem::from(error);
        assert_eq!(problem.status, 422);
        assert_eq!(problem.faults[0].path, "components[0].image");
        assert_eq!(problem.remedy.as_deref(), Some("Name an image."));
        assert_eq!(problem.uri, "urn:paas:problem:invalid");
    }

    #[test]
    fn a_defect_tells_nothing_of_its_causes() {
        let error = Error::new(ErrorKind::Internal, "read a release").with_source("row 17 of /secret/path");
        let problem = Problem::from(error);
        assert_eq!(problem.status, 500);
        assert!(!problem.detail.contains("secret"), "{}", problem.detail);
    }

    #[test]
    fn other_errors_tell_their_causes() {
        let error = Error::new(ErrorKind::Unavailable, "pull the image").with_source("connection refused");
        assert_eq!(Problem::from(error).detail, "failed to pull the image: connection refused");
    }
}
