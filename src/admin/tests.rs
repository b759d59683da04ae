//! Every endpoint and every error, against a fake control.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures_util::StreamExt;
use http::{Request, Response, header};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::ServiceExt;

use super::fake::{Fake, audit_lines, event};
use super::{BODY_BYTES_MAX, REQUESTS_MAX, events, router};
use crate::name::Name;
use crate::people::{Token, TokenHash, Tokens};
use crate::rollout::Phase;

/// Long enough for any machine; nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(30);

fn app(fake: &Fake) -> Router {
    router(
        fake.handle.clone(),
        fake.context.clone(),
        ([127, 0, 0, 1], 9901).into(),
        fake.shutdown.subscribe(),
    )
}

pub(super) async fn send(fake: &Fake, line: &str, fields: &[(&str, &str)], body: impl Into<Body>) -> Response<Body> {
    let (method, target) = line.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(body.into()).unwrap();
    app(fake).oneshot(request).await.unwrap()
}

pub(super) async fn text(response: Response<Body>) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The answer's JSON, which must be 200.
pub(super) async fn ok(fake: &Fake, line: &str, body: &str) -> Value {
    let response = send(fake, line, &[], body.to_owned()).await;
    let status = response.status();
    let text = text(response).await;
    assert_eq!(status, 200, "{line}: {text}");
    serde_json::from_str(&text).unwrap()
}

/// The problem's document, which must have `status`.
pub(super) async fn problem(fake: &Fake, line: &str, fields: &[(&str, &str)], body: &str, status: u16) -> Value {
    let response = send(fake, line, fields, body.to_owned()).await;
    assert_eq!(response.status(), status, "{line} {body}");
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    let document: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(document["status"], status);
    for field in ["type", "title", "detail"] {
        assert!(
            document[field].as_str().is_some_and(|text| !text.is_empty()),
            "{document}"
        );
    }
    document
}

