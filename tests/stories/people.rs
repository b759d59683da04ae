//! People have names, tokens and roles: who may come in, who may do what, and whose word opens a gate.

use std::fs;
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;
use std::thread;

use aws_lc_rs::digest::{SHA256, digest};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Backend, Client, Load, Options, Response, Serin, binary, pair, rollout, wait_until};

/// Each `name: roles`; the token of `ann` is `ann-token`, unless another one stands behind her name and a `/`.
pub fn tokens(people: &[&str]) -> String {
    let person = |text: &&str| {
        let (who, roles) = text.split_once(": ").expect("a name and roles");
        let (name, token) = match who.split_once('/') {
            Some((name, token)) => (name, token.to_owned()),
            None => (who, format!("{who}-token")),
        };
        let hash: String = digest(&SHA256, token.as_bytes())
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("- {{ name: {name}, hash: \"sha256:{hash}\", roles: [{roles}] }}\n")
    };
    format!("tokens:\n{}", people.iter().map(person).collect::<String>())
}

fn write_over(file: &Path, text: &str) {
    let fresh = file.with_extension("fresh");
    fs::write(&fresh, text).expect("the directory can be written");
    fs::rename(&fresh, file).expect("a rename");
}

/// A Serin with these people, whose own calls are those of `olga`, an operator.
fn with_people(people: &[&str], body: &str) -> Serin {
    let dir = TempDir::new().expect("a temporary directory");
    let everybody: Vec<&str> = people.iter().copied().chain(["olga: operator"]).collect();
    fs::write(dir.path().join("tokens.yaml"), tokens(&everybody)).expect("a file");
    let options = Options {
        token: Some("olga-token"),
        ..Options::default()
    };
    Serin::in_dir(dir, options, body)
}

fn as_person(serin: &Serin, token: &str, method: &str, target: &str) -> Response {
    let bearer = format!("Bearer {token}");
    serin.admin_with(method, target, &[("authorization", &bearer)], "")
}

#[track_caller]
fn check(serin: &Serin, token: &str, call: &str, status: u16) -> Value {
    let (method, target) = call.split_once(' ').expect("a method and a path");
    let response = as_person(serin, token, method, target);
    assert_eq!(response.status, status, "{token}: {call}: {}", response.text());
    response.json()
}

fn cli(serin: &Serin, arguments: &[&str]) -> Output {
    let output = binary().args(arguments).args(["--admin", &serin.admin_url()]).output();
    output.expect("the binary is built")
}

const STEPS: &str = "[{ setWeight: 50%, bakeTime: 1h }, { setWeight: 100% }]";

#[test]
fn only_people_come_in_and_only_their_roles_let_them_do_more() {
    let app = Backend::ok("x");
    let body = pair(app.address(), app.address(), (100, 0)) + &rollout("{ minRequests: 20 }", STEPS);
    let serin = with_people(&["vic: viewer", "ada: approver", "max: admin"], &body);
    for target in ["/livez", "/readyz", "/metrics"] {
        let open = serin.admin_with("GET", target, &[("authorization", "none")], "");
        assert_eq!(open.status, 200, "{target}");
    }
    let refused = as_person(&serin, "wrong", "GET", "/v1/status");
    assert_eq!(
        (refused.status, refused.head.get("www-authenticate")),
        (401, Some("Bearer realm=\"serin\""))
    );

    check(&serin, "vic-token", "GET /v1/rollouts/shop", 200);
    let detail = check(&serin, "vic-token", "POST /v1/rollouts/shop/start", 403)["detail"].to_string();
    assert!(detail.contains("operator or admin; vic has viewer"), "{detail}");
    check(&serin, "ada-token", "POST /v1/rollouts/shop/start", 403);
    check(&serin, "olga-token", "POST /v1/rollouts/shop/start", 200);
    check(&serin, "ada-token", "POST /v1/rollouts/shop/abort", 200);
    check(&serin, "max-token", "POST /v1/rollouts/shop/retry", 200);
    let rollout = serin.rollout();
    let history = rollout["history"].as_array().expect("a list");
    let names: Vec<&str> = history.iter().filter_map(|event| event["by"].as_str()).collect();
    for name in ["olga", "ada", "max"] {
        assert!(names.contains(&name), "{names:?}");
    }

    assert_eq!(cli(&serin, &["status"]).status.code(), Some(1));
    assert_eq!(cli(&serin, &["status", "--token", "vic-token"]).status.code(), Some(0));
    let by_environment = binary()
        .args(["rollout", "pause", "shop", "--admin", &serin.admin_url()])
        .env("SERIN_TOKEN", "max-token")
        .output()
        .expect("the binary is built");
    assert_eq!(by_environment.status.code(), Some(0), "{by_environment:?}");
    let everything = serin.log();
    assert!(!everything.contains("-token"), "no token is in the log: {everything}");
}

