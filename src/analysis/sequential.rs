//! The sequential judge: evidence that may be looked at at any time.
//!
//! `M`, the evidence against the canary, aborts at `1/alpha`: a non-negative supermartingale that
//! starts at 1 ever reaches it with a probability of at most alpha (Ville 1939). `P`, the evidence for
//! it, lets a step pass. Between the two stand hold and inconclusive.

use std::sync::Arc;
use std::time::Duration;

use super::baseline::Baseline;
use super::confidence::{self, Confidence};
use super::criterion::Criterion;
use super::judge::Term;
use super::panel::{Panel, Tick, Weighed};
use super::prior::Prior;
use super::reading::Reading;
use super::share::Shares;
use super::spec::{AnalysisSpec, Level, P95, limit_index};
use super::trail::Trail;
use super::verdict::{Evidence, Measured, Metric, SideEvidence, Statistic, Verdict, VerdictKind};
use super::words;
use crate::measure::Counts;

/// Slowness is weighed in blocks of this length.
const BLOCK_MS: u64 = 1_000;

/// A watch begins a new test so often.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Stable that had no request for so long has no alibi to give.
const STABLE_SILENT_MS: u64 = 10_000;

/// Traffic is lost when none came for so long, or for so many times the usual pause.
const LOST_MS: u64 = 10_000;
const LOST_PAUSES: u64 = 20;

/// `M` from which on it holds.
const SOME_EVIDENCE: f64 = 1.0;

/// More evidence for a canary than this is shown as this.
const CERTAIN: f64 = 1e12;

/// While the word stays the same its explanation is made anew so often: intervals cost more than ticks.
const EXPLAIN_MS: u64 = 1_000;

/// The evidence of one rollout. Its size does not depend on traffic.
#[derive(Clone, Debug)]
pub(super) struct SequentialJudge {
    spec: AnalysisSpec,
    term: Term,
    last: Reading,
    /// Slots whose requests were dispatched under this test.
    live: [bool; 2],
    shares: Shares,
    prior: Prior,
    /// Prior mass that waits for the next block.
    block_due: f64,
    /// When the present block began.
    block_ms: Option<u64>,
    critical: Option<Panel>,
    warn: Option<Panel>,
    trail: Trail,
    step: Step,
    /// When stable last got a request, or could have; `None`: it gets none under the present weight.
    stable_seen_ms: Option<u64>,
    said: Option<(u64, Verdict)>,
}

/// What is known of the present step.
#[derive(Clone, Debug)]
struct Step {
    began_ms: u64,
    criteria: Vec<Criterion>,
    confidence: Vec<Confidence>,
    /// All evidence since it began, whenever it was dispatched.
    canary: Counts,
    stable: Counts,
    /// Requests of the canary with evidence that were dispatched in it.
    resolved: u64,
    dispatched_ms: u64,
}

impl SequentialJudge {
    pub(super) fn new(spec: &AnalysisSpec, term: Term, first: Reading) -> Self {
        let slot = usize::from(first.slot & 1);
        Self {
            spec: spec.clone(),
            term,
            last: first,
            live: [slot == 0, slot == 1],
            shares: Shares::new(slot, first.weight),
            prior: Prior::new(term),
            block_due: 0.0,
            block_ms: None,
            critical: Panel::new(spec, Level::Critical),
            warn: Panel::new(spec, Level::Warn),
            trail: Trail::default(),
            step: Step::new(spec, first.now_ms),
            stable_seen_ms: seen_from(&first),
            said: None,
        }
    }

    /// The weight was changed by the plan.
    pub(super) fn begin_step(&mut self, reading: Reading, baseline: &Baseline) {
        self.change_weight(reading, baseline);
        self.step = Step::new(&self.spec, reading.now_ms);
    }

