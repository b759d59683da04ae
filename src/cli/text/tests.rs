//! How answers read.

use serde_json::{Value, json};

use super::{
    afterwards, counted, evidence, flag, flags, freeze, history, judgement, percent, problem, progress, rollout,
    rollouts, span, status, weights_set,
};

fn check(text: String, lines: &[&str]) {
    assert_eq!(text.lines().collect::<Vec<_>>(), lines, "\n{text}\n");
}

fn route() -> Value {
    json!({"name": "checkout", "generation": 43, "variants": [
        {"name": "stable", "backend": "v1", "release": null, "weight": 90, "share": 0.9, "requests": 0,
         "errorRate": null, "p95": null},
        {"name": "canary", "backend": "v2", "release": "v1.5.0", "weight": 10, "share": 0.1, "requests": 913,
         "errorRate": 0.0810514, "p95": 0.0125}]})
}

fn trial() -> Value {
    json!({"name": "checkout", "route": "checkout", "from": "stable", "to": "canary", "mode": "act",
        "phase": "progressing",
        "step": 1, "steps": 3, "stepWeights": [0.05, 0.25, 1.0], "since": "2026-11-21T12:00:13.042Z",
        "bakedSeconds": 1.5, "bakeSeconds": 7200.0, "share": 0.25, "verdict": "pass",
        "verdictReason": "errorRate 0.4 %", "evidence": {"windowSeconds": 1.5,
        "canary": {"requests": 1000, "failures": 4, "errorRate": 0.004}, "stable": null},
        "reason": "step 2\u{1b}[2J of 3", "history": [{"at": "2026-11-21T12:00:13.042Z", "kind": "rollout",
        "by": "serin", "from": "progressing", "to": "aborted", "reason": "two\nlines"}]})
}

#[test]
fn shares_and_spans_have_three_digits_that_count() {
    let percents = [
        (0.9, "90 %"),
        (0.081_051, "8.11 %"),
        (0.000_04, "0.004 %"),
        (1.0, "100 %"),
        (0.0, "0 %"),
    ];
    for (share, expected) in percents {
        assert_eq!(percent(&json!(share)), expected);
    }
    let spans = [
        (0.0, "0 s"),
        (0.0125, "12.5 ms"),
        (0.000_004, "0.004 ms"),
        (1.5, "1.5 s"),
        (59.9, "59.9 s"),
        (90.0, "1m30s"),
        (7200.0, "2h00m"),
        (90_000.0, "1d01h"),
    ];
    for (seconds, expected) in spans {
        assert_eq!(span(&json!(seconds)), expected);
    }
    assert_eq!((percent(&Value::Null), span(&json!("x"))), ("-".into(), "-".into()));
}

#[test]
fn weights_are_a_table() {
    check(
        weights_set(&route(), true),
        &[
            "checkout: generation 43 (dry run: nothing was changed)",
            "",
            "ROUTE     VARIANT  BACKEND  RELEASE  WEIGHT  SHARE  REQUESTS  ERRORS      P95",
            "checkout  stable   v1       -            90   90 %         0       -        -",
            "checkout  canary   v2       v1.5.0       10   10 %       913  8.11 %  12.5 ms",
        ],
    );
}

