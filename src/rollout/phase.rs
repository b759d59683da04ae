//! The word for where a rollout stands, and what follows from the word alone.

/// The word for where a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not begun, and the canary has no weight.
    Idle,
    /// The canary has weight, but no plan is running: a breach takes it away.
    Watching,
    /// A step below 100 % is in force.
    Progressing,
    /// A person has stopped the plan; it is judged all the same.
    Paused,
    /// The step of 100 % is in force and bakes.
    Promoting,
    /// The canary has everything, and the trial is over.
    Succeeded,
    /// The canary has nothing, and the trial is over.
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
        match self {
            Self::Idle | Self::Watching | Self::Paused | Self::Succeeded => true,
            Self::Progressing | Self::Promoting | Self::Aborted => false,
        }
    }

    /// Whether a verdict can move it: the canary has weight and its trial is not over (rule 13).
    #[must_use]
    pub const fn is_judged(self) -> bool {
        match self {
            Self::Watching | Self::Progressing | Self::Paused | Self::Promoting => true,
            Self::Idle | Self::Succeeded | Self::Aborted => false,
        }
    }
}
