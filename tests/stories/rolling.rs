//! A rolling release: endpoints leave and join in the order of the file, never too few at once, and nobody
//! loses a request.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::common::{Backend, Load, Serin, ok, status};

/// The endpoints that requests came to, in the order in which they came.
type Log = Arc<Mutex<Vec<usize>>>;

const COUNT: usize = 3;

/// A version of three endpoints, numbered from `first` on, that all write to `log`; they fail where `broken`
/// says so.
fn version(first: usize, log: &Log, broken: Option<usize>) -> Vec<Backend> {
    let endpoint = |nth: usize| {
        let log = Arc::clone(log);
        Backend::start(move |_| {
            log.lock().expect("no script panics").push(first + nth);
            if broken == Some(nth) { status(500) } else { ok("x") }
        })
    };
    (0..COUNT).map(endpoint).collect()
}

fn endpoints(version: &[Backend]) -> String {
    let quoted = |address: SocketAddr| format!("\"{address}\"");
    let all: Vec<_> = version.iter().map(|backend| quoted(backend.address())).collect();
    all.join(", ")
}

/// A release from `old` to `new`, one endpoint more at a time; `rolling` in YAML's flow style.
fn serin(old: &[Backend], new: &[Backend], rolling: &str) -> Serin {
    let body = format!(
        "backends:
- {{ name: v1, endpoints: [{}] }}
- {{ name: v2, endpoints: [{}] }}
routes:
- name: shop
  match: {{ pathPrefix: / }}
  split: {{ variants: [{{ name: stable, backend: v1, weight: 100 }}, {{ name: canary, backend: v2, weight: 0 }}] }}
rollouts:
- name: shop
  route: shop
  from: stable
  to: canary
  strategy: rolling
  analysis: {{ minRequests: 20, errorRate: {{ warn: 1%, critical: 5% }} }}
  rolling: {rolling}
",
        endpoints(old),
        endpoints(new)
    );
    Serin::start(&body)
}

/// The place of the first, or the last, request to this endpoint.
fn first(log: &[usize], endpoint: usize) -> usize {
    let found = log.iter().position(|&to| to == endpoint);
    found.unwrap_or_else(|| panic!("nobody came to {endpoint}"))
}

fn last(log: &[usize], endpoint: usize) -> usize {
    let found = log.iter().rposition(|&to| to == endpoint);
    found.unwrap_or_else(|| panic!("nobody came to {endpoint}"))
}

#[test]
fn endpoints_leave_and_join_one_by_one_and_nothing_is_lost() {
    let log = Log::default();
    let (old, new) = (version(0, &log, None), version(COUNT, &log, None));
    let rolling = "{ maxSurge: 1, maxUnavailable: 0, bakeTime: 300ms, drain: 5s }";
    let serin = serin(&old, &new, rolling);
    let load = Load::start(serin.address(), 4, "/");
    serin.tell("start");
    serin.until_phase("succeeded");
    let after = load.answered() + 100;
    crate::common::wait_until("more requests come", || load.answered() > after);
    let (samples, lost) = load.stop();
    assert_eq!(lost, Vec::<String>::new());
    assert!(samples.iter().all(|sample| sample.status == 200));

    let log = log.lock().expect("no script panics").clone();
    // With one more than before at a time the first old one is gone before the second new one comes.
    for nth in 0..COUNT - 1 {
        assert!(
            last(&log, nth) < first(&log, COUNT + nth + 1),
            "old {nth} goes on: {log:?}"
        );
        assert!(
            first(&log, COUNT + nth) < last(&log, nth),
            "old {nth} went too early: {log:?}"
        );
    }
    assert!(
        log[log.len() - 50..].iter().all(|&to| to >= COUNT),
        "all old ones are out"
    );
}

#[test]
fn a_batch_that_is_ill_gives_everything_back_to_the_old_ones() {
    let log = Log::default();
    let (old, new) = (version(0, &log, None), version(COUNT, &log, Some(1)));
    let rolling = "{ maxSurge: 1, maxUnavailable: 0, bakeTime: 300ms, drain: 5s }";
    let serin = serin(&old, &new, rolling);
    let load = Load::start(serin.address(), 4, "/");
    serin.tell("start");
    serin.until_phase("aborted");
    let before = log.lock().expect("no script panics").len();
    let after = load.answered() + 200;
    crate::common::wait_until("more requests come", || load.answered() > after);
    let (_, lost) = load.stop();
    assert_eq!(lost, Vec::<String>::new());

    let log = log.lock().expect("no script panics").clone();
    assert!(!log.contains(&(COUNT + 2)), "the third never joined");
    // What was on its way at the abort may still have come.
    let settled = &log[before + 10..];
    for nth in 0..COUNT {
        assert!(settled.contains(&nth), "old {nth} is back: {settled:?}");
    }
    assert!(settled.iter().all(|&to| to < COUNT), "{settled:?}");
}

#[test]
fn after_an_abort_an_endpoint_that_was_replaced_serves_again_when_it_is_well() {
    let log = Log::default();
    let well = Arc::new(AtomicBool::new(true));
    let mut old = version(0, &log, None);
    let (first_log, first_well) = (Arc::clone(&log), Arc::clone(&well));
    // The first one is taken down while it is out, as a machine that is set up anew.
    old[0] = Backend::start(
        move |request| match (first_well.load(Ordering::SeqCst), request.target()) {
            (true, "/health") => ok("well"),
            (false, "/health") => status(503),
            (well, _) => {
                first_log
                    .lock()
                    .expect("no script panics")
                    .push(if well { 0 } else { usize::MAX });
                if well { ok("x") } else { status(503) }
            }
        },
    );
    let new = version(COUNT, &log, None);
    let rolling = "{ maxSurge: 1, maxUnavailable: 0, bakeTime: 1h, drain: 5s, health: { path: /health, attempts: 2, interval: 100ms } }";
    let serin = serin(&old, &new, rolling);
    let load = Load::start(serin.address(), 4, "/");
    serin.tell("start");
    // The first batch is through: a person wants no more of it.
    let joined = || serin.share("canary") > 0.0;
    crate::common::wait_until("the first new endpoint serves", joined);
    serin.tell("promote");
    let waits = || serin.rollout()["step"].as_u64() > Some(2);
    crate::common::wait_until("the first old endpoint is out and drained", waits);
    well.store(false, Ordering::SeqCst);
    serin.tell("abort");
    assert_eq!(serin.share("canary"), 0.0);
    let waiting = || {
        serin.rollout()["waiting"]
            .as_str()
            .is_some_and(|text| text.contains("former endpoints"))
    };
    crate::common::wait_until("it is told what is waited for", waiting);
    let after = load.answered() + 200;
    crate::common::wait_until("the others serve", || load.answered() > after);
    assert!(
        !log.lock().expect("no script panics").contains(&usize::MAX),
        "nobody is sent to it"
    );
    well.store(true, Ordering::SeqCst);
    log.lock().expect("no script panics").clear();
    let back = || log.lock().expect("no script panics").contains(&0);
    crate::common::wait_until("it serves again", back);
    assert_eq!(serin.rollout()["waiting"], serde_json::Value::Null);
    let (samples, lost) = load.stop();
    assert_eq!(lost, Vec::<String>::new());
    assert!(samples.iter().all(|sample| sample.status == 200));
}
