//! Where a rollout stands, and how it moves on. Pure: the caller brings time and verdict.

use std::time::Duration;

use super::plan::Plan;
use crate::analysis::Verdict;

/// The word for where a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Phase {
    Idle,
    Watching,
    Progressing,
    Paused,
    Promoting,
    Succeeded,
    Aborted,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Idle,
        Self::Watching,
        Self::Progressing,
        Self::Paused,
        Self::Promoting,
        Self::Succeeded,
        Self::Aborted,
    ];

    /// The word in JSON, labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Watching => "watching",
            Self::Progressing => "progressing",
            Self::Paused => "paused",
            Self::Promoting => "promoting",
            Self::Succeeded => "succeeded",
            Self::Aborted => "aborted",
        }
    }

    /// Whether weights may be set by hand (design §5): idle, watching, paused, succeeded.
    #[must_use]
    pub const fn allows_weights_by_hand(self) -> bool {
        matches!(self, Self::Idle | Self::Watching | Self::Paused | Self::Succeeded)
    }
}

/// What a person may say to a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Begin the plan at its first step.
    Start,
    /// Go on to the next step without waiting; `full`: to the end.
    Promote {
        /// Straight to 100 %.
        full: bool,
    },
    /// The canary gets nothing; the trial is over.
    Abort,
    /// Stay where it is.
    Pause,
    /// Go on.
    Resume,
    /// Begin anew after an abort.
    Retry,
}

/// One rollout's place in its plan. Fields are private to the state machine; it is rebuilt from
/// a stored form with [`State::restore`].
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    phase: Phase,
}

/// A new state, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// Where it stands now.
    pub state: State,
    /// In words, with figures where a verdict decided.
    pub reason: String,
}

/// Why a command cannot be done now: 409.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

impl State {
    /// Not begun: the weights of file or person stand. `Watching` when they give the canary weight.
    #[must_use]
    pub fn initial(_canary_has_weight: bool, _now_ms: u64) -> Self {
        todo!()
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Index of the step in force, while there is one.
    #[must_use]
    pub fn step(&self) -> Option<usize> {
        todo!()
    }

    /// When this phase and step began, in Unix milliseconds.
    #[must_use]
    pub fn since_ms(&self) -> u64 {
        todo!()
    }

    /// How long the present step has baked. Time that Serin was down does not count.
    #[must_use]
    pub fn baked(&self) -> Duration {
        todo!()
    }

    /// What the rollout puts in force: the canary's part of the pair in parts per million.
    /// `None`: the weights of file or person stand.
    #[must_use]
    pub fn canary_ppm(&self, _plan: &Plan) -> Option<u32> {
        todo!()
    }

    /// One tick: `elapsed` since the last one. `Ok(new state)` moved on for a reason (weights,
    /// phase or step changed); `Err(new state)` only baked on.
    pub fn tick(&self, _plan: &Plan, _verdict: &Verdict, _elapsed: Duration, _now_ms: u64) -> Result<Move, Self> {
        todo!()
    }

    /// What a person asks.
    ///
    /// # Errors
    /// [`Refused`] says what is possible instead.
    pub fn command(&self, _plan: &Plan, _verb: Verb, _now_ms: u64) -> Result<Move, Refused> {
        todo!()
    }

    /// Weights were set by a person or the file; `canary_has_weight` by them.
    ///
    /// # Errors
    /// [`Refused`] where the phase does not allow it.
    pub fn weights_set(&self, _canary_has_weight: bool, _now_ms: u64) -> Result<Move, Refused> {
        todo!()
    }

    /// The plan was changed from `old` to `new`: phase stays, the step is the nearest that exists.
    #[must_use]
    pub fn plan_changed(&self, _old: &Plan, _new: &Plan, _now_ms: u64) -> Self {
        todo!()
    }

    /// The `release` of the canary's backend was changed: starts the plan when `auto_start`; leads
    /// from aborted to idle otherwise. `None`: nothing follows from it.
    #[must_use]
    pub fn release_changed(&self, _plan: &Plan, _auto_start: bool, _now_ms: u64) -> Option<Move> {
        todo!()
    }
}
