//! One row of the tables: what came of all rollouts of a scenario.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::bounds::{Informed, Runs, upper_bound};
use super::peers::RULES;
use super::scenario::Scenario;
use super::trial::{Caught, End, Ending};
use crate::stats;

/// What came of all rollouts of a scenario.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// How many rollouts.
    pub(super) rollouts: u64,
    pub(super) aborted: u64,
    /// Of those aborted, before trouble began.
    pub(super) aborted_before: u64,
    pub(super) promoted: u64,
    /// Still in some step at the horizon.
    pub(super) held: u64,
    /// The share of looks that said hold, all rollouts together.
    pub(super) holding: f64,
    /// Aborts, as an upper bound of their share (one-sided, 95 %).
    pub(super) aborted_at_most: f64,
    /// Of those aborted after the onset.
    pub(super) serin: Found,
    /// Mean bad requests, those known to be bad, over Wald's bound.
    pub(super) times_wald: Option<f64>,
    /// Detectors that know the share, on the same requests: Page's sum, and the judge's own recursion.
    pub(super) informed: Option<[Found; 2]>,
    /// Which metric decided, how often.
    pub(super) metrics: BTreeMap<String, u64>,
    /// The rules of others on the same requests.
    pub(super) peers: Vec<PeerRow>,
}

/// A detector's delay and cost, of the rollouts in which it raised its alarm after the onset.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Found {
    pub(super) alarms: u64,
    /// Seconds.
    pub(super) delay_median_s: Option<f64>,
    pub(super) delay_95_s: Option<f64>,
    /// Bad canary requests until the alarm.
    pub(super) bad_median: Option<f64>,
    pub(super) bad_mean: Option<f64>,
}

/// Another rule.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PeerRow {
    pub(super) rule: &'static str,
    /// The share of rollouts that it rolled back.
    pub(super) rolled_back: f64,
    pub(super) found: Found,
    /// Its mean bad requests over Serin's.
    pub(super) times_serin: Option<f64>,
}

impl Row {
    /// Puts `endings` together.
    pub(super) fn of(scenario: &Scenario, endings: &[Ending]) -> Self {
        let count = |is: &dyn Fn(&End) -> bool| endings.iter().filter(|ending| is(&ending.end)).count() as u64;
        let aborted = count(&|end| matches!(end, End::Aborted { .. }));
        let rollouts = endings.len() as u64;
        let serin = Found::of(endings.iter().filter_map(|ending| match ending.end {
            End::Aborted { delay_ms, .. } => Some(Caught {
                delay_ms,
                bad: ending.bad,
            }),
            End::Promoted | End::Held => None,
        }));
        let mut metrics = BTreeMap::new();
        for ending in endings {
            if let End::Aborted { metric, .. } = ending.end {
                let name = metric.map_or("none", serin::analysis::Metric::as_str);
                *metrics.entry(name.to_owned()).or_insert(0) += 1;
            }
        }
        let peer = |(index, rule): (usize, &super::peers::Rule)| {
            let found = Found::of(endings.iter().filter_map(|ending| ending.peers[index]));
            let rolled_back = endings.iter().filter(|ending| ending.peers[index].is_some()).count();
            PeerRow {
                rule: rule.name,
                rolled_back: rolled_back as f64 / rollouts as f64,
                times_serin: found.bad_mean.zip(serin.bad_mean).map(|(theirs, ours)| theirs / ours),
                found,
            }
        };
        let informed = |at: usize| Found::of(endings.iter().filter_map(|ending| ending.informed[at]));
        let peers = RULES.iter().enumerate().filter(|_| scenario.peers_s > 0).map(peer);
        Self {
            name: scenario.name,
            about: scenario.about,
            rollouts,
            aborted,
            aborted_before: count(&|end| matches!(end, End::Aborted { delay_ms: ..=0, .. })),
            promoted: count(&|end| *end == End::Promoted),
            held: count(&|end| *end == End::Held),
            holding: endings.iter().map(|ending| ending.holding).sum::<f64>() / rollouts as f64,
            aborted_at_most: upper_bound(aborted, rollouts),
            times_wald: scenario.wald.zip(known_bad(endings)).map(|(bound, mean)| mean / bound),
            informed: scenario.informed.map(|_| [0, 1].map(informed)),
            metrics,
            peers: peers.collect(),
            serin,
        }
    }

