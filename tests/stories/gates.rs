//! What a rollout waits for outside, and how it goes on by itself: webhooks in order and with their payload, those
//! that misbehave, smoke tests, releases that start it, roles that change, and the watch after the promotion.

use std::collections::HashMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{
    Act, Backend, Load, Metrics, Options, Serin, answer, get, hang, ok, pair, status, text, wait_for, wait_until,
};

/// A program that is asked: it agrees, unless it was told to do something else at a path.
struct Gate {
    backend: Backend,
    acts: Arc<Mutex<HashMap<String, Vec<Act>>>>,
}

impl Gate {
    fn start() -> Self {
        let acts: Arc<Mutex<HashMap<String, Vec<Act>>>> = Arc::default();
        let known = Arc::clone(&acts);
        let backend = Backend::start(move |request| {
            let known = known.lock().expect("no story panics with it");
            known.get(request.target()).cloned().unwrap_or_else(|| ok("fine"))
        });
        Self { backend, acts }
    }

    fn does(&self, path: &str, acts: Vec<Act>) {
        let mut known = self.acts.lock().expect("no story panics with it");
        known.insert(path.to_owned(), acts);
    }

    fn url(&self, path: &str) -> String {
        format!("\"http://{}{path}\"", self.backend.address())
    }

    /// Path and payload of each call that has come whole.
    fn calls(&self) -> Vec<(String, Value)> {
        let seen = self.backend.seen();
        let whole = seen.iter().filter(|seen| seen.whole);
        let call = |seen: &crate::common::Seen| {
            let path = seen.head.start.split(' ').nth(1).unwrap_or_default().to_owned();
            (path, serde_json::from_slice(&seen.body).expect("JSON"))
        };
        whole.map(call).collect()
    }

    /// How often somebody asked at `path`.
    fn asked(&self, path: &str) -> usize {
        let seen = self.backend.seen();
        let at = |seen: &&crate::common::Seen| seen.head.start.split(' ').nth(1) == Some(path);
        seen.iter().filter(at).count()
    }
}

const ANALYSIS: &str = "{ minRequests: 20, errorRate: { warn: 1%, critical: 5% } }";

/// A rollout `shop` with further keys, in YAML's flow style.
fn rollout(steps: &str, more: &str) -> String {
    format!(
        "rollouts:\n- {{ name: shop, route: shop, from: stable, to: canary, analysis: {ANALYSIS}, steps: {steps}{more} }}\n"
    )
}

fn serin(stable: &Backend, canary: &Backend, steps: &str, more: &str) -> Serin {
    Serin::start(&(pair(stable.address(), canary.address(), (100, 0)) + &rollout(steps, more)))
}

fn waiting(serin: &Serin) -> String {
    serin.rollout()["waiting"].as_str().unwrap_or_default().to_owned()
}

fn reason(serin: &Serin) -> String {
    serin.rollout()["reason"].as_str().unwrap_or_default().to_owned()
}

/// A canary that fails as soon as it is told to.
fn moody(body: &'static str) -> (Backend, Arc<AtomicBool>) {
    let bad = Arc::new(AtomicBool::new(false));
    let is_bad = Arc::clone(&bad);
    let backend = Backend::start(move |_| {
        if is_bad.load(Ordering::SeqCst) {
            status(500)
        } else {
            ok(body)
        }
    });
    (backend, bad)
}

