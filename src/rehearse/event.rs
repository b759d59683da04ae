//! What a rehearsal tells.

use std::time::Duration;

use crate::analysis::{Verdict, VerdictKind};
use crate::name::Name;

/// Something would have happened to a rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When, in Unix milliseconds of the log.
    pub at_ms: u64,
    /// To which.
    pub rollout: Name,
    /// The canary's part of the pair's weight then, 0 to 1.
    pub share: f64,
    /// What.
    pub what: What,
}

/// What would have happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The canary got weight: a trial begins.
    Begun,
    /// The canary's weight changed in the log.
    Moved,
    /// Another verdict than before.
    Verdict(Box<Verdict>),
    /// The step in force, from 0, would have been passed.
    Passed {
        /// The step.
        step: usize,
        /// Of so many.
        of: usize,
        /// After so long.
        after: Duration,
    },
    /// The last step would have been passed: the trial is over.
    Promoted,
    /// The step would have been paused: its bake time is over, and evidence did not come.
    Paused {
        /// The step.
        step: usize,
        /// Of so many.
        of: usize,
        /// After so long.
        after: Duration,
    },
    /// The canary would have lost its weight: the trial is over.
    Aborted,
    /// The canary lost its weight in the log: the trial is over.
    Ended,
}

/// What was read, and where each rollout stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// What was read.
    pub tally: Tally,
    /// Each rollout.
    pub rollouts: Vec<RolloutSummary>,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lines of any kind.
    pub lines: u64,
    /// Requests of the rollouts.
    pub requests: u64,
    /// Requests of other routes and variants.
    pub elsewhere: u64,
    /// Lines that make no sense.
    pub garbled: u64,
    /// Lines that were lost when the log was written, as it says.
    pub lost: u64,
    /// Requests that were taken later than they were dispatched: they took more than a minute, or the
    /// log is out of order by more than that.
    pub late: u64,
    /// The first dispatch, in Unix milliseconds.
    pub began_ms: Option<u64>,
    /// The last end.
    pub ended_ms: Option<u64>,
}

/// Where one rollout stands.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutSummary {
    /// Its name.
    pub rollout: Name,
    /// Trials that began.
    pub trials: u64,
    /// Of these, how many would have been aborted.
    pub aborts: u64,
    /// Requests to the canary and to stable that voted.
    pub canary_requests: u64,
    /// See `canary_requests`.
    pub stable_requests: u64,
    /// Requests to both that did not.
    pub without_vote: u64,
    /// The last verdict; `None` when the canary never had weight.
    pub verdict: Option<VerdictKind>,
}
