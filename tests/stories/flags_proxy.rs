//! Who sees what: keys from everywhere, cohorts in their order, prerequisites and switches; and what is told of it.

use crate::common::{Backend, Client, Metrics, Options, Serin, answer, backend, fetch, pair_with, wait_until};
use crate::routing::murmur3;

/// Two backends that answer with their names, behind `shop` with these weights and further lines of its split.
struct Site {
    serin: Serin,
    v1: Backend,
    v2: Backend,
}

impl Site {
    fn start(weights: (u32, u32), split: &str) -> Self {
        Self::with(Options::default(), weights, split)
    }

    fn with(options: Options, weights: (u32, u32), split: &str) -> Self {
        let (v1, v2) = (Backend::ok("v1"), Backend::ok("v2"));
        let body = pair_with(v1.address(), v2.address(), weights, "", split);
        Self {
            serin: Serin::with(options, &body),
            v1,
            v2,
        }
    }

    fn client(&self) -> Client {
        Client::connect(self.serin.address())
    }
}

/// As the contract says, for `shop` at 50 to 50.
fn side(salt: &str, user: &str) -> &'static str {
    let bucket = (u64::from(murmur3(format!("shop{salt}{user}").as_bytes())) * 1_000_000) >> 32;
    if bucket < 500_000 { "stable" } else { "canary" }
}

/// Sends 60 users to a site with this key, each as `ask` does; all must be where the contract says.
#[track_caller]
fn check_key(options: Options, split: &str, salt: &str, ask: impl Fn(&mut Client, &str) -> String) {
    let site = Site::with(options, (50, 50), split);
    let mut client = site.client();
    let users: Vec<_> = (0..60).map(|n| format!("198.51.100.{n}")).collect();
    for user in &users {
        assert_eq!(ask(&mut client, user), side(salt, user), "{user} by {split}");
    }
    assert!(users.iter().any(|user| side(salt, user) != side(salt, &users[0])));
}

fn trusting() -> Options {
    Options {
        top: "trustedProxies: [127.0.0.0/8]\n".to_owned(),
        ..Options::default()
    }
}

#[test]
fn a_key_may_be_a_cookie_a_parameter_or_an_address() {
    let variant = |client: &mut Client, target: &str, fields: &[(&str, &str)]| {
        client.request("GET", target, fields, b"").variant().to_owned()
    };
    let by_cookie = |client: &mut Client, user: &str| {
        let cookies = format!("theme=dark; uid={user}; uid2=eve");
        variant(client, "/", &[("cookie", &cookies)])
    };
    check_key(Options::default(), "    key: { cookie: uid }\n", "", by_cookie);
    let by_query = |client: &mut Client, user: &str| variant(client, &format!("/?a=1&user={user}&user=eve"), &[]);
    check_key(Options::default(), "    key: { query: user }\n", "", by_query);
    // The rightmost address that is no trusted proxy; what stands before it anybody may have written.
    let by_address = |client: &mut Client, user: &str| {
        let hops = format!("203.0.113.9, {user}, 127.0.0.2");
        variant(client, "/", &[("x-forwarded-for", &hops)])
    };
    check_key(trusting(), "    key: { clientIp: true }\n", "", by_address);
    check_key(
        trusting(),
        "    key: { header: x-user-id, fallback: clientIp }\n",
        "",
        by_address,
    );
    let salted = "    key: { header: x-user-id }\n    salt: \"2026-11\"\n";
    let by_header = |client: &mut Client, user: &str| variant(client, "/", &[("x-user-id", user)]);
    check_key(Options::default(), salted, "2026-11", by_header);
}

#[test]
fn an_outsider_cannot_choose_its_address() {
    let site = Site::start((50, 50), "    key: { clientIp: true }\n");
    let mut client = site.client();
    let own = client.get("/").variant().to_owned();
    for n in 0..40 {
        let hops = format!("198.51.100.{n}");
        assert_eq!(
            client.request("GET", "/", &[("x-forwarded-for", &hops)], b"").variant(),
            own
        );
    }
}

