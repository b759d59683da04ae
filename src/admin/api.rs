//! The JSON shapes of the admin API, converted by hand from what control shows. They are promises
//! to people outside: a field is added, never renamed.
//!
//! Units: latencies and durations in seconds, shares and rates 0 to 1, instants as RFC 3339 in
//! UTC. What is unknown is `null`; a number is always finite.

mod flag;

use std::collections::BTreeMap;

use serde::Serialize;

pub(super) use self::flag::{Beside, Evaluation, Flag, Flags};
use super::instant::rfc3339;
use crate::analysis::{Metric, VerdictKind};
use crate::control::{
    BackendView, CertificateView, CohortView, EndpointView, Entry, EventRecord, EvidenceBody, FreezeView, IssuerView,
    ListenerView, ReloadView, RolloutView, RouteView, StatisticBody, StatusView, VariantStats, VariantView,
};
use crate::name::Name;
use crate::rollout::{Approval, Phase};

/// `{"ok":true}`
#[derive(Debug, Serialize)]
pub(super) struct Ok {
    pub(super) ok: bool,
}

/// An RFC 9457 problem document.
#[derive(Debug, Serialize)]
pub(super) struct ProblemBody<'a> {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) title: &'a str,
    pub(super) status: u16,
    pub(super) detail: &'a str,
    /// With 422: each bad field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) errors: Vec<FieldError<'a>>,
    /// With 412: the present generation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) generation: Option<u64>,
}

/// One bad field of a body, or one problem of a file.
#[derive(Debug, Serialize)]
pub(super) struct FieldError<'a> {
    /// Path of the field in the body or file.
    field: &'a str,
    detail: &'a str,
    /// `file:line:column`, where it is about a file.
    #[serde(skip_serializing_if = "str::is_empty")]
    place: &'a str,
}

/// `GET /v1/status`
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status<'a> {
    version: &'a str,
    ready: bool,
    /// New requests are refused for want of memory.
    overloaded: bool,
    generation: u64,
    uptime_seconds: f64,
    config_file: &'a str,
    environment: Option<&'a str>,
    workers: usize,
    listeners: Vec<Listener<'a>>,
    admin: AdminApi<'a>,
    last_reload: Reload<'a>,
    rollouts: Vec<RolloutPhase<'a>>,
    kept: &'a [String],
    state_problem: Option<&'a str>,
    /// Those whose tokens are believed.
    jwt: Vec<Issuer<'a>>,
    /// Since when nothing moves forward; `null`: it does.
    frozen: Option<Freeze<'a>>,
}

/// One whose tokens are believed, and the state of the keys.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Issuer<'a> {
    issuer: &'a str,
    /// How many can verify tokens now.
    keys: usize,
    /// `null`: never, or they stand in a file.
    fetched_at: Option<String>,
    problem: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listener<'a> {
    name: &'a str,
    address: String,
    tls: bool,
    certificates: Vec<Certificate<'a>>,
    /// `null`: clients are asked for no certificate.
    client_ca: Option<ClientCa<'a>>,
}

/// What clients are shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Certificate<'a> {
    names: &'a [String],
    not_before: String,
    not_after: String,
    file: &'a str,
    /// Why what its files hold now is not shown.
    problem: Option<&'a str>,
}

/// Who vouches for clients.
#[derive(Debug, Serialize)]
struct ClientCa<'a> {
    file: &'a str,
    required: bool,
    problem: Option<&'a str>,
}

/// The admin API itself.
#[derive(Debug, Serialize)]
struct AdminApi<'a> {
    certificates: Vec<Certificate<'a>>,
}

#[derive(Debug, Serialize)]
struct RolloutPhase<'a> {
    name: &'a str,
    phase: &'static str,
}

/// The last reading of the file.
#[derive(Debug, Serialize)]
pub(super) struct Reload<'a> {
    ok: bool,
    at: String,
    problems: Vec<FieldError<'a>>,
}

/// `GET /v1/routes`
#[derive(Debug, Serialize)]
pub(super) struct Routes<'a> {
    pub(super) routes: Vec<Route<'a>>,
}

/// `GET /v1/routes/{route}`
#[derive(Debug, Serialize)]
pub(super) struct Route<'a> {
    name: &'a str,
    generation: u64,
    /// While its flag is off, everybody gets the default variant.
    enabled: bool,
    variants: Vec<Variant<'a>>,
    cohorts: Vec<Cohort<'a>>,
    rollout: Option<RolloutPhase<'a>>,
}

