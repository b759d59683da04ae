//! A small checked configuration for tests: route `shop` with `stable` and `canary` under rollout
//! `shop` (5, 25, 100 %), and route `plain` without one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::analysis::AnalysisSpec;
use crate::config::{
    Audit, Backend, BackendLimits, Endpoint, Listener, ListenerLimits, ListenerTimeouts, Log, Rollout, Route, Rules,
    Spec, Strategy, Variant,
};
use crate::name::Name;
use crate::path::PathPolicy;
use crate::rollout::{Plan, Step};
use crate::route::{AccessLog, LoadBalancing, Match, PathMatch};

pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Steps of parts per million, each with a bake time in seconds.
pub(super) fn plan(steps: &[(u32, u64)]) -> Plan {
    let step = |&(weight_ppm, seconds)| Step::weigh(weight_ppm, Duration::from_secs(seconds));
    Plan::new(steps.iter().map(step).collect()).unwrap()
}

pub(super) fn spec(change: impl FnOnce(&mut Spec)) -> Arc<Spec> {
    let mut spec = Spec {
        environment: None,
        listeners: vec![listener("public")],
        trusted_proxies: Vec::new(),
        admin: "127.0.0.1:0".parse().unwrap(),
        admin_tls: None,
        memory_max: None,
        upstream_tls: Vec::new(),
        log: Log {
            level: "info".into(),
            json: true,
            access: AccessLog::Errors,
        },
        outcome_log: None,
        tokens_file: None,
        audit: Audit::default(),
        notifications: Vec::new(),
        state_directory: PathBuf::from("state"),
        backends: vec![backend("shop-v1", "v1.4.2"), backend("shop-v2", "v1.5.0")],
        routes: vec![route("shop"), route("plain")],
        rollouts: vec![Rollout {
            name: name("shop"),
            route: 0,
            from: 0,
            to: 1,
            auto_start: false,
            analysis: AnalysisSpec::default(),
            observe: false,
            in_flight_max: None,
            patience: Duration::from_secs(24 * 3600),
            max_votes_per_key: None,
            warm_up: 0,
            plan: plan(&[(50_000, 10), (250_000, 10), (1_000_000, 0)]),
            strategy: Strategy::Canary,
            window: None,
            preview: None,
            drain: None,
            on_rollback: Vec::new(),
        }],
        flags: Vec::new(),
        issuers: Vec::new(),
        jwks: Vec::new(),
        key_files: Vec::new(),
    };
    change(&mut spec);
    Arc::new(spec)
}

pub(super) fn listener(text: &str) -> Listener {
    Listener {
        name: name(text),
        address: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        timeouts: ListenerTimeouts {
            handshake: Duration::from_secs(10),
            connection_age: None,
            request_head: Duration::from_secs(10),
            body: Duration::from_secs(30),
            idle: Duration::from_secs(60),
        },
        limits: ListenerLimits {
            connections_per_client: 16_384,
            streams: 128,
            upgrades: 4_096,
            connections: 16_384,
            headers: 100,
            header_bytes: 65_536,
            uri_bytes: 16_384,
        },
        paths: PathPolicy::Strict,
        ofrep: false,
        proxy_protocol: false,
        redirect_to_https: None,
    }
}

pub(super) fn backend(text: &str, release: &str) -> Backend {
    Backend {
        name: name(text),
        release: Some(release.into()),
        commit_ms: None,
        endpoints: vec![Endpoint {
            host: "127.0.0.1".into(),
            port: 9,
        }],
        load_balancing: LoadBalancing::LeastRequest,
        protocol: crate::route::BackendProtocol::Http1,
        tls: None,
        proxy_protocol: None,
        allow_internal: false,
        limits: BackendLimits {
            max_streams: 100,
            max_in_flight: 65_536,
            max_connections: 65_536,
            connect_timeout: Duration::from_secs(1),
        },
    }
}

/// Divided 100 to 0 between backends 0 and 1.
pub(super) fn route(text: &str) -> Route {
    let variant = |(text, backend, weight)| Variant {
        name: name(text),
        backend,
        weight,
        value: None,
    };
    Route {
        name: name(text),
        matches: Match {
            path: PathMatch::Prefix(format!("/{text}")),
            ..Match::default()
        },
        timeout: Duration::from_secs(5),
        body_timeout: None,
        total_timeout: None,
        variants: [("stable", 0, 100), ("canary", 1, 0)].map(variant).into(),
        rules: Rules::of(name(text)),
        failure_statuses: crate::measure::FailureStatuses::default(),
        expose_variant: true,
    }
}

/// Gives the variants of a route other weights in the file.
pub(super) fn weigh(spec: &mut Spec, route: usize, weights: [u32; 2]) {
    for (variant, weight) in spec.routes[route].variants.iter_mut().zip(weights) {
        variant.weight = weight;
    }
}
