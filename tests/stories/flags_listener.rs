//! What applications ask of flags on a listener that says `ofrep: true`; and that processes agree on every user.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use crate::common::{Backend, Client, H2, Metrics, Options, PATIENCE, Serin, fetch, get, pair_with, wait_until};
use crate::routing::murmur3;

const ALL: &str = "/ofrep/v1/evaluate/flags";
const SHOP: &str = "/ofrep/v1/evaluate/flags/shop";

const KEYED: &str = "    key: { header: x-user-id }
    cohorts: [{ name: staff, keys: [alice], variant: canary }]
";

fn site_with(listener: &str, top: &str, weights: (u32, u32)) -> (Serin, Backend) {
    let app = Backend::ok("app");
    let options = Options {
        listener: listener.to_owned(),
        top: top.to_owned(),
        ..Options::default()
    };
    let body = pair_with(app.address(), app.address(), weights, "", KEYED);
    (Serin::with(options, &body), app)
}

fn site() -> (Serin, Backend) {
    site_with("ofrep: true", "", (50, 50))
}

fn context(user: &str) -> Vec<u8> {
    json!({ "context": { "targetingKey": user } }).to_string().into_bytes()
}

#[test]
fn an_application_is_answered_what_the_proxy_chooses() {
    let (serin, app) = site();
    let mut client = Client::connect(serin.address());
    for user in (0..100).map(|n| format!("user-{n}")).chain(["alice".to_owned()]) {
        let asked = client.request("POST", SHOP, &[("content-type", "application/json")], &context(&user));
        assert_eq!(asked.status, 200, "{}", asked.text());
        assert_eq!(asked.head.get("content-type"), Some("application/json"));
        let asked = asked.json();
        let chosen = client.request("GET", "/", &[("x-user-id", &user)], b"");
        assert_eq!(asked["variant"], chosen.variant(), "{user}");
        let reason = if user == "alice" { "TARGETING_MATCH" } else { "SPLIT" };
        assert_eq!(asked["reason"], reason, "{asked}");
    }
    assert_eq!(app.requests(), 101, "no backend has part in it");
    let answers = || Metrics::of(&serin);
    wait_until("calls are counted apart from routes", || {
        answers().sum("serin_ofrep_requests_total", &[("code_class", "2xx")]) == 101.0
    });
    let of_route = answers().requests("shop", "stable").0 + answers().requests("shop", "canary").0;
    assert_eq!(of_route, 101);
}

#[test]
fn a_call_for_all_flags_is_not_repeated_in_vain() {
    let (serin, _app) = site();
    let mut client = Client::connect(serin.address());
    let all = client.request("POST", ALL, &[], &context("user-1"));
    let tag = all.head.get("etag").expect("a tag").to_owned();
    assert_eq!(all.json()["flags"].as_array().map(Vec::len), Some(1));
    let again = client.request("POST", ALL, &[("if-none-match", &tag)], &context("user-1"));
    assert_eq!(
        (again.status, again.body.len(), again.head.get("content-length")),
        (304, 0, None)
    );
    assert_eq!(again.head.get("etag"), Some(tag.as_str()));
    assert_eq!(
        client
            .request("POST", ALL, &[("if-none-match", &tag)], &context("alice"))
            .status,
        200
    );
}

#[test]
fn other_requests_go_their_way() {
    let (serin, app) = site();
    let mut client = Client::connect(serin.address());
    for target in [
        "/ofrep/v1/configuration",
        "/ofrep/v1/evaluate/flagship",
        "/x/ofrep/v1/evaluate/flags",
    ] {
        assert_eq!(client.get(target).text(), "app", "{target}");
    }
    assert_eq!(app.requests(), 3);
    let refused = client.request("GET", SHOP, &[], b"");
    assert_eq!((refused.status, refused.head.get("allow")), (405, Some("POST")));
    let headless = client.request("HEAD", SHOP, &[], b"");
    assert_eq!((headless.status, headless.body.len()), (405, 0));
    let unknown = client.request("POST", &format!("{ALL}/cart"), &[], &context("alice"));
    assert_eq!(
        (unknown.status, &unknown.json()["errorCode"]),
        (404, &json!("FLAG_NOT_FOUND"))
    );
    let (plain, app) = site_with("", "", (50, 50));
    assert_eq!(
        fetch(plain.address(), "POST", SHOP, &[], &context("alice")).text(),
        "app"
    );
    assert_eq!(app.requests(), 1);
}

