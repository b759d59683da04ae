//! Configuration files: every example loads, and every bad file is answered with exactly the
//! problems that stand beside it, all at once.
//!
//! `UPDATE_EXPECTED=1 cargo test --test config_files` writes the answers anew; read what changed.

#[path = "config_files/flags.rs"]
mod flags;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::Value as Json;
use serin::analysis::{AnalysisSpec, Level, Limits, Test};
use serin::config::{self, OutcomeLog, Problems, Service, Severity, Spec};
use serin::measure::FailureStatuses;
use serin::path::PathPolicy;
use serin::proxy_protocol::ProxyVersion;
use serin::route::{BackendProtocol, Hsts};

fn files(directory: &str, extension: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut files: Vec<_> = fs::read_dir(&directory)
        .expect("the directory is there")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

/// What the bad files may find in the environment.
fn env(name: &str) -> Option<String> {
    match name {
        "TOKEN" => Some("s3cr3t".into()),
        "WEIGHT" => Some("50".into()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn load(text: &str) -> Result<Spec, Problems> {
    config::load(text, Path::new("conf/x.yaml"), &env)
}

fn assert_same(path: &Path, got: &str, wrong: &mut String) {
    let expected_path = path.with_extension("expected");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&expected_path, got).expect("it can be written");
    }
    let expected = fs::read_to_string(&expected_path).unwrap_or_default();
    if expected != got {
        write!(wrong, "\n{}\nexpected:\n{expected}\ngot:\n{got}", path.display()).expect("writing to a string");
    }
}

#[test]
fn every_example_loads() {
    let examples = files("config", "yaml");
    assert!(examples.len() >= 6);
    for path in examples {
        let text = fs::read_to_string(&path).expect("it can be read");
        if let Err(problems) = config::load(&text, &path, &|_| None) {
            panic!("{problems}");
        }
        let shown: Json = serde_json::from_str(&config::shown(&text)).expect("it is JSON");
        assert_eq!(shown["version"], 1);
    }
}

#[test]
fn every_bad_file_is_answered_with_all_its_problems() {
    let bad = files("tests/config", "yaml");
    assert!(bad.len() >= 30);
    let mut wrong = String::new();
    for path in bad {
        let text = fs::read_to_string(&path).expect("it can be read");
        let name = path.file_name().expect("it has a name");
        let got = match config::load(&text, Path::new(name), &env) {
            Ok(_) => "no problem\n".into(),
            Err(problems) => format!("{problems}\n"),
        };
        assert_same(&path, &got, &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn problems_do_not_show_what_variables_hold() {
    let mut text = GOOD.to_owned();
    for (good, bad) in [
        ("name: x-canary", "name: '${TOKEN} '"),
        ("weight: 100", "weight: '${TOKEN}'"),
        ("critical: 5%", "critical: '${TOKEN}'"),
        ("- name: a\n  match", "- name: ${TOKEN}\n  match"),
        ("route: a", "route: s3cr3d"),
        ("/x/[0-9]+", "${TOKEN}("),
    ] {
        assert!(text.contains(good), "{good}");
        text = text.replace(good, bad);
    }
    let problems = load(&text).expect_err("much is wrong").to_string();
    assert!(problems.lines().count() >= 5, "{problems}");
    assert!(!problems.contains("s3cr3t"), "{problems}");
    assert!(!config::shown(&text).contains("s3cr3t"));
}

#[test]
fn values_from_variables_are_read_like_written_ones() {
    let text = GOOD.replace("weight: 100", "weight: '${WEIGHT}'");
    let spec = load(&text).expect("it is good");
    assert_eq!(spec.routes[0].variants[0].weight, 50);
    // Whatever a variable holds, it stays one value.
    let sly = |_: &str| Some("0, x: 1".into());
    assert!(config::load(&text, Path::new("x.yaml"), &sly).is_err());
    let sly = |name: &str| match name {
        "RELEASE" => Some("v1\nroutes: []".into()),
        _ => env(name),
    };
    let text = GOOD.replace("release: v1", "release: '${RELEASE}'");
    let spec = config::load(&text, Path::new("x.yaml"), &sly).expect("it is good");
    assert_eq!(spec.backends[0].release.as_deref(), Some("v1\nroutes: []"));
}

#[test]
fn what_is_left_out_gets_the_documented_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/minimal.yaml");
    let text = fs::read_to_string(path).expect("it can be read");
    let spec = config::load(&text, Path::new("/etc/serin/serin.yaml"), &env).expect("it is good");
    assert_eq!(spec.admin.to_string(), "127.0.0.1:9901");
    assert_eq!(spec.state_directory, Path::new("/etc/serin/state"));
    let listener = &spec.listeners[0];
    assert_eq!(listener.timeouts.request_head, Duration::from_secs(10));
    assert_eq!(listener.timeouts.body, Duration::from_secs(30));
    assert_eq!(listener.timeouts.idle, Duration::from_secs(60));
    assert_eq!((listener.limits.connections, listener.limits.headers), (16_384, 100));
    assert_eq!(
        (listener.limits.header_bytes, listener.limits.uri_bytes),
        (65_536, 16_384)
    );
    assert_eq!(listener.paths, PathPolicy::Strict);
    assert_eq!(listener.timeouts.handshake, Duration::from_secs(10));
    assert_eq!(listener.timeouts.connection_age, None);
    assert_eq!(listener.limits.connections_per_client, 16_384);
    assert_eq!((listener.limits.streams, listener.limits.upgrades), (128, 4_096));
    assert_eq!((listener.proxy_protocol, listener.redirect_to_https), (false, None));
    assert_eq!((&spec.admin_tls, spec.memory_max), (&None, None));
    let limits = &spec.backends[0].limits;
    assert_eq!(limits.max_streams, 100);
    assert_eq!((limits.max_in_flight, limits.max_connections), (65_536, 65_536));
    assert_eq!(limits.connect_timeout, Duration::from_secs(1));
    let route = &spec.routes[0];
    assert_eq!((route.timeout, route.expose_variant), (Duration::from_secs(5), true));
    assert_eq!((route.body_timeout, route.total_timeout), (None, None));
    assert!(spec.log.json && spec.log.level == "info");

    let guard = GOOD.split("  analysis:").next().expect("there is a front part");
    let spec = load(guard).expect("it is good");
    let rollout = &spec.rollouts[0];
    assert_eq!(rollout.analysis, AnalysisSpec::default());
    assert_eq!((rollout.in_flight_max, rollout.warm_up), (None, 0));
    assert_eq!(rollout.patience, Duration::from_secs(24 * 3600));
    assert_eq!(rollout.max_votes_per_key, Some(10));

    // What little is said changes nothing else.
    let short = format!("{guard}  analysis: {{ minRequests: 50 }}\n");
    let short = short
        .replace("  mode: observe\n", "")
        .replace("  failureStatuses: [5xx, 404]\n", "");
    let short = short.replace("key: { header: X-User-Id, fallback: clientIp }", "");
    let short = short.replace("keys: [123, true]", "headers: [{ name: x-a, exact: a }]");
    let short = short.replace(", maxSize: 1GiB, keep: 7", "");
    let short = short.replace(", auditMaxSize: 1MiB, auditRetention: 10y", "");
    let spec = load(&short).expect("it is good");
    let rollout = &spec.rollouts[0];
    assert_eq!(rollout.analysis, AnalysisSpec::default());
    assert_eq!((rollout.observe, rollout.max_votes_per_key), (false, None));
    assert_eq!(spec.routes[0].failure_statuses, FailureStatuses::default());
    let log = spec.outcome_log.expect("there is one");
    assert_eq!((log.max_bytes, log.keep), (64 << 20, 4));
    assert_eq!(spec.audit.max_bytes, 64 << 20);
    assert_eq!(spec.audit.retention, Duration::from_secs(7 * 365 * 86_400));
}

#[test]
fn an_analysis_says_what_is_judged() {
    let judged = |analysis: &str| {
        let front = GOOD.split("  analysis:").next().expect("there is a front part");
        let text = format!("{front}  analysis: {{ {analysis} }}\n");
        let mut spec = load(&text).unwrap_or_else(|problems| panic!("{analysis}: {problems}"));
        spec.rollouts.remove(0)
    };
    let check = |analysis: &str, change: fn(&mut AnalysisSpec)| {
        let mut expected = AnalysisSpec::default();
        change(&mut expected);
        assert_eq!(judged(analysis).analysis, expected, "{analysis}");
    };
    let none = |spec: &mut AnalysisSpec| {
        spec.compare_with_stable = false;
        (spec.latency_factor, spec.client_errors) = (None, None);
    };
    check("test: sequential, compareWith: stable", |_| {});
    check("compareWith: none", none);
    check("test: threshold", |spec| {
        spec.test = Test::Threshold;
        (spec.latency_factor, spec.client_errors) = (None, None);
    });
    check("test: threshold, errorRate: { warn: 0%, critical: 100% }", |spec| {
        spec.test = Test::Threshold;
        spec.error_rate = limits(0.0, 1.0);
        (spec.latency_factor, spec.client_errors) = (None, None);
    });
    check("alpha: 0.0001%", |spec| spec.alpha = 0.000_001);
    check("alpha: 5%", |spec| spec.alpha = 0.05);
    check("errorRate: { warn: 5%, critical: 5% }", |spec| {
        spec.error_rate = limits(0.05, 0.05)
    });
    check("successRate: { warn: 95%, critical: 95% }", |spec| {
        spec.error_rate = None;
        spec.success_rate = limits(0.95, 0.95);
    });
    check(
        "successRate: { warn: 99%, critical: 95% }, errorRate: { warn: 1%, critical: 5% }",
        |spec| {
            spec.error_rate = limits(0.01, 0.05);
            spec.success_rate = limits(0.99, 0.95);
        },
    );
    check(
        "latencyP50: { warn: 1s }, latencyP90: { warn: 2s }, latencyP95: { warn: 3s }, latencyP99: { warn: 4s }",
        |spec| {
            spec.latency = [1, 2, 3, 4].map(|seconds| {
                let warn = Some(Duration::from_secs(seconds));
                Some(Limits { warn, critical: None })
            });
        },
    );
    check("errorRateRatio: 1, errorRateMargin: 0%", |spec| {
        (spec.error_rate_ratio, spec.error_rate_margin) = (1.0, 0.0);
    });
    check("latencyFactor: off", |spec| spec.latency_factor = None);
    check("latencyFactor: 'off', clientErrors: off", |spec| {
        (spec.latency_factor, spec.client_errors) = (None, None);
    });
    check("latencyFactor: 2, clientErrors: critical", |spec| {
        (spec.latency_factor, spec.client_errors) = (Some(2.0), Some(Level::Critical));
    });
    assert_eq!(judged("maxWait: 90m").patience, Duration::from_secs(5400));
    assert_eq!(judged("onInsufficientData: hold").patience, Duration::ZERO);
    assert_eq!(
        judged("onInsufficientData: extend").patience,
        Duration::from_secs(86_400)
    );
    assert_eq!(judged("maxVotesPerKey: 3, warmUp: 20").max_votes_per_key, Some(3));
    assert_eq!(judged("maxVotesPerKey: 3, warmUp: 20").warm_up, 20);
}

fn limits(warn: f64, critical: f64) -> Option<Limits<f64>> {
    let (warn, critical) = (Some(warn), Some(critical));
    Some(Limits { warn, critical })
}

#[test]
fn what_is_written_arrives() {
    let spec = load(GOOD).expect("it is good");
    let listener = &spec.listeners[0];
    let tls = listener.tls.as_ref().expect("there is TLS");
    assert_eq!(tls.certificates[0].certificate, Path::new("conf/tls/cert.pem"));
    assert_eq!(tls.certificates[0].key, Path::new("/tls/key.pem"));
    assert!(tls.only_1_3);
    assert_eq!(listener.timeouts.idle, Duration::from_secs(90));
    assert_eq!(listener.paths, PathPolicy::Normalize);
    assert_eq!(spec.trusted_proxies[0].prefix_bits, 8);
    let route = &spec.routes[0];
    let cohorts = &route.rules.cohorts;
    assert_eq!(cohorts.len(), 2);
    assert_eq!(cohorts[0].keys.as_ref().expect("it has keys").inline, ["123", "true"]);
    assert_eq!(
        [&cohorts[0].to, &cohorts[1].to],
        [
            &serin::route::Destination::Variant(1),
            &serin::route::Destination::Variant(0)
        ]
    );
    assert!(cohorts[0].evidence && !cohorts[1].evidence);
    let rollout = &spec.rollouts[0];
    assert_eq!((rollout.route, rollout.from, rollout.to), (0, 0, 1));
    assert!(rollout.auto_start);
    assert_eq!(rollout.plan.steps()[0].weight_ppm, 50_000);
    assert_eq!(rollout.plan.steps()[0].bake_time(), Duration::from_secs(7200));
    let rate = rollout.analysis.error_rate.expect("it is judged");
    assert_eq!((rate.warn, rate.critical), (Some(0.005), Some(0.05)));
    assert!(rollout.observe);
    assert_eq!(rollout.analysis.failed_requests, Some(100));
    assert_eq!(rollout.in_flight_max, Some(50));
    assert_eq!(rollout.analysis.error_rate_ratio, 2.5);
    let failures = route.failure_statuses;
    for (status, expected) in [(404, true), (403, false), (500, true), (999, true), (200, false)] {
        assert_eq!(failures.contains(status), expected, "{status}");
    }
    let log = OutcomeLog {
        file: "conf/logs/outcomes.log".into(),
        max_bytes: 1 << 30,
        keep: 7,
    };
    assert_eq!(spec.outcome_log, Some(log));
    assert_eq!(spec.tokens_file.as_deref(), Some(Path::new("conf/people/tokens.yaml")));
    assert_eq!(spec.audit.max_bytes, 1 << 20);
    assert_eq!(spec.audit.retention, Duration::from_secs(10 * 365 * 86_400));
    assert_eq!(
        (spec.backends[0].commit_ms, spec.backends[1].commit_ms),
        (Some(1_000), None)
    );
    let [team, oncall, own, office] = spec.notifications.as_slice() else {
        panic!("there are four")
    };
    assert_eq!(
        (team.progress, team.severity, &team.rollouts[..]),
        (true, Severity::Warn, &[0][..])
    );
    assert_eq!((oncall.progress, oncall.severity), (false, Severity::Critical));
    assert!(oncall.rollouts.is_empty());
    let pager_duty = Service::PagerDuty {
        url: "https://events.pagerduty.com/v2/enqueue".into(),
        routing_key: "s3cr3t".into(),
    };
    assert_eq!(oncall.service, pager_duty);
    let plain = Service::Webhook {
        url: "https://hooks/".into(),
        headers: vec![("authorization".into(), "Bearer s3cr3t".into())],
        template: Some("{\"text\":\"{{reason}}\"}".into()),
    };
    assert_eq!(own.service, plain);
    assert!(matches!(office.service, Service::Teams { .. }));
    let shown = format!("{spec:?}");
    assert!(!shown.contains("s3cr3t"), "{shown}");
    // Loading twice gives equal specs: what did not change is not a change.
    assert_eq!(load(GOOD).as_ref(), Ok(&spec));
    // Editors differ in what they put around the text.
    assert_eq!(load(&GOOD.replace('\n', "\r\n")).as_ref(), Ok(&spec));
    assert_eq!(load(&format!("\u{feff}---\n{GOOD}...\n")).as_ref(), Ok(&spec));
}

#[test]
fn what_is_written_of_the_edge_arrives() {
    let spec = load(GOOD).expect("it is good");
    let listener = &spec.listeners[0];
    let tls = listener.tls.as_ref().expect("there is TLS");
    assert_eq!(tls.client_ca.as_deref(), Some(Path::new("conf/ca.pem")));
    assert!(tls.client_required && listener.proxy_protocol);
    let hsts = Hsts {
        max_age_s: 2 * 365 * 86_400,
        include_subdomains: true,
        preload: true,
    };
    assert_eq!(tls.hsts, Some(hsts));
    assert_eq!(listener.timeouts.handshake, Duration::from_secs(2));
    assert_eq!(listener.timeouts.connection_age, Some(Duration::from_secs(3600)));
    let limits = &listener.limits;
    assert_eq!((limits.connections, limits.connections_per_client), (5_000, 5_000));
    assert_eq!((limits.streams, limits.upgrades), (7, 8));
    let ports: Vec<_> = spec.listeners.iter().map(|l| l.redirect_to_https).collect();
    assert_eq!(ports, [None, Some(8443), Some(443)]);
    assert_eq!(spec.listeners[1].limits.connections_per_client, 9);
    assert_eq!(spec.memory_max, Some(1 << 30));
    let admin = spec.admin_tls.as_ref().expect("there is TLS");
    assert_eq!(admin.certificates[0].key, Path::new("conf/admin.key"));

    let [one, two, three] = spec.backends.as_slice() else {
        panic!("there are three")
    };
    assert_eq!((one.protocol, &one.tls), (BackendProtocol::Http1, &None));
    assert_eq!((one.proxy_protocol, one.allow_internal), (None, false));
    assert_eq!((two.protocol, two.allow_internal), (BackendProtocol::Http2, true));
    assert_eq!(two.limits.max_streams, 50);
    let tls = two.tls.as_ref().expect("there is TLS");
    assert_eq!(tls.server_name.as_deref(), Some("app.internal"));
    assert_eq!(tls.ca.as_deref(), Some(Path::new("conf/roots.pem")));
    let certificate = tls.certificate.as_ref().expect("we show one");
    assert_eq!(certificate.certificate, Path::new("conf/me.pem"));
    assert_eq!(certificate.key, Path::new("/me.key"));
    let proxied = [two.proxy_protocol, three.proxy_protocol];
    assert_eq!(proxied, [Some(ProxyVersion::V2), Some(ProxyVersion::V1)]);
    let tls = three.tls.as_ref().expect("there is TLS");
    assert_eq!((&tls.ca, &tls.server_name, &tls.certificate), (&None, &None, &None));

    let route = &spec.routes[0];
    assert_eq!(route.body_timeout, Some(Duration::from_secs(3600)));
    assert_eq!(route.total_timeout, Some(Duration::from_secs(7200)));
}

#[test]
fn ten_thousand_routes_load_in_reasonable_time() {
    let file = |matches: &dyn Fn(usize) -> String, backend: &str| {
        let mut text = String::from(
            "version: 1\nlisteners: [{ name: l, address: '127.0.0.1:80' }]\n\
             backends: [{ name: b, endpoints: ['127.0.0.1:81'] }]\nroutes:\n",
        );
        for i in 0..10_000 {
            let split = format!("{{ variants: [{{ name: v, backend: {backend}, weight: 1 }}] }}");
            writeln!(text, "- {{ name: r{i}, match: {}, split: {split} }}", matches(i)).expect("writing to a string");
        }
        text
    };
    let apart = |i| format!("{{ hosts: [h{}.example.com], pathPrefix: /p{i} }}", i / 10);
    let by_header = |i| format!("{{ hosts: [h], headers: [{{ name: x-tenant, exact: t{i} }}] }}");
    let by_prefix = |i| format!("{{ hosts: [h], headers: [{{ name: x-path, prefix: /{i}/ }}] }}");
    for (text, problems) in [
        (file(&apart, "b"), None),
        (file(&by_header, "b"), None),
        (file(&by_prefix, "b"), Some("than can be told apart")),
        (file(&apart, "c"), Some("and 9000 more")),
    ] {
        let start = Instant::now();
        let loaded = load(&text).map_err(|problems| problems.to_string());
        // A second or two unoptimised; a pass over all pairs would take minutes.
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
        match (loaded, problems) {
            (Ok(spec), None) => assert_eq!(spec.routes.len(), 10_000),
            (Err(found), Some(expected)) => assert!(found.contains(expected), "{found}"),
            (loaded, _) => panic!("{:?}", loaded.map(|spec| spec.routes.len())),
        }
    }
}

#[test]
fn aliases_depth_and_size_are_bounded() {
    let mut bomb = String::from("a: &a [x, x, x, x, x, x, x, x, x, x]\n");
    for (name, last) in ('b'..='i').zip('a'..) {
        writeln!(bomb, "{name}: &{name} [{}]", vec![format!("*{last}"); 10].join(", ")).unwrap();
    }
    let deep = format!("version: {}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let mut nested = String::from("a0: &a0 [x]\n");
    for i in 1..100 {
        writeln!(nested, "a{i}: &a{i} [*a{}]", i - 1).unwrap();
    }
    let large = format!("version: 1\n# {}", "x".repeat(17 << 20));
    for (text, expected) in [
        (bomb, "more than 1000000 values"),
        (deep, "recursion limit"),
        (nested, "deeper than 32 levels"),
        (large, "bytes, more than"),
        ("a: &a [*a]".into(), "inside its own anchor"),
    ] {
        let problems = load(&text).expect_err("it is bounded").to_string();
        assert!(problems.contains(expected), "{expected}: {problems}");
        assert_eq!(problems.lines().count(), 1);
    }
    let aliased = GOOD.replace("limits: { headers: 50,", "limits: &limits { headers: 50,");
    let aliased = aliased.replace(
        "backends:",
        "- { name: two, address: 127.0.0.1:81, limits: *limits }\nbackends:",
    );
    assert_eq!(load(&aliased).expect("aliases work").listeners[3].limits.headers, 50);
}

#[test]
fn the_schema_accepts_the_examples_and_knows_every_unknown_key() {
    let schema = config::schema();
    for path in files("config", "yaml") {
        let text = fs::read_to_string(&path).expect("it can be read");
        let shown = serde_json::from_str(&config::shown(&text)).expect("it is JSON");
        let result = validate(&schema, &schema, &shown, "");
        assert_eq!(result, Ok(()), "{}", path.display());
    }
    for (good, bad) in [
        ("weight: 100", "weight: -1"),
        ("weight: 100", "weight: 1000001"),
        ("weight: 100", "weight: '100'"),
        ("weight: 100", "wait: 100"),
        ("idle: 90s", "idle: 90"),
        ("5%", "5"),
        ("format: text", "format: xml"),
        ("endpoints: [127.0.0.1:81]", "endpoints: []"),
        ("backend: one, ", ""),
        ("errorRateRatio: 2.5", "errorRateRatio: 0.5"),
        ("errorRateRatio: 2.5", "errorRateRatio: 250%"),
        ("latencyFactor: 2", "latencyFactor: 1"),
        ("latencyFactor: 2", "latencyFactor: none"),
        ("404", "99"),
        ("404", "2xx"),
        ("mode: observe", "mode: watch"),
        ("inFlight: 50", "inFlight: 0"),
        ("strategy: canary", "strategy: green"),
        ("days: [mon, sun]", "days: [monday]"),
        ("from: '09:00'", "from: 9am"),
        ("beforeStep", "beforeSteps"),
        ("retries: 0", "retries: 101"),
        ("status: [200, 3xx]", "status: [1xx]"),
        ("count: 3", "count: 0"),
        ("[sre, ", "[2nd, "),
        ("auditRetention: 10y", "auditRetention: 10"),
        ("redirectToHttps: true", "redirectToHttps: 8443"),
        ("{ port: 8443 }", "{ port: 0 }"),
        ("clientAuth: required", "clientAuth: always"),
        ("maxAge: 2y", "maxAge: 2"),
        ("serverName: App.internal", "serverName: '*.internal'"),
        ("proxyProtocol: v2", "proxyProtocol: true"),
        ("protocol: http2", "protocol: h2"),
        ("streams: 7", "streams: 1001"),
        ("memory: 1GiB", "memory: 1G"),
    ] {
        let text = GOOD.replacen(good, bad, 1);
        assert_ne!(text, GOOD, "{good}");
        assert!(load(&text).is_err(), "{bad}");
        let shown = serde_json::from_str(&config::shown(&text)).expect("it is JSON");
        assert!(validate(&schema, &schema, &shown, "").is_err(), "{bad}");
    }
}

/// As much of JSON Schema as ours uses.
fn validate(root: &Json, schema: &Json, value: &Json, path: &str) -> Result<(), String> {
    // What is secret was left out of the text that is shown.
    if value == "<hidden>" {
        return Ok(());
    }
    let wrong = |what: &str| Err(format!("{path}: {what}: {value}"));
    for (keyword, rule) in schema.as_object().ok_or("a schema is an object")? {
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "examples" => {}
            "$ref" => {
                let pointer = rule
                    .as_str()
                    .and_then(|r| r.strip_prefix('#'))
                    .ok_or("a reference within")?;
                validate(root, root.pointer(pointer).ok_or("it leads somewhere")?, value, path)?;
            }
            "anyOf" => {
                let mut options = rule.as_array().into_iter().flatten();
                if !options.any(|option| validate(root, option, value, path).is_ok()) {
                    return wrong("matches no option");
                }
            }
            "type" => {
                let found = match value {
                    Json::Null => "null",
                    Json::Bool(_) => "boolean",
                    Json::Number(_) => "number",
                    Json::String(_) => "string",
                    Json::Array(_) => "array",
                    Json::Object(_) => "object",
                };
                let is = |word: &Json| word == found || (word == "integer" && (value.is_u64() || value.is_i64()));
                if !(is(rule) || rule.as_array().is_some_and(|words| words.iter().any(is))) {
                    return wrong("is of another type");
                }
            }
            "const" if rule != value => return wrong("is another value"),
            "enum" if !rule.as_array().is_some_and(|words| words.contains(value)) => return wrong("is no such word"),
            "const" | "enum" => {}
            "minimum" if value.is_number() && value.as_f64() < rule.as_f64() => return wrong("is too small"),
            "exclusiveMinimum" if value.is_number() && value.as_f64() <= rule.as_f64() => return wrong("is too small"),
            "maximum" if value.is_number() && value.as_f64() > rule.as_f64() => return wrong("is too large"),
            "minimum" | "exclusiveMinimum" | "maximum" => {}
            "pattern" => {
                let regex = regex::Regex::new(rule.as_str().ok_or("a text")?).map_err(|error| error.to_string())?;
                if value.as_str().is_some_and(|text| !regex.is_match(text)) {
                    return wrong("does not match");
                }
            }
            "minLength" | "maxLength" => {}
            "minItems" => {
                if value.as_array().is_some_and(Vec::is_empty) {
                    return wrong("is empty");
                }
            }
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    validate(root, rule, item, &format!("{path}/{i}"))?;
                }
            }
            "properties" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    let property = rule.get(key).ok_or_else(|| format!("{path}: unknown key {key}"))?;
                    validate(root, property, value, &format!("{path}/{key}"))?;
                }
            }
            "required" => {
                let missing = |key: &&Json| value.get(key.as_str().unwrap_or_default()).is_none();
                if let Some(key) = rule.as_array().into_iter().flatten().find(missing) {
                    return wrong(&format!("lacks {key}"));
                }
            }
            "additionalProperties" if rule == false => {}
            "additionalProperties" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    validate(root, rule, value, &format!("{path}/{key}"))?;
                }
            }
            other => return Err(format!("the keyword {other} is not known to this test")),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_text_makes_it_panic(text in "([ \\-]{0,4}[a-zA-Z0-9:,{}\\[\\]&*!|>'\"%@#$?~. ]{0,20}\n?){0,20}") {
        let _ = load(&text);
        let _ = config::shown(&text);
    }

    #[test]
    fn no_change_of_a_good_file_makes_it_panic(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, "[ -~\n]{0,6}"), 1..6)
    ) {
        let mut text = GOOD.to_owned();
        for (at, length, insert) in cuts {
            let at = at.index(text.len());
            let end = (at + length).min(text.len());
            text.replace_range(at..end, &insert);
        }
        if let Err(problems) = load(&text) {
            for problem in &problems {
                prop_assert!(problem.line >= 1 && problem.column >= 1 && !problem.message.is_empty());
                prop_assert!(problem.line as usize <= text.lines().count() + 1);
            }
        }
    }
}

