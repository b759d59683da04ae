//! The main job: a good canary goes up by its plan, a bad one loses its weight by itself, and no verdict
//! is made of nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{
    Act, Backend, Client, Load, Metrics, Serin, get, ok, pair, pair_with, rollout, status, wait_until,
};

const ANALYSIS: &str = "{ minRequests: 20, errorRate: { warn: 1%, critical: 5% } }";
const LONG: &str = "[{ setWeight: 5%, bakeTime: 1h }, { setWeight: 25%, bakeTime: 1h }, { setWeight: 100% }]";
const HALF: &str = "[{ setWeight: 50%, bakeTime: 1h }, { setWeight: 100%, bakeTime: 1h }]";

/// A backend that answers 500 while the switch is set.
fn switchable() -> (Backend, Arc<AtomicBool>) {
    let broken = Arc::new(AtomicBool::new(false));
    let shown = Arc::clone(&broken);
    let backend = Backend::start(move |_| {
        if shown.load(Ordering::SeqCst) {
            status(500)
        } else {
            ok("x")
        }
    });
    (backend, broken)
}

fn serin(stable: &Backend, canary: &Backend, analysis: &str, steps: &str) -> Serin {
    Serin::start(&(pair(stable.address(), canary.address(), (100, 0)) + &rollout(analysis, steps)))
}

fn history(serin: &Serin) -> Vec<Value> {
    serin.rollout()["history"].as_array().expect("a list").clone()
}

#[test]
fn a_healthy_canary_is_promoted_step_by_step() {
    let (v1, v2) = (Backend::ok("v1"), Backend::ok("v2"));
    let steps = "[{ setWeight: 5%, bakeTime: 200ms }, { setWeight: 25%, bakeTime: 200ms }, { setWeight: 100%, bakeTime: 200ms }]";
    let serin = serin(&v1, &v2, ANALYSIS, steps);
    let load = Load::start(serin.address(), 4, "/");
    serin.tell("start");
    serin.until_phase("succeeded");
    let after = Instant::now();
    let enough = load.answered() + 100;
    wait_until("requests come after it", || load.answered() > enough);
    let (samples, lost) = load.stop();
    assert_eq!(lost, Vec::<String>::new());
    assert!(samples.iter().all(|sample| sample.status == 200));
    assert!(
        samples
            .iter()
            .filter(|sample| sample.sent > after)
            .all(|sample| sample.variant == "canary")
    );
    assert_eq!((serin.share("canary"), serin.share("stable")), (1.0, 0.0));
    // Each step was in force for its time: the history has their moves in order.
    let moves: Vec<_> = history(&serin)
        .into_iter()
        .filter(|event| event["kind"] != "verdict")
        .collect();
    let text = |event: &Value| format!("{} {}", event["to"], event["reason"]);
    let place = |part: &str| {
        moves
            .iter()
            .position(|event| text(event).contains(part))
            .unwrap_or_else(|| panic!("{part}: {moves:#?}"))
    };
    assert!(place("progressing") < place("promoting") && place("promoting") < place("succeeded"));
    let metrics = Metrics::of(&serin);
    assert_eq!(
        metrics.sum("serin_rollout_phase", &[("rollout", "shop"), ("phase", "succeeded")]),
        1.0
    );
    assert_eq!(metrics.sum("serin_rollbacks_total", &[("rollout", "shop")]), 0.0);
}

