//! The verdict over real sockets: what aborts, what holds, what waits, what is only told; and that its
//! figures add up, down to the value of the test, which is recomputed here from what the record says.

use std::fs::OpenOptions;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{Act, Backend, Load, Metrics, Serin, binary, ok, pair, status, wait_until};

const TENTH: &str = "[{ setWeight: 10%, bakeTime: 1h }, { setWeight: 100% }]";
const HALF: &str = "[{ setWeight: 50%, bakeTime: 1h }, { setWeight: 100%, bakeTime: 1h }]";
const FIVE_PERCENT: &str = "analysis: { minRequests: 20, errorRate: { critical: 5% } }";

/// A backend of which one request in `each` fails while the switch is set.
fn failing(each: usize, broken: &Arc<AtomicBool>) -> Backend {
    let (broken, count) = (Arc::clone(broken), AtomicUsize::new(0));
    Backend::start(move |_| {
        let fails = count.fetch_add(1, Ordering::SeqCst).is_multiple_of(each);
        if fails && broken.load(Ordering::SeqCst) {
            status(500)
        } else {
            ok("x")
        }
    })
}

fn switch(on: bool) -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(on))
}

/// `keys` of the rollout besides its pair, in YAML's flow style.
fn serin(stable: &Backend, canary: &Backend, keys: &str, steps: &str) -> Serin {
    let rollout =
        format!("rollouts:\n- {{ name: shop, route: shop, from: stable, to: canary, {keys}, steps: {steps} }}\n");
    Serin::start(&(pair(stable.address(), canary.address(), (100, 0)) + &rollout))
}

