//! Errors of Kubernetes in the words of the ports.

use std::borrow::Cow;

use kube::core::Status;
use paas_core::{Error, ErrorKind};

use crate::rbac::{self, Denied};

/// The error of a call to the API server.
pub(crate) fn failed(operation: impl Into<Cow<'static, str>>, error: kube::Error) -> Error {
    let kind = match &error {
        kube::Error::Api(status) => kind_of(status),
        kube::Error::Service(cause) => match cause.downcast_ref::<crate::client::CallError>() {
            Some(crate::client::CallError::TimedOut(_)) => ErrorKind::Timeout,
            _ => ErrorKind::Unavailable,
        },
        kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => ErrorKind::Unavailable,
        kube::Error::Auth(_) => ErrorKind::Denied,
        _ => ErrorKind::Internal,
    };
    let remedy = (kind == ErrorKind::Denied).then(|| remedy(&error));
    let error = match error {
        // The API server's own words; kube adds the whole answer to them.
        kube::Error::Api(status) if !status.message.is_empty() => {
            Error::new(kind, operation).with_source(status.message)
        }
        error => Error::new(kind, operation).with_source(error),
    };
    match remedy {
        Some(remedy) => error.with_remedy(remedy),
        None => error,
    }
}

/// What helps against a refusal.
fn remedy(error: &kube::Error) -> String {
    let message = match error {
        kube::Error::Api(status) => status.message.as_str(),
        _ => "",
    };
    match Denied::told(message).and_then(|denied| denied.role()) {
        Some(role) => rbac::remedy(role),
        None => "Give the platform's account the permission that the message names.".to_owned(),
    }
}

fn kind_of(status: &Status) -> ErrorKind {
    match (status.reason.as_str(), status.code) {
        ("AlreadyExists", _) => ErrorKind::AlreadyExists,
        ("Forbidden", _) if status.message.contains("exceeded quota") => ErrorKind::QuotaExceeded,
        ("Expired" | "Gone", _) | (_, 410) => ErrorKind::Compacted,
        (_, 404) => ErrorKind::NotFound,
        (_, 409) => ErrorKind::Conflict,
        (_, 401) => ErrorKind::Unauthenticated,
        (_, 403) => ErrorKind::Denied,
        (_, 400 | 422) => ErrorKind::Invalid,
        (_, 413) => ErrorKind::TooLarge,
        (_, 408 | 504) => ErrorKind::Timeout,
        (_, 429 | 500..) => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}

/// Whether an object of the call does not exist.
pub(crate) fn is_missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}

/// What a list has found: nothing where the namespace is missing.
pub(crate) fn listed<T>(answer: kube::Result<Vec<T>>) -> kube::Result<Vec<T>> {
    match answer {
        Err(missing) if is_missing(&missing) => Ok(Vec::new()),
        answer => answer,
    }
}

/// Whether an object of the call exists already.
pub(crate) fn is_there(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_already_exists())
}

/// Whether somebody else changed an object of the call in between.
pub(crate) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && !status.is_already_exists())
}

/// An object of the name exists that this installation did not make. It is reported and never touched.
pub(crate) fn foreign(operation: &'static str, kind: &str, namespace: &str, name: &str) -> Error {
    Error::new(ErrorKind::Conflict, operation)
        .with_context("object", format!("{kind} {namespace}/{name}"))
        .with_source("an object of this name exists and was not made by this installation")
        .with_remedy("Rename or delete the object; the platform never takes over what it did not make.")
}