/// Something of everything.
const GOOD: &str = "\
version: 1
environment: test
listeners:
- name: public
  address: 127.0.0.1:80
  proxyProtocol: true
  tls: { certificates: [{ certificate: tls/cert.pem, key: /tls/key.pem }], minVersion: 1.3, clientCa: ca.pem, clientAuth: required, hsts: { maxAge: 2y, includeSubdomains: true, preload: true } }
  timeouts: { handshake: 2s, idle: 90s, connectionAge: 1h }
  limits: { headers: 50, connections: 5000, streams: 7, upgrades: 8 }
  paths: normalize
- { name: clear, address: 127.0.0.1:82, redirectToHttps: { port: 8443 }, limits: { connectionsPerClient: 9 } }
- { name: plain, address: 127.0.0.1:83, redirectToHttps: true }
backends:
- { name: one, release: v1, commitTime: '1970-01-01T01:00:01+01:00', endpoints: [127.0.0.1:81] }
- name: two
  endpoints: ['[::1]:81', 'two.internal:82', '169.254.1.1:82']
  protocol: http2
  tls: { ca: roots.pem, serverName: App.internal, certificate: me.pem, key: /me.key }
  proxyProtocol: v2
  allowInternal: true
  limits: { maxStreams: 50 }
- { name: three, endpoints: ['three:81'], tls: {}, proxyProtocol: v1 }
trustedProxies: [10.0.0.0/8]
limits: { memory: 1GiB }
log: { level: warn, format: text, access: all }
state: { directory: ./state, auditMaxSize: 1MiB, auditRetention: 10y }
outcomeLog: { file: logs/outcomes.log, maxSize: 1GiB, keep: 7 }
admin: { address: 0.0.0.0:0, tokensFile: people/tokens.yaml, tls: { certificates: [{ certificate: admin.pem, key: admin.key }] } }
notifications:
- { name: team, slack: { url: '${TOKEN_URL:-http://hooks/s3cr3t}' }, progress: true, rollouts: [a] }
- { name: oncall, pagerDuty: { routingKey: '${TOKEN}' }, severity: critical }
- { name: own, webhook: { url: 'https://hooks/', headers: { Authorization: 'Bearer ${TOKEN}' }, template: '{\"text\":\"{{reason}}\"}' } }
- { name: office, teams: { url: 'https://hooks/' } }
routes:
- name: a
  match: { hosts: [A.example.com, '*.b.example.com'], pathRegex: '/x/[0-9]+', methods: [GET], headers: [{ name: x-canary, present: false }], query: [{ name: q, regex: 'a+' }] }
  timeout: 1m30s
  bodyTimeout: 1h
  totalTimeout: 2h
  failureStatuses: [5xx, 404]
  split:
    key: { header: X-User-Id, fallback: clientIp }
    variants:
    - { name: old, backend: one, weight: 100 }
    - { name: new, backend: two, weight: 0 }
    cohorts:
    - { name: some, keys: [123, true], variant: new, evidence: true }
    - { name: others, headers: [{ name: x-a, exact: '' }, { name: x-b, prefix: b }], variant: old }