#[test]
fn a_canary_that_begins_to_fail_loses_its_weight_by_itself() {
    let stable = Backend::ok("v1");
    let (canary, broken) = switchable();
    let serin = serin(&stable, &canary, ANALYSIS, HALF);
    let load = Load::start(serin.address(), 4, "/");
    serin.tell("start");
    wait_until("it is well", || serin.rollout()["verdict"] == "pass");
    let generation = serin.generation();
    broken.store(true, Ordering::SeqCst);
    serin.until_phase("aborted");
    let visible = Instant::now();
    assert_eq!(
        (serin.share("canary"), &serin.variant("canary")["weight"]),
        (0.0, &0.into())
    );
    wait_until("none is with the canary", || {
        Metrics::of(&serin).sum("serin_requests_in_flight", &[("route", "shop"), ("variant", "canary")]) == 0.0
    });
    let seen = canary.requests();
    let enough = load.answered() + 300;
    wait_until("many requests come after it", || load.answered() > enough);
    assert_eq!(canary.requests(), seen, "the canary saw requests after the abort");
    let (samples, lost) = load.stop();
    assert_eq!(lost, Vec::<String>::new());
    let late: Vec<_> = samples.iter().filter(|sample| sample.sent > visible).collect();
    assert!(
        late.len() > 200
            && late
                .iter()
                .all(|sample| (sample.status, sample.variant.as_str()) == (200, "stable"))
    );
    assert!(late.iter().all(|sample| sample.generation > generation));
    assert!(
        samples
            .iter()
            .all(|sample| sample.status == 200 || sample.variant == "canary"),
        "stable lost nothing"
    );
    // It says why, everywhere.
    let rollout = serin.rollout();
    assert!(rollout["reason"].to_string().contains("errorRate"), "{rollout}");
    let history = history(&serin);
    let abort = history
        .iter()
        .rev()
        .find(|event| event["to"].to_string().contains("aborted"));
    let abort = abort.unwrap_or_else(|| panic!("no abort in {history:#?}"));
    assert_eq!(abort["verdict"], "fail");
    assert!(abort["reason"].to_string().contains("errorRate"), "{abort}");
    assert!(
        abort["evidence"]["canary"]["failures"].as_u64().is_some_and(|n| n >= 5),
        "{abort}"
    );
    assert!(abort["by"] == "serin", "{abort}");
    let metrics = Metrics::of(&serin);
    assert_eq!(
        metrics.sum("serin_rollbacks_total", &[("rollout", "shop"), ("reason", "errorRate")]),
        1.0
    );
    assert_eq!(
        metrics.sum("serin_rollout_phase", &[("rollout", "shop"), ("phase", "aborted")]),
        1.0
    );
    assert!(serin.log().contains("errorRate"), "the log says why");
    let verdict = serin.api("GET", "/v1/rollouts/shop/verdict", "");
    assert_eq!((&verdict["ok"], &verdict["phase"]), (&false.into(), &"aborted".into()));
}

#[test]
fn a_canary_that_goes_down_loses_its_weight_by_itself() {
    let stable = Backend::ok("v1");
    let canary = Backend::ok("v2");
    let serin = serin(&stable, &canary, ANALYSIS, HALF);
    let load = Load::start(serin.address(), 4, "/");
    serin.tell("start");
    wait_until("it is well", || serin.rollout()["verdict"] == "pass");
    drop(canary);
    serin.until_phase("aborted");
    let visible = Instant::now();
    let enough = load.answered() + 200;
    wait_until("many requests come after it", || load.answered() > enough);
    let (samples, lost) = load.stop();
    assert_eq!(lost, Vec::<String>::new(), "a failure is answered, not lost");
    assert!(
        samples
            .iter()
            .filter(|sample| sample.sent > visible)
            .all(|sample| sample.status == 200)
    );
}

#[test]
fn a_slow_canary_loses_its_weight_by_itself() {
    let stable = Backend::ok("v1");
    let slow = Arc::new(AtomicBool::new(false));
    let shown = Arc::clone(&slow);
    let canary = Backend::start(move |_| {
        let pause = if shown.load(Ordering::SeqCst) { 700 } else { 0 };
        [vec![Act::Wait(Duration::from_millis(pause))], ok("v2")].concat()
    });
    // Limits far above what a busy machine adds to stable's answers.
    let analysis = "{ minRequests: 20, latencyP95: { warn: 300ms, critical: 400ms } }";
    let serin = serin(&stable, &canary, analysis, HALF);
    let load = Load::start(serin.address(), 16, "/");
    serin.tell("start");
    wait_until("it is well", || serin.rollout()["verdict"] == "pass");
    slow.store(true, Ordering::SeqCst);
    serin.until_phase("aborted");
    let (_, lost) = load.stop();
    assert_eq!(lost, Vec::<String>::new());
    assert!(
        serin.rollout()["reason"].to_string().contains("latencyP95"),
        "{}",
        serin.rollout()
    );
    assert_eq!(
        Metrics::of(&serin).sum("serin_rollbacks_total", &[("reason", "latencyP95")]),
        1.0
    );
}

