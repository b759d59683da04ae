//! Tables for tests, compiled as those of a file are.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::compile::{Book, InForce, Trial, compile};
use crate::config::{self, Rules, Spec};
use crate::measure::FailureStatuses;
use crate::name::Name;
use crate::route::{
    AccessLog, CohortSpec, Condition, Destination, FieldTest, FlagId, KeyFallback, KeySource, KeySpec, LoadBalancing,
    Match, Origin, PathMatch, Prerequisite, Table,
};

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A route below `/NAME` that divides between stable and canary.
pub(crate) fn route(text: &str, weights: [u32; 2], rules: Rules) -> config::Route {
    let variant = |(at, text): (usize, &str)| config::Variant {
        name: name(text),
        backend: at,
        weight: weights[at],
        value: None,
    };
    config::Route {
        name: name(text),
        matches: Match {
            path: PathMatch::Prefix(format!("/{text}")),
            ..Match::default()
        },
        timeout: Duration::from_secs(5),
        body_timeout: None,
        total_timeout: None,
        variants: ["stable", "canary"].into_iter().enumerate().map(variant).collect(),
        rules,
        failure_statuses: FailureStatuses::default(),
        expose_variant: true,
    }
}

/// A flag without a route, with these variants: name, weight and value.
pub(crate) fn flag(text: &str, variants: &[(&str, u32, Option<Json>)], rules: Rules) -> config::Flag {
    let variant = |(text, weight, value): &(&str, u32, Option<Json>)| config::FlagVariant {
        name: name(text),
        weight: *weight,
        value: value.clone(),
    };
    config::Flag {
        name: name(text),
        variants: variants.iter().map(variant).collect(),
        rules,
    }
}

/// Rules of a flag that is listed and goes by `source`.
pub(crate) fn keyed(text: &str, source: KeySource) -> Rules {
    Rules {
        listed: true,
        key: Some(KeySpec {
            source,
            fallback: KeyFallback::FreshDraw,
        }),
        ..Rules::of(name(text))
    }
}

/// A cohort of those with this value at `place`, on the way to the variant with index `to`.
pub(crate) fn cohort(text: &str, origin: Origin, place: &str, value: &str, to: usize) -> CohortSpec {
    CohortSpec {
        conditions: vec![Condition {
            origin,
            name: place.to_owned(),
            test: FieldTest::Exact(value.to_owned()),
            negated: false,
        }],
        ..CohortSpec::of(name(text), Destination::Variant(to))
    }
}

pub(crate) fn prerequisite(flag: FlagId, variant: usize) -> Prerequisite {
    Prerequisite { flag, variant }
}

pub(crate) fn spec(routes: Vec<config::Route>, flags: Vec<config::Flag>) -> Spec {
    let backend = |text: &str| config::Backend {
        name: name(text),
        release: None,
        commit_ms: None,
        endpoints: vec![config::Endpoint {
            host: "10.0.0.1".to_owned(),
            port: 80,
        }],
        load_balancing: LoadBalancing::LeastRequest,
        protocol: crate::route::BackendProtocol::Http1,
        tls: None,
        proxy_protocol: None,
        allow_internal: false,
        limits: config::BackendLimits {
            max_streams: 100,
            max_in_flight: 100,
            max_connections: 100,
            connect_timeout: Duration::from_secs(1),
        },
    };
    Spec {
        environment: None,
        listeners: Vec::new(),
        trusted_proxies: Vec::new(),
        admin: "127.0.0.1:9901".parse().unwrap(),
        admin_tls: None,
        memory_max: None,
        upstream_tls: Vec::new(),
        log: config::Log {
            level: "info".to_owned(),
            json: true,
            access: AccessLog::Off,
        },
        outcome_log: None,
        tokens_file: None,
        audit: config::Audit::default(),
        notifications: Vec::new(),
        state_directory: PathBuf::from("state"),
        backends: ["v1", "v2"].map(backend).into(),
        routes,
        rollouts: Vec::new(),
        flags,
        issuers: Vec::new(),
        jwks: Vec::new(),
        key_files: Vec::new(),
    }
}

/// As the file has them.
pub(crate) fn by_file(spec: &Spec) -> Vec<InForce> {
    let in_force = |weights: Vec<u32>| InForce {
        weights,
        epoch: 0,
        trial: None,
        enabled: true,
        aborts: 0,
    };
    let routes = spec
        .routes
        .iter()
        .map(|route| route.variants.iter().map(|variant| variant.weight).collect());
    let flags = spec
        .flags
        .iter()
        .map(|flag| flag.variants.iter().map(|variant| variant.weight).collect());
    routes.chain(flags).map(in_force).collect()
}

/// A canary that was aborted.
pub(crate) fn aborted(rollout: &Name) -> Trial {
    Trial {
        rollout: rollout.clone(),
        from: 0,
        to: 1,
        aborted: true,
        rotation: None,
        idle: None,
    }
}

pub(crate) fn table(spec: Spec, in_force: &[InForce]) -> Table {
    compile(&Arc::new(spec), in_force, 42, &mut Book::new(1), None)
}

/// A route `checkout`, called `new-checkout`; and flags for applications alone.
pub(crate) fn shop() -> Spec {
    let checkout = Rules {
        flag: name("new-checkout"),
        cohorts: vec![cohort("staff", Origin::Header, "x-staff", "yes", 1)],
        ..keyed("new-checkout", KeySource::Header("x-user-id".to_owned()))
    };
    let by_key = |text: &str| keyed(text, KeySource::TargetingKey);
    let object = json!({"colour": "dark", "sizes": [1, 2.5]});
    let beta = Rules {
        prerequisites: vec![prerequisite(FlagId::Own(0), 1)],
        ..by_key("beta")
    };
    spec(
        vec![
            route("checkout", [50, 50], checkout),
            route("plain", [1, 1], Rules::of(name("plain"))),
        ],
        vec![
            flag(
                "dark-mode",
                &[("off", 90, Some(json!(false))), ("on", 10, Some(json!(true)))],
                by_key("dark-mode"),
            ),
            flag(
                "theme",
                &[("day", 0, Some(json!({}))), ("night", 1, Some(object))],
                by_key("theme"),
            ),
            flag("limit", &[("low", 1, Some(json!(3)))], by_key("limit")),
            flag("beta", &[("no", 0, None), ("yes", 1, None)], beta),
        ],
    )
}

pub(crate) fn shop_table() -> Table {
    let spec = shop();
    let in_force = by_file(&spec);
    table(spec, &in_force)
}
