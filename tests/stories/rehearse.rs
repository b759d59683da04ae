//! The outcome log, written by a proxy that serves, and what a rehearsal makes of it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;
use serde_json::Value;

use crate::common::{
    Backend, Load, Metrics, Options, Serin, binary, fetch, ok, pair, pair_with, refusing_address, rollout, status,
    wait_until,
};

const HALF: &str = "[{ setWeight: 50%, bakeTime: 100ms }, { setWeight: 100%, bakeTime: 1h }]";
const FIVE_PERCENT: &str = "{ minRequests: 20, errorRate: { critical: 5% } }";

fn options() -> Options {
    Options {
        top: "outcomeLog: { file: outcomes.log }\n".to_owned(),
        ..Options::default()
    }
}

/// Ends it, so that all of its log is written; the lines of the log.
#[track_caller]
fn log_of(serin: &mut Serin) -> Vec<String> {
    serin.signal(Signal::TERM);
    assert_eq!(serin.exit().code, Some(0));
    let text = fs::read_to_string(serin.dir().join("outcomes.log")).expect("it was written");
    assert!(text.ends_with('\n'), "{text}");
    text.lines().map(str::to_owned).collect()
}

/// What a rehearsal of its log tells: one object for each event, and the summary.
#[track_caller]
fn rehearsed(serin: &Serin) -> (Vec<Value>, Value) {
    let output = binary()
        .args([
            "rehearse",
            "-c",
            "serin.yaml",
            "--outcomes",
            "outcomes.log",
            "--output",
            "json",
        ])
        .current_dir(serin.dir())
        .output()
        .expect("the binary is built");
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("JSON");
    let mut lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let summary = lines.pop().expect("a summary");
    (lines, summary)
}

fn events<'l>(lines: &'l [Value], event: &str) -> Vec<&'l Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

/// Every request has its line, and no line was lost.
#[track_caller]
fn check_whole(summary: &Value, requests: usize) {
    assert_eq!(summary["requests"], requests);
    for key in ["garbledLines", "lostLines", "lateRequests", "requestsElsewhere"] {
        assert_eq!(summary[key], 0, "{key}");
    }
}

#[test]
fn a_rehearsal_aborts_what_was_aborted() {
    let (stable, canary) = (Backend::ok("v1"), Backend::start(|_| status(500)));
    let steps = "[{ setWeight: 50%, bakeTime: 1h }, { setWeight: 100% }]";
    let config = pair(stable.address(), canary.address(), (100, 0)) + &rollout(FIVE_PERCENT, steps);
    let mut serin = Serin::with(options(), &config);
    let load = Load::start(serin.address(), 4, "/");
    wait_until("stable is known", || load.answered() > 200);
    serin.tell("start");
    serin.until_phase("aborted");
    let (samples, lost) = load.stop();
    assert_eq!(lost, Vec::<String>::new());
    let rejected = Metrics::of(&serin).sum("serin_rejected_total", &[("reason", "outcome_line")]);
    assert_eq!(rejected, 0.0);
    let log = log_of(&mut serin);
    // One that the breaker sent to stable at the last moment has a line for the canary as well.
    let is_answered = |line: &&String| line.split('\t').nth(7).is_some_and(|status| status != "0");
    assert_eq!(log.iter().filter(is_answered).count(), samples.len());

    let (lines, summary) = rehearsed(&serin);
    assert_eq!(events(&lines, "begins").len(), 1, "{lines:#?}");
    assert_eq!(events(&lines, "aborts").len(), 1, "{lines:#?}");
    assert_eq!(
        (&lines[0]["event"], &lines[0]["share"]),
        (&"begins".into(), &0.5.into())
    );
    check_whole(&summary, log.len() - 1);
}

#[test]
fn a_rehearsal_finds_what_was_only_watched() {
    let stable = Backend::ok("v1");
    let count = Arc::new(AtomicUsize::new(0));
    let canary = Backend::start(move |_| {
        let fails = count.fetch_add(1, Ordering::SeqCst) % 8 == 7;
        if fails { status(500) } else { ok("v2") }
    });
    let rollout = format!(
        "rollouts:\n- {{ name: shop, route: shop, from: stable, to: canary, mode: observe, analysis: {FIVE_PERCENT} }}\n"
    );
    let config = pair(stable.address(), canary.address(), (50, 50)) + &rollout;
    let mut serin = Serin::with(options(), &config);
    let load = Load::start(serin.address(), 4, "/");
    wait_until("it would be aborted", || serin.rollout()["verdict"] == "fail");
    // Looks fall at other moments in a rehearsal: what was just enough then may be less than that.
    let enough = load.answered() + 1000;
    wait_until("it goes on", || load.answered() > enough);
    let (samples, _) = load.stop();
    log_of(&mut serin);
    let (lines, summary) = rehearsed(&serin);
    let verdicts: Vec<_> = events(&lines, "verdict")
        .into_iter()
        .map(|line| &line["verdict"])
        .collect();
    assert_eq!(verdicts.last(), Some(&&"fail".into()), "{lines:#?}");
    assert_eq!(events(&lines, "aborts").len(), 1, "{lines:#?}");
    check_whole(&summary, samples.len());
}