#[test]
fn a_canary_that_hangs_is_aborted_before_its_requests_time_out() {
    let stable = Backend::ok("v1");
    let hanging = Arc::new(AtomicBool::new(false));
    let shown = Arc::clone(&hanging);
    let canary = Backend::start(move |_| {
        if shown.load(Ordering::SeqCst) {
            vec![Act::Hang]
        } else {
            ok("v2")
        }
    });
    let analysis = "{ minRequests: 20, latencyP95: { warn: 300ms, critical: 400ms } }";
    let config =
        pair_with(stable.address(), canary.address(), (100, 0), "  timeout: 60s\n", "") + &rollout(analysis, HALF);
    let serin = Serin::start(&config);
    let load = Load::start(serin.address(), 4, "/");
    serin.tell("start");
    wait_until("it is well", || serin.rollout()["verdict"] == "pass");
    hanging.store(true, Ordering::SeqCst);
    // Each hanging request holds its client: new ones come along.
    let address = serin.address();
    let mut clients = Vec::new();
    wait_until("it is aborted", || {
        let mut client = Client::connect(address);
        client.send("GET / HTTP/1.1\r\nhost: serin.test\r\n\r\n");
        clients.push(client);
        serin.phase() == "aborted"
    });
    assert!(
        serin.rollout()["reason"].to_string().contains("latencyP95"),
        "{}",
        serin.rollout()
    );
    drop(canary);
    drop(load);
}

#[test]
fn an_outage_that_both_share_holds_and_does_not_abort() {
    let broken = Arc::new(AtomicBool::new(false));
    let app = |broken: &Arc<AtomicBool>| {
        let shown = Arc::clone(broken);
        Backend::start(move |_| {
            if shown.load(Ordering::SeqCst) {
                status(503)
            } else {
                ok("x")
            }
        })
    };
    let (v1, v2) = (app(&broken), app(&broken));
    let serin = serin(&v1, &v2, ANALYSIS, HALF);
    let load = Load::start(serin.address(), 4, "/");
    serin.tell("start");
    wait_until("it is well", || serin.rollout()["verdict"] == "pass");
    broken.store(true, Ordering::SeqCst);
    wait_until("it holds", || serin.rollout()["verdict"] == "hold");
    // A second of it: ten more looks, each with plenty of evidence.
    thread::sleep(Duration::from_secs(1));
    let rollout = serin.rollout();
    assert_eq!(
        (&rollout["phase"], &rollout["verdict"]),
        (&"progressing".into(), &"hold".into()),
        "{rollout}"
    );
    assert!(
        rollout["verdictReason"].to_string().contains("stable"),
        "it says so: {rollout}"
    );
    assert_eq!(serin.share("canary"), 0.5);
    drop(load);
}

#[test]
fn without_traffic_nothing_is_promoted() {
    let (v1, v2) = (Backend::ok("v1"), Backend::ok("v2"));
    let steps = "[{ setWeight: 50%, bakeTime: 100ms }, { setWeight: 100%, bakeTime: 100ms }]";
    let serin = serin(&v1, &v2, ANALYSIS, steps);
    serin.tell("start");
    wait_until("it has baked for long enough", || {
        serin.rollout()["bakedSeconds"].as_f64().is_some_and(|s| s > 0.5)
    });
    let rollout = serin.rollout();
    assert_eq!(
        (&rollout["phase"], &rollout["step"]),
        (&"progressing".into(), &0.into()),
        "{rollout}"
    );
    assert_eq!(rollout["verdict"], "inconclusive");
    // A little traffic is not enough either.
    let mut client = Client::connect(serin.address());
    while v2.requests() < 10 {
        client.get("/");
    }
    wait_until("it was seen", || {
        serin.rollout()["evidence"]["canary"]["requests"] == 10
    });
    assert_eq!(serin.phase(), "progressing");
}

