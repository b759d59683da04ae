//! Who is told: aborts at least once, over a crash and with a channel that was down; nobody who is told slowly
//! delays anybody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Backend, Load, Metrics, Options, Serin, answer, hang, ok, pair, status, wait_until};

const STEPS: &str = "[{ setWeight: 50%, bakeTime: 1h }, { setWeight: 100% }]";

fn with_rollout(app: &Backend, canary: &Backend) -> String {
    pair(app.address(), canary.address(), (100, 0))
        + &format!(
            "rollouts:\n- {{ name: shop, route: shop, from: stable, to: canary, analysis: {{ minRequests: 20, errorRate: \
             {{ warn: 1%, critical: 5% }} }}, steps: {STEPS} }}\n"
        )
}

/// The events that a channel was told of, at `path`.
fn events(channel: &Backend, path: &str) -> Vec<Value> {
    let seen = channel.seen();
    let at = seen
        .iter()
        .filter(|seen| seen.whole && seen.head.start.split(' ').nth(1) == Some(path));
    at.map(|seen| serde_json::from_slice(&seen.body).expect("JSON"))
        .collect()
}

fn told(channel: &Backend, path: &str, what: &str) -> usize {
    events(channel, path)
        .iter()
        .filter(|event| event["what"] == what)
        .count()
}

#[test]
fn an_abort_is_told_after_a_crash_to_who_was_down() {
    let (app, up) = (Backend::ok("x"), Arc::new(AtomicBool::new(false)));
    let is_up = Arc::clone(&up);
    let channel = Backend::start(move |_| {
        if is_up.load(Ordering::SeqCst) {
            ok("")
        } else {
            status(503)
        }
    });
    let options = Options {
        top: format!(
            "notifications:\n- {{ name: own, webhook: {{ url: 'http://{}/own' }}, severity: critical }}\n",
            channel.address()
        ),
        ..Options::default()
    };
    let mut serin = Serin::with(options, &with_rollout(&app, &app));
    serin.tell("start");
    serin.tell("abort");
    wait_until("it is tried", || told(&channel, "/own", "aborted") > 0);
    serin.crash();
    let before = channel.requests();
    up.store(true, Ordering::SeqCst);
    serin.crash_and_restart();
    wait_until("it is told", || channel.requests() > before);
    let first = events(&channel, "/own")[0].clone();
    let last = events(&channel, "/own").last().expect("it was told").clone();
    assert_eq!(
        (&last["what"], &last["severity"], &last["rollout"], &last["seq"]),
        (&"aborted".into(), &"critical".into(), &"shop".into(), &first["seq"])
    );
    assert_eq!(last["dedupKey"], "serin/-/shop/aborted");
    wait_until("it is counted", || {
        Metrics::of(&serin).sum(
            "serin_notifications_total",
            &[("channel", "own"), ("result", "delivered")],
        ) == 1.0
    });
    // What was told is not told again, and a start is nothing that a pager is told of.
    serin.tell("start");
    serin.tell("abort");
    wait_until("the next one is told", || {
        told(&channel, "/own", "aborted") >= 2 && channel.requests() > before + 1
    });
    let seqs: Vec<Value> = events(&channel, "/own")
        .iter()
        .map(|event| event["seq"].clone())
        .collect();
    assert_ne!(seqs.last(), Some(&first["seq"]));
    assert!(events(&channel, "/own").iter().all(|event| event["what"] == "aborted"));
}