/// Those whom one cohort placed, votes and others together.
#[derive(Debug, Serialize)]
struct Cohort<'a> {
    name: &'a str,
    variants: Vec<CohortVariant<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CohortVariant<'a> {
    name: &'a str,
    requests: u64,
    failures: u64,
    error_rate: Option<f64>,
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
    in_flight: u64,
    window_seconds: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Variant<'a> {
    name: &'a str,
    backend: &'a str,
    release: Option<&'a str>,
    weight: u32,
    share: f64,
    requests: u64,
    failures: u64,
    error_rate: Option<f64>,
    cohort_requests: u64,
    cohort_failures: u64,
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
    in_flight: u64,
    window_seconds: f64,
}

/// `GET /v1/backends`
#[derive(Debug, Serialize)]
pub(super) struct Backends<'a> {
    pub(super) backends: Vec<Backend<'a>>,
}

/// `GET /v1/backends/{backend}`
#[derive(Debug, Serialize)]
pub(super) struct Backend<'a> {
    name: &'a str,
    release: Option<&'a str>,
    endpoints: Vec<Endpoint<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint<'a> {
    address: &'a str,
    healthy: bool,
    ejected: bool,
    in_flight: u32,
    connections: u32,
    idle: u32,
}

/// `GET /v1/rollouts`
#[derive(Debug, Serialize)]
pub(super) struct Rollouts<'a> {
    pub(super) rollouts: Vec<Rollout<'a>>,
}

/// `GET /v1/rollouts/{rollout}`
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rollout<'a> {
    name: &'a str,
    route: &'a str,
    from: &'a str,
    to: &'a str,
    /// `act`, or `observe`: judged and reported, and nothing moves by itself.
    mode: &'static str,
    phase: &'static str,
    step: Option<usize>,
    steps: usize,
    step_weights: &'a [f64],
    since: String,
    baked_seconds: f64,
    bake_seconds: f64,
    share: f64,
    verdict: Option<&'static str>,
    verdict_reason: Option<&'a str>,
    evidence: Option<EvidenceBody>,
    reason: &'a str,
    generation: u64,
    /// `canary`, `blueGreen` or `rolling`.
    strategy: &'a str,
    /// The release on trial, or last on trial.
    release: Option<&'a str>,
    /// The steps, each with where it stands.
    plan: Vec<PlanStep>,
    /// What it waits for beside time and evidence.
    waiting: Option<&'a str>,
    /// Given for the gate that it stands at.
    approvals: Vec<ApprovalBody<'a>>,
    /// Nothing moves forward, here and everywhere.
    frozen: bool,
    /// After a success: until when the former version stands by, the canary is judged on, and `rollback` is
    /// possible. `null`: no more, not at all, or (a rollback) until the next start.
    standby_until: Option<String>,
    watch_until: Option<String>,
    rollback_until: Option<String>,
    /// Newest last; left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Vec<Event<'a>>>,
}

/// What a rollout's answer shows of the whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present {
    pub(super) generation: u64,
    pub(super) frozen: bool,
}

/// One step of a plan.
#[derive(Debug, Serialize)]
struct PlanStep {
    /// The canary's part of the pair, 0 to 1.
    weight: f64,
    /// What it waits for: `evidence`, `pause`, `approvals`, `window`, `webhook`, `smoke` or `drain`.
    kind: Option<&'static str>,
    /// The part of the file's list that it comes of, from 0.
    part: Option<usize>,
    /// `done`, `current` or `ahead`; `failed`: it was aborted there.
    state: &'static str,
}

/// One person's word.
#[derive(Debug, Serialize)]
struct ApprovalBody<'a> {
    by: &'a str,
    roles: &'a [String],
    reason: &'a str,
    at: String,
    generation: u64,
}

/// `GET /v1/freeze`, and what changes it.
#[derive(Debug, Serialize)]
pub(super) struct Freeze<'a> {
    frozen: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
}

/// `GET /v1/rollouts/{rollout}/verdict`: flat, for an Argo `web` metric or a CI job.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VerdictBody<'a> {
    rollout: &'a str,
    phase: &'static str,
    mode: &'static str,
    verdict: &'static str,
    ok: bool,
    reason: &'a str,
    /// What decided, when one metric did, and its limit.
    metric: Option<&'static str>,
    limit: Option<f64>,
    statistic: Option<StatisticBody>,
    error_rate: Option<f64>,
    requests: u64,
    failures: u64,
    stable_error_rate: Option<f64>,
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
    window_seconds: f64,
}