rollouts:
- name: a
  route: a
  from: old
  to: new
  autoStart: onReleaseChange
  mode: observe
  analysis:
    test: sequential
    compareWith: stable
    errorRate: { warn: 0.5%, critical: 5% }
    successRate: { warn: 99.5%, critical: 95% }
    latencyP95: { critical: 500ms }
    alpha: 0.2%
    errorRateRatio: 2.5
    errorRateMargin: 0%
    latencyFactor: 2
    clientErrors: critical
    maxVotesPerKey: 20
    warmUp: 5
    onInsufficientData: extend
    maxWait: 2h
  budget: { failedRequests: 100, inFlight: 50 }
  strategy: canary
  window: { days: [mon, sun], from: '09:00', to: '17:00', zone: Europe/Berlin }
  webhooks:
  - { name: told, on: onRollback, url: 'http://gate/', headers: { x-a: '${TOKEN}' }, metadata: { team: a } }
  - { name: asked, on: [beforeStep, beforePromotion], url: 'http://gate/', timeout: 1s, retries: 0, onFailure: goOn }
  postPromotion: { watch: 1w }
  rollbackWindow: 24h
  onSuccess: swapRoles
  drain: { after: 30s }
  steps:
  - { setWeight: 5%, bakeTime: 2h }
  - gate: { approvals: { count: 3, roles: [sre, releaseManager] } }
  - smoke: { checks: [{ path: /, status: [200, 3xx], expectHeaders: { content-type: text }, maxLatency: 1s }] }
  - ramp: { to: 50%, over: 10m }
  - pause: { duration: 10m }
  - { setWeight: 100% }
";
