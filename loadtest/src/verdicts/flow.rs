//! One side's requests, tick by tick: sent, answered late or never, counted as the proxy's recorders count them.

use serin::analysis::Side;
use serin::measure::{Counts, Histogram, LIMITS, NO_LIMIT};

use super::chance::Chance;
use super::latency::{Bin, Latency};

/// Ticks that the future has: more than the timeout.
const AHEAD: usize = 64;

/// One side.
pub(super) struct Flow {
    /// What its counters say.
    pub(super) side: Side,
    /// Latencies of a sample of its answers, cumulative.
    pub(super) latencies: Histogram,
    limits_us: [u64; LIMITS],
    tick_ms: u64,
    due: Box<[Due; AHEAD]>,
    at: usize,
    bins: Vec<Bin>,
    /// What the bins were made for.
    binned: Option<(Latency, [u64; LIMITS])>,
}

/// What falls due at one tick.
#[derive(Clone, Copy, Default)]
struct Due {
    any: bool,
    counts: [Counts; 2],
    overdue: [u64; LIMITS],
    no_more_overdue: [u64; LIMITS],
}

/// What one side does in one tick.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Requests expected in this tick.
    pub(super) mean: f64,
    /// The share of them that fails, at once.
    pub(super) failing: f64,
    /// Failures come so many at a time; 1: each for itself.
    pub(super) cluster: u64,
    /// How long good answers take.
    pub(super) latency: Latency,
}

/// What became of the requests of one tick, known when they are sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    /// Failures, hanging requests among them.
    pub(super) failing: u64,
    /// Slow at each limit.
    pub(super) slow: [u64; LIMITS],
}

impl Flow {
    /// Nothing sent yet; counting at `limits_us`.
    pub(super) fn new(limits_us: [u64; LIMITS]) -> Self {
        Self {
            side: Side::default(),
            latencies: Histogram::default(),
            limits_us,
            tick_ms: 0,
            due: Box::new([Due::default(); AHEAD]),
            at: 0,
            bins: Vec::new(),
            binned: None,
        }
    }

    /// Moves one limit, for the requests that are sent from now on.
    pub(super) fn set_limit_us(&mut self, index: usize, limit_us: Option<u64>) {
        self.limits_us[index] = limit_us.unwrap_or(NO_LIMIT);
    }

    /// From now on a tick is so long. What is open ends after as many ticks as it would have.
    pub(super) fn set_tick_ms(&mut self, tick_ms: u64) {
        self.tick_ms = tick_ms;
        self.binned = None;
    }

    /// One tick: what falls due is counted, then what `load` sends in the epoch of `slot`. At most `samples` latencies
    /// of it go into the histogram.
    pub(super) fn tick(&mut self, slot: usize, load: &Load, samples: u64, chance: &mut Chance) -> Sent {
        self.fall_due();
        let mut sent = Sent::default();
        let cluster = load.cluster.max(1);
        let failures = cluster * chance.poisson(load.mean * load.failing / cluster as f64);
        self.fail_at_once(slot, failures);
        sent.failing += failures;
        let good = load.mean * (1.0 - load.failing);
        if self.binned != Some((load.latency, self.limits_us)) {
            load.latency.bins(&self.limits_us, self.tick_ms, &mut self.bins);
            self.binned = Some((load.latency, self.limits_us));
        }
        let bins = std::mem::take(&mut self.bins);
        let mut answered = 0;
        for bin in &bins {
            // Parts of a Poisson number, each request into its bin by chance, are Poisson and independent.
            let n = chance.poisson(good * bin.share);
            if n > 0 {
                self.send(slot, bin, n, &mut sent);
                answered += if bin.hangs { 0 } else { n };
            }
        }
        self.bins = bins;
        for _ in 0..answered.min(samples) {
            self.latencies.record(load.latency.sample_us(chance));
        }
        sent
    }

    /// Streams open: their heads come at once, and they stay open.
    pub(super) fn open_streams(&mut self, slot: usize, n: u64) {
        let fast = self.limits_us.map(|limit| if limit == NO_LIMIT { 0 } else { n });
        let counts = &mut self.side.counts[slot];
        counts.dispatched += n;
        counts.headed += n;
        add(&mut counts.fast, &fast);
    }

    /// The clients of `n` open streams of the epoch of `slot` leave.
    pub(super) fn leave(&mut self, slot: usize, n: u64) {
        self.side.counts[slot].no_evidence += n;
    }

    fn fall_due(&mut self) {
        self.at = (self.at + 1) % AHEAD;
        let due = &mut self.due[self.at];
        if !due.any {
            return;
        }
        let due = std::mem::take(due);
        for slot in 0..2 {
            self.side.counts[slot] = self.side.counts[slot] + due.counts[slot];
        }
        add(&mut self.side.overdue, &due.overdue);
        for (overdue, n) in self.side.overdue.iter_mut().zip(due.no_more_overdue) {
            *overdue -= n;
        }
    }

    fn fail_at_once(&mut self, slot: usize, n: u64) {
        let fast = self.limits_us.map(|limit| if limit == NO_LIMIT { 0 } else { n });
        let counts = &mut self.side.counts[slot];
        counts.dispatched += n;
        counts.failure += n;
        counts.headed += n;
        add(&mut counts.fast, &fast);
    }