#[test]
fn who_never_answers_delays_neither_an_abort_nor_anybody_else() {
    let app = Backend::ok("x");
    let bad = Arc::new(AtomicBool::new(false));
    let is_bad = Arc::clone(&bad);
    let canary = Backend::start(move |_| {
        if is_bad.load(Ordering::SeqCst) {
            status(500)
        } else {
            ok("c")
        }
    });
    let others = Backend::start(|request| match request.target() {
        "/slow" => hang(),
        // More than anybody reads.
        "/huge" => answer(200, &[], vec![b'x'; 10 << 20]),
        _ => ok(""),
    });
    let channel = |path: &str| {
        format!(
            "- {{ name: {path}, webhook: {{ url: 'http://{}/{path}' }}, progress: true }}\n",
            others.address()
        )
    };
    let options = Options {
        top: format!(
            "notifications:\n{}{}{}",
            channel("slow"),
            channel("huge"),
            channel("own")
        ),
        ..Options::default()
    };
    let serin = Serin::with(options, &with_rollout(&app, &canary));
    let load = Load::start(serin.address(), 2, "/");
    serin.tell("start");
    wait_until("both hear of the start", || {
        told(&others, "/own", "started") == 1 && told(&others, "/huge", "started") == 1
    });
    bad.store(true, Ordering::SeqCst);
    serin.until_phase("aborted");
    wait_until("both hear of the abort", || {
        told(&others, "/own", "aborted") == 1 && told(&others, "/huge", "aborted") == 1
    });
    let event = events(&others, "/own").pop().expect("it was told");
    assert!(
        event["reason"].as_str().is_some_and(|why| why.contains("errorRate")),
        "{event}"
    );
    assert_eq!(
        (&event["from"], &event["to"], &event["by"]),
        (&"progressing".into(), &"aborted".into(), &"serin".into())
    );
    assert_eq!(load.lost(), Vec::<String>::new());
}

#[test]
fn a_pager_rings_and_is_quiet_again_after_the_next_promotion() {
    let app = Backend::ok("x");
    let pager = Backend::start(|_| answer(202, &[], r#"{"status":"success","message":"ok","dedup_key":"x"}"#));
    let options = Options {
        top: format!(
            "environment: prod\nnotifications:\n- {{ name: oncall, pagerDuty: {{ routingKey: r0ut1ng, url: 'http://{}/e' }} }}\n",
            pager.address()
        ),
        ..Options::default()
    };
    let serin = Serin::with(options, &with_rollout(&app, &app));
    let said = || {
        let events = events(&pager, "/e");
        let said = |event: &Value| {
            assert_eq!(event["routing_key"], "r0ut1ng");
            let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            format!("{} {}", word(&event["event_action"]), word(&event["dedup_key"]))
        };
        events.iter().map(said).collect::<Vec<_>>()
    };
    serin.tell("start");
    serin.tell("abort");
    wait_until("it rings", || {
        said().contains(&"trigger serin/prod/shop/aborted".to_owned())
    });
    serin.tell("start");
    serin.api("POST", "/v1/rollouts/shop/promote", r#"{"full":true}"#);
    wait_until("it is quiet", || {
        said().contains(&"resolve serin/prod/shop/aborted".to_owned())
    });
    let order = said();
    let place = |what: &str| {
        order
            .iter()
            .position(|said| said.starts_with(what))
            .expect("it was said")
    };
    assert!(place("trigger serin/prod/shop/aborted") < place("resolve serin/prod/shop/aborted"));
    assert!(!serin.log().contains("r0ut1ng") && !serin.api_text("/v1/config").contains("r0ut1ng"));
}

#[test]
fn changes_that_nobody_takes_pile_up_nowhere() {
    let app = Backend::ok("x");
    let (nobody, _kept) = crate::common::refusing_address();
    let options = Options {
        top: format!("notifications:\n- {{ name: own, webhook: {{ url: 'http://{nobody}/' }}, progress: true }}\n"),
        ..Options::default()
    };
    let serin = Serin::with(options, &with_rollout(&app, &app));
    let before = Instant::now();
    for _ in 0..150 {
        serin.tell("start");
        serin.tell("abort");
    }
    assert!(before.elapsed() < Duration::from_secs(15), "{:?}", before.elapsed());
    assert!(serin.resident() < 150 << 20, "{}", serin.resident());
    assert_eq!(serin.admin("GET", "/metrics", "").status, 200);
}
