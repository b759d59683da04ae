//! Calls about flags, against a fake control and a real table.

use std::sync::Arc;

use http::header;
use serde_json::{Value, json};

use super::context_of;
use crate::admin::fake::Fake;
use crate::admin::tests::{ok, problem, send, text};
use crate::name::Name;
use crate::ofrep::BODY_BYTES_MAX;
use crate::people::{Token, TokenHash, Tokens};
use crate::rollout::Phase;
use crate::route::{Facts, Origin};

fn parameters(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[track_caller]
fn check(query: &str, origin: Origin, name: &str, expected: &[&str]) {
    let mut seen = Vec::new();
    context_of(parameters(query)).unwrap().any(origin, name, |value| {
        seen.push(String::from_utf8(value.to_vec()).unwrap());
        false
    });
    assert_eq!(seen, expected, "{query}");
}

#[track_caller]
fn refused(query: &str, field: &str) {
    let errors = context_of(parameters(query)).unwrap_err();
    assert_eq!(errors[0].path, field, "{query}");
}

#[test]
fn a_query_describes_who_asks() {
    check("header.X-Beta=a&header.X-Beta=b", Origin::Header, "x-beta", &["a", "b"]);
    check("cookie.uid=a&query.uid=b", Origin::Query, "uid", &["b"]);
    check("claim.realm.role=x", Origin::Claim, "realm.role", &["x"]);
    check("attribute.plan=gold", Origin::Attribute, "plan", &["gold"]);
    check("clientCertificate=bot", Origin::ClientCertificate, "", &["bot"]);
    check("key=alice", Origin::Attribute, "targetingKey", &["alice"]);
    check("", Origin::Attribute, "targetingKey", &[]);
}

#[test]
fn what_is_no_parameter_is_named() {
    refused("keys=alice", "keys");
    refused("key=a&key=b", "key");
    refused("header.=a", "header.");
    refused("header=a", "header");
    refused("attribute.host=a&host=b&attribute.host=c", "host");
    refused("clientIp=here", "");
}

const ASK: &str = "POST /ofrep/v1/evaluate/flags";

/// What applications are answered.
async fn asked(fake: &Fake, line: &str, body: &str, status: u16) -> Value {
    let response = send(fake, line, &[], body.to_owned()).await;
    assert_eq!(response.status(), status, "{line} {body:.80}");
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    serde_json::from_str(&text(response).await).unwrap()
}

#[tokio::test]
async fn applications_ask_for_one_flag_or_for_all() {
    let fake = Fake::start();
    let body = json!({"context": {"targetingKey": "alice"}}).to_string();
    let one = asked(&fake, &format!("{ASK}/dark-mode"), &body, 200).await;
    let expected = json!({"key": "dark-mode", "reason": "SPLIT", "variant": "off", "value": false,
        "metadata": {"generation": 42}});
    assert_eq!(one, expected);
    let response = send(&fake, ASK, &[], body.clone()).await;
    let tag = response.headers()[header::ETAG].to_str().unwrap().to_owned();
    let all: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(all["flags"][1], expected);
    let again = send(&fake, ASK, &[("if-none-match", &tag)], body).await;
    assert_eq!(
        (again.status().as_u16(), again.headers()[header::ETAG].to_str().unwrap()),
        (304, &*tag)
    );
    assert_eq!(text(again).await, "");
}

#[tokio::test]
async fn applications_are_told_what_is_wrong_in_their_own_words() {
    let fake = Fake::start();
    let one = &format!("{ASK}/dark-mode");
    assert_eq!(asked(&fake, one, "{", 400).await["errorCode"], "PARSE_ERROR");
    assert_eq!(asked(&fake, one, "{}", 400).await["errorCode"], "TARGETING_KEY_MISSING");
    assert_eq!(
        asked(&fake, &format!("{ASK}/no"), "{}", 404).await["errorCode"],
        "FLAG_NOT_FOUND"
    );
    let large = " ".repeat(BODY_BYTES_MAX + 1);
    assert_eq!(asked(&fake, one, &large, 413).await["errorCode"], "GENERAL");
    assert_eq!(asked(&fake, ASK, &large, 413).await["errorCode"], "GENERAL");
    let response = send(&fake, "GET /ofrep/v1/evaluate/flags", &[], "").await;
    assert_eq!(
        (response.status().as_u16(), response.headers()[header::ALLOW].as_bytes()),
        (405, &b"POST"[..])
    );
}

#[tokio::test]
async fn flags_are_shown_and_changed() {
    let fake = Fake::start();
    let list = ok(&fake, "GET /v1/flags", "").await;
    assert_eq!(list["flags"][0]["key"], "dark-mode");
    let response = send(&fake, "GET /v1/flags/dark-mode", &[], "").await;
    assert_eq!(response.headers()[header::ETAG], "\"42\"");
    let one: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(
        one,
        json!({"key": "dark-mode", "route": null, "generation": 42, "enabled": true,
            "schedule": {"enabled": true, "enableAt": null, "disableAt": "2026-11-21T12:00:13.042Z"}, "byHand": null,
            "userKey": "the targeting key", "stickyCookie": null, "prerequisites": [], "heldBy": null,
            "defaultVariant": "off", "variants": [{"name": "off", "value": false, "weight": 90, "share": 0.9},
            {"name": "on", "value": true, "weight": 10, "share": 0.1}], "cohorts": ["staff"], "rollout": null})
    );

    let off = ok(
        &fake,
        "POST /v1/flags/dark-mode/disable?dryRun=true",
        r#"{"reason":"smoke"}"#,
    )
    .await;
    assert_eq!((&off["enabled"], &off["byHand"]["by"]), (&json!(false), &json!("ann")));
    assert_eq!(ok(&fake, "POST /v1/flags/dark-mode/enable", "").await["generation"], 43);
    let body = r#"{"weights":{"off":1,"on":1},"reason":"half"}"#;
    assert_eq!(
        ok(&fake, "PUT /v1/flags/dark-mode/weights", body).await["generation"],
        43
    );
    let told = fake.told.lock().unwrap().clone();
    assert_eq!(told[0], r#"dark-mode false "smoke" by api at None, true"#);
    assert_eq!(told[1], r#"dark-mode true "" by api at None, false"#);
    assert!(told[2].contains(r#"reason: "half""#), "{told:?}");
}

#[tokio::test]
async fn what_cannot_be_changed_is_refused_in_order() {
    let fake = Fake::start();
    for line in [
        "POST /v1/flags/no/enable?x=1",
        "POST /v1/flags/no/disable",
        "PUT /v1/flags/no/weights",
    ] {
        problem(&fake, line, &[("if-match", "\"41\"")], "[", 404).await;
    }
    problem(&fake, "GET /v1/flags/no", &[], "", 404).await;
    problem(&fake, "GET /v1/flags/no/evaluate?x=1", &[], "", 404).await;
    let disable = "POST /v1/flags/dark-mode/disable";
    problem(&fake, disable, &[("if-match", "\"41\"")], r#"{"why":1}"#, 422).await;
    problem(&fake, disable, &[("if-match", "\"41\"")], r#"{"reason":"now"}"#, 412).await;
    problem(&fake, disable, &[("if-match", "\"42\"")], r#"{"reason":"now"}"#, 409).await;
    problem(&fake, &format!("{disable}?dryrun=true"), &[], "", 422).await;
    problem(
        &fake,
        disable,
        &[],
        &json!({"reason": "x".repeat(1001)}).to_string(),
        422,
    )
    .await;
    problem(&fake, "POST /v1/flags/dark-mode/toggle", &[], "", 404).await;
    problem(&fake, "POST /v1/flags/dark-mode/weights", &[], "", 405).await;
    problem(&fake, "PUT /v1/flags/dark-mode/weights", &[], "{}", 422).await;
}

#[tokio::test]
async fn an_evaluation_explains_itself() {
    let fake = Fake::start();
    let evaluation = ok(
        &fake,
        "GET /v1/flags/new-checkout/evaluate?key=alice&header.X-Staff=yes",
        "",
    )
    .await;
    assert_eq!(
        evaluation,
        json!({"key": "new-checkout", "route": "checkout", "generation": 42, "variant": "canary", "value": "canary",
            "reason": "TARGETING_MATCH", "cohort": "staff", "why": "cohort staff: canary", "seenKey": "alice",
            "hash": evaluation["hash"], "bucket": evaluation["bucket"], "byChance": false, "prerequisites": [],
            "cohorts": [{"name": "staff", "matched": true, "unmet": null}]})
    );
    let cohorts = async |query: &str| {
        let line = format!("GET /v1/flags/new-checkout/evaluate?key=alice{query}");
        ok(&fake, &line, "").await["cohorts"].clone()
    };
    let staff = |why: &str| json!({"name": "staff", "matched": false, "unmet": why});
    assert_eq!(cohorts("").await, json!([staff("the header x-staff is not there")]));
    let no = "&header.x-staff=no";
    assert_eq!(cohorts(no).await, json!([staff("the header x-staff is not yes")]));
    fake.phases.lock().unwrap()[0] = Phase::Aborted;
    let aborted = |cohort| json!({"name": cohort, "matched": false, "unmet": "the rollout checkout aborted canary"});
    assert_eq!(
        cohorts(no).await,
        json!([
            aborted("press"),
            staff("the header x-staff is not yes"),
            aborted("beta")
        ])
    );
    let matched = json!({"name": "staff", "matched": true, "unmet": null});
    assert_eq!(cohorts("&header.x-staff=yes").await, json!([aborted("press"), matched]));
    let checkout = ok(&fake, "GET /v1/flags/new-checkout", "").await;
    assert_eq!(checkout["userKey"], "the header x-user-id");
    assert_eq!(
        checkout["prerequisites"],
        json!([{"flag": "dark-mode", "variant": "on"}])
    );
    assert_eq!(checkout["heldBy"], "dark-mode");
    let beta = ok(&fake, "GET /v1/flags/beta/evaluate?key=alice", "").await;
    assert_eq!(
        beta["prerequisites"],
        json!([{"flag": "dark-mode", "wanted": "on", "answered": "off"}])
    );
    let document = problem(&fake, "GET /v1/flags/beta/evaluate?user=alice", &[], "", 422).await;
    assert_eq!(document["errors"][0]["field"], "user");
    problem(&fake, "GET /v1/flags/beta/evaluate?clientIp=here", &[], "", 422).await;
}

#[tokio::test]
async fn roles_say_who_may_ask_and_who_may_switch() {
    let fake = Fake::start();
    let person = |name: &str, role: &str| Token {
        name: Name::new(name).unwrap(),
        hash: TokenHash::of(name),
        roles: vec![role.to_owned()],
    };
    let people = vec![
        person("vic", "viewer"),
        person("olga", "operator"),
        person("ada", "approver"),
    ];
    fake.tokens.send_replace(Some(Arc::new(Tokens::new(people).unwrap())));
    let ask = format!("{ASK}/theme");
    for (who, line, status) in [
        ("nobody", ask.as_str(), 401),
        ("vic", &ask, 200),
        ("vic", "GET /v1/flags", 200),
        ("vic", "GET /v1/flags/beta/evaluate", 200),
        ("vic", "POST /v1/flags/dark-mode/disable", 403),
        ("ada", "POST /v1/flags/dark-mode/disable", 200),
        ("ada", "POST /v1/flags/dark-mode/enable", 403),
        ("ada", "PUT /v1/flags/dark-mode/weights", 403),
        ("olga", "POST /v1/flags/dark-mode/enable", 200),
    ] {
        let bearer = format!("Bearer {who}");
        let body = if line == ask { "{}" } else { "" };
        let response = send(&fake, line, &[("authorization", &bearer)], body).await;
        assert_eq!(response.status(), status, "{who}: {line}");
    }
}
