//! What it means: verdicts from counts. Pure: the caller brings counts and the time.

pub(crate) mod figures;
mod judge;
mod metric;
mod verdict;

pub use judge::{AnalysisSpec, Judge, Limits, Reading};
pub use verdict::{Evidence, Metric, SideEvidence, Verdict, VerdictKind};
