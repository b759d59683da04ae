//! The record of what was changed and decided, by whom and why, as a chain that shows where it was
//! tampered with. Pure.

mod anchor;
mod chain;
mod filter;
mod line;
mod verify;

use std::collections::BTreeMap;

pub use anchor::Anchor;
pub use chain::Chain;
pub use filter::Filter;
pub use line::{LINE_MAX, parse};
pub use verify::{Fault, Report, Verifier, records_are};

/// The fact of a `start` that counts the records it took over though no state told of them.
pub const ADOPTED: &str = "adopted";

/// The kinds of records.
pub const KINDS: [&str; 11] = [
    "weights", "rollout", "flag", "return", "verdict", "approval", "freeze", "reload", "start", "stop", "audit",
];

/// How the reason of a `verdict` begins that nobody acted upon.
pub const WOULD_ABORT: &str = "would abort: ";

/// One record of the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// From 1, rising by one.
    pub seq: u64,
    /// Unix milliseconds.
    pub at_ms: u64,
    /// One of [`KINDS`]. `verdict` only where a canary would have been aborted but for
    /// `mode: observe`; `audit` is about the log itself.
    pub kind: String,
    /// Who: the name of a token, `api`, `file`, `serin`, or a signal.
    pub by: String,
    /// Whom it concerns.
    pub route: Option<String>,
    /// Whom it concerns.
    pub rollout: Option<String>,
    /// What it was before, in words: a phase, or weights such as `stable=90 canary=10`.
    pub from: String,
    /// What it is now.
    pub to: String,
    /// Why, with figures.
    pub reason: String,
    /// The generation that came of it.
    pub generation: u64,
    /// What else is known, such as `release`, `commitTime`, `direction` or `metric`.
    pub facts: BTreeMap<String, String>,
    /// The verdict of that moment with its evidence, in the form of the API.
    pub evidence: Option<serde_json::Value>,
    /// SHA-256 of the line of the record before, in hexadecimal; of the first: 64 zeros.
    pub previous: String,
}
