//! The canary's share of the requests, as measured: the users of a keyed split are no random draw of
//! requests.

use std::time::Duration;

use crate::measure::Counts;

/// What was seen fades with this time constant, in seconds: a keyed share drifts with the time of day.
const FADES: f64 = 300.0;

/// The weight counts as so many requests.
const PRIOR_REQUESTS: f64 = 10.0;

/// What a canary without weight but with voting cohorts is taken to get, until its share is seen: the
/// guess that blames it least.
const UNKNOWN: f64 = 0.5;

/// The shares of both slots.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shares {
    slots: [Seen; 2],
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Seen {
    /// Dispatched so far in the epoch, fading.
    canary: f64,
    stable: f64,
    /// As set, 0 to 1.
    weight: f64,
}

impl Shares {
    /// An epoch begins in `slot`; the other one is not in use.
    pub(super) fn new(slot: usize, weight: f64) -> Self {
        let mut found = Self {
            slots: [Seen::default(); 2],
        };
        found.begin(slot, weight);
        found
    }

    /// An epoch begins in `slot`.
    pub(super) fn begin(&mut self, slot: usize, weight: f64) {
        self.slots[slot] = Seen {
            weight: if weight > 0.0 { weight } else { UNKNOWN },
            ..Seen::default()
        };
    }

    /// `s = (N_c + 10 w)/(N_c + N_s + 10)` of `slot`, before the present tick.
    pub(super) fn of(&self, slot: usize) -> f64 {
        let Seen { canary, stable, weight } = self.slots[slot];
        (canary + PRIOR_REQUESTS * weight) / (canary + stable + PRIOR_REQUESTS)
    }

    /// Takes in what was dispatched in a tick of `slot`.
    #[allow(clippy::cast_precision_loss)] // counts stay far below 2^52
    pub(super) fn tick(&mut self, slot: usize, elapsed: Duration, canary: &Counts, stable: &Counts) {
        let kept = (-elapsed.as_secs_f64() / FADES).exp();
        let seen = &mut self.slots[slot];
        seen.canary = seen.canary * kept + canary.dispatched as f64;
        seen.stable = seen.stable * kept + stable.dispatched as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(dispatched: u64) -> Counts {
        Counts {
            dispatched,
            ..Counts::default()
        }
    }

    #[test]
    fn the_weight_stands_until_requests_are_seen() {
        let mut shares = Shares::new(1, 0.1);
        assert!((shares.of(1) - 0.1).abs() < 1e-12);
        shares.tick(1, Duration::ZERO, &sent(30), &sent(60));
        assert!((shares.of(1) - 31.0 / 100.0).abs() < 1e-12);
        shares.begin(0, 0.5);
        assert!((shares.of(0) - 0.5).abs() < 1e-12 && (shares.of(1) - 0.31).abs() < 1e-12);
    }

    #[test]
    fn what_was_seen_fades() {
        let mut shares = Shares::new(0, 0.1);
        shares.tick(0, Duration::ZERO, &sent(100), &sent(900));
        for _ in 0..3000 {
            shares.tick(0, Duration::from_secs(1), &sent(10), &sent(30));
        }
        assert!((shares.of(0) - 0.25).abs() < 1e-3);
    }

    #[test]
    fn cohorts_without_weight_are_not_blamed_beforehand() {
        assert!((Shares::new(0, 0.0).of(0) - 0.5).abs() < 1e-12);
    }
}
