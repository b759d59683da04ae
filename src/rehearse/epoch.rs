//! When the weights changed, as far as the shares of requests tell.

use crate::share::MILLION;

/// Around a change workers take the new table at moments of their own: for so long a request with the
/// share of before belongs to the epoch before.
const OVERLAP_US: u64 = 1_000_000;

/// Shares are rounded to a millionth each.
const ROUNDED_PPM: u32 = 2;

/// The sides of a rollout, as indexes.
pub(super) const STABLE: usize = 0;
pub(super) const CANARY: usize = 1;

/// The present epoch and the one before.
#[derive(Debug)]
pub(super) struct Epochs {
    now: Option<Epoch>,
    before: Option<Epoch>,
    /// What both sides own together, where only one is known.
    pair_ppm: u32,
}

/// The time between two changes of weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Epoch {
    began_us: u64,
    slot: u8,
    /// What each side owns, in parts per million of the split; `None`: not seen yet.
    shares_ppm: [Option<u32>; 2],
}

/// What a request says about the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Seen {
    /// It was dispatched in an epoch that is known; its slot.
    Known(u8),
    /// It is the first of a new epoch.
    New {
        /// The parity of the epoch.
        slot: u8,
        /// The canary's part of the pair before, 0 to 1; 0 at the beginning.
        before: f64,
        /// And from now on.
        weight: f64,
    },
}

impl Epochs {
    /// Nothing was seen. `pair_ppm` is what both sides own together by the file.
    pub(super) const fn new(pair_ppm: u32) -> Self {
        Self {
            now: None,
            before: None,
            pair_ppm,
        }
    }

    /// The canary's part of what both sides own, 0 to 1.
    fn weight(&self) -> f64 {
        self.now.map_or(0.0, |epoch| epoch.weight(self.pair_ppm))
    }

    /// Takes in a request of `side` that was dispatched at `at_us` while the side owned `share_ppm`.
    pub(super) fn see(&mut self, side: usize, share_ppm: u32, at_us: u64) -> Seen {
        let share = Some(share_ppm);
        let before_ppm = self.before.and_then(|before| before.shares_ppm[side]);
        if let Some(now) = &mut self.now {
            if now.shares_ppm[side] == share {
                return Seen::Known(now.slot);
            }
            let overlaps = at_us < now.began_us.saturating_add(OVERLAP_US);
            if let Some(before) = self.before.filter(|_| overlaps && before_ppm == share) {
                return Seen::Known(before.slot);
            }
            if let [Some(other_ppm), None] | [None, Some(other_ppm)] = now.shares_ppm
                && now.shares_ppm[side].is_none()
            {
                let both_ppm = other_ppm.saturating_add(share_ppm);
                if both_ppm.abs_diff(self.pair_ppm) <= ROUNDED_PPM {
                    now.shares_ppm[side] = share;
                    return Seen::Known(now.slot);
                }
                // This side kept its share when the other one's changed: what they own together is
                // not what was believed.
                if before_ppm == share && both_ppm <= MILLION {
                    let before = now.weight(self.pair_ppm);
                    now.shares_ppm[side] = share;
                    self.pair_ppm = both_ppm;
                    return Seen::New {
                        slot: now.slot,
                        before,
                        weight: now.weight(both_ppm),
                    };
                }
            }
        }
        let before = self.weight();
        let mut shares_ppm = [None; 2];
        shares_ppm[side] = share;
        let epoch = Epoch {
            began_us: at_us,
            slot: self.now.map_or(0, |now| 1 - now.slot),
            shares_ppm,
        };
        self.before = self.now.replace(epoch);
        self.pair_ppm = self.pair_ppm.max(share_ppm);
        Seen::New {
            slot: epoch.slot,
            before,
            weight: self.weight(),
        }
    }
}