fn fields_of(document: &Value) -> Vec<&str> {
    let errors = document["errors"].as_array().unwrap();
    errors.iter().map(|error| error["field"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn probes_say_alive_and_ready() {
    let fake = Fake::start();
    assert_eq!(text(send(&fake, "GET /livez", &[], "").await).await, "alive\n");
    assert_eq!(send(&fake, "GET /readyz", &[], "").await.status(), 200);
    fake.context.ready.store(false, Ordering::Release);
    problem(&fake, "GET /readyz", &[], "", 503).await;
    assert_eq!(ok(&fake, "GET /v1/status", "").await["ready"], false);
    assert_eq!(send(&fake, "HEAD /livez", &[], "").await.status(), 200);
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let fake = Fake::start();
    let response = send(&fake, "GET /metrics", &[], "").await;
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert!(text(response).await.contains("\nserin_route_generation 42\n"));
}

#[tokio::test]
async fn status_shows_where_we_listen_and_how_the_last_reload_went() {
    let fake = Fake::start();
    fake.file_is_good.store(false, Ordering::Relaxed);
    let expected = json!({
        "version": env!("CARGO_PKG_VERSION"), "ready": true, "overloaded": false, "generation": 42, "uptimeSeconds": 3723.5,
        "configFile": "serin.yaml", "environment": "prod", "workers": 2,
        "listeners": [{"name": "public", "address": "127.0.0.1:8080", "tls": false, "certificates": [], "clientCa": null}],
        "admin": {"certificates": [{"names": ["serin.test", "192.0.2.7"], "notBefore": "2020-01-01T00:00:00.000Z",
            "notAfter": "2030-01-01T00:00:00.000Z", "file": "tls/admin.pem", "problem": "no certificate in it"}]},
        "lastReload": {"ok": false, "at": "2026-11-21T12:00:13.042Z", "problems": [
            {"field": "routes.checkout.split", "detail": "the weights add up to 0", "place": "serin.yaml:3:5"}]},
        "rollouts": [{"name": "checkout", "phase": "progressing"}], "kept": [], "stateProblem": null, "frozen": null,
        "jwt": [{"issuer": "https://id.example.com", "keys": 2, "fetchedAt": "2026-11-21T12:00:13.042Z", "problem": "the answer is 503, not 200"}],
    });
    assert_eq!(ok(&fake, "GET /v1/status", "").await, expected);
}

#[tokio::test]
async fn a_configuration_is_shown_checked_and_read_again() {
    let fake = Fake::start();
    let shown = send(&fake, "GET /v1/config", &[], "").await;
    assert_eq!(shown.headers()[header::CONTENT_TYPE], "application/yaml");
    assert_eq!(text(shown).await, r#"{"routes":[{"exact":"yes"}]}"#);

    assert_eq!(
        ok(&fake, "POST /v1/config/check", "version: 1").await,
        json!({"ok": true})
    );
    let refused = problem(&fake, "POST /v1/config/check", &[], "version: 2", 422).await;
    let error =
        json!([{"field": "routes.checkout.split", "detail": "the weights add up to 0", "place": "serin.yaml:3:5"}]);
    assert_eq!(refused["errors"], error);
    let not_text = send(&fake, "POST /v1/config/check", &[], vec![0xff]).await;
    assert_eq!(not_text.status(), 400);

    assert_eq!(ok(&fake, "POST /v1/config/reload", "").await["ok"], true);
    fake.file_is_good.store(false, Ordering::Relaxed);
    let refused = problem(&fake, "POST /v1/config/reload", &[], "", 422).await;
    assert_eq!(refused["errors"], error);
    problem(&fake, "POST /v1/config/reload", &[], r#"{"force":true}"#, 422).await;
}

#[tokio::test]
async fn routes_and_backends_are_listed_and_shown() {
    let fake = Fake::start();
    let route = ok(&fake, "GET /v1/routes/checkout", "").await;
    assert_eq!(ok(&fake, "GET /v1/routes", "").await, json!({"routes": [route]}));
    assert_eq!(route["variants"][1]["p95"], 0.0125);
    let tag = send(&fake, "GET /v1/routes/checkout", &[], "").await;
    assert_eq!(tag.headers()[header::ETAG], "\"42\"");
    let backend = json!({"name": "checkout-canary", "release": null, "endpoints": [{"address": "10.0.2.10:8080",
        "healthy": true, "ejected": false, "inFlight": 1, "connections": 4, "idle": 3}]});
    assert_eq!(ok(&fake, "GET /v1/backends/checkout-canary", "").await, backend);
    assert_eq!(ok(&fake, "GET /v1/backends", "").await, json!({"backends": [backend]}));
    let missing = problem(&fake, "GET /v1/routes/nope", &[], "", 404).await;
    assert_eq!(missing["detail"], "no route \"nope\"");
    problem(&fake, "GET /v1/backends/nope", &[], "", 404).await;
    problem(&fake, "GET /v1/routes/a%2Fb%0d%0a", &[], "", 404).await;
}

#[tokio::test]
async fn weights_by_hand_reach_control_with_all_their_conditions() {
    let fake = Fake::start();
    let body = r#"{"weights":{"stable":90,"canary":10},"reason":"calm"}"#;
    let line = "PUT /v1/routes/checkout/weights?dryRun=true";
    let dry = send(&fake, line, &[("if-match", "\"42\"")], body).await;
    assert_eq!(
        (dry.status().as_u16(), &dry.headers()[header::ETAG]),
        (200, &"\"42\"".parse().unwrap())
    );
    let done = send(&fake, "PUT /v1/routes/checkout/weights", &[], body).await;
    assert_eq!(done.headers()[header::ETAG], "\"43\"");
    assert_eq!(
        serde_json::from_str::<Value>(&text(done).await).unwrap()["generation"],
        43
    );

    let told = fake.told.lock().unwrap().join("\n");
    for part in [
        r#"weights: [("stable", Number(90)), ("canary", Number(10))], reason: "calm", by: "api", if_match: Some("\"42\""), dry_run: true"#,
        "if_match: None, dry_run: false",
    ] {
        assert!(told.contains(part), "no {part} in {told}");
    }
}

#[tokio::test]
async fn weights_are_refused_in_the_order_404_422_412_409() {
    let fake = Fake::start();
    let line = "PUT /v1/routes/checkout/weights";
    let stale = [("if-match", "\"41\"")];
    let of = |weights: &str, reason: &str| format!(r#"{{"weights":{weights},"reason":"{reason}"}}"#);
    let good = r#"{"stable":1}"#;

    problem(&fake, "PUT /v1/routes/nope/weights?x=1", &stale, "{", 404).await;
    problem(&fake, "PUT /v1/routes/nope/weights", &stale, &of(good, ""), 404).await;
    let unread = problem(&fake, line, &stale, r#"{"weights":7,"dry":1}"#, 422).await;
    assert_eq!(fields_of(&unread), ["dry", "weights"]);
    let unchecked = problem(&fake, line, &stale, &of("{}", "now"), 422).await;
    assert_eq!(fields_of(&unchecked), ["weights.stable"]);
    let moved_on = problem(&fake, line, &stale, &of(good, "now"), 412).await;
    assert_eq!(moved_on["generation"], 42);
    problem(&fake, line, &[("if-match", "\"42\", \"41\"")], &of(good, ""), 412).await;
    problem(&fake, line, &[], &of(good, "now"), 409).await;
    problem(&fake, line, &[], &of(good, "disk"), 503).await;
    problem(&fake, line, &[], "{\"weights\":", 400).await;
    for query in ["dryRun=yes", "dryrun=true", "dryRun=true&dryRun=false", "dryRun=true&x"] {
        problem(&fake, &format!("{line}?{query}"), &[], &of(good, ""), 422).await;
    }
}

#[tokio::test]
async fn rollouts_are_listed_and_shown() {
    let fake = Fake::start();
    let mut rollout = ok(&fake, "GET /v1/rollouts/checkout", "").await;
    assert_eq!(rollout["history"][0]["id"], 7);
    rollout.as_object_mut().unwrap().remove("history");
    assert_eq!(ok(&fake, "GET /v1/rollouts", "").await, json!({"rollouts": [rollout]}));
    let verdict = ok(&fake, "GET /v1/rollouts/checkout/verdict", "").await;
    assert_eq!((&verdict["ok"], &verdict["p95"]), (&json!(true), &json!(0.0125)));
    fake.phases.lock().unwrap()[0] = Phase::Aborted;
    assert_eq!(ok(&fake, "GET /v1/rollouts/checkout/verdict", "").await["ok"], false);
    problem(&fake, "GET /v1/rollouts/nope", &[], "", 404).await;
    problem(&fake, "GET /v1/rollouts/nope/verdict", &[], "", 404).await;
}

#[tokio::test]
async fn every_verb_reaches_control() {
    let fake = Fake::start();
    for (verb, body, phase) in [
        ("start", "", "progressing"),
        ("promote", "{}", "progressing"),
        ("promote", r#"{"full":true,"reason":"sure"}"#, "promoting"),
        ("abort", r#"{"reason":"smoke"}"#, "aborted"),
        ("pause", "", "paused"),
        ("retry", "", "progressing"),
        ("rollback", "", "progressing"),
        (
            "start",
            r#"{"from":"b","to":"a","commitTime":"2026-11-21T12:00:13Z"}"#,
            "progressing",
        ),
    ] {
        let view = ok(&fake, &format!("POST /v1/rollouts/checkout/{verb}"), body).await;
        assert_eq!(view["phase"], phase, "{verb}");
    }
    assert_eq!(
        fake.told.lock().unwrap().as_slice(),
        [
            r#"checkout Start "" by api"#,
            r#"checkout Promote { full: false } "" by api"#,
            r#"checkout Promote { full: true } "sure" by api"#,
            r#"checkout Abort "smoke" by api"#,
            r#"checkout Pause "" by api"#,
            r#"checkout Retry "" by api"#,
            r#"checkout Rollback "" by api"#,
            r#"checkout Start "" by api b to a of Some(1795262413000)"#,
        ]
    );
}

#[tokio::test]
async fn commands_that_cannot_be_done_say_why() {
    let fake = Fake::start();
    let refused = problem(&fake, "POST /v1/rollouts/checkout/resume", &[], "", 409).await;
    assert_eq!(refused["detail"], "not paused; possible: pause");
    problem(&fake, "POST /v1/rollouts/nope/start", &[], "", 404).await;
    problem(&fake, "POST /v1/rollouts/nope/start", &[], r#"{"x":1}"#, 404).await;
    problem(&fake, "POST /v1/rollouts/checkout/explode", &[], "", 404).await;
    let full = problem(&fake, "POST /v1/rollouts/checkout/start", &[], r#"{"full":true}"#, 422).await;
    assert_eq!(fields_of(&full), ["full"]);
    problem(&fake, "POST /v1/rollouts/checkout/start", &[], "reason", 400).await;
    let half = problem(&fake, "POST /v1/rollouts/checkout/start", &[], r#"{"from":"a"}"#, 422).await;
    assert_eq!(fields_of(&half), ["to"]);
}

#[tokio::test]
async fn an_approval_reaches_control_with_its_generation() {
    let fake = Fake::start();
    let line = "POST /v1/rollouts/checkout/approve";
    let shown = send(&fake, "GET /v1/rollouts/checkout", &[], "").await;
    let tag = shown.headers()[header::ETAG].to_str().unwrap().to_owned();
    let done = send(&fake, line, &[("if-match", &tag)], r#"{"reason":"looks well"}"#).await;
    assert_eq!(done.status(), 200);
    assert_eq!(
        fake.told.lock().unwrap().as_slice(),
        [r#"checkout approved "looks well" by api [] at Some("\"42\"")"#]
    );
    problem(&fake, line, &[("if-match", "\"41\"")], "", 412).await;
    let wanted = problem(&fake, line, &[], r#"{"reason":"me"}"#, 403).await;
    assert_eq!(wanted["detail"], "the gate wants sre");
    problem(&fake, line, &[], r#"{"full":true}"#, 422).await;
    problem(&fake, "POST /v1/rollouts/nope/approve", &[], r#"{"full":true}"#, 404).await;
    problem(&fake, "POST /v1/rollouts/checkout/%61pprove", &[], "", 404).await;
}

#[tokio::test]
async fn a_freeze_is_shown_and_taken_back() {
    let fake = Fake::start();
    assert_eq!(ok(&fake, "GET /v1/freeze", "").await, json!({"frozen": false}));
    let frozen = json!({"frozen": true, "by": "api", "reason": "sale", "since": "2026-11-21T12:00:13.042Z"});
    for _ in 0..2 {
        assert_eq!(ok(&fake, "POST /v1/freeze", r#"{"reason":"sale"}"#).await, frozen);
    }
    assert_eq!(ok(&fake, "GET /v1/freeze", "").await, frozen);
    assert_eq!(ok(&fake, "GET /v1/status", "").await["frozen"], frozen);
    assert_eq!(ok(&fake, "GET /v1/rollouts/checkout", "").await["frozen"], true);
    for _ in 0..2 {
        assert_eq!(ok(&fake, "DELETE /v1/freeze", "").await, json!({"frozen": false}));
    }
    assert_eq!(ok(&fake, "GET /v1/rollouts/checkout", "").await["frozen"], false);
    problem(&fake, "POST /v1/freeze", &[], r#"{"until":"monday"}"#, 422).await;
}

/// From now on people have names: each has the role that they are called.
fn name_people(fake: &Fake, names: &[&str]) {
    let token = |name: &&str| Token {
        name: Name::new(name).unwrap(),
        hash: TokenHash::of(&format!("{name}-token")),
        roles: vec![(*name).to_owned()],
    };
    let tokens = Tokens::new(names.iter().map(token).collect()).unwrap();
    fake.tokens.send_replace(Some(Arc::new(tokens)));
}

#[tokio::test]
async fn with_tokens_only_people_come_in() {
    let fake = Fake::start();
    name_people(&fake, &["viewer"]);
    for line in [
        "GET /v1/status",
        "GET /v1/events",
        "POST /v1/config/check",
        "GET /nope",
        "POST /livez/x",
    ] {
        for fields in [
            &[][..],
            &[("authorization", "Bearer sesame")],
            &[("authorization", "Basic viewer-token")],
        ] {
            problem(&fake, line, fields, "", 401).await;
            let refused = send(&fake, line, fields, "").await;
            assert_eq!(refused.headers()[header::WWW_AUTHENTICATE], "Bearer realm=\"serin\"");
        }
    }
    for line in ["GET /livez", "GET /readyz", "GET /metrics"] {
        assert_eq!(send(&fake, line, &[], "").await.status(), 200, "{line}");
        problem(&fake, line, &[("host", "evil.example")], "", 421).await;
    }
    // A page of the web knows no token, so who has one may come by any name.
    let person = [("authorization", "bearer viewer-token"), ("host", "serin.internal")];
    for line in ["GET /v1/status", "GET /metrics"] {
        assert_eq!(send(&fake, line, &person, "").await.status(), 200, "{line}");
    }
    // The counts are of one API; each test request has its own.
    let app = app(&fake);
    let ask = |line: &str| {
        let (method, target) = line.split_once(' ').unwrap();
        app.clone().oneshot(
            Request::builder()
                .method(method)
                .uri(target)
                .body(Body::empty())
                .unwrap(),
        )
    };
    assert_eq!(ask("GET /v1/status").await.unwrap().status(), 401);
    let page = text(ask("GET /metrics").await.unwrap()).await;
    assert!(
        page.contains("serin_admin_refused_total{reason=\"unauthorized\"} 1"),
        "{page}"
    );
}

#[tokio::test]
async fn each_role_may_what_it_is_for() {
    let fake = Fake::start();
    let weights = r#"{"weights":{"stable":1}}"#;
    let calls = [
        ("PUT /v1/routes/checkout/weights", weights, "operator admin"),
        ("POST /v1/config/reload", "", "operator admin"),
        ("POST /v1/rollouts/checkout/start", "", "operator admin"),
        ("POST /v1/rollouts/checkout/promote", "", "operator admin"),
        ("POST /v1/rollouts/checkout/pause", "", "operator admin"),
        ("POST /v1/rollouts/checkout/retry", "", "operator admin"),
        ("POST /v1/rollouts/checkout/rollback", "", "operator admin"),
        ("POST /v1/rollouts/checkout/abort", "", "operator approver admin"),
        ("POST /v1/rollouts/checkout/%61bort", "", "operator approver admin"),
        ("POST /v1/rollouts/checkout/approve", "", "operator approver admin sre"),
        ("POST /v1/freeze", "", "operator admin"),
        ("DELETE /v1/freeze", "", "operator admin"),
        ("GET /v1/freeze", "", "viewer operator approver admin sre"),
        ("GET /v1/rollouts/checkout", "", "viewer operator approver admin sre"),
        ("GET /v1/config", "", "viewer operator approver admin sre"),
        ("GET /v1/audit", "", "viewer operator approver admin sre"),
        (
            "POST /v1/config/check",
            "version: 1",
            "viewer operator approver admin sre",
        ),
    ];
    let people = ["viewer", "operator", "approver", "admin", "sre"];
    name_people(&fake, &people);
    for (line, body, may) in calls {
        for person in people {
            let field = [("authorization", &*format!("Bearer {person}-token"))];
            if may.split(' ').any(|role| role == person) {
                assert_eq!(send(&fake, line, &field, body).await.status(), 200, "{person}: {line}");
            } else {
                let refused = problem(&fake, line, &field, body, 403).await;
                let detail = refused["detail"].as_str().unwrap();
                assert!(detail.contains(&format!("; {person} has {person}")), "{detail}");
            }
        }
    }
    let told = fake.told.lock().unwrap().join("\n");
    assert!(told.contains(r#"checkout Start "" by operator"#), "{told}");
    assert!(told.contains(r#"checkout approved "" by sre ["sre"]"#), "{told}");
}

#[tokio::test]
async fn whose_token_is_taken_away_reads_no_more_events() {
    let fake = Fake::start();
    name_people(&fake, &["sre", "viewer"]);
    let reader = async |name: &str| {
        let field = [("authorization", &*format!("Bearer {name}-token"))];
        let response = send(&fake, "GET /v1/events", &field, "").await;
        response.into_body().into_data_stream()
    };
    let (mut gone, mut stays) = (reader("sre").await, reader("viewer").await);
    name_people(&fake, &["viewer"]);
    assert!(tokio::time::timeout(PATIENCE, gone.next()).await.unwrap().is_none());
    fake.live.send(event(9)).unwrap();
    assert!(chunk(&mut stays).await.starts_with("id: 9\n"));
}

#[tokio::test]
async fn the_audit_log_comes_page_by_page_as_it_was_written() {
    let fake = Fake::start();
    let lines = audit_lines();
    let response = send(&fake, "GET /v1/audit?by=alice&limit=1", &[], "").await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    let page = text(response).await;
    assert_eq!(page, format!("{{\"records\":[{}],\"next\":\"3\"}}", lines[2]));
    let page = ok(&fake, "GET /v1/audit?by=alice&limit=1&next=3", "").await;
    assert_eq!(
        (&page["records"][0]["seq"], &page["records"][0]["by"]),
        (&json!(1), &json!("alice"))
    );
    let page = ok(&fake, "GET /v1/audit", "").await;
    assert_eq!(
        (page["records"].as_array().unwrap().len(), &page["next"]),
        (3, &json!(null))
    );
    for (query, field) in [
        ("next=x", "next"),
        ("limit=0", "limit"),
        ("rolout=a", "rolout"),
        ("kind=a", "kind"),
    ] {
        let refused = problem(&fake, &format!("GET /v1/audit?{query}"), &[], "", 422).await;
        assert_eq!(fields_of(&refused), [field]);
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let fake = Fake::start();
    for line in [
        "GET /",
        "GET /v1",
        "GET /v1/status/",
        "GET /v1/rollouts/a/b/c",
        "POST /nope",
        "GET /v1/routes/%ff",
        "POST /v1/rollouts/%c3%28/abort",
    ] {
        assert_eq!(problem(&fake, line, &[], "", 404).await["title"], "Not found", "{line}");
    }
    for (line, allow) in [
        ("POST /v1/status", "GET,HEAD"),
        ("GET /v1/routes/checkout/weights", "PUT"),
        ("GET /v1/rollouts/checkout/abort", "POST"),
        ("GET /v1/rollouts/checkout/approve", "POST"),
        ("DELETE /v1/rollouts/checkout/verdict", "GET,HEAD"),
        ("GET /v1/config/reload", "POST"),
    ] {
        problem(&fake, line, &[], "", 405).await;
        assert_eq!(
            send(&fake, line, &[], "").await.headers()[header::ALLOW],
            allow,
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_body_has_a_limit() {
    let fake = Fake::start();
    let large = " ".repeat(BODY_BYTES_MAX + 1);
    problem(&fake, "POST /v1/config/check", &[], &large, 413).await;
    problem(&fake, "PUT /v1/routes/checkout/weights", &[], &large, 413).await;
    problem(&fake, "PUT /v1/routes/nope/weights", &[], &large, 404).await;
    problem(&fake, "POST /v1/config/check", &[], &large[1..], 422).await;
}

#[tokio::test]
async fn probes_are_answered_while_slow_clients_hold_all_the_rest() {
    let fake = Fake::start();
    let app = app(&fake);
    let send = |line: &str, body| {
        let (method, target) = line.split_once(' ').unwrap();
        let request = Request::builder().method(method).uri(target).body(body).unwrap();
        app.clone().oneshot(request)
    };
    let never = || Body::from_stream(futures_util::stream::pending::<std::io::Result<Vec<u8>>>());
    let mut slow: Vec<_> = (0..REQUESTS_MAX)
        .map(|_| Box::pin(send("POST /v1/config/check", never())))
        .collect();
    for request in &mut slow {
        assert!(tokio::time::timeout(Duration::ZERO, request).await.is_err());
    }
    assert_eq!(send("GET /v1/status", Body::empty()).await.unwrap().status(), 503);
    for probe in ["GET /livez", "GET /readyz"] {
        assert_eq!(send(probe, Body::empty()).await.unwrap().status(), 200, "{probe}");
    }
    problem(&fake, "POST /livez", &[], "", 405).await;
    problem(&fake, "GET /livez", &[("host", "evil.example")], "", 421).await;
}

#[tokio::test]
async fn strangers_are_kept_away() {
    let fake = Fake::start();
    problem(&fake, "GET /v1/status", &[("host", "evil.example")], "", 421).await;
    let foreign = [("host", "localhost:9901"), ("origin", "http://evil.example")];
    problem(&fake, "POST /v1/rollouts/checkout/abort", &foreign, "", 403).await;
    assert!(fake.told.lock().unwrap().is_empty());
    assert_eq!(send(&fake, "GET /v1/status", &foreign, "").await.status(), 200);
}

#[tokio::test]
async fn a_panic_costs_one_request() {
    let fake = Fake::start();
    problem(&fake, "POST /v1/config/check", &[], "panic", 500).await;
    assert_eq!(send(&fake, "GET /v1/status", &[], "").await.status(), 200);
}

#[tokio::test]
async fn without_control_there_is_no_answer() {
    let mut fake = Fake::start();
    fake.handle = crate::control::Handle::new().0;
    problem(&fake, "GET /v1/status", &[], "", 503).await;
    assert_eq!(send(&fake, "GET /livez", &[], "").await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_control_that_does_not_answer_is_not_waited_for_for_ever() {
    let mut fake = Fake::start();
    let (handle, _asked) = crate::control::Handle::new();
    fake.handle = handle;
    let late = problem(&fake, "GET /v1/status", &[], "", 503).await;
    assert_eq!(late["detail"], "no answer within 10 s");
}

async fn chunk(stream: &mut axum::body::BodyDataStream) -> String {
    let chunk = tokio::time::timeout(PATIENCE, stream.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    String::from_utf8(chunk.to_vec()).unwrap()
}

#[tokio::test]
async fn events_resume_behind_the_last_one_seen() {
    let fake = Fake::start();
    let response = send(&fake, "GET /v1/events", &[("last-event-id", "1")], "").await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    let mut stream = response.into_body().into_data_stream();
    // The third is past and live at once, and is sent once.
    for id in [3, 4] {
        fake.live.send(event(id)).unwrap();
    }
    for id in 2..=4 {
        let text = chunk(&mut stream).await;
        let head = format!("id: {id}\nevent: rollout\ndata: {{\"id\":{id},");
        assert!(text.starts_with(&head) && text.ends_with("}\n\n"), "{text}");
        assert_eq!(text.lines().count(), 4, "one line of data: {text}");
    }
    fake.shutdown.send_replace(true);
    assert!(tokio::time::timeout(PATIENCE, stream.next()).await.unwrap().is_none());
}

#[tokio::test]
async fn events_begin_now_when_nothing_was_seen() {
    let fake = Fake::start();
    let response = send(&fake, "GET /v1/events", &[], "").await;
    let mut stream = response.into_body().into_data_stream();
    fake.live.send(event(9)).unwrap();
    assert!(chunk(&mut stream).await.starts_with("id: 9\n"));
    let bad = problem(&fake, "GET /v1/events", &[("last-event-id", "x")], "", 422).await;
    assert_eq!(fields_of(&bad), ["Last-Event-ID"]);
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_sent_away() {
    let fake = Fake::start();
    let mut stream = send(&fake, "GET /v1/events", &[], "")
        .await
        .into_body()
        .into_data_stream();
    for id in 1..=100 {
        fake.live.send(event(id)).unwrap();
    }
    assert!(tokio::time::timeout(PATIENCE, stream.next()).await.unwrap().is_none());
}

#[tokio::test]
async fn readers_of_events_are_bounded() {
    let fake = Fake::start();
    let app = app(&fake);
    let request = || Request::get("/v1/events").body(Body::empty()).unwrap();
    let mut readers = Vec::new();
    for _ in 0..events::READERS_MAX {
        readers.push(app.clone().oneshot(request()).await.unwrap());
    }
    let refused = app.clone().oneshot(request()).await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()[header::CONNECTION]),
        (503, &"close".parse().unwrap())
    );
    readers.pop();
    assert_eq!(app.clone().oneshot(request()).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_kept_alive() {
    let fake = Fake::start();
    let mut stream = send(&fake, "GET /v1/events", &[], "")
        .await
        .into_body()
        .into_data_stream();
    assert_eq!(chunk(&mut stream).await, ":\n\n");
}

#[tokio::test]
async fn the_server_answers_on_its_socket_and_ends_with_readers_connected() {
    let fake = Fake::start();
    let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    let mut over = fake.shutdown.subscribe();
    let shutdown = async move {
        let _ = over.wait_for(|over| *over).await;
    };
    let server = tokio::spawn(super::serve(
        socket,
        fake.handle.clone(),
        fake.context.clone(),
        shutdown,
    ));

    let mut reader = TcpStream::connect(address).await.unwrap();
    reader
        .write_all(b"GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut head = vec![0; 15];
    reader.read_exact(&mut head).await.unwrap();
    assert_eq!(head, b"HTTP/1.1 200 OK");

    let mut client = TcpStream::connect(address).await.unwrap();
    let request = "GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nalive\n"),
        "{answer}"
    );

    let mut idle = TcpStream::connect(address).await.unwrap();
    fake.shutdown.send_replace(true);
    tokio::time::timeout(PATIENCE, server).await.unwrap().unwrap().unwrap();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "the stream ended whole");
    assert_eq!(idle.read_to_end(&mut rest).await.unwrap_or(0), 0);
}
