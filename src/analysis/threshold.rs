//! Plain thresholds with minimum evidence, looked at on every tick.
//!
//! Three windows are kept: the last second, the last ten, and the time since the step began. A
//! critical limit that is exceeded in any of them on enough evidence fails, unless stable shows
//! the same. What is exceeded otherwise holds, too little evidence is inconclusive, and the rest passes.

use std::time::Duration;

use super::figures;
use super::look::{Limit, Look};
use super::reading::{Reading, Side};
use super::spec::{AnalysisSpec, LATENCIES, Level, Limits, limit_index};
use super::verdict::{Metric, Verdict, VerdictKind};
use crate::measure::{Counts, Window};

/// The sliding windows, in milliseconds.
const SHORT_MS: u64 = 1_000;
const LONG_MS: u64 = 10_000;

/// Readings closer together than this are judged, but not kept.
const RESOLUTION_MS: u64 = 50;

/// Readings that reach back over the longest window.
const READINGS: usize = (LONG_MS / RESOLUTION_MS) as usize + 2;

/// The evidence of one rollout so far. Some 90 KB; the same however much traffic there was.
#[derive(Clone, Debug)]
pub(super) struct ThresholdJudge {
    spec: AnalysisSpec,
    /// Of the last ten seconds; never empty.
    recent: Window<Reading>,
    /// When the step began.
    step: Reading,
    /// The weight has changed since the step began.
    ramps: bool,
    /// Slots whose requests were dispatched under this judge.
    live: [bool; 2],
}

impl ThresholdJudge {
    /// With no evidence yet; what `first` holds was before. A trial that begins anew (start, retry,
    /// a new release) needs a new judge, or it is judged by the ten seconds before it.
    #[must_use]
    pub(super) fn new(spec: &AnalysisSpec, first: Reading) -> Self {
        let mut recent = Window::new(READINGS);
        recent.push(first.now_ms, first);
        Self {
            spec: spec.clone(),
            recent,
            step: first,
            ramps: false,
            live: [0, 1].map(|slot| slot == first.slot & 1),
        }
    }

    /// A step begins, or the weight was changed by hand: promotion needs fresh evidence from here.
    /// What the last ten seconds say against the canary stays.
    pub(super) fn begin_step(&mut self, reading: Reading) {
        self.live[usize::from(reading.slot & 1)] = true;
        self.step = reading;
        self.ramps = false;
    }

    /// The weight was changed within a step, as a ramp does: the step's evidence goes on.
    pub(super) fn change_weight(&mut self, reading: Reading) {
        self.live[usize::from(reading.slot & 1)] = true;
        self.ramps = true;
    }

    /// Takes in the counts of a tick and judges. Counts that went back are of another recorder:
    /// all evidence begins anew with them.
    pub(super) fn observe(&mut self, reading: Reading) -> Verdict {
        if self
            .recent
            .latest()
            .is_some_and(|(_, last)| reading.went_back_from(last))
        {
            *self = Self::new(&self.spec, reading);
        }
        let step = self.since_step(&reading);
        let [short, long] = [SHORT_MS, LONG_MS].map(|window_ms| self.since(&reading, window_ms));
        if self
            .recent
            .latest()
            .is_none_or(|(last_ms, _)| reading.now_ms >= last_ms + RESOLUTION_MS)
        {
            self.recent.push(reading.now_ms, reading);
        }
        self.failed(&[short, long, step], &long)
            .or_else(|| self.held(&[short, long, step], &[long, step]))
            .unwrap_or_else(|| self.by_evidence(&step))
    }

    /// Fail, or hold where stable shows the same, on enough evidence beyond a critical limit. Where
    /// stable had no request in a window, the `long` one says how it does.
    fn failed(&self, looks: &[Look], long: &Look) -> Option<Verdict> {
        let mut excused = None;
        for limit in Limit::all(&self.spec, Level::Critical) {
            let certain = |look: &&Look| limit.is_exceeded(look) && limit.is_certain(look, self.spec.min_requests);
            for look in looks.iter().filter(certain) {
                let beside = if limit.has_stable(look) { look } else { long };
                let excuse = limit.excuse(beside).filter(|_| self.spec.compare_with_stable);
                let words = format!("{}{}", limit.words(look), self.stable_words(&limit, look));
                let Some(excuse) = excuse else {
                    return Some(self.verdict(VerdictKind::Fail, Some(limit.metric), words, look));
                };
                excused.get_or_insert((limit.metric, format!("{excuse}: {words}"), *look));
            }
        }
        let (metric, reason, look) = excused?;
        Some(self.verdict(VerdictKind::Hold, Some(metric), reason, &look))
    }

