//! The rules of Flagger and Argo Rollouts, as their documents give them, on the counts of the same requests.
//!
//! Everything is in their favour: counts are exact and there at once (no scrape interval, no query delay), a window ends
//! with the last request, and the weight is 0 in the moment of the decision.

use serin::analysis::Side;

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rule {
    /// How it is called in tables.
    pub(super) name: &'static str,
    /// Time between two checks, and the window that a check looks at.
    interval_ms: u64,
    /// Failed checks that roll back. Checks that pass between them do not mend that.
    failed_checks: u64,
    /// The least share of successes that passes.
    success: f64,
    /// Whether more than 1 % slower than 500 ms (p99) fails a check, too.
    latency: bool,
}

/// What is simulated.
///
/// Flagger: `interval: 1m`, `threshold: 5`, success rate 99 %, p99 500 ms (tutorials/istio-progressive-delivery, metrics);
/// the time to a rollback is `interval * threshold` (usage/deployment-strategies). The shorter one has the interval of
/// tutorials/nginx-progressive-delivery and the threshold of the blue/green example. Argo Rollouts: features/analysis, at
/// "Background Analysis" (`interval: 5m`, `failureLimit: 3`, "three such measurements") and at "Analysis at a Predefined
/// Step" (`interval: 60s`, `count: 5`, no failure allowed). Addresses of the pages are in `docs/verdicts.md`.
pub(super) const RULES: [Rule; 4] = [
    Rule {
        name: "Flagger 1m × 5",
        interval_ms: 60_000,
        failed_checks: 5,
        success: 0.99,
        latency: true,
    },
    Rule {
        name: "Flagger 10s × 2",
        interval_ms: 10_000,
        failed_checks: 2,
        success: 0.99,
        latency: true,
    },
    Rule {
        name: "Argo 5m × 3",
        interval_ms: 300_000,
        failed_checks: 3,
        success: 0.95,
        latency: false,
    },
    Rule {
        name: "Argo 1m × 1",
        interval_ms: 60_000,
        failed_checks: 1,
        success: 0.95,
        latency: false,
    },
];

/// A rule at work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    rule: Rule,
    /// Index of the latency limit at 500 ms.
    at_500_ms: usize,
    next_ms: u64,
    failed: u64,
    last: Tally,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    good: u64,
    bad: u64,
    slow: u64,
    fast: u64,
}

impl Peer {
    /// From `now_ms` on, with the counts of `canary` at this moment.
    pub(super) fn new(rule: Rule, at_500_ms: usize, now_ms: u64, canary: &Side) -> Self {
        Self {
            rule,
            at_500_ms,
            next_ms: now_ms + rule.interval_ms,
            failed: 0,
            last: Tally::of(canary, at_500_ms),
        }
    }

    /// Looks when it is time; `true`: it rolls back. A window without requests fails no check (Flagger would count it
    /// as failed, Argo as an error).
    pub(super) fn observe(&mut self, now_ms: u64, canary: &Side) -> bool {
        if now_ms < self.next_ms {
            return false;
        }
        self.next_ms += self.rule.interval_ms;
        let now = Tally::of(canary, self.at_500_ms);
        let window = now.since(self.last);
        self.last = now;
        let requests = window.good + window.bad;
        let failing = requests > 0 && (window.good as f64) < self.rule.success * requests as f64;
        let timed = window.slow + window.fast;
        let slow = self.rule.latency && timed > 0 && window.slow as f64 > 0.01 * timed as f64;
        self.failed += u64::from(failing || slow);
        self.failed >= self.rule.failed_checks
    }
}

impl Tally {
    fn of(side: &Side, at_500_ms: usize) -> Self {
        let sum = side.sum();
        Self {
            good: sum.success,
            bad: sum.failure,
            slow: sum.slow[at_500_ms],
            fast: sum.fast[at_500_ms],
        }
    }

    fn since(self, last: Self) -> Self {
        Self {
            good: self.good - last.good,
            bad: self.bad - last.bad,
            slow: self.slow - last.slow,
            fast: self.fast - last.fast,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When a rule rolls back, in seconds, with so many good, bad and slow answers each second.
    fn check(rule: usize, [good, bad, slow]: [u64; 3], expected: Option<u64>) {
        let mut side = Side::default();
        let mut peer = Peer::new(RULES[rule], 0, 0, &side);
        let found = (1..=3_600).find(|second| {
            let counts = &mut side.counts[0];
            counts.success += good;
            counts.failure += bad;
            counts.slow[0] += slow;
            counts.fast[0] += good + bad - slow;
            peer.observe(second * 1_000, &side)
        });
        assert_eq!(found, expected, "{}", RULES[rule].name);
    }

    #[test]
    fn rules_roll_back_when_their_documents_say() {
        for (rule, seconds) in [300, 20, 900, 60].into_iter().enumerate() {
            check(rule, [92, 8, 0], Some(seconds));
            check(rule, [1_000, 0, 0], None);
            check(rule, [0, 0, 0], None);
        }
        check(1, [990, 10, 0], None);
        check(1, [989, 11, 0], Some(20));
        check(1, [1_000, 0, 11], Some(20));
        check(3, [950, 50, 500], None);
    }

    #[test]
    fn a_check_that_passes_does_not_mend_those_that_failed() {
        let mut side = Side::default();
        let mut peer = Peer::new(RULES[1], 0, 0, &side);
        let mut look = |seconds: u64, bad| {
            side.counts[0].success += 100;
            side.counts[0].failure += bad;
            peer.observe(seconds * 1_000, &side)
        };
        assert!(!look(10, 50));
        assert!(!look(20, 0));
        assert!(look(30, 50));
    }
}
