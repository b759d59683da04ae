//! Damaged files and a disk that takes nothing, in the middle of a release: each has a clear answer, an aborted
//! canary stays aborted, and traffic goes on.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::{Backend, Load, Serin, get, ok, pair, status, wait_until};

const STEPS: &str = "[{ setWeight: 10%, bakeTime: 1h }, { setWeight: 100% }]";

fn rollout(steps: &str) -> String {
    format!(
        "rollouts:\n- {{ name: shop, route: shop, from: stable, to: canary, analysis: {{ minRequests: 20, errorRate: \
         {{ warn: 1%, critical: 5% }} }}, steps: {steps} }}\n"
    )
}

/// Copies the plain files of one directory into another, in place of what is there.
fn copy(from: &Path, to: &Path) {
    fs::remove_dir_all(to).ok();
    fs::create_dir_all(to).expect("a directory");
    for file in fs::read_dir(from).expect("it is there") {
        let path = file.expect("it can be listed").path();
        // The socket for upgrades is no state.
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("it can be copied");
        }
    }
}

#[test]
fn whatever_becomes_of_the_state_an_aborted_canary_stays_aborted() {
    let (stable, canary) = (Backend::ok("s"), Backend::ok("c"));
    // Even the file would give it weight.
    let mut serin = Serin::start(&(pair(stable.address(), canary.address(), (50, 50)) + &rollout(STEPS)));
    serin.tell("start");
    serin.tell("abort");
    serin.crash();
    let (state, whole) = (serin.dir().join("state"), serin.dir().join("whole"));
    copy(&state, &whole);
    let both = |bytes: &[u8]| {
        for name in ["state.json", "state.json.bak"] {
            fs::write(state.join(name), bytes).expect("it can be written");
        }
    };
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let text = fs::read_to_string(whole.join("state.json")).expect("it is there");
    let cut = |by: usize| text.as_bytes()[..text.len() - by].to_vec();
    let everything: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("an object", b"{}".to_vec()),
        ("null", b"null".to_vec()),
        ("deep", deep.into_bytes()),
        ("zeros", vec![0; 1 << 20]),
        ("no text", vec![0xff; 4096]),
        ("cut", cut(1)),
        ("cut in the middle", cut(text.len() / 2)),
        ("more behind it", format!("{text}{{}}").into_bytes()),
    ];
    for (what, bytes) in everything {
        copy(&whole, &state);
        both(&bytes);
        let before = serin.log().len();
        serin.crash_and_restart();
        let said = serin.log()[before..].to_owned();
        assert!(said.contains("state"), "{what}: {said}");
        assert_eq!(
            (serin.phase().as_str(), serin.share("canary")),
            ("aborted", 0.0),
            "{what}"
        );
        assert_eq!(get(serin.address(), "/").text(), "s", "{what}");
        let start = serin.api("GET", "/v1/audit?kind=start&limit=1", "");
        assert!(start["records"][0]["facts"]["state"].is_string(), "{what}: {start}");
        serin.tell("start");
        assert_eq!(serin.share("canary"), 0.1, "{what}: a person knows better");
        serin.crash();
    }
    // The log, and who was told what, are gone as well; what is whole counts.
    copy(&whole, &state);
    fs::write(state.join("audit.jsonl"), [0xff; 1000]).expect("it can be written");
    fs::write(state.join("notified.json"), "{").expect("it can be written");
    serin.crash_and_restart();
    assert_eq!((serin.phase().as_str(), serin.share("canary")), ("aborted", 0.0));
    assert_eq!(serin.api("GET", "/v1/audit", "")["records"][0]["kind"], "start");
}

#[test]
fn without_a_disk_a_gate_that_agrees_moves_nothing_and_a_bad_canary_is_aborted() {
    let bad = Arc::new(AtomicBool::new(false));
    let (is_bad, agrees) = (Arc::clone(&bad), Arc::new(AtomicBool::new(false)));
    let yes = Arc::clone(&agrees);
    let stable = Backend::ok("s");
    let canary = Backend::start(move |_| {
        if is_bad.load(Ordering::SeqCst) {
            status(500)
        } else {
            ok("c")
        }
    });
    let gate = Backend::start(move |_| {
        if yes.load(Ordering::SeqCst) {
            ok("go")
        } else {
            status(403)
        }
    });
    let steps = format!(
        "[{{ setWeight: 20% }}, {{ gate: {{ webhook: {{ name: g, url: 'http://{}/g', interval: 100ms }} }} }}, \
         {{ setWeight: 50%, bakeTime: 1h }}, {{ setWeight: 100% }}]",
        gate.address()
    );
    let mut serin = Serin::start(&(pair(stable.address(), canary.address(), (100, 0)) + &rollout(&steps)));
    let load = Load::start(serin.address(), 2, "/");
    serin.tell("start");
    wait_until("the gate is asked", || gate.requests() > 0);
    let (state, away) = (serin.dir().join("state"), serin.dir().join("away"));
    fs::rename(&state, &away).expect("a rename");
    agrees.store(true, Ordering::SeqCst);
    wait_until("what cannot be written is told", || {
        !serin.status()["stateProblem"].is_null()
    });
    serin.admin("POST", "/v1/freeze", r#"{"reason":"x"}"#).problem(503);
    assert_eq!(serin.api("GET", "/v1/freeze", "")["frozen"], false);
    let answered = load.answered();
    wait_until("traffic goes on", || load.answered() > answered + 100);
    assert_eq!(serin.share("canary"), 0.2);
    fs::rename(&away, &state).expect("a rename");
    wait_until("it goes on where it was", || serin.share("canary") == 0.5);

    fs::rename(&state, &away).expect("a rename");
    bad.store(true, Ordering::SeqCst);
    serin.until_phase("aborted");
    assert_eq!(serin.share("canary"), 0.0);
    fs::rename(&away, &state).expect("a rename");
    wait_until("it is written", || serin.status()["stateProblem"].is_null());
    assert_eq!(load.lost(), Vec::<String>::new());
    drop(load);
    serin.crash_and_restart();
    assert_eq!((serin.phase().as_str(), serin.share("canary")), ("aborted", 0.0));
}