    /// Hold beyond a critical limit on thin evidence, or beyond a warn limit.
    fn held(&self, critical: &[Look], warn: &[Look]) -> Option<Verdict> {
        for (level, looks, but) in [
            (Level::Critical, critical, ", on too little evidence to abort"),
            (Level::Warn, warn, ""),
        ] {
            for limit in Limit::all(&self.spec, level) {
                if let Some(look) = looks.iter().find(|look| limit.is_exceeded(look)) {
                    let stable = self.stable_words(&limit, look);
                    let reason = format!("{}{but}{stable}", limit.words(look));
                    return Some(self.verdict(VerdictKind::Hold, Some(limit.metric), reason, look));
                }
            }
        }
        None
    }

    /// Nothing speaks against the canary: pass if enough was seen since the step began.
    fn by_evidence(&self, step: &Look) -> Verdict {
        let needed = self.spec.min_requests.max(1);
        let canary = step.canary[0] + step.canary[1];
        let resolved = canary.resolved();
        let limits = LATENCIES.iter().zip(&self.spec.latency).enumerate();
        let timed = limits.flat_map(|(at, (&(metric, _), limits))| {
            let levels = limits.iter().flat_map(Limits::each);
            levels.map(move |(level, _)| (limit_index(at, level), metric))
        });
        let timed = timed.map(|(index, metric)| (canary.fast[index] + canary.slow[index], metric));
        let timed = timed.min_by_key(|&(n, _)| n);
        let window = figures::time(Duration::from_millis(step.window_ms));
        let (kind, metric, reason) = match (resolved, timed) {
            (0, _) => {
                let reason = format!("no request of the canary resolved in this step; {needed} are needed");
                (VerdictKind::Inconclusive, None, reason)
            }
            (n, _) if n < needed => {
                let more = needed - n;
                let reason = format!("{n} requests of the canary in this step; {more} more are needed");
                (VerdictKind::Inconclusive, None, reason)
            }
            (_, Some((n, metric))) if n < needed => {
                let more = needed - n;
                let reason = format!("{n} latencies of the canary in this step; {more} more are needed");
                (VerdictKind::Inconclusive, Some(metric), reason)
            }
            (n, _) => {
                let rate = figures::measured(canary.error_rate().unwrap_or_default());
                let failures = canary.failure;
                let mut reason = format!("canary errorRate {rate} ({failures} of {n} in {window})");
                if let Some(rate) = self.stable(step).and_then(|stable| stable.error_rate()) {
                    reason += &format!("; stable {}", figures::measured(rate));
                }
                (VerdictKind::Pass, None, reason + "; within all limits")
            }
        };
        self.verdict(kind, metric, reason, step)
    }

    /// Everything that ended in the last `window_ms`, whichever epoch of this trial it is from.
    fn since(&self, reading: &Reading, window_ms: u64) -> Look {
        let from = self.recent.since_or_oldest(reading.now_ms.saturating_sub(window_ms));
        let from = from.map_or(reading, |(_, from)| from);
        let minus = |now: &Side, then: &Side| {
            [0, 1].map(|slot| match self.live[slot] {
                true => now.counts[slot] - then.counts[slot],
                false => Counts::default(),
            })
        };
        Look {
            window_ms: reading.now_ms.saturating_sub(from.now_ms),
            canary: minus(&reading.canary, &from.canary),
            stable: minus(&reading.stable, &from.stable),
        }
    }

    /// What was dispatched and ended since the step began: late answers to requests of the epoch
    /// before it stand in the other slot, which counts only within a ramp.
    fn since_step(&self, reading: &Reading) -> Look {
        let slot = usize::from(reading.slot & 1);
        let minus = |now: &Side, then: &Side| {
            let mut slots = [Counts::default(); 2];
            slots[slot] = now.counts[slot] - then.counts[slot];
            if self.ramps {
                slots[1 - slot] = now.counts[1 - slot] - then.counts[1 - slot];
            }
            slots
        };
        Look {
            window_ms: reading.now_ms.saturating_sub(self.step.now_ms),
            canary: minus(&reading.canary, &self.step.canary),
            stable: minus(&reading.stable, &self.step.stable),
        }
    }