#[test]
fn a_person_aborts_in_every_phase_with_exposure() {
    let (v1, v2) = (Backend::ok("v1"), Backend::ok("v2"));
    let aborts = |serin: &Serin, phase: &str| {
        assert_eq!(serin.phase(), phase);
        serin.tell("abort");
        assert_eq!(
            (serin.phase().as_str(), serin.share("canary")),
            ("aborted", 0.0),
            "from {phase}"
        );
        let mut client = Client::connect(serin.address());
        for _ in 0..30 {
            assert_eq!(client.get("/").variant(), "stable", "from {phase}");
        }
    };
    let serin = serin(&v1, &v2, ANALYSIS, HALF);
    serin.tell("start");
    aborts(&serin, "progressing");
    serin.tell("retry");
    serin.tell("pause");
    aborts(&serin, "paused");
    serin.tell("start");
    serin.tell("promote");
    aborts(&serin, "promoting");
    assert_eq!(
        Metrics::of(&serin).sum("serin_rollbacks_total", &[("rollout", "shop")]),
        3.0
    );
    let watched = Serin::start(&(pair(v1.address(), v2.address(), (50, 50)) + &rollout(ANALYSIS, HALF)));
    aborts(&watched, "watching");
}

#[test]
fn an_abort_ends_cohorts_too() {
    let (v1, v2) = (Backend::ok("v1"), Backend::ok("v2"));
    let cohort = "    cohorts: [{ name: beta, headers: [{ name: x-canary, exact: \"true\" }], variant: canary }]\n";
    let config = pair_with(v1.address(), v2.address(), (100, 0), "", cohort) + &rollout(ANALYSIS, LONG);
    let serin = Serin::start(&config);
    let beta = || {
        Client::connect(serin.address())
            .request("GET", "/", &[("x-canary", "true")], b"")
            .variant()
            .to_owned()
    };
    serin.tell("start");
    assert_eq!(beta(), "canary");
    serin.tell("abort");
    assert_eq!(beta(), "stable");
}

#[test]
fn people_pause_resume_promote_and_retry() {
    let (v1, v2) = (Backend::ok("v1"), Backend::ok("v2"));
    let serin = serin(&v1, &v2, ANALYSIS, LONG);
    let check = |phase: &str, step: Value, share: f64| {
        let rollout = serin.rollout();
        assert_eq!(
            (&rollout["phase"], &rollout["step"]),
            (&phase.into(), &step),
            "{rollout}"
        );
        assert_eq!(serin.share("canary"), share);
    };
    check("idle", Value::Null, 0.0);
    serin.tell("start");
    check("progressing", 0.into(), 0.05);
    serin.tell("pause");
    check("paused", 0.into(), 0.05);
    assert_eq!(
        serin.weights(60, 40).status,
        200,
        "weights by hand are possible in a pause"
    );
    assert_eq!(serin.share("canary"), 0.4);
    serin.tell("resume");
    check("progressing", 0.into(), 0.05);
    serin.tell("promote");
    check("progressing", 1.into(), 0.25);
    serin.weights(60, 40).problem(409);
    serin.tell("abort");
    check("aborted", Value::Null, 0.0);
    serin.tell("retry");
    check("progressing", 0.into(), 0.05);
    let full = serin.admin(
        "POST",
        "/v1/rollouts/shop/promote",
        r#"{"full":true,"reason":"a story"}"#,
    );
    assert_eq!(full.status, 200, "{}", full.text());
    check("succeeded", Value::Null, 1.0);
    assert_eq!(get(serin.address(), "/").variant(), "canary");
}

#[test]
fn a_paused_canary_is_watched_on() {
    let stable = Backend::ok("v1");
    let (canary, broken) = switchable();
    let serin = serin(&stable, &canary, ANALYSIS, HALF);
    let load = Load::start(serin.address(), 4, "/");
    serin.tell("start");
    serin.tell("pause");
    wait_until("it is well", || serin.rollout()["verdict"] == "pass");
    broken.store(true, Ordering::SeqCst);
    serin.until_phase("aborted");
    drop(load);
}