#[test]
fn a_rehearsal_passes_what_was_passed() {
    let (stable, canary) = (Backend::ok("v1"), Backend::ok("v2"));
    let config = pair(stable.address(), canary.address(), (100, 0)) + &rollout(FIVE_PERCENT, HALF);
    let mut serin = Serin::with(options(), &config);
    let load = Load::start(serin.address(), 4, "/");
    serin.tell("start");
    serin.until_phase("promoting");
    drop(load);
    log_of(&mut serin);
    let (lines, summary) = rehearsed(&serin);
    let passes = events(&lines, "passes");
    assert_eq!(passes.len(), 1, "{lines:#?}");
    assert_eq!((&passes[0]["step"], &passes[0]["share"]), (&1.into(), &0.5.into()));
    assert_eq!(events(&lines, "moves").len(), 1, "{lines:#?}");
    assert_eq!(
        (events(&lines, "aborts").len(), &summary["rollouts"][0]["trials"]),
        (0, &1.into())
    );
}

#[test]
fn each_request_of_a_route_with_a_rollout_has_its_line() {
    let stable = Backend::ok("v1");
    let split = "    key: { header: x-user }\n    cohorts: [{ name: beta, headers: [{ name: x-beta, present: true }], variant: canary }]\n";
    let cart = "- name: cart\n  match: { pathPrefix: /cart }\n  split: { variants: [{ name: stable, backend: v1, weight: 1 }] }\n";
    let (nobody, _held) = refusing_address();
    let config = pair_with(stable.address(), nobody, (100, 0), "", split) + cart + &rollout("{}", HALF);
    let mut serin = Serin::with(options(), &config);
    let ask = |path: &str, field: (&str, &str)| {
        let address = serin.address().to_string();
        fetch(serin.address(), "GET", path, &[("host", &address), field], b"").status
    };
    assert_eq!(ask("/", ("x-user", "alice")), 200);
    assert_eq!(ask("/", ("x-beta", "yes")), 502);
    assert_eq!(ask("/cart", ("x-user", "alice")), 200);
    let lines = log_of(&mut serin);
    assert_eq!((lines.len(), lines[0].as_str()), (3, "#serin-outcomes 1"), "{lines:?}");
    let fields = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
    let alice = fields(&lines[1]);
    assert_eq!(alice[1..5], ["shop", "stable", "1000000", "v"]);
    assert_eq!(
        (alice[5].len(), &alice[6..8]),
        (8, &["s".to_owned(), "200".to_owned()][..])
    );
    let [latency_us, duration_us]: [u64; 2] = [8, 9].map(|at| alice[at].parse().expect("a number"));
    assert!(latency_us <= duration_us, "{alice:?}");
    let beta = fields(&lines[2]);
    assert_eq!(beta[1..9], ["shop", "canary", "0", "-", "-", "f", "502", "-"]);
}

#[test]
fn a_log_that_cannot_be_written_harms_nobody() {
    let (stable, canary) = (Backend::ok("v1"), Backend::ok("v2"));
    let config = pair(stable.address(), canary.address(), (100, 0)) + &rollout("{}", HALF);
    let options = Options {
        top: "outcomeLog: { file: nowhere/outcomes.log }\n".to_owned(),
        ..Options::default()
    };
    let serin = Serin::with(options, &config);
    let load = Load::start(serin.address(), 2, "/");
    wait_until("it is told", || {
        serin.log().contains("the outcome log cannot be written")
    });
    let enough = load.answered() + 100;
    wait_until("it serves", || load.answered() > enough);
    fs::create_dir(serin.dir().join("nowhere")).expect("it was not there");
    let log = serin.dir().join("nowhere/outcomes.log");
    wait_until("it is written again", || {
        fs::read_to_string(&log).is_ok_and(|text| text.lines().count() > 10)
    });
    let (_, lost) = load.stop();
    assert_eq!(lost, Vec::<String>::new());
    let text = fs::read_to_string(&log).expect("it is there");
    assert!(text.starts_with("#serin-outcomes 1\n#lost "), "{text}");
    assert_eq!(serin.log().matches("the outcome log cannot be written").count(), 1);
}
