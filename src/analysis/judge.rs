//! The judge of one rollout: whichever test the person chose, and the budget.

use std::time::Duration;

use super::baseline::Baseline;
use super::budget::Budget;
use super::figures;
use super::reading::Reading;
use super::sequential::SequentialJudge;
use super::spec::{AnalysisSpec, Level, Test};
use super::threshold::ThresholdJudge;
use super::verdict::{Against, Metric, Statistic, Verdict, VerdictKind};
use crate::measure::Counts;

/// How long a test is expected to run, which divides the prior over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// A plan whose steps bake so long together.
    Plan {
        /// The sum of the bake times.
        bake_time: Duration,
    },
    /// Watching without an end: the test begins anew each day.
    Watch,
}

/// The evidence of one rollout so far; its size does not depend on traffic.
#[derive(Clone, Debug)]
pub struct Judge {
    spec: AnalysisSpec,
    bench: Bench,
    budget: Option<Budget>,
    /// The last reading that was judged.
    last: Reading,
    /// Slots whose requests were dispatched in this trial.
    live: [bool; 2],
}

#[derive(Clone, Debug)]
enum Bench {
    Sequential(Box<SequentialJudge>),
    Threshold(Box<ThresholdJudge>),
}

impl Bench {
    fn new(spec: &AnalysisSpec, term: Term, first: Reading) -> Self {
        match spec.test {
            Test::Sequential => Self::Sequential(Box::new(SequentialJudge::new(spec, term, first))),
            Test::Threshold => Self::Threshold(Box::new(ThresholdJudge::new(spec, first))),
        }
    }
}

impl Judge {
    /// With no evidence yet; what `first` holds was before. A trial that begins anew (start, retry,
    /// a new release) needs a new judge.
    #[must_use]
    pub fn new(spec: &AnalysisSpec, term: Term, first: Reading) -> Self {
        Self {
            bench: Bench::new(spec, term, first),
            budget: Budget::new(spec),
            spec: spec.clone(),
            last: first,
            live: [0, 1].map(|slot| slot == first.slot & 1),
        }
    }

    /// The plan went on to another step: promotion needs fresh evidence from here, and what was seen
    /// against the canary stays. The epoch of `reading` is the new one.
    pub fn begin_step(&mut self, reading: Reading, baseline: &Baseline) {
        self.live[usize::from(reading.slot & 1)] = true;
        match &mut self.bench {
            Bench::Sequential(judge) => judge.begin_step(reading, baseline),
            Bench::Threshold(judge) => judge.begin_step(reading),
        }
    }

    /// The plan goes on within a step, under another weight: a ramp. The step's evidence still counts.
    pub fn change_weight(&mut self, reading: Reading, baseline: &Baseline) {
        self.live[usize::from(reading.slot & 1)] = true;
        match &mut self.bench {
            Bench::Sequential(judge) => judge.change_weight(reading, baseline),
            Bench::Threshold(judge) => judge.change_weight(reading),
        }
    }

    /// The weight was changed by a person or by the file: a new test, with an alpha of its own. What
    /// was spent of the budget stays spent.
    pub fn begin_test(&mut self, term: Term, reading: Reading) {
        self.live[usize::from(reading.slot & 1)] = true;
        match &mut self.bench {
            Bench::Sequential(judge) => **judge = SequentialJudge::new(&self.spec, term, reading),
            Bench::Threshold(judge) => judge.begin_step(reading),
        }
    }

    /// Goes on in the trial of `before`, under other limits: what was spent of the budget stays spent.
    pub fn keep_spent(&mut self, before: &Self) {
        if let (Some(budget), Some(before)) = (&mut self.budget, &before.budget) {
            budget.keep_spent(before);
        }
    }

    /// What was spent of the budget so far, in failures that stable's rate does not explain; 0 without a budget.
    #[must_use]
    pub fn spent(&self) -> f64 {
        self.budget.as_ref().map_or(0.0, Budget::excess)
    }

    /// Goes on in a trial that has spent so much, before a restart.
    pub fn begin_with_spent(&mut self, spent: f64) {
        if let Some(budget) = &mut self.budget {
            budget.spend(spent);
        }
    }

