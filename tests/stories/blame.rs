//! Whose fault it was: each misbehaviour has the status that the client gets and the outcome that the
//! books show, exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::common::{
    Act, Backend, Client, Metrics, Options, Serin, answer, chunked, close, fetch, get, hang, ok, refusing_address,
    reset, status, text, wait_until,
};

/// What a client got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Got {
    /// A whole answer with this status.
    Status(u16),
    /// The head of an answer, and then a connection closed too early.
    Cut,
}
use Got::{Cut, Status};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Success,
    Failure,
    NoEvidence,
}
use Outcome::{Failure, NoEvidence, Success};

/// Counts as `Metrics::attempts` gives them: `n` of this outcome and none of any other.
fn only(outcome: Outcome, n: u64) -> (u64, u64, u64) {
    match outcome {
        Success => (n, 0, 0),
        Failure => (0, n, 0),
        NoEvidence => (0, 0, n),
    }
}

/// Short clocks, for the misbehaviours that only a clock ends.
fn hasty() -> Options {
    Options {
        listener: "timeouts: { requestHead: 500ms, body: 500ms, idle: 30s }".to_owned(),
        ..Options::default()
    }
}

/// One case after the other on one Serin, each with a backend and route of its own, so that the books
/// are read once at the end.
fn check(cases: Vec<(&str, Backend, Got, Outcome)>) {
    let mut config = "backends:\n".to_owned();
    for (name, backend, ..) in &cases {
        config.push_str(&crate::common::backend(name, backend.address()));
    }
    config.push_str("routes:\n");
    for (name, ..) in &cases {
        config.push_str(&route(name, "700ms"));
    }
    let serin = Serin::with(hasty(), &config);
    for (name, backend, expected, outcome) in &cases {
        let mut client = Client::connect(serin.address());
        client.send(format!("GET /{name}/x HTTP/1.1\r\nhost: serin.test\r\n\r\n"));
        let got = match client.try_response("GET") {
            Ok(response) => {
                if *outcome == Failure && matches!(response.status, 502 | 504) {
                    response.problem(response.status);
                    assert_eq!(response.head.get("server"), Some("serin"), "{name}");
                }
                Status(response.status)
            }
            Err(_) => Cut,
        };
        // What breaks off before anything has gone to the client is told in our words.
        let told = *expected == Cut && got == Status(502);
        assert!(told || got == *expected, "{name}: {got:?}, not {expected:?}");
        let asked = usize::from(*name != "at-accept");
        assert_eq!(
            backend.requests(),
            asked,
            "{name}: a request on a fresh connection is sent once"
        );
    }
    for (name, _, _, outcome) in &cases {
        settled(&serin, name, only(*outcome, 1));
    }
}

fn route(name: &str, timeout: &str) -> String {
    format!(
        "- {{ name: {name}, match: {{ pathPrefix: /{name} }}, timeout: {timeout}, split: {{ variants: [{{ name: only, backend: {name}, weight: 1 }}] }} }}\n"
    )
}

/// Waits until the books of a route show exactly this, in attempts and in requests alike.
#[track_caller]
fn settled(serin: &Serin, route: &str, expected: (u64, u64, u64)) {
    let total = expected.0 + expected.1 + expected.2;
    wait_until(&format!("{route} is in the books"), || {
        let (s, f, n) = Metrics::of(serin).attempts(route, "only");
        s + f + n >= total
    });
    let metrics = Metrics::of(serin);
    assert_eq!(
        metrics.attempts(route, "only"),
        expected,
        "attempts of {route}: (success, failure, noEvidence)"
    );
    assert_eq!(
        metrics.requests(route, "only"),
        expected,
        "requests of {route}: (success, failure, noEvidence)"
    );
    assert_eq!(
        metrics.sum("serin_requests_in_flight", &[("route", route)]),
        0.0,
        "{route}"
    );
}

fn raw(bytes: &str) -> Backend {
    let bytes = bytes.to_owned();
    Backend::start(move |_| [text(&bytes), vec![Act::Close]].concat())
}

