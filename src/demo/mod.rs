//! `serin demo`: a whole trial in one process, from two services to the summary.

/// What the canary does once the second step bakes.
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

/// Requests per second that a load may have.
pub const RATES: std::ops::RangeInclusive<u32> = 100..=20_000;

/// What to show.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What the canary does.
    pub scenario: Scenario,
    /// Stay up after the summary, until SIGINT or SIGTERM.
    pub keep: bool,
    /// Print one JSON object and nothing else.
    pub json: bool,
    /// Requests per second, in [`RATES`].
    pub rate: u32,
}

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
#[error("the demo of {0:?} is not built in yet")]
pub struct DemoError(Options);

/// Runs the demo to its end, and says whether that was the expected one.
///
/// # Errors
/// [`DemoError`]; nothing keeps running.
pub fn run(options: Options) -> Result<bool, DemoError> {
    Err(DemoError(options))
}