#[test]
fn a_rollout_tells_where_it_stands_and_why() {
    check(
        rollout(&trial()),
        &[
            "checkout: route checkout, from stable to canary",
            "phase    progressing, since 2026-11-21T12:00:13.042Z",
            "share    25 % of the split",
            "step     2 of 3 (25 %), baked 1.5 s of 2h00m",
            "verdict  pass: errorRate 0.4 %",
            "         canary: 4 of 1000 failed (0.4 %) in 1.5 s",
            "reason   step 2 [2J of 3",
        ],
    );
    check(
        rollouts(&json!({"rollouts": [trial()]})),
        &[
            "ROLLOUT   ROUTE     MODE  PHASE        STEP           SHARE  VERDICT  REASON",
            "checkout  checkout  act   progressing  2 of 3 (25 %)   25 %  pass     step 2 [2J of 3",
        ],
    );
    check(
        history(&trial()),
        &[
            "AT                        WHAT     BY     FROM         TO       REASON",
            "2026-11-21T12:00:13.042Z  rollout  serin  progressing  aborted  two lines",
        ],
    );
    check(
        progress(&trial()),
        &["checkout progressing step 2 of 3 (25 %) share 25 %: step 2 [2J of 3"],
    );
    let idle = json!({"name": "checkout", "phase": "idle", "step": null, "share": 0.0, "reason": "not started"});
    check(progress(&idle), &["checkout idle share 0 %: not started"]);
}

#[test]
fn a_brief_answer_says_what_is_waited_for() {
    let check = |waiting: Value, phase: &str, kind: &str, expected: Option<&str>| {
        let mut rollout = trial();
        (rollout["waiting"], rollout["phase"]) = (waiting, json!(phase));
        rollout["plan"] = json!([{"kind": "evidence", "state": "done"}, {"kind": kind, "state": "current"}]);
        let text = super::rollout(&rollout);
        let line = text.lines().find_map(|line| line.strip_prefix("waiting  "));
        assert_eq!(line, expected, "{text}");
    };
    let one = "1 of 2 approvals, still to come: releaseManager";
    check(json!(one), "progressing", "approvals", Some(one));
    let open = Some("nobody any more: the gate is open");
    check(Value::Null, "progressing", "approvals", open);
    check(Value::Null, "promoting", "approvals", open);
    check(Value::Null, "paused", "approvals", None);
    check(Value::Null, "progressing", "evidence", None);
}

#[test]
fn after_a_success_it_says_until_when_what_goes_on() {
    let promoted = json!({"phase": "succeeded", "standbyUntil": "2026-11-21T21:56:18.000Z", "watchUntil": null,
        "rollbackUntil": "2026-11-21T22:00:00.000Z"});
    let lines: Vec<String> = afterwards(&promoted)
        .into_iter()
        .map(|(label, line)| format!("{label}: {line}"))
        .collect();
    let expected = [
        "standby: the former version stands by until 2026-11-21T21:56:18.000Z",
        "rollback: possible until 2026-11-21T22:00:00.000Z",
    ];
    assert_eq!(lines, expected);
    assert!(afterwards(&trial()).is_empty());
}

#[test]
fn what_nobody_judges_is_not_shown_as_judged() {
    let check = |change: Value, expected: &str| {
        let mut rollout = trial();
        for (key, value) in change.as_object().unwrap() {
            rollout[key] = value.clone();
        }
        assert_eq!(judgement(&rollout)[0], expected, "{change}");
    };
    let none = json!({"canary": {"requests": 0, "failures": 0, "errorRate": null}});
    check(json!({}), "pass: errorRate 0.4 %");
    let yet = "nothing is judged yet: the canary has no weight";
    check(json!({"share": 0.0, "evidence": none}), yet);
    check(json!({"share": 0.0, "evidence": none, "phase": "paused"}), yet);
    // Cohorts vote without weight, and an abort leaves none.
    check(json!({"share": 0.0}), "pass: errorRate 0.4 %");
    check(
        json!({"share": 0.0, "evidence": none, "phase": "aborted"}),
        "pass: errorRate 0.4 %",
    );
    check(json!({"phase": "succeeded", "watchUntil": null}), "not judged any more");
    check(
        json!({"phase": "succeeded", "watchUntil": "2026-11-21T22:00:00.000Z"}),
        "pass: errorRate 0.4 %",
    );
    let mut rollout = trial();
    (rollout["verdict"], rollout["evidence"]) = (Value::Null, Value::Null);
    assert!(judgement(&rollout).is_empty());
}

