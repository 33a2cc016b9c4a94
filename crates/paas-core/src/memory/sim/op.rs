//! What happens in a history, and how histories are made up.

use super::cluster::Quality;
use super::rng::Rng;

/// One action of a history. Everything random is in it, so a history without some of its actions is a history too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// A new release.
    Deploy {
        quality: Quality,
        strategy: u32,
        supersede: bool,
        lockstep: bool,
    },
    /// A release of what is current, with new instances.
    Restart {
        strategy: u32,
        supersede: bool,
        lockstep: bool,
    },
    /// A rollback to one of the releases so far.
    Rollback {
        back: u32,
    },
    /// The component is taken out of the app.
    Withdraw,
    Scale(u32),
    Abort,
    Retry,
    Pause,
    Resume,
    Grant,
    Offline,
    Online,
    Detach {
        release: bool,
    },
    /// Every nth ready instance dies.
    Kill {
        nth: u32,
        restart: u32,
    },
    Quota(Option<u32>),
    RouterLag(u32),
    /// How the next bakes and runs end: pass, fail, inconclusive or lost.
    Verdict(u32),
    Advance(u32),
    /// A controller observes, decides, stores and acts.
    Reconcile {
        who: usize,
        lag: u32,
        trouble: Trouble,
    },
    /// The other controller becomes the leader.
    Takeover,
}

/// What goes wrong in a reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    None,
    /// The process dies after so many of its writes, the store's first.
    Killed(u32),
    /// The process stands still there, and goes on later.
    Paused(u32),
    /// A write does not arrive, and the writer is told so.
    LostWrite,
    /// A write arrives, and the writer is told that it did not.
    LostAnswer,
}

fn quality(rng: &mut Rng) -> Quality {
    match rng.below(10) {
        0..=5 => Quality::Good(*rng.pick(&[0, 20, 500, 4_000])),
        6..=7 => Quality::Never,
        _ => Quality::Flapping(*rng.pick(&[300, 5_000, 40_000])),
    }
}

fn trouble(rng: &mut Rng) -> Trouble {
    match rng.below(12) {
        0 => Trouble::Killed(rng.below(3)),
        1 => Trouble::Paused(rng.below(3)),
        2 => Trouble::LostWrite,
        3 => Trouble::LostAnswer,
        _ => Trouble::None,
    }
}

/// The number of a strategy that does not abort by itself, if there is one.
pub(super) const STALLS: u32 = u32::MAX;

/// A bad version by a strategy that does not abort by itself, and more than enough time.
fn stalling(ops: &mut Vec<Op>, rng: &mut Rng) {
    let burst = |ops: &mut Vec<Op>, times| {
        for _ in 0..times {
            ops.push(Op::Reconcile { who: 0, lag: 0, trouble: Trouble::None });
            ops.push(Op::Advance(1_000));
        }
    };
    burst(ops, 8);
    let quality = *rng.pick(&[Quality::Never, Quality::Flapping(5_000)]);
    ops.push(Op::Deploy { quality, strategy: STALLS, supersede: false, lockstep: false });
    burst(ops, 3);
    if rng.one_in(3) {
        ops.push(Op::RouterLag(30_000));
    }
    ops.push(Op::Advance(700_000));
    burst(ops, 1);
    for _ in 0..rng.below(5) {
        if rng.one_in(3) {
            ops.push(Op::Quota(Some(rng.below(8))));
        }
        ops.push(Op::Scale(1 + rng.below(20)));
        if rng.one_in(4) {
            ops.push(Op::Kill { nth: 1 + rng.below(3), restart: 2_000 });
        }
        ops.push(Op::Reconcile { who: 0, lag: rng.below(3), trouble: trouble(rng) });
    }
}

/// A history of so many actions.
pub(super) fn history(rng: &mut Rng, length: usize) -> Vec<Op> {
    let first = Op::Deploy {
        quality: if rng.one_in(8) { quality(rng) } else { Quality::Good(20) },
        strategy: rng.below(64),
        supersede: false,
        lockstep: false,
    };
    let mut ops = vec![first];
    if rng.one_in(10) {
        stalling(&mut ops, rng);
    }
    while ops.len() < length {
        let op = match rng.below(100) {
            0..=5 => Op::Deploy {
                quality: quality(rng),
                strategy: rng.below(64),
                supersede: rng.one_in(3),
                lockstep: rng.one_in(6),
            },
            6 => Op::Rollback { back: rng.below(4) },
            7 if rng.one_in(4) => Op::Withdraw,
            8..=11 => Op::Scale(*rng.pick(&[0, 1, 1, 2, 3, 4, 5, 7, 10, 17, 20])),
            12..=13 => Op::Abort,
            14 => Op::Retry,
            15 => Op::Pause,
            16..=17 => Op::Resume,
            18..=19 => Op::Grant,
            20 if rng.one_in(2) => Op::Offline,
            21 => Op::Online,
            22 if rng.one_in(6) => Op::Detach { release: rng.one_in(3) },
            23..=25 => Op::Kill { nth: *rng.pick(&[1, 2, 3, 5]), restart: *rng.pick(&[50, 2_000, 60_000]) },
            26..=27 => Op::Quota(if rng.one_in(2) { None } else { Some(rng.below(12)) }),
            28 => Op::RouterLag(*rng.pick(&[0, 5, 2_000, 30_000])),
            29 => Op::Verdict(rng.below(4)),
            30 => Op::Takeover,
            31 => Op::Restart { strategy: rng.below(64), supersede: rng.one_in(3), lockstep: rng.one_in(6) },
            32..=50 => Op::Advance(*rng.pick(&[1, 20, 100, 1_000, 5_000, 31_000, 61_000, 300_000, 601_000])),
            _ => {
                // A controller rarely acts just once: bursts bring a rollout through its phases.
                for _ in 0..rng.below(4) {
                    ops.push(Op::Reconcile { who: 0, lag: 0, trouble: Trouble::None });
                    ops.push(Op::Advance(*rng.pick(&[1, 20, 1_000, 5_000])));
                }
                Op::Reconcile {
                    who: usize::from(rng.one_in(6)),
                    lag: if rng.one_in(3) { rng.below(5) } else { 0 },
                    trouble: trouble(rng),
                }
            }
        };
        ops.push(op);
    }
    ops
}
