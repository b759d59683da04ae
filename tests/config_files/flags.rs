//! What is written about flags arrives, and what cannot be is refused.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use serin::config::{self, Spec};
use serin::jwt::KeysAt;
use serin::route::{
    Comparison, Condition, Destination, FieldTest, FlagId, KeyFallback, KeySource, KeySpec, KeysSpec, Origin,
    Prerequisite, bucket_of_key, murmur3,
};

use super::{load, validate};

#[track_caller]
fn good(text: &str) -> Spec {
    load(text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The problems of [`FLAGS`] with `old` replaced by `new`, without their places.
#[track_caller]
fn problems_with(old: &str, new: &str) -> String {
    let text = FLAGS.replacen(old, new, 1);
    assert_ne!(text, FLAGS, "{old}");
    match load(&text) {
        Ok(_) => String::new(),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn what_is_written_about_a_route_s_flag_arrives() {
    let spec = good(FLAGS);
    let rules = &spec.routes[0].rules;
    assert_eq!((rules.flag.as_str(), rules.listed), ("new-checkout", true));
    let key = KeySpec {
        source: KeySource::Cookie("uid".into()),
        fallback: KeyFallback::FreshDraw,
    };
    assert_eq!((rules.key.as_ref(), rules.salt.as_str()), (Some(&key), "2026-11"));
    let schedule = rules.schedule;
    assert!(schedule.enabled);
    assert_eq!(schedule.enable_at_ms, Some(1_796_112_000_000));
    assert_eq!(schedule.disable_at_ms, Some(1_798_675_200_000));
    assert_eq!(rules.default, Some(0));
    let new_ui = Prerequisite {
        flag: FlagId::Own(0),
        variant: 1,
    };
    assert_eq!(rules.prerequisites, [new_ui]);
    let sticky = rules.sticky.as_ref().expect("there is one");
    assert_eq!((sticky.cookie.as_deref(), sticky.max_age_s), (Some("stuck"), 7_200));
    assert_eq!(
        (sticky.same_site, sticky.secret.as_ref().map(String::len)),
        ("Strict", Some(32))
    );
    // The weights are those of the environment; values stay.
    let variants = &spec.routes[0].variants;
    assert_eq!((variants[0].weight, variants[1].weight), (0, 100));
    assert_eq!(
        (&variants[0].value, &variants[1].value),
        (&Some(json!(false)), &Some(json!(true)))
    );
    assert_eq!(spec.routes[1].rules.flag.as_str(), "two");
    let first = Prerequisite {
        flag: FlagId::Route(0),
        variant: 1,
    };
    assert_eq!(spec.routes[1].rules.prerequisites, [first]);
    assert!(!format!("{spec:?}").contains("0123456789abcdef"));
    assert_eq!(good(FLAGS), spec);
}

#[test]
fn what_is_written_about_cohorts_arrives() {
    let spec = good(FLAGS);
    let [staff, rest] = spec.routes[0].rules.cohorts.as_slice() else {
        panic!("the cohort of another environment is left out")
    };
    let condition = |origin, name: &str, test| Condition {
        origin,
        name: name.into(),
        test,
        negated: false,
    };
    let version = FieldTest::Version(Comparison::GreaterOrEqual, "1.2.0".parse().expect("it is one"));
    let expected = [
        Condition {
            negated: true,
            ..condition(Origin::Header, "x-a", FieldTest::OneOf(vec!["a".into(), "1".into()]))
        },
        condition(Origin::Header, "x-v", version),
        condition(Origin::Cookie, "C", FieldTest::Prefix("a".into())),
        condition(Origin::Query, "q", FieldTest::Number(Comparison::Greater, -5.0)),
        condition(Origin::Claim, "roles", FieldTest::Exact("admin".into())),
        condition(Origin::ClientCertificate, "", FieldTest::Suffix(".example.com".into())),
    ];
    assert_eq!(staff.conditions, expected);
    assert_eq!(staff.networks, [([10, 0, 0, 0].into(), 8)]);
    let keys = KeysSpec {
        inline: vec!["alice".into()],
        file: Some(0),
    };
    assert_eq!(staff.keys, Some(keys));
    assert_eq!(staff.prerequisites.len(), 1);
    let secret = staff.secret.as_ref().expect("there is one");
    assert_eq!(
        (secret.header.as_str(), secret.value.as_str()),
        ("x-override", "0123456789abcdef")
    );
    assert_eq!((&staff.to, staff.evidence), (&Destination::Variant(1), true));
    assert_eq!(rest.to, Destination::Fractional(vec![0, 1]));
    assert_eq!(rest.keys.as_ref().and_then(|keys| keys.file), Some(0));
    // One file, read once; that of a cohort of another environment is not read.
    let files: Vec<_> = spec
        .key_files
        .iter()
        .map(|(path, set)| (path.as_path(), set.is_none()))
        .collect();
    assert_eq!(files, [(Path::new("conf/staff.txt"), true)]);
}

#[test]
fn what_is_written_about_flags_of_applications_arrives() {
    let spec = good(FLAGS);
    let [new_ui, dark_mode] = spec.flags.as_slice() else {
        panic!("there are two")
    };
    assert_eq!((new_ui.name.as_str(), new_ui.rules.flag.as_str()), ("new-ui", "new-ui"));
    assert_eq!(
        new_ui.rules.key.as_ref().map(|key| &key.source),
        Some(&KeySource::TargetingKey)
    );
    assert_eq!(new_ui.variants[0].value, Some(json!({ "a": [1, null, "x", 0.5] })));
    assert_eq!(new_ui.variants[1].value, Some(json!({})));
    let by_email = KeySpec {
        source: KeySource::Attribute("email".into()),
        fallback: KeyFallback::ClientIp,
    };
    assert_eq!(dark_mode.rules.key.as_ref(), Some(&by_email));
    assert!(dark_mode.rules.listed && !dark_mode.rules.schedule.enabled);
    let gold = &dark_mode.rules.cohorts[0];
    assert_eq!(gold.conditions[0].origin, Origin::Attribute);
    assert_eq!(gold.to, Destination::Fractional(vec![50, 50]));
}

#[test]
fn what_is_written_about_tokens_and_certificates_arrives() {
    let spec = good(FLAGS);
    assert!(spec.listeners[0].ofrep);
    let tls = spec.listeners[0].tls.as_ref().expect("there is TLS");
    assert_eq!(tls.client_ca.as_deref(), Some(Path::new("conf/tls/clients.pem")));
    let [file, url] = spec.issuers.as_slice() else {
        panic!("there are two")
    };
    assert_eq!(
        (file.issuer.as_str(), file.audiences.as_slice()),
        ("https://id.example.com", &["shop".to_owned()][..])
    );
    assert_eq!(file.keys, KeysAt::File(PathBuf::from("conf/keys/jwks.json")));
    assert_eq!((file.header.as_str(), &file.cookie), ("authorization", &None));
    assert_eq!(file.leeway, Duration::from_secs(60));
    let keys = KeysAt::Url {
        url: "http://[::1]:8080/jwks".into(),
        refresh: Duration::from_secs(10),
    };
    assert_eq!(
        (&url.keys, url.header.as_str(), url.cookie.as_deref()),
        (&keys, "x-token", Some("token"))
    );
    assert_eq!(url.leeway, Duration::ZERO);
}

#[test]
fn an_environment_has_its_own_cohorts_weights_and_switches() {
    let prod = good(&FLAGS.replace("environment: staging\njwt", "environment: prod\njwt"));
    let route = &prod.routes[0];
    let names: Vec<_> = route.rules.cohorts.iter().map(|cohort| cohort.name.as_str()).collect();
    assert_eq!(names, ["half", "rest"]);
    assert_eq!((route.variants[0].weight, route.variants[1].weight), (95, 5));
    assert!(!route.rules.schedule.enabled);
    assert_eq!(prod.key_files.len(), 2);
    let elsewhere = good(&FLAGS.replace("environment: staging\njwt", "environment: test\njwt"));
    assert!(elsewhere.routes[0].rules.schedule.enabled);
    assert_eq!(elsewhere.routes[0].variants[1].weight, 5);
}

#[test]
fn without_words_a_route_is_no_flag_of_the_list_and_has_defaults() {
    let text = FLAGS.replace(
        "    sticky: { cookie: stuck, maxAge: 2h, secret: 0123456789abcdef0123456789abcdef, sameSite: strict }\n",
        "    sticky: {}\n",
    );
    let sticky = good(&text).routes[0].rules.sticky.clone().expect("there is one");
    assert_eq!(
        (sticky.cookie, sticky.max_age_s, sticky.secret, sticky.same_site),
        (None, 3_600, None, "Lax")
    );
    let plain = &good(super::GOOD).routes[0].rules;
    assert_eq!((plain.flag.as_str(), plain.listed, plain.default), ("a", true, None));
    let keyless = super::GOOD
        .replace("    key: { header: X-User-Id, fallback: clientIp }\n", "")
        .replace(
            "    - { name: some, keys: [123, true], variant: new, evidence: true }\n",
            "",
        )
        .replace("maxVotesPerKey: 20", "warmUp: 4")
        .replace("    warmUp: 5\n", "");
    assert!(!good(&keyless).routes[0].rules.listed);
}

#[test]
fn the_worked_number_of_the_guide_is_right() {
    let guide = include_str!("../../docs/flags.md");
    for (salt, hash, bucket) in [("2026-11", Some("2,769,058,015"), 644_721), ("", None, 486_902)] {
        let text = format!("checkout{salt}alice");
        assert_eq!(bucket_of_key(&format!("checkout{salt}"), b"alice"), bucket);
        let words = format!("{},{:03}", bucket / 1_000, bucket % 1_000);
        assert!(guide.contains(&words), "{words}");
        let digits = hash.map(|hash| hash.replace(',', ""));
        if let (Some(hash), Some(digits)) = (hash, digits) {
            assert!(guide.contains(hash) && guide.contains(&format!("`{text}`")), "{hash}");
            assert_eq!(murmur3(text.as_bytes()).to_string(), digits);
        }
    }
}

#[test]
fn circles_and_long_chains_are_found_without_depth() {
    let flags = |count: usize, circle: bool| {
        let mut text = format!("{HEAD}flags:\n");
        for i in 0..count {
            let on = if i + 1 < count { i + 1 } else { 0 };
            let leans = if i + 1 < count || circle {
                format!(", prerequisites: [{{ flag: f{on}, variant: a }}]")
            } else {
                String::new()
            };
            writeln!(text, "- {{ name: f{i}, variants: [{{ name: a, weight: 1 }}]{leans} }}").expect("writing");
        }
        text
    };
    assert!(load(&flags(33, false)).is_ok());
    let long = load(&flags(10_000, false)).expect_err("too many").to_string();
    assert_eq!(long.lines().count(), 1, "{long}");
    assert!(
        long.contains("flags.f9966.name: needs 33 answers of other flags"),
        "{long}"
    );
    let circle = load(&flags(10_000, true)).expect_err("a circle").to_string();
    assert_eq!(circle.lines().count(), 1);
    assert!(
        circle.contains(
            "goes round in a circle: \"f0\" → \"f1\" → \"f2\" → \"f3\" → … → \"f9997\" → \"f9998\" → \"f9999\" → \"f0\""
        ),
        "{circle}"
    );
}

#[test]
fn many_cohorts_are_compared_in_reasonable_time() {
    let cohorts = |count: usize| {
        let mut text = format!("{HEAD}flags:\n- name: f\n  variants: [{{ name: a, weight: 1 }}]\n  cohorts:\n");
        for i in 0..count {
            writeln!(
                text,
                "  - {{ name: c{i}, attributes: [{{ name: a, exact: v{i} }}], keys: [a, b, k{i}], variant: a }}"
            )
            .expect("writing");
        }
        text
    };
    let start = Instant::now();
    assert_eq!(good(&cohorts(1_000)).flags[0].rules.cohorts.len(), 1_000);
    let many = load(&cohorts(1_001)).expect_err("too many").to_string();
    assert!(many.contains("give at most 1000"), "{many}");
    // A second or two unoptimised.
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn secrets_of_flags_stand_in_no_problem() {
    let text = FLAGS
        .replace("secret: 0123456789abcdef0123456789abcdef", "secret: s3cr3t")
        .replace("value: 0123456789abcdef", "value: s3cr3t");
    let problems = load(&text).expect_err("they are short").to_string();
    assert_eq!(problems.lines().count(), 2, "{problems}");
    assert!(!problems.contains("s3cr3t"), "{problems}");
    assert!(!config::shown(&text).contains("s3cr3t"));
}

#[test]
fn an_override_is_internal_only_behind_what_outsiders_lack() {
    let all = "claims: [{ name: roles, exact: admin }]\n      clientIps: [10.0.0.0/8]\n      \
               clientCertificates: [{ suffix: .example.com }]";
    let check = |conditions: &str, refused: bool| {
        let text = FLAGS
            .replace(all, conditions)
            .replace("      secret: { header: X-Override, value: 0123456789abcdef }\n", "");
        assert_ne!(text, FLAGS);
        let problems = load(&text)
            .err()
            .map(|problems| problems.to_string())
            .unwrap_or_default();
        assert_eq!(
            problems.contains("is internal, and "),
            refused,
            "{conditions}: {problems}"
        );
    };
    check(all, false);
    check("clientIps: [10.0.0.0/8]", false);
    check("clientIps: [10.0.0.0/8, ::/0]", true);
    check("clientIps: [0.0.0.0/0]", true);
    check("claims: [{ name: roles, exact: admin }]", false);
    check("claims: [{ name: roles, exact: admin, not: true }]", true);
    check("claims: [{ name: roles, present: true }]", false);
    check("claims: [{ name: roles, present: false }]", true);
    check("clientCertificates: [{ suffix: .example.com }]", false);
    check("headers: [{ name: x-b, exact: b }]", true);
}

#[test]
fn the_schema_describes_flags() {
    let schema = config::schema();
    let is_valid = |text: &str| {
        let shown = serde_json::from_str(&config::shown(text)).expect("it is JSON");
        validate(&schema, &schema, &shown, "")
    };
    assert_eq!(is_valid(FLAGS), Ok(()));
    for (good, bad) in [
        ("fallback: clientIp", "fallback: header"),
        ("enabled: true", "enabled: 'yes'"),
        ("value: true", "value: [true]"),
        ("semVer: '>=1.2.0'", "semVer: 1.2"),
        ("greaterThan: -5", "greaterThan: five"),
        ("clientIps: [10.0.0.0/8]", "clientIps: []"),
        ("keys: [alice]", "keys: []"),
        ("sameSite: strict", "sameSite: Strict"),
        ("cookie: stuck", "cookie: 'a b'"),
        ("ofrep: true", "ofrep: 1"),
        ("jwksUrl: 'http://", "jwksUrl: 'ftp://"),
        ("fractional: { canary: 1 }", "fractional: { canary: -1 }"),
        ("prerequisites: [{ flag: new-ui, variant: 'on' }]", "prerequisites: []"),
        (
            "attributes: [{ name: user.plan, exact: gold }]",
            "headers: [{ name: a, exact: b }]",
        ),
    ] {
        assert_ne!(problems_with(good, bad), "", "{bad}");
        assert!(is_valid(&FLAGS.replacen(good, bad, 1)).is_err(), "{bad}");
    }
    // Each key and word stands in the schema with what it means.
    let properties = schema["$defs"]["Cohort"]["properties"]
        .as_object()
        .expect("there are keys");
    assert_eq!(properties.len(), 16);
    for (key, schema) in properties {
        assert!(
            schema["description"].as_str().is_some_and(|text| text.ends_with('.')),
            "{key}"
        );
    }
    assert_eq!(
        schema["$defs"]["FlagVariant"]["properties"]["value"]["type"],
        json!(["boolean", "string", "number", "object"])
    );
    assert!(matches!(
        schema["$defs"]["AskerCertificate"]["properties"]["name"],
        Json::Null
    ));
}

const HEAD: &str = "\
version: 1
environment: staging
listeners: [{ name: l, address: 127.0.0.1:80 }]
backends: [{ name: v1, endpoints: [127.0.0.1:1] }]
routes: [{ name: r, split: { variants: [{ name: a, backend: v1, weight: 1 }] } }]
";

/// Something of all that can be said about flags.
const FLAGS: &str = "\
version: 1
environment: staging
jwt:
- { issuer: 'https://id.example.com', audiences: [shop], jwksFile: keys/jwks.json }
- { issuer: two, jwksUrl: 'http://[::1]:8080/jwks', refresh: 10s, header: X-Token, cookie: token, leeway: 0s }
listeners:
- name: public
  address: 127.0.0.1:8443
  ofrep: true
  tls: { certificates: [{ certificate: a, key: b }], clientCa: tls/clients.pem }
backends:
- { name: v1, endpoints: [127.0.0.1:1] }
- { name: v2, endpoints: [127.0.0.1:2] }
routes:
- name: checkout
  split:
    flag: new-checkout
    key: { cookie: uid }
    salt: 2026-11
    enabled: true
    enableAt: 2026-12-01T08:00:00Z
    disableAt: 2026-12-31T00:00:00Z
    defaultVariant: stable
    prerequisites: [{ flag: new-ui, variant: 'on' }]
    sticky: { cookie: stuck, maxAge: 2h, secret: 0123456789abcdef0123456789abcdef, sameSite: strict }
    variants:
    - { name: stable, backend: v1, weight: 95, value: false }
    - { name: canary, backend: v2, weight: 5, value: true }
    cohorts:
    - name: staff
      headers: [{ name: X-A, oneOf: [a, 1], not: true }, { name: x-v, semVer: '>=1.2.0' }]
      cookies: [{ name: C, prefix: a }]
      query: [{ name: q, greaterThan: -5 }]
      claims: [{ name: roles, exact: admin }]
      clientIps: [10.0.0.0/8]
      clientCertificates: [{ suffix: .example.com }]
      environment: staging
      keys: [alice]
      keysFile: staff.txt
      prerequisites: [{ flag: new-ui, variant: 'on' }]
      secret: { header: X-Override, value: 0123456789abcdef }
      internal: true
      variant: canary
      evidence: true
    - { name: half, environment: prod, keysFile: prod.txt, fractional: { stable: 50, canary: 50 } }
    - { name: rest, keysFile: staff.txt, fractional: { canary: 1 } }
    environments:
      staging: { weights: { canary: 100, stable: 0 }, enabled: true }
      prod: { enabled: false }
- name: two
  match: { path: /two }
  split:
    key: { header: x-a, fallback: clientIp }
    variants: [{ name: a, backend: v1, weight: 1 }]
    prerequisites: [{ flag: new-checkout, variant: canary }]
flags:
- name: new-ui
  variants: [{ name: 'off', weight: 0, value: { a: [1, ~, x, 0.5] } }, { name: 'on', weight: 10, value: {} }]
  cohorts: [{ name: office, clientIps: [10.0.0.0/8], variant: 'off' }]
- name: dark-mode
  key: { attribute: email, fallback: clientIp }
  enabled: false
  variants: [{ name: 'off', weight: 90, value: false }, { name: 'on', weight: 10, value: true }]
  cohorts:
  - { name: gold, attributes: [{ name: user.plan, exact: gold }], keys: [a@b], fractional: { 'on': 50, 'off': 50 } }
";
