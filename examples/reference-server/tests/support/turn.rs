//! Whose turn it is: two journeys at a time, as each runs a server, a gateway and up to a few dozen containers; and those
//! that count every failure under load alone, because a starved machine is not what they are about.

use std::sync::{Condvar, Mutex, PoisonError};

const ALL: usize = 2;

/// A part of the machine; it is given back when it is dropped.
#[derive(Debug)]
pub struct Turn(usize);

static FREE: (Mutex<usize>, Condvar) = (Mutex::new(ALL), Condvar::new());

impl Turn {
    /// Waits for a part of the machine.
    pub fn shared() -> Self {
        Self::take(1)
    }

    /// Waits for the whole machine.
    pub fn alone() -> Self {
        Self::take(ALL)
    }

    fn take(wanted: usize) -> Self {
        let free = FREE.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = FREE.1.wait_while(free, |free| *free < wanted).unwrap_or_else(PoisonError::into_inner);
        *free -= wanted;
        Self(wanted)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *FREE.0.lock().unwrap_or_else(PoisonError::into_inner) += self.0;
        FREE.1.notify_all();
    }
}
