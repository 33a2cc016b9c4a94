//! How many calls may begin in a second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Lets calls begin at a rate, with a burst after a pause. Callers are served in the order of their coming.
#[derive(Debug)]
pub(super) struct Pace {
    between: Duration,
    burst: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let between = Duration::from_secs(1) / per_second.max(1);
        let (burst, now) = (between * burst.max(1), Instant::now());
        // Whoever has just come has the pause behind them.
        Self { between, burst, next: Mutex::new(now.checked_sub(burst).unwrap_or(now)) }
    }

    /// Waits for this call's turn.
    pub(super) async fn turn(&self) {
        let at = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            // `next` runs behind the clock by what was not used, and by no more than the burst.
            let earliest = now.checked_sub(self.burst).unwrap_or(now);
            let turn = (*next).max(earliest) + self.between;
            *next = turn;
            turn
        };
        if at > Instant::now() {
            sleep_until(at).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_free_and_the_rest_is_paced() {
        let pace = Pace::new(10, 5);
        let begin = Instant::now();
        for _ in 0..5 {
            pace.turn().await;
        }
        assert_eq!(Instant::now(), begin, "the first burst begins at once");
        tokio::time::advance(Duration::from_secs(10)).await;
        let rested = Instant::now();
        for _ in 0..5 {
            pace.turn().await;
        }
        assert_eq!(Instant::now(), rested, "after a pause a burst begins at once");
        for _ in 0..10 {
            pace.turn().await;
        }
        assert!(Instant::now() - rested >= Duration::from_millis(900), "then ten a second");
        assert!(begin < rested);
    }
}
