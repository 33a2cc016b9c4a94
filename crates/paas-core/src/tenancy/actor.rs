//! Who acts.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// Who acts, and on whose behalf.
///
/// Its identity is a text such as `user:alice`, `service:ci` or `system`; grants and audit records name it so.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Actor {
    id: String,
    on_behalf_of: Option<String>,
}

impl Actor {
    /// The identity of the platform itself, which may do everything.
    pub const SYSTEM: &'static str = "system";

    /// The longest identity in bytes.
    pub const MAX: usize = 200;

    /// A person.
    pub fn user(name: impl fmt::Display) -> Self {
        Self { id: format!("user:{name}"), on_behalf_of: None }
    }

    /// A program with an account of its own.
    pub fn service(name: impl fmt::Display) -> Self {
        Self { id: format!("service:{name}"), on_behalf_of: None }
    }

    /// The platform itself.
    pub fn system() -> Self {
        Self { id: Self::SYSTEM.to_owned(), on_behalf_of: None }
    }

    /// The same actor, recorded as acting for another one. Whose permissions count does not change.
    #[must_use]
    pub fn on_behalf_of(mut self, other: &Self) -> Self {
        self.on_behalf_of = Some(other.id.clone());
        self
    }

    /// The identity.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// For whom it acts, if not for itself.
    pub fn principal(&self) -> Option<&str> {
        self.on_behalf_of.as_deref()
    }

    /// Whether it is the platform itself.
    pub fn is_system(&self) -> bool {
        self.id == Self::SYSTEM
    }

    /// Checks an identity as it enters: not empty, of bounded length, printable and without spaces.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with what is wrong.
    pub fn check_id(id: &str) -> Result<()> {
        let valid = !id.is_empty()
            && id.len() <= Self::MAX
            && id.chars().all(|c| !c.is_control() && !c.is_whitespace())
            && id.split_once(':').is_none_or(|(kind, name)| !kind.is_empty() && !name.is_empty());
        if valid {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Invalid, "read the name of an actor")
                .with_context("actor", format!("{:?}", id.chars().take(60).collect::<String>()))
                .with_remedy(
                    "Write it like user:alice, with at most 200 printable characters and no spaces.",
                ))
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        match &self.on_behalf_of {
            Some(principal) => write!(f, " on behalf of {principal}"),
            None => Ok(()),
        }
    }
}
