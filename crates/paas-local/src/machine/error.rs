//! Errors of the lower layers in the words of the ports.

use paas_core::port::InstanceFailure;
use paas_core::{Error, ErrorKind};

impl From<crate::Error> for Error {
    fn from(error: crate::Error) -> Self {
        use crate::ErrorKind as Local;
        let kind = match error.kind() {
            Local::InvalidSpec
            | Local::InvalidImage
            | Local::EntryPointMissing
            | Local::EntryPointNotExecutable
            | Local::WrongArchitecture
            | Local::BadUser
            | Local::BadWorkingDirectory => ErrorKind::Invalid,
            Local::NotFound | Local::NotRunning => ErrorKind::NotFound,
            Local::AlreadyExists => ErrorKind::AlreadyExists,
            Local::Busy => ErrorKind::Conflict,
            Local::Unsupported => ErrorKind::Unsupported,
            Local::Unavailable => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, "work with a container").with_source(error)
    }
}

/// Why a container could not be started, for people.
pub(super) fn start_failure(error: &crate::Error) -> InstanceFailure {
    use crate::ErrorKind as Local;
    let reason = match error.kind() {
        Local::EntryPointMissing | Local::EntryPointNotExecutable | Local::WrongArchitecture => {
            "no_entry_point"
        }
        _ => "start_failed",
    };
    failure(reason, error.chain().clone())
}

/// Why an image could not be had, for people.
pub(super) fn image_failure(error: &paas_registry::Error) -> InstanceFailure {
    use paas_registry::ErrorKind as Image;
    let reason = match error.kind() {
        Image::NotFound | Image::WrongPlatform => "image_not_found",
        Image::Denied => "image_denied",
        Image::RateLimited | Image::Unavailable | Image::Busy => "image_unreachable",
        Image::DiskFull => "no_capacity",
        _ => "image_invalid",
    };
    let mut message = error.to_string();
    if let Some(remedy) = error.remedy() {
        message = format!("{message}. {remedy}");
    }
    failure(reason, message)
}

pub(super) fn failure(reason: &str, message: impl Into<String>) -> InstanceFailure {
    InstanceFailure { reason: reason.to_owned(), message: message.into(), last_lines: Vec::new() }
}

/// An error of the gateway.
pub(super) fn gateway(operation: &'static str, error: paas_gateway::Error) -> Error {
    let kind = match error.kind() {
        paas_gateway::ErrorKind::Invalid => ErrorKind::Invalid,
        paas_gateway::ErrorKind::Conflict => ErrorKind::Conflict,
        paas_gateway::ErrorKind::Unavailable | paas_gateway::ErrorKind::Timeout => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, operation).with_source(error)
}