    /// The weight was changed within a step, as a ramp does: what it was shown to be good for still counts.
    pub(super) fn change_weight(&mut self, reading: Reading, baseline: &Baseline) {
        self.take_in(reading, baseline);
        let slot = usize::from(reading.slot & 1);
        self.live[slot] = true;
        self.shares.begin(slot, reading.weight);
        self.prior.change();
        for panel in self.critical.iter_mut().chain(&mut self.warn) {
            panel.change();
        }
        self.stable_seen_ms = seen_from(&reading);
        self.said = None;
    }

    pub(super) fn observe(&mut self, reading: Reading, baseline: &Baseline) -> Verdict {
        if reading.went_back_from(&self.last) || (self.term == Term::Watch && self.prior.spent() >= DAY) {
            *self = Self::new(&self.spec, self.term, reading);
        }
        self.take_in(reading, baseline);
        self.judge(baseline)
    }

    /// What has happened since the last reading.
    fn take_in(&mut self, reading: Reading, baseline: &Baseline) {
        let last = std::mem::replace(&mut self.last, reading);
        let elapsed = Duration::from_millis(reading.now_ms.saturating_sub(last.now_ms));
        let slots = [0, 1].map(|slot| {
            if !self.live[slot] {
                return (self.shares.of(slot), Counts::default(), Counts::default());
            }
            let canary = reading.canary.counts[slot] - last.canary.counts[slot];
            let stable = reading.stable.counts[slot] - last.stable.counts[slot];
            (self.shares.of(slot), canary, stable)
        });
        let prior = self.prior.tick(elapsed);
        self.block_due += prior;
        let block_begins = self
            .block_ms
            .is_none_or(|began_ms| began_ms + BLOCK_MS <= reading.now_ms);
        let tick = Tick {
            slots,
            slot: usize::from(last.slot & 1),
            prior,
            block_prior: if block_begins {
                std::mem::take(&mut self.block_due)
            } else {
                0.0
            },
            block_begins,
        };
        if block_begins {
            self.block_ms = Some(reading.now_ms);
        }
        for panel in self.critical.iter_mut().chain(&mut self.warn) {
            panel.look(&tick, baseline);
        }
        if let Some(panel) = &self.critical {
            self.trail.note(reading.now_ms, panel);
        }
        for panel in self.critical.iter_mut().chain(&mut self.warn) {
            panel.tick(last.now_ms);
        }
        self.step.tick(&tick, baseline, reading.now_ms);
        for (slot, (_, canary, stable)) in slots.iter().enumerate() {
            self.shares.tick(slot, elapsed, canary, stable);
        }
        let (_, _, stable) = slots[tick.slot];
        if stable.dispatched > 0 {
            self.stable_seen_ms = Some(reading.now_ms);
        }
    }

    fn judge(&mut self, baseline: &Baseline) -> Verdict {
        let stable_silent = self
            .stable_seen_ms
            .is_none_or(|seen_ms| seen_ms + STABLE_SILENT_MS <= self.last.now_ms);
        let with_alibi = self.spec.compare_with_stable && !stable_silent;
        let weigh = |panel: &Option<Panel>, with_alibi| {
            let panel = panel.as_ref()?;
            Some((panel.weigh(&self.last, self.live, baseline, with_alibi), panel.level()))
        };
        let critical = weigh(&self.critical, with_alibi);
        let warn = weigh(&self.warn, false);
        let finding = match (&critical, &warn) {
            (Some((weighed, level)), _) if weighed.counted >= *level => Finding::Ill(weighed.leading_counted()),
            (Some((weighed, level)), _) if weighed.all >= *level => Finding::Excused(weighed.leading_excused()),
            (_, Some((weighed, level))) if weighed.all >= *level => Finding::Warned(weighed.leading),
            (Some((weighed, _)), _) if weighed.all >= SOME_EVIDENCE => Finding::Suspected(weighed.leading),
            _ if self.step.has_lost_traffic(self.last.now_ms) => Finding::Lost,
            _ => self.step.finding(&self.spec, &self.last, &self.shares, baseline),
        };
        if matches!(finding, Finding::Excused(_)) {
            self.step.begin_anew(self.last.now_ms);
        }
        let verdict = self.explain(&finding, critical.as_ref(), warn.as_ref(), baseline);
        if let (Some((weighed, _)), Some(panel)) = (&critical, &mut self.critical) {
            let changed = match finding {
                // Where nobody acts on it, it is over soon after its cause.
                Finding::Ill(_) => panel.bound(),
                _ => panel.excuse(&weighed.excused),
            };
            if changed {
                self.trail.clear();
            }
        }
        if let Some(panel) = &mut self.warn {
            panel.bound();
        }
        verdict
    }

