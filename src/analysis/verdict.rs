//! Pass, Hold, Fail or Inconclusive, each with its reason and the figures behind it.

use std::sync::Arc;

use super::spec::Level;

/// What a look at the evidence says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VerdictKind {
    /// Enough evidence that all is well.
    Pass,
    /// Not ill enough to abort, not well enough to go on; or stable shows the same.
    Hold,
    /// The canary is ill: abort.
    Fail,
    /// Too little evidence to say.
    Inconclusive,
}

impl VerdictKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pass, Self::Hold, Self::Fail, Self::Inconclusive];

    /// The word in JSON, labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Hold => "hold",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// What is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Metric {
    /// Share of failures among the evidence, against a limit.
    ErrorRate,
    /// Share of successes among the evidence, against a limit.
    SuccessRate,
    /// The latency that 50 % of requests stay below, against a limit.
    LatencyP50,
    /// The same of 90 %.
    LatencyP90,
    /// The same of 95 %.
    LatencyP95,
    /// The same of 99 %.
    LatencyP99,
    /// Failures beside those of stable in the same moments.
    ErrorRateRatio,
    /// Responses slower than a multiple of stable's p90.
    LatencyFactorP90,
    /// Responses slower than a multiple of stable's p99.
    LatencyFactorP99,
    /// The backend's answers of 4xx beside those of stable in the same moments.
    ClientErrors,
    /// The failures that the canary has added, against the budget.
    FailedRequests,
}

impl Metric {
    /// The word in the configuration, JSON, labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ErrorRate => "errorRate",
            Self::SuccessRate => "successRate",
            Self::LatencyP50 => "latencyP50",
            Self::LatencyP90 => "latencyP90",
            Self::LatencyP95 => "latencyP95",
            Self::LatencyP99 => "latencyP99",
            Self::ErrorRateRatio => "errorRateRatio",
            Self::LatencyFactorP90 => "latencyFactorP90",
            Self::LatencyFactorP99 => "latencyFactorP99",
            Self::ClientErrors => "clientErrors",
            Self::FailedRequests => "failedRequests",
        }
    }
}

/// One side's figures over the window that was judged.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SideEvidence {
    /// Success and failure together.
    pub requests: u64,
    /// The backend's faults among them.
    pub failures: u64,
    /// `failures / requests`; `None` without requests.
    pub error_rate: Option<f64>,
    /// Share of requests slower than the critical p95 latency; `None` when that is not judged.
    pub slow_share: Option<f64>,
    /// What the metric that decided says of this side; `None` when no single one did.
    pub measured: Option<Measured>,
}

/// A share with its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Bad ones (failures, slow responses, client errors) ...
    pub bad: u64,
    /// ... of so many.
    pub all: u64,
    /// `bad / all`, 0 to 1.
    pub share: f64,
    /// Lower end of the 95 % interval (Clopper and Pearson 1934).
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The limit that the deciding metric was held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Against {
    /// How much it weighs.
    pub level: Level,
    /// As written: a share (0 to 1), seconds, a factor, or a number of requests, after the metric.
    pub limit: f64,
}

/// The value of a sequential test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistic {
    /// Evidence against the canary (fail, hold) or for it (pass), as a ratio: 1000 is 1000 to 1. Finite.
    pub value: f64,
    /// What it had to reach.
    pub level: f64,
}

/// The figures behind a verdict.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// How long the window of the figures is, in milliseconds: since the step began, or that of the
    /// plain limit.
    pub window_ms: u64,
    /// For how long the metric that decided has shown what it shows, in milliseconds: what is
    /// `measured` is of this time.
    pub since_ms: Option<u64>,
    /// The canary in it.
    pub canary: SideEvidence,
    /// Stable in it, when it is compared.
    pub stable: Option<SideEvidence>,
    /// The limit of the metric that decided.
    pub against: Option<Against>,
    /// The test that decided.
    pub statistic: Option<Statistic>,
    /// With a failed sequential test: how its value came about.
    pub proof: Option<Arc<Proof>>,
}

/// How the value of a failed test came about, to be recomputed: `docs/verdicts.md` says how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proof {
    /// What M had to reach: 1 / alpha.
    pub level: f64,
    /// M at the last of `ticks`, of all `criteria` that count.
    pub value: f64,
    /// The criteria in use.
    pub criteria: Vec<ProofCriterion>,
    /// The last ticks, oldest first; at most 40.
    pub ticks: Vec<ProofTick>,
}

/// One criterion of a [`Proof`].
#[derive(Clone, Debug, PartialEq)]
pub struct ProofCriterion {
    /// What it judges.
    pub metric: Metric,
    /// Its part of the prior, omega: all add up to 1.
    pub weight: f64,
    /// Largest share that is in order (absolute); `None`: relative to stable.
    pub limit: Option<f64>,
    /// r and delta of a relative criterion.
    pub ratio: f64,
    /// See `ratio`.
    pub margin: f64,
    /// Whether it counts: an absolute one needs stable's alibi.
    pub counts: bool,
    /// The canary's requests that are discounted as coming successes.
    pub open: u64,
    /// S of each alternative before the first of the ticks.
    pub before: Vec<f64>,
    /// `η Σℓ` of each alternative in the block of a second that was running then (latency).
    pub block_before: Vec<f64>,
    /// S of each alternative after the last of them, not discounted.
    pub after: Vec<f64>,
}

/// One tick of a [`Proof`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProofTick {
    /// When, in milliseconds before the verdict.
    pub ago_ms: u64,
    /// For each criterion what it took in.
    pub inputs: Vec<ProofInput>,
}

/// What one criterion took in at one tick.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProofInput {
    /// Prior mass of "it turned bad just now" that entered before.
    pub prior: f64,
    /// The tempering, eta, 0 to 1.
    pub tempering: f64,
    /// Whether a block of a second began with this tick (latency; at most 2 nats a block).
    pub block_begins: bool,
    /// Of requests dispatched in the present epoch and in the one before.
    pub slots: [ProofCounts; 2],
}

/// Counts of one tick and epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProofCounts {
    /// The canary's share of the dispatched requests, 0 to 1.
    pub share: f64,
    /// The canary's requests dispatched.
    pub dispatched: u64,
    /// The canary's requests with evidence.
    pub canary: u64,
    /// Bad ones among them.
    pub canary_bad: u64,
    /// Stable's bad ones.
    pub stable_bad: u64,
}

/// A verdict, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The word.
    pub kind: VerdictKind,
    /// What decided, when one metric did.
    pub metric: Option<Metric>,
    /// In words a person understands, with figures: `canary errorRate 8.1 % (74 of 913 in 1.0 s) is
    /// above the critical limit 5 %; stable 0.4 %`.
    pub reason: String,
    /// The figures.
    pub evidence: Evidence,
}