    /// Takes in the counts of a tick and judges. Counts that went back are of another recorder:
    /// all evidence begins anew with them. Costs a few microseconds.
    pub fn observe(&mut self, reading: Reading, baseline: &Baseline) -> Verdict {
        if let Some(budget) = &mut self.budget {
            let slots = (0..2).filter(|&slot| self.live[slot]);
            let canary = slots.fold(Counts::default(), |sum, slot| {
                sum + (reading.canary.counts[slot] - self.last.canary.counts[slot])
            });
            budget.tick(reading.now_ms, &canary, &reading.stable.sum());
        }
        self.last = reading;
        let verdict = match &mut self.bench {
            Bench::Sequential(judge) => judge.observe(reading, baseline),
            Bench::Threshold(judge) => judge.observe(reading),
        };
        match &self.budget {
            Some(budget) if budget.is_spent() && verdict.kind != VerdictKind::Fail => spent(budget, verdict),
            Some(_) | None => verdict,
        }
    }

    /// Failures that the canary may still add; `None` without a budget.
    #[must_use]
    pub fn failures_left(&self) -> Option<u64> {
        self.budget.as_ref().map(Budget::left)
    }
}

/// The budget is spent, whatever else the evidence says.
#[allow(clippy::cast_precision_loss)] // a budget is below 2^52
fn spent(budget: &Budget, verdict: Verdict) -> Verdict {
    let bound = budget.bound();
    let excess = figures::number(budget.excess().floor());
    let reason = format!(
        "the budget is spent: the canary added {excess} failures beyond what stable's rate explains, \
         failedRequests allows {bound}; {}",
        verdict.reason
    );
    let mut evidence = verdict.evidence;
    evidence.against = Some(Against {
        level: Level::Critical,
        limit: bound as f64,
    });
    evidence.statistic = Some(Statistic {
        value: budget.excess(),
        level: bound as f64,
    });
    Verdict {
        kind: VerdictKind::Fail,
        metric: Some(Metric::FailedRequests),
        reason,
        evidence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_limits_do_not_give_the_budget_back() {
        let spec = |failed_requests, min_requests| AnalysisSpec {
            failed_requests: Some(failed_requests),
            min_requests,
            ..AnalysisSpec::default()
        };
        let mut reading = Reading {
            weight: 0.1,
            ..Reading::default()
        };
        let mut before = Judge::new(&spec(10, 50), Term::Watch, reading);
        reading.canary.counts[0].failure = 2;
        before.observe(reading, &Baseline::default());
        let check = |failed_requests, left| {
            let mut judge = Judge::new(&spec(failed_requests, 60), Term::Watch, reading);
            judge.keep_spent(&before);
            assert_eq!(judge.failures_left(), Some(left));
        };
        // 1.9 of them are beyond what the limit allows two requests.
        check(10, 9);
        check(5, 4);
        check(1, 0);
    }

    /// Failures of requests that were sent before this trial.
    #[test]
    fn what_was_sent_before_the_trial_costs_it_nothing() {
        for test in [Test::Sequential, Test::Threshold] {
            let spec = AnalysisSpec {
                test,
                failed_requests: Some(10),
                ..AnalysisSpec::default()
            };
            let mut reading = Reading {
                slot: 1,
                weight: 0.1,
                ..Reading::default()
            };
            reading.canary.counts[0].dispatched = 100;
            let mut judge = Judge::new(&spec, Term::Watch, reading);
            reading.now_ms = 100;
            reading.canary.counts[0].failure = 100;
            let found = judge.observe(reading, &Baseline::default());
            assert_eq!(found.kind, VerdictKind::Inconclusive, "{}", found.reason);
            assert_eq!(judge.failures_left(), Some(10));
            // Its own failures do, also those that end in a later epoch.
            reading.slot = 0;
            judge.begin_test(Term::Watch, reading);
            reading.canary.counts[1].failure = 100;
            let found = judge.observe(reading, &Baseline::default());
            assert_eq!(found.kind, VerdictKind::Fail, "{}", found.reason);
        }
    }
}