#[test]
fn what_is_asked_badly_has_its_answer_and_the_connection_its_order() {
    let (serin, app) = site();
    let mut client = Client::connect(serin.address());
    let deep = "[".repeat(60_000);
    let many = format!(
        r#"{{"context":{{"targetingKey":"a","list":[{}1]}}}}"#,
        "1,".repeat(20_000)
    );
    for bad in ["", "{", "[]", r#"{"context":7}"#, &deep, &many, "\u{0}"] {
        let answer = client.request("POST", SHOP, &[], bad.as_bytes());
        assert_eq!(answer.status, 400, "{bad:.20}: {}", answer.text());
        assert!(answer.json()["errorCode"].is_string());
    }
    let keyless = client.request("POST", SHOP, &[], br#"{"context":{}}"#);
    assert_eq!(keyless.json()["errorCode"], "TARGETING_KEY_MISSING");
    // In chunks, and with the next request right behind.
    client.send(format!(
        "POST {SHOP} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n\
         10\r\n{{\"context\":{{\"tar\r\n15\r\ngetingKey\":\"alice\"}}}} \r\n0\r\n\r\nGET /next HTTP/1.1\r\nhost: x\r\n\r\n"
    ));
    assert_eq!(client.response("POST").json()["reason"], "TARGETING_MATCH");
    assert_eq!(client.response("GET").text(), "app");
    assert_eq!(app.requests(), 1);
}

#[test]
fn a_context_of_ten_megabytes_is_refused_unread() {
    let (serin, _app) = site();
    // Its length says it.
    let mut client = Client::connect(serin.address());
    client.send(format!(
        "POST {SHOP} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 10485760\r\n\r\n"
    ));
    let answer = client.response("POST");
    assert_eq!((answer.status, answer.interim.len()), (413, 0), "nobody asks for it");
    assert_eq!(answer.head.get("connection"), Some("close"));
    assert!(client.closed());
    // It comes in chunks until it is too much.
    let mut client = Client::connect(serin.address());
    client.send(format!(
        "POST {SHOP} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    ));
    for _ in 0..5 {
        client.send(format!("4000\r\n{}\r\n", " ".repeat(0x4000)));
    }
    assert_eq!(client.response("POST").status, 413);
    // One that fits exactly is read; it lies in many parts.
    let mut exact = context("alice");
    exact.resize(64 << 10, b' ');
    assert_eq!(fetch(serin.address(), "POST", SHOP, &[], &exact).status, 200);
    exact.push(b' ');
    assert_eq!(fetch(serin.address(), "POST", SHOP, &[], &exact).status, 413);
    wait_until("they are counted", || {
        Metrics::of(&serin).sum("serin_ofrep_requests_total", &[("code_class", "4xx")]) == 3.0
    });
}

#[test]
fn who_does_not_send_the_body_is_told_so() {
    let (serin, _app) = site_with("ofrep: true, timeouts: { body: 200ms }", "", (50, 50));
    let mut client = Client::connect(serin.address());
    client.send(format!(
        "POST {SHOP} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{{"
    ));
    let answer = client.response("POST");
    answer.problem(408);
    assert!(client.closed());
    let mut client = Client::connect(serin.address());
    client.send(format!(
        "POST {SHOP} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n"
    ));
    client.response("POST").problem(400);
    let mut client = Client::connect(serin.address());
    client.send(format!(
        "POST {SHOP} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{{"
    ));
    drop(client);
    assert_eq!(get(serin.address(), "/").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_http2_ask_too() {
    let (serin, _app) = site();
    let mut client = H2::connect(serin.address()).await;
    let post = |target: &str, body: Vec<u8>| {
        let body = Full::new(Bytes::from(body)).boxed();
        Request::post(format!("http://serin.test{target}"))
            .body(body)
            .expect("a request")
    };
    let (head, body, _) = client.exchange(post(SHOP, context("alice"))).await;
    assert_eq!(
        (head.status.as_u16(), &head.headers["content-type"]),
        (200, &"application/json".parse().expect("a value"))
    );
    let answer: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(answer["metadata"]["cohort"], "staff", "{answer}");
    let (head, ..) = client.exchange(post(ALL, context("alice"))).await;
    let mut again = post(ALL, context("alice"));
    again
        .headers_mut()
        .insert("if-none-match", head.headers["etag"].clone());
    let (head, body, _) = client.exchange(again).await;
    assert_eq!((head.status.as_u16(), body.len()), (304, 0));
    let mut delete = post(SHOP, Vec::new());
    *delete.method_mut() = http::Method::DELETE;
    let (head, ..) = client.exchange(delete).await;
    assert_eq!(
        (head.status.as_u16(), &head.headers["allow"]),
        (405, &"POST".parse().expect("a value"))
    );
    let (head, ..) = client.exchange(post(SHOP, vec![b' '; 100_000])).await;
    assert_eq!(head.status.as_u16(), 413);
    let (head, ..) = client.exchange(post(SHOP, context("bob"))).await;
    assert_eq!(head.status.as_u16(), 200, "the connection goes on");
}

/// The variants of `users` users, asked for on two connections with many calls under way.
fn variants(address: SocketAddr, users: u32) -> Vec<u8> {
    let half = users / 2;
    let parts = [0..half, half..users].map(|range| thread::spawn(move || ask_pipelined(address, range)));
    parts
        .into_iter()
        .flat_map(|part| part.join().expect("it answers"))
        .collect()
}

/// The first letter of each variant: `s` or `c`.
fn ask_pipelined(address: SocketAddr, users: std::ops::Range<u32>) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("it accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let (mut found, mut rest) = (Vec::new(), Vec::new());
    let marker = b"\"variant\":\"";
    for first in users.clone().step_by(100) {
        let mut calls = Vec::new();
        let batch = first..(first + 100).min(users.end);
        for user in batch.clone() {
            let body = format!(r#"{{"context":{{"targetingKey":"user-{user}"}}}}"#);
            let head = format!(
                "POST {SHOP} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            calls.extend_from_slice(head.as_bytes());
            calls.extend_from_slice(body.as_bytes());
        }
        stream.write_all(&calls).expect("it is read");
        let due = found.len() + batch.len();
        while found.len() < due {
            let mut bytes = [0; 16 * 1024];
            let n = stream.read(&mut bytes).expect("answers come");
            assert_ne!(n, 0, "it was closed: {}", String::from_utf8_lossy(&rest));
            rest.extend_from_slice(&bytes[..n]);
            let mut used = 0;
            while let Some(at) = rest[used..].windows(marker.len()).position(|part| part == marker) {
                let Some(letter) = rest.get(used + at + marker.len()) else {
                    break;
                };
                found.push(*letter);
                used += at + marker.len() + 1;
            }
            rest.drain(..used);
        }
    }
    found
}

#[test]
fn processes_and_one_after_a_restart_agree_on_a_hundred_thousand_users() {
    const USERS: u32 = 100_000;
    let (mut one, _a) = site_with("ofrep: true", "", (90, 10));
    let (two, _b) = site_with("ofrep: true", "", (90, 10));
    let first = variants(one.address(), USERS);
    let expected = (0..USERS).map(|user| {
        let bucket = (u64::from(murmur3(format!("shopuser-{user}").as_bytes())) * 1_000_000) >> 32;
        if bucket < 900_000 { b's' } else { b'c' }
    });
    assert!(
        expected.eq(first.iter().copied()),
        "as an independent implementation says"
    );
    assert!(variants(two.address(), USERS) == first, "two processes");
    let share = first.iter().filter(|side| **side == b'c').count() as f64 / f64::from(USERS);
    assert!((share - 0.1).abs() <= 0.002, "{share}");
    one.crash_and_restart();
    assert!(variants(one.address(), USERS) == first, "after a restart");
    // What was raised by hand is kept over a restart, too, and has moved nobody back.
    assert_eq!(one.weights(75, 25).status, 200);
    one.crash_and_restart();
    let raised = variants(one.address(), USERS);
    assert!(
        first
            .iter()
            .zip(&raised)
            .all(|(before, after)| *before == b's' || *after == b'c')
    );
}
