//! A control for tests: one route, one backend, one rollout, and answers that follow from the question.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use tokio::sync::{broadcast, watch};

use super::{AdminContext, Doors};
use crate::analysis::{Evidence, Metric, SideEvidence, Verdict, VerdictKind};
use crate::audit::{Chain, Record};
use crate::control::{
    Afterwards, Asked, AuditView, BackendView, ByHandView, CertificateReloads, CertificateView, CohortView, Course,
    EndpointView, Entry, EventRecord, FlagVariantView, FlagView, FreezeView, Handle, IssuerView, ListenerView,
    MetricsView, Refusal, ReloadView, RolloutMetrics, RolloutView, RouteView, StatusView, VariantMetrics, VariantStats,
    VariantView,
};
use crate::live::Live;
use crate::measure::{CodeClass, Outcome, ProxyCells, Recorder, RecorderKey, RejectReason, Track};
use crate::name::Name;
use crate::ofrep::fixture::shop_table;
use crate::people::Tokens;
use crate::rollout::{Approval, Phase, Schedule, Verb};
use crate::route::{Endpoint, EndpointId};
use crate::tls::ListenerTls;

/// What the fake says and what it was told.
#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) handle: Handle,
    pub(crate) context: AdminContext,
    /// Changes as they were asked for, in words.
    pub(crate) told: Arc<Mutex<Vec<String>>>,
    /// The rollout's phases; each look takes one, the last one stays.
    pub(crate) phases: Arc<Mutex<VecDeque<Phase>>>,
    /// Live events.
    pub(crate) live: broadcast::Sender<EventRecord>,
    /// Whether reloads succeed.
    pub(crate) file_is_good: Arc<AtomicBool>,
    /// Who may come in.
    pub(crate) tokens: Arc<watch::Sender<Option<Arc<Tokens>>>>,
    frozen: Arc<Mutex<Option<FreezeView>>>,
    /// Ends the server when set.
    pub(crate) shutdown: Arc<watch::Sender<bool>>,
}

impl Fake {
    /// Answers until the handle is gone. Needs a runtime.
    pub(crate) fn start() -> Self {
        let (handle, mut asked) = Handle::new();
        let cells = ProxyCells::new(1);
        cells.reject(RejectReason::NoRoute);
        cells.connection(0, 3);
        let (tokens, people) = watch::channel(None);
        let fake = Self {
            handle,
            context: AdminContext {
                ready: Arc::new(AtomicBool::new(true)),
                pressure: Arc::default(),
                doors: watch::channel(Doors::Open).1,
                cells: [cells].into(),
                listeners: [name("public")].into(),
                live: Arc::new(Live::new(Arc::new(shop_table()))),
                check: Arc::new(|text| match text {
                    "panic" => panic!("asked to"),
                    "version: 1" => Ok(()),
                    _ => Err(vec![problem()]),
                }),
                tokens: people,
                tls: watch::channel(ListenerTls::Clear).1,
            },
            tokens: Arc::new(tokens),
            frozen: Arc::default(),
            told: Arc::default(),
            phases: Arc::new(Mutex::new([Phase::Progressing].into())),
            live: broadcast::channel(16).0,
            file_is_good: Arc::new(AtomicBool::new(true)),
            shutdown: Arc::new(watch::channel(false).0),
        };
        let mut control = fake.clone();
        // Its own handle would keep it alive for ever.
        control.handle = Handle::new().0;
        tokio::spawn(async move {
            while let Some(asked) = asked.recv().await {
                control.answer(asked);
            }
        });
        fake
    }