/// The last change of the rollout.
fn last_change(serin: &Serin) -> Value {
    let rollout = serin.rollout();
    let history = rollout["history"].as_array().expect("a list");
    history.last().expect("something happened").clone()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn is_near(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-9 * expected.abs().max(f64::MIN_POSITIVE)
}

/// The figures of an abort by a sequential test agree with each other.
#[track_caller]
fn check_figures(abort: &Value) {
    let evidence = &abort["evidence"];
    assert_eq!(
        (&abort["verdict"], &evidence["level"]),
        (&json!("fail"), &json!("critical"))
    );
    for side in [&evidence["canary"], &evidence["stable"]] {
        let [bad, all, share] = ["bad", "all", "share"].map(|key| number(&side[key]));
        assert!(bad <= all && is_near(share, bad / all), "{side}");
        assert!(
            number(&side["low"]) <= share && share <= number(&side["high"]),
            "{side}"
        );
        let [failures, requests, rate] = ["failures", "requests", "errorRate"].map(|key| number(&side[key]));
        assert!(is_near(rate, failures / requests), "{side}");
    }
    let statistic = &evidence["statistic"];
    assert_eq!(statistic["level"], 1000.0, "1 / alpha");
    assert!(number(&statistic["value"]) >= 1000.0, "{statistic}");
    let bad = evidence["canary"]["bad"].to_string();
    let reason = abort["reason"].as_str().expect("a text");
    assert!(reason.contains(&format!("{bad} of ")), "{bad} is not in {reason}");
}

/// M of decision.md, anew from the record of an abort: §2 to §4, and the caps of §5.
fn recomputed(proof: &Value) -> f64 {
    let list = |value: &Value| -> Vec<f64> { value.as_array().expect("a list").iter().map(number).collect() };
    let criteria = proof["criteria"].as_array().expect("a list");
    let ticks = proof["ticks"].as_array().expect("a list");
    let mut sum = 0.0;
    for (index, criterion) in criteria.iter().enumerate() {
        let [weight, ratio, margin] = ["weight", "ratio", "margin"].map(|key| number(&criterion[key]));
        let limit = criterion["limit"].as_f64();
        let in_blocks = criterion["metric"]
            .as_str()
            .is_some_and(|metric| metric.starts_with("latency"));
        let alternatives: &[(f64, f64)] = match limit {
            Some(_) => &[
                (1.2, 0.1),
                (1.6, 0.25),
                (2.5, 0.25),
                (5.0, 0.2),
                (20.0, 0.1),
                (400.0, 0.1),
            ],
            None => &[(1.3, 0.15), (2.0, 0.25), (4.0, 0.25), (10.0, 0.2), (100.0, 0.15)],
        };
        let worse = |p0: f64, times: f64| {
            let odds = times * p0 / (1.0 - p0);
            odds / (1.0 + odds)
        };
        let log_ratio = |times: f64, slot: &Value| {
            let of = |key: &str| number(&slot[key]);
            let (n, k, k_s) = (of("canary"), of("canaryBad"), of("stableBad"));
            if let Some(p0) = limit {
                let q = worse(p0, times);
                return k * (q / p0).ln() + (n - k) * ((1.0 - q) / (1.0 - p0)).ln();
            }
            let s = of("share");
            let theta = ratio * s / (ratio * s + 1.0 - s);
            let z = 1.0 + theta * (times - 1.0);
            k * times.ln() - (k + k_s) * z.ln() - margin * (times / z - 1.0) * of("dispatched")
        };
        let (before, blocks, after) = (
            list(&criterion["before"]),
            list(&criterion["blockBefore"]),
            list(&criterion["after"]),
        );
        for (at, &(times, pi)) in alternatives.iter().enumerate() {
            let (mut s, mut block) = (before[at], blocks.get(at).copied().unwrap_or(0.0));
            let mut tempering = 1.0;
            for tick in ticks {
                let input = &tick["inputs"][index];
                tempering = number(&input["tempering"]);
                let slots = input["slots"].as_array().expect("a list").iter();
                let mut nats: f64 = tempering * slots.map(|slot| log_ratio(times, slot)).sum::<f64>();
                if in_blocks {
                    if input["blockBegins"] == true {
                        block = 0.0;
                    }
                    let (so_far, now) = (block, block + nats);
                    (block, nats) = (now, now.min(2.0) - so_far.min(2.0));
                }
                s = (s + weight * pi * number(&input["prior"])) * nats.exp();
            }
            assert!(
                is_near(s, after[at]),
                "{} [{at}]: {s} is not {}",
                criterion["metric"],
                after[at]
            );
            if criterion["counts"] == true {
                let open = number(&criterion["open"]);
                let good = limit.map_or(0.0, |p0| ((1.0 - worse(p0, times)) / (1.0 - p0)).ln());
                sum += s * (tempering * open * good).exp();
            }
        }
    }
    sum
}

/// The value of the test that the record of an abort tells follows from its counts.
#[track_caller]
fn check_proof(abort: &Value) {
    let proof = &abort["evidence"]["proof"];
    assert!(proof.is_object(), "{abort}");
    let found = recomputed(proof);
    assert!(
        is_near(found, number(&proof["value"])),
        "{found} is not {}",
        proof["value"]
    );
    assert!(
        is_near(found, number(&abort["evidence"]["statistic"]["value"])),
        "{}",
        abort["evidence"]["statistic"]
    );
    assert!(found >= number(&proof["level"]));
}

#[test]
fn eight_percent_against_a_limit_of_five_is_aborted_and_can_be_recomputed() {
    let broken = switch(true);
    let (v1, v2) = (Backend::ok("v1"), failing(12, &broken));
    let serin = serin(&v1, &v2, FIVE_PERCENT, TENTH);
    serin.tell("start");
    let load = Load::start(serin.address(), 8, "/");
    serin.until_phase("aborted");
    let (_, lost) = load.stop();
    assert_eq!(lost, Vec::<String>::new());
    let abort = last_change(&serin);
    assert_eq!((&abort["to"], &abort["by"]), (&json!("aborted"), &json!("serin")));
    check_figures(&abort);
    check_proof(&abort);
    assert!(number(&abort["evidence"]["canary"]["requests"]) <= v2.requests() as f64);
    // The whole rollout and the terminal tell the same.
    let rollout = serin.rollout();
    let mut told = abort["evidence"].clone();
    told.as_object_mut().expect("an object").remove("proof");
    assert_eq!(rollout["evidence"], told, "the proof stands in the history alone");
    let shown = binary()
        .args(["rollout", "get", "shop", "--admin", &serin.admin_url()])
        .output()
        .expect("it runs");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("verdict  fail: ") && shown.contains(" to 1 (1000 to 1 aborts)"),
        "{shown}"
    );
    let verdict = serin.api("GET", "/v1/rollouts/shop/verdict", "");
    assert_eq!(
        (&verdict["metric"], &verdict["mode"]),
        (&abort["evidence"]["metric"], &json!("act"))
    );
    assert_eq!(verdict["statistic"], abort["evidence"]["statistic"]);
    let list = serin.api("GET", "/v1/rollouts", "");
    assert!(list["rollouts"][0]["evidence"]["proof"].is_null(), "lists are short");
    let metric = abort["evidence"]["metric"].as_str().expect("a word").to_owned();
    let rollbacks = Metrics::of(&serin).sum("serin_rollbacks_total", &[("reason", &metric)]);
    assert_eq!(rollbacks, 1.0);
}

