//! What stable does, watched also while nothing is on trial: its latency quantiles of the last minute,
//! and how far its bad requests come in clusters.

use std::collections::VecDeque;

use super::criterion::Basis;
use super::reading::Side;
use crate::measure::{Counts, Histogram, LIMITS};

const BLOCK_MS: u64 = 1_000;
/// Blocks of a window.
const BLOCKS: usize = 10;
/// Windows that are kept: five minutes.
const WINDOWS: usize = 30;
/// What is missing of so many counts as a window of independent requests.
const WINDOWS_LEAST: usize = 6;
/// A window with fewer bad requests says nothing about clusters.
const LEAST_BAD: u64 = 5;
/// Below this much dispersion requests are taken as independent.
const DISPERSED: f64 = 1.5;

/// Quantiles are of so much of the past.
const PAST_MS: u64 = 60_000;
/// They are renewed so often.
const RENEWAL_MS: u64 = 10_000;
/// What they are, and the responses that they need: `10/(1-u)`.
const QUANTILES: [(f64, u64); 2] = [(0.90, 100), (0.99, 1_000)];

/// The metrics whose dispersion is kept: errors, client errors, and slowness at each limit.
const METRICS: usize = 2 + LIMITS;

/// Stable's recent past. Some 60 KB.
#[derive(Clone, Debug, Default)]
pub struct Baseline {
    last: Option<Last>,
    /// `(n, k)` of each metric in the blocks of the window that is being filled.
    blocks: Vec<[(u64, u64); METRICS]>,
    /// Dispersion of each metric in past windows, oldest first.
    windows: VecDeque<[f64; METRICS]>,
    /// η of each metric.
    tempering: Option<[f64; METRICS]>,
    /// Cumulative latencies with their times, oldest first.
    latencies: VecDeque<(u64, Histogram)>,
    quantiles_us: [Option<u64>; 2],
}

/// The block that is being filled.
#[derive(Clone, Debug)]
struct Last {
    began_ms: u64,
    counts: Counts,
}

impl Baseline {
    /// Takes in stable's cumulative counters; to be called once a second or oftener. Counters that went
    /// back are of another recorder: the past is forgotten.
    pub fn observe(&mut self, now_ms: u64, stable: &Side) {
        let counts = stable.sum();
        let Some(last) = &self.last else {
            self.last = Some(Last {
                began_ms: now_ms,
                counts,
            });
            return;
        };
        if counts.went_back_from(&last.counts) {
            *self = Self::default();
            return self.observe(now_ms, stable);
        }
        if now_ms < last.began_ms + BLOCK_MS {
            return;
        }
        let block = counts - last.counts;
        self.blocks.push(std::array::from_fn(|metric| basis(metric).of(&block)));
        self.last = Some(Last {
            began_ms: now_ms,
            counts,
        });
        if self.blocks.len() == BLOCKS {
            self.end_window();
        }
    }

    /// Whether it is time for [`Baseline::latencies`]: every ten seconds.
    #[must_use]
    pub fn wants_latencies(&self, now_ms: u64) -> bool {
        self.latencies
            .back()
            .is_none_or(|(at_ms, _)| at_ms + RENEWAL_MS <= now_ms)
    }

    /// Takes in stable's cumulative latencies.
    pub fn latencies(&mut self, now_ms: u64, stable: Histogram) {
        let reaches_back = |at_ms: u64| at_ms + PAST_MS <= now_ms;
        while self.latencies.get(1).is_some_and(|(at_ms, _)| reaches_back(*at_ms)) {
            self.latencies.pop_front();
        }
        if let Some((_, before)) = self.latencies.front() {
            let past = stable.since(before);
            let count = past.count();
            self.quantiles_us = QUANTILES.map(|(u, least)| (count >= least).then(|| past.quantile_us(u)).flatten());
        }
        self.latencies.push_back((now_ms, stable));
    }

    /// Stable's p90 and p99 of the minute before the last [`Baseline::latencies`], in microseconds;
    /// `None` on fewer than 100 and 1000 responses.
    #[must_use]
    pub fn quantiles_us(&self) -> [Option<u64>; 2] {
        self.quantiles_us
    }

    /// η: the exponent that makes the evidence of requests that come in clusters as strong as that of
    /// independent ones (Hölder). 1 until stable has shown clusters.
    pub(super) fn tempering(&self, basis: Basis) -> f64 {
        self.tempering.map_or(1.0, |tempering| tempering[index(basis)])
    }

    fn end_window(&mut self) {
        let window = std::array::from_fn(|metric| dispersion(self.blocks.iter().map(|block| block[metric])));
        self.blocks.clear();
        if self.windows.len() == WINDOWS {
            self.windows.pop_front();
        }
        self.windows.push_back(window);
        self.tempering = Some(std::array::from_fn(|metric| {
            let mut past: Vec<f64> = self.windows.iter().map(|window| window[metric]).collect();
            // A young past must not be all of one outage: its edges look like clusters.
            past.resize(past.len().max(WINDOWS_LEAST), 1.0);
            past.sort_by(f64::total_cmp);
            let (below, above) = (past[(past.len() - 1) / 2], past[past.len() / 2]);
            let median = f64::midpoint(below, above);
            if median < DISPERSED { 1.0 } else { 1.0 / median }
        }));
    }
}

