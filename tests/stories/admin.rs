//! The admin API keeps its contract: what it shows, in which order it checks, and what a refusal says.

use serde_json::{Value, json};

use crate::common::{
    Backend, Client, Load, Metrics, Options, Serin, backend, get, pair, pair_with, rollout, wait_for, wait_until,
};

fn two_backends() -> (Backend, Backend) {
    (Backend::ok("v1"), Backend::ok("v2"))
}

/// A Serin with the route `shop` at 90 to 10, and its backends.
fn shop() -> (Serin, Backend, Backend) {
    let (v1, v2) = two_backends();
    (Serin::start(&pair(v1.address(), v2.address(), (90, 10))), v1, v2)
}

/// The same with a rollout that a person starts, from 100 to 0.
fn with_rollout() -> (Serin, Backend, Backend) {
    let (v1, v2) = two_backends();
    let config = pair(v1.address(), v2.address(), (100, 0))
        + &rollout(
            "{ minRequests: 20 }",
            "[{ setWeight: 50%, bakeTime: 2h }, { setWeight: 100% }]",
        );
    (Serin::start(&config), v1, v2)
}

#[test]
fn livez_readyz_and_status_say_what_runs() {
    let (serin, _v1, _v2) = shop();
    assert_eq!(serin.admin("GET", "/livez", "").status, 200);
    assert_eq!(serin.admin("GET", "/readyz", "").status, 200);
    let status = serin.status();
    assert!(
        status["version"]
            .as_str()
            .is_some_and(|version| version.starts_with(char::is_numeric)),
        "{status}"
    );
    assert!(
        status["generation"].as_u64().is_some_and(|generation| generation > 0),
        "{status}"
    );
    assert_eq!(status["listeners"][0]["name"], "public");
    assert_eq!(status["listeners"][0]["address"], serin.address().to_string());
    assert_eq!(status["lastReload"]["ok"], true);
    assert_eq!(status["lastReload"]["problems"], json!([]));
}

#[test]
fn a_route_shows_its_variants_and_their_figures() {
    let (serin, _v1, _v2) = shop();
    let mut client = Client::connect(serin.address());
    for _ in 0..100 {
        client.get("/");
    }
    wait_until("the window has them", || {
        let of = |variant: &str| serin.variant(variant)["requests"].as_u64().expect("a number");
        of("stable") + of("canary") == 100
    });
    let answer = serin.admin("GET", "/v1/routes/shop", "");
    let route = answer.json();
    assert_eq!(
        (&route["name"], &route["generation"]),
        (&json!("shop"), &json!(serin.generation()))
    );
    assert_eq!(
        answer.head.get("etag"),
        Some(format!("\"{}\"", serin.generation()).as_str())
    );
    let stable = &route["variants"][0];
    assert_eq!((&stable["name"], &stable["backend"]), (&json!("stable"), &json!("v1")));
    assert_eq!((&stable["weight"], &stable["share"]), (&json!(90), &json!(0.9)));
    assert_eq!((&stable["failures"], &stable["errorRate"]), (&json!(0), &json!(0.0)));
    for quantile in ["p50", "p95", "p99"] {
        assert!(
            stable[quantile]
                .as_f64()
                .is_some_and(|seconds| seconds > 0.0 && seconds < 20.0),
            "{stable}"
        );
    }
    assert_eq!(route["variants"][1]["share"], 0.1);
    let list = serin.api("GET", "/v1/routes", "");
    assert_eq!(list["routes"][0]["name"], "shop");
}