#[test]
fn a_canary_that_fails_always_is_aborted_at_once() {
    let broken = switch(true);
    let (v1, v2) = (Backend::ok("v1"), failing(1, &broken));
    let serin = serin(&v1, &v2, FIVE_PERCENT, TENTH);
    serin.tell("start");
    let load = Load::start(serin.address(), 8, "/");
    serin.until_phase("aborted");
    let abort = last_change(&serin);
    check_figures(&abort);
    check_proof(&abort);
    drop(load);
}

#[test]
fn a_canary_that_becomes_slow_is_aborted_and_can_be_recomputed() {
    let slow = switch(false);
    let shown = Arc::clone(&slow);
    let v1 = Backend::ok("v1");
    let v2 = Backend::start(move |_| {
        let pause = if shown.load(Ordering::SeqCst) { 600 } else { 0 };
        [vec![Act::Wait(Duration::from_millis(pause))], ok("v2")].concat()
    });
    let keys = "analysis: { minRequests: 20, latencyP95: { critical: 400ms } }";
    let serin = serin(&v1, &v2, keys, HALF);
    serin.tell("start");
    let load = Load::start(serin.address(), 16, "/");
    wait_until("it is well", || serin.rollout()["verdict"] == "pass");
    slow.store(true, Ordering::SeqCst);
    serin.until_phase("aborted");
    let abort = last_change(&serin);
    assert!(
        abort["evidence"]["metric"]
            .as_str()
            .is_some_and(|metric| metric.starts_with("latency")),
        "{}",
        abort["reason"]
    );
    check_figures(&abort);
    check_proof(&abort);
    drop(load);
}

#[test]
fn an_outage_of_both_is_held_while_it_lasts_and_then_it_goes_on() {
    let broken = switch(true);
    let (v1, v2) = (failing(1, &broken), failing(1, &broken));
    let steps = "[{ setWeight: 50%, bakeTime: 500ms }, { setWeight: 100%, bakeTime: 1h }]";
    let serin = serin(&v1, &v2, FIVE_PERCENT, steps);
    serin.tell("start");
    let load = Load::start(serin.address(), 8, "/");
    wait_until("it holds", || serin.rollout()["verdict"] == "hold");
    let enough = load.answered() + 3_000;
    wait_until("the outage has lasted", || {
        let rollout = serin.rollout();
        assert_eq!(
            (&rollout["phase"], &rollout["step"]),
            (&json!("progressing"), &json!(0)),
            "{rollout}"
        );
        load.answered() > enough
    });
    broken.store(false, Ordering::SeqCst);
    serin.until_phase("promoting");
    drop(load);
}

#[test]
fn slow_answers_below_the_limit_are_no_reason() {
    // Each answers 6 % of its requests after 340 ms: a p95 of 340 ms.
    let app = || {
        let count = AtomicUsize::new(0);
        Backend::start(move |_| {
            let pause = if count.fetch_add(1, Ordering::SeqCst).is_multiple_of(17) {
                340
            } else {
                1
            };
            [vec![Act::Wait(Duration::from_millis(pause))], ok("x")].concat()
        })
    };
    let (v1, v2) = (app(), app());
    let keys = "analysis: { minRequests: 20, latencyP95: { critical: 500ms } }";
    let serin = serin(&v1, &v2, keys, HALF);
    serin.tell("start");
    let load = Load::start(serin.address(), 16, "/");
    wait_until("many answers have come", || load.answered() > 2_000);
    let rollout = serin.rollout();
    assert_eq!(rollout["phase"], "progressing", "{}", rollout["reason"]);
    drop(load);
}

#[test]
fn without_traffic_it_waits_or_pauses_as_the_file_says() {
    let (v1, v2) = (Backend::ok("v1"), Backend::ok("v2"));
    let steps = "[{ setWeight: 50%, bakeTime: 300ms }, { setWeight: 100%, bakeTime: 1h }]";
    let waits = serin(&v1, &v2, FIVE_PERCENT, steps);
    waits.tell("start");
    let pauses = serin(
        &v1,
        &v2,
        "analysis: { minRequests: 20, onInsufficientData: hold, errorRate: { critical: 5% } }",
        steps,
    );
    pauses.tell("start");
    pauses.until_phase("paused");
    let change = last_change(&pauses);
    let reason = change["reason"].to_string();
    assert!(reason.contains("bake time over, evidence too thin"), "{reason}");
    assert_eq!(
        (&change["by"], &change["verdict"]),
        (&json!("serin"), &json!("inconclusive"))
    );
    // Who resumes it waits on; who promotes it goes on without.
    pauses.tell("resume");
    assert_eq!(pauses.phase(), "progressing");
    pauses.tell("promote");
    assert_eq!(pauses.phase(), "promoting");
    let change = last_change(&pauses);
    assert_eq!(
        (&change["by"], &change["verdict"]),
        (&json!("api"), &json!("inconclusive")),
        "{change}"
    );
    assert_eq!(change["evidence"]["canary"]["requests"], 0);
    wait_until("it has baked for long enough", || {
        number(&waits.rollout()["bakedSeconds"]) > 1.0
    });
    let rollout = waits.rollout();
    assert_eq!(
        (&rollout["phase"], &rollout["verdict"]),
        (&json!("progressing"), &json!("inconclusive"))
    );
}

