//! Flags are seen and changed: by the API and the command line, by those who may, and so that it lasts.

use std::fs;
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{Backend, Client, Options, Serin, binary, pair_with, wait_until};
use crate::people::tokens;

const SPLIT: &str = "    flag: new-shop
    key: { header: x-user-id }
    cohorts: [{ name: staff, keys: [alice], variant: canary }]
";

const DARK: &str = "flags:\n- { name: dark-mode, defaultVariant: \"off\", variants: [{ name: \"off\", weight: 90, value: false }, \
     { name: \"on\", weight: 10, value: true }] }\n";

fn site(app: &Backend) -> String {
    pair_with(app.address(), app.address(), (50, 50), "", SPLIT) + DARK
}

fn cli(serin: &Serin, line: &str) -> Output {
    let output = binary()
        .args(line.split_whitespace())
        .args(["--admin", &serin.admin_url()])
        .output();
    output.expect("the binary is built")
}

#[track_caller]
fn check(serin: &Serin, line: &str, code: i32, part: &str) {
    let output = cli(serin, line);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert_eq!(output.status.code(), Some(code), "{line}: {text}");
    assert!(text.contains(part), "{line}: {text}");
}

fn variant(serin: &Serin, user: &str) -> String {
    let response = Client::connect(serin.address()).request("GET", "/", &[("x-user-id", user)], b"");
    response.variant().to_owned()
}

