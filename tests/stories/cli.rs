//! The command line: what it prints is fit for its reader, and its exit code is fit for a script.

use std::fs;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Backend, Load, Options, Serin, binary, free_address, pair, rollout, wait_until};

/// Runs the command to its end.
fn serin(arguments: &[&str]) -> Output {
    binary().args(arguments).output().expect("the binary is built")
}

#[track_caller]
fn check(arguments: &[&str], code: i32) -> String {
    let output = serin(arguments);
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    text
}

fn json(arguments: &[&str]) -> Value {
    let output = serin(arguments);
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {text}"))
}

const STEPS: &str = "[{ setWeight: 50%, bakeTime: 100ms }, { setWeight: 100% }]";

fn running(steps: &str) -> (Serin, Backend) {
    let app = Backend::ok("x");
    let config = pair(app.address(), app.address(), (100, 0)) + &rollout("{ minRequests: 20 }", steps);
    (Serin::start(&config), app)
}

#[test]
fn a_good_file_is_0_and_a_bad_one_3_with_all_its_problems() {
    let (running, _app) = running(STEPS);
    let dir = TempDir::new().expect("a temporary directory");
    let (good, bad) = (dir.path().join("good.yaml"), dir.path().join("bad.yaml"));
    let text = fs::read_to_string(running.file()).expect("it is there");
    fs::write(&good, &text).expect("it can be written");
    fs::write(
        &bad,
        text.replace("backend: v2", "backend: v7")
            .replace("pathPrefix:", "pathPrefx:"),
    )
    .expect("it can");
    let (good, bad) = (good.display().to_string(), bad.display().to_string());
    assert!(check(&["check", &good], 0).contains("good.yaml"));
    let said = check(&["check", &good, &bad], 3);
    for part in ["bad.yaml:", "v7", "pathPrefx", "pathPrefix"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let missing = dir.path().join("missing.yaml").display().to_string();
    assert_ne!(serin(&["check", &missing]).status.code(), Some(0));
}

#[test]
fn run_refuses_a_bad_file_and_lists_everything() {
    let app = Backend::ok("x");
    let config = pair(app.address(), app.address(), (0, 0)).replace("backend: v2", "backend: v7");
    let exit = Serin::refuses(Options::default(), &config);
    assert_eq!(exit.code, Some(3), "{}", exit.log);
    assert!(exit.log.contains("v7") && exit.log.contains("weight"), "{}", exit.log);
}

#[test]
fn wrong_usage_is_2_and_nobody_there_is_4() {
    check(&["frobnicate"], 2);
    check(&["weights", "shop"], 2);
    check(&["rollout", "wait"], 2);
    check(&["status", "--admin"], 2);
    let nobody = format!("http://{}", free_address());
    for command in [
        &["status"][..],
        &["weights", "shop", "stable=1", "canary=1", "--reason", "x"],
        &["rollout", "list"],
    ] {
        let said = check(&[command, &["--admin", &nobody]].concat(), 4);
        assert!(said.contains(&nobody), "it says where: {said}");
    }
}

#[test]
fn status_and_lists_come_as_text_and_as_json() {
    let (running, _app) = running(STEPS);
    let admin = running.admin_url();
    let text = check(&["status", "--admin", &admin], 0);
    assert!(text.contains(&running.address().to_string()), "{text}");
    let status = json(&["status", "--admin", &admin, "--output", "json"]);
    assert_eq!(status["generation"], running.generation());
    assert!(check(&["rollout", "list", "--admin", &admin], 0).contains("shop"));
    let shown = json(&["rollout", "get", "shop", "--admin", &admin, "--output", "json"]);
    assert_eq!(shown["phase"], "idle");
    let output = binary()
        .args(["status"])
        .env("SERIN_ADMIN", &admin)
        .output()
        .expect("it is built");
    assert_eq!(
        output.status.code(),
        Some(0),
        "the address may come from the environment"
    );
}

#[test]
fn weights_are_set_and_refused_with_a_code() {
    let (running, _app) = running(STEPS);
    let admin = running.admin_url();
    let weights = |rest: &[&str], code| check(&[&["weights", "shop"], rest, &["--admin", &admin]].concat(), code);
    weights(&["stable=90", "canary=10", "--reason", "a story"], 0);
    assert_eq!(running.share("canary"), 0.1);
    weights(&["stable=50", "canary=50", "--dry-run", "--reason", "x"], 0);
    assert_eq!(running.share("canary"), 0.1);
    weights(&["stable=50", "canary=50", "--if-match", "1", "--reason", "x"], 7);
    assert!(weights(&["stable=50", "canari=50", "--reason", "x"], 1).contains("canari"));
    weights(&["stable=50", "canary", "--reason", "x"], 2);
    assert_eq!(running.share("canary"), 0.1);
    check(&["weights", "none", "a=1", "--reason", "x", "--admin", &admin], 1);
    assert!(running.rollout()["history"].to_string().contains("a story") || running.log().contains("a story"));
}

#[test]
fn a_rollout_is_driven_and_waited_for() {
    let (running, _app) = running(STEPS);
    let admin = running.admin_url();
    let rollout = |rest: &[&str], code| check(&[&["rollout"], rest, &["shop", "--admin", &admin]].concat(), code);
    rollout(&["resume"], 7);
    rollout(&["wait"], 7);
    rollout(&["start", "--reason", "a story"], 0);
    rollout(&["wait", "--timeout", "300ms"], 6);
    let load = Load::start(running.address(), 2, "/");
    rollout(&["wait", "--timeout", "20s"], 0);
    drop(load);
    assert_eq!(running.phase(), "succeeded");
    assert!(rollout(&["history"], 0).contains("a story"));
    rollout(&["start"], 0);
    rollout(&["pause"], 0);
    rollout(&["resume"], 0);
    rollout(&["abort"], 0);
    rollout(&["wait", "--timeout", "20s"], 5);
    rollout(&["retry"], 0);
    rollout(&["promote", "--full"], 0);
    assert_eq!(running.phase(), "succeeded");
    check(&["rollout", "get", "none", "--admin", &admin], 1);
}

#[test]
fn an_abort_is_told_to_whoever_waits() {
    let (running, _app) = running("[{ setWeight: 50%, bakeTime: 1h }, { setWeight: 100% }]");
    running.tell("start");
    let admin = running.admin_url();
    let mut waiting = binary()
        .args(["rollout", "wait", "shop", "--timeout", "20s", "--admin", &admin])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("it is built");
    running.tell("abort");
    let mut code = None;
    wait_until("it has ended", || {
        code = waiting.try_wait().expect("our child").map(|status| status.code());
        code.is_some()
    });
    assert_eq!(code, Some(Some(5)));
}

#[test]
fn the_schema_and_the_completions_are_printed() {
    let schema = json(&["schema"]);
    // The whole file's shape stands at the root, or where the root refers to.
    let file = schema["$ref"]
        .as_str()
        .and_then(|path| path.strip_prefix('#'))
        .and_then(|path| schema.pointer(path));
    let file = file.unwrap_or(&schema);
    assert_eq!(file["type"], "object", "{schema}");
    for key in ["listeners", "backends", "routes", "rollouts", "admin", "state"] {
        assert!(file["properties"][key].is_object(), "{key}");
    }
    let script = check(&["completions", "bash"], 0);
    assert!(script.contains("serin") && script.contains("rollout"), "{script}");
    check(&["completions", "dos"], 2);
    assert!(check(&["--version"], 0).contains(env!("CARGO_PKG_VERSION")));
    check(&["--help"], 0);
}
