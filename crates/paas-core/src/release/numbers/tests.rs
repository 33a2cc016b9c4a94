//! The numbers, over their whole range.

use proptest::prelude::*;

use super::*;

fn weights() -> impl Strategy<Value = (u32, u32)> {
    (1..=MAX_TOTAL_WEIGHT).prop_flat_map(|total| (0..=total, Just(total)))
}

proptest! {
    #[test]
    fn needs_are_the_exact_ceilings((weight, total) in weights(), n in 0..=u32::MAX) {
        let exact = (u128::from(n) * u128::from(weight)).div_ceil(u128::from(total));
        prop_assert_eq!(u128::from(need(n, weight, total)), exact);
        prop_assert!(need_stable(n, weight, total, false) + need(n, weight, total) >= n.min(u32::MAX / 2));
        prop_assert_eq!(need_stable(n, weight, total, true), n);
    }

    #[test]
    fn any_share_needs_its_least_instances((weight, total) in weights(), n in 0..10_000_u32, least in 0..10_u32) {
        let needed = need_new(n, weight, total, least);
        let expected = if weight == 0 { 0 } else { need(n, weight, total).max(least) };
        prop_assert_eq!(needed, expected);
    }

    #[test]
    fn shares_are_carried_by_the_instances_they_were_made_for(part in 0..5_000_u32, rest in 0..5_000_u32, total in 1..=MAX_TOTAL_WEIGHT) {
        let whole = part + rest;
        let given = share(part, whole, total);
        prop_assert!(given <= total);
        prop_assert!(carries(part, given, total, whole));
        if whole > 0 {
            prop_assert!(carries(rest, total - given, total, whole));
            prop_assert!(need(whole, given, total) <= part, "the new side never needs more than it has");
        }
    }

    #[test]
    fn shares_of_up_to_sixteen_are_exact(whole in 1..=16_u32, part in 0..=16_u32) {
        let part = part.min(whole);
        prop_assert_eq!(need(whole, share(part, whole, DEFAULT_TOTAL_WEIGHT), DEFAULT_TOTAL_WEIGHT), part);
        prop_assert_eq!(need_stable(whole, share(part, whole, DEFAULT_TOTAL_WEIGHT), DEFAULT_TOTAL_WEIGHT, false), whole - part);
    }

    #[test]
    fn shift_back_moves_as_much_as_is_carried_and_no_more((weight, total) in weights(), n in 1..10_000_u32, ready in 0..10_000_u32) {
        let back = shift_back(n, weight, total, ready);
        prop_assert!(back <= weight);
        let fits = |weight: u32| u64::from(ready) >= u64::from(need(n, total - weight, total));
        prop_assert!(back == weight || fits(back));
        prop_assert!(back == 0 || !fits(back - 1), "it could have moved one more");
    }

    #[test]
    fn margins_always_leave_a_way_to_move(n in 1..10_000_u32, surge in 0..=100_u8, unavailable in 0..=100_u8) {
        let percent = |value| Amount::Percent(crate::model::Percent::new(value).expect("at most 100"));
        let margins = Margins::resolve(n, percent(surge), percent(unavailable));
        prop_assert!(margins.ceiling(n) > margins.floor(n));
        prop_assert!(margins.floor(n) <= n && n <= margins.ceiling(n));
    }

    #[test]
    fn an_old_revision_is_never_taken_below_the_floor(n in 0..10_000_u32, unavailable in 0..100_u32, ready in 0..10_000_u32) {
        let floor = n.saturating_sub(unavailable);
        prop_assert!(u64::from(keep_old(floor, ready)) + u64::from(ready) >= u64::from(floor));
        prop_assert_eq!(keep_old(floor, 0), floor, "a version that is not ready costs nothing");
    }

    #[test]
    fn counts_come_nearest_to_the_weight((weight, total) in weights(), n in 1..200_u32, surge: bool) {
        let split = split_counts(n, weight, total, surge);
        let all = split.new + split.stable;
        prop_assert!(all == n || (surge && all == n + 1));
        if 0 < weight && weight < total && n + u32::from(surge) >= 2 && all >= 2 {
            prop_assert!(split.new > 0 && split.stable > 0);
        }
        let distance = |new: u32, all: u32| {
            // As fractions of one common denominator.
            (i128::from(new) * i128::from(total) - i128::from(weight) * i128::from(all)).unsigned_abs()
                * u128::from(if all == n { n + 1 } else { n })
        };
        if 0 < weight && weight < total {
            for other_all in [n, n + 1].into_iter().take(if surge { 2 } else { 1 }) {
                for other in 1..other_all {
                    prop_assert!(distance(split.new, all) <= distance(other, other_all), "{other} of {other_all} is nearer than {split:?}");
                }
            }
        }
    }
}

#[test]
fn three_quarters_of_two_without_surge_is_one_and_one() {
    assert_eq!(split_counts(2, 75, 100, false), CountSplit { new: 1, stable: 1 });
}

#[test]
fn a_tie_takes_no_extra_instance_and_within_one_total_the_larger_count() {
    assert_eq!(split_counts(3, 50, 100, false), CountSplit { new: 2, stable: 1 });
    assert_eq!(split_counts(2, 50, 100, true), CountSplit { new: 1, stable: 1 });
    assert_eq!(split_counts(3, 50, 100, true), CountSplit { new: 2, stable: 2 });
}

#[test]
fn one_instance_with_surge_can_be_split() {
    assert_eq!(split_counts(1, 50, 100, true), CountSplit { new: 1, stable: 1 });
}
