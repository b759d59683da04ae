//! The audit log: whatever was changed or decided stands in it, and nothing is taken out of it unseen.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use aws_lc_rs::digest::{SHA256, digest};
use rustix::process::Signal;
use serde_json::Value;

use crate::common::{Backend, Load, Options, Serin, binary, get, pair, rollout, wait_until};

const STEPS: &str = "[{ setWeight: 50%, bakeTime: 1h }, { setWeight: 100% }]";

fn with_rollout(app: &Backend) -> String {
    pair(app.address(), app.address(), (100, 0)) + &rollout("{ minRequests: 20 }", STEPS)
}

fn log_file(serin: &Serin) -> PathBuf {
    serin.dir().join("state/audit.jsonl")
}

fn audit(serin: &Serin, arguments: &[&str]) -> Output {
    let file = serin.file().display().to_string();
    let all = [&["audit"], arguments, &["-c", &file]].concat();
    binary().args(all).output().expect("the binary is built")
}

/// What `serin audit verify` says, and whether it is content.
fn verify(serin: &Serin) -> (bool, String) {
    // The file may be one that is refused.
    let state = serin.dir().join("state").display().to_string();
    let verify = ["audit", "verify", "--state", &state];
    let output = binary().args(verify).output().expect("the binary is built");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!([Some(0), Some(1)].contains(&output.status.code()), "{said}");
    (output.status.success(), said)
}

#[track_caller]
fn is_whole(serin: &Serin) {
    let (good, said) = verify(serin);
    assert!(
        good && said.contains("the audit log is whole") && said.lines().count() == 1,
        "{said}"
    );
}

/// All records by the API, oldest first.
fn records(serin: &Serin) -> Vec<Value> {
    let mut records = serin.api("GET", "/v1/audit?limit=1000", "")["records"]
        .as_array()
        .expect("a list")
        .clone();
    records.reverse();
    records
}

/// `kind: from -> to` of each.
fn in_short(records: &[Value]) -> Vec<String> {
    let word = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let short = |record: &Value| {
        format!(
            "{} {} {}",
            word(&record["kind"]),
            word(&record["from"]),
            word(&record["to"])
        )
    };
    records.iter().map(short).collect()
}

