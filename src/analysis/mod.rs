//! What it means: verdicts from counts. Pure: the caller brings counts and the time.

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