const fn index(basis: Basis) -> usize {
    match basis {
        Basis::Errors => 0,
        Basis::ClientErrors => 1,
        Basis::Latency(limit) => 2 + limit,
    }
}

const fn basis(index: usize) -> Basis {
    match index {
        0 => Basis::Errors,
        1 => Basis::ClientErrors,
        limit => Basis::Latency(limit - 2),
    }
}

/// Pearson's `Σ (k - p̂n)²/(p̂(1-p̂)n)` over the blocks, divided by its expectation for independent
/// requests; 1 where there is too little to say.
#[allow(clippy::cast_precision_loss)] // counts stay far below 2^52
fn dispersion(blocks: impl Iterator<Item = (u64, u64)> + Clone) -> f64 {
    let (all, bad) = blocks.clone().fold((0, 0), |(n, k), block| (n + block.0, k + block.1));
    if bad < LEAST_BAD || bad >= all {
        return 1.0;
    }
    let rate = bad as f64 / all as f64;
    let terms = blocks.filter(|&(n, _)| n > 0).map(|(n, k)| {
        let (n, k) = (n as f64, k as f64);
        (k - rate * n).powi(2) / (rate * (1.0 - rate) * n)
    });
    terms.sum::<f64>() / (BLOCKS - 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A baseline and stable's counters, with a second between readings.
    struct Stable {
        baseline: Baseline,
        now_ms: u64,
        side: Side,
    }

    impl Stable {
        fn new() -> Self {
            let mut found = Self {
                baseline: Baseline::default(),
                now_ms: 5_000,
                side: Side::default(),
            };
            found.baseline.observe(found.now_ms, &found.side);
            found
        }

        fn second(&mut self, requests: u64, failures: u64) {
            self.now_ms += 1_000;
            let counts = &mut self.side.counts[0];
            counts.dispatched += requests;
            counts.success += requests - failures;
            counts.failure += failures;
            self.baseline.observe(self.now_ms, &self.side);
        }

        fn errors(&self) -> f64 {
            self.baseline.tempering(Basis::Errors)
        }
    }

    #[test]
    fn independent_failures_are_not_tempered() {
        let mut stable = Stable::new();
        for second in 0..100 {
            stable.second(100, [1, 0, 2, 1, 1][second % 5]);
        }
        assert_eq!(stable.errors(), 1.0);
    }

    #[test]
    fn clusters_are_tempered_by_their_size() {
        let mut stable = Stable::new();
        for second in 0..60 {
            stable.second(100, if second % 5 == 0 { 5 } else { 0 });
        }
        // Two blocks with 5 and eight with none, where 1 is expected: (2·16 + 8·1)/0.99/9.
        let phi = 40.0 / 0.99 / 9.0;
        assert!((stable.errors() - 1.0 / phi).abs() < 1e-9, "{}", stable.errors());
    }

    #[test]
    fn one_bad_window_among_many_does_not_temper() {
        let mut stable = Stable::new();
        for second in 0..300 {
            stable.second(100, if second == 150 { 80 } else { 1 });
        }
        assert_eq!(stable.errors(), 1.0);
    }

    #[test]
    fn the_edges_of_an_outage_in_a_young_past_do_not_temper() {
        let mut stable = Stable::new();
        for second in 0..40 {
            stable.second(100, if (5..15).contains(&second) { 100 } else { 0 });
        }
        assert_eq!(stable.errors(), 1.0);
    }

    #[test]
    fn few_failures_say_nothing_about_clusters() {
        let mut stable = Stable::new();
        for second in 0..60 {
            stable.second(100, if second % 10 == 0 { 4 } else { 0 });
        }
        assert_eq!(stable.errors(), 1.0);
        assert_eq!(dispersion([(10, 10); 10].into_iter()), 1.0);
        assert_eq!(dispersion([(0, 0); 10].into_iter()), 1.0);
    }

    #[test]
    fn counters_that_went_back_begin_a_new_past() {
        let mut stable = Stable::new();
        for second in 0..30 {
            stable.second(100, if second % 5 == 0 { 5 } else { 0 });
        }
        stable.side = Side::default();
        stable.second(0, 0);
        assert_eq!(stable.errors(), 1.0);
    }

    fn add(histogram: &mut Histogram, latency_us: u64, n: u64) {
        for _ in 0..n {
            histogram.record(latency_us);
        }
    }

    #[test]
    fn quantiles_are_of_the_minute_before_and_need_enough_responses() {
        let mut baseline = Baseline::default();
        let mut all = Histogram::default();
        assert!(baseline.wants_latencies(0));
        baseline.latencies(0, all.clone());
        assert!(!baseline.wants_latencies(9_999) && baseline.wants_latencies(10_000));
        add(&mut all, 40, 99);
        baseline.latencies(10_000, all.clone());
        assert_eq!(baseline.quantiles_us(), [None, None]);
        add(&mut all, 40, 900);
        add(&mut all, 60, 11);
        baseline.latencies(20_000, all.clone());
        assert_eq!(baseline.quantiles_us(), [Some(40), Some(60)]);
        for second in (30..=70).step_by(10) {
            add(&mut all, 50, 200);
            baseline.latencies(second * 1000, all.clone());
        }
        // From 10 s on: 900 of 40, 11 of 60 and 1000 of 50.
        assert_eq!(baseline.quantiles_us(), [Some(50), Some(50)]);
        assert!(baseline.latencies.len() <= 8);
    }
}
