//! Where requests go: matches and their rank, splits, keys, cohorts, and the fields on both sides.

use std::collections::HashMap;

use crate::common::{
    Backend, Client, Metrics, Options, Seen, Serin, answer, backend, fetch, get, ok, one, pair, pair_with, wait_until,
};

/// Backends' names as bodies, so that an answer shows where it came from.
fn named_pair() -> (Backend, Backend) {
    (Backend::ok("v1"), Backend::ok("v2"))
}

#[test]
fn the_most_specific_route_wins() {
    let app = Backend::start(|request| ok(request.head.get("x-serin-route").unwrap_or("none")));
    // The least specific stands first: the order in the file decides nothing.
    let routes = [
        ("wildcard", r#"hosts: ["*.shop.test"]"#),
        ("deeper", r#"hosts: ["*.eu.shop.test"]"#),
        ("host", "hosts: [shop.test, other.shop.test]"),
        ("prefix", "hosts: [shop.test], pathPrefix: /api"),
        ("longer", "hosts: [shop.test], pathPrefix: /api/v2"),
        ("exact", "hosts: [shop.test], path: /api/v2/exact"),
        ("regex", r#"hosts: [shop.test], pathRegex: "/item/[0-9]+""#),
        ("method", "hosts: [shop.test], pathPrefix: /api, methods: [DELETE]"),
        (
            "header",
            r#"hosts: [shop.test], path: /page, headers: [{ name: x-beta, exact: "1" }]"#,
        ),
        (
            "query",
            r#"hosts: [shop.test], path: /search, query: [{ name: v, exact: "2" }]"#,
        ),
        ("anywhere", "path: /anywhere"),
    ];
    let mut config = format!("backends:\n{}routes:\n", backend("app", app.address()));
    for (name, matches) in routes {
        config.push_str(&format!(
            "- {{ name: {name}, match: {{ {matches} }}, split: {{ variants: [{{ name: only, backend: app, weight: 1 }}] }} }}\n"
        ));
    }
    let serin = Serin::start(&config);
    let mut client = Client::connect(serin.address());
    let mut check = |method: &str, host: &str, target: &str, fields: &[(&str, &str)], expected: &str| {
        let fields = [fields, &[("host", host)]].concat();
        let response = client.request(method, target, &fields, b"");
        let found = if response.status == 200 {
            response.text()
        } else {
            response.status.to_string()
        };
        assert_eq!(found, expected, "{method} {host} {target} {fields:?}");
    };
    check("GET", "shop.test", "/", &[], "host");
    check("GET", "SHOP.test:8080", "/", &[], "host");
    check("GET", "other.shop.test", "/", &[], "host");
    check("GET", "a.shop.test", "/", &[], "wildcard");
    check("GET", "a.eu.shop.test", "/", &[], "deeper");
    check("GET", "eu.shop.test", "/", &[], "wildcard");
    check("GET", "nobody.test", "/", &[], "404");
    check("GET", "myshop.test", "/", &[], "404");
    check("GET", "nobody.test", "/anywhere", &[], "anywhere");
    check("GET", "a.shop.test", "/anywhere", &[], "wildcard");
    check("GET", "shop.test", "/api", &[], "prefix");
    check("GET", "shop.test", "/api/", &[], "prefix");
    check("GET", "shop.test", "/api?x=1", &[], "prefix");
    check("GET", "shop.test", "/apix", &[], "host");
    check("GET", "shop.test", "/api/v2/x", &[], "longer");
    check("GET", "shop.test", "/api/v2x", &[], "prefix");
    check("GET", "shop.test", "/api/v2/exact", &[], "exact");
    check("GET", "shop.test", "/api/v2/exact/", &[], "longer");
    check("GET", "shop.test", "/item/12", &[], "regex");
    check("GET", "shop.test", "/item/12x", &[], "host");
    check("GET", "shop.test", "/x/item/12", &[], "host");
    check("DELETE", "shop.test", "/api/x", &[], "method");
    check("DELETE", "shop.test", "/api/v2/x", &[], "longer");
    check("GET", "shop.test", "/page", &[("X-Beta", "1")], "header");
    check("GET", "shop.test", "/page", &[("x-beta", "2")], "host");
    check("GET", "shop.test", "/page", &[], "host");
    check("GET", "shop.test", "/search?a=1&v=2", &[], "query");
    check("GET", "shop.test", "/search?v=3", &[], "host");
    check("GET", "shop.test", "/search", &[], "host");
}

#[test]
fn a_request_without_a_route_gets_a_problem_document() {
    let app = Backend::ok("x");
    let config = one(app.address()).replace("pathPrefix: /", "hosts: [app.test]");
    let serin = Serin::start(&config);
    let response = get(serin.address(), "/nowhere");
    response.problem(404);
    assert_eq!(response.head.get("server"), Some("serin"));
    assert!(
        response.head.get("x-serin-variant").is_none(),
        "no variant has answered: {response:?}"
    );
    assert_eq!(app.requests(), 0);
    wait_until("the refusal is counted", || {
        Metrics::of(&serin).sum("serin_rejected_total", &[("reason", "no_route")]) == 1.0
    });
}

#[test]
fn a_split_keeps_to_its_weights() {
    let (v1, v2) = named_pair();
    let serin = Serin::start(&pair(v1.address(), v2.address(), (80, 20)));
    let mut canary = 0;
    // Both workers take part: the system spreads connections over them.
    for _ in 0..8 {
        let mut client = Client::connect(serin.address());
        for _ in 0..300 {
            let response = client.get("/");
            assert_eq!(
                response.text(),
                if response.variant() == "canary" { "v2" } else { "v1" }
            );
            canary += u32::from(response.variant() == "canary");
        }
    }
    // Binomial, n = 2400, p = 0.2: mean 480, deviation 19.6. Beyond 4.9 deviations lies 1e-6.
    assert!((384..=576).contains(&canary), "{canary} of 2400 at 20 %");
    assert_eq!(
        (v1.requests(), v2.requests()),
        (2400 - canary as usize, canary as usize)
    );
    let share = |variant| Metrics::of(&serin).sum("serin_variant_share", &[("route", "shop"), ("variant", variant)]);
    assert_eq!((share("stable"), share("canary")), (0.8, 0.2));
}

#[test]
fn weight_zero_gets_nothing() {
    let (v1, v2) = named_pair();
    let serin = Serin::start(&pair(v1.address(), v2.address(), (1, 0)));
    let mut client = Client::connect(serin.address());
    for _ in 0..200 {
        assert_eq!(client.get("/").variant(), "stable");
    }
    assert_eq!((v1.requests(), v2.requests()), (200, 0));
}

/// murmur3_x86_32 with seed 0 (Austin Appleby, public domain), written apart from Serin's own.
pub fn murmur3(data: &[u8]) -> u32 {
    let scramble = |k: u32| k.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let mut chunks = data.chunks_exact(4);
    let mut h: u32 = 0;
    for chunk in &mut chunks {
        h ^= scramble(u32::from_le_bytes(chunk.try_into().expect("four bytes")));
        h = h.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let tail = chunks
        .remainder()
        .iter()
        .rev()
        .fold(0, |k, byte| k << 8 | u32::from(*byte));
    h ^= scramble(tail);
    h ^= u32::try_from(data.len()).expect("short keys");
    h = (h ^ h >> 16).wrapping_mul(0x85eb_ca6b);
    h = (h ^ h >> 13).wrapping_mul(0xc2b2_ae35);
    h ^ h >> 16
}

#[test]
fn a_key_keeps_a_user_on_one_side_as_the_contract_says() {
    assert_eq!(murmur3(b"hello"), 0x248b_fa47);
    let (v1, v2) = named_pair();
    let key = "    key: { header: x-user-id }\n";
    let serin = Serin::start(&pair_with(v1.address(), v2.address(), (70, 30), "", key));
    let side = |user: &str, boundary: u64| {
        let bucket = (u64::from(murmur3(format!("shop{user}").as_bytes())) * 1_000_000) >> 32;
        if bucket < boundary { "stable" } else { "canary" }
    };
    let sides = |boundary: u64| {
        let mut client = Client::connect(serin.address());
        let mut canary = 0;
        for user in (0..200).map(|n| format!("user-{n}")) {
            let variant = client
                .request("GET", "/", &[("x-user-id", &user)], b"")
                .variant()
                .to_owned();
            assert_eq!(variant, side(&user, boundary), "{user}");
            canary += u32::from(variant == "canary");
        }
        canary
    };
    let before = sides(700_000);
    assert_eq!(sides(700_000), before, "on another connection just the same");
    // More weight only adds users.
    assert_eq!(serin.weights(50, 50).status, 200);
    assert!(sides(500_000) > before);
}

#[test]
fn without_a_key_the_fallback_or_a_fresh_draw_decides() {
    let (v1, v2) = named_pair();
    let key = "    key: { header: x-user-id, fallback: clientIp }\n";
    let serin = Serin::start(&pair_with(v1.address(), v2.address(), (50, 50), "", key));
    let mut client = Client::connect(serin.address());
    let first = client.get("/").variant().to_owned();
    for _ in 0..30 {
        assert_eq!(
            client.request("GET", "/", &[("x-user-id", "")], b"").variant(),
            first,
            "one address, one side"
        );
    }
    let fresh = Serin::start(&pair_with(
        v1.address(),
        v2.address(),
        (50, 50),
        "",
        "    key: { header: x-user-id }\n",
    ));
    let mut client = Client::connect(fresh.address());
    // That 60 fresh draws all fall on one side has a chance of 2e-18.
    let canary = (0..60).filter(|_| client.get("/").variant() == "canary").count();
    assert!((1..60).contains(&canary));
}

const COHORTS: &str = "    key: { header: x-user-id }
    cohorts:
    - { name: beta, headers: [{ name: x-canary, exact: \"true\" }], variant: canary }
    - { name: staff, keys: [alice, bob], variant: canary }
";

#[test]
fn cohorts_come_before_the_weights() {
    let (v1, v2) = named_pair();
    let serin = Serin::start(&pair_with(v1.address(), v2.address(), (100, 0), "", COHORTS));
    let check = |fields: &[(&str, &str)], variant: &str, cohort: Option<&str>| {
        let response = fetch(serin.address(), "GET", "/", fields, b"");
        assert_eq!(response.variant(), variant, "{fields:?}");
        let served = if variant == "canary" { &v2 } else { &v1 };
        let seen = served.seen().pop().expect("it was asked");
        assert_eq!(seen.head.get("x-serin-cohort"), cohort, "{fields:?}");
    };
    check(&[("x-canary", "true")], "canary", Some("beta"));
    check(&[("x-canary", "false")], "stable", None);
    check(&[("x-user-id", "alice")], "canary", Some("staff"));
    check(&[("x-user-id", "carol")], "stable", None);
    check(&[("x-user-id", "bob"), ("x-canary", "true")], "canary", Some("beta"));
    check(&[], "stable", None);
}

#[test]
fn what_cohorts_send_is_measured() {
    // That it does not vote is told in `rollback`.
    let v1 = Backend::ok("v1");
    let v2 = Backend::start(|_| answer(500, &[], "broken"));
    let serin = Serin::start(&pair_with(v1.address(), v2.address(), (100, 0), "", COHORTS));
    let mut client = Client::connect(serin.address());
    for _ in 0..30 {
        assert_eq!(client.request("GET", "/", &[("x-canary", "true")], b"").status, 500);
    }
    wait_until("they are exported", || {
        Metrics::of(&serin).requests("shop", "canary") == (0, 30, 0)
    });
    assert_eq!(Metrics::of(&serin).attempts("shop", "canary"), (0, 30, 0));
}

fn last(app: &Backend) -> Seen {
    app.seen().pop().expect("it was asked")
}

#[test]
fn a_backend_is_told_where_a_request_comes_from() {
    let (v1, v2) = named_pair();
    let serin = Serin::start(&pair(v1.address(), v2.address(), (1, 0)));
    get(serin.address(), "/a%20b/?q=1&r=%2F");
    let seen = last(&v1);
    assert_eq!(
        seen.head.start, "GET /a%20b/?q=1&r=%2F HTTP/1.1",
        "the target passes as it came"
    );
    let field = |name| seen.head.get(name);
    assert_eq!(field("x-serin-route"), Some("shop"));
    assert_eq!(field("x-serin-variant"), Some("stable"));
    assert_eq!(field("x-serin-cohort"), None);
    assert_eq!(field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(field("x-forwarded-proto"), Some("http"));
    assert_eq!(field("x-forwarded-host"), Some("serin.test"));
    assert!(field("x-request-id").is_some_and(|id| id.len() >= 16));
    assert!(field("host").is_some());
    let trace: Vec<_> = field("traceparent").expect("begun").split('-').collect();
    assert_eq!(
        trace.iter().map(|part| part.len()).collect::<Vec<_>>(),
        [2, 32, 16, 2],
        "{trace:?}"
    );
    assert_eq!(trace[0], "00");
    assert!(trace[1].contains(|c| c != '0') && trace[2].contains(|c| c != '0'));

    get(serin.address(), "/");
    let second = last(&v1);
    assert_ne!(
        second.head.get("x-request-id"),
        seen.head.get("x-request-id"),
        "each request has its own"
    );
    assert_ne!(second.head.get("traceparent"), seen.head.get("traceparent"));
}

#[test]
fn a_trace_is_continued_and_a_broken_one_begun_anew() {
    let app = Backend::ok("x");
    let serin = Serin::start(&one(app.address()));
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let sent = |parent: &str| {
        fetch(
            serin.address(),
            "GET",
            "/",
            &[("traceparent", parent), ("tracestate", "a=1")],
            b"",
        );
        last(&app).head.get("traceparent").expect("there is one").to_owned()
    };
    assert!(sent(&format!("00-{trace}-b7ad6b7169203331-01")).starts_with(&format!("00-{trace}-")));
    assert_eq!(last(&app).head.get("tracestate"), Some("a=1"));
    for broken in [
        "garbage",
        &format!("00-{trace}-0000000000000000-01"),
        &format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
    ] {
        let fresh = sent(broken);
        assert!(
            fresh.len() == 55 && fresh.starts_with("00-") && !fresh.contains(trace),
            "{broken}: {fresh}"
        );
    }
}

const SPOOFED: &[(&str, &str)] = &[
    ("x-forwarded-for", "6.6.6.6"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "evil.test"),
    ("X-Serin-Variant", "canary"),
    ("x-serin-route", "other"),
    ("x-serin-cohort", "staff"),
    ("x-serin-made-up", "1"),
];

#[test]
fn forwarding_fields_from_outside_are_replaced() {
    let app = Backend::ok("x");
    let serin = Serin::start(&one(app.address()));
    fetch(serin.address(), "GET", "/", SPOOFED, b"");
    let head = last(&app).head;
    assert_eq!(head.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(head.get("x-forwarded-proto"), Some("http"));
    assert_eq!(head.get("x-forwarded-host"), Some("serin.test"));
    assert_eq!(head.get("x-serin-variant"), Some("stable"));
    assert_eq!(head.get("x-serin-route"), Some("app"));
    assert_eq!(head.get("x-serin-cohort"), None);
    assert_eq!(head.get("x-serin-made-up"), None);
}

#[test]
fn forwarding_fields_of_a_trusted_proxy_are_continued() {
    let app = Backend::ok("x");
    let trusting = Options {
        top: "trustedProxies: [127.0.0.0/8]\n".to_owned(),
        ..Options::default()
    };
    let serin = Serin::with(trusting, &one(app.address()));
    fetch(serin.address(), "GET", "/", SPOOFED, b"");
    let head = last(&app).head;
    let hops: Vec<_> = head
        .all("x-forwarded-for")
        .join(",")
        .split(',')
        .map(|hop| hop.trim().to_owned())
        .collect();
    assert_eq!(hops, ["6.6.6.6", "127.0.0.1"]);
    assert_eq!(head.get("x-forwarded-proto"), Some("https"));
    assert_eq!(head.get("x-forwarded-host"), Some("evil.test"));
    // Where a request went is Serin's to say, whoever asks.
    assert_eq!(head.get("x-serin-variant"), Some("stable"));
    assert_eq!(head.get("x-serin-route"), Some("app"));
}

#[test]
fn hop_by_hop_fields_stop_here_in_both_directions() {
    let app = Backend::start(|_| {
        let fields = [
            ("connection", "x-secret"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("x-kept", "yes"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("server", "app/1"),
        ];
        answer(200, &fields, "x")
    });
    let serin = Serin::start(&one(app.address()));
    let sent = [
        ("connection", "keep-alive, X-Hop, other-hop"),
        ("x-hop", "1"),
        ("Other-Hop", "2"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("te", "trailers, deflate"),
        ("x-kept", "yes"),
        ("cookie", "a=1"),
    ];
    let response = fetch(serin.address(), "GET", "/", &sent, b"");
    let head = last(&app).head;
    for gone in ["x-hop", "other-hop", "keep-alive", "proxy-connection"] {
        assert!(head.all(gone).is_empty(), "{gone} reached the backend: {head:?}");
    }
    assert!(
        !head.all("connection").join(",").to_ascii_lowercase().contains("hop"),
        "{head:?}"
    );
    assert!(!head.all("te").join(",").contains("deflate"), "{head:?}");
    assert_eq!((head.get("x-kept"), head.get("cookie")), (Some("yes"), Some("a=1")));
    for gone in ["x-secret", "keep-alive", "proxy-connection"] {
        assert!(
            response.head.all(gone).is_empty(),
            "{gone} reached the client: {response:?}"
        );
    }
    assert!(
        !response.head.all("connection").join(",").contains("x-secret"),
        "{response:?}"
    );
    assert_eq!(response.head.get("x-kept"), Some("yes"));
    assert_eq!(response.head.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(
        response.head.get("server"),
        Some("app/1"),
        "the backend's own name is kept"
    );
}

#[test]
fn an_answer_says_which_variant_and_generation_it_came_from() {
    let app = Backend::start(|_| answer(200, &[("x-serin-variant", "made-up"), ("x-serin-generation", "0")], "x"));
    let serin = Serin::start(&pair(app.address(), app.address(), (1, 0)));
    let response = get(serin.address(), "/");
    assert_eq!(
        (response.variant(), response.generation()),
        ("stable", serin.generation())
    );
    let changed = serin.weights(0, 1);
    assert_eq!(changed.status, 200);
    let response = get(serin.address(), "/");
    assert_eq!(
        (response.variant(), response.generation()),
        ("canary", serin.generation())
    );
}

#[test]
fn a_route_may_keep_its_variant_to_itself() {
    let app = Backend::ok("x");
    let serin = Serin::start(&pair_with(
        app.address(),
        app.address(),
        (1, 1),
        "  exposeVariant: false\n",
        "",
    ));
    let response = get(serin.address(), "/");
    let mut names: HashMap<_, _> = response.head.fields.iter().cloned().collect();
    names.retain(|name, _| name.to_ascii_lowercase().starts_with("x-serin"));
    assert!(names.is_empty(), "{names:?}");
}