    /// The share of rollouts that were aborted.
    pub(super) fn aborted_share(&self) -> f64 {
        self.aborted as f64 / self.rollouts as f64
    }

    /// The rule called `rule`, where it was followed.
    pub(super) fn peer(&self, rule: &str) -> Option<&PeerRow> {
        self.peers.iter().find(|peer| peer.rule == rule)
    }
}

/// Mean of the requests known to be bad at the abort, where it came after the onset.
fn known_bad(endings: &[Ending]) -> Option<f64> {
    let after = |ending: &&Ending| matches!(ending.end, End::Aborted { delay_ms: 1.., .. });
    let known: Vec<_> = endings.iter().filter(after).map(|ending| ending.known_bad).collect();
    (!known.is_empty()).then(|| known.iter().sum::<u64>() as f64 / known.len() as f64)
}

impl Found {
    fn of(caught: impl Iterator<Item = Caught>) -> Self {
        let caught: Vec<Caught> = caught.filter(|caught| caught.delay_ms > 0).collect();
        let mut delays: Vec<u64> = caught.iter().map(|caught| caught.delay_ms.unsigned_abs()).collect();
        delays.sort_unstable();
        let bad: Vec<f64> = caught.iter().map(|caught| caught.bad as f64).collect();
        let delay_s = |q| stats::quantile(&delays, q).map(|ms| ms as f64 / 1e3);
        Self {
            alarms: caught.len() as u64,
            delay_median_s: delay_s(0.5),
            delay_95_s: delay_s(0.95),
            bad_median: stats::median(&bad),
            bad_mean: (!bad.is_empty()).then(|| bad.iter().sum::<f64>() / bad.len() as f64),
        }
    }
}

/// The detectors of a scenario that know the share: they may raise false alarms as often as the judge may.
pub(super) fn informed(scenario: &Scenario, seed: u64, replicates: u64) -> Option<[Informed; 2]> {
    let p1 = scenario.informed?;
    let (p0, alpha) = (0.05, scenario.spec.alpha);
    let bake_time: Duration = scenario.plan.bake_time();
    let runs = Runs {
        seed,
        replicates,
        ticks: bake_time.as_millis() as u64 / scenario.tick_ms,
        mean: scenario.rps[0] * scenario.first_weight() * scenario.tick_ms as f64 / 1e3,
    };
    let mixture = Informed::mixture(p0, p1, alpha, bake_time.as_secs_f64());
    Some([Informed::page(p0, p1, alpha, &runs), mixture])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdicts::scenario::Both;

    #[test]
    fn a_row_counts_ends_and_takes_medians_of_what_came_after_the_onset() {
        let aborted = |delay_ms, bad| Ending {
            end: End::Aborted { delay_ms, metric: None },
            bad,
            known_bad: bad,
            ..Ending::default()
        };
        let promoted = Ending {
            end: End::Promoted,
            ..Ending::default()
        };
        let endings = [
            aborted(-5, 0),
            aborted(1_000, 4),
            aborted(3_000, 8),
            promoted,
            Ending::default(),
        ];
        let scenario = Scenario {
            wald: Some(3.0),
            ..Scenario::new("s", "", |_, _| Both::alike(0.0))
        };
        let row = Row::of(&scenario, &endings);
        assert_eq!((row.aborted, row.aborted_before, row.promoted, row.held), (3, 1, 1, 1));
        assert_eq!((row.serin.bad_median, row.serin.bad_mean), (Some(6.0), Some(6.0)));
        assert_eq!((row.serin.delay_median_s, row.serin.delay_95_s), (Some(1.0), Some(3.0)));
        assert_eq!(row.times_wald, Some(2.0));
        assert_eq!(row.metrics["none"], 3);
    }
}
