//! What it means: verdicts from counts. Pure: the caller brings counts and the time.
//!
//! A [`Reading`] holds the counters of both sides. From one to the next, `likelihood` turns what each
//! `criterion` sees into log likelihood ratios; `suspicion` gathers them against the canary, under a
//! `prior` of when it turned bad, and `confidence` for it. `panel` weighs all criteria together and
//! asks `run` for stable's alibi; `sequential` comes to a [`Verdict`], `words` and `trail` explain it. The
//! [`Baseline`] knows what stable is like while nothing is on trial. `threshold` is the plain test instead.
//! `docs/verdicts.md` has the mathematics in one piece.

mod baseline;
mod budget;
mod confidence;
mod criterion;
pub(crate) mod figures;
mod interval;
mod judge;
mod likelihood;
mod look;
mod panel;
mod prior;
mod reading;
mod run;
mod sequential;
mod share;
mod spec;
mod suspicion;
mod threshold;
mod trail;
mod verdict;
mod words;

pub use baseline::Baseline;
pub use judge::{Judge, Term};
pub use reading::{Reading, Side};
pub use spec::{AnalysisSpec, LATENCIES, Level, Limits, Test, limit_index};
pub use verdict::{
    Against, Evidence, Measured, Metric, Proof, ProofCounts, ProofCriterion, ProofInput, ProofTick, SideEvidence,
    Statistic, Verdict, VerdictKind,
};
