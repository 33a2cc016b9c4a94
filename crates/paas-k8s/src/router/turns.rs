//! Whose turn it is to write the routes of an application.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use paas_core::AppEnv;
use tokio::sync::{Mutex, MutexGuard};

/// So many applications can have their turn at once; those that share a place wait for each other.
const PLACES: usize = 64;

/// The places, by a hash of the application.
#[derive(Debug)]
pub(crate) struct Turns {
    places: [Mutex<()>; PLACES],
    hasher: RandomState,
}

impl Default for Turns {
    fn default() -> Self {
        Self { places: std::array::from_fn(|_| Mutex::new(())), hasher: RandomState::new() }
    }
}

impl Turns {
    /// Waits for an application's turn, which ends when the guard is dropped.
    pub(super) async fn of(&self, at: &AppEnv) -> MutexGuard<'_, ()> {
        let hash = usize::try_from(self.hasher.hash_one(at)).unwrap_or_default();
        self.places[hash % PLACES].lock().await
    }
}