#[test]
fn answers_of_a_backend() {
    check(vec![
        ("good", Backend::ok("x"), Status(200), Success),
        ("moved", Backend::start(|_| status(301)), Status(301), Success),
        ("missing", Backend::start(|_| status(404)), Status(404), NoEvidence),
        ("too-many", Backend::start(|_| status(429)), Status(429), NoEvidence),
        ("broken", Backend::start(|_| status(500)), Status(500), Failure),
        ("unavailable", Backend::start(|_| status(503)), Status(503), Failure),
        (
            "empty",
            Backend::start(|_| text("HTTP/1.1 204 No Content\r\n\r\n")),
            Status(204),
            Success,
        ),
        (
            "dripping",
            Backend::start(|_| {
                let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello".to_vec();
                vec![Act::Drip(bytes, Duration::from_millis(2))]
            }),
            Status(200),
            Success,
        ),
        (
            "interim",
            raw(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx",
            ),
            Status(200),
            Success,
        ),
        (
            "http-1-0",
            raw("HTTP/1.0 200 OK\r\n\r\nuntil the close"),
            Status(200),
            Success,
        ),
    ]);
}

#[test]
fn faults_of_a_backend_before_its_head() {
    check(vec![
        ("at-accept", Backend::on_accept(vec![Act::Close]), Status(502), Failure),
        ("closes", Backend::start(|_| close()), Status(502), Failure),
        ("resets", Backend::start(|_| reset()), Status(502), Failure),
        ("hangs", Backend::start(|_| hang()), Status(504), Failure),
        (
            "half-a-head",
            raw("HTTP/1.1 200 OK\r\ncontent-le"),
            Status(502),
            Failure,
        ),
        (
            "only-interim",
            raw("HTTP/1.1 103 Early Hints\r\n\r\n"),
            Status(502),
            Failure,
        ),
        ("no-http", raw("what?\r\n\r\n"), Status(502), Failure),
        ("no-status", raw("HTTP/1.1 abc OK\r\n\r\n"), Status(502), Failure),
        (
            "bad-field",
            raw("HTTP/1.1 200 OK\r\nno colon\r\n\r\n"),
            Status(502),
            Failure,
        ),
        (
            "bad-length",
            raw("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"),
            Status(502),
            Failure,
        ),
        (
            "two-lengths",
            raw("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx"),
            Status(502),
            Failure,
        ),
        (
            "length-and-chunks",
            raw("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
            Status(502),
            Failure,
        ),
        (
            "extra",
            raw("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokEXTRA"),
            Status(502),
            Failure,
        ),
        (
            "extra-without-body",
            raw("HTTP/1.1 204 No Content\r\n\r\nEXTRA"),
            Status(502),
            Failure,
        ),
        (
            "lost-coding",
            raw("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
            Status(502),
            Failure,
        ),
    ]);
}

#[test]
fn faults_of_a_backend_in_its_body() {
    let hanging = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123456789".to_owned();
    check(vec![
        (
            "cut",
            raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123456789"),
            Cut,
            Failure,
        ),
        (
            "cut-chunks",
            raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"),
            Cut,
            Failure,
        ),
        (
            "bad-chunk",
            raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n"),
            Cut,
            Failure,
        ),
        (
            "reset-in-body",
            Backend::start(|_| {
                let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123456789".to_vec();
                // So that the head is read before the reset discards it.
                vec![
                    Act::Body,
                    Act::Send(head),
                    Act::Wait(Duration::from_millis(100)),
                    Act::Reset,
                ]
            }),
            Cut,
            Failure,
        ),
        (
            "stuck",
            Backend::start(move |_| [text(&hanging), hang()].concat()),
            Cut,
            Failure,
        ),
    ]);
}

#[test]
fn a_refusing_backend_is_at_fault() {
    let (address, _kept) = refusing_address();
    let config = format!(
        "backends:\n{}routes:\n{}",
        crate::common::backend("gone", address),
        route("gone", "5s")
    );
    let serin = Serin::start(&config);
    get(serin.address(), "/gone").problem(502);
    settled(&serin, "gone", only(Failure, 1));
}

/// A Serin with one route `app` and what a story asks of its clock.
fn alone(app: &Backend, timeout: &str) -> Serin {
    let config = format!(
        "backends:\n{}routes:\n{}",
        crate::common::backend("app", app.address()),
        route("app", timeout)
    );
    Serin::with(hasty(), &config)
}

#[test]
fn extra_bytes_never_become_the_next_answer() {
    let app = Backend::start(|request| match request.nth {
        0 if request.target().ends_with("first") => {
            text("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison")
        }
        _ => ok("clean"),
    });
    let serin = alone(&app, "2s");
    let mut client = Client::connect(serin.address());
    client.get("/app/first").problem(502);
    assert_eq!(client.get("/app/second").text(), "clean");
    settled(&serin, "app", (1, 1, 0));
}

#[test]
fn an_answer_before_the_body_reaches_the_client() {
    let app = Backend::start(|_| {
        let head = b"HTTP/1.1 413 Too Large\r\ncontent-length: 4\r\nconnection: close\r\n\r\nlots".to_vec();
        vec![Act::Send(head), Act::Hang]
    });
    let serin = alone(&app, "2s");
    let mut client = Client::connect(serin.address());
    client.send("POST /app HTTP/1.1\r\nhost: serin.test\r\ncontent-length: 1000000\r\n\r\nonly the beginning");
    let response = client.response("POST");
    assert_eq!((response.status, response.text().as_str()), (413, "lots"));
    drop(client);
    settled(&serin, "app", only(NoEvidence, 1));
}

#[test]
fn a_client_that_closes_after_its_body_is_heard_out_too() {
    let early = b"HTTP/1.1 413 Too Large\r\ncontent-length: 4\r\n\r\nlots";
    let app = Backend::start(|_| vec![Act::Send(early.to_vec()), Act::Hang]);
    let serin = alone(&app, "2s");
    let mut client = Client::connect(serin.address());
    client.send("POST /app HTTP/1.1\r\nhost: serin.test\r\nconnection: close\r\ncontent-length: 1000000\r\n\r\nfirst");
    let response = client.response("POST");
    assert_eq!((response.status, response.text().as_str()), (413, "lots"));
    assert!(client.closed());
    // A reset, which takes an answer away that was not read yet, would come with the first of them.
    for _ in 0..3 {
        client.send("and so on");
    }
}

#[test]
fn malformed_chunks_are_the_clients_fault() {
    let app = Backend::ok("x");
    let serin = alone(&app, "2s");
    let uploads = [
        "zz\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello!!\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello",
        "3\r\nabc\r\n0\r\nno trailer\r\n\r\n",
    ];
    for upload in uploads {
        let mut client = Client::connect(serin.address());
        client.send("POST /app HTTP/1.1\r\nhost: serin.test\r\ntransfer-encoding: chunked\r\n\r\n");
        client.send(upload);
        // 400 where the answer has not begun, and no more on this connection.
        match client.try_response("POST") {
            Ok(response) => assert_eq!(response.status, 400, "{upload:?}: {response:?}"),
            Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "{upload:?}"),
        }
        assert!(client.closed(), "{upload:?}");
    }
    settled(&serin, "app", only(NoEvidence, uploads.len() as u64));
    assert!(
        app.seen().iter().all(|seen| !seen.whole),
        "no broken upload looks whole to the backend"
    );
}

#[test]
fn an_upload_cut_off_is_the_clients_fault() {
    let app = Backend::ok("x");
    let serin = alone(&app, "2s");
    for half in [
        "content-length: 100\r\n\r\nhello",
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let mut client = Client::connect(serin.address());
        client.send(format!("POST /app HTTP/1.1\r\nhost: serin.test\r\n{half}"));
        client.finish();
        assert_ne!(
            client
                .try_response("POST")
                .map(|response| response.status)
                .unwrap_or(400),
            200
        );
    }
    settled(&serin, "app", only(NoEvidence, 2));
    assert!(
        app.seen().iter().all(|seen| !seen.whole),
        "no broken upload looks whole to the backend"
    );
}

#[test]
fn a_stalled_upload_is_the_clients_fault() {
    let app = Backend::ok("x");
    let serin = alone(&app, "30s");
    let mut client = Client::connect(serin.address());
    client.send("POST /app HTTP/1.1\r\nhost: serin.test\r\ncontent-length: 100\r\n\r\nhello");
    client.response("POST").problem(408);
    assert!(client.closed());
    settled(&serin, "app", only(NoEvidence, 1));
}

#[test]
fn the_clients_slowness_is_not_the_backends() {
    // The upload takes longer than the route's whole timeout; the backend answers at once after it.
    let app = Backend::ok("x");
    let serin = alone(&app, "400ms");
    let mut client = Client::connect(serin.address());
    client.send("POST /app HTTP/1.1\r\nhost: serin.test\r\ncontent-length: 8\r\n\r\n");
    for _ in 0..8 {
        // The client's slowness itself; below the limit between two reads.
        thread::sleep(Duration::from_millis(100));
        client.send("x");
    }
    assert_eq!(client.response("POST").status, 200);
    settled(&serin, "app", only(Success, 1));
    let slow = Metrics::of(&serin);
    let within = |le| slow.sum("serin_request_duration_seconds_bucket", &[("route", "app"), ("le", le)]);
    assert_eq!(
        within("0.5"),
        1.0,
        "the time of the upload is no latency of the backend"
    );
}

#[test]
fn a_client_that_leaves_early_says_nothing() {
    let app = Backend::start(|_| hang());
    let serin = alone(&app, "20s");
    for n in 0..5 {
        let mut client = Client::connect(serin.address());
        client.send("GET /app HTTP/1.1\r\nhost: serin.test\r\n\r\n");
        wait_until("the backend is asked", || app.requests() > n);
    }
    settled(&serin, "app", only(NoEvidence, 5));
    wait_until("nobody waits any more", || app.open() == 0);
}

#[test]
fn a_client_that_leaves_early_says_nothing_although_it_is_waited_for() {
    let app = Backend::start(|_| hang());
    let serin = alone(&app, "950ms");
    let mut client = Client::connect(serin.address());
    client.send("GET /app HTTP/1.1\r\nhost: serin.test\r\n\r\n");
    wait_until("the backend is asked", || app.requests() == 1);
    drop(client);
    settled(&serin, "app", only(NoEvidence, 1));
}

#[test]
fn a_client_that_leaves_after_a_long_wait_speaks_against_the_backend() {
    let app = Backend::start(|_| hang());
    let serin = alone(&app, "1s");
    let mut client = Client::connect(serin.address());
    client.send("GET /app HTTP/1.1\r\nhost: serin.test\r\n\r\n");
    wait_until("the backend is asked", || app.requests() == 1);
    // More than half of the timeout, less than all of it.
    thread::sleep(Duration::from_millis(700));
    drop(client);
    settled(&serin, "app", only(Failure, 1));
}

#[test]
fn a_client_that_leaves_in_the_body_says_nothing() {
    let app = Backend::start(|_| {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n".to_vec();
        vec![Act::Send(head), Act::Flood(100_000_000)]
    });
    let serin = alone(&app, "5s");
    let mut client = Client::connect(serin.address());
    client.send("GET /app HTTP/1.1\r\nhost: serin.test\r\n\r\n");
    client.wire().head().expect("a head").expect("a head");
    client.wire().skip(100_000).expect("the beginning");
    drop(client);
    settled(&serin, "app", only(NoEvidence, 1));
    wait_until("the backend's connection is given up", || app.open() == 0);
}

#[test]
fn a_stale_connection_is_tried_again_and_no_evidence() {
    // Each connection takes one request and closes on the next, as a server whose idle clock ran out.
    let app = Backend::start(|request| if request.nth == 0 { ok("x") } else { vec![Act::Close] });
    let serin = alone(&app, "5s");
    let mut client = Client::connect(serin.address());
    for n in 0..10 {
        assert_eq!(client.get("/app").status, 200, "request {n}");
    }
    let metrics = Metrics::of(&serin);
    assert_eq!(metrics.requests("app", "only"), only(Success, 10));
    let (success, failure, _) = metrics.attempts("app", "only");
    assert_eq!((success, failure), (10, 0));
}

#[test]
fn a_connection_closed_while_idle_is_not_used() {
    let app = Backend::start(|_| [ok("x"), vec![Act::Close]].concat());
    let serin = alone(&app, "5s");
    let mut client = Client::connect(serin.address());
    for n in 0..10 {
        let method = if n % 2 == 0 { "GET" } else { "POST" };
        let response = client.request(method, "/app", &[], b"");
        assert_eq!(response.status, 200, "request {n}");
        // The close must have arrived before the next request is a fair one for a POST.
        wait_until("the connection is closed", || app.open() == 0);
    }
    assert_eq!(app.requests(), 10);
    settled(&serin, "app", only(Success, 10));
}

#[test]
fn a_post_is_never_sent_twice() {
    let app = Backend::start(|request| {
        if request.method() == "POST" {
            vec![Act::Close]
        } else {
            ok("x")
        }
    });
    let serin = alone(&app, "5s");
    let posts = || {
        app.seen()
            .iter()
            .filter(|seen| seen.head.start.starts_with("POST"))
            .count()
    };
    // On a fresh connection it is the backend's fault.
    fetch(serin.address(), "POST", "/app", &[], b"money").problem(502);
    assert_eq!(posts(), 1);
    settled(&serin, "app", only(Failure, 1));
    // On one that was used before nobody can know whether it was acted on: it is not sent again.
    let mut client = Client::connect(serin.address());
    assert_eq!(client.get("/app").status, 200);
    client.request("POST", "/app", &[], b"money").problem(502);
    assert_eq!(posts(), 2);
    wait_until("all are in the books", || {
        let (success, failure, none) = Metrics::of(&serin).requests("app", "only");
        success == 1 && failure + none == 2
    });
}

#[test]
fn a_slow_answer_within_the_timeout_is_fine_and_beyond_it_504() {
    let app = Backend::start(|request| {
        let pause = if request.target() == "/app/slow" { 5_000 } else { 100 };
        [vec![Act::Wait(Duration::from_millis(pause))], ok("x")].concat()
    });
    let serin = alone(&app, "600ms");
    assert_eq!(get(serin.address(), "/app/quick").status, 200);
    get(serin.address(), "/app/slow").problem(504);
    settled(&serin, "app", (1, 1, 0));
    let late = Metrics::of(&serin);
    let count = |le| late.sum("serin_request_duration_seconds_bucket", &[("route", "app"), ("le", le)]);
    assert_eq!(count("0.05"), 0.0, "the quick one took 100 ms");
    assert_eq!(count("0.5"), 1.0);
}

#[test]
fn requests_without_a_route_are_nobodys_evidence() {
    let app = Backend::ok("x");
    let serin = alone(&app, "5s");
    get(serin.address(), "/elsewhere").problem(404);
    let mut client = Client::connect(serin.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\nbad field\r\n\r\n");
    assert_eq!(client.response("GET").status, 400);
    settled(&serin, "app", (0, 0, 0));
}

#[test]
fn many_exchanges_at_once_are_each_counted_once() {
    let broken = Arc::new(AtomicBool::new(false));
    let shown = Arc::clone(&broken);
    let app = Backend::start(move |request| match request.target() {
        _ if shown.load(Ordering::SeqCst) => close(),
        "/app/chunks" => chunked(&[b"a", b"b"], &[]),
        "/app/bad" => answer(500, &[], "x"),
        _ => ok("x"),
    });
    let serin = alone(&app, "5s");
    let address = serin.address();
    let round = || {
        let clients: Vec<_> = (0..8)
            .map(|n| {
                thread::spawn(move || {
                    for target in ["/app", "/app/chunks", "/app/bad"].iter().cycle().take(60) {
                        let mut client = Client::connect(address);
                        client.send(format!("GET {target} HTTP/1.1\r\nhost: serin.test\r\n\r\n"));
                        if n % 4 != 3 {
                            client.try_response("GET").ok();
                        }
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().expect("no panic"));
    };
    let total = |outcomes: (u64, u64, u64)| outcomes.0 + outcomes.1 + outcomes.2;
    round();
    broken.store(true, Ordering::SeqCst);
    round();
    wait_until("all are over", || {
        let metrics = Metrics::of(&serin);
        metrics.sum("serin_requests_in_flight", &[("route", "app")]) == 0.0
            && metrics.sum("serin_downstream_connections", &[]) == 0.0
    });
    let metrics = Metrics::of(&serin);
    let (attempts, requests) = (metrics.attempts("app", "only"), metrics.requests("app", "only"));
    // A client that left at once may have been gone before its request was read; all others are there.
    assert!((720..=960).contains(&total(requests)), "{requests:?}");
    assert!(
        total(attempts) >= total(requests),
        "{attempts:?} attempts, {requests:?} requests"
    );
    let durations = metrics.sum("serin_request_duration_seconds_count", &[("route", "app")]);
    assert!(
        durations <= total(requests) as f64,
        "{durations} latencies of {requests:?}"
    );
}