#[test]
fn webhooks_are_asked_in_order_with_the_documented_payload() {
    let (stable, canary, gate) = (Backend::ok("s"), Backend::ok("c"), Gate::start());
    for path in ["/start", "/promotion"] {
        gate.does(path, answer(403, &[], "not before nine"));
    }
    let hook = |name: &str, on: &str, more: &str| {
        format!(
            "{{ name: {name}, on: {on}, url: {}, interval: 100ms{more} }}",
            gate.url(&format!("/{name}"))
        )
    };
    let hooks = [
        hook(
            "start",
            "beforeStart",
            ", metadata: { team: payments, type: canary }, headers: { x-key: s3cr3t }",
        ),
        hook("step", "beforeStep", ""),
        hook("promotion", "beforePromotion", ""),
        hook("back", "onRollback", ""),
    ];
    let steps = "[{ setWeight: 20% }, { setWeight: 50% }, { setWeight: 100%, bakeTime: 1h }]";
    let body =
        pair(stable.address(), canary.address(), (100, 0)).replacen("{ name: v2,", "{ name: v2, release: v1.5.0,", 1)
            + &rollout(steps, &format!(", webhooks: [{}]", hooks.join(", ")));
    let options = Options {
        top: "environment: prod\n".to_owned(),
        ..Options::default()
    };
    let serin = Serin::with(options, &body);
    let _load = Load::start(serin.address(), 2, "/");
    serin.tell("start");
    wait_until("it says why it waits", || waiting(&serin).contains("not before nine"));
    assert!(gate.asked("/start") > 0 && serin.share("canary") == 0.0);
    wait_until("it is asked again", || gate.asked("/start") > 2);
    gate.does("/start", ok("go"));
    wait_until("it waits for the promotion", || {
        gate.asked("/promotion") > 0 && waiting(&serin).contains("not before nine")
    });
    assert_eq!(serin.share("canary"), 0.5);
    gate.does("/promotion", ok("go"));
    serin.until_phase("promoting");
    serin.tell("abort");
    wait_until("the rollback is told", || {
        gate.asked("/back") == 1 && gate.calls().last().is_some_and(|c| c.0 == "/back")
    });

    let calls = gate.calls();
    let mut order: Vec<&str> = calls.iter().map(|(path, _)| path.as_str()).collect();
    let steps = order.iter().filter(|path| **path == "/step").count();
    assert_eq!(steps, 2, "before each further part of the file: {order:?}");
    order.dedup();
    // Which of the two is asked first before the part that is both is not said.
    assert_eq!(
        (order.first(), order.get(1), order.last()),
        (Some(&"/start"), Some(&"/step"), Some(&"/back"))
    );
    let call = |path: &str| {
        calls
            .iter()
            .rfind(|call| call.0 == path)
            .expect("it was asked")
            .1
            .clone()
    };
    let first = call("/start");
    assert!(first["checksum"].as_str().is_some_and(|sum| !sum.is_empty()));
    assert!(
        calls
            .iter()
            .all(|(_, payload)| payload["checksum"] == first["checksum"])
    );
    let mut known = first.clone();
    known["checksum"] = Value::Null;
    let generation = known["serin"]["generation"].as_u64();
    assert!(generation > Some(0));
    known["serin"]["generation"] = Value::Null;
    let of = known["serin"]["of"].clone();
    assert_eq!(
        known,
        json!({
            "name": "shop", "namespace": "prod", "phase": "Progressing", "checksum": null,
            "metadata": { "team": "payments", "type": "canary" },
            "serin": {
                "rollout": "shop", "route": "shop", "webhook": "start", "moment": "beforeStart", "step": 1, "of": of,
                "weight": 0.0, "release": "v1.5.0", "generation": null, "from": "stable", "to": "canary",
                "reason": first["serin"]["reason"],
            }
        })
    );
    assert!(
        first["serin"]["reason"]
            .as_str()
            .is_some_and(|why| why.contains("a story")),
        "{first}"
    );
    let promotion = call("/promotion");
    assert_eq!(
        (
            &promotion["serin"]["moment"],
            &promotion["serin"]["weight"],
            &promotion["phase"]
        ),
        (&"beforePromotion".into(), &0.5.into(), &"Progressing".into())
    );
    let back = call("/back");
    assert_eq!(
        (&back["phase"], &back["serin"]["moment"]),
        (&"Failed".into(), &"onRollback".into())
    );
    assert_eq!(
        (&back["serin"]["weight"], &back["serin"]["step"]),
        (&0.0.into(), &Value::Null),
        "{back}"
    );
    assert!(
        back["serin"]["reason"]
            .as_str()
            .is_some_and(|why| why.contains("aborted")),
        "{back}"
    );
    let head = &gate.backend.seen()[0].head;
    assert_eq!(head.get("content-type"), Some("application/json"));
    assert_eq!(head.get("x-key"), Some("s3cr3t"));
    assert!(head.get("user-agent").is_some_and(|agent| agent.starts_with("serin/")));
}

#[test]
fn headers_of_webhooks_are_written_nowhere() {
    let (app, gate) = (Backend::ok("x"), Gate::start());
    // It says what it was sent.
    gate.does("/g", answer(403, &[], "no: Bearer s3cr3t-word"));
    let steps = format!(
        "[{{ gate: {{ webhook: {{ name: g, url: {}, headers: {{ authorization: \"Bearer s3cr3t-word\" }} }} }} }}, {{ setWeight: 100% }}]",
        gate.url("/g")
    );
    let serin = serin(&app, &app, &steps, "");
    serin.tell("start");
    wait_until("it was told why", || waiting(&serin).contains("403"));
    serin.tell("pause");
    for target in ["/v1/config", "/v1/rollouts/shop", "/v1/audit", "/v1/status", "/metrics"] {
        let text = serin.api_text(target);
        assert!(!text.contains("s3cr3t"), "{target}: {text}");
    }
    assert!(!serin.log().contains("s3cr3t"));
    for file in fs::read_dir(serin.dir().join("state")).expect("it is there") {
        let path = file.expect("it can be listed").path();
        if path.ends_with("upgrade.sock") {
            continue; // holds nothing
        }
        let text = fs::read(&path).expect("it can be read");
        assert!(!String::from_utf8_lossy(&text).contains("s3cr3t"), "{}", path.display());
    }
}

