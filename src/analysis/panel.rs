//! All criteria of one test together: their evidence, and whether it may abort.

use super::baseline::Baseline;
use super::criterion::{Basis, Criterion};
use super::likelihood::Tally;
use super::reading::Reading;
use super::spec::{AnalysisSpec, Level};
use super::suspicion::{Input, Suspicion};
use crate::measure::{AT_P90, AT_P99, Counts};

/// Evidence that does not abort may grow to this many times the level: what an outage has left must
/// not outlast it for hours.
const IDLE_MAX: f64 = 10.0;

/// What both sides did in one tick.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tick {
    /// The canary's share of the requests, what it did, and what stable did, by slot.
    pub slots: [(f64, Counts, Counts); 2],
    /// Parity of the present epoch.
    pub slot: usize,
    /// Prior mass of the tick.
    pub prior: f64,
    /// Prior mass of the block of a second that begins with it; 0 where none does.
    pub block_prior: f64,
    /// A block of a second begins.
    pub block_begins: bool,
}

/// The criteria of one level and the evidence by each.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    /// What M must reach.
    level: f64,
    pub criteria: Vec<Criterion>,
    pub evidence: Vec<Suspicion>,
    /// What each criterion takes in of the present tick.
    pub inputs: Vec<Input>,
}

/// What the evidence of a panel comes to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Weighed {
    /// M of each criterion, requests in flight discounted.
    pub values: Vec<f64>,
    /// M of all.
    pub all: f64,
    /// M of those that count: absolute ones need stable's alibi.
    pub counted: f64,
    /// The criteria that do not count.
    pub excused: Vec<usize>,
    /// Of all, the one with the largest part.
    pub leading: usize,
}

impl Panel {
    /// `None` where nothing is judged at `level`.
    pub(super) fn new(spec: &AnalysisSpec, level: Level) -> Option<Self> {
        let criteria = Criterion::all(spec, level);
        let evidence = vec![Suspicion::default(); criteria.len()];
        (!criteria.is_empty()).then(|| Self {
            level: match level {
                Level::Critical => 1.0 / spec.alpha,
                Level::Warn => WARN_LEVEL,
            },
            inputs: vec![Input::default(); criteria.len()],
            criteria,
            evidence,
        })
    }

    /// What M must reach.
    pub(super) const fn level(&self) -> f64 {
        self.level
    }

    /// Looks at a tick; [`Panel::tick`] takes it in.
    pub(super) fn look(&mut self, tick: &Tick, baseline: &Baseline) {
        for (criterion, into) in self.criteria.iter().zip(&mut self.inputs) {
            *into = input(criterion, tick, baseline);
        }
    }

    /// Takes in the tick, begun at `before_ms`, that was looked at last.
    pub(super) fn tick(&mut self, before_ms: u64) {
        let each = self.criteria.iter().zip(&self.inputs).zip(&mut self.evidence);
        for ((criterion, input), suspicion) in each {
            suspicion.tick(criterion, input, before_ms);
        }
    }

    /// Runs begin anew: they must not reach over a change of weight.
    pub(super) fn change(&mut self) {
        for suspicion in &mut self.evidence {
            suspicion.run = super::run::Run::default();
        }
    }

    /// Weighs the evidence. `with_alibi`: an absolute criterion counts only where stable is clearly better.
    pub(super) fn weigh(&self, reading: &Reading, live: [bool; 2], baseline: &Baseline, with_alibi: bool) -> Weighed {
        let each = self.criteria.iter().zip(&self.evidence);
        let values: Vec<f64> = each
            .map(|(criterion, suspicion)| {
                let open = criterion.basis.open(&reading.canary, live);
                suspicion.discounted(criterion, open, baseline.tempering(criterion.basis))
            })
            .collect();
        let all: f64 = values.iter().sum();
        let excused: Vec<usize> = if with_alibi && all >= self.level {
            let ln_level = self.level.ln();
            let absolute = (0..values.len()).filter(|&at| self.criteria[at].is_absolute());
            absolute
                .filter(|&at| !self.evidence[at].run.has_alibi(ln_level))
                .collect()
        } else {
            Vec::new()
        };
        let counted = (0..values.len()).filter(|at| !excused.contains(at));
        let counted = counted.map(|at| values[at]).sum();
        let leading = largest(&values, |_| true);
        Weighed {
            values,
            all,
            counted,
            excused,
            leading,
        }
    }

    /// Keeps the evidence of `excused` criteria within bounds. Whether that changed any.
    pub(super) fn excuse(&mut self, excused: &[usize]) -> bool {
        let sum_max = IDLE_MAX * self.level;
        let mut changed = false;
        for &at in excused {
            changed |= self.evidence[at].scale_to(sum_max);
        }
        changed
    }

    /// Keeps all evidence within the same bounds: where it aborts nothing, it must end with its cause.
    /// Whether that changed any.
    pub(super) fn bound(&mut self) -> bool {
        let all: Vec<usize> = (0..self.evidence.len()).collect();
        self.excuse(&all)
    }
}

impl Weighed {
    /// Of those that count, the one with the largest part.
    pub(super) fn leading_counted(&self) -> usize {
        largest(&self.values, |at| !self.excused.contains(&at))
    }

    /// Of those that do not count, the one with the largest part.
    pub(super) fn leading_excused(&self) -> usize {
        largest(&self.values, |at| self.excused.contains(&at))
    }
}

/// What a criterion takes in of a tick. One that follows stable's quantiles is idle without them.
pub(super) fn input(criterion: &Criterion, tick: &Tick, baseline: &Baseline) -> Input {
    let [p90, p99] = baseline.quantiles_us();
    let idle = match criterion.basis {
        Basis::Latency(AT_P90) => p90.is_none(),
        Basis::Latency(AT_P99) => p99.is_none(),
        Basis::Errors | Basis::ClientErrors | Basis::Latency(_) => false,
    };
    let latency = criterion.is_latency();
    Input {
        prior: if latency { tick.block_prior } else { tick.prior },
        tempering: baseline.tempering(criterion.basis),
        block_begins: latency && tick.block_begins,
        slots: std::array::from_fn(|slot| {
            // By reference: counts are large, and this is done for every criterion.
            let (share, canary, stable) = &tick.slots[slot];
            let tally = if idle {
                Tally::default()
            } else {
                criterion.basis.tally(canary, stable)
            };
            (*share, tally)
        }),
    }
}

fn largest(values: &[f64], among: impl Fn(usize) -> bool) -> usize {
    let candidates = (0..values.len()).filter(|&at| among(at));
    candidates.max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap_or(0)
}

/// What M of the warnings must reach.
const WARN_LEVEL: f64 = 20.0;
