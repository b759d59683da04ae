//! `serin demo`: a whole trial in one process, from two services to the summary.

/// What the canary does after its second step has begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// Stays good and is promoted.
    Healthy,
    /// Answers 8 % of requests with an error.
    #[default]
    Errors,
    /// Answers far too late.
    Slow,
    /// Never answers.
    Hang,
    /// Refuses connections and cuts those it has.
    Down,
}

/// How the demo runs.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// What the canary does after its second step has begun
    #[arg(long, value_enum, default_value_t)]
    pub scenario: Scenario,
    /// Leave everything up at the end, until Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// Print one JSON object and nothing else
    #[arg(long)]
    pub json: bool,
    /// Requests per second
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
}

/// Why the demo could not be run.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DemoError(String);

/// Runs the demo; the answer is whether it ended as the scenario should.
///
/// # Errors
/// [`DemoError`] when it could not be run at all.
pub fn run(options: &Options) -> Result<bool, DemoError> {
    Err(DemoError(format!("not built yet: {:?}", options.scenario)))
}