impl Epoch {
    fn weight(&self, pair_ppm: u32) -> f64 {
        let [stable, canary] = match self.shares_ppm {
            [Some(stable), Some(canary)] => [stable, canary],
            [Some(stable), None] => [stable, pair_ppm.saturating_sub(stable)],
            [None, Some(canary)] => [pair_ppm.saturating_sub(canary), canary],
            [None, None] => [MILLION, 0],
        };
        let both = f64::from(stable) + f64::from(canary);
        if both > 0.0 { f64::from(canary) / both } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::{CANARY, Epochs, STABLE, Seen};
    use crate::share::MILLION;

    const SECOND: u64 = 1_000_000;

    const fn new(slot: u8, before: f64, weight: f64) -> Seen {
        Seen::New { slot, before, weight }
    }

    /// What each request says: side, share in percent, tenths of a second.
    fn check(pair_ppm: u32, requests: &[(usize, u32, u64, Seen)]) {
        let mut epochs = Epochs::new(pair_ppm);
        for &(side, percent, tenths, expected) in requests {
            let seen = epochs.see(side, percent * 10_000, tenths * SECOND / 10);
            match (seen, expected) {
                (
                    Seen::New { slot, before, weight },
                    Seen::New {
                        slot: s,
                        before: b,
                        weight: w,
                    },
                ) => {
                    assert_eq!(slot, s, "{side} {percent} {tenths}");
                    assert!(
                        (before - b).abs() < 1e-9 && (weight - w).abs() < 1e-9,
                        "{seen:?} {expected:?}"
                    );
                }
                _ => assert_eq!(seen, expected, "{side} {percent} {tenths}"),
            }
        }
    }

    #[test]
    fn a_change_of_share_is_a_new_epoch_whichever_side_shows_it() {
        check(
            MILLION,
            &[
                (STABLE, 100, 0, new(0, 0.0, 0.0)),
                (STABLE, 100, 5, Seen::Known(0)),
                (STABLE, 95, 20, new(1, 0.0, 0.05)),
                (CANARY, 5, 21, Seen::Known(1)),
                (CANARY, 25, 60, new(0, 0.05, 0.25)),
                (STABLE, 75, 61, Seen::Known(0)),
                (STABLE, 0, 90, new(1, 0.25, 1.0)),
                (CANARY, 100, 91, Seen::Known(1)),
            ],
        );
    }

    #[test]
    fn workers_that_are_late_to_the_new_table_do_not_turn_it_back() {
        check(
            MILLION,
            &[
                (CANARY, 5, 0, new(0, 0.0, 0.05)),
                (STABLE, 95, 0, Seen::Known(0)),
                (CANARY, 25, 20, new(1, 0.05, 0.25)),
                (STABLE, 95, 20, Seen::Known(0)),
                (CANARY, 5, 21, Seen::Known(0)),
                (STABLE, 75, 22, Seen::Known(1)),
                (CANARY, 25, 23, Seen::Known(1)),
                (CANARY, 5, 29, Seen::Known(0)),
                (CANARY, 5, 31, new(0, 0.25, 0.05)),
            ],
        );
    }

    #[test]
    fn the_canary_may_show_a_change_first() {
        check(
            MILLION,
            &[
                (STABLE, 100, 0, new(0, 0.0, 0.0)),
                (CANARY, 50, 50, new(1, 0.0, 0.5)),
                (STABLE, 100, 50, Seen::Known(0)),
                (STABLE, 50, 51, Seen::Known(1)),
                (CANARY, 50, 70, Seen::Known(1)),
            ],
        );
    }

    #[test]
    fn other_variants_of_the_split_keep_their_part() {
        check(
            600_000,
            &[
                (STABLE, 60, 0, new(0, 0.0, 0.0)),
                (CANARY, 15, 50, new(1, 0.0, 0.25)),
                (STABLE, 45, 51, Seen::Known(1)),
                (STABLE, 30, 90, new(0, 0.25, 0.5)),
                (CANARY, 30, 91, Seen::Known(0)),
            ],
        );
    }

    #[test]
    fn a_log_of_another_split_than_the_file_s_is_understood_after_a_second() {
        check(
            MILLION,
            &[
                (STABLE, 60, 0, new(0, 0.0, 0.4)),
                (CANARY, 20, 1, new(1, 0.4, 0.2)),
                (STABLE, 60, 2, Seen::Known(0)),
                (STABLE, 60, 20, new(1, 0.2, 0.25)),
                (CANARY, 20, 21, Seen::Known(1)),
                (STABLE, 40, 50, new(0, 0.25, 0.5)),
                (CANARY, 40, 51, Seen::Known(0)),
            ],
        );
        check(
            800_000,
            &[
                (STABLE, 100, 0, new(0, 0.0, 0.0)),
                (CANARY, 20, 20, new(1, 0.0, 0.2)),
                (STABLE, 80, 21, Seen::Known(1)),
            ],
        );
    }
}