#[test]
fn a_verdict_tells_both_sides_and_the_odds() {
    let check = |word: &str, level: &str, value: f64, expected: &[&str]| {
        let mut rollout = trial();
        (rollout["verdict"], rollout["from"]) = (json!(word), json!("blue"));
        let side = |bad, all, share, low, high| json!({"requests": all, "failures": bad, "errorRate": share, "bad": bad, "all": all, "share": share, "low": low, "high": high});
        rollout["evidence"] = json!({"metric": "errorRate", "level": level, "limit": 0.05, "windowSeconds": 40.0, "sinceSeconds": 12.5,
            "canary": side(74, 913, 0.081_051, 0.064_2, 0.100_7), "stable": side(33, 8217, 0.004_016, 0.002_77, 0.005_63),
            "statistic": {"value": value, "level": 1000.0}});
        assert_eq!(evidence(&rollout), expected);
    };
    let sides = [
        "canary: errorRate 8.11 % (6.42 % to 10.1 %, 74 of 913) in 12.5 s",
        "blue: errorRate 0.402 % (0.277 % to 0.563 %, 33 of 8217) in 12.5 s",
    ];
    check(
        "fail",
        "critical",
        1320.4,
        &[sides[0], sides[1], "evidence 1320 to 1 (1000 to 1 aborts)"],
    );
    check(
        "hold",
        "critical",
        2.5,
        &[sides[0], sides[1], "evidence 2.5 to 1 (1000 to 1 aborts)"],
    );
    check(
        "hold",
        "warn",
        4.2e15,
        &[sides[0], sides[1], "evidence 4.2e15 to 1 (1000 to 1 holds)"],
    );
    check(
        "pass",
        "critical",
        0.25,
        &[sides[0], sides[1], "evidence 0.25 to 1 (1000 to 1 passes)"],
    );
}

#[test]
fn a_share_is_named_after_what_it_counts() {
    let check = |metric: &str, expected: &str| assert_eq!(counted(&json!(metric)), expected);
    check("errorRate", "errorRate");
    check("successRate", "errorRate");
    check("errorRateRatio", "errorRate");
    check("latencyP95", "slow");
    check("latencyFactorP90", "slow");
    check("clientErrors", "clientErrors");
}

#[test]
fn who_only_observes_says_so() {
    let mut observed = trial();
    observed["mode"] = json!("observe");
    let text = rollout(&observed);
    let line = "mode     observe: judged and reported, nothing moves by itself";
    assert!(text.lines().any(|found| found == line), "{text}");
}

#[test]
fn a_status_tells_what_is_wrong() {
    let view = json!({"version": "0.1.0", "ready": false, "generation": 42, "uptimeSeconds": 3723.5,
        "configFile": "serin.yaml", "environment": "prod", "workers": 2,
        "listeners": [{"name": "public", "address": "127.0.0.1:8080", "tls": false}],
        "lastReload": {"ok": false, "at": "2026-11-21T12:00:13.042Z", "problems": [
            {"field": "routes.checkout.split", "detail": "adds up to 0", "place": "serin.yaml:3:5"},
            {"field": "", "detail": "line 6: is cut off", "place": "people/staff.txt"}]},
        "rollouts": [{"name": "checkout", "phase": "idle"}], "kept": ["checkout: stable=1"],
        "jwt": [{"issuer": "a", "keys": 2, "fetchedAt": "2026-11-21T12:00:13.042Z", "problem": null},
            {"issuer": "b", "keys": 2, "fetchedAt": "2026-11-21T12:00:13.042Z", "problem": "503"},
            {"issuer": "c", "keys": 0, "fetchedAt": null, "problem": "refused"}],
        "stateProblem": "disk full"});
    let hand = json!({"enabled": false, "by": "ann", "reason": "sale", "at": "2026-11-21T12:00:13.042Z"});
    let flags = json!({"flags": [
        {"key": "on", "enabled": true, "heldBy": null, "defaultVariant": "no", "byHand": null},
        {"key": "pay", "enabled": false, "heldBy": null, "defaultVariant": "no", "byHand": hand},
        {"key": "late", "enabled": false, "heldBy": null, "defaultVariant": "no", "byHand": null},
        {"key": "new", "enabled": true, "heldBy": "pay", "defaultVariant": "old", "byHand": null}]});
    check(
        status(&view, None, Some(&flags)),
        &[
            "serin 0.1.0, not ready, up 1h02m",
            "generation     42",
            "workers        2",
            "configuration  serin.yaml, REFUSED at 2026-11-21T12:00:13.042Z",
            "  serin.yaml:3:5 routes.checkout.split: adds up to 0",
            "  people/staff.txt: line 6: is cut off",
            "environment    prod",
            "state          CANNOT BE WRITTEN: disk full",
            "kept           checkout: stable=1",
            "jwt            b goes by keys of 2026-11-21T12:00:13.042Z: 503",
            "jwt            c has NO KEYS, nobody is believed: refused",
            "flag           pay is OFF, by ann at 2026-11-21T12:00:13.042Z: sale; everybody gets no",
            "flag           late is OFF; everybody gets no",
            "flag           new is held by pay; everybody gets old",
            "",
            "LISTENER  ADDRESS         TLS",
            "public    127.0.0.1:8080  no",
            "",
            "ROLLOUT   PHASE",
            "checkout  idle",
        ],
    );
}

