//! The last ticks of a test, so that the value of an abort can be recomputed by whoever reads of it.

use std::collections::VecDeque;

use super::criterion::{Criterion, Law};
use super::panel::{Panel, Weighed};
use super::reading::Reading;
use super::suspicion::{Input, Suspicion, prior};
use super::verdict::{Proof, ProofCounts, ProofCriterion, ProofInput, ProofTick};

/// Four seconds of regular ticks.
const TICKS_MAX: usize = 40;

/// The last ticks, oldest first, each with the evidence before it.
#[derive(Clone, Debug, Default)]
pub(super) struct Trail {
    ticks: VecDeque<Taken>,
}

#[derive(Clone, Debug, Default)]
struct Taken {
    now_ms: u64,
    before: Vec<([f64; 6], [f64; 6])>,
    inputs: Vec<Input>,
}

impl Trail {
    /// Notes a tick that `panel` has looked at and is about to take in.
    pub(super) fn note(&mut self, now_ms: u64, panel: &Panel) {
        let mut taken = if self.ticks.len() == TICKS_MAX {
            self.ticks.pop_front().unwrap_or_default()
        } else {
            Taken::default()
        };
        taken.now_ms = now_ms;
        taken.before.clear();
        taken.inputs.clear();
        let before = panel.evidence.iter().map(|suspicion| (suspicion.s, suspicion.block));
        taken.before.extend(before);
        taken.inputs.extend_from_slice(&panel.inputs);
        self.ticks.push_back(taken);
    }

    /// What was noted does not lead to the present evidence any more.
    pub(super) fn clear(&mut self) {
        self.ticks.clear();
    }

    /// How `panel` came to `weighed`.
    pub(super) fn proof(&self, panel: &Panel, weighed: &Weighed, reading: &Reading, live: [bool; 2]) -> Proof {
        let criteria = panel.criteria.iter().zip(&panel.evidence).enumerate();
        Proof {
            level: panel.level(),
            value: weighed.counted,
            criteria: criteria
                .map(|(at, (criterion, suspicion))| ProofCriterion {
                    counts: !weighed.excused.contains(&at),
                    open: criterion.basis.open(&reading.canary, live),
                    ..self.criterion(at, criterion, suspicion)
                })
                .collect(),
            ticks: self.ticks.iter().map(|taken| taken.proof(reading.now_ms)).collect(),
        }
    }

    fn criterion(&self, at: usize, criterion: &Criterion, suspicion: &Suspicion) -> ProofCriterion {
        let alternatives = prior(&criterion.law).count();
        let list = |values: [f64; 6]| values[..alternatives].to_vec();
        let (before, block) = match self.ticks.front() {
            Some(first) => first.before[at],
            None => (suspicion.s, suspicion.block),
        };
        let (limit, ratio, margin) = match criterion.law {
            Law::Absolute { limit, .. } => (Some(limit), 0.0, 0.0),
            Law::Relative { ratio, margin, .. } => (None, ratio, margin),
        };
        ProofCriterion {
            metric: criterion.metric,
            weight: criterion.weight,
            limit,
            ratio,
            margin,
            counts: true,
            open: 0,
            before: list(before),
            block_before: list(block),
            after: list(suspicion.s),
        }
    }
}

impl Taken {
    fn proof(&self, now_ms: u64) -> ProofTick {
        let counts = |(share, tally): (f64, super::likelihood::Tally)| ProofCounts {
            share,
            dispatched: tally.dispatched,
            canary: tally.canary,
            canary_bad: tally.canary_bad,
            stable_bad: tally.stable_bad,
        };
        let inputs = self.inputs.iter();
        ProofTick {
            ago_ms: now_ms.saturating_sub(self.now_ms),
            inputs: inputs
                .map(|input| ProofInput {
                    prior: input.prior,
                    tempering: input.tempering,
                    block_begins: input.block_begins,
                    slots: input.slots.map(counts),
                })
                .collect(),
        }
    }
}