#[test]
fn tokens_are_changed_by_their_file_alone_and_a_bad_one_changes_nothing() {
    let app = Backend::ok("x");
    let serin = with_people(&["ann: viewer"], &pair(app.address(), app.address(), (100, 0)));
    let file = serin.dir().join("tokens.yaml");
    let comes_in = |token: &str| as_person(&serin, token, "GET", "/v1/status").status == 200;
    assert!(comes_in("ann-token"));

    write_over(&file, &tokens(&["ann/fresh: viewer", "olga: operator"]));
    wait_until("the new token opens", || comes_in("fresh"));
    assert!(!comes_in("ann-token"));

    // A secret where its hash belongs: refused, not shown, and everybody stays who they were.
    write_over(&file, "tokens:\n- { name: ann, hash: open-sesame, roles: [viewer] }\n");
    wait_until("the refusal is told", || serin.status()["lastReload"]["ok"] == false);
    let problem = serin.status()["lastReload"]["problems"][0].to_string();
    assert!(
        problem.contains("tokens.yaml:2:") && problem.contains("sha256sum"),
        "{problem}"
    );
    assert!(!problem.contains("sesame") && !serin.log().contains("sesame"));
    assert!(comes_in("fresh") && comes_in("olga-token"));

    // Both files are wrong: both are told at once.
    serin.write("nonsense: 1\n");
    let refused = serin.reload();
    assert_eq!(refused.status, 422);
    let text = refused.text();
    assert!(text.contains("nonsense") && text.contains("sha256sum"), "{text}");

    serin.write(&pair(app.address(), app.address(), (100, 0)));
    write_over(&file, &tokens(&["max: admin", "olga: operator"]));
    wait_until("a good file is live again", || comes_in("max-token"));
    assert!(!comes_in("fresh"));
    let events = serin.log();
    assert!(
        events.contains("max is new as admin") && events.contains("ann is gone"),
        "{events}"
    );
}

const GATE: &str = "[{ gate: { approvals: { count: 2, roles: [releaseManager, sre] } } }, { setWeight: 100% }]";

#[test]
fn a_gate_may_name_any_role_that_may_approve_and_no_other() {
    let app = Backend::ok("x");
    let gates = "[{ gate: { approvals: { roles: [operator] } } }, { gate: { approvals: { roles: [admin] } } }, \
                 { setWeight: 100%, bakeTime: 1h }]";
    let body = pair(app.address(), app.address(), (100, 0)) + &rollout("{ minRequests: 20 }", gates);
    let serin = with_people(&["max: admin", "vic: viewer, sre"], &body);
    let approve = "POST /v1/rollouts/shop/approve";
    serin.tell("start");
    let waits_for = |role: &str| {
        let waits = || serin.rollout()["waiting"].as_str().unwrap_or_default().to_owned();
        wait_until(role, || waits().contains(&format!("still to come: {role}")));
    };
    waits_for("operator");
    check(&serin, "max-token", approve, 403);
    check(&serin, "vic-token", approve, 403);
    check(&serin, "olga-token", approve, 200);
    waits_for("admin");
    check(&serin, "olga-token", approve, 403);
    check(&serin, "max-token", approve, 200);
    wait_until("it has weight", || serin.share("canary") > 0.0);
    serin.write(&body.replace("[operator]", "[viewer]"));
    let refused = serin.reload().problem(422).to_string();
    assert!(
        refused.contains("may only read, so that nobody could approve as one"),
        "{refused}"
    );
}

