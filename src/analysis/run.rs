//! Since when a metric looks bad, and whether stable has an alibi for it.

use statrs::function::beta::ln_beta;

use super::likelihood::Tally;

/// The counts since the weakest alternative last had nothing to say (a CUSUM, Page 1954):
/// `C ← max(0, C + ℓ₁)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Run {
    c: f64,
    /// When it began, of a clock that never goes back; only while `c` is above 0.
    pub since_ms: u64,
    /// What both sides did since.
    pub tally: Tally,
}

impl Run {
    /// Takes in a tick that ended at `now_ms` and began at `before_ms`; `first` is the log likelihood
    /// ratio of the weakest alternative.
    pub(super) fn tick(&mut self, tally: &Tally, first: f64, before_ms: u64) {
        let c = (self.c + first).max(0.0);
        if c <= 0.0 {
            *self = Self::default();
            return;
        }
        if self.c <= 0.0 {
            self.since_ms = before_ms;
        }
        self.c = c;
        self.tally += tally;
    }

    /// Whether stable is clearly better: `ln BF` of "rates differ" against "one common rate" (Gunel and
    /// Dickey 1974), with a prior of Beta(1, 20) on stable's rate, is at least `ln_level`.
    pub(super) fn has_alibi(&self, ln_level: f64) -> bool {
        #[allow(clippy::cast_precision_loss)] // counts stay far below 2^52
        let rate = |bad: u64, all: u64| if all == 0 { 0.0 } else { bad as f64 / all as f64 };
        let Tally {
            canary,
            canary_bad,
            stable,
            stable_bad,
            ..
        } = self.tally;
        rate(canary_bad, canary) > rate(stable_bad, stable) && ln_bayes_factor(&self.tally) >= ln_level
    }
}

#[allow(clippy::cast_precision_loss)] // counts stay far below 2^52
fn ln_bayes_factor(tally: &Tally) -> f64 {
    let good = |all: u64, bad: u64| all.saturating_sub(bad) as f64;
    let (kc, ks) = (tally.canary_bad as f64, tally.stable_bad as f64);
    let (gc, gs) = (
        good(tally.canary, tally.canary_bad),
        good(tally.stable, tally.stable_bad),
    );
    ln_beta(kc + 1.0, gc + 1.0) + ln_beta(ks + 1.0, gs + 20.0)
        - ln_beta(1.0, 20.0)
        - ln_beta(kc + ks + 1.0, gc + gs + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally((canary, canary_bad): (u64, u64), (stable, stable_bad): (u64, u64)) -> Tally {
        Tally {
            dispatched: canary,
            canary,
            canary_bad,
            stable,
            stable_bad,
        }
    }

    #[test]
    fn the_bayes_factor_has_the_worked_values() {
        let check = |canary, stable, expected: f64| {
            let found = ln_bayes_factor(&tally(canary, stable));
            assert!((found - expected).abs() <= 1e-6 * expected, "{found} is not {expected}");
        };
        check((4, 4), (16, 0), 9.333_000);
        check((4, 4), (4, 0), 4.653_960);
        check((6, 6), (6, 0), 7.185_387);
        check((1100, 93), (9900, 50), 128.715_318);
    }

    #[test]
    fn stable_has_an_alibi_where_it_is_clearly_better() {
        let check = |canary, stable, expected| {
            let run = Run {
                tally: tally(canary, stable),
                ..Run::default()
            };
            assert_eq!(run.has_alibi(1000f64.ln()), expected, "{canary:?} {stable:?}");
        };
        check((4, 4), (16, 0), true);
        check((4, 4), (4, 0), false);
        check((6, 6), (6, 0), true);
        check((200, 60), (1800, 540), false);
        check((200, 60), (0, 0), false);
        check((1000, 10), (9000, 900), false);
    }

    #[test]
    fn a_run_begins_with_trouble_and_ends_with_it() {
        let mut run = Run::default();
        run.tick(&tally((10, 0), (90, 0)), -1.0, 100);
        assert_eq!(run, Run::default());
        run.tick(&tally((10, 3), (90, 1)), 0.5, 200);
        run.tick(&tally((10, 2), (90, 0)), 0.3, 300);
        assert_eq!((run.since_ms, run.tally), (200, tally((20, 5), (180, 1))));
        run.tick(&tally((10, 0), (90, 0)), -2.0, 400);
        assert_eq!(run, Run::default());
    }
}
