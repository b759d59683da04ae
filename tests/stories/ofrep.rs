//! What applications are told is what requests get: by plain calls, and by the SDKs that OpenFeature publishes. One
//! that is not installed (`make sdks`) is passed over, and the output says so.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::common::{Backend, Client, Options, Serin, backend, wait_for};

/// A shop with a route that goes by much, and flags for applications alone.
fn shop() -> (Serin, Backend) {
    let app = Backend::ok("x");
    let backends = format!(
        "backends:\n{}{}",
        backend("v1", app.address()),
        backend("v2", app.address())
    );
    let body = r#"routes:
- name: shop-open
  match: { pathPrefix: /open }
  split:
    key: { header: x-user-id }
    cohorts: [{ name: thieves, keys: [u13], variant: "no" }]
    variants: [{ name: "yes", backend: v1, weight: 90, value: true }, { name: "no", backend: v1, weight: 10, value: false }]
- name: checkout
  match: { pathPrefix: / }
  split:
    flag: new-checkout
    key: { header: x-user-id }
    salt: "2026-11"
    prerequisites: [{ flag: shop-open, variant: "yes" }]
    variants:
    - { name: stable, backend: v1, weight: 70, value: false }
    - { name: canary, backend: v2, weight: 30, value: true }
    cohorts:
    - { name: beta, headers: [{ name: x-plan, oneOf: [gold, beta] }], fractional: { stable: 50, canary: 50 } }
    - { name: staff, keys: [u7, u77, u777], variant: canary }
    - { name: old-app, headers: [{ name: x-app, semVer: "<2.0.0" }], variant: stable }
flags:
- { name: limit, variants: [{ name: low, weight: 1, value: 3 }, { name: high, weight: 0, value: 9 }] }
- { name: ratio, variants: [{ name: all, weight: 1, value: 1.0 }, { name: half, weight: 0, value: 0.5 }] }
- { name: greeting, variants: [{ name: short, weight: 1, value: "hi" }, { name: long, weight: 0, value: "good day" }] }
- name: theme
  variants:
  - { name: day, weight: 1, value: { colour: light, sizes: [1, 2.5] } }
  - { name: night, weight: 0, value: { colour: dark, sizes: [] } }
  cohorts: [{ name: owls, attributes: [{ name: user.hours, exact: late }], variant: night }]
- { name: colour, variants: [{ name: red, weight: 1 }, { name: blue, weight: 1 }] }
"#;
    let options = Options {
        listener: "ofrep: true".to_owned(),
        ..Options::default()
    };
    (Serin::with(options, &format!("{backends}{body}")), app)
}

