//! What may be stored.

use std::fmt;

use async_trait::async_trait;

use crate::error::Result;
use crate::model::AppSpec;
use crate::name::AppEnv;

/// A specification about to be stored.
#[derive(Debug, Clone)]
pub struct AdmissionRequest<'a> {
    /// Who stores it.
    pub actor: &'a str,
    /// Where.
    pub at: &'a AppEnv,
}

/// Checks or amends a specification before it is stored.
///
/// It is asked at every deploy, that of a new configuration included. A rollback and a restart release again what was admitted
/// before, and do not ask.
///
/// # Contract
/// - A refusal is [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with every fault, each naming the path of the field and the
///   rule, or [`ErrorKind::Denied`](crate::ErrorKind::Denied) with the reason that the actor may know.
/// - Amending is idempotent: admitting what was admitted changes nothing.
/// - The same request has the same answer as long as the rules are the same; an answer changes nothing by itself, since a
///   deploy may be prepared more than once and come to nothing.
/// - A failure to find out is an error of another kind, never an admittance.
#[async_trait]
pub trait Admission: fmt::Debug + Send + Sync + 'static {
    /// Admits `spec`, perhaps amended, or refuses it.
    async fn admit(&self, request: &AdmissionRequest<'_>, spec: AppSpec) -> Result<AppSpec>;
}