#[test]
fn a_gate_opens_when_two_people_with_their_roles_have_approved() {
    let app = Backend::ok("x");
    let body = pair(app.address(), app.address(), (100, 0)) + &rollout("{ minRequests: 20 }", GATE);
    let serin = with_people(&["ann: sre", "bob: releaseManager, viewer", "ada: approver"], &body);
    let _load = Load::start(serin.address(), 2, "/");
    let approve = "POST /v1/rollouts/shop/approve";
    check(&serin, "ann-token", approve, 409);
    let start = [
        "rollout",
        "start",
        "shop",
        "--commit-time",
        "2020-01-01T00:00:00Z",
        "--token",
        "olga-token",
    ];
    let started = cli(&serin, &start);
    assert_eq!(started.status.code(), Some(0), "{started:?}");
    let waits = || serin.rollout()["waiting"].as_str().unwrap_or_default().to_owned();
    wait_until("it waits", || waits().contains("0 of 2 approvals"));
    // Nobody with these roles is asked, and nobody goes round the gate.
    check(&serin, "olga-token", approve, 403);
    check(&serin, "ada-token", approve, 403);
    check(&serin, "olga-token", "POST /v1/rollouts/shop/promote", 409);
    for _ in 0..2 {
        check(&serin, "ann-token", approve, 200);
        assert_eq!(waits(), "1 of 2 approvals, still to come: releaseManager");
    }
    assert_eq!(serin.rollout()["approvals"][0]["by"], "ann");
    assert_eq!(serin.rollout()["plan"][0]["kind"], "approvals");

    let tag = format!("\"{}\"", serin.generation() + 7);
    let fields = [("authorization", "Bearer bob-token"), ("if-match", &*tag)];
    let stale = serin.admin_with("POST", "/v1/rollouts/shop/approve", &fields, "");
    assert_eq!(stale.status, 412, "{}", stale.text());
    let line = [
        "rollout",
        "approve",
        "shop",
        "--reason",
        "the numbers are good",
        "--token",
        "bob-token",
    ];
    let approved = cli(&serin, &line);
    assert_eq!(approved.status.code(), Some(0), "{approved:?}");
    serin.until_phase("succeeded");
    let history = serin.rollout()["history"].to_string();
    for part in ["\"ann\"", "\"bob\"", "the numbers are good"] {
        assert!(history.contains(part), "{part}: {history}");
    }
    let file = serin.file().display().to_string();
    let report = binary()
        .args(["report", "-c", &file, "--output", "json"])
        .current_dir(serin.dir())
        .output()
        .expect("the binary is built");
    let report: Value = serde_json::from_slice(&report.stdout).unwrap_or_else(|e| panic!("{e}: {report:?}"));
    let shop = &report["routes"]["shop"];
    assert_eq!(
        (&shop["deployments"], &shop["changeFailureRate"]),
        (&1.into(), &0.0.into()),
        "{report}"
    );
    let six_years = 6.0 * 365.0 * 86_400.0;
    assert!(
        shop["leadTime"]["median"].as_f64().is_some_and(|lead| lead > six_years),
        "{report}"
    );
}

