//! What the canary of the demo does to us, and how that should end.

use std::time::Duration;

/// Of the answers of an ill canary, how many are errors: 0 to 1.
pub(super) const ERROR_SHARE: f64 = 0.08;

/// How late a slow canary answers.
pub(super) const SLOW: Duration = Duration::from_millis(800);

/// What the canary does once the first step bakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Scenario {
    /// Stays well, and is promoted to 100 %
    Healthy,
    /// Answers 8 % of requests with 500
    Errors,
    /// Answers far too late
    Slow,
    /// Takes requests and never answers
    Hang,
    /// Closes its port and its connections
    Down,
}

/// How a run of the demo ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The canary serves everything.
    Succeeded,
    /// The canary serves nothing.
    Aborted,
    /// Neither within the time of the demo.
    TimedOut,
    /// A person ended it.
    Interrupted,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Healthy, Self::Errors, Self::Slow, Self::Hang, Self::Down];

    /// The word on the command line and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Errors => "errors",
            Self::Slow => "slow",
            Self::Hang => "hang",
            Self::Down => "down",
        }
    }

    /// How it should end.
    pub(super) const fn expected(self) -> Outcome {
        match self {
            Self::Healthy => Outcome::Succeeded,
            Self::Errors | Self::Slow | Self::Hang | Self::Down => Outcome::Aborted,
        }
    }

    /// What the canary does, after "the canary".
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Healthy => "stays well",
            Self::Errors => "answers 8 % of its requests with 500",
            Self::Slow => "answers after 800 ms",
            Self::Hang => "takes requests and never answers",
            Self::Down => "closes its port and its connections",
        }
    }
}

impl Outcome {
    /// The word in JSON.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Aborted => "aborted",
            Self::TimedOut => "timedOut",
            Self::Interrupted => "interrupted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ERROR_SHARE, SLOW, Scenario};

    #[test]
    fn the_words_name_the_figures() {
        assert!(
            Scenario::Errors
                .words()
                .contains(&format!("{:.0} %", ERROR_SHARE * 100.0))
        );
        assert!(Scenario::Slow.words().contains(&format!("{} ms", SLOW.as_millis())));
    }
}