#[test]
fn a_freeze_is_one_line() {
    let view = json!({"frozen": true, "by": "ann", "reason": "sale", "since": "2026-11-21T12:00:13.042Z"});
    let line = "since 2026-11-21T12:00:13.042Z by ann: sale; nothing moves forward, aborts still work";
    assert_eq!(freeze(&view), format!("frozen {line}"));
    assert_eq!(
        freeze(&json!({"frozen": false})),
        "not frozen: rollouts may move forward"
    );
    let text = status(&json!({"frozen": view}), None, None);
    assert!(text.contains(&format!("\nfrozen         {line}\n")), "{text}");
}

#[test]
fn many_routes_are_cut_short() {
    let routes = json!({"routes": vec![route(); 40]});
    let text = status(&json!({}), Some(&routes), None);
    assert!(text.ends_with("\nand 20 more: see GET /v1/routes"), "{text}");
}

#[test]
fn a_problem_names_its_fields() {
    let document = json!({"title": "Invalid request", "status": 422, "detail": "see `errors`",
        "errors": [{"field": "weights.a", "detail": "is missing"}]});
    check(
        problem(&document),
        &["Invalid request: see `errors`", "  weights.a: is missing"],
    );
}

#[test]
fn a_flag_tells_what_it_goes_by_and_what_holds_it() {
    let view = json!({"key": "new", "route": "shop", "enabled": true, "heldBy": "pay", "defaultVariant": "old",
        "prerequisites": [{"flag": "pay", "variant": "on"}], "userKey": "the header x-user-id",
        "stickyCookie": "serin-shop", "cohorts": ["staff"], "rollout": {"name": "shop", "phase": "aborted"},
        "variants": [{"name": "old", "value": "old", "weight": 1, "share": 1.0}]});
    check(
        flag(&view),
        &[
            "new: on, route shop",
            "needs     flag pay to answer on",
            "held      by flag pay: everybody gets the default",
            "key       the header x-user-id",
            "sticky    cookie serin-shop",
            "default   old",
            "cohorts   staff",
            "rollout   shop, aborted",
            "",
            "VARIANT  WEIGHT  SHARE  VALUE",
            "old           1  100 %  \"old\"",
        ],
    );
    check(
        flags(&json!({"flags": [view]})),
        &[
            "FLAG  ROUTE  STATE        DEFAULT  VARIANTS   COHORTS  ROLLOUT",
            "new   shop   held by pay  old      old 100 %  1        shop, aborted",
        ],
    );
}
