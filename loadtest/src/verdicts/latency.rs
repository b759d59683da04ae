//! How long answers take: a log-normal distribution, a stall on top, and requests that never get one.

use serin::measure::{LIMITS, NO_LIMIT};
use statrs::function::erf::erfc;

use super::chance::Chance;

/// The distribution of latency at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Latency {
    /// Half of the answers come within this many milliseconds.
    pub(super) median_ms: f64,
    /// Standard deviation of the logarithm: 0.5 puts p99 at three times the median, and a tenth of the answers
    /// beyond 500 ms where p95 is 600 ms.
    pub(super) sigma: f64,
    /// What a stall that is under way adds.
    pub(super) stall_ms: f64,
    /// The share of requests that are never answered and time out.
    pub(super) hanging: f64,
}

/// Requests that end in the same tick and are slow at the same limits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bin {
    /// The share of requests that fall into it.
    pub(super) share: f64,
    /// Ticks until the end.
    pub(super) ticks: usize,
    /// The end is the timeout, not an answer.
    pub(super) hangs: bool,
    /// Ticks until it is slow at each limit; `None`: fast, or no limit.
    pub(super) slow: [Option<usize>; LIMITS],
}

/// Longer than this a request times out.
pub(super) const TIMEOUT_MS: u64 = 5_000;

/// Answers rarer than this are left out of the bins; they count with those before.
const NEGLIGIBLE: f64 = 1e-9;

impl Latency {
    /// Answers of `median_ms`, with a p99 of 3.2 times that.
    pub(super) fn of(median_ms: f64) -> Self {
        Self {
            median_ms,
            sigma: USUAL_SIGMA,
            stall_ms: 0.0,
            hanging: 0.0,
        }
    }

    /// Of the answers 95 % come within `p95_ms`.
    pub(super) fn with_p95(p95_ms: f64) -> Self {
        Self::of(p95_ms / (USUAL_SIGMA * Z95).exp())
    }

    /// All times `factor`.
    pub(super) fn times(self, factor: f64) -> Self {
        let median_ms = self.median_ms * factor;
        Self { median_ms, ..self }
    }

    /// The share of requests that take longer than `ms`, hanging ones among them.
    pub(super) fn slower(&self, ms: f64) -> f64 {
        let ms = ms - self.stall_ms;
        if ms <= 0.0 {
            return 1.0;
        }
        let z = (ms / self.median_ms).ln() / self.sigma;
        let answered = 0.5 * erfc(z / std::f64::consts::SQRT_2);
        self.hanging + (1.0 - self.hanging) * answered
    }

    /// One latency in microseconds, of a request that is answered.
    pub(super) fn sample_us(&self, chance: &mut Chance) -> u64 {
        let ms = self.median_ms * (self.sigma * chance.normal()).exp() + self.stall_ms;
        (ms * 1e3) as u64
    }

    /// Requests by end and slowness, for limits in microseconds. They are sent in the middle of a tick.
    pub(super) fn bins(&self, limits_us: &[u64; LIMITS], tick_ms: u64, into: &mut Vec<Bin>) {
        into.clear();
        let tick = tick_ms as f64;
        let ticks_at = |ms: f64| (ms / tick + 0.5).floor() as usize;
        let limits_ms = limits_us.map(|us| (us != NO_LIMIT).then_some(us as f64 / 1e3));
        let slow_from = |ms: f64| limits_ms.map(|limit| limit.filter(|&limit| limit <= ms).map(ticks_at));
        let timeout_ms = TIMEOUT_MS as f64;
        // Where the end falls into another tick, or a limit is passed.
        let next_edge = |from_ms: f64| {
            let next_tick = (ticks_at(from_ms) as f64 + 0.5) * tick;
            let limits = limits_ms.iter().flatten().copied().filter(|&limit| limit > from_ms);
            limits.fold(next_tick.min(timeout_ms), f64::min)
        };
        let (mut from_ms, mut slower) = (0.0, 1.0);
        while slower - self.hanging > NEGLIGIBLE && from_ms < timeout_ms {
            let edge_ms = next_edge(from_ms);
            let beyond = self.slower(edge_ms).max(self.hanging);
            into.push(Bin {
                share: slower - beyond,
                ticks: ticks_at(from_ms),
                hangs: false,
                slow: slow_from(from_ms),
            });
            (from_ms, slower) = (edge_ms, beyond);
        }
        if slower > NEGLIGIBLE {
            into.push(Bin {
                share: slower,
                ticks: ticks_at(timeout_ms),
                hangs: true,
                slow: slow_from(timeout_ms),
            });
        }
        into.retain(|bin| bin.share > 0.0);
    }
}

/// How far answers usually spread.
const USUAL_SIGMA: f64 = 0.5;

/// The normal quantile at 95 %.
const Z95: f64 = 1.644_853_626_951_472_7;

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(ms: &[u64]) -> [u64; LIMITS] {
        let mut limits_us = [NO_LIMIT; LIMITS];
        for (at, ms) in ms.iter().enumerate() {
            limits_us[at] = ms * 1_000;
        }
        limits_us
    }

    fn bins(latency: Latency, limits_ms: &[u64]) -> Vec<Bin> {
        let mut bins = Vec::new();
        latency.bins(&limits(limits_ms), 100, &mut bins);
        bins
    }

    #[test]
    fn quantiles_are_where_they_should_be() {
        let check = |latency: Latency, ms: f64, expected: f64| {
            let found = latency.slower(ms);
            assert!((found - expected).abs() < 1e-6, "{latency:?} {ms}: {found}");
        };
        check(Latency::of(60.0), 60.0, 0.5);
        check(Latency::with_p95(340.0), 340.0, 0.05);
        check(Latency::with_p95(600.0), 500.0, 0.100_235_6);
        check(Latency::with_p95(250.0).times(2.0), 500.0, 0.05);
        check(
            Latency {
                stall_ms: 100.0,
                ..Latency::of(60.0)
            },
            160.0,
            0.5,
        );
        check(
            Latency {
                hanging: 0.2,
                ..Latency::of(60.0)
            },
            60.0,
            0.6,
        );
        check(Latency::of(60.0), 0.0, 1.0);
    }

    #[test]
    fn bins_add_up_to_the_whole_and_to_the_shares_that_are_slow() {
        for latency in [
            Latency::of(60.0),
            Latency::with_p95(600.0),
            Latency {
                hanging: 0.3,
                stall_ms: 250.0,
                ..Latency::of(60.0)
            },
        ] {
            let found = bins(latency, &[500, 75, 1000]);
            let sum: f64 = found.iter().map(|bin| bin.share).sum();
            assert!((sum - 1.0).abs() < 1e-8, "{sum}");
            for (at, ms) in [(0, 500.0), (1, 75.0), (2, 1000.0)] {
                let slow = found.iter().filter(|bin| bin.slow[at].is_some());
                let slow: f64 = slow.map(|bin| bin.share).sum();
                assert!((slow - latency.slower(ms)).abs() < 1e-8, "{ms}: {slow}");
            }
        }
    }

    #[test]
    fn a_request_that_is_never_answered_is_slow_long_before_it_ends() {
        let hangs = Latency {
            hanging: 1.0,
            ..Latency::of(60.0)
        };
        let found = bins(hangs, &[500]);
        let [bin] = &found[..] else { panic!("{found:?}") };
        assert_eq!((bin.ticks, bin.hangs, bin.slow[0]), (50, true, Some(5)));
    }
}