/// One event: in the stream and in a rollout's history.
#[derive(Debug, Serialize)]
pub(super) struct Event<'a> {
    id: u64,
    at: String,
    kind: &'static str,
    generation: u64,
    by: &'a str,
    route: Option<&'a str>,
    rollout: Option<&'a str>,
    from: &'a str,
    to: &'a str,
    reason: &'a str,
    /// What else is known, such as `release` or `direction`.
    facts: BTreeMap<&'static str, &'a str>,
    verdict: Option<&'static str>,
    evidence: Option<EvidenceBody>,
}

impl<'a> From<&'a Entry> for FieldError<'a> {
    fn from(entry: &'a Entry) -> Self {
        Self {
            field: &entry.path,
            detail: &entry.message,
            place: &entry.place,
        }
    }
}

impl<'a> Status<'a> {
    /// `ready`: the listeners accept. `overloaded`: there is no room for new requests.
    pub(super) fn new(view: &'a StatusView, version: &'a str, ready: bool, overloaded: bool) -> Self {
        Self {
            version,
            ready,
            overloaded,
            generation: view.generation,
            uptime_seconds: view.uptime_seconds,
            config_file: &view.config_file,
            environment: view.environment.as_deref(),
            workers: view.workers,
            listeners: view.listeners.iter().map(Listener::from).collect(),
            admin: AdminApi {
                certificates: view.admin_certificates.iter().map(Certificate::from).collect(),
            },
            last_reload: Reload::from(&view.last_reload),
            rollouts: view
                .rollouts
                .iter()
                .map(|(name, phase)| RolloutPhase {
                    name: name.as_str(),
                    phase: phase.as_str(),
                })
                .collect(),
            kept: &view.kept,
            state_problem: view.state_problem.as_deref(),
            jwt: view.issuers.iter().map(Issuer::from).collect(),
            frozen: view.frozen.as_ref().map(|frozen| Freeze::from(Some(frozen))),
        }
    }
}

impl<'a> From<&'a IssuerView> for Issuer<'a> {
    fn from(view: &'a IssuerView) -> Self {
        Self {
            issuer: &view.issuer,
            keys: view.keys,
            fetched_at: view.fetched_at_ms.map(rfc3339),
            problem: view.problem.as_deref(),
        }
    }
}

impl<'a> From<&'a ListenerView> for Listener<'a> {
    fn from(view: &'a ListenerView) -> Self {
        Self {
            name: view.name.as_str(),
            address: view.address.to_string(),
            tls: view.tls,
            certificates: view.certificates.iter().map(Certificate::from).collect(),
            client_ca: view.client_ca.as_ref().map(|ca| ClientCa {
                file: &ca.file,
                required: ca.required,
                problem: ca.problem.as_deref(),
            }),
        }
    }
}

impl<'a> From<&'a CertificateView> for Certificate<'a> {
    fn from(view: &'a CertificateView) -> Self {
        // A certificate of before 1970 is shown as of then.
        let time = |s: i64| rfc3339(u64::try_from(s).unwrap_or(0).saturating_mul(1_000));
        Self {
            names: &view.names,
            not_before: time(view.not_before_s),
            not_after: time(view.not_after_s),
            file: &view.file,
            problem: view.problem.as_deref(),
        }
    }
}

impl<'a> From<&'a ReloadView> for Reload<'a> {
    fn from(view: &'a ReloadView) -> Self {
        Self {
            ok: view.ok,
            at: rfc3339(view.at_ms),
            problems: view.problems.iter().map(FieldError::from).collect(),
        }
    }
}

impl<'a> From<&'a RouteView> for Route<'a> {
    fn from(view: &'a RouteView) -> Self {
        Self {
            name: view.name.as_str(),
            generation: view.generation,
            enabled: view.enabled,
            variants: view.variants.iter().map(Variant::from).collect(),
            cohorts: view.cohorts.iter().map(Cohort::from).collect(),
            rollout: view.rollout.as_ref().map(|(name, phase)| RolloutPhase {
                name: name.as_str(),
                phase: phase.as_str(),
            }),
        }
    }
}

