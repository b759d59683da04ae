//! The judge of one rollout: whichever test the person chose, and the budget.

use std::time::Duration;

use super::baseline::Baseline;
use super::reading::Reading;
use super::spec::AnalysisSpec;
use super::threshold::ThresholdJudge;
use super::verdict::Verdict;

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

/// The evidence of one rollout so far.
#[derive(Clone, Debug)]
pub struct Judge {
    threshold: ThresholdJudge,
}

impl Judge {
    /// With no evidence yet; what `first` holds was before. A trial that begins anew (start, retry,
    /// a new release) needs a new judge.
    #[must_use]
    pub fn new(spec: &AnalysisSpec, _term: Term, first: Reading) -> Self {
        Self {
            threshold: ThresholdJudge::new(spec, first),
        }
    }

    /// The plan went on to another step: promotion needs fresh evidence from here, and what was seen
    /// against the canary stays. The epoch of `reading` is the new one.
    pub fn begin_step(&mut self, reading: Reading) {
        self.threshold.begin_step(reading);
    }

    /// The weight was changed by a person or by the file: a new test, with an alpha of its own.
    pub fn begin_test(&mut self, _term: Term, reading: Reading) {
        self.threshold.begin_step(reading);
    }

    /// Takes in the counts of a tick and judges. Counts that went back are of another recorder:
    /// all evidence begins anew with them.
    pub fn observe(&mut self, reading: Reading, _baseline: &Baseline) -> Verdict {
        self.threshold.observe(reading)
    }

    /// Failures that the canary may still add; `None` without a budget.
    #[must_use]
    pub fn failures_left(&self) -> Option<u64> {
        None
    }
}
