//! The figures behind a verdict as JSON, down to the proof of an abort, from which its test value
//! can be recomputed. Numbers have full precision.

use serde::Serialize;

use crate::analysis::{
    Measured, Metric, Proof, ProofCounts, ProofCriterion, ProofInput, ProofTick, SideEvidence, Statistic, Verdict,
};

/// The figures behind a verdict, as the API and the audit log show them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EvidenceBody {
    metric: Option<&'static str>,
    /// `warn` or `critical`: which limit of the metric decided.
    level: Option<&'static str>,
    limit: Option<f64>,
    window_seconds: f64,
    /// For how long the metric has shown what it shows: `bad`, `all` and `share` are of this time.
    since_seconds: Option<f64>,
    canary: Side,
    stable: Option<Side>,
    statistic: Option<StatisticBody>,
    /// Only with a failed verdict, and in lists never.
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<ProofBody>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Side {
    requests: u64,
    failures: u64,
    error_rate: Option<f64>,
    slow_share: Option<f64>,
    /// What the metric that decided says: bad ones of all, their share and its 95 % interval.
    bad: Option<u64>,
    all: Option<u64>,
    share: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
}

/// The value of a test, and what it had to reach.
#[derive(Debug, Serialize)]
pub struct StatisticBody {
    value: f64,
    level: f64,
}