impl<'a> From<&'a VariantView> for Variant<'a> {
    fn from(view: &'a VariantView) -> Self {
        Self {
            name: view.name.as_str(),
            backend: view.backend.as_str(),
            release: view.release.as_deref(),
            weight: view.weight,
            share: view.share,
            requests: view.stats.requests,
            failures: view.stats.failures,
            error_rate: view.stats.error_rate,
            cohort_requests: view.stats.cohort_requests,
            cohort_failures: view.stats.cohort_failures,
            p50: view.stats.p50_us.map(seconds_of_us),
            p95: view.stats.p95_us.map(seconds_of_us),
            p99: view.stats.p99_us.map(seconds_of_us),
            in_flight: view.stats.in_flight,
            window_seconds: view.stats.window_seconds,
        }
    }
}

impl<'a> From<&'a CohortView> for Cohort<'a> {
    fn from(view: &'a CohortView) -> Self {
        let variant = |(name, stats): &'a (Name, VariantStats)| CohortVariant {
            name: name.as_str(),
            requests: stats.requests,
            failures: stats.failures,
            error_rate: stats.error_rate,
            p50: stats.p50_us.map(seconds_of_us),
            p95: stats.p95_us.map(seconds_of_us),
            p99: stats.p99_us.map(seconds_of_us),
            in_flight: stats.in_flight,
            window_seconds: stats.window_seconds,
        };
        Self {
            name: view.name.as_str(),
            variants: view.variants.iter().map(variant).collect(),
        }
    }
}

impl<'a> From<&'a BackendView> for Backend<'a> {
    fn from(view: &'a BackendView) -> Self {
        Self {
            name: view.name.as_str(),
            release: view.release.as_deref(),
            endpoints: view.endpoints.iter().map(Endpoint::from).collect(),
        }
    }
}

impl<'a> From<&'a EndpointView> for Endpoint<'a> {
    fn from(view: &'a EndpointView) -> Self {
        Self {
            address: &view.address,
            healthy: view.healthy,
            ejected: view.ejected,
            in_flight: view.in_flight,
            connections: view.connections,
            idle: view.idle,
        }
    }
}

impl<'a> From<Option<&'a FreezeView>> for Freeze<'a> {
    fn from(view: Option<&'a FreezeView>) -> Self {
        Self {
            frozen: view.is_some(),
            by: view.map(|view| view.by.as_str()),
            reason: view.map(|view| view.reason.as_str()),
            since: view.map(|view| rfc3339(view.since_ms)),
        }
    }
}

impl<'a> From<&'a Approval> for ApprovalBody<'a> {
    fn from(approval: &'a Approval) -> Self {
        Self {
            by: &approval.by,
            roles: &approval.roles,
            reason: &approval.reason,
            at: rfc3339(approval.at_ms),
            generation: approval.generation,
        }
    }
}

impl<'a> Rollout<'a> {
    /// As in a list: without history.
    pub(super) fn brief(view: &'a RolloutView, present: Present) -> Self {
        let verdict = view.verdict.as_ref();
        let course = &view.course;
        Self {
            name: view.name.as_str(),
            route: view.route.as_str(),
            from: view.from.as_str(),
            to: view.to.as_str(),
            mode: mode(view),
            phase: view.phase.as_str(),
            step: view.step,
            steps: view.steps,
            step_weights: &view.step_weights,
            since: rfc3339(view.since_ms),
            baked_seconds: view.baked_seconds,
            bake_seconds: view.bake_seconds,
            share: view.share,
            verdict: verdict.map(|verdict| verdict.kind.as_str()),
            verdict_reason: verdict.map(|verdict| verdict.reason.as_str()),
            evidence: verdict.map(EvidenceBody::brief),
            reason: &view.reason,
            generation: present.generation,
            strategy: course.strategy,
            release: course.release.as_deref(),
            plan: plan(view),
            waiting: course.waiting.as_deref(),
            approvals: course.approvals.iter().map(ApprovalBody::from).collect(),
            frozen: present.frozen,
            standby_until: course.after.standby_ms.map(rfc3339),
            watch_until: course.after.watch_ms.map(rfc3339),
            rollback_until: course.after.rollback_ms.map(rfc3339),
            history: None,
        }
    }