/// A user's request, and the context that describes it.
fn user(n: usize) -> (Vec<(&'static str, String)>, Value) {
    let mut fields = Vec::new();
    if !is_keyless(n) {
        fields.push(("x-user-id", format!("u{n}")));
    }
    if n.is_multiple_of(7) {
        fields.push(("x-plan", ["gold", "iron"][n % 2].to_owned()));
    }
    if n.is_multiple_of(3) {
        fields.push(("x-app", format!("{}.4.0", n % 4)));
    }
    let headers: serde_json::Map<_, _> = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    (
        fields,
        json!({ "context": { "headers": headers, "host": "shop.example.com" } }),
    )
}

const fn is_keyless(user: usize) -> bool {
    user % 20 == 19
}

/// How many of a thousand users get something else than applications are told, and how many get the canary.
fn differences(serin: &Serin) -> (usize, usize) {
    let mut requests = Client::connect(serin.address());
    let mut listener = Client::connect(serin.address());
    let mut admin = Client::connect(serin.admin_address());
    let host = serin.admin_address().to_string();
    let (mut different, mut on_canary) = (0, 0);
    for n in 0..1000 {
        let (fields, context) = user(n);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let got = requests.request("GET", "/", &fields, b"").variant().to_owned();
        on_canary += usize::from(got == "canary");
        let target = "/ofrep/v1/evaluate/flags/new-checkout";
        for client in [&mut listener, &mut admin] {
            let fields = [("host", &*host), ("content-type", "application/json")];
            let told = client.request("POST", target, &fields, context.to_string().as_bytes());
            let told = (told.status, told.json());
            different += usize::from(match (told.0, told.1["errorCode"].as_str()) {
                (200, None) => told.1["variant"] != *got,
                // Who has no key draws anew.
                (400, Some("TARGETING_KEY_MISSING")) => !is_keyless(n),
                other => panic!("{other:?} {}", told.1),
            });
        }
    }
    (different, on_canary)
}

#[test]
fn a_thousand_users_get_what_applications_are_told() {
    let (serin, _app) = shop();
    let (different, first) = differences(&serin);
    assert_eq!(different, 0);
    assert!((150..600).contains(&first), "{first}");
    let body = r#"{"weights":{"stable":10,"canary":90},"reason":"a story"}"#;
    serin.api("PUT", "/v1/flags/new-checkout/weights", body);
    let (different, more) = differences(&serin);
    assert!(different == 0 && more > first, "{different} {first} {more}");
    serin.api("POST", "/v1/flags/shop-open/disable", "");
    assert_eq!(differences(&serin).0, 0, "what asks a flag that is off");
    serin.api("POST", "/v1/flags/new-checkout/disable", "");
    assert_eq!(differences(&serin), (0, 0), "off is off for everybody");
}

fn installed(program: &str) -> Option<String> {
    let path = format!("{}/target/openfeature/{program}", env!("CARGO_MANIFEST_DIR"));
    if std::path::Path::new(&path).exists() {
        return Some(path);
    }
    eprintln!("{path} is not installed; `make sdks` does");
    None
}

#[test]
fn the_published_python_sdk_gets_every_kind_of_value_and_every_error() {
    let Some(python) = installed("python/bin/python") else {
        return;
    };
    let (serin, _app) = shop();
    serin.api("POST", "/v1/flags/greeting/disable", r#"{"reason":"a story"}"#);
    let alice = || json!({"targetingKey": "alice"});
    let late = json!({"targetingKey": "alice", "user": {"hours": "late"}});
    let cases = [
        (
            "boolean",
            "shop-open",
            alice(),
            json!(false),
            json!([true, "yes", "SPLIT", null]),
        ),
        (
            "integer",
            "limit",
            alice(),
            json!(0),
            json!([3, "low", "DEFAULT", null]),
        ),
        (
            "float",
            "ratio",
            alice(),
            json!(0.0),
            json!([1.0, "all", "DEFAULT", null]),
        ),
        (
            "string",
            "greeting",
            alice(),
            json!(""),
            json!(["hi", "short", "DISABLED", null]),
        ),
        (
            "object",
            "theme",
            late,
            json!({}),
            json!([{"colour": "dark", "sizes": []}, "night", "TARGETING_MATCH", null]),
        ),
        (
            "object",
            "theme",
            alice(),
            json!({}),
            json!([{"colour": "light", "sizes": [1, 2.5]}, "day", "DEFAULT", null]),
        ),
        (
            "string",
            "colour",
            alice(),
            json!("?"),
            json!([null, null, "SPLIT", null]),
        ),
        (
            "string",
            "colour",
            json!({}),
            json!("?"),
            json!(["?", null, "ERROR", "TARGETING_KEY_MISSING"]),
        ),
        (
            "boolean",
            "nobody",
            alice(),
            json!(true),
            json!([true, null, "ERROR", "FLAG_NOT_FOUND"]),
        ),
        (
            "boolean",
            "limit",
            alice(),
            json!(true),
            json!([true, null, "ERROR", "TYPE_MISMATCH"]),
        ),
        (
            "boolean",
            "limit",
            json!({"clientIp": "here"}),
            json!(true),
            json!([true, null, "ERROR", "INVALID_CONTEXT"]),
        ),
    ];
    let questions: Vec<_> = cases
        .iter()
        .map(|(kind, flag, context, default, _)| json!({"type": kind, "flag": flag, "context": context, "default": default}))
        .collect();
    for address in [serin.admin_url(), format!("http://{}", serin.address())] {
        let output = Command::new(&python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openfeature/ask.py"))
            .args([&address, &json!(questions).to_string()])
            .output()
            .expect("it is installed");
        let errors = String::from_utf8_lossy(&output.stderr);
        let answers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {errors}"));
        for ((kind, flag, context, _, expected), answer) in cases.iter().zip(&answers) {
            let mut told = ["value", "variant", "reason", "error"].map(|name| answer[name].clone());
            if *flag == "colour" && answer["error"].is_null() {
                // Either; and without values of their own, variants mean their names.
                assert_eq!(told[0], told[1]);
                told[..2].fill(Value::Null);
            }
            assert_eq!(json!(told), *expected, "{kind} {flag} {context}: {answer}");
            if answer["error"].is_null() {
                assert_eq!(answer["metadata"]["generation"], serin.generation(), "{answer}");
            }
        }
        assert_eq!(answers[4]["metadata"]["cohort"], "owls");
    }
}

/// The web SDK, which keeps all flags of `alice` up to date by itself.
struct Page {
    child: Child,
    lines: BufReader<ChildStdout>,
    more: ChildStdin,
}

impl Page {
    fn open(address: &str, questions: &Value) -> Option<Self> {
        let script = installed("web/watch.js")?;
        let mut child = Command::new("node")
            .args([&script, address, &questions.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("what is installed for it runs");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        let more = child.stdin.take().expect("a pipe");
        Some(Self { child, lines, more })
    }

    /// What it has seen since the last look.
    fn look(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a pipe");
        // Asks for the next one already.
        self.more.write_all(b"\n").expect("it runs");
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn the_published_web_sdk_keeps_all_flags_and_is_told_only_what_is_new() {
    let (serin, _app) = shop();
    let questions = json!([
        {"type": "Number", "flag": "limit", "default": 0},
        {"type": "Object", "flag": "theme", "default": {}},
        {"type": "String", "flag": "greeting", "default": ""},
        {"type": "Boolean", "flag": "shop-open", "default": false},
        {"type": "Boolean", "flag": "nobody", "default": true},
        {"type": "Boolean", "flag": "limit", "default": true},
    ]);
    let address = format!("http://{}", serin.address());
    let Some(mut page) = Page::open(&address, &questions) else {
        return;
    };
    let first = page.look();
    assert_eq!(first["statuses"], json!([200]));
    let answer = |value: Value, variant: Value, reason: &str, error: Value| json!({"value": value, "variant": variant, "reason": reason, "error": error});
    let expected = json!([
        answer(json!(3), json!("low"), "DEFAULT", Value::Null),
        answer(
            json!({"colour": "light", "sizes": [1, 2.5]}),
            json!("day"),
            "DEFAULT",
            Value::Null
        ),
        answer(json!("hi"), json!("short"), "DEFAULT", Value::Null),
        answer(json!(true), json!("yes"), "SPLIT", Value::Null),
        answer(json!(true), Value::Null, "ERROR", json!("FLAG_NOT_FOUND")),
        answer(json!(true), Value::Null, "ERROR", json!("TYPE_MISMATCH")),
    ]);
    assert_eq!(first["answers"], expected);
    let unchanged = wait_for("it has asked again", || {
        let next = page.look();
        next["statuses"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
            .then_some(next)
    });
    assert!(
        unchanged["statuses"]
            .as_array()
            .is_some_and(|all| all.iter().all(|one| one == 304)),
        "{unchanged}"
    );
    assert_eq!(
        (&unchanged["tags"][0], &unchanged["answers"]),
        (&first["tags"][0], &expected)
    );

    serin.api(
        "PUT",
        "/v1/flags/limit/weights",
        r#"{"weights":{"low":0,"high":1},"reason":"a story"}"#,
    );
    wait_for("it knows the new value", || {
        (page.look()["answers"][0]["value"] == 9).then_some(())
    });
    serin.api("POST", "/v1/flags/limit/disable", "");
    let off = wait_for("it knows that the flag is off", || {
        let next = page.look();
        (next["answers"][0]["reason"] == "DISABLED").then_some(next)
    });
    assert_eq!(off["answers"][0]["value"], 3);
}