const COHORTS: &str = r#"    key: { header: x-user-id }
    cohorts:
    - { name: no-robots, headers: [{ name: user-agent, contains: bot }], variant: stable }
    - { name: recent, headers: [{ name: x-app, semVer: ">=2.1.0" }, { name: x-app, suffix: -beta, not: true }], variant: canary }
    - { name: cookie, cookies: [{ name: beta, present: true }], variant: canary }
    - { name: query, query: [{ name: preview, oneOf: ["1", yes] }], variant: canary }
    - { name: office, clientIps: [203.0.113.0/24, 2001:db8::/32], variant: canary }
    - { name: here, environment: staging, headers: [{ name: x-here, present: true }], variant: canary }
    - { name: elsewhere, environment: production, headers: [{ name: x-elsewhere, present: true }], variant: canary }
    - { name: listed, keys: [alice, carol], variant: canary }
"#;

#[test]
fn cohorts_of_each_kind_are_tried_in_order() {
    let options = Options {
        top: "trustedProxies: [127.0.0.0/8]\nenvironment: staging\n".to_owned(),
        ..Options::default()
    };
    let (v1, v2) = (Backend::ok("v1"), Backend::ok("v2"));
    let body = pair_with(v1.address(), v2.address(), (100, 0), "", COHORTS);
    let serin = Serin::with(options, &body);
    let mut client = Client::connect(serin.address());
    let mut check = |target: &str, fields: &[(&str, &str)], expected: Option<&str>| {
        let response = client.request("GET", target, fields, b"");
        let served = if response.variant() == "canary" { &v2 } else { &v1 };
        let seen = served.seen().pop().expect("it was asked");
        assert_eq!(seen.head.get("x-serin-cohort"), expected, "{target} {fields:?}");
        let on_canary = expected.is_some_and(|cohort| cohort != "no-robots");
        assert_eq!(response.variant() == "canary", on_canary, "{target} {fields:?}");
    };
    check("/", &[], None);
    check("/", &[("x-app", "2.1.0")], Some("recent"));
    check("/", &[("x-app", "10.0.0")], Some("recent"));
    check("/", &[("x-app", "2.0.9")], None);
    check("/", &[("x-app", "3.0.0-beta")], None);
    check("/", &[("x-app", "new")], None);
    check("/", &[("x-app", "2.1.0"), ("user-agent", "bot/1")], Some("no-robots"));
    check("/", &[("cookie", "a=1; beta=")], Some("cookie"));
    check("/", &[("cookie", "a=1; beta2=1")], None);
    check("/?preview=yes", &[], Some("query"));
    check("/?preview=y%65s", &[], Some("query"));
    check("/?preview=no", &[], None);
    check("/", &[("x-forwarded-for", "203.0.113.7")], Some("office"));
    check("/", &[("x-forwarded-for", "2001:db8::7")], Some("office"));
    check("/", &[("x-forwarded-for", "203.0.113.7, 198.51.100.1")], None);
    check("/", &[("x-here", "1")], Some("here"));
    check("/", &[("x-elsewhere", "1")], None);
    check("/", &[("x-user-id", "alice")], Some("listed"));
    check("/", &[("x-user-id", "carol")], Some("listed"));
    check("/", &[("x-user-id", "dave")], None);
    check(
        "/?preview=1",
        &[("x-user-id", "alice"), ("cookie", "beta=1")],
        Some("cookie"),
    );
}

#[test]
fn a_part_of_a_cohort_is_the_same_part_each_time() {
    let split = "    key: { header: x-user-id }
    cohorts:
    - { name: testers, headers: [{ name: x-tester, present: true }], fractional: { stable: 50, canary: 50 } }
";
    let site = Site::start((100, 0), split);
    let mut client = site.client();
    for user in (0..80).map(|n| format!("user-{n}")) {
        let fields = [("x-user-id", user.as_str()), ("x-tester", "1")];
        let response = client.request("GET", "/", &fields, b"");
        assert_eq!(response.variant(), side("", &user), "{user}");
        assert_eq!(client.request("GET", "/", &fields[..1], b"").variant(), "stable");
    }
}

