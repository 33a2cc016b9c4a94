//! Who uses an instance, so that one knows when nobody does.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use super::Instance;

/// Requests in the lower half, connections in the upper: one number, so that both are seen at one moment.
#[derive(Debug, Default)]
pub(super) struct Load(AtomicU64);

const CONNECTION: u64 = 1 << 32;

/// What an instance is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// A request.
    Request,
    /// An upgraded or a TCP connection.
    Connection,
}

impl Use {
    fn unit(self) -> u64 {
        match self {
            Self::Request => 1,
            Self::Connection => CONNECTION,
        }
    }
}

impl Load {
    #[expect(clippy::cast_possible_truncation, reason = "the halves are taken apart")]
    pub(super) fn get(&self) -> (u32, u32) {
        let both = self.0.load(SeqCst);
        (both as u32, (both >> 32) as u32)
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.load(SeqCst) == 0
    }
}

/// The right to use an instance; it counts as used until this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    instance: Arc<Instance>,
    used_for: Use,
}

impl Lease {
    /// Takes a lease, unless the instance accepts no more.
    pub(crate) fn take(instance: &Arc<Instance>, used_for: Use) -> Option<Self> {
        instance.load.0.fetch_add(used_for.unit(), SeqCst);
        let lease = Self { instance: instance.clone(), used_for };
        // Dropping it lowers the load again.
        instance.is_accepting().then_some(lease)
    }

    pub(crate) fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// The request became a connection.
    pub(crate) fn into_connection(mut self) -> Self {
        if self.used_for == Use::Request {
            self.instance.load.0.fetch_add(CONNECTION - 1, SeqCst);
            self.used_for = Use::Connection;
        }
        self
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.instance.load.0.fetch_sub(self.used_for.unit(), SeqCst);
        self.instance.released();
    }
}