#[test]
fn who_only_observes_tells_what_it_would_do() {
    let broken = switch(true);
    let (v1, v2) = (Backend::ok("v1"), failing(1, &broken));
    let keys = format!("mode: observe, budget: {{ failedRequests: 1, inFlight: 1 }}, {FIVE_PERCENT}");
    let serin = serin(&v1, &v2, &keys, HALF);
    serin.tell("start");
    let load = Load::start(serin.address(), 4, "/");
    let would = || serin.rollout()["verdictReason"].to_string().contains("would abort: ");
    wait_until("it would abort", would);
    let enough = load.answered() + 500;
    wait_until("it goes on", || load.answered() > enough);
    let rollout = serin.rollout();
    assert_eq!(
        (&rollout["phase"], &rollout["mode"], &rollout["verdict"]),
        (&json!("progressing"), &json!("observe"), &json!("fail"))
    );
    assert_eq!(serin.share("canary"), 0.5);
    assert!(v2.requests() > 200, "nothing is bounded either: {}", v2.requests());
    let metrics = Metrics::of(&serin);
    assert_eq!(metrics.sum("serin_rollbacks_total", &[]), 0.0);
    assert_eq!(metrics.sum("serin_breaker_diverted_total", &[("rollout", "shop")]), 0.0);
    serin.tell("abort");
    assert_eq!((serin.phase().as_str(), serin.share("canary")), ("aborted", 0.0));
    drop(load);
}

/// Makes `path` a pipe: who writes it waits until somebody reads it.
fn make_pipe(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe can be made");
}

/// Whether control answers within a moment.
fn answers(serin: &Serin) -> bool {
    let ask = || -> std::io::Result<usize> {
        let mut stream = TcpStream::connect(serin.admin_address())?;
        stream.set_read_timeout(Some(Duration::from_millis(200)))?;
        std::io::Write::write_all(
            &mut stream,
            b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        )?;
        stream.read(&mut [0; 64])
    };
    ask().is_ok_and(|bytes| bytes > 0)
}

#[test]
fn failures_stay_within_the_budget_while_control_waits_for_its_disk() {
    const BUDGET: usize = 20;
    const CLIENTS: usize = 8;
    let broken = switch(false);
    let (v1, v2) = (Backend::ok("v1"), failing(1, &broken));
    let keys = format!("budget: {{ failedRequests: {BUDGET} }}, {FIVE_PERCENT}");
    let serin = serin(&v1, &v2, &keys, HALF);
    serin.tell("start");
    let load = Load::start(serin.address(), CLIENTS, "/");
    wait_until("it is well", || serin.rollout()["verdict"] == "pass");
    let pipe = serin.dir().join("state/state.json.new");
    make_pipe(&pipe);
    let admin = serin.admin_address();
    let asks = thread::spawn(move || {
        let mut client = crate::common::Client::connect(admin);
        let host = admin.to_string();
        client
            .try_request("POST", "/v1/rollouts/shop/pause", &[("host", &host)], b"")
            .ok();
    });
    wait_until("control is stuck", || !answers(&serin) && !answers(&serin));
    broken.store(true, Ordering::SeqCst);
    let enough = load.answered() + 2_000;
    wait_until("many requests come after it", || load.answered() > enough);
    assert!(!answers(&serin), "control is still stuck");
    // It judges as soon as it can.
    let mut reader = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open(&pipe)
        .expect("the pipe is there");
    std::fs::remove_file(&pipe).expect("it is ours");
    let mut text = Vec::new();
    wait_until("control goes on", || {
        reader.read_to_end(&mut text).ok();
        answers(&serin)
    });
    asks.join().expect("it only asks");
    serin.until_phase("aborted");
    let (samples, lost) = load.stop();
    assert_eq!(lost, Vec::<String>::new());
    let failed = samples.iter().filter(|sample| sample.status == 500).count();
    // Half a point of what the canary served is explained by the margin, whatever stable does.
    let explained = samples.iter().filter(|sample| sample.variant == "canary").count() / 200 + 1;
    assert!(
        failed <= BUDGET + CLIENTS + explained,
        "{failed} failures, {explained} of them explained"
    );
    assert!(Metrics::of(&serin).sum("serin_breaker_diverted_total", &[("rollout", "shop")]) > 0.0);
}