    fn send(&mut self, slot: usize, bin: &Bin, n: u64, sent: &mut Sent) {
        self.side.counts[slot].dispatched += n;
        let mut ended = Counts::default();
        if bin.hangs {
            sent.failing += n;
            (ended.failure, ended.headless) = (n, n);
        } else {
            (ended.success, ended.headed) = (n, n);
        }
        for (index, slow) in bin.slow.iter().enumerate() {
            match *slow {
                Some(ticks) => {
                    sent.slow[index] += n;
                    self.count(slot, ticks, |counts| counts.slow[index] += n);
                    if ticks < bin.ticks {
                        self.later(ticks).overdue[index] += n;
                        self.later(bin.ticks).no_more_overdue[index] += n;
                    }
                }
                None if self.limits_us[index] != NO_LIMIT => ended.fast[index] = n,
                None => {}
            }
        }
        self.count(slot, bin.ticks, |counts| *counts = *counts + ended);
    }

    /// Counts in `ticks` from now: at once when that is 0.
    fn count(&mut self, slot: usize, ticks: usize, add: impl FnOnce(&mut Counts)) {
        if ticks == 0 {
            add(&mut self.side.counts[slot]);
        } else {
            add(&mut self.later(ticks).counts[slot]);
        }
    }

    /// What falls due in `ticks` from now. At 0 that would be a whole round later: callers have something before it.
    fn later(&mut self, ticks: usize) -> &mut Due {
        if ticks == 0 {
            // A limit below half a tick: overdue from the next tick on.
            return self.later(1);
        }
        let due = &mut self.due[(self.at + ticks) % AHEAD];
        due.any = true;
        due
    }
}

fn add(sums: &mut [u64; LIMITS], parts: &[u64; LIMITS]) {
    for (sum, part) in sums.iter_mut().zip(parts) {
        *sum += part;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Limits 75 ms and 500 ms at indices 0 and 1.
    fn flow() -> Flow {
        let mut limits_us = [NO_LIMIT; LIMITS];
        (limits_us[0], limits_us[1]) = (75_000, 500_000);
        let mut flow = Flow::new(limits_us);
        flow.set_tick_ms(100);
        flow
    }

    fn load(mean: f64, failing: f64, latency: Latency) -> Load {
        Load {
            mean,
            failing,
            cluster: 1,
            latency,
        }
    }

    fn idle() -> Load {
        load(0.0, 0.0, Latency::of(1.0))
    }

    #[test]
    fn every_request_is_counted_once_when_all_have_ended() {
        let (mut flow, mut chance) = (flow(), Chance::new(1, "flow", 0));
        let latency = Latency {
            hanging: 0.1,
            stall_ms: 30.0,
            ..Latency::with_p95(600.0)
        };
        let mut all = Sent::default();
        for tick in 0..200 {
            let sent = flow.tick(tick % 2, &load(20.0, 0.2, latency), 5, &mut chance);
            all.failing += sent.failing;
            add(&mut all.slow, &sent.slow);
        }
        assert!(flow.side.sum().open() > 0 && flow.side.overdue[1] > 0);
        for _ in 0..AHEAD {
            flow.tick(0, &idle(), 0, &mut chance);
        }
        let sum = flow.side.sum();
        assert_eq!((sum.open(), sum.open_without_head()), (0, 0));
        assert_eq!(flow.side.overdue, [0; LIMITS]);
        assert_eq!(sum.failure, all.failing);
        assert_eq!(sum.slow, all.slow);
        for index in 0..2 {
            assert_eq!(sum.fast[index] + sum.slow[index], sum.dispatched, "limit {index}");
        }
        assert_eq!((sum.fast[2], sum.slow[2]), (0, 0), "no limit, no count");
        assert!(flow.latencies.count() > 900);
        let failing = sum.failure as f64 / sum.dispatched as f64;
        assert!((failing - 0.28).abs() < 0.04, "{failing}");
    }

    #[test]
    fn errors_come_at_once_and_good_answers_when_they_are_due() {
        let (mut flow, mut chance) = (flow(), Chance::new(1, "flow", 1));
        let late = Latency {
            sigma: 1e-3,
            ..Latency::of(400.0)
        };
        flow.tick(0, &load(1_000.0, 0.1, late), 0, &mut chance);
        let at_once = flow.side.sum();
        assert!(at_once.failure > 50 && at_once.success == 0);
        for _ in 0..3 {
            flow.tick(0, &idle(), 0, &mut chance);
            assert_eq!(flow.side.sum().success, 0);
        }
        flow.tick(0, &idle(), 0, &mut chance);
        assert_eq!(flow.side.sum().open(), 0);
    }

    #[test]
    fn clusters_are_whole() {
        let (mut flow, mut chance) = (flow(), Chance::new(1, "flow", 2));
        let clusters = Load {
            cluster: 5,
            ..load(10.0, 0.1, Latency::of(10.0))
        };
        for _ in 0..500 {
            flow.tick(0, &clusters, 0, &mut chance);
            assert_eq!(flow.side.sum().failure % 5, 0);
        }
        assert!((300..700).contains(&flow.side.sum().failure));
    }

    #[test]
    fn streams_that_leave_are_no_evidence() {
        let mut flow = flow();
        flow.open_streams(0, 50);
        assert_eq!((flow.side.sum().open(), flow.side.sum().open_without_head()), (50, 0));
        flow.leave(0, 50);
        assert_eq!((flow.side.sum().open(), flow.side.sum().resolved()), (0, 0));
    }
}
