//! Counting what changes something.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{Call, Interceptor};
use crate::error::Result;

/// Remembers every call that may change something and succeeded, in order.
#[derive(Debug, Default)]
pub struct Mutations(Mutex<Vec<Call>>);

impl Mutations {
    /// Nothing remembered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The mutations since the last [`Mutations::take`], in order; they are forgotten.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many there were on `port` since the last [`Mutations::take`].
    pub fn count(&self, port: &str) -> usize {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().filter(|call| call.port == port).count()
    }
}

#[async_trait]
impl Interceptor for Mutations {
    async fn before(&self, _: &Call) -> Result<()> {
        Ok(())
    }

    async fn after(&self, call: &Call) -> Result<()> {
        if call.mutates {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(call.clone());
        }
        Ok(())
    }
}