    fn stable(&self, look: &Look) -> Option<Counts> {
        self.spec.compare_with_stable.then(|| look.stable[0] + look.stable[1])
    }

    fn stable_words(&self, limit: &Limit, look: &Look) -> String {
        self.stable(look).map_or_else(String::new, |_| limit.stable_words(look))
    }

    fn verdict(&self, kind: VerdictKind, metric: Option<Metric>, reason: String, look: &Look) -> Verdict {
        Verdict {
            kind,
            metric,
            reason,
            evidence: look.evidence(&self.spec),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::P95;
    use super::*;
    use crate::measure::{LIMITS, NO_LIMIT, PATIENCE};

    fn latency(limits: Limits<Duration>) -> [Option<Limits<Duration>>; 4] {
        [None, None, Some(limits), None]
    }

    fn spec() -> AnalysisSpec {
        AnalysisSpec {
            compare_with_stable: true,
            min_requests: 50,
            error_rate: Some(Limits {
                warn: Some(0.01),
                critical: Some(0.05),
            }),
            ..AnalysisSpec::default()
        }
    }

    fn with_latency() -> AnalysisSpec {
        AnalysisSpec {
            latency: latency(Limits {
                warn: Some(Duration::from_millis(500)),
                critical: Some(Duration::from_secs(1)),
            }),
            ..spec()
        }
    }

    fn alone() -> AnalysisSpec {
        AnalysisSpec {
            compare_with_stable: false,
            ..spec()
        }
    }

    /// `all` requests of which `bad` failed; all had their head in time.
    fn errors(all: u64, bad: u64) -> Counts {
        Counts {
            dispatched: all,
            success: all - bad,
            failure: bad,
            headed: all,
            fast: [all; LIMITS],
            ..Counts::default()
        }
    }

    /// `all` requests, none failing, of which `slow` took longer than the limit `index` and those before it.
    fn slow(all: u64, slow: u64, index: usize) -> Counts {
        let mut counts = errors(all, 0);
        for index in 2 * P95..=2 * P95 + index {
            counts.fast[index] = all - slow;
            counts.slow[index] = slow;
        }
        counts
    }

    /// A judge and the counters that it reads.
    struct Run {
        judge: ThresholdJudge,
        reading: Reading,
    }

    impl Run {
        fn new(spec: &AnalysisSpec) -> Self {
            let reading = Reading::default();
            Self {
                judge: ThresholdJudge::new(spec, reading),
                reading,
            }
        }

        /// One tick of 100 ms.
        fn tick(&mut self, canary: Counts, stable: Counts) -> Verdict {
            let slot = usize::from(self.reading.slot);
            self.reading.now_ms += 100;
            self.reading.canary.counts[slot] = self.reading.canary.counts[slot] + canary;
            self.reading.stable.counts[slot] = self.reading.stable.counts[slot] + stable;
            self.judge.observe(self.reading)
        }

        fn ticks(&mut self, n: u64, canary: Counts, stable: Counts) -> Verdict {
            for _ in 1..n {
                self.tick(canary, stable);
            }
            self.tick(canary, stable)
        }

        fn new_epoch(&mut self) {
            self.reading.slot ^= 1;
            self.judge.begin_step(self.reading);
        }
    }

    fn check(found: &Verdict, kind: VerdictKind, reason: &str) {
        assert_eq!((found.kind, found.reason.as_str()), (kind, reason));
    }

    #[test]
    fn nothing_or_too_little_is_inconclusive() {
        use VerdictKind::Inconclusive;
        let mut run = Run::new(&spec());
        let nothing = "no request of the canary resolved in this step; 50 are needed";
        check(&run.tick(errors(0, 0), errors(90, 0)), Inconclusive, nothing);
        let found = run.tick(errors(31, 0), errors(90, 0));
        check(
            &found,
            Inconclusive,
            "31 requests of the canary in this step; 19 more are needed",
        );
        assert_eq!(found.evidence.canary.requests, 31);
    }

    #[test]
    fn no_least_number_of_requests_still_wants_one() {
        let mut run = Run::new(&AnalysisSpec {
            min_requests: 0,
            ..spec()
        });
        assert_eq!(run.tick(errors(0, 0), errors(9, 0)).kind, VerdictKind::Inconclusive);
        assert_eq!(run.tick(errors(1, 0), errors(9, 0)).kind, VerdictKind::Pass);
    }

    #[test]
    fn enough_requests_within_all_limits_pass() {
        let found = Run::new(&spec()).ticks(20, errors(40, 0), errors(200, 1));
        let reason = "canary errorRate 0 % (0 of 800 in 2.0 s); stable 0.5 %; within all limits";
        check(&found, VerdictKind::Pass, reason);
        assert_eq!(found.evidence.stable.unwrap().failures, 20);
    }

    #[test]
    fn a_canary_above_the_critical_limit_fails_with_its_figures() {
        let mut run = Run::new(&spec());
        run.ticks(20, errors(90, 0), errors(900, 4));
        let found = run.ticks(10, errors(90, 8), errors(900, 4));
        let reason = "canary errorRate 8.9 % (80 of 900 in 1.0 s) is above the critical limit 5 %; stable 0.44 %";
        check(&found, VerdictKind::Fail, reason);
        assert_eq!(found.metric, Some(Metric::ErrorRate));
        assert_eq!((found.evidence.window_ms, found.evidence.canary.failures), (1000, 80));
    }

    #[test]
    fn a_dead_canary_fails_within_a_tick() {
        let mut run = Run::new(&spec());
        run.ticks(20, errors(25, 0), errors(75, 0));
        assert_eq!(run.tick(errors(25, 25), errors(75, 0)).kind, VerdictKind::Fail);
    }

    #[test]
    fn at_the_limit_is_not_above_it() {
        let found = Run::new(&alone()).ticks(50, errors(20, 1), errors(0, 0));
        assert_ne!(found.kind, VerdictKind::Fail, "{}", found.reason);
    }

    #[test]
    fn few_failures_or_few_requests_hold() {
        let mut run = Run::new(&spec());
        run.tick(errors(52, 0), errors(90, 0));
        let reason = "canary errorRate 7.1 % (4 of 56 in 200 ms) is above the critical limit 5 %, \
                      on too little evidence to abort; stable 0 %";
        check(&run.tick(errors(4, 4), errors(90, 0)), VerdictKind::Hold, reason);
        let found = Run::new(&spec()).tick(errors(49, 49), errors(90, 0));
        assert_eq!(found.kind, VerdictKind::Hold);
    }

    #[test]
    fn a_slow_trickle_of_failures_is_seen_over_the_whole_step() {
        // One request a second, each second one failing: never 50 in ten seconds.
        let mut run = Run::new(&spec());
        for n in 1..50 {
            run.ticks(9, errors(0, 0), errors(9, 0));
            assert_eq!(run.tick(errors(1, n % 2), errors(9, 0)).kind, VerdictKind::Hold);
        }
        assert_eq!(run.tick(errors(1, 0), errors(9, 0)).kind, VerdictKind::Fail);
    }

    #[test]
    fn a_warn_limit_holds() {
        let found = Run::new(&spec()).ticks(20, errors(100, 2), errors(100, 0));
        let reason = "canary errorRate 2 % (40 of 2000 in 2.0 s) is above the warn limit 1 %; stable 0 %";
        check(&found, VerdictKind::Hold, reason);
    }

    #[test]
    fn a_shared_fault_holds() {
        let mut run = Run::new(&spec());
        run.ticks(30, errors(20, 0), errors(180, 1));
        let found = run.ticks(10, errors(20, 6), errors(180, 50));
        let reason = "shared fault: stable shows the same: canary errorRate 30 % (60 of 200 in 1.0 s) \
                      is above the critical limit 5 %; stable 27.8 %";
        check(&found, VerdictKind::Hold, reason);
        let found = run.ticks(300, errors(20, 20), errors(180, 180));
        assert_eq!(found.kind, VerdictKind::Hold);
    }

    #[test]
    fn without_comparison_a_shared_fault_is_the_canarys() {
        let found = Run::new(&alone()).ticks(10, errors(20, 6), errors(180, 50));
        let reason = "canary errorRate 30 % (60 of 200 in 1.0 s) is above the critical limit 5 %";
        check(&found, VerdictKind::Fail, reason);
        assert_eq!(found.evidence.stable, None);
    }

    #[test]
    fn an_ill_stable_does_not_excuse_a_canary_that_is_clearly_worse() {
        let found = Run::new(&spec()).ticks(10, errors(20, 18), errors(180, 12));
        assert_eq!(found.kind, VerdictKind::Fail);
    }

    #[test]
    fn a_stable_without_failures_excuses_nothing() {
        let tiny = AnalysisSpec {
            error_rate: Some(Limits {
                warn: None,
                critical: Some(0.001),
            }),
            ..spec()
        };
        let found = Run::new(&tiny).ticks(10, errors(1000, 3), errors(9000, 0));
        assert_eq!(found.kind, VerdictKind::Fail);
        assert_eq!(
            Run::new(&spec()).ticks(10, errors(20, 20), errors(0, 0)).kind,
            VerdictKind::Fail
        );
    }

    #[test]
    fn a_stable_too_quiet_to_tell_holds() {
        let mut run = Run::new(&spec());
        let found = run.tick(errors(99, 90), errors(1, 0));
        let reason = "not clearly worse than stable: canary errorRate 90.9 % (90 of 99 in 100 ms) \
                      is above the critical limit 5 %; stable 0 %";
        check(&found, VerdictKind::Hold, reason);
        assert_eq!(run.ticks(5, errors(99, 90), errors(1, 0)).kind, VerdictKind::Fail);
    }

    #[test]
    fn a_stable_that_is_quiet_for_a_second_has_its_say_by_the_last_ten() {
        let mut run = Run::new(&spec());
        run.ticks(5, errors(99, 90), errors(1, 1));
        assert_eq!(run.ticks(20, errors(99, 90), errors(0, 0)).kind, VerdictKind::Hold);
    }

    #[test]
    fn a_changed_weight_in_a_shared_outage_is_no_ground_to_abort() {
        // Half of the traffic while the dependency is down, a twentieth when it is back: over both
        // epochs together the canary failed in 23 % of its requests, stable in 4 %.
        let mut run = Run::new(&spec());
        run.ticks(20, errors(50, 15), errors(50, 15));
        run.new_epoch();
        for _ in 0..60 {
            let found = run.tick(errors(5, 0), errors(95, 0));
            assert_ne!(found.kind, VerdictKind::Fail, "{}", found.reason);
        }
    }

    #[test]
    fn failures_that_come_before_the_good_answers_are_no_rate_yet() {
        let failed_first = Counts {
            dispatched: 2000,
            ..errors(60, 60)
        };
        let mut run = Run::new(&alone());
        assert_ne!(run.tick(failed_first, errors(0, 0)).kind, VerdictKind::Fail);
        let answers_late = Counts {
            dispatched: 0,
            ..errors(1940, 0)
        };
        assert_eq!(
            run.ticks(2, answers_late, errors(0, 0)).kind,
            VerdictKind::Hold,
            "3 % is above the warn limit"
        );
    }

    #[test]
    fn a_slow_canary_fails() {
        let mut run = Run::new(&with_latency());
        let found = run.ticks(10, slow(100, 12, 1), slow(900, 4, 1));
        let reason = "canary latencyP95 is above the critical limit 1 s: 12 % (120 of 1000 in 1.0 s) took longer; \
                      stable 0.44 %";
        check(&found, VerdictKind::Fail, reason);
        assert_eq!(found.evidence.canary.slow_share, Some(0.12));
    }

    #[test]
    fn a_hanging_canary_fails_before_it_answers() {
        let hangs = Counts {
            dispatched: 50,
            slow: [50; LIMITS],
            ..Counts::default()
        };
        assert_eq!(
            Run::new(&with_latency()).tick(hangs, slow(50, 0, 1)).kind,
            VerdictKind::Fail
        );
    }

    #[test]
    fn slowness_of_both_and_slowness_beyond_the_warn_limit_hold() {
        let found = Run::new(&with_latency()).ticks(10, slow(100, 40, 1), slow(900, 350, 1));
        assert!(
            found.kind == VerdictKind::Hold && found.reason.starts_with("shared fault"),
            "{}",
            found.reason
        );
        let found = Run::new(&with_latency()).ticks(10, slow(100, 40, 0), slow(900, 0, 0));
        assert!(
            found.kind == VerdictKind::Hold && found.reason.contains("warn limit 500 ms"),
            "{}",
            found.reason
        );
    }

    #[test]
    fn a_limit_of_latency_passes_on_latencies_only() {
        let headless = Counts {
            fast: [0; LIMITS],
            headed: 0,
            ..errors(100, 0)
        };
        let found = Run::new(&with_latency()).tick(headless, errors(100, 0));
        check(
            &found,
            VerdictKind::Inconclusive,
            "0 latencies of the canary in this step; 50 more are needed",
        );
    }

    #[test]
    fn a_step_needs_evidence_of_its_own() {
        let mut run = Run::new(&spec());
        assert_eq!(run.ticks(10, errors(50, 0), errors(50, 0)).kind, VerdictKind::Pass);
        run.new_epoch();
        assert_eq!(run.tick(errors(0, 0), errors(50, 0)).kind, VerdictKind::Inconclusive);
        // Late answers to requests of the epoch before.
        run.reading.canary.counts[0] = run.reading.canary.counts[0] + errors(500, 0);
        assert_eq!(run.tick(errors(0, 0), errors(50, 0)).kind, VerdictKind::Inconclusive);
        assert_eq!(run.tick(errors(50, 0), errors(50, 0)).kind, VerdictKind::Pass);
    }

    #[test]
    fn a_new_step_does_not_forget_the_last_second() {
        let mut run = Run::new(&spec());
        run.ticks(10, errors(50, 0), errors(50, 0));
        run.tick(errors(30, 20), errors(50, 0));
        run.new_epoch();
        assert_eq!(run.tick(errors(20, 15), errors(50, 0)).kind, VerdictKind::Fail);
    }

    #[test]
    fn counters_that_begin_anew_are_judged_anew() {
        let mut run = Run::new(&spec());
        run.ticks(10, errors(500, 0), errors(50, 0));
        run.reading.canary = Side::default();
        assert_eq!(run.tick(errors(1, 0), errors(50, 0)).kind, VerdictKind::Inconclusive);
        assert_eq!(run.tick(errors(60, 60), errors(50, 0)).kind, VerdictKind::Fail);
    }

    #[test]
    fn memory_does_not_grow_with_ticks() {
        let mut run = Run::new(&spec());
        for _ in 0..5_000 {
            run.reading.now_ms += 1;
            run.judge.observe(run.reading);
        }
        run.ticks(1_000, errors(1, 0), errors(1, 0));
        let (oldest_ms, _) = run.judge.recent.oldest().unwrap();
        assert!(run.reading.now_ms - oldest_ms >= LONG_MS, "a whole window is kept");
        assert!(
            run.reading.now_ms - oldest_ms <= READINGS as u64 * 100,
            "and not much more"
        );
    }

    #[test]
    fn every_latency_has_its_limit() {
        let p50 = Limits {
            warn: None,
            critical: Some(Duration::from_millis(100)),
        };
        let spec = AnalysisSpec {
            latency: [Some(p50), None, None, None],
            ..spec()
        };
        let of = |slow| Counts {
            slow: [slow; LIMITS],
            fast: [100 - slow; LIMITS],
            ..errors(100, 0)
        };
        assert_eq!(Run::new(&spec).ticks(10, of(45), of(3)).kind, VerdictKind::Pass);
        let found = Run::new(&spec).ticks(10, of(55), of(3));
        assert_eq!(
            (found.kind, found.metric),
            (VerdictKind::Fail, Some(Metric::LatencyP50))
        );
    }

    #[test]
    fn recorders_count_at_the_limits() {
        let timeout = Duration::from_secs(5);
        let limits_us = with_latency().limits_us(timeout);
        let on = |limits_us: [u64; LIMITS]| limits_us.map(|limit_us| (limit_us != NO_LIMIT).then_some(limit_us));
        let found: Vec<_> = on(limits_us)
            .into_iter()
            .enumerate()
            .filter_map(|(at, us)| Some((at, us?)))
            .collect();
        assert_eq!(found, [(4, 500_000), (5, 1_000_000), (PATIENCE, 1_000_000)]);
        assert_eq!(spec().limits_us(timeout)[PATIENCE], 2_500_000);
    }
}
