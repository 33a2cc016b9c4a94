//! Smooth weighted round robin, as nginx does it: each turn, everyone gains their weight; who has most takes the turn
//! and pays the total. In any run of turns as long as the total, each is chosen as often as their weight says, and
//! the turns of one are spread among those of the others.
//! (nginx, `ngx_http_upstream_round_robin.c`.)

/// The turns among some weights. Integers only: a share never drifts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SmoothRoundRobin {
    weights: Vec<u32>,
    credit: Vec<i64>,
    total: i64,
}

impl SmoothRoundRobin {
    /// Starts over with these weights; a weight of 0 is never chosen.
    pub(crate) fn new(weights: Vec<u32>) -> Self {
        // Fewer than 2^31 weights below 2^32 stay below 2^63.
        let total = weights.iter().copied().map(i64::from).sum();
        Self { credit: vec![0; weights.len()], weights, total }
    }

    /// Whose turn it is, as an index of the weights; `None` if all weights are 0.
    pub(crate) fn turn(&mut self) -> Option<usize> {
        let mut best: Option<usize> = None;
        for (i, weight) in self.weights.iter().enumerate() {
            if *weight == 0 {
                continue;
            }
            self.credit[i] += i64::from(*weight);
            if best.is_none_or(|best| self.credit[i] > self.credit[best]) {
                best = Some(i);
            }
        }
        self.credit[best?] -= self.total;
        best
    }

    /// The weights it was made of.
    pub(crate) fn weights(&self) -> &[u32] {
        &self.weights
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_turns_of_one_are_spread_among_those_of_the_others() {
        let mut turns = SmoothRoundRobin::new(vec![5, 1, 1]);
        let order: Vec<_> = (0..7).filter_map(|_| turns.turn()).collect();
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn without_weights_nobody_has_a_turn() {
        assert_eq!(SmoothRoundRobin::new(vec![]).turn(), None);
        assert_eq!(SmoothRoundRobin::new(vec![0, 0]).turn(), None);
    }

    #[test]
    fn the_greatest_weights_do_not_overflow() {
        let mut turns = SmoothRoundRobin::new(vec![u32::MAX; 1000]);
        for _ in 0..2000 {
            assert!(turns.turn().is_some());
        }
    }

    proptest! {
        #[test]
        fn every_window_as_long_as_the_total_is_exact(
            weights in prop::collection::vec(0_u32..40, 1..8), start in 0_usize..500,
        ) {
            let total: u32 = weights.iter().sum();
            prop_assume!(total > 0);
            let mut turns = SmoothRoundRobin::new(weights.clone());
            for _ in 0..start {
                turns.turn();
            }
            let mut counts = vec![0_u32; weights.len()];
            for _ in 0..total {
                counts[turns.turn().expect("a weight is above 0")] += 1;
            }
            prop_assert_eq!(counts, weights);
        }

        #[test]
        fn no_share_is_ever_further_from_exact_than_one_turn_per_competitor(
            weights in prop::collection::vec(1_u32..1000, 2..6), turns_taken in 1_u32..3000,
        ) {
            let total: i64 = weights.iter().map(|weight| i64::from(*weight)).sum();
            let mut turns = SmoothRoundRobin::new(weights.clone());
            let mut counts = vec![0_i64; weights.len()];
            for turn in 1..=i64::from(turns_taken) {
                counts[turns.turn().expect("all weights are above 0")] += 1;
                let others = i64::try_from(weights.len()).expect("a few") - 1;
                for (count, weight) in counts.iter().zip(&weights) {
                    let off = (count * total - turn * i64::from(*weight)).abs();
                    prop_assert!(off <= total * others, "{counts:?} after {turn}");
                }
            }
        }
    }
}
