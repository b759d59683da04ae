//! The figures that the mathematics promises, beside the rows that show whether it keeps them.

use super::bounds::upper_bound;
use super::cost::Cost;
use super::list::MANY;
use super::row::Row;
use crate::report::Condition;

/// The chance of a false abort that is promised.
const ALPHA: f64 = 0.001;

/// Seconds between two looks. A fault begins somewhere between two of them and is one tick old, give or take half.
const TICK_S: f64 = 0.1;

/// What a row must show.
enum Must {
    /// At most `ALPHA` of the rollouts are aborted, and nothing else is asked.
    NeverAbort,
    /// The same, and none is promoted.
    NeverMove,
    /// The mean of bad requests is at most so many times Wald's bound.
    TimesWald(f64),
    /// The mean of bad requests is at most so many times that of the same recursion that knows the share.
    TimesInformed(f64),
    /// The median of bad requests.
    BadMedian(f64),
    /// The median delay in seconds.
    DelayMedian(f64),
    /// The rule has at least so many times our bad requests.
    Peer(&'static str, f64),
}

use Must::{BadMedian, DelayMedian, NeverAbort, NeverMove, Peer, TimesInformed, TimesWald};

/// The promises: scenario, and what its row must show.
const TARGETS: &[(&str, Must)] = &[
    ("healthy-0.1", NeverAbort),
    ("healthy-0.5", NeverAbort),
    ("healthy-4", NeverAbort),
    ("limit-alone", NeverAbort),
    ("limit-both", NeverAbort),
    ("p95-at-limit", NeverAbort),
    ("healthy-hours", NeverAbort),
    ("alone-8", TimesWald(1.45)),
    ("alone-15", TimesWald(1.45)),
    ("errors-8", BadMedian(17.0)),
    ("errors-15", BadMedian(17.0)),
    ("errors-8-at-20", BadMedian(17.0)),
    ("errors-15-at-20", BadMedian(17.0)),
    ("errors-15-at-20", DelayMedian(4.0)),
    ("errors-8", DelayMedian(4.0)),
    ("dead-5", BadMedian(5.0)),
    ("dead-20", BadMedian(5.0)),
    ("dead-50", BadMedian(8.0)),
    ("errors-100", DelayMedian(TICK_S)),
    ("errors-100-later", DelayMedian(2.0 * TICK_S)),
    ("dead-busy-later", DelayMedian(1.5 * TICK_S)),
    ("alone-8-later", TimesWald(2.5)),
    ("alone-8-later", TimesInformed(1.25)),
    ("p95-600-alone-at-20", TimesWald(2.2)),
    ("p95-600-alone", DelayMedian(8.0)),
    ("p95-340-600", DelayMedian(8.0)),
    ("latency-doubled", DelayMedian(5.0)),
    ("outage", NeverAbort),
    ("slowdown", NeverAbort),
    ("broken-stable", NeverAbort),
    ("no-traffic", NeverMove),
    ("low-healthy", NeverAbort),
    ("bursts", NeverAbort),
    ("stalls", NeverAbort),
    ("drift", NeverAbort),
    ("heavy-users", NeverAbort),
    ("leavers", NeverAbort),
    ("late-successes", NeverAbort),
    ("late-successes-alone", NeverAbort),
    ("errors-8", Peer("Flagger 1m × 5", 79.0)),
    ("errors-8", Peer("Flagger 10s × 2", 6.6)),
];

/// The rows whose canaries are as good as stable and below the limit.
const HEALTHY: [&str; 3] = ["healthy-0.1", "healthy-0.5", "healthy-4"];

/// Microseconds that a look may take.
const TICK_US: f64 = 10.0;
/// The share of a core that 100 rollouts with ten looks a second may take.
const CORE_SHARE: f64 = 0.02;

/// Every promise that `rows` can show, and the cost; a row that is missing was not asked for. `whole`: with as many
/// rollouts as the promises need.
pub(super) fn conditions(rows: &[Row], cost: &Cost, whole: bool) -> Vec<Condition> {
    let found = |name: &str| rows.iter().find(|row| row.name == name);
    let of_rows = TARGETS.iter().filter_map(|(name, must)| Some(must.of(found(name)?)));
    let mut conditions: Vec<_> = of_rows.collect();
    conditions.push(Condition {
        name: format!("a look takes at most {TICK_US} µs"),
        held: cost.tick_us <= TICK_US,
        figures: format!("{:.2} µs", cost.tick_us),
    });
    conditions.push(Condition {
        name: format!(
            "100 rollouts with ten looks a second take at most {} % of a core",
            100.0 * CORE_SHARE
        ),
        held: cost.core_share <= CORE_SHARE,
        figures: format!("{:.2} %", 100.0 * cost.core_share),
    });
    let healthy = |row: &&Row| HEALTHY.contains(&row.name);
    let (mut rollouts, mut aborted) = (0, 0);
    for row in rows.iter().filter(healthy) {
        rollouts += row.rollouts;
        aborted += row.aborted;
    }
    if HEALTHY.iter().all(|name| found(name).is_some()) {
        conditions.push(Condition {
            name: format!(
                "healthy rollouts of all kinds, at least {MANY}: at most {} % aborted",
                100.0 * ALPHA
            ),
            held: aborted as f64 <= ALPHA * rollouts as f64 && (rollouts >= MANY || !whole),
            figures: format!(
                "{aborted} of {rollouts} aborted: at most {:.3} %",
                100.0 * upper_bound(aborted, rollouts)
            ),
        });
    }
    conditions
}

impl Must {
    fn of(&self, row: &Row) -> Condition {
        let at_most = |what: &str, found: Option<f64>, limit: f64| Condition {
            name: format!("{}: {what} at most {}", row.name, (100.0 * limit).round() / 100.0),
            held: found.is_some_and(|found| found <= limit) && row.serin.alarms > 0,
            figures: found.map_or_else(|| "none".to_owned(), |found| format!("{found:.2}")),
        };
        match *self {
            Self::NeverAbort => self.never(row, "aborted", true),
            Self::NeverMove => self.never(row, "aborted or promoted", row.promoted == 0),
            Self::TimesWald(limit) => at_most("mean bad requests, of Wald's bound,", row.times_wald, limit),
            Self::TimesInformed(limit) => {
                let theirs = row.informed.as_ref().and_then(|[_, mixture]| mixture.bad_mean);
                let times = row.serin.bad_mean.zip(theirs).map(|(ours, theirs)| ours / theirs);
                at_most("mean bad requests, of a detector's that knows the 8 %,", times, limit)
            }
            Self::BadMedian(limit) => at_most("median of bad requests", row.serin.bad_median, limit),
            Self::DelayMedian(limit) => at_most("median delay in s", row.serin.delay_median_s, limit),
            Self::Peer(rule, limit) => {
                let times = row.peer(rule).and_then(|peer| peer.times_serin);
                Condition {
                    name: format!(
                        "{}: {rule} serves at least {limit} times as many bad requests",
                        row.name
                    ),
                    held: times.is_some_and(|times| times >= limit),
                    figures: times.map_or_else(|| "none".to_owned(), |times| format!("{times:.1}")),
                }
            }
        }
    }

    fn never(&self, row: &Row, what: &str, and: bool) -> Condition {
        Condition {
            name: format!("{}: at most {} % {what}", row.name, 100.0 * ALPHA),
            held: row.aborted_share() <= ALPHA && and,
            figures: format!("{} of {} aborted, {} promoted", row.aborted, row.rollouts, row.promoted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdicts::list;

    #[test]
    fn every_promise_has_its_scenario() {
        let all = list::all();
        for (name, _) in TARGETS {
            assert!(all.iter().any(|scenario| scenario.name == *name), "{name}");
        }
    }
}