    fn answer(&self, asked: Asked) {
        match asked {
            Asked::Status(reply) => drop(reply.send(self.status())),
            Asked::Routes(reply) => drop(reply.send(vec![route(42)])),
            Asked::Route(name, reply) => {
                let route = route(42);
                drop(reply.send((route.name.as_str() == name).then_some(route)));
            }
            Asked::Backends(reply) => drop(reply.send(vec![backend()])),
            Asked::Rollouts(reply) => {
                let phase = self.phase();
                drop(reply.send(vec![rollout(phase)]));
            }
            Asked::Flags(reply) => drop(reply.send(vec![flag(42, true), self.checkout_flag()])),
            Asked::SwitchFlag {
                flag: key,
                enabled,
                reason,
                by,
                if_match,
                dry_run,
                reply,
            } => {
                self.tell(format!("{key} {enabled} {reason:?} by {by} at {if_match:?}, {dry_run}"));
                let stale = if_match.is_some_and(|tag| tag != "\"42\"");
                let answer = match key.as_str() {
                    "dark-mode" if stale => Err(Refusal::Stale { generation: 42 }),
                    "dark-mode" if reason == "now" => Err(Refusal::Conflict("frozen".to_owned())),
                    "dark-mode" => Ok(flag(43, enabled)),
                    _ => Err(Refusal::NotFound("no flag of that name".to_owned())),
                };
                drop(reply.send(answer));
            }
            Asked::SetFlagWeights(question, reply) => {
                self.tell(format!("{question:?}"));
                let answer = match question.route.as_str() {
                    "dark-mode" => Ok(flag(43, true)),
                    _ => Err(Refusal::NotFound("no flag of that name".to_owned())),
                };
                drop(reply.send(answer));
            }
            Asked::Metrics(reply) => drop(reply.send(metrics())),
            Asked::Config(reply) => drop(reply.send(r#"{"routes":[{"exact":"yes"}]}"#.to_owned())),
            Asked::SetWeights(question, reply) => {
                self.tell(format!("{question:?}"));
                let answer = match (question.route.as_str(), question.reason.as_str()) {
                    ("checkout", _) if question.weights.is_empty() => Err(Refusal::Invalid(vec![Entry {
                        place: String::new(),
                        path: "weights.stable".to_owned(),
                        message: "is missing".to_owned(),
                    }])),
                    ("checkout", _) if question.if_match.is_some_and(|tag| tag != "\"42\"") => {
                        Err(Refusal::Stale { generation: 42 })
                    }
                    ("checkout", "now") => Err(Refusal::Conflict("progressing; pause it first".to_owned())),
                    ("checkout", "disk") => Err(Refusal::Unavailable("the state cannot be written".to_owned())),
                    ("checkout", _) if question.dry_run => Ok(route(42)),
                    ("checkout", _) => Ok(route(43)),
                    _ => Err(Refusal::NotFound("no route of that name".to_owned())),
                };
                drop(reply.send(answer));
            }
            Asked::Command {
                rollout: name,
                verb,
                if_match: _,
                reason,
                by,
                order,
                reply,
            } => {
                let order = match order.direction {
                    Some((from, to)) => format!(" {from} to {to} of {:?}", order.commit_ms),
                    None => String::new(),
                };
                self.tell(format!("{name} {verb:?} {reason:?} by {by}{order}"));
                let answer = match (name.as_str(), verb) {
                    ("checkout", Verb::Resume) => Err(Refusal::Conflict("not paused; possible: pause".to_owned())),
                    ("checkout", Verb::Abort) => Ok(rollout(Phase::Aborted)),
                    ("checkout", Verb::Pause) => Ok(rollout(Phase::Paused)),
                    ("checkout", Verb::Promote { full: true }) => Ok(rollout(Phase::Promoting)),
                    ("checkout", _) => Ok(rollout(Phase::Progressing)),
                    _ => Err(Refusal::NotFound("no rollout of that name".to_owned())),
                };
                drop(reply.send(answer));
            }
            Asked::Approve {
                rollout: name,
                by,
                roles,
                reason,
                if_match,
                reply,
            } => {
                self.tell(format!("{name} approved {reason:?} by {by} {roles:?} at {if_match:?}"));
                let stale = if_match.is_some_and(|tag| tag != "\"42\"");
                let answer = match name.as_str() {
                    "checkout" if stale => Err(Refusal::Stale { generation: 42 }),
                    "checkout" if reason == "me" => Err(Refusal::Forbidden("the gate wants sre".to_owned())),
                    "checkout" => Ok(rollout(Phase::Progressing)),
                    _ => Err(Refusal::NotFound("no rollout of that name".to_owned())),
                };
                drop(reply.send(answer));
            }
            Asked::Freeze {
                frozen: on,
                reason,
                by,
                reply,
            } => {
                let view = on.then(|| frozen(&by, &reason));
                *self.frozen.lock().unwrap() = view.clone();
                drop(reply.send(Ok(view)));
            }
            Asked::Reload { reply, .. } => drop(reply.send(self.reload())),
            // Nobody takes over from it.
            Asked::Release(reply) | Asked::Resume(_, reply) => drop(reply.send(Err("a fake".into()))),
            Asked::Audit(reply) => drop(reply.send(AuditView {
                directory: concat!(env!("CARGO_MANIFEST_DIR"), "/src").into(),
                waiting: audit_lines(),
            })),
            Asked::Events(after, reply) => {
                let past = (1..=3).filter(|id| after.is_some_and(|after| *id > after)).map(event);
                drop(reply.send((past.collect(), self.live.subscribe())));
            }
        }
    }

    /// The flag of the route, with a cohort that the table lacks.
    fn checkout_flag(&self) -> FlagView {
        let phase = *self.phases.lock().unwrap().back().unwrap();
        FlagView {
            key: name("new-checkout"),
            route: Some(name("checkout")),
            prerequisites: vec![(name("dark-mode"), name("on"))],
            held_by: Some(name("dark-mode")),
            default: name("stable"),
            variants: Vec::new(),
            cohorts: vec![name("press"), name("staff"), name("beta")],
            rollout: Some((name("checkout"), phase)),
            ..flag(42, true)
        }
    }

    fn phase(&self) -> Phase {
        let mut phases = self.phases.lock().unwrap();
        if phases.len() > 1 {
            phases.pop_front().unwrap()
        } else {
            phases[0]
        }
    }

    fn tell(&self, what: String) {
        self.told.lock().unwrap().push(what);
    }

    fn reload(&self) -> ReloadView {
        let ok = self.file_is_good.load(std::sync::atomic::Ordering::Relaxed);
        ReloadView {
            at_ms: 1_795_262_413_042,
            ok,
            problems: if ok { Vec::new() } else { vec![problem()] },
        }
    }

    fn status(&self) -> StatusView {
        StatusView {
            generation: 42,
            uptime_seconds: 3723.5,
            config_file: "serin.yaml".to_owned(),
            environment: Some("prod".to_owned()),
            listeners: vec![ListenerView {
                name: name("public"),
                address: SocketAddr::from(([127, 0, 0, 1], 8080)),
                tls: false,
                certificates: Vec::new(),
                client_ca: None,
            }],
            admin_certificates: vec![CertificateView {
                names: vec!["serin.test".to_owned(), "192.0.2.7".to_owned()],
                not_before_s: 1_577_836_800,
                not_after_s: 1_893_456_000,
                file: "tls/admin.pem".to_owned(),
                problem: Some("no certificate in it".to_owned()),
            }],
            last_reload: self.reload(),
            rollouts: vec![(name("checkout"), Phase::Progressing)],
            kept: Vec::new(),
            state_problem: None,
            issuers: vec![issuer()],
            workers: 2,
            frozen: self.frozen.lock().unwrap().clone(),
        }
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn frozen(by: &str, reason: &str) -> FreezeView {
    FreezeView {
        by: by.to_owned(),
        reason: reason.to_owned(),
        since_ms: 1_795_262_413_042,
    }
}

fn problem() -> Entry {
    Entry {
        place: "serin.yaml:3:5".to_owned(),
        path: "routes.checkout.split".to_owned(),
        message: "the weights add up to 0".to_owned(),
    }
}

pub(crate) fn route(generation: u64) -> RouteView {
    let variant = |text: &str, weight, share, stats| VariantView {
        name: name(text),
        backend: name(&format!("checkout-{text}")),
        release: (text == "canary").then(|| "v1.5.0".to_owned()),
        weight,
        share,
        stats,
    };
    let busy = VariantStats {
        window_seconds: 10.0,
        requests: 913,
        failures: 74,
        error_rate: Some(74.0 / 913.0),
        cohort_requests: 12,
        cohort_failures: 3,
        p50_us: Some(4_000),
        p95_us: Some(12_500),
        p99_us: Some(1_000_000),
        in_flight: 2,
    };
    RouteView {
        name: name("checkout"),
        generation,
        variants: vec![
            variant("stable", 90, 0.9, VariantStats::default()),
            variant("canary", 10, 0.1, busy),
        ],
        rollout: Some((name("checkout"), Phase::Progressing)),
        enabled: true,
        cohorts: vec![CohortView {
            name: name("beta"),
            variants: vec![(name("canary"), busy)],
        }],
    }
}

pub(crate) fn flag(generation: u64, enabled: bool) -> FlagView {
    let variant = |text: &str, value: bool, weight, share| FlagVariantView {
        name: name(text),
        value: Some(value.into()),
        weight,
        share,
    };
    FlagView {
        key: name("dark-mode"),
        route: None,
        generation,
        enabled,
        schedule: Schedule {
            disable_at_ms: Some(1_795_262_413_042),
            ..Schedule::default()
        },
        by_hand: (!enabled).then(|| ByHandView {
            enabled,
            by: "ann".to_owned(),
            reason: "two\nlines".to_owned(),
            at_ms: 1_795_262_413_042,
        }),
        prerequisites: Vec::new(),
        held_by: None,
        default: name("off"),
        variants: vec![variant("off", false, 90, 0.9), variant("on", true, 10, 0.1)],
        cohorts: vec![name("staff")],
        rollout: None,
    }
}

fn backend() -> BackendView {
    BackendView {
        name: name("checkout-canary"),
        release: None,
        endpoints: vec![EndpointView {
            address: "10.0.2.10:8080".into(),
            healthy: true,
            ejected: false,
            in_flight: 1,
            connections: 4,
            idle: 3,
        }],
    }
}

pub(crate) fn verdict() -> Verdict {
    let side = |requests, failures: u64| SideEvidence {
        requests,
        failures,
        error_rate: (requests > 0).then(|| f64::from(u32::try_from(failures).unwrap()) / 1000.0),
        slow_share: None,
        measured: None,
    };
    Verdict {
        kind: VerdictKind::Pass,
        metric: Some(Metric::ErrorRate),
        reason: "errorRate 0.4 % (4 of 1000 in 1.5 s)".to_owned(),
        evidence: Evidence {
            window_ms: 1500,
            canary: side(1000, 4),
            stable: Some(side(0, 0)),
            ..Evidence::default()
        },
    }
}

pub(crate) fn rollout(phase: Phase) -> RolloutView {
    RolloutView {
        name: name("checkout"),
        route: name("checkout"),
        from: name("stable"),
        to: name("canary"),
        observe: false,
        phase,
        step: Some(1),
        steps: 3,
        step_weights: vec![0.05, 0.25, 1.0],
        course: Course {
            step_kinds: vec![("evidence", 0), ("approvals", 1), ("evidence", 2)],
            strategy: "canary",
            release: Some("v1.5.0".to_owned()),
            aborted_in: None,
            after: Afterwards::default(),
            waiting: Some("1 of 2 approvals".to_owned()),
            approvals: vec![Approval {
                by: "ann".to_owned(),
                roles: vec!["sre".to_owned()],
                reason: "looks well".to_owned(),
                at_ms: 1_795_262_413_042,
                generation: 42,
            }],
        },
        since_ms: 1_795_262_413_042,
        baked_seconds: 1.5,
        bake_seconds: 7200.0,
        share: 0.25,
        verdict: Some(verdict()),
        reason: "step 2 of 3".to_owned(),
        history: vec![event(7)],
    }
}

pub(crate) fn event(id: u64) -> EventRecord {
    EventRecord {
        id,
        at_ms: 1_795_262_413_042,
        kind: "rollout",
        generation: 42,
        by: "serin".to_owned(),
        route: Some(name("checkout")),
        rollout: Some(name("checkout")),
        from: "progressing".to_owned(),
        to: "aborted".to_owned(),
        reason: "two\nlines".to_owned(),
        facts: vec![("release", "v1.5.0".to_owned())],
        verdict: None,
    }
}

fn issuer() -> IssuerView {
    IssuerView {
        issuer: "https://id.example.com".to_owned(),
        keys: 2,
        fetched_at_ms: Some(1_795_262_413_042),
        problem: Some("the answer is 503, not 200".to_owned()),
    }
}

fn metrics() -> MetricsView {
    let key = RecorderKey {
        route: name("checkout"),
        variant: name("canary"),
        backend: name("checkout-v2"),
        cohort: None,
    };
    let beta = RecorderKey {
        cohort: Some(name("beta")),
        ..key.clone()
    };
    let (recorder, of_cohort) = (Recorder::new(key, 1), Recorder::new(beta, 1));
    let cell = recorder.cell(0);
    let drawn = Track::Draw { slot: 0 };
    of_cohort.cell(0).dispatched(drawn);
    of_cohort.cell(0).headed(drawn, &of_cohort, 4_000, 0);
    of_cohort.cell(0).resolved(drawn, Outcome::Success);
    of_cohort.cell(0).answered(Outcome::Success, CodeClass::Success);
    for (latency_us, outcome, class) in [
        (4_000, Outcome::Success, CodeClass::Success),
        (30_000, Outcome::Failure, CodeClass::ServerError),
    ] {
        cell.dispatched(drawn);
        cell.headed(drawn, &recorder, latency_us, 0);
        cell.resolved(drawn, outcome);
        cell.answered(outcome, class);
    }
    cell.dispatched(Track::Cohort);
    let endpoint = Endpoint::new(EndpointId(0), name("checkout-v2"), "10.0.2.10:8080".into(), None, 1);
    endpoint.cell(0).add_connections(4);
    endpoint.cell(0).add_idle(3);
    MetricsView {
        generation: 42,
        variants: vec![VariantMetrics {
            recorder: Arc::new(recorder),
            share: 0.25,
            drained: Some(3),
        }],
        cohorts: vec![Arc::new(of_cohort)],
        endpoints: vec![Arc::new(endpoint)],
        rollouts: vec![RolloutMetrics {
            name: name("checkout"),
            phase: Phase::Aborted,
            step: Some(1),
            verdict: Some(VerdictKind::Fail),
            diverted: 5,
        }],
        issuers: vec![issuer()],
        reloads_ok: 2,
        reloads_failed: 1,
        last_reload_success: 1_795_262_413.042,
        rollbacks: vec![(name("checkout"), "errorRate".to_owned(), 1)],
        notifications: vec![(name("ops"), "failed", 2)],
        certificates: vec![("public".to_owned(), "shop.example.com".to_owned(), 1_893_456_000)],
        certificate_reloads: CertificateReloads { ok: 3, failed: 1 },
    }
}

/// Three records, by alice, bob and alice, that are in no file yet.
pub(crate) fn audit_lines() -> Vec<String> {
    let mut chain = Chain::default();
    let record = |by: &str| Record {
        kind: "weights".to_owned(),
        by: by.to_owned(),
        ..Record::default()
    };
    ["alice", "bob", "alice"].map(|by| chain.append(record(by))).into()
}
