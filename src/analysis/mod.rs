//! What it means: verdicts from counts. Pure: the caller brings counts and the time.

mod baseline;
pub(crate) mod figures;
mod judge;
mod look;
mod reading;
mod spec;
mod threshold;
mod verdict;

pub use baseline::Baseline;
pub use judge::{Judge, Term};
pub use reading::{Reading, Side};
pub use spec::{AnalysisSpec, LATENCIES, Level, Limits, Test, limit_index};
pub use verdict::{
    Against, Evidence, Measured, Metric, Proof, ProofCounts, ProofCriterion, ProofInput, ProofTick, SideEvidence,
    Statistic, Verdict, VerdictKind,
};