    /// The finding in words; those of a moment ago while the word is the same.
    fn explain(
        &mut self,
        finding: &Finding,
        critical: Option<&(Weighed, f64)>,
        warn: Option<&(Weighed, f64)>,
        baseline: &Baseline,
    ) -> Verdict {
        let (kind, metric) = self.word(finding);
        let now_ms = self.last.now_ms;
        if let Some((at_ms, said)) = &self.said
            && (said.kind, said.metric) == (kind, metric)
            && now_ms < at_ms + EXPLAIN_MS
        {
            return said.clone();
        }
        let mut evidence = self.step.evidence(&self.spec, now_ms);
        let reason = match *finding {
            Finding::Ill(at) => {
                let (Some((weighed, level)), Some(panel)) = (critical, &self.critical) else {
                    unreachable!("an ill canary was weighed")
                };
                evidence.statistic = statistic(weighed.counted, *level);
                evidence.proof = Some(Arc::new(self.trail.proof(panel, weighed, &self.last, self.live)));
                let words = self.complaint(panel, at, baseline, true, &mut evidence);
                format!("{words}; {}", words::odds(weighed.counted, *level))
            }
            Finding::Excused(at) => {
                let (Some((weighed, level)), Some(panel)) = (critical, &self.critical) else {
                    unreachable!("an excused canary was weighed")
                };
                evidence.statistic = statistic(weighed.all, *level);
                let words = self.complaint(panel, at, baseline, true, &mut evidence);
                format!("shared fault, or stable too quiet to tell: {words}")
            }
            Finding::Warned(at) => {
                let (Some((weighed, level)), Some(panel)) = (warn, &self.warn) else {
                    unreachable!("a warned canary was weighed")
                };
                evidence.statistic = statistic(weighed.all, *level);
                let words = self.complaint(panel, at, baseline, true, &mut evidence);
                format!("{words}; {}", words::odds(weighed.all, *level))
            }
            Finding::Suspected(at) => {
                let (Some((weighed, level)), Some(panel)) = (critical, &self.critical) else {
                    unreachable!("a suspected canary was weighed")
                };
                evidence.statistic = statistic(weighed.all, *level);
                let words = self.complaint(panel, at, baseline, false, &mut evidence);
                format!(
                    "some evidence against it: {words}; {}",
                    words::odds(weighed.all, *level)
                )
            }
            Finding::Lost => {
                let pause = Duration::from_millis(now_ms.saturating_sub(self.step.dispatched_ms));
                let pause = super::figures::time(pause);
                format!("the canary has lost its traffic: no request for {pause}")
            }
            Finding::NoRequests => {
                let needed = self.spec.min_requests.max(1);
                format!("no request of the canary resolved in this step; {needed} are needed")
            }
            Finding::Few { more } => {
                let resolved = self.step.resolved;
                format!("{resolved} requests of the canary in this step; {more} more are needed")
            }
            Finding::NothingToJudge => "no criterion has anything to judge by in this step".to_owned(),
            Finding::Unproven { at, value } => {
                evidence.statistic = statistic(value, confidence::LEVEL);
                let criterion = &self.step.criteria[at];
                let (lost, tempering) = (criterion.basis.lost(&self.last), baseline.tempering(criterion.basis));
                let share = self.shares.of(usize::from(self.last.slot & 1));
                let needed = self.step.confidence[at].needed(criterion, lost, share, tempering);
                words::wanted(criterion, needed)
            }
            Finding::Well { value, ref idle } => {
                evidence.statistic = statistic(value.min(CERTAIN), confidence::LEVEL);
                let stable = self.spec.compare_with_stable.then_some(&self.step.stable);
                let window_ms = now_ms.saturating_sub(self.step.began_ms);
                let canary = Measured::new(self.step.canary.failure, self.step.canary.resolved());
                evidence.canary.measured = canary;
                words::praise(canary.as_ref(), stable, window_ms, idle)
            }
        };
        let verdict = Verdict {
            kind,
            metric,
            reason,
            evidence,
        };
        self.said = Some((now_ms, verdict.clone()));
        verdict
    }