#[test]
fn who_does_not_meet_a_prerequisite_gets_the_default() {
    let app = Backend::ok("app");
    let config = format!(
        r#"backends:
{}flags:
- name: new-ui
  key: {{ attribute: x-user-id }}
  variants: [{{ name: "off", weight: 100 }}, {{ name: "on", weight: 0 }}]
  cohorts: [{{ name: staff, keys: [alice, bob], variant: "on" }}]
routes:
- name: search
  match: {{ pathPrefix: /search }}
  split:
    flag: new-search
    key: {{ header: x-user-id }}
    variants: [{{ name: old, backend: app, weight: 1 }}, {{ name: new, backend: app, weight: 0 }}]
    cohorts: [{{ name: staff, keys: [alice, carol], variant: new }}]
- name: shop
  match: {{ pathPrefix: / }}
  split:
    key: {{ header: x-user-id }}
    defaultVariant: stable
    variants: [{{ name: canary, backend: app, weight: 1 }}, {{ name: stable, backend: app, weight: 0 }}]
    prerequisites: [{{ flag: new-search, variant: new }}]
    cohorts: [{{ name: last, keys: [bob], prerequisites: [{{ flag: new-search, variant: old }}], variant: stable }}]
"#,
        backend("app", app.address())
    );
    let serin = Serin::start(&config);
    let mut client = Client::connect(serin.address());
    let mut check = |target: &str, user: &str, expected: &str| {
        let response = client.request("GET", target, &[("x-user-id", user)], b"");
        assert_eq!(response.variant(), expected, "{target} {user}");
    };
    check("/search", "alice", "new");
    check("/search", "bob", "old");
    check("/", "alice", "canary");
    check("/", "carol", "canary");
    check("/", "bob", "stable");
    check("/", "dave", "stable");
}

#[test]
fn a_flag_that_is_off_sends_everybody_to_the_default() {
    let split = |enabled: bool| {
        format!(
            "    enabled: {enabled}\n    key: {{ header: x-user-id }}\n    sticky: {{}}\n    cohorts: [{{ name: staff, keys: [alice], variant: canary }}]\n"
        )
    };
    let (v1, v2) = (Backend::ok("v1"), Backend::ok("v2"));
    let body = |enabled| pair_with(v1.address(), v2.address(), (0, 100), "", &split(enabled));
    let serin = Serin::start(&body(false));
    let mut client = Client::connect(serin.address());
    let mut variant = |user: &str| {
        let response = client.request("GET", "/", &[("x-user-id", user)], b"");
        assert!(response.head.get("set-cookie").is_none());
        response.variant().to_owned()
    };
    for user in ["alice", "bob", ""] {
        assert_eq!(variant(user), "stable");
    }
    serin.write(&body(true));
    assert_eq!(serin.reload().status, 200);
    for user in ["alice", "bob"] {
        assert_eq!(variant(user), "canary");
    }
}

#[test]
fn an_override_that_outsiders_must_not_use_keeps_its_secret() {
    let split = r#"    cohorts:
    - { name: drill, secret: { header: X-Override, value: "${OVERRIDE}" }, internal: true, variant: canary }
"#;
    let options = Options {
        env: vec![("OVERRIDE".to_owned(), "correct-horse-battery".to_owned())],
        ..Options::default()
    };
    let site = Site::with(options, (100, 0), split);
    let variant = |value: &str| {
        let fields = [("x-override", value), ("x-kept", "yes")];
        fetch(site.serin.address(), "GET", "/", &fields, b"")
            .variant()
            .to_owned()
    };
    assert_eq!(variant("correct-horse-battery"), "canary");
    for guess in ["", "correct-horse-batterY", "correct-horse-battery2", "correct-horse"] {
        assert_eq!(variant(guess), "stable");
    }
    let served = [&site.v1, &site.v2].map(Backend::seen).concat();
    assert_eq!(served.len(), 5);
    for seen in served {
        assert_eq!(
            (seen.head.get("x-override"), seen.head.get("x-kept")),
            (None, Some("yes"))
        );
    }
    let told = site.serin.api_text("/v1/config") + &site.serin.log();
    assert!(!told.contains("correct-horse"), "{told}");
}