#[test]
fn a_flag_is_killed_at_once_and_stays_so() {
    let app = Backend::ok("x");
    let mut serin = Serin::start(&site(&app));
    let list = serin.api("GET", "/v1/flags", "");
    let keys: Vec<_> = list["flags"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|flag| &flag["key"])
        .collect();
    assert_eq!(keys, ["new-shop", "dark-mode"]);
    assert_eq!(variant(&serin, "alice"), "canary");
    let before = serin.generation();

    let dry = serin.api("POST", "/v1/flags/new-shop/disable?dryRun=true", "");
    assert_eq!(
        (&dry["enabled"], variant(&serin, "alice").as_str()),
        (&json!(false), "canary")
    );
    let stale = serin.admin_with("POST", "/v1/flags/new-shop/disable", &[("if-match", "\"0\"")], "");
    assert_eq!((stale.status, &stale.json()["generation"]), (412, &json!(before)));

    let tag = format!("\"{before}\"");
    let off = serin.admin_with(
        "POST",
        "/v1/flags/new-shop/disable",
        &[("if-match", &tag)],
        r#"{"reason":"smoke"}"#,
    );
    assert_eq!(off.status, 200, "{}", off.text());
    let flag = off.json();
    assert_eq!(
        off.head.get("etag"),
        Some(format!("\"{}\"", flag["generation"]).as_str())
    );
    assert_eq!(
        (&flag["enabled"], &flag["byHand"]["reason"]),
        (&json!(false), &json!("smoke"))
    );
    assert!(
        ["alice", "bob", "eve"]
            .iter()
            .all(|user| variant(&serin, user) == "stable")
    );
    let records = serin.api("GET", "/v1/audit?limit=5", "");
    assert!(records.to_string().contains("smoke"), "{records}");

    serin.crash_and_restart();
    assert_eq!(variant(&serin, "alice"), "stable");
    assert_eq!(serin.api("GET", "/v1/flags/new-shop", "")["enabled"], false);
    serin.api("POST", "/v1/flags/new-shop/enable", r#"{"reason":"mended"}"#);
    assert_eq!(variant(&serin, "alice"), "canary");
}

#[test]
fn weights_of_a_flag_are_set_by_hand_and_those_of_a_route_are_the_routes() {
    let app = Backend::ok("x");
    let mut serin = Serin::start(&site(&app));
    let shares = |serin: &Serin, key: &str| -> Vec<f64> {
        let flag = serin.api("GET", &format!("/v1/flags/{key}"), "");
        let variants = flag["variants"].as_array().expect("a list");
        variants
            .iter()
            .map(|one| one["share"].as_f64().expect("a number"))
            .collect()
    };
    check(&serin, "flag set dark-mode on=75 off=25 --reason half", 0, "75 %");
    check(&serin, "flag set new-shop stable=20 canary=80", 0, "80 %");
    assert_eq!(
        (shares(&serin, "dark-mode"), serin.share("canary")),
        (vec![0.25, 0.75], 0.8)
    );
    for (body, field) in [
        (r#"{"weights":{"off":1}}"#, "weights.on"),
        (r#"{"weights":{"off":1,"on":1,"or":1}}"#, "weights.or"),
        (r#"{"weights":{"off":-1,"on":1}}"#, "weights.off"),
        (r#"{"weights":{"off":0,"on":0}}"#, "weights"),
    ] {
        let refused = serin.admin("PUT", "/v1/flags/dark-mode/weights", body);
        assert_eq!(refused.status, 422, "{body}");
        assert_eq!(refused.json()["errors"][0]["field"], field, "{body}");
    }
    serin.crash_and_restart();
    assert_eq!(
        (shares(&serin, "dark-mode"), serin.share("canary")),
        (vec![0.25, 0.75], 0.8)
    );
}

#[test]
fn the_command_line_shows_switches_and_explains() {
    let app = Backend::ok("x");
    let serin = Serin::start(&site(&app));
    check(&serin, "flag list", 0, "dark-mode");
    check(&serin, "flag get new-shop", 0, "new-shop: on, route shop");
    check(
        &serin,
        "flag evaluate new-shop --header x-user-id=alice",
        0,
        "cohort staff: canary",
    );
    check(
        &serin,
        "flag evaluate new-shop --key bob",
        0,
        "reason    SPLIT: the header x-user-id has bucket",
    );
    check(&serin, "flag evaluate dark-mode", 0, "chance    decided");
    check(&serin, "flag disable dark-mode --if-match 0", 7, "moved on");
    check(&serin, "flag disable dark-mode --reason smoke", 0, "dark-mode: OFF");
    check(
        &serin,
        "flag evaluate dark-mode --key bob",
        0,
        "DISABLED: the flag is off: everybody gets off",
    );
    check(&serin, "flag enable dark-mode", 0, "dark-mode: on");
    check(&serin, "flag get nobody", 1, "no flag");
    check(&serin, "flag evaluate new-shop --header x", 2, "NAME=VALUE");
    let explained = serin.api("GET", "/v1/flags/new-shop/evaluate?header.x-user-id=bob", "");
    assert_eq!(explained["variant"], variant(&serin, "bob"));
    assert_eq!(
        explained["cohorts"],
        json!([{"name": "staff", "matched": false, "unmet": "the key is not in its list"}])
    );
}

#[test]
fn while_all_is_frozen_flags_are_switched_off_and_not_on() {
    let app = Backend::ok("x");
    let serin = Serin::start(&site(&app));
    serin.api("POST", "/v1/freeze", r#"{"reason":"sale"}"#);
    serin.api("POST", "/v1/flags/new-shop/disable", "");
    let refused = serin.admin("POST", "/v1/flags/new-shop/enable", "");
    assert_eq!(refused.status, 409);
    assert!(refused.text().contains("frozen by api"), "{}", refused.text());
    assert_eq!(variant(&serin, "alice"), "stable");
    serin.api("DELETE", "/v1/freeze", "");
    serin.api("POST", "/v1/flags/new-shop/enable", "");
    wait_until("the flag is on again", || variant(&serin, "alice") == "canary");
}

#[test]
fn roles_say_who_may_see_ask_and_switch() {
    let app = Backend::ok("x");
    let dir = TempDir::new().expect("a temporary directory");
    let people = tokens(&["vic: viewer", "ada: approver", "olga: operator"]);
    fs::write(dir.path().join("tokens.yaml"), people).expect("a file");
    let options = Options {
        token: Some("vic-token"),
        ..Options::default()
    };
    let serin = Serin::in_dir(dir, options, &site(&app));
    let weights = r#"{"weights":{"off":1,"on":1}}"#;
    let alice = r#"{"context":{"targetingKey":"alice"}}"#;
    for (who, call, body, status) in [
        ("nobody", "POST /ofrep/v1/evaluate/flags", alice, 401),
        ("vic", "POST /ofrep/v1/evaluate/flags", alice, 200),
        ("vic", "POST /ofrep/v1/evaluate/flags/dark-mode", alice, 200),
        ("vic", "GET /v1/flags/dark-mode/evaluate?key=a", "", 200),
        ("vic", "POST /v1/flags/dark-mode/disable", "", 403),
        ("vic", "PUT /v1/flags/dark-mode/weights", weights, 403),
        ("ada", "POST /v1/flags/dark-mode/disable", "", 200),
        ("ada", "POST /v1/flags/dark-mode/enable", "", 403),
        ("olga", "POST /v1/flags/dark-mode/enable", "", 200),
        ("olga", "PUT /v1/flags/dark-mode/weights", weights, 200),
    ] {
        let (method, target) = call.split_once(' ').expect("a method and a path");
        let bearer = format!("Bearer {who}-token");
        let response = serin.admin_with(method, target, &[("authorization", &bearer)], body);
        assert_eq!(response.status, status, "{who}: {call}: {}", response.text());
    }
    let flag: Value = serin.api("GET", "/v1/flags/dark-mode", "");
    assert_eq!(
        (&flag["byHand"]["by"], &flag["byHand"]["enabled"]),
        (&json!("olga"), &json!(true))
    );
}