#[test]
fn weight_by_hand_is_watched_and_a_breach_takes_it_away() {
    let stable = Backend::ok("v1");
    let (canary, broken) = switchable();
    // A rollout without steps is a standing guard.
    let serin = serin(&stable, &canary, ANALYSIS, "[]");
    assert_eq!(serin.phase(), "idle");
    assert_eq!(serin.weights(50, 50).status, 200);
    assert_eq!(serin.phase(), "watching");
    let load = Load::start(serin.address(), 4, "/");
    wait_until("it is well", || serin.rollout()["verdict"] == "pass");
    broken.store(true, Ordering::SeqCst);
    serin.until_phase("aborted");
    assert_eq!(serin.share("canary"), 0.0);
    serin.weights(50, 50).problem(409);
    drop(load);
}

#[test]
fn failing_cohort_requests_do_not_abort() {
    let stable = Backend::ok("v1");
    let canary = Backend::start(|request| {
        if request.head.get("x-canary").is_some() {
            status(500)
        } else {
            ok("v2")
        }
    });
    let cohort = "    cohorts: [{ name: beta, headers: [{ name: x-canary, exact: \"true\" }], variant: canary }]\n";
    let config = pair_with(stable.address(), canary.address(), (100, 0), "", cohort) + &rollout(ANALYSIS, HALF);
    let serin = Serin::start(&config);
    serin.tell("start");
    let load = Load::start(serin.address(), 2, "/");
    let mut client = Client::connect(serin.address());
    for _ in 0..200 {
        assert_eq!(client.request("GET", "/", &[("x-canary", "true")], b"").status, 500);
    }
    wait_until("the draw's own requests pass", || serin.rollout()["verdict"] == "pass");
    let verdict = serin.api("GET", "/v1/rollouts/shop/verdict", "");
    assert_eq!(
        (serin.phase().as_str(), &verdict["failures"]),
        ("progressing", &0.into()),
        "{verdict}"
    );
    drop(load);
}

#[test]
fn bad_requests_of_clients_do_not_abort() {
    // Only malformed uploads reach the canary's backend; nobody can vote against a release with them.
    let stable = Backend::ok("v1");
    let canary = Backend::ok("v2");
    let serin = serin(&stable, &canary, ANALYSIS, HALF);
    serin.tell("start");
    for _ in 0..150 {
        let mut client = Client::connect(serin.address());
        client.send("POST / HTTP/1.1\r\nhost: serin.test\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n");
        client.try_response("POST").ok();
    }
    wait_until("all are in the books", || {
        Metrics::of(&serin).sum("serin_attempts_total", &[("outcome", "noEvidence")]) == 150.0
    });
    let rollout = serin.rollout();
    assert_eq!(
        (&rollout["phase"], &rollout["verdict"]),
        (&"progressing".into(), &"inconclusive".into()),
        "{rollout}"
    );
}

#[test]
fn a_reload_in_mid_rollout_is_no_special_case() {
    let stable = Backend::ok("v1");
    let (canary, broken) = switchable();
    let serin = serin(&stable, &canary, ANALYSIS, HALF);
    serin.tell("start");
    let load = Load::start(serin.address(), 4, "/");
    let config = pair(stable.address(), canary.address(), (90, 10)) + &rollout(ANALYSIS, HALF);
    serin.write(&config);
    assert_eq!(serin.reload().status, 200);
    // Changed weights are kept until the phase allows them, and reported.
    assert_eq!((serin.phase().as_str(), serin.share("canary")), ("progressing", 0.5));
    assert!(
        serin.status()["kept"].as_array().is_some_and(|kept| !kept.is_empty()),
        "{}",
        serin.status()
    );
    wait_until("it is still judged", || serin.rollout()["verdict"] == "pass");
    broken.store(true, Ordering::SeqCst);
    serin.until_phase("aborted");
    assert_eq!(serin.share("canary"), 0.0);
    let (_, lost) = load.stop();
    assert_eq!(lost, Vec::<String>::new());
}