#[test]
fn a_life_is_told_in_order_and_verifies() {
    let app = Backend::ok("x");
    let mut serin = Serin::start(&with_rollout(&app));
    assert_eq!(serin.weights(90, 10).status, 200);
    serin.tell("start");
    let load = Load::start(serin.address(), 2, "/");
    wait_until("there is evidence", || {
        serin.rollout()["evidence"]["canary"]["requests"].as_u64() > Some(0)
    });
    serin.tell("abort");
    drop(load);
    serin.write(&with_rollout(&app).replace("weight: 100", "weight: 99"));
    assert_eq!(serin.reload().status, 200);
    serin.write(&with_rollout(&app).replace("backend: v2", "backend: v7"));
    assert_eq!(serin.reload().status, 422);
    wait_until("the refused file is told of", || {
        records(&serin).iter().any(|record| record["to"] == "refused")
    });
    is_whole(&serin);
    serin.write(&with_rollout(&app));
    serin.crash_and_restart();
    is_whole(&serin);
    serin.signal(Signal::TERM);
    assert_eq!(serin.exit().code, Some(0));
    is_whole(&serin);
    let listed = audit(&serin, &["list", "--output", "json"]);
    let text = String::from_utf8(listed.stdout).expect("JSON is text");
    let all: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a record"))
        .collect();
    let told = in_short(&all);
    // The watch may have read the files by itself as well; what was asked for is there in order.
    let expected = [
        "start  started",
        "weights stable=100 canary=0 stable=90 canary=10",
        "rollout watching progressing",
        "rollout progressing aborted",
        "reload  live",
        "reload  refused",
        "start  started",
        "stop  stopped",
    ];
    let mut rest = told.iter();
    for step in expected {
        assert!(rest.any(|told| told == step), "{step} in {told:#?}");
    }
    let abort = all
        .iter()
        .find(|record| record["to"] == "aborted")
        .expect("it is there");
    assert_eq!(
        (&abort["by"], &abort["rollout"], &abort["route"]),
        (&"api".into(), &"shop".into(), &"shop".into())
    );
    assert!(
        abort["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("a story")),
        "{abort}"
    );
    assert!(abort["evidence"]["canary"]["requests"].as_u64() > Some(0), "{abort}");
    assert!(abort["generation"].as_u64() > Some(1) && abort["time"].as_str().is_some_and(|time| time.ends_with('Z')));
    let seqs: Vec<u64> = all.iter().filter_map(|record| record["seq"].as_u64()).collect();
    assert_eq!(seqs, (1..=all.len() as u64).collect::<Vec<_>>());
}

#[test]
fn pages_and_filters_show_what_was_asked_for() {
    let app = Backend::ok("x");
    let serin = Serin::start(&with_rollout(&app));
    for canary in 1..=5 {
        assert_eq!(serin.weights(90, canary).status, 200);
    }
    let (mut target, mut seen) = ("/v1/audit?kind=weights&limit=2".to_owned(), Vec::new());
    loop {
        let page = serin.api("GET", &target, "");
        let records = page["records"].as_array().expect("a list");
        assert!(records.len() <= 2);
        seen.extend(
            records
                .iter()
                .map(|record| record["to"].as_str().expect("a text").to_owned()),
        );
        let Some(next) = page["next"].as_str() else { break };
        target = format!("/v1/audit?kind=weights&limit=2&next={next}");
    }
    let expected: Vec<String> = (1..=5)
        .rev()
        .map(|canary| format!("stable=90 canary={canary}"))
        .collect();
    assert_eq!(seen, expected);
    assert!(
        serin.api("GET", "/v1/audit?by=nobody", "")["records"]
            .as_array()
            .expect("a list")
            .is_empty()
    );
    serin.admin("GET", "/v1/audit?limit=0", "").problem(422);
    serin.admin("GET", "/v1/audit?rolout=shop", "").problem(422);
    let text = String::from_utf8(audit(&serin, &["list", "--limit", "1"]).stdout).expect("a text");
    assert!(
        text.contains("stable=90 canary=5") && text.lines().count() == 2,
        "{text}"
    );
}

#[test]
fn an_edit_by_hand_is_found_and_located() {
    let app = Backend::ok("x");
    let mut serin = Serin::start(&with_rollout(&app));
    for canary in 1..=4 {
        assert_eq!(serin.weights(90, canary).status, 200);
    }
    serin.signal(Signal::TERM);
    serin.exit();
    is_whole(&serin);
    let whole = fs::read_to_string(log_file(&serin)).expect("it is there");
    let check = |change: fn(&mut Vec<String>), expected: &str| {
        let mut lines: Vec<String> = whole.lines().map(str::to_owned).collect();
        change(&mut lines);
        fs::write(log_file(&serin), lines.join("\n") + "\n").expect("it can be written");
        let (good, said) = verify(&serin);
        assert!(!good && said.contains(expected), "{expected}: {said}");
    };
    check(
        |lines| lines[2] = lines[2].replace("a story", "a stors"),
        "audit.jsonl:4: record 4:",
    );
    check(
        |lines| drop(lines.remove(2)),
        "audit.jsonl:3: record 4: record 3 is missing",
    );
    check(|lines| lines.swap(1, 2), "audit.jsonl:2: record 3:");
    check(|lines| lines.truncate(1), "missing here, at the end");
    check(Vec::clear, "audit.jsonl:1: ");
    fs::write(log_file(&serin), &whole).expect("it can be written");
    is_whole(&serin);
    assert!(
        audit(&serin, &["verify"]).status.success(),
        "the file names the directory as well"
    );
}

/// `text` from record `first` on with true hashes, as somebody writes it who knows how.
fn chained_anew(text: &str, first: usize) -> String {
    let mut before: Option<String> = None;
    let mut anew = String::new();
    for (index, line) in text.lines().enumerate() {
        let mut line = line.to_owned();
        if let Some(before) = before.filter(|_| index >= first) {
            let record: Value = serde_json::from_str(&line).expect("a record");
            line = line.replace(record["previous"].as_str().expect("a hash"), &before);
        }
        let hash = digest(&SHA256, line.as_bytes());
        before = Some(hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect());
        anew += &(line + "\n");
    }
    anew
}

#[test]
fn a_history_that_was_written_anew_while_it_was_down_is_found_for_ever() {
    let app = Backend::ok("x");
    let mut serin = Serin::start(&with_rollout(&app));
    for canary in 1..=4 {
        assert_eq!(serin.weights(90, canary).status, 200);
    }
    serin.signal(Signal::TERM);
    serin.exit();
    let text = fs::read_to_string(log_file(&serin)).expect("it is there");
    let newest = text.lines().last().expect("a record");
    let seq = text.lines().count();
    let more = newest.replacen(&format!("\"seq\":{seq},"), &format!("\"seq\":{},", seq + 1), 1);
    let forged = text.replace("canary=2", "canary=7") + &more + "\n";
    fs::write(log_file(&serin), chained_anew(&forged, 2)).expect("it can be written");
    serin.crash_and_restart();
    assert_eq!(get(serin.address(), "/").status, 200);
    assert!(serin.log().contains("not known to the state"), "{}", serin.log());
    for round in 5..=7 {
        assert_eq!(serin.weights(90, round).status, 200);
        let (good, said) = verify(&serin);
        assert!(!good && said.contains("TAMPERED WITH"), "{said}");
        assert!(said.contains("is told in "), "{said}");
        serin.crash_and_restart();
    }
}

#[test]
fn a_damaged_log_keeps_nobody_from_serving_and_is_told_of() {
    let app = Backend::ok("x");
    let mut serin = Serin::start(&with_rollout(&app));
    assert_eq!(serin.weights(90, 10).status, 200);
    assert_eq!(serin.weights(80, 20).status, 200);
    serin.signal(Signal::TERM);
    serin.exit();
    fs::write(log_file(&serin), "{\"seq\":1,\0garbage\n").expect("it can be written");
    serin.crash_and_restart();
    assert_eq!(get(serin.address(), "/").status, 200);
    assert_eq!(serin.share("canary"), 0.2, "the state does not hang on the log");
    assert_eq!(serin.weights(70, 30).status, 200);
    assert!(
        serin.log().contains("the audit log is not as it was written"),
        "{}",
        serin.log()
    );
    let all = records(&serin);
    let start = all
        .iter()
        .find(|record| record["kind"] == "start")
        .expect("it is there");
    assert!(
        start["facts"]["audit"]
            .as_str()
            .is_some_and(|what| what.contains("missing at its end")),
        "{start}"
    );
    let (good, said) = verify(&serin);
    assert!(
        !good && said.contains("audit.jsonl:1: this line is no record"),
        "{said}"
    );
}

#[test]
fn a_crash_at_any_moment_leaves_a_whole_log() {
    let app = Backend::ok("x");
    let mut serin = Serin::start(&with_rollout(&app));
    for round in 1..=3 {
        assert_eq!(serin.weights(90, round).status, 200);
        serin.crash();
        // As if the last line had been torn while it was written.
        let text = fs::read(log_file(&serin)).expect("it is there");
        fs::write(log_file(&serin), &text[..text.len() - 7 * round as usize]).expect("it can be written");
        serin.crash_and_restart();
        is_whole(&serin);
    }
    let weights = in_short(&records(&serin))
        .into_iter()
        .filter(|told| told.starts_with("weights"));
    assert_eq!(weights.count(), 3);
}

#[test]
fn without_room_for_the_log_changes_go_on_and_nothing_is_lost() {
    let app = Backend::ok("x");
    let mut serin = Serin::start(&with_rollout(&app));
    serin.crash();
    // Permissions do not bind root; a directory in the file's place binds everybody.
    let away = serin.dir().join("away.jsonl");
    fs::rename(log_file(&serin), &away).expect("a rename");
    fs::create_dir(log_file(&serin)).expect("a directory");
    serin.crash_and_restart();
    assert_eq!(serin.weights(90, 10).status, 200);
    serin.tell("start");
    serin.tell("abort");
    let problem = serin.status()["stateProblem"].to_string();
    assert!(problem.contains("audit.jsonl cannot be written"), "{problem}");
    serin.crash_and_restart();
    assert_eq!(get(serin.address(), "/").status, 200);
    fs::remove_dir(log_file(&serin)).expect("it is empty");
    fs::rename(&away, log_file(&serin)).expect("a rename");
    wait_until("the log is written", || serin.status()["stateProblem"].is_null());
    is_whole(&serin);
    let told = in_short(&records(&serin));
    for step in [
        "weights stable=100 canary=0 stable=90 canary=10",
        "rollout progressing aborted",
    ] {
        assert!(told.iter().any(|told| told == step), "{step} in {told:#?}");
    }
}

#[test]
fn a_file_that_has_grown_large_is_put_aside_and_goes_on_in_another() {
    let app = Backend::ok("x");
    let options = Options {
        state: "./state, auditMaxSize: 64KiB".to_owned(),
        ..Options::default()
    };
    let mut serin = Serin::with(options, &with_rollout(&app));
    let reason = "because ".repeat(100);
    // Others come and go there while the state is written.
    let put_aside = |serin: &Serin| -> Vec<std::path::PathBuf> {
        let files = fs::read_dir(serin.dir().join("state")).expect("it is there");
        let files = files.map(|entry| entry.expect("an entry").path());
        let is_old = |path: &std::path::PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| name.starts_with("audit.0"))
        };
        files.filter(is_old).collect()
    };
    let mut changes = 0;
    while put_aside(&serin).len() < 2 {
        changes += 1;
        let body = format!(r#"{{"weights":{{"stable":1000,"canary":{changes}}},"reason":"{reason}"}}"#);
        assert_eq!(serin.admin("PUT", "/v1/routes/shop/weights", &body).status, 200);
        assert!(changes < 1_000, "nothing is put aside");
    }
    is_whole(&serin);
    serin.crash_and_restart();
    is_whole(&serin);
    let weights = records(&serin)
        .iter()
        .filter(|record| record["kind"] == "weights")
        .count();
    assert_eq!(weights, changes);
    let second = put_aside(&serin).into_iter().max().expect("it was put aside");
    fs::remove_file(second).expect("it can be removed");
    let (good, said) = verify(&serin);
    assert!(!good && said.contains("missing before it"), "{said}");
}
