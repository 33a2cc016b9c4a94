//! Releases.

use super::{below, number_name};
use crate::engine::Record;
use crate::model::{Release, ReleaseNumber};
use crate::name::AppEnv;
use crate::port::DocumentKey;

impl Record for Release {
    const KIND: &'static str = "release";

    fn key(&self) -> DocumentKey {
        Self::key_of(&self.at, self.number)
    }
}

impl Release {
    /// The key of a release's document.
    pub fn key_of(at: &AppEnv, number: ReleaseNumber) -> DocumentKey {
        below(Self::KIND, at, number_name(number.0))
    }
}
