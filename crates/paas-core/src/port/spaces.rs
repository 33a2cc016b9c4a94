//! The isolated space of an environment on a cluster.

use std::fmt;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Epoch;
use crate::error::Result;
use crate::name::EnvRef;

/// Something of a space that was not as declared, and was restored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Drift {
    /// What kind of object it is, as the cluster calls it.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Whether it was missing; otherwise it had been changed.
    pub missing: bool,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.missing { "was missing" } else { "had been changed" };
        write!(f, "{} {} {what} and was restored", self.kind, self.name)
    }
}

/// The isolated spaces of environments on a cluster, such as namespaces with their quotas and network policies.
///
/// A runtime makes the space of an environment when it first needs it. This port is for what is left to do: to keep it as it
/// is declared, and to remove it.
///
/// # Contract
/// - [`Spaces::ensure`] makes the space if there is none, restores what others have changed of it, and tells what it
///   restored. A space that was just made is no drift. One that is as declared is not written to.
/// - [`Spaces::remove`] takes the space away with everything in it, that of other users included; a missing space is a success.
///   It may return before everything is gone. One that still holds volumes is
///   [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) and stays whole: data goes only when somebody asks for that, and a
///   store that was restored from an older copy does not know every environment.
/// - [`Spaces::list`] names the environments that have a space which is not being removed.
/// - A space of the same name that this installation did not make is
///   [`ErrorKind::Conflict`](crate::ErrorKind::Conflict), and stays as it is.
#[async_trait]
pub trait Spaces: fmt::Debug + Send + Sync + 'static {
    /// Makes or restores the space of an environment.
    async fn ensure(&self, epoch: Epoch, env: &EnvRef) -> Result<Vec<Drift>>;

    /// Takes the space of an environment away.
    async fn remove(&self, epoch: Epoch, env: &EnvRef) -> Result<()>;

    /// The environments that have a space.
    async fn list(&self) -> Result<Vec<EnvRef>>;
}
