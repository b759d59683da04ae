//! What a person writes about verdicts: what is judged, and the limits.

use serde_json::Value as Json;

use crate::config::declare::{record, word_schema, words};
use crate::config::read::{Field, Reader, Scalar, Slot, Written};
use crate::config::scalar::{Count, Factor, Number};
use crate::config::schema::Defs;
use crate::config::tree::NodeId;
use crate::config::units::{Limit, Percent};

record! {
    /// What is judged, and the limits: beyond `warn` a rollout holds, beyond `critical` it aborts.
    Analysis {
        /// How evidence is judged. Default: sequential.
        optional "test" test: Test,
        /// What the canary is compared with in the same moments; trouble that stable has as well holds the rollout
        /// instead of aborting it. Default: stable.
        optional "compareWith" compare_with: CompareWith,
        /// Fewer requests than this pass no step. Default: 50.
        optional "minRequests" min_requests: Count<1, 1_000_000_000>,
        /// The chance that a healthy canary is ever aborted in the whole rollout, from 0.0001% to 5%. Default: 0.1%.
        optional "alpha" alpha: Percent,
        /// The share of failures. Default: critical at 5%, unless there is a successRate.
        optional "errorRate" error_rate: RateLimits,
        /// The share of successes, above 0% and below 100%. Default: not judged.
        optional "successRate" success_rate: SuccessLimits,
        /// The latency that 50% of requests stay below. Default: not judged.
        optional "latencyP50" latency_p50: LatencyLimits,
        /// The latency that 90% of requests stay below. Default: not judged.
        optional "latencyP90" latency_p90: LatencyLimits,
        /// The latency that 95% of requests stay below. Default: not judged.
        optional "latencyP95" latency_p95: LatencyLimits,
        /// The latency that 99% of requests stay below. Default: not judged.
        optional "latencyP99" latency_p99: LatencyLimits,
        /// The canary may fail this many times as often as stable, and errorRateMargin more. Default: 1.5.
        optional "errorRateRatio" error_rate_ratio: Number<1, 100>,
        /// The share of its requests that the canary may fail beyond errorRateRatio times stable's. Default: 0.5%.
        optional "errorRateMargin" error_rate_margin: Percent,
        /// A response is slow beside stable when it takes longer than this many times stable's p90 or p99; or off.
        /// Default: 1.25.
        optional "latencyFactor" latency_factor: Factor,
        /// What follows when the canary answers 4xx where stable does not. Default: warn.
        optional "clientErrors" client_errors: ClientErrors,
        /// One key casts at most so many votes in ten seconds and worker, where there are many keys. Default: 10 where
        /// the split has a key.
        optional "maxVotesPerKey" max_votes_per_key: Count<1, 1_000_000>,
        /// The latencies of so many first requests of each endpoint are no evidence. Default: 0.
        optional "warmUp" warm_up: Count<0, 1_000_000>,
        /// What follows when a step's bake time is over and there is too little evidence. Default: extend.
        optional "onInsufficientData" on_insufficient_data: OnInsufficientData,
        /// How much longer than the bake time evidence is waited for before the rollout is paused. Default: 24h.
        optional "maxWait" max_wait: Limit,
    }
    later []
}

words! {
    /// How evidence is judged.
    Test {
        /// Tests that may be looked at at any time, with a bounded chance of a false abort.
        "sequential" Sequential,
        /// Plain limits that can be checked by hand.
        "threshold" Threshold,
    }
    later []
}

words! {
    /// What follows from many 4xx answers.
    ClientErrors {
        /// Nothing.
        "off" Off,
        /// The rollout holds.
        "warn" Warn,
        /// The rollout aborts.
        "critical" Critical,
    }
    later []
}

words! {
    /// What follows from too little evidence.
    OnInsufficientData {
        /// The rollout is paused at once, for a person.
        "hold" Hold,
        /// The step goes on, for maxWait at most.
        "extend" Extend,
    }
    later []
}

words! {
    /// What a canary is compared with.
    CompareWith {
        /// The variant that serves today.
        "stable" Stable,
        /// Nothing; limits alone decide.
        "none" Nothing,
    }
    later []
}

record! {
    /// Limits of a rate.
    RateLimits {
        /// Above it the rollout holds.
        optional "warn" warn: Percent,
        /// Above it the rollout aborts.
        optional "critical" critical: Percent,
    }
    later []
}

record! {
    /// Limits of a share of successes.
    SuccessLimits {
        /// Below it the rollout holds; no lower than critical.
        optional "warn" warn: Percent,
        /// Below it the rollout aborts.
        optional "critical" critical: Percent,
    }
    later []
}

record! {
    /// Limits of a latency.
    LatencyLimits {
        /// Above it the rollout holds.
        optional "warn" warn: Limit,
        /// Above it the rollout aborts.
        optional "critical" critical: Limit,
    }
    later []
}