#[test]
fn what_becomes_of_a_cohort_is_told_apart() {
    let v1 = Backend::ok("v1");
    let v2 = Backend::start(|request| match request.nth % 3 {
        0 => answer(500, &[], "broken"),
        _ => answer(200, &[], "fine"),
    });
    let split = r#"    cohorts:
    - { name: beta, headers: [{ name: x-beta, present: true }], variant: canary }
    - { name: half, headers: [{ name: x-half, present: true }], fractional: { stable: 1, canary: 1 }, evidence: true }
    - { name: nobody, headers: [{ name: x-nobody, present: true }], variant: canary }
"#;
    let serin = Serin::start(&pair_with(v1.address(), v2.address(), (100, 0), "", split));
    let mut client = Client::connect(serin.address());
    for _ in 0..30 {
        client.request("GET", "/", &[("x-beta", "1")], b"");
    }
    let on_canary = (0..40).filter(|_| client.request("GET", "/", &[("x-half", "1")], b"").variant() == "canary");
    let on_canary = on_canary.count() as u64;
    client.get("/");
    let cohorts = || serin.api("GET", "/v1/routes/shop", "")["cohorts"].clone();
    let figures = |cohort: usize, variant: usize| {
        let cohorts = cohorts();
        let variant = &cohorts[cohort]["variants"][variant];
        let number = |name: &str| variant[name].as_u64().expect("a number");
        (variant["name"].clone(), number("requests"), number("failures"))
    };
    wait_until("the last request is counted", || {
        let requests: u64 = (0..2).map(|variant| figures(1, variant).1).sum();
        figures(0, 0).1 == 30 && requests == 40
    });
    assert_eq!(figures(0, 0), ("canary".into(), 30, 10));
    assert_eq!(figures(1, 0), ("stable".into(), 40 - on_canary, 0));
    assert_eq!((figures(1, 1).0, figures(1, 1).1), ("canary".into(), on_canary));
    let cohorts = cohorts();
    assert_eq!(cohorts.as_array().map(Vec::len), Some(3));
    assert_eq!(
        cohorts[0]["variants"].as_array().map(Vec::len),
        Some(1),
        "the others cannot be reached"
    );
    let beta = &cohorts[0]["variants"][0];
    assert!((beta["errorRate"].as_f64().expect("a rate") - 1.0 / 3.0).abs() < 1e-9);
    assert!(beta["p95"].as_f64().expect("seconds") > 0.0);
    let nobody = &cohorts[2]["variants"][0];
    assert!(nobody["errorRate"].is_null() && nobody["p95"].is_null());
    let metrics = Metrics::of(&serin);
    let count = |cohort: &str, outcome: &str| {
        let labels = [("route", "shop"), ("cohort", cohort), ("outcome", outcome)];
        metrics.sum("serin_cohort_requests_total", &labels) as u64
    };
    assert_eq!((count("beta", "success"), count("beta", "failure")), (20, 10));
    assert_eq!(count("half", "success") + count("half", "failure"), 40);
    let durations = [("cohort", "beta"), ("variant", "canary")];
    assert_eq!(
        metrics.sum("serin_cohort_request_duration_seconds_count", &durations) as u64,
        30
    );
    assert_eq!(count("nobody", "success"), 0);
}

#[test]
fn a_cohorts_figures_outlive_the_abort_that_takes_it_away() {
    let v1 = Backend::ok("v1");
    let v2 = Backend::start(|_| answer(500, &[], "broken"));
    let split = "    cohorts: [{ name: beta, headers: [{ name: x-beta, present: true }], variant: canary }]\n";
    let body = pair_with(v1.address(), v2.address(), (100, 0), "", split)
        + "rollouts:\n- { name: shop, route: shop, from: stable, to: canary, analysis: { compareWith: none, errorRate: { critical: 50% } } }\n";
    let serin = Serin::start(&body);
    let mut client = Client::connect(serin.address());
    let mut beta = || client.request("GET", "/", &[("x-beta", "1")], b"").variant().to_owned();
    for _ in 0..10 {
        assert_eq!(beta(), "canary");
    }
    serin.tell("abort");
    assert_eq!(beta(), "stable");
    let failures = |metrics: &Metrics| {
        let labels = [("cohort", "beta"), ("outcome", "failure")];
        metrics.sum("serin_cohort_requests_total", &labels) as u64
    };
    wait_until("all of them are counted", || failures(&Metrics::of(&serin)) == 10);
    let route = serin.api("GET", "/v1/routes/shop", "");
    assert_eq!(route["cohorts"][0]["variants"][0]["failures"], 10, "{route}");
}
