//! The arithmetic of weights and counts, in 64-bit integers: a product of a count and a weight never overflows.

use crate::model::Amount;

/// The largest sum of weights a plan may use (the limit of the Gateway API's `weight`).
pub const MAX_TOTAL_WEIGHT: u32 = 1_000_000;

/// The sum of weights that plans use unless they say otherwise: the least common multiple of 1 to 16, so that the
/// share of up to 16 equal instances is exact.
pub const DEFAULT_TOTAL_WEIGHT: u32 = 720_720;

/// How many instances a share of `weight` out of `total` needs: ⌈n·weight/total⌉.
///
/// A `total` of zero means that nothing is routed, which needs nothing.
pub fn need(n: u32, weight: u32, total: u32) -> u32 {
    if total == 0 {
        return 0;
    }
    let exact = (u64::from(n) * u64::from(weight)).div_ceil(u64::from(total));
    u32::try_from(exact).unwrap_or(u32::MAX)
}

/// What the new revision needs for its share: [`need`], and at least `min_instances` once it has any share at all.
pub fn need_new(n: u32, weight: u32, total: u32, min_instances: u32) -> u32 {
    if weight == 0 { 0 } else { need(n, weight, total).max(min_instances) }
}

/// What the stable revision needs while the new one has `weight`: all of `n` if it is kept whole, else
/// ⌈n·(total−weight)/total⌉.
pub fn need_stable(n: u32, weight: u32, total: u32, kept_whole: bool) -> u32 {
    if kept_whole { n } else { need(n, total.saturating_sub(weight), total) }
}

/// The share that `part` of `whole` equal instances carry: ⌊total·part/whole⌋, and nothing of nothing.
///
/// Rounding down gives the new revision at most one unit of weight less than its exact share, so its instances never
/// carry more than their part; the rest goes to the other side, whose share exceeds its exact part by less than one
/// unit in `total`.
pub fn share(part: u32, whole: u32, total: u32) -> u32 {
    if whole == 0 {
        return 0;
    }
    let exact = u64::from(total) * u64::from(part.min(whole)) / u64::from(whole);
    u32::try_from(exact).unwrap_or(total)
}

/// How far an abort may take the new revision's weight back: the smallest w′ ≤ `weight` with
/// `ready` ≥ ⌈n·(total−w′)/total⌉, where `ready` are the stable instances that can take traffic.
pub fn shift_back(n: u32, weight: u32, total: u32, ready: u32) -> u32 {
    if n == 0 {
        return 0;
    }
    let carried = share(ready.min(n), n, total);
    total.saturating_sub(carried).min(weight)
}

/// Whether `ready` instances can carry `weight` of `total` of the traffic that `floor` instances carry together, up to
/// the rounding of [`share`] (less than one unit of weight).
pub fn carries(ready: u32, weight: u32, total: u32, floor: u32) -> bool {
    let load = u64::from(floor) * u64::from(weight.saturating_sub(1));
    weight == 0 || total == 0 || floor == 0 || load < u64::from(ready) * u64::from(total)
}

/// How many more instances than declared may run, and how many fewer may be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Margins {
    /// Instances above the declared count.
    pub surge: u32,
    /// Instances that may be missing from the declared count; never more than it.
    pub unavailable: u32,
}

impl Margins {
    /// The margins for `n` instances: surge rounds up, unavailability rounds down, and both zero means that one
    /// instance may be unavailable (or no rollout could ever move).
    pub fn resolve(n: u32, max_surge: Amount, max_unavailable: Amount) -> Self {
        let surge = max_surge.ceil_of(n);
        let unavailable = max_unavailable.floor_of(n);
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Self { surge, unavailable: unavailable.min(n) }
    }

    /// The fewest instances that must stay ready of `n`.
    pub fn floor(self, n: u32) -> u32 {
        n.saturating_sub(self.unavailable)
    }

    /// The most instances that may exist for `n`.
    pub fn ceiling(self, n: u32) -> u32 {
        n.saturating_add(self.surge)
    }
}

/// The fewest instances an old revision may be lowered to: all − (n − unavailable) − new unavailable is the budget, so
/// what must stay is the floor less what the new revision has ready.
///
/// A new revision that crashes has nothing ready and therefore never costs an old instance below the floor.
pub fn keep_old(floor: u32, new_available: u32) -> u32 {
    floor.saturating_sub(new_available)
}

/// The instance counts that come nearest to a weight where no router can split traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountSplit {
    /// Instances of the new revision.
    pub new: u32,
    /// Instances of the stable revision.
    pub stable: u32,
}

/// Turns a weight into instance counts behind one service (a canary without a router).
///
/// The pair (c, T−c) with c in {⌊n·w/W⌋, ⌈n·w/W⌉} and T in {n, n+1 if `surge`} whose share is nearest to w/W. A tie
/// between T = n and T = n+1 takes no extra instance; a tie within one T takes the larger c. For 0 < w < W neither side
/// is empty whenever there are two instances to give.
pub fn split_counts(n: u32, weight: u32, total: u32, surge: bool) -> CountSplit {
    if total == 0 || n == 0 || weight == 0 {
        return CountSplit { new: 0, stable: n };
    }
    if weight >= total {
        return CountSplit { new: n, stable: 0 };
    }
    let product = u64::from(n) * u64::from(weight);
    let floor = product / u64::from(total);
    let ceil = product.div_ceil(u64::from(total));
    let mut best: Option<(u64, u64, u64, u64)> = None; // distance numerator, its denominator, c, T
    for all in [u64::from(n), u64::from(n) + 1].into_iter().take(if surge { 2 } else { 1 }) {
        for candidate in [ceil, floor] {
            let new = if all >= 2 { candidate.clamp(1, all - 1) } else { candidate.min(all) };
            // |c/T − w/W| = |c·W − w·T| / (T·W); the common W is left out when comparing.
            let distance = (new * u64::from(total)).abs_diff(u64::from(weight) * all);
            let nearer = match best {
                None => true,
                // Both sides are cross-multiplied in 128 bits: a distance reaches 2^52 already.
                Some((least, of, ..)) => {
                    u128::from(distance) * u128::from(of) < u128::from(least) * u128::from(all)
                }
            };
            if nearer {
                best = Some((distance, all, new, all));
            }
        }
    }
    let (_, _, new, all) = best.unwrap_or((0, 1, 0, u64::from(n)));
    CountSplit { new: u32::try_from(new).unwrap_or(n), stable: u32::try_from(all - new).unwrap_or(n) }
}

#[cfg(test)]
mod tests;
