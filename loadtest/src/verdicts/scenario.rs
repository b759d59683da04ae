//! What a scenario is: the plan, the limits, and what both sides do at each moment.

use std::time::Duration;

use serin::analysis::{AnalysisSpec, Limits};
use serin::rollout::{Plan, Step};
use serin::share::MILLION;

use super::chance::Chance;
use super::latency::Latency;

/// One scenario, as many rollouts of it as wanted.
pub(super) struct Scenario {
    /// How it is called in tables and by `--only`.
    pub(super) name: &'static str,
    /// One sentence.
    pub(super) about: &'static str,
    /// How many rollouts a whole run simulates.
    pub(super) replicates: u64,
    /// Requests per second on both sides together; replicates take turns.
    pub(super) rps: &'static [f64],
    pub(super) plan: Plan,
    pub(super) spec: AnalysisSpec,
    /// Time between two looks.
    pub(super) tick_ms: u64,
    /// The longest that a rollout is followed.
    pub(super) horizon_s: u64,
    /// Whether looks in the warm-up, before the rollout, are as frequent as in it.
    pub(super) fine_warm_up: bool,
    /// What counts as a bad request served.
    pub(super) bad: Bad,
    /// The rules of others are followed on the same requests, for so long.
    pub(super) peers_s: u64,
    /// When trouble begins, in seconds after the start; of a replicate's luck.
    pub(super) onset_s: fn(&Luck) -> f64,
    pub(super) world: World,
    /// The bound that a mean number of bad requests is held against.
    pub(super) wald: Option<f64>,
    /// Detectors that know this true share of failures, and the border of 5 %, are followed on the same requests.
    pub(super) informed: Option<f64>,
}

/// What both sides do at a moment: seconds since the start of the rollout (below 0: before), and the replicate's luck.
pub(super) type World = Box<dyn Fn(f64, &Luck) -> Both + Send + Sync>;

/// What a bad request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// One that failed.
    Failing,
    /// One slower than the limit of this index.
    Slow(usize),
}

/// What is drawn once for a replicate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Luck {
    /// Its number; scenarios that have variants take turns by it.
    pub(super) replicate: u64,
    /// Uniform, 0 to 1.
    pub(super) phases: [f64; 3],
}

impl Luck {
    pub(super) fn new(replicate: u64, chance: &mut Chance) -> Self {
        Self {
            replicate,
            phases: std::array::from_fn(|_| chance.uniform()),
        }
    }
}

/// Both sides at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Both {
    pub(super) canary: Moment,
    pub(super) stable: Moment,
    /// The canary's true share of requests; `None`: its weight.
    pub(super) share: Option<f64>,
}

/// One side at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Requests, as a multiple of what the weight gives it.
    pub(super) rate: f64,
    /// The share that fails, at once.
    pub(super) failing: f64,
    /// Failures come so many at a time.
    pub(super) cluster: u64,
    pub(super) latency: Latency,
    /// Streams that open, per second.
    pub(super) streams: f64,
    /// All streams end now, by their clients.
    pub(super) leave: bool,
}

/// The usual median: p95 161 ms, p99 242 ms.
pub(super) const USUAL_MS: f64 = 60.0;

impl Both {
    /// Both fail as often, and are as fast.
    pub(super) fn alike(failing: f64) -> Self {
        Self::failing(failing, failing)
    }

    /// The canary and stable fail that often.
    pub(super) fn failing(canary: f64, stable: f64) -> Self {
        Self {
            canary: Moment::failing(canary),
            stable: Moment::failing(stable),
            share: None,
        }
    }

    /// Both with that latency.
    pub(super) fn with_latency(mut self, latency: Latency) -> Self {
        (self.canary.latency, self.stable.latency) = (latency, latency);
        self
    }
}

impl Moment {
    pub(super) fn failing(failing: f64) -> Self {
        Self {
            rate: 1.0,
            failing,
            cluster: 1,
            latency: Latency::of(USUAL_MS),
            streams: 0.0,
            leave: false,
        }
    }
}

impl Scenario {
    /// 1000 requests per second, a tenth of them to the canary for five minutes, then all; 5 % errors and p95 500 ms are
    /// critical, stable is compared, trouble is there from the start, 600 rollouts.
    pub(super) fn new(
        name: &'static str,
        about: &'static str,
        world: impl Fn(f64, &Luck) -> Both + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            about,
            replicates: 600,
            rps: &[1_000.0],
            plan: plan(&[(10, 300), (100, 30)]),
            spec: compared(),
            tick_ms: 100,
            horizon_s: 600,
            fine_warm_up: false,
            bad: Bad::Failing,
            peers_s: 0,
            onset_s: |_| 0.0,
            world: Box::new(world),
            wald: None,
            informed: None,
        }
    }

    /// The canary's part of the traffic in the first step.
    pub(super) fn first_weight(&self) -> f64 {
        let first = self.plan.steps().first();
        first.map_or(0.0, |step| f64::from(step.weight_ppm) / f64::from(MILLION))
    }

    /// The same on another plan: weights in percent, bake times in seconds.
    pub(super) fn on(self, steps: &[(u32, u64)]) -> Self {
        Self {
            plan: plan(steps),
            ..self
        }
    }
}

/// A plan of weights in percent and bake times in seconds.
fn plan(steps: &[(u32, u64)]) -> Plan {
    let step = |&(percent, seconds): &(u32, u64)| Step::weigh(percent * 10_000, Duration::from_secs(seconds));
    Plan::new(steps.iter().map(step).collect()).expect("the scenarios' plans rise to 100 %")
}

/// 5 % errors and p95 500 ms are critical, and stable is compared.
pub(super) fn compared() -> AnalysisSpec {
    let p95 = Limits {
        warn: None,
        critical: Some(Duration::from_millis(500)),
    };
    AnalysisSpec {
        latency: [None, None, Some(p95), None],
        client_errors: None,
        ..AnalysisSpec::default()
    }
}

/// 5 % errors are critical, and nothing else is looked at.
pub(super) fn errors_alone() -> AnalysisSpec {
    AnalysisSpec {
        latency: [None; 4],
        compare_with_stable: false,
        ..compared()
    }
}

/// A p95 of 500 ms is critical, and nothing else is looked at.
pub(super) fn latency_alone() -> AnalysisSpec {
    AnalysisSpec {
        error_rate: None,
        compare_with_stable: false,
        ..compared()
    }
}