    fn word(&self, finding: &Finding) -> (VerdictKind, Option<Metric>) {
        let of = |panel: &Option<Panel>, at: usize| panel.as_ref().map(|panel| panel.criteria[at].metric);
        match finding {
            Finding::Ill(at) => (VerdictKind::Fail, of(&self.critical, *at)),
            Finding::Excused(at) | Finding::Suspected(at) => (VerdictKind::Hold, of(&self.critical, *at)),
            Finding::Warned(at) => (VerdictKind::Hold, of(&self.warn, *at)),
            Finding::Lost => (VerdictKind::Hold, None),
            Finding::NoRequests | Finding::Few { .. } | Finding::NothingToJudge => (VerdictKind::Inconclusive, None),
            Finding::Unproven { at, .. } => (VerdictKind::Inconclusive, Some(self.step.criteria[*at].metric)),
            Finding::Well { .. } => (VerdictKind::Pass, None),
        }
    }

    /// What criterion `at` has against the canary, with its figures; since its trouble began, or, where
    /// that was only just, since the step did.
    fn complaint(
        &self,
        panel: &Panel,
        at: usize,
        baseline: &Baseline,
        certain: bool,
        evidence: &mut Evidence,
    ) -> String {
        let (criterion, run) = (&panel.criteria[at], &panel.evidence[at].run);
        let (tally, since_ms) = if run.tally.canary > 0 {
            (run.tally, run.since_ms)
        } else {
            (
                criterion.basis.tally(&self.step.canary, &self.step.stable),
                self.step.began_ms,
            )
        };
        evidence.since_ms = Some(self.last.now_ms.saturating_sub(since_ms));
        evidence.canary.measured = Measured::new(tally.canary_bad, tally.canary);
        if let Some(stable) = &mut evidence.stable {
            stable.measured = Measured::new(tally.stable_bad, tally.stable);
        }
        evidence.against = Some(words::against(criterion, &self.spec));
        words::complaint(criterion, &self.spec, baseline, &tally, certain)
    }
}

/// What the evidence comes to.
#[derive(Clone, Debug, PartialEq)]
enum Finding {
    /// Evidence enough to abort; which criterion has the largest part in it.
    Ill(usize),
    /// As much, but stable has no alibi.
    Excused(usize),
    /// Beyond a warning.
    Warned(usize),
    /// Some evidence against it.
    Suspected(usize),
    /// No requests come any more.
    Lost,
    /// Nothing was resolved in this step.
    NoRequests,
    /// Too few requests.
    Few { more: u64 },
    /// Every criterion is idle.
    NothingToJudge,
    /// Not yet shown to be within a limit.
    Unproven { at: usize, value: f64 },
    /// Shown to be within all limits; `value` is the least P.
    Well { value: f64, idle: Vec<Metric> },
}

impl Step {
    fn new(spec: &AnalysisSpec, now_ms: u64) -> Self {
        let criteria = Criterion::all_for_promotion(spec);
        Self {
            began_ms: now_ms,
            confidence: vec![Confidence::default(); criteria.len()],
            criteria,
            canary: Counts::default(),
            stable: Counts::default(),
            resolved: 0,
            dispatched_ms: now_ms,
        }
    }