#[test]
fn backends_show_their_endpoints() {
    let (serin, v1, _v2) = shop();
    let mut client = Client::connect(serin.address());
    client.get("/");
    let backend = serin.api("GET", "/v1/backends/v1", "");
    let endpoint = &backend["endpoints"][0];
    assert_eq!(endpoint["address"], v1.address().to_string());
    assert_eq!(
        (&endpoint["healthy"], &endpoint["ejected"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(
        serin.api("GET", "/v1/backends", "")["backends"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    serin.admin("GET", "/v1/backends/none", "").problem(404);
}

#[test]
fn weights_by_hand_are_in_force_when_they_are_answered() {
    let (serin, _v1, _v2) = shop();
    let before = serin.generation();
    let answer = serin.weights(0, 7);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let route = answer.json();
    assert_eq!(route["generation"], before + 1);
    assert_eq!(answer.head.get("etag"), Some(format!("\"{}\"", before + 1).as_str()));
    assert_eq!(
        (&route["variants"][1]["weight"], &route["variants"][1]["share"]),
        (&json!(7), &json!(1.0))
    );
    for _ in 0..20 {
        let response = get(serin.address(), "/");
        assert_eq!((response.variant(), response.generation()), ("canary", before + 1));
    }
}

fn put(serin: &Serin, target: &str, fields: &[(&str, &str)], body: &Value) -> crate::common::Response {
    serin.admin_with("PUT", target, fields, &body.to_string())
}

const WEIGHTS: &str = "/v1/routes/shop/weights";

#[test]
fn bad_weights_are_422_with_the_field_named_and_nothing_changed() {
    let (serin, _v1, _v2) = shop();
    let before = serin.api("GET", "/v1/routes/shop", "");
    let check = |weights: Value, field: &str| {
        let document = put(&serin, WEIGHTS, &[], &json!({ "weights": weights, "reason": "x" })).problem(422);
        let errors = document["errors"]
            .as_array()
            .unwrap_or_else(|| panic!("no errors: {document}"));
        let named = errors
            .iter()
            .any(|error| error["field"].as_str().is_some_and(|text| text.contains(field)));
        assert!(named, "{weights}: {field} is not named in {document}");
    };
    check(json!({ "stable": 90 }), "canary");
    check(json!({ "stable": 90, "canary": 10, "canari": 1 }), "canari");
    check(json!({ "stable": -1, "canary": 10 }), "stable");
    check(json!({ "stable": 0.5, "canary": 10 }), "stable");
    check(json!({ "stable": "90", "canary": 10 }), "stable");
    check(json!({ "stable": null, "canary": 10 }), "stable");
    check(json!({ "stable": 1_000_001, "canary": 10 }), "stable");
    check(json!({ "stable": 1e30, "canary": 10 }), "stable");
    check(json!({ "stable": 0, "canary": 0 }), "weights");
    check(json!({}), "weights");
    check(json!([90, 10]), "weights");
    put(&serin, WEIGHTS, &[], &json!({ "reason": "no weights" })).problem(422);
    put(
        &serin,
        WEIGHTS,
        &[],
        &json!({ "weights": { "stable": 1, "canary": 1 }, "resaon": "x" }),
    )
    .problem(422);
    let both = put(
        &serin,
        WEIGHTS,
        &[],
        &json!({ "weights": { "stable": -1, "canary": 0.5 } }),
    )
    .problem(422);
    assert_eq!(
        both["errors"].as_array().map(Vec::len),
        Some(2),
        "all problems at once: {both}"
    );
    let after = serin.api("GET", "/v1/routes/shop", "");
    assert_eq!(
        (&after["generation"], &after["variants"][0]["weight"]),
        (&before["generation"], &json!(90))
    );
}

#[test]
fn a_body_that_is_no_json_is_refused() {
    let (serin, _v1, _v2) = shop();
    for body in [
        "{",
        "weights",
        "{\"weights\":{\"stable\":1,\"canary\":1}} trailing",
        "\u{feff}",
    ] {
        let status = serin.admin("PUT", WEIGHTS, body).status;
        assert!(matches!(status, 400 | 422), "{body:?}: {status}");
    }
    let large = format!("{{\"weights\":{{}},\"reason\":\"{}\"}}", "x".repeat(2 * 1024 * 1024));
    let mut client = Client::connect(serin.admin_address());
    let host = serin.admin_address().to_string();
    // The answer may come, and the connection go, before all of it is sent.
    let answer = client.try_request(
        "PUT",
        WEIGHTS,
        &[("host", &host), ("content-type", "application/json")],
        large.as_bytes(),
    );
    if let Ok(answer) = answer {
        answer.problem(413);
    }
    assert_eq!(serin.variant("stable")["weight"], 90);
}

#[test]
fn a_stale_if_match_is_412_and_the_present_one_passes() {
    let (serin, _v1, _v2) = shop();
    let good = json!({ "weights": { "stable": 50, "canary": 50 }, "reason": "x" });
    let generation = serin.generation();
    for stale in [
        format!("\"{}\"", generation - 1),
        format!("\"{}\"", generation + 1),
        generation.to_string(),
        format!("W/\"{generation}\""),
    ] {
        let document = put(&serin, WEIGHTS, &[("if-match", &stale)], &good).problem(412);
        assert!(
            document.to_string().contains(&generation.to_string()),
            "the present one is told: {document}"
        );
    }
    assert_eq!(serin.generation(), generation);
    let present = format!("\"{generation}\"");
    assert_eq!(put(&serin, WEIGHTS, &[("if-match", &present)], &good).status, 200);
    put(&serin, WEIGHTS, &[("if-match", &present)], &good).problem(412);
}

#[test]
fn checks_run_in_the_order_404_422_412_409() {
    let (serin, _v1, _v2) = with_rollout();
    serin.tell("start");
    let (good, bad) = (
        json!({ "weights": { "stable": 1, "canary": 1 } }),
        json!({ "weights": { "stable": 1 } }),
    );
    let stale = [("if-match", "\"0\"")];
    put(&serin, "/v1/routes/none/weights", &stale, &bad).problem(404);
    put(&serin, WEIGHTS, &stale, &bad).problem(422);
    put(&serin, WEIGHTS, &stale, &good).problem(412);
    let conflict = put(&serin, WEIGHTS, &[], &good).problem(409);
    assert!(
        conflict["detail"]
            .as_str()
            .is_some_and(|text| text.contains("progressing")),
        "{conflict}"
    );
}

#[test]
fn a_dry_run_checks_and_changes_nothing() {
    let (serin, _v1, _v2) = shop();
    let before = serin.generation();
    let target = "/v1/routes/shop/weights?dryRun=true";
    let answer = put(
        &serin,
        target,
        &[],
        &json!({ "weights": { "stable": 1, "canary": 3 }, "reason": "x" }),
    );
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["variants"][1]["share"], 0.75, "it shows what would be");
    put(&serin, target, &[], &json!({ "weights": { "stable": 1 } })).problem(422);
    assert_eq!((serin.generation(), serin.share("canary")), (before, 0.1));
}

#[test]
fn what_is_not_there_is_404_and_a_wrong_method_405() {
    let (serin, _v1, _v2) = with_rollout();
    for target in [
        "/",
        "/v1",
        "/v1/nothing",
        "/v1/routes/none",
        "/v1/rollouts/none",
        "/v1/rollouts/none/verdict",
    ] {
        serin.admin("GET", target, "").problem(404);
    }
    serin.admin("POST", "/v1/rollouts/none/start", "{}").problem(404);
    serin.admin("POST", "/v1/rollouts/shop/explode", "{}").problem(404);
    let wrong = serin.admin("DELETE", "/v1/status", "");
    wrong.problem(405);
    assert!(
        wrong.head.get("allow").is_some_and(|methods| methods.contains("GET")),
        "{wrong:?}"
    );
}

#[test]
fn web_pages_of_others_get_nothing() {
    let (serin, _v1, _v2) = shop();
    let rebound = serin.admin_with("GET", "/v1/status", &[("host", "evil.test")], "");
    assert!(matches!(rebound.status, 403 | 421), "{rebound:?}");
    let good = json!({ "weights": { "stable": 1, "canary": 1 } });
    put(&serin, WEIGHTS, &[("origin", "http://evil.test")], &good).problem(403);
    assert_eq!(serin.share("canary"), 0.1);
}

#[test]
fn a_posted_file_is_checked_and_not_taken() {
    let (serin, v1, v2) = shop();
    let before = serin.generation();
    let good = serin.text(&pair(v1.address(), v2.address(), (1, 1)));
    let answer = serin.admin_with(
        "POST",
        "/v1/config/check",
        &[("content-type", "application/yaml")],
        &good,
    );
    assert_eq!((answer.status, &answer.json()["ok"]), (200, &json!(true)));
    let bad = good
        .replace("weight: 1 ", "weihgt: 1 ")
        .replace("backend: v2", "backend: v3");
    let document = serin
        .admin_with(
            "POST",
            "/v1/config/check",
            &[("content-type", "application/yaml")],
            &bad,
        )
        .problem(422);
    let text = document.to_string();
    assert!(
        text.contains("weight") && text.contains("weihgt") && text.contains("v3"),
        "all problems at once: {text}"
    );
    assert_eq!(serin.generation(), before);
}

#[test]
fn a_bad_file_changes_nothing_and_is_explained() {
    let (serin, v1, v2) = shop();
    let before = serin.api("GET", "/v1/routes/shop", "");
    let config = serin.api_text("/v1/config");
    serin.write(&pair(v1.address(), v2.address(), (1, 1)).replace("backend: v2", "backend: v9"));
    let document = serin.reload().problem(422);
    assert!(document.to_string().contains("v9"), "{document}");
    let status = serin.status();
    assert_eq!(status["lastReload"]["ok"], false);
    assert!(status["lastReload"]["problems"].to_string().contains("v9"), "{status}");
    assert_eq!(
        serin.api("GET", "/v1/routes/shop", "")["generation"],
        before["generation"]
    );
    assert_eq!(
        serin.api_text("/v1/config"),
        config,
        "what is live is shown, not what stands in the file"
    );
    assert!(Metrics::of(&serin).sum("serin_config_reloads_total", &[("result", "failure")]) >= 1.0);
    assert!(serin.log().contains("v9"), "the log says why");
    assert_eq!(get(serin.address(), "/").status, 200);
    serin.write(&pair(v1.address(), v2.address(), (1, 1)));
    assert_eq!(serin.reload().status, 200);
    assert_eq!(serin.status()["lastReload"]["ok"], true);
    assert_eq!(serin.share("canary"), 0.5);
}

#[test]
fn the_live_configuration_is_shown() {
    let (serin, v1, _v2) = shop();
    let config = serin.api_text("/v1/config");
    for part in ["shop", "canary", &v1.address().to_string()] {
        assert!(config.contains(part), "{part} is not in {config}");
    }
}

#[test]
fn a_rollout_shows_where_it_stands_and_why() {
    let (serin, _v1, _v2) = with_rollout();
    let idle = serin.rollout();
    assert_eq!(
        (&idle["name"], &idle["route"], &idle["phase"]),
        (&json!("shop"), &json!("shop"), &json!("idle"))
    );
    assert_eq!(idle["step"], Value::Null);
    serin.tell("start");
    let load = Load::start(serin.address(), 2, "/");
    wait_until("there is a verdict", || serin.rollout()["verdict"] == "pass");
    let running = serin.rollout();
    assert_eq!(
        (&running["phase"], &running["step"]),
        (&json!("progressing"), &json!(0))
    );
    let verdict = serin.api("GET", "/v1/rollouts/shop/verdict", "");
    assert_eq!((&verdict["verdict"], &verdict["ok"]), (&json!("pass"), &json!(true)));
    assert_eq!(verdict["errorRate"], 0.0);
    assert!(verdict["requests"].as_u64().is_some_and(|n| n >= 20), "{verdict}");
    drop(load);
    let history = running["history"].as_array().expect("a list").clone();
    let start = history
        .iter()
        .find(|event| event["to"].to_string().contains("progressing"));
    assert!(
        start.is_some_and(|event| event["reason"].to_string().contains("a story")),
        "{history:?}"
    );
    assert_eq!(
        serin.api("GET", "/v1/rollouts", "")["rollouts"][0]["phase"],
        "progressing"
    );
}

#[test]
fn verbs_that_do_not_fit_the_phase_are_409_and_say_what_does() {
    let (serin, _v1, _v2) = with_rollout();
    for verb in ["promote", "pause", "resume", "retry"] {
        let document = serin.say(verb).problem(409);
        assert!(
            document["detail"].as_str().is_some_and(|text| text.contains("start")),
            "{verb}: {document}"
        );
    }
    assert_eq!(serin.phase(), "idle");
}

/// One event of the stream: id, kind and data.
fn event(client: &mut Client) -> (u64, String, Value) {
    let (mut id, mut kind) = (None, None);
    loop {
        // The stream is in chunks; their sizes stand on lines of their own and begin with no such word.
        let line = client.wire().line().expect("the stream goes on");
        if let Some(text) = line.strip_prefix("id:") {
            id = text.trim().parse().ok();
        } else if let Some(text) = line.strip_prefix("event:") {
            kind = Some(text.trim().to_owned());
        } else if let Some(text) = line.strip_prefix("data:") {
            let data = serde_json::from_str(text.trim()).expect("data is JSON");
            return (id.expect("each has an id"), kind.expect("each has a kind"), data);
        }
    }
}

fn events_after(serin: &Serin, last: Option<u64>) -> Client {
    let mut client = Client::connect(serin.admin_address());
    let resume = last.map_or(String::new(), |id| format!("last-event-id: {id}\r\n"));
    client.send(format!(
        "GET /v1/events HTTP/1.1\r\nhost: {}\r\n{resume}\r\n",
        serin.admin_address()
    ));
    let head = client.wire().head().expect("a head").expect("no close");
    assert_eq!(
        (head.status().ok(), head.get("content-type")),
        (Some(200), Some("text/event-stream"))
    );
    client
}

#[test]
fn events_tell_every_change_and_can_be_resumed() {
    let (serin, _v1, _v2) = with_rollout();
    let mut stream = events_after(&serin, None);
    serin.tell("start");
    serin.tell("pause");
    let started = wait_for("the start is told", || {
        Some(event(&mut stream)).filter(|(_, kind, _)| kind == "rollout")
    });
    assert_eq!(started.2["rollout"], "shop");
    assert!(
        started.2["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("a story")),
        "{}",
        started.2
    );
    let paused = wait_for("the pause is told", || {
        Some(event(&mut stream)).filter(|(_, _, data)| data["to"].to_string().contains("paused"))
    });
    assert!(paused.0 > started.0);
    // Whoever was away hears what came after the last it heard, once, and then what is new.
    let mut resumed = events_after(&serin, Some(started.0));
    let mut last = started.0;
    loop {
        let (id, _, data) = event(&mut resumed);
        assert!(id > last, "{id} comes after {last}");
        last = id;
        if data["to"].to_string().contains("paused") {
            break;
        }
    }
    assert_eq!(last, paused.0);
    serin.tell("abort");
    let aborted = wait_for("the abort is told", || {
        Some(event(&mut resumed)).filter(|(_, _, data)| data["to"].to_string().contains("aborted"))
    });
    assert!(aborted.0 > paused.0 && aborted.2["generation"].as_u64() > paused.2["generation"].as_u64());
    let seen = aborted.2["generation"].as_u64();
    assert!(seen <= Some(serin.generation()));
}

#[test]
fn metrics_carry_the_names_of_the_contract() {
    let (serin, _v1, _v2) = with_rollout();
    let mut client = Client::connect(serin.address());
    for _ in 0..10 {
        client.get("/");
    }
    get(serin.address(), "/");
    serin.tell("start"); // a step is shown while there is one
    let metrics = Metrics::of(&serin);
    for name in [
        "serin_requests_total",
        "serin_request_duration_seconds_bucket",
        "serin_attempts_total",
        "serin_requests_in_flight",
        "serin_variant_share",
        "serin_route_generation",
        "serin_rollout_phase",
        "serin_rollout_step",
        "serin_rollout_verdict",
        "serin_config_reloads_total",
        "serin_config_last_reload_success_timestamp_seconds",
        "serin_upstream_connections",
        "serin_endpoint_healthy",
        "serin_downstream_connections",
        "serin_rejected_total",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_start_time_seconds",
    ] {
        assert!(metrics.has(name), "{name} is missing");
    }
    let stable = [("route", "shop"), ("variant", "stable"), ("backend", "v1")];
    assert_eq!(
        metrics.sum(
            "serin_requests_total",
            &[&stable[..], &[("outcome", "success"), ("code_class", "2xx")]].concat()
        ),
        11.0
    );
    assert_eq!(metrics.sum("serin_request_duration_seconds_count", &stable), 11.0);
    assert_eq!(
        metrics.sum(
            "serin_request_duration_seconds_bucket",
            &[&stable[..], &[("le", "+Inf")]].concat()
        ),
        11.0
    );
    for edge in ["0.005", "0.01", "0.025", "0.05", "0.1", "0.2", "0.5", "1", "10"] {
        let count = metrics.sum(
            "serin_request_duration_seconds_bucket",
            &[&stable[..], &[("le", edge)]].concat(),
        );
        assert!(count <= 11.0);
    }
    assert_eq!(
        metrics.sum("serin_rollout_phase", &[("rollout", "shop"), ("phase", "progressing")]),
        1.0
    );
    assert_eq!(
        metrics.sum("serin_rollout_phase", &[("rollout", "shop")]),
        1.0,
        "one phase at a time"
    );
    assert_eq!(metrics.sum("serin_route_generation", &[]) as u64, serin.generation());
    assert_eq!(
        metrics.sum("serin_downstream_connections", &[("listener", "public")]),
        1.0
    );
}

#[test]
fn labels_come_only_from_the_configuration() {
    let (v1, v2) = two_backends();
    let cohort = "    key: { header: x-user-id }\n";
    let serin = Serin::start(&pair_with(v1.address(), v2.address(), (1, 1), "", cohort));
    for n in 0..50 {
        let name = format!("made-up-{n}");
        Client::connect(serin.address()).request(
            "GET",
            &format!("/{name}"),
            &[("x-user-id", &name), ("host", &name)],
            b"",
        );
    }
    let page = serin.admin("GET", "/metrics", "").text();
    assert!(!page.contains("made-up"), "{page}");
}

#[test]
fn a_value_from_the_environment_is_taken_and_a_missing_one_a_problem() {
    let (v1, _v2) = two_backends();
    let body = format!(
        "backends:\n{}routes:\n- {{ name: app, match: {{ hosts: [\"${{STORY_HOST}}\"] }}, split: {{ variants: [{{ name: only, backend: app, weight: 1 }}] }} }}\n",
        backend("app", v1.address())
    );
    let options = Options {
        env: vec![("STORY_HOST".to_owned(), "env.test".to_owned())],
        ..Options::default()
    };
    let serin = Serin::with(options, &body);
    let answer = Client::connect(serin.address()).request("GET", "/", &[("host", "env.test")], b"");
    assert_eq!(answer.status, 200);
    let exit = Serin::refuses(Options::default(), &body);
    assert!(exit.log.contains("STORY_HOST"), "{}", exit.log);
}