#[derive(Debug, Serialize)]
struct ProofBody {
    level: f64,
    value: f64,
    criteria: Vec<Criterion>,
    ticks: Vec<Tick>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Criterion {
    metric: &'static str,
    weight: f64,
    limit: Option<f64>,
    ratio: f64,
    margin: f64,
    counts: bool,
    open: u64,
    before: Vec<f64>,
    block_before: Vec<f64>,
    after: Vec<f64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tick {
    ago_ms: u64,
    inputs: Vec<Input>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    prior: f64,
    tempering: f64,
    block_begins: bool,
    slots: [Counts; 2],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    share: f64,
    dispatched: u64,
    canary: u64,
    canary_bad: u64,
    stable_bad: u64,
}

impl EvidenceBody {
    /// Without the proof, however it failed.
    #[must_use]
    pub fn brief(verdict: &Verdict) -> Self {
        let evidence = &verdict.evidence;
        Self {
            metric: verdict.metric.map(Metric::as_str),
            level: evidence.against.map(|against| against.level.as_str()),
            limit: evidence.against.map(|against| against.limit),
            window_seconds: seconds_of_ms(evidence.window_ms),
            since_seconds: evidence.since_ms.map(seconds_of_ms),
            canary: Side::from(evidence.canary),
            stable: evidence.stable.map(Side::from),
            statistic: evidence.statistic.map(StatisticBody::from),
            proof: None,
        }
    }

    /// With the proof, where there is one.
    #[must_use]
    pub fn whole(verdict: &Verdict) -> Self {
        Self {
            proof: verdict.evidence.proof.as_deref().map(ProofBody::from),
            ..Self::brief(verdict)
        }
    }
}

#[allow(clippy::cast_precision_loss)] // windows are short
fn seconds_of_ms(ms: u64) -> f64 {
    ms as f64 / 1e3
}

impl From<SideEvidence> for Side {
    fn from(side: SideEvidence) -> Self {
        let of = |figure: fn(Measured) -> f64| side.measured.map(figure);
        Self {
            requests: side.requests,
            failures: side.failures,
            error_rate: side.error_rate,
            slow_share: side.slow_share,
            bad: side.measured.map(|measured| measured.bad),
            all: side.measured.map(|measured| measured.all),
            share: of(|measured| measured.share),
            low: of(|measured| measured.low),
            high: of(|measured| measured.high),
        }
    }
}

impl From<Statistic> for StatisticBody {
    fn from(Statistic { value, level }: Statistic) -> Self {
        Self { value, level }
    }
}

impl From<&Proof> for ProofBody {
    fn from(proof: &Proof) -> Self {
        Self {
            level: proof.level,
            value: proof.value,
            criteria: proof.criteria.iter().map(Criterion::from).collect(),
            ticks: proof.ticks.iter().map(Tick::from).collect(),
        }
    }
}

impl From<&ProofCriterion> for Criterion {
    fn from(criterion: &ProofCriterion) -> Self {
        Self {
            metric: criterion.metric.as_str(),
            weight: criterion.weight,
            limit: criterion.limit,
            ratio: criterion.ratio,
            margin: criterion.margin,
            counts: criterion.counts,
            open: criterion.open,
            before: criterion.before.clone(),
            block_before: criterion.block_before.clone(),
            after: criterion.after.clone(),
        }
    }
}

impl From<&ProofTick> for Tick {
    fn from(tick: &ProofTick) -> Self {
        Self {
            ago_ms: tick.ago_ms,
            inputs: tick.inputs.iter().map(Input::from).collect(),
        }
    }
}

impl From<&ProofInput> for Input {
    fn from(input: &ProofInput) -> Self {
        Self {
            prior: input.prior,
            tempering: input.tempering,
            block_begins: input.block_begins,
            slots: input.slots.map(Counts::from),
        }
    }
}

impl From<ProofCounts> for Counts {
    fn from(counts: ProofCounts) -> Self {
        Self {
            share: counts.share,
            dispatched: counts.dispatched,
            canary: counts.canary,
            canary_bad: counts.canary_bad,
            stable_bad: counts.stable_bad,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::EvidenceBody;
    use crate::admin::fake;
    use crate::analysis::{
        Against, Level, Measured, Metric, Proof, ProofCounts, ProofCriterion, ProofInput, ProofTick, Statistic,
    };

    #[test]
    fn a_failure_shows_what_decided_and_how_to_recompute_it() {
        let mut verdict = fake::verdict();
        let evidence = &mut verdict.evidence;
        (evidence.stable, evidence.window_ms, evidence.since_ms) = (None, 2_000, Some(1_500));
        evidence.canary.measured = Some(Measured {
            bad: 74,
            all: 913,
            share: 0.081,
            low: 0.064,
            high: 0.101,
        });
        evidence.against = Some(Against {
            level: Level::Critical,
            limit: 0.05,
        });
        evidence.statistic = Some(Statistic {
            value: 1_320.000_000_000_000_2,
            level: 1_000.0,
        });
        evidence.proof = Some(Arc::new(Proof {
            level: 1_000.0,
            value: 0.1 + 0.2,
            criteria: vec![ProofCriterion {
                metric: Metric::ErrorRate,
                weight: 0.25,
                limit: Some(0.05),
                ratio: 1.5,
                margin: 0.005,
                counts: true,
                open: 3,
                before: vec![0.0, 1e-300],
                block_before: vec![-0.5],
                after: vec![1.0, 2.0],
            }],
            ticks: vec![ProofTick {
                ago_ms: 100,
                inputs: vec![ProofInput {
                    prior: 0.7,
                    tempering: 1.0,
                    block_begins: true,
                    slots: [ProofCounts {
                        share: 0.1,
                        dispatched: 9,
                        canary: 8,
                        canary_bad: 7,
                        stable_bad: 6,
                    }; 2],
                }],
            }],
        }));
        let counts = r#"{"share":0.1,"dispatched":9,"canary":8,"canaryBad":7,"stableBad":6}"#;
        let brief = concat!(
            r#"{"metric":"errorRate","level":"critical","limit":0.05,"windowSeconds":2.0,"sinceSeconds":1.5,"canary":{"requests":1000,"#,
            r#""failures":4,"errorRate":0.004,"slowShare":null,"bad":74,"all":913,"share":0.081,"low":0.064,"#,
            r#""high":0.101},"stable":null,"statistic":{"value":1320.0000000000002,"level":1000.0}"#,
        );
        let proof = format!(
            concat!(
                r#","proof":{{"level":1000.0,"value":0.30000000000000004,"criteria":[{{"metric":"errorRate","#,
                r#""weight":0.25,"limit":0.05,"ratio":1.5,"margin":0.005,"counts":true,"open":3,"#,
                r#""before":[0.0,1e-300],"blockBefore":[-0.5],"after":[1.0,2.0]}}],"ticks":[{{"agoMs":100,"inputs":[{{"prior":0.7,"#,
                r#""tempering":1.0,"blockBegins":true,"slots":[{counts},{counts}]}}]}}]}}"#,
            ),
            counts = counts
        );
        let check = |body: EvidenceBody, expected| assert_eq!(serde_json::to_string(&body).unwrap(), expected);
        check(EvidenceBody::brief(&verdict), format!("{brief}}}"));
        check(EvidenceBody::whole(&verdict), format!("{brief}{proof}}}"));
    }
}