    /// With history, where each abort has its proof.
    pub(super) fn whole(view: &'a RolloutView, present: Present) -> Self {
        Self {
            history: Some(view.history.iter().map(Event::from).collect()),
            ..Self::brief(view, present)
        }
    }
}

/// The steps with where each stands. After a success all are done; without a step in force, and none that
/// it was aborted in, none is.
fn plan(view: &RolloutView) -> Vec<PlanStep> {
    let state = |index: usize| match (view.step, view.course.aborted_in) {
        _ if view.phase == Phase::Succeeded => "done",
        (Some(step), _) | (None, Some(step)) if index < step => "done",
        (Some(step), _) if index == step => "current",
        (None, Some(step)) if index == step => "failed",
        (Some(_) | None, _) => "ahead",
    };
    let steps = view.step_weights.iter().enumerate();
    steps
        .map(|(index, weight)| {
            let kind = view.course.step_kinds.get(index);
            PlanStep {
                weight: *weight,
                kind: kind.map(|(kind, _)| *kind),
                part: kind.map(|(_, part)| *part),
                state: state(index),
            }
        })
        .collect()
}

impl<'a> VerdictBody<'a> {
    /// `ok` says that the release may be trusted: it passes, or it has passed its whole plan.
    /// Without any verdict yet the word is `inconclusive`. Quantiles are of the canary's last
    /// window, the counts of the window that was judged.
    pub(super) fn new(view: &'a RolloutView, canary: Option<&VariantView>) -> Self {
        let kind = view
            .verdict
            .as_ref()
            .map_or(VerdictKind::Inconclusive, |verdict| verdict.kind);
        let evidence = view
            .verdict
            .as_ref()
            .map(|verdict| verdict.evidence.clone())
            .unwrap_or_default();
        let quantile = |of: fn(&VariantView) -> Option<u64>| canary.and_then(of).map(seconds_of_us);
        Self {
            rollout: view.name.as_str(),
            phase: view.phase.as_str(),
            mode: mode(view),
            verdict: kind.as_str(),
            ok: match view.phase {
                Phase::Succeeded => true,
                Phase::Aborted => false,
                Phase::Idle | Phase::Watching | Phase::Progressing | Phase::Paused | Phase::Promoting => {
                    kind == VerdictKind::Pass
                }
            },
            reason: view.verdict.as_ref().map_or(&view.reason, |verdict| &verdict.reason),
            metric: view
                .verdict
                .as_ref()
                .and_then(|verdict| verdict.metric)
                .map(Metric::as_str),
            limit: evidence.against.map(|against| against.limit),
            statistic: evidence.statistic.map(StatisticBody::from),
            error_rate: evidence.canary.error_rate,
            requests: evidence.canary.requests,
            failures: evidence.canary.failures,
            stable_error_rate: evidence.stable.and_then(|stable| stable.error_rate),
            p50: quantile(|canary| canary.stats.p50_us),
            p95: quantile(|canary| canary.stats.p95_us),
            p99: quantile(|canary| canary.stats.p99_us),
            window_seconds: seconds_of_ms(evidence.window_ms),
        }
    }
}

impl<'a> From<&'a EventRecord> for Event<'a> {
    fn from(record: &'a EventRecord) -> Self {
        Self {
            id: record.id,
            at: rfc3339(record.at_ms),
            kind: record.kind,
            generation: record.generation,
            by: &record.by,
            route: record.route.as_ref().map(Name::as_str),
            rollout: record.rollout.as_ref().map(Name::as_str),
            from: &record.from,
            to: &record.to,
            reason: &record.reason,
            facts: record.facts.iter().map(|(name, fact)| (*name, fact.as_str())).collect(),
            verdict: record.verdict.as_ref().map(|verdict| verdict.kind.as_str()),
            evidence: record.verdict.as_ref().map(EvidenceBody::whole),
        }
    }
}

const fn mode(view: &RolloutView) -> &'static str {
    if view.observe { "observe" } else { "act" }
}

#[allow(clippy::cast_precision_loss)] // latencies stay far below 2^52 µs
fn seconds_of_us(us: u64) -> f64 {
    us as f64 / 1e6
}