    fn tick(&mut self, tick: &Tick, baseline: &Baseline, now_ms: u64) {
        for (slot, (_, canary, stable)) in tick.slots.iter().enumerate() {
            self.canary = self.canary + *canary;
            self.stable = self.stable + *stable;
            if slot == tick.slot {
                self.resolved += canary.resolved();
                if canary.dispatched > 0 {
                    self.dispatched_ms = now_ms;
                }
            }
        }
        for (criterion, confidence) in self.criteria.iter().zip(&mut self.confidence) {
            let input = super::panel::input(criterion, tick, baseline);
            let (share, tally) = input.slots[tick.slot];
            confidence.tick(criterion, share, &tally, input.tempering);
        }
    }

    /// A fault that both sides share says nothing about the canary: what it is shown to be good for
    /// begins when the fault is over, and is not outweighed by it.
    fn begin_anew(&mut self, now_ms: u64) {
        self.confidence.fill(Confidence::default());
        (self.canary, self.stable) = (Counts::default(), Counts::default());
        self.resolved = 0;
        self.began_ms = now_ms;
    }

    /// Whether requests came, and come no more.
    fn has_lost_traffic(&self, now_ms: u64) -> bool {
        let dispatched = self.canary.dispatched;
        let usual_ms = self.dispatched_ms.saturating_sub(self.began_ms) / dispatched.max(1);
        let silent_ms = now_ms.saturating_sub(self.dispatched_ms);
        dispatched > 0 && silent_ms >= LOST_MS.max(LOST_PAUSES * usual_ms)
    }

    /// Where nothing speaks against the canary: whether enough speaks for it.
    fn finding(&self, spec: &AnalysisSpec, reading: &Reading, shares: &Shares, baseline: &Baseline) -> Finding {
        if self.resolved == 0 {
            return Finding::NoRequests;
        }
        if self.resolved < spec.min_requests {
            let more = spec.min_requests - self.resolved;
            return Finding::Few { more };
        }
        let share = shares.of(usize::from(reading.slot & 1));
        let mut idle = Vec::new();
        let mut least: Option<(usize, f64)> = None;
        for (at, (criterion, confidence)) in self.criteria.iter().zip(&self.confidence).enumerate() {
            if !confidence.says_something(criterion, reading.weight) {
                idle.push(criterion.metric);
                continue;
            }
            let tempering = baseline.tempering(criterion.basis);
            let value = confidence.value(criterion, criterion.basis.lost(reading), share, tempering);
            if least.is_none_or(|(_, least)| value < least) {
                least = Some((at, value));
            }
        }
        match least {
            None => Finding::NothingToJudge,
            Some((_, value)) if value >= confidence::LEVEL => Finding::Well { value, idle },
            Some((at, value)) => Finding::Unproven { at, value },
        }
    }

    /// The figures of the step.
    #[allow(clippy::cast_precision_loss)] // counts stay far below 2^52
    fn evidence(&self, spec: &AnalysisSpec, now_ms: u64) -> Evidence {
        let index = limit_index(P95, Level::Critical);
        let judged = spec.latency[P95].is_some_and(|limits| limits.critical.is_some());
        let side = |counts: &Counts| {
            let timed = counts.fast[index] + counts.slow[index];
            SideEvidence {
                requests: counts.resolved(),
                failures: counts.failure,
                error_rate: counts.error_rate(),
                slow_share: (judged && timed > 0).then(|| counts.slow[index] as f64 / timed as f64),
                measured: None,
            }
        };
        Evidence {
            window_ms: now_ms.saturating_sub(self.began_ms),
            canary: side(&self.canary),
            stable: spec.compare_with_stable.then(|| side(&self.stable)),
            ..Evidence::default()
        }
    }
}

/// From when on stable's silence counts. One that the weight gives nothing has no alibi to wait for.
fn seen_from(reading: &Reading) -> Option<u64> {
    (reading.weight < 1.0).then_some(reading.now_ms)
}

/// A value that is shown is finite.
fn statistic(value: f64, level: f64) -> Option<Statistic> {
    let value = if value.is_finite() { value } else { f64::MAX };
    Some(Statistic { value, level })
}

#[cfg(test)]
mod tests;