#[test]
fn a_gate_that_nobody_in_the_file_can_open_is_refused() {
    let app = Backend::ok("x");
    let body = pair(app.address(), app.address(), (100, 0)) + &rollout("{ minRequests: 20 }", GATE);
    let dir = TempDir::new().expect("a temporary directory");
    let (file, people) = (dir.path().join("serin.yaml"), dir.path().join("tokens.yaml"));
    let text = format!(
        "version: 1\nlisteners: [{{ name: public, address: \"127.0.0.1:0\" }}]\n\
         admin: {{ address: \"127.0.0.1:0\", tokensFile: tokens.yaml }}\n{body}"
    );
    fs::write(&file, text).expect("a file");
    let check = |list: &[&str], code: i32, part: &str| {
        fs::write(&people, tokens(list)).expect("a file");
        let output = binary().arg("check").arg(&file).output().expect("the binary is built");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(part), "{said}");
    };
    check(&["ann: sre", "bob: releaseManager"], 0, "ok (");
    check(
        &["ann: sre", "max: admin"],
        3,
        "nobody in the tokens file holds the role releaseManager",
    );
    check(&["ann: 'sre, releaseManager'"], 3, "roles");
    check(&["ann: sre, releaseManager"], 3, "1 of 2 approvals");
}

#[test]
fn frozen_nothing_moves_forward_and_an_abort_still_works() {
    let app = Backend::ok("x");
    let steps = "[{ setWeight: 10%, bakeTime: 100ms }, { setWeight: 100% }]";
    let body = pair(app.address(), app.address(), (100, 0)) + &rollout("{ minRequests: 20 }", steps);
    let serin = with_people(&["vic: viewer"], &body);
    let _load = Load::start(serin.address(), 2, "/");
    check(&serin, "vic-token", "POST /v1/freeze", 403);
    let line = ["freeze", "--reason", "black friday", "--token", "olga-token"];
    assert_eq!(cli(&serin, &line).status.code(), Some(0));
    let frozen = check(&serin, "vic-token", "GET /v1/freeze", 200);
    assert_eq!(
        (&frozen["by"], &frozen["reason"]),
        (&"olga".into(), &"black friday".into())
    );
    check(&serin, "olga-token", "POST /v1/rollouts/shop/start", 409);
    assert_eq!(
        cli(&serin, &["unfreeze", "--token", "olga-token"]).status.code(),
        Some(0)
    );
    serin.tell("start");
    check(&serin, "olga-token", "POST /v1/freeze", 200);
    serin.tell("abort");
    assert_eq!(serin.phase(), "aborted");
}

#[test]
fn who_waits_for_a_release_begins_before_it_is_there() {
    let app = Backend::ok("x");
    let body = |release: &str| {
        let backends = pair(app.address(), app.address(), (100, 0));
        let named = backends.replacen("{ name: v2,", &format!("{{ name: v2, release: {release},"), 1);
        assert_ne!(named, backends);
        let steps = "[{ setWeight: 50%, bakeTime: 100ms }, { setWeight: 100% }]";
        named + &rollout("{ minRequests: 20 }", steps).replace("steps:", "autoStart: onReleaseChange, steps:")
    };
    let serin = Serin::start(&body("r1"));
    let _load = Load::start(serin.address(), 2, "/");
    assert_eq!(cli(&serin, &["rollout", "wait", "shop"]).status.code(), Some(7));
    let admin = serin.admin_url();
    let waiting = thread::spawn(move || {
        let line = [
            "rollout",
            "wait",
            "shop",
            "--release",
            "r2",
            "--timeout",
            "60s",
            "--admin",
            &admin,
        ];
        binary().args(line).output().expect("the binary is built")
    });
    serin.write(&body("r2"));
    let ended = waiting.join().expect("it ends");
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(serin.phase(), "succeeded");
}

