//! Pass, Hold, Fail or Inconclusive, each with its reason and the figures behind it.

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Share of failures among the evidence.
    ErrorRate,
    /// The latency that 95 % of requests stay below.
    LatencyP95,
}

impl Metric {
    /// The word in the configuration, JSON, labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ErrorRate => "errorRate",
            Self::LatencyP95 => "latencyP95",
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
    /// Share of requests slower than the critical latency; `None` when that is not judged.
    pub slow_share: Option<f64>,
}

/// The figures behind a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// How long the judged window is, in milliseconds.
    pub window_ms: u64,
    /// The canary in it.
    pub canary: SideEvidence,
    /// Stable in it, when it is compared.
    pub stable: Option<SideEvidence>,
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