#[allow(clippy::cast_precision_loss)] // windows stay far below 2^52 ms
fn seconds_of_ms(ms: u64) -> f64 {
    ms as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::{Event, Freeze, Present, Reload, Rollout, Route, VerdictBody};
    use crate::admin::fake;
    use crate::control::{Afterwards, ReloadView};
    use crate::rollout::Phase;

    const PRESENT: Present = Present {
        generation: 42,
        frozen: false,
    };

    fn check(shape: impl Serialize, expected: &str) {
        assert_eq!(serde_json::to_string(&shape).unwrap(), expected);
    }

    #[test]
    fn a_route_shows_its_variants_and_their_last_window() {
        check(
            Route::from(&fake::route(42)),
            concat!(
                r#"{"name":"checkout","generation":42,"enabled":true,"variants":[{"name":"stable","backend":"checkout-stable","#,
                r#""release":null,"weight":90,"share":0.9,"requests":0,"failures":0,"errorRate":null,"cohortRequests":0,"cohortFailures":0,"p50":null,"#,
                r#""p95":null,"p99":null,"inFlight":0,"windowSeconds":0.0},{"name":"canary","backend":"#,
                r#""checkout-canary","release":"v1.5.0","weight":10,"share":0.1,"requests":913,"failures":74,"#,
                r#""errorRate":0.08105147864184009,"cohortRequests":12,"cohortFailures":3,"p50":0.004,"p95":0.0125,"p99":1.0,"inFlight":2,"#,
                r#""windowSeconds":10.0}],"cohorts":[{"name":"beta","variants":[{"name":"canary","requests":913,"#,
                r#""failures":74,"errorRate":0.08105147864184009,"p50":0.004,"p95":0.0125,"p99":1.0,"inFlight":2,"#,
                r#""windowSeconds":10.0}]}],"rollout":{"name":"checkout","phase":"progressing"}}"#,
            ),
        );
    }

    #[test]
    fn a_rollout_shows_its_place_its_verdict_and_its_history() {
        check(
            Rollout::whole(&fake::rollout(Phase::Progressing), PRESENT),
            concat!(
                r#"{"name":"checkout","route":"checkout","from":"stable","to":"canary","mode":"act","phase":"progressing","step":1,"#,
                r#""steps":3,"stepWeights":[0.05,0.25,1.0],"since":"2026-11-21T12:00:13.042Z","bakedSeconds":1.5,"#,
                r#""bakeSeconds":7200.0,"share":0.25,"verdict":"pass","verdictReason":"#,
                r#""errorRate 0.4 % (4 of 1000 in 1.5 s)","evidence":{"metric":"errorRate","level":null,"limit":null,"#,
                r#""windowSeconds":1.5,"sinceSeconds":null,"canary":{"requests":1000,"failures":4,"errorRate":0.004,"slowShare":null,"#,
                r#""bad":null,"all":null,"share":null,"low":null,"high":null},"stable":{"requests":0,"failures":0,"#,
                r#""errorRate":null,"slowShare":null,"bad":null,"all":null,"share":null,"low":null,"high":null},"#,
                r#""statistic":null},"reason":"step 2 of 3","generation":42,"strategy":"canary","release":"v1.5.0","#,
                r#""plan":[{"weight":0.05,"kind":"evidence","part":0,"state":"done"},"#,
                r#"{"weight":0.25,"kind":"approvals","part":1,"state":"current"},"#,
                r#"{"weight":1.0,"kind":"evidence","part":2,"state":"ahead"}],"#,
                r#""waiting":"1 of 2 approvals","approvals":[{"by":"ann","roles":["sre"],"reason":"looks well","#,
                r#""at":"2026-11-21T12:00:13.042Z","generation":42}],"frozen":false,"standbyUntil":null,"watchUntil":null,"rollbackUntil":null,"history":"#,
                r#"[{"id":7,"at":"2026-11-21T12:00:13.042Z","kind":"rollout","generation":42,"by":"serin","#,
                r#""route":"checkout","rollout":"checkout","from":"progressing","to":"aborted","#,
                r#""reason":"two\nlines","facts":{"release":"v1.5.0"},"verdict":null,"evidence":null}]}"#,
            ),
        );
    }

    #[test]
    fn steps_are_done_current_or_ahead() {
        let states = |phase, step| {
            let mut view = fake::rollout(phase);
            view.step = step;
            super::plan(&view).iter().map(|step| step.state).collect::<Vec<_>>()
        };
        assert_eq!(states(Phase::Idle, None), ["ahead"; 3]);
        assert_eq!(states(Phase::Paused, Some(0)), ["current", "ahead", "ahead"]);
        assert_eq!(states(Phase::Promoting, Some(2)), ["done", "done", "current"]);
        assert_eq!(states(Phase::Succeeded, None), ["done"; 3]);
        assert_eq!(states(Phase::Aborted, None), ["ahead"; 3]);
        let aborted_in = |step| {
            let mut view = fake::rollout(Phase::Aborted);
            (view.step, view.course.aborted_in) = (None, Some(step));
            super::plan(&view).iter().map(|step| step.state).collect::<Vec<_>>()
        };
        assert_eq!(aborted_in(0), ["failed", "ahead", "ahead"]);
        assert_eq!(aborted_in(2), ["done", "done", "failed"]);
        assert_eq!(aborted_in(3), ["done"; 3], "rolled back after the promotion");
    }

    #[test]
    fn a_promoted_rollout_says_until_when_it_is_watched_and_may_be_rolled_back() {
        let mut view = fake::rollout(Phase::Succeeded);
        view.course.after = Afterwards {
            standby_ms: Some(1_795_262_413_042),
            watch_ms: None,
            rollback_ms: Some(1_795_262_414_000),
        };
        let text = serde_json::to_string(&Rollout::brief(&view, PRESENT)).unwrap();
        let expected = concat!(
            r#""standbyUntil":"2026-11-21T12:00:13.042Z","watchUntil":null,"#,
            r#""rollbackUntil":"2026-11-21T12:00:14.000Z"}"#,
        );
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn a_freeze_says_who_and_why() {
        check(Freeze::from(None), r#"{"frozen":false}"#);
        let frozen = fake::frozen("ann", "sale");
        check(
            Freeze::from(Some(&frozen)),
            r#"{"frozen":true,"by":"ann","reason":"sale","since":"2026-11-21T12:00:13.042Z"}"#,
        );
    }

    #[test]
    fn a_list_leaves_histories_out() {
        let view = fake::rollout(Phase::Idle);
        let text = serde_json::to_string(&Rollout::brief(&view, PRESENT)).unwrap();
        assert!(!text.contains("history"), "{text}");
    }

    #[test]
    fn a_verdict_is_flat() {
        let (view, route) = (fake::rollout(Phase::Progressing), fake::route(42));
        check(
            VerdictBody::new(&view, route.variants.last()),
            concat!(
                r#"{"rollout":"checkout","phase":"progressing","mode":"act","verdict":"pass","ok":true,"reason":"#,
                r#""errorRate 0.4 % (4 of 1000 in 1.5 s)","metric":"errorRate","limit":null,"statistic":null,"#,
                r#""errorRate":0.004,"requests":1000,"failures":4,"#,
                r#""stableErrorRate":null,"p50":0.004,"p95":0.0125,"p99":1.0,"windowSeconds":1.5}"#,
            ),
        );
    }

    #[test]
    fn an_aborted_or_unjudged_rollout_is_not_ok() {
        let ok = |phase, judged: bool| {
            let mut view = fake::rollout(phase);
            view.verdict = view.verdict.filter(|_| judged);
            let body = VerdictBody::new(&view, None);
            (body.verdict, body.ok)
        };
        assert_eq!(ok(Phase::Aborted, true), ("pass", false));
        assert_eq!(ok(Phase::Idle, false), ("inconclusive", false));
        assert_eq!(ok(Phase::Watching, true), ("pass", true));
        assert_eq!(ok(Phase::Succeeded, false), ("inconclusive", true));
    }

    #[test]
    fn numbers_are_always_finite() {
        let mut view = fake::route(42);
        view.variants.truncate(1);
        view.variants[0].share = f64::NAN;
        view.variants[0].stats.error_rate = Some(f64::INFINITY);
        let text = serde_json::to_string(&Route::from(&view)).unwrap();
        assert!(
            text.contains(r#""share":null"#) && text.contains(r#""errorRate":null"#),
            "{text}"
        );
    }

    #[test]
    fn events_and_reloads_have_their_instants_as_text() {
        let record = fake::event(9);
        let text = serde_json::to_string(&Event::from(&record)).unwrap();
        assert!(
            text.starts_with(r#"{"id":9,"at":"2026-11-21T12:00:13.042Z","kind":"rollout""#),
            "{text}"
        );
        check(
            Reload::from(&ReloadView::default()),
            r#"{"ok":false,"at":"1970-01-01T00:00:00.000Z","problems":[]}"#,
        );
    }
}