#[test]
fn an_abort_is_told_once_and_shown_at_its_step() {
    let ((canary, bad), gate) = (moody("c"), Gate::start());
    let stable = Backend::ok("s");
    let steps = "[{ setWeight: 20% }, { setWeight: 50%, bakeTime: 1h }, { setWeight: 100% }]";
    let channel = format!(
        "notifications:\n- {{ name: ops, webhook: {{ url: {} }} }}\n",
        gate.url("/told")
    );
    let serin = Serin::start(&(pair(stable.address(), canary.address(), (100, 0)) + &rollout(steps, "") + &channel));
    let _load = Load::start(serin.address(), 2, "/");
    serin.tell("start");
    wait_until("it is well at half", || {
        let rollout = serin.rollout();
        rollout["step"] == 1 && rollout["verdict"] == "pass"
    });
    bad.store(true, Ordering::SeqCst);
    serin.until_phase("aborted");
    let rollout = serin.rollout();
    let states: Vec<&Value> = (0..3).map(|step| &rollout["plan"][step]["state"]).collect();
    assert_eq!(states, ["done", "failed", "ahead"]);
    // The next abort is told after all that belongs to this one.
    bad.store(false, Ordering::SeqCst);
    serin.tell("retry");
    serin.tell("abort");
    let told = || -> Vec<String> {
        let calls = gate.calls();
        calls
            .iter()
            .map(|(_, told)| told["what"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let aborts = || told().iter().filter(|what| *what == "aborted").count();
    wait_until("both aborts are told", || aborts() == 2);
    assert!(!told().contains(&"wouldAbort".to_owned()), "{:?}", told());
}

/// Three routes and rollouts, `pause`, `abort` and `goOn`, whose gate at the address does as told.
fn by_failure(app: &Backend, url: &str) -> String {
    let mut text = format!(
        "backends:\n- {{ name: v1, endpoints: [\"{0}\"] }}\n- {{ name: v2, endpoints: [\"{0}\"] }}\nroutes:\n",
        app.address()
    );
    let names = ["pause", "abort", "goOn"];
    for name in names {
        text += &format!(
            "- {{ name: {name}, match: {{ pathPrefix: /{name} }}, split: {{ variants: [{{ name: stable, backend: v1, \
             weight: 100 }}, {{ name: canary, backend: v2, weight: 0 }}] }} }}\n"
        );
    }
    text += "rollouts:\n";
    for name in names {
        text += &format!(
            "- {{ name: {name}, route: {name}, from: stable, to: canary, steps: [{{ gate: {{ webhook: {{ name: g, \
             url: {url}, retries: 1, onFailure: {name} }} }} }}, {{ setWeight: 10%, bakeTime: 1h }}, {{ setWeight: 100% }}] }}\n"
        );
    }
    text
}

#[test]
fn a_webhook_that_fails_is_tried_again_and_then_does_as_the_file_says() {
    let (app, gate) = (Backend::ok("x"), Gate::start());
    gate.does("/g", status(503));
    let serin = Serin::start(&by_failure(&app, &gate.url("/g")));
    let of = |name: &str| serin.api("GET", &format!("/v1/rollouts/{name}"), "");
    let tell = |name: &str, verb: &str| serin.api("POST", &format!("/v1/rollouts/{name}/{verb}"), r#"{"reason":"x"}"#);
    for name in ["pause", "abort", "goOn"] {
        tell(name, "start");
    }
    wait_until("one is told of a failure", || {
        of("pause")["waiting"].to_string().contains("503")
    });
    wait_until("one is paused", || of("pause")["phase"] == "paused");
    wait_until("one is aborted", || of("abort")["phase"] == "aborted");
    wait_until("one goes on", || of("goOn")["step"] == 1);
    assert_eq!(gate.asked("/g"), 6, "each twice");
    for name in ["pause", "abort"] {
        let why = of(name)["reason"].to_string();
        assert!(
            why.contains("webhook g") && why.contains("2 times") && why.contains("503"),
            "{why}"
        );
    }
    let audit = serin.api_text("/v1/audit");
    assert!(audit.contains("webhook g failed"), "{audit}");
    assert_eq!(of("goOn")["share"], 0.1);
    gate.does("/g", ok("well again"));
    tell("pause", "resume");
    wait_until("it goes on", || of("pause")["step"] == 1);
    assert_eq!(of("pause")["phase"], "progressing");
}

#[test]
fn whatever_a_webhook_does_is_told_and_traffic_goes_on() {
    let (app, gate, elsewhere) = (Backend::ok("x"), Gate::start(), Gate::start());
    let to = format!("http://{}/elsewhere", elsewhere.backend.address());
    let huge = "x".repeat(10 << 20);
    let head = |line: &str| text(&format!("HTTP/1.1 {line}\r\n\r\n"));
    let mut endless = text("HTTP/1.1 200 OK\r\n");
    endless.push(Act::Drip(b"x-more: yes\r\n".repeat(1_000), Duration::from_millis(2)));
    // What it does, what is said of it, and whether that is the end (paused), or it is asked again.
    let all: Vec<(&str, Vec<Act>, &str, &str)> = vec![
        ("never", hang(), "within 300 ms", "paused"),
        ("huge", answer(403, &[], &huge), "403", "progressing"),
        ("moved", answer(302, &[("location", &to)], ""), "redirect", "paused"),
        ("breaks", vec![Act::Body, Act::Reset], "", "paused"),
        ("nothing", vec![Act::Body, Act::Close], "", "paused"),
        (
            "half",
            text("HTTP/1.1 403 No\r\ncontent-length: 100\r\n\r\nhalf"),
            "403",
            "progressing",
        ),
        ("garbage", text("what do you want?\r\n\r\n"), "", "paused"),
        ("dripping", endless, "", "paused"),
        ("strange", head("999 Never\r\ncontent-length: 0"), "", "paused"),
        ("control", answer(403, &[], "a\x1b[2Jb\r\nc"), "403", "progressing"),
    ];
    for (path, acts, ..) in &all {
        gate.does(&format!("/{path}"), acts.clone());
    }
    // Sends without an end, and never reads.
    gate.does(
        "/flood",
        vec![
            Act::Body,
            Act::Send(b"HTTP/1.1 403 No\r\n\r\n".to_vec()),
            Act::Flood(1 << 30),
        ],
    );
    let names: Vec<&str> = all.iter().map(|case| case.0).chain(["flood"]).collect();
    let mut text = format!(
        "backends:\n- {{ name: v1, endpoints: [\"{0}\"] }}\n- {{ name: v2, endpoints: [\"{0}\"] }}\nroutes:\n",
        app.address()
    );
    for name in &names {
        text += &format!(
            "- {{ name: {name}, match: {{ pathPrefix: /{name} }}, split: {{ variants: [{{ name: stable, backend: v1, \
             weight: 100 }}, {{ name: canary, backend: v2, weight: 0 }}] }} }}\n"
        );
    }
    text += "rollouts:\n";
    for name in &names {
        text += &format!(
            "- {{ name: {name}, route: {name}, from: stable, to: canary, steps: [{{ gate: {{ webhook: {{ name: g, \
             url: {}, retries: 0, timeout: 300ms }} }} }}, {{ setWeight: 100% }}] }}\n",
            gate.url(&format!("/{name}"))
        );
    }
    let serin = Serin::start(&text);
    let load = Load::start(serin.address(), 2, "/never");
    for name in &names {
        let verb = format!("/v1/rollouts/{name}/start");
        assert_eq!(serin.admin("POST", &verb, "").status, 200, "{name}");
    }
    let of = |name: &str| serin.api("GET", &format!("/v1/rollouts/{name}"), "");
    for (name, _, part, phase) in &all {
        let told = |rollout: &Value| match *phase {
            "paused" => rollout["reason"].as_str().unwrap_or_default().to_owned(),
            _ => rollout["waiting"].as_str().unwrap_or_default().to_owned(),
        };
        let found = wait_for(&format!("{name} is told"), || {
            let found = of(name);
            (found["phase"] == *phase && told(&found).contains(part) && told(&found).contains("webhook g"))
                .then_some(found)
        });
        let words = told(&found);
        assert!(
            words.len() < 600 && !words.contains(['\x1b', '\n']),
            "{name}: {} {words}",
            words.len()
        );
        assert_eq!(found["share"], 0.0);
        eprintln!("{name}: {words}");
    }
    wait_until("a flood is a refusal or a failure", || {
        let flood = of("flood");
        flood["phase"] == "paused" || flood["waiting"].to_string().contains("403")
    });
    assert!(elsewhere.backend.requests() == 0, "redirects are not followed");
    assert!(Metrics::of(&serin).sum("serin_rollout_phase", &[("phase", "paused")]) >= 5.0);
    assert!(serin.resident() < 200 << 20, "{} bytes", serin.resident());
    let answered = load.answered();
    wait_until("traffic goes on", || load.answered() > answered + 20);
    let (samples, lost) = load.stop();
    assert!(lost.is_empty() && samples.iter().all(|sample| sample.status == 200));
}

#[test]
fn a_canary_that_fails_while_a_gate_hangs_is_aborted_and_the_call_is_ended() {
    let ((canary, bad), gate) = (moody("c"), Gate::start());
    let stable = Backend::ok("s");
    gate.does("/g", hang());
    let steps = format!(
        "[{{ setWeight: 50% }}, {{ gate: {{ webhook: {{ name: g, url: {}, timeout: 1h }} }} }}, {{ setWeight: 100% }}]",
        gate.url("/g")
    );
    let serin = serin(&stable, &canary, &steps, "");
    let _load = Load::start(serin.address(), 2, "/");
    serin.tell("start");
    wait_until("the gate is asked", || gate.asked("/g") == 1);
    assert_eq!(gate.backend.open(), 1);
    bad.store(true, Ordering::SeqCst);
    serin.until_phase("aborted");
    assert_eq!(serin.share("canary"), 0.0);
    wait_until("the call is ended", || gate.backend.open() == 0);
    bad.store(false, Ordering::SeqCst);
    // And by a person within the same call.
    serin.tell("retry");
    wait_until("the gate is asked again", || gate.asked("/g") == 2);
    let before = Instant::now();
    serin.tell("abort");
    assert_eq!((serin.phase().as_str(), serin.share("canary")), ("aborted", 0.0));
    assert!(before.elapsed() < Duration::from_secs(5));
    wait_until("the call is ended", || gate.backend.open() == 0);
}

#[test]
fn a_webhook_that_the_file_changes_while_it_is_asked_is_asked_as_the_file_says_now() {
    let (app, gate) = (Backend::ok("x"), Gate::start());
    for path in ["/old", "/new"] {
        gate.does(path, status(403));
    }
    let steps = |gates: &str| format!("[{gates}{{ setWeight: 10%, bakeTime: 1h }}, {{ setWeight: 100% }}]");
    let hook = |path: &str| {
        steps(&format!(
            "{{ gate: {{ webhook: {{ name: g, url: {}, interval: 100ms }} }} }}, ",
            gate.url(path)
        ))
    };
    let body = |steps: &str| pair(app.address(), app.address(), (100, 0)) + &rollout(steps, "");
    let serin = Serin::start(&body(&hook("/old")));
    serin.tell("start");
    wait_until("the old one is asked", || gate.asked("/old") > 0);
    serin.write(&body(&hook("/new")));
    assert_eq!(serin.reload().status, 200);
    wait_until("the new one is asked", || gate.asked("/new") > 0);
    let before = gate.asked("/old");
    wait_until("the new one is asked again", || gate.asked("/new") > 3);
    assert_eq!(gate.asked("/old"), before, "the old one is asked no more");
    // What the old one would say now opens nothing.
    gate.does("/old", ok("go"));
    assert_eq!(serin.rollout()["step"], 0);
    // A webhook that is gone is waited for no more.
    serin.write(&body(&steps("")));
    assert_eq!(serin.reload().status, 200);
    wait_until("it goes on", || serin.share("canary") == 0.1);
}

#[test]
fn a_webhook_that_holds_is_asked_again_after_a_crash() {
    let (app, gate) = (Backend::ok("x"), Gate::start());
    gate.does("/g", hang());
    let steps = format!(
        "[{{ gate: {{ webhook: {{ name: g, url: {} }} }} }}, {{ setWeight: 10%, bakeTime: 1h }}, {{ setWeight: 100% }}]",
        gate.url("/g")
    );
    let mut serin = serin(&app, &app, &steps, "");
    serin.tell("start");
    wait_until("the gate is asked", || gate.asked("/g") == 1);
    gate.does("/g", ok("go"));
    serin.crash_and_restart();
    wait_until("it goes on", || serin.share("canary") == 0.1);
    let calls = gate.calls();
    assert_eq!(gate.asked("/g"), 2);
    assert!(calls.len() < 2 || calls[0].1["checksum"] == calls[1].1["checksum"]);
}

#[test]
fn who_is_told_of_a_rollback_and_refuses_is_not_told_for_ever() {
    let (app, gate) = (Backend::ok("x"), Gate::start());
    gate.does("/back", status(404));
    let hook = format!(
        ", webhooks: [{{ name: back, on: onRollback, url: {}, interval: 100ms }}]",
        gate.url("/back")
    );
    let serin = serin(
        &app,
        &app,
        "[{ setWeight: 10%, bakeTime: 1h }, { setWeight: 100% }]",
        &hook,
    );
    for _ in 0..3 {
        serin.tell("start");
        serin.tell("abort");
    }
    wait_until("it is told", || gate.asked("/back") >= 3);
    // Long enough for what is asked ten times a second: a count that must not grow needs some time.
    std::thread::sleep(Duration::from_secs(1));
    assert!(
        gate.asked("/back") <= 3 * 4,
        "told {} times of 3 rollbacks",
        gate.asked("/back")
    );
}

const SMOKE: &str = "[{ smoke: { interval: 100ms, checks: [{ path: /health, status: 200, expectHeaders: { x-ready: ^yes$ } }, \
     { path: /version, expectBody: v2 }] } }, { setWeight: 100%, bakeTime: 1h }]";

#[test]
fn smoke_tests_come_to_the_canary_alone_and_are_no_evidence() {
    let stable = Backend::ok("v1");
    let canary = Backend::start(|request| match request.target() {
        "/health" => answer(200, &[("x-ready", "yes")], "well"),
        _ => ok("this is v2"),
    });
    let serin = serin(&stable, &canary, SMOKE, "");
    serin.tell("start");
    serin.until_phase("promoting");
    assert_eq!((stable.requests(), canary.requests()), (0, 2));
    for seen in canary.seen() {
        assert_eq!(seen.head.get("x-serin-smoke"), Some("true"));
        assert!(
            seen.head
                .get("user-agent")
                .is_some_and(|agent| agent.starts_with("serin-smoke/"))
        );
    }
    assert_eq!(serin.variant("canary")["requests"], 0);
    assert_eq!(Metrics::of(&serin).attempts("shop", "canary"), (0, 0, 0));
    assert_ne!(serin.rollout()["evidence"]["canary"]["requests"], 2);
}

#[test]
fn a_smoke_test_that_fails_five_times_aborts() {
    let stable = Backend::ok("v1");
    let canary = Backend::start(|request| match request.target() {
        "/health" => answer(503, &[], "warming up"),
        _ => ok("this is v2"),
    });
    let serin = serin(&stable, &canary, SMOKE, "");
    let load = Load::start(serin.address(), 1, "/");
    serin.tell("start");
    wait_until("a failed try is told", || waiting(&serin).contains("warming up"));
    serin.until_phase("aborted");
    let why = reason(&serin);
    let address = canary.address().to_string();
    for part in ["try 5 of 5", &address, "GET /health", "200", "503", "warming up"] {
        assert!(why.contains(part), "{part}: {why}");
    }
    assert_eq!(canary.requests(), 5, "nobody but the smoke test came");
    assert!(load.stop().0.iter().all(|sample| sample.variant == "stable"));
}

#[test]
fn a_release_starts_by_its_label_once() {
    let app = Backend::ok("x");
    let body = |release: &str, weights| {
        pair(app.address(), app.address(), weights).replacen(
            "{ name: v2,",
            &format!("{{ name: v2, release: {release},"),
            1,
        ) + &rollout(
            "[{ setWeight: 10%, bakeTime: 1h }, { setWeight: 100% }]",
            ", autoStart: onReleaseChange",
        )
    };
    let mut serin = Serin::start(&body("r1", (100, 0)));
    assert_eq!(serin.phase(), "idle", "what is there at the beginning is not new");
    let reload = |serin: &Serin, release: &str, weights| {
        serin.write(&body(release, weights));
        assert_eq!(serin.reload().status, 200);
    };
    reload(&serin, "r2", (100, 0));
    assert_eq!((serin.phase().as_str(), serin.share("canary")), ("progressing", 0.1));
    assert_eq!(serin.rollout()["release"], "r2");
    serin.tell("abort");
    // Neither a reload of the same label, nor a restart, nor another change of the file.
    reload(&serin, "r2", (90, 10));
    reload(&serin, "r2", (100, 0));
    serin.crash_and_restart();
    assert_eq!((serin.phase().as_str(), serin.share("canary")), ("aborted", 0.0));
    serin.tell("retry");
    assert_eq!(serin.phase(), "progressing");
    serin.tell("abort");
    // A label that changed while nobody was there counts as well.
    serin.crash();
    serin.write(&body("r3", (100, 0)));
    serin.crash_and_restart();
    assert_eq!(
        (serin.phase().as_str(), serin.rollout()["release"].as_str()),
        ("progressing", Some("r3"))
    );
    // One that comes in the middle of a trial begins another.
    serin.tell("promote");
    assert_eq!(serin.phase(), "succeeded");
    reload(&serin, "r4", (100, 0));
    // Stable, which gets its weight back, is asked first.
    serin.until_phase("progressing");
    assert_eq!(serin.share("canary"), 0.1);
}

#[test]
fn a_release_that_comes_while_frozen_starts_when_it_is_over() {
    let app = Backend::ok("x");
    let body = |release: &str| {
        pair(app.address(), app.address(), (100, 0)).replacen(
            "{ name: v2,",
            &format!("{{ name: v2, release: {release},"),
            1,
        ) + &rollout(
            "[{ setWeight: 50%, bakeTime: 200ms }, { setWeight: 100% }]",
            ", autoStart: onReleaseChange",
        )
    };
    let mut serin = Serin::start(&body("r1"));
    let freeze = |serin: &Serin| serin.api("POST", "/v1/freeze", r#"{"reason":"sale"}"#);
    let unfreeze = |serin: &Serin| serin.api("DELETE", "/v1/freeze", "");
    freeze(&serin);
    serin.write(&body("r2"));
    assert_eq!(serin.reload().status, 200);
    assert_eq!(serin.phase(), "idle");
    assert!(waiting(&serin).contains("frozen"), "{}", serin.rollout());
    serin.crash_and_restart();
    assert_eq!(serin.api("GET", "/v1/freeze", "")["frozen"], true);
    assert_eq!(serin.phase(), "idle");
    let load = Load::start(serin.address(), 2, "/");
    unfreeze(&serin);
    wait_until("it starts", || serin.phase() != "idle");
    freeze(&serin);
    // All that it waits for has come, and it stays.
    wait_until("it passes", || {
        let rollout = serin.rollout();
        rollout["verdict"] == "pass" && rollout["bakedSeconds"].as_f64() > Some(0.5)
    });
    assert_eq!((serin.phase().as_str(), serin.share("canary")), ("progressing", 0.5));
    unfreeze(&serin);
    serin.until_phase("succeeded");
    assert!(load.lost().is_empty());
}

/// Blue and green with a release each; roles change on success.
fn colours(blue: &Backend, green: &Backend, releases: [&str; 2], more: &str) -> String {
    pair(blue.address(), green.address(), (100, 0))
        .replacen("{ name: v1,", &format!("{{ name: v1, release: {},", releases[0]), 1)
        .replacen("{ name: v2,", &format!("{{ name: v2, release: {},", releases[1]), 1)
        + &rollout(
            "[{ setWeight: 100% }]",
            &format!(", strategy: blueGreen, onSuccess: swapRoles{more}"),
        )
}

#[test]
fn blue_to_green_today_and_green_to_blue_tomorrow() {
    let (blue, green) = (Backend::ok("blue"), Backend::ok("green"));
    let serin = Serin::start(&colours(&blue, &green, ["r1", "r1"], ", autoStart: onReleaseChange"));
    let served = || get(serin.address(), "/").text();
    let release = |releases| {
        serin.write(&colours(&blue, &green, releases, ", autoStart: onReleaseChange"));
        assert_eq!(serin.reload().status, 200);
    };
    assert_eq!(served(), "blue");
    release(["r1", "r2"]);
    assert_eq!((served().as_str(), serin.phase().as_str()), ("green", "succeeded"));
    // The same key of the file, the other way round.
    release(["r3", "r2"]);
    assert_eq!((served().as_str(), serin.phase().as_str()), ("blue", "succeeded"));
    let shown = serin.rollout();
    assert_eq!(
        (&shown["from"], &shown["to"], &shown["release"]),
        (&"canary".into(), &"stable".into(), &"r3".into())
    );
    serin.tell("rollback");
    assert_eq!((served().as_str(), serin.phase().as_str()), ("green", "aborted"));
    // What was taken back is not tried again by itself, and can be by hand, in the same direction.
    release(["r3", "r2"]);
    assert_eq!(served(), "green");
    serin.tell("retry");
    assert_eq!(served(), "blue");
    release(["r3", "r4"]);
    assert_eq!(served(), "green");
    serin.tell("start");
    assert_eq!(served(), "blue");
}

#[test]
fn a_direction_is_an_argument_of_the_start() {
    let (blue, green) = (Backend::ok("blue"), Backend::ok("green"));
    let mut serin = Serin::start(
        &(pair(blue.address(), green.address(), (100, 0))
            + &rollout("[{ setWeight: 10%, bakeTime: 1h }, { setWeight: 100% }]", "")),
    );
    let start = |serin: &Serin, from: &str, to: &str| {
        let body = format!(r#"{{"from":"{from}","to":"{to}","reason":"a story"}}"#);
        serin.admin("POST", "/v1/rollouts/shop/start", &body)
    };
    start(&serin, "stable", "red").problem(422);
    start(&serin, "stable", "stable").problem(422);
    // Blue has all, so nothing can be moved to it.
    let why = start(&serin, "canary", "stable").problem(409)["detail"].to_string();
    assert!(why.contains("stable"), "{why}");
    assert_eq!(start(&serin, "stable", "canary").status, 200);
    let full = serin.admin("POST", "/v1/rollouts/shop/promote", r#"{"full":true}"#);
    assert_eq!((full.status, serin.phase().as_str()), (200, "succeeded"));
    assert_eq!(start(&serin, "canary", "stable").status, 200);
    assert_eq!((serin.share("stable"), serin.share("canary")), (0.1, 0.9));
    let shown = serin.rollout();
    assert_eq!(
        (&shown["from"], &shown["to"], &shown["share"]),
        (&"canary".into(), &"stable".into(), &0.1.into())
    );
    serin.crash_and_restart();
    assert_eq!((serin.share("stable"), serin.share("canary")), (0.1, 0.9));
    serin.tell("abort");
    assert_eq!((serin.share("stable"), serin.share("canary")), (0.0, 1.0));
}

#[test]
fn what_turns_bad_after_its_promotion_is_rolled_back_by_itself() {
    let (stable, (canary, bad)) = (Backend::ok("s"), moody("c"));
    let gate = Gate::start();
    let more = format!(
        ", postPromotion: {{ watch: 1h }}, webhooks: [{{ name: back, on: onRollback, url: {} }}]",
        gate.url("/back")
    );
    let serin = serin(
        &stable,
        &canary,
        "[{ setWeight: 50%, bakeTime: 100ms }, { setWeight: 100% }]",
        &more,
    );
    let load = Load::start(serin.address(), 2, "/");
    serin.tell("start");
    serin.until_phase("succeeded");
    let answered = load.answered();
    wait_until("more come", || load.answered() > answered + 100);
    assert_eq!(serin.phase(), "succeeded");
    // Not by a freeze either.
    serin.api("POST", "/v1/freeze", r#"{"reason":"sale"}"#);
    bad.store(true, Ordering::SeqCst);
    serin.until_phase("aborted");
    assert_eq!((serin.share("stable"), serin.share("canary")), (1.0, 0.0));
    assert!(reason(&serin).contains("after the promotion"), "{}", reason(&serin));
    wait_until("it is told", || gate.calls().len() == 1);
    assert_eq!(gate.calls()[0].1["phase"], "Failed");
}

#[test]
fn without_a_watch_nobody_judges_after_the_promotion() {
    let (stable, (canary, bad)) = (Backend::ok("s"), moody("c"));
    let serin = serin(&stable, &canary, "[{ setWeight: 100% }]", ", rollbackWindow: 1h");
    let load = Load::start(serin.address(), 2, "/");
    serin.tell("start");
    serin.until_phase("succeeded");
    bad.store(true, Ordering::SeqCst);
    let answered = load.answered();
    wait_until("many fail", || load.answered() > answered + 500);
    assert_eq!(serin.phase(), "succeeded");
    serin.tell("rollback");
    let answered = load.answered();
    wait_until("stable answers", || load.answered() > answered + 50);
    assert_eq!(get(serin.address(), "/").text(), "s");
}

#[test]
fn observed_a_rollout_is_not_moved_by_what_it_asks() {
    let (app, gate) = (Backend::ok("x"), Gate::start());
    gate.does("/g", status(503));
    let hook = format!(
        "{{ gate: {{ webhook: {{ name: g, url: {}, retries: 0, onFailure: abort }} }} }}",
        gate.url("/g")
    );
    let steps = format!("[{{ setWeight: 10%, bakeTime: 1h }}, {hook}, {{ setWeight: 100% }}]");
    let serin = serin(&app, &app, &steps, ", mode: observe");
    serin.tell("start");
    serin.tell("promote");
    wait_until("the gate is asked", || gate.asked("/g") > 0);
    // Whatever follows is in force by then.
    wait_until("its failure is told", || {
        reason(&serin).contains("503") || waiting(&serin).contains("503")
    });
    assert_eq!(
        (serin.phase().as_str(), serin.share("canary")),
        ("progressing", 0.1),
        "{}",
        reason(&serin)
    );
}

#[test]
fn a_webhook_that_is_replaced_by_a_smoke_test_does_not_pass_it() {
    let (stable, gate) = (Backend::ok("s"), Gate::start());
    let canary = Backend::start(|_| status(503));
    gate.does("/g", status(403));
    let body = |first: &str| {
        let steps = format!("[{first}, {{ setWeight: 10%, bakeTime: 1h }}, {{ setWeight: 100% }}]");
        pair(stable.address(), canary.address(), (100, 0)) + &rollout(&steps, "")
    };
    let hook = format!(
        "{{ gate: {{ webhook: {{ name: g, url: {}, interval: 100ms }} }} }}",
        gate.url("/g")
    );
    let serin = Serin::start(&body(&hook));
    serin.tell("start");
    wait_until("the gate is asked", || gate.asked("/g") > 0);
    serin.write(&body("{ smoke: { path: /, attempts: 1 } }"));
    assert_eq!(serin.reload().status, 200);
    gate.does("/g", ok("go"));
    wait_until("it is decided", || {
        serin.phase() == "aborted" || serin.share("canary") > 0.0
    });
    assert_eq!((serin.phase().as_str(), serin.share("canary")), ("aborted", 0.0));
}

#[test]
fn blue_and_green_are_asked_for_before_the_switch_and_a_rolling_release_before_its_last_batch() {
    let (stable, canary, gate) = (Backend::ok("s"), Backend::ok("c"), Gate::start());
    let hooks = format!(
        ", webhooks: [{{ name: start, on: beforeStart, url: {}, interval: 100ms }}, {{ name: promotion, on: beforePromotion, url: {}, interval: 100ms }}]",
        gate.url("/start"),
        gate.url("/promotion")
    );
    gate.does("/promotion", status(403));
    let blue_green = serin(
        &stable,
        &canary,
        "[{ setWeight: 100%, bakeTime: 1h }]",
        &format!(", strategy: blueGreen{hooks}"),
    );
    blue_green.tell("start");
    wait_until("it waits", || waiting(&blue_green).contains("403"));
    assert_eq!((gate.asked("/start"), blue_green.share("canary")), (1, 0.0));
    gate.does("/promotion", ok("go"));
    blue_green.until_phase("promoting");

    gate.does("/promotion", status(403));
    let more = [Backend::ok("s"), Backend::ok("c")];
    let two = |backend: &Backend, other: &Backend, name: &str| {
        format!(
            "- {{ name: {name}, endpoints: [\"{}\", \"{}\"] }}\n",
            backend.address(),
            other.address()
        )
    };
    let text = pair(stable.address(), canary.address(), (100, 0))
        .replace(
            &crate::common::backend("v1", stable.address()),
            &two(&stable, &more[0], "v1"),
        )
        .replace(
            &crate::common::backend("v2", canary.address()),
            &two(&canary, &more[1], "v2"),
        );
    let strategy = format!(", strategy: rolling, rolling: {{ maxSurge: 1, maxUnavailable: 0 }}{hooks}");
    let rolling = Serin::start(&(text + &rollout("[]", &strategy).replace(", steps: []", "")));
    let load = Load::start(rolling.address(), 2, "/");
    let before = gate.asked("/promotion");
    rolling.tell("start");
    wait_until("it waits", || {
        gate.asked("/promotion") > before && waiting(&rolling).contains("403")
    });
    let share = rolling.share("canary");
    assert!(share > 0.0 && share < 1.0, "{share}");
    gate.does("/promotion", ok("go"));
    rolling.until_phase("succeeded");
    assert_eq!(load.lost(), Vec::<String>::new());
}