#[test]
fn a_watched_rollout_is_drawn_again_when_it_changes_until_ctrl_c() {
    let app = Backend::ok("x");
    let body = pair(app.address(), app.address(), (100, 0)) + &rollout("{ minRequests: 20 }", STEPS);
    let serin = Serin::start(&body);
    let paper = serin.dir().join("paper");
    let drawn = || fs::read_to_string(&paper).unwrap_or_default();
    let mut watching = binary()
        .args(["rollout", "get", "shop", "--watch", "--admin", &serin.admin_url()])
        .stdout(fs::File::create(&paper).expect("a file"))
        .spawn()
        .expect("the binary is built");
    wait_until("it is drawn", || drawn().contains("phase    idle ○"));
    serin.tell("start");
    wait_until("it is drawn again", || drawn().contains("phase    progressing ●"));
    serin.tell("pause");
    wait_until("and again", || drawn().contains("phase    paused ‖"));
    let pid = i32::try_from(watching.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process id"), Signal::INT).expect("it is ours, and not waited for");
    assert_eq!(watching.wait().expect("it is our child").code(), Some(0));
    assert!(drawn().matches("shop: route shop").count() >= 3, "{}", drawn());
    assert!(!drawn().contains('\x1b'), "{}", drawn());
}

#[test]
fn a_picture_for_a_pipe_has_no_escapes() {
    let app = Backend::ok("x");
    let body = pair(app.address(), app.address(), (100, 0)) + &rollout("{ minRequests: 20 }", STEPS);
    let serin = Serin::start(&body);
    serin.tell("start");
    let output = cli(&serin, &["rollout", "get", "shop"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("├─ ● 1: 50 %") && text.contains("└─ ○ 2: 100 %"),
        "{text}"
    );
    assert!(!text.contains('\x1b'), "{text}");
}

/// More connections that have sent `bytes`, beside those of `open` that are still there.
fn crowd(address: SocketAddr, count: usize, bytes: &str, open: &mut Vec<Client>) {
    for _ in 0..count {
        let mut client = Client::connect(address);
        // The place may be given away while we speak.
        client.wire().send(bytes.as_bytes()).ok();
        client.stream().set_nonblocking(true).expect("a socket");
        open.push(client);
        if open.len() >= 300 {
            // What was answered is read away.
            let still_open = |client: &mut Client| loop {
                match client.stream().read(&mut [0; 4096]) {
                    Ok(1..) => {}
                    Ok(0) => return false,
                    Err(error) => return error.kind() == ErrorKind::WouldBlock,
                }
            };
            wait_until("some had to go", || {
                open.retain_mut(still_open);
                open.len() < 300
            });
        }
    }
}

#[test]
fn connections_on_which_nothing_is_asked_keep_nobody_out() {
    let app = Backend::ok("x");
    let body = pair(app.address(), app.address(), (100, 0)) + &rollout("{ minRequests: 20 }", STEPS);
    let serin = with_people(&["ada: approver"], &body);
    let mut reader = Client::connect(serin.admin_address());
    reader.send(format!(
        "GET /v1/events HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer ada-token\r\n\r\n",
        serin.admin_address()
    ));
    let head = reader.wire().head().expect("a head").expect("no close");
    assert_eq!(head.status().ok(), Some(200));
    serin.tell("start");
    let mut open = Vec::new();
    let ask = |call: &str, more: &str| format!("{call} HTTP/1.1\r\nhost: {}\r\n{more}", serin.admin_address());
    // Idle, within a head, with a body that never comes, and idle again behind an answer.
    for (count, bytes) in [
        (600, String::new()),
        (300, "POST /v1/rollouts/shop/abort HTTP/1.1\r\nhost: ".to_owned()),
        (300, ask("POST /v1/rollouts/shop/abort", "content-length: 9\r\n\r\n")),
        (300, ask("GET /livez", "\r\n")),
        // Far more than the sockets take, and nothing of it is read before the end.
        (290, ask("GET /metrics", "\r\n").repeat(300)),
    ] {
        crowd(serin.admin_address(), count, &bytes, &mut open);
    }
    assert!(open.len() > 200, "there is a crowd: {}", open.len());
    check(&serin, "ada-token", "POST /v1/rollouts/shop/abort", 200);
    wait_until("who reads events has stayed", || {
        reader.wire().line().expect("the stream goes on").contains("aborted")
    });
}
