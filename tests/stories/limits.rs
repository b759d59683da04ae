//! Everything is bounded: reaching a limit is answered, counted, and nobody's evidence.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::common::{Act, Backend, Client, Metrics, Options, Serin, get, ok, one, status, wait_until};

fn listener(keys: &str) -> Options {
    Options {
        listener: keys.to_owned(),
        ..Options::default()
    }
}

#[track_caller]
fn counted(serin: &Serin, reason: &str) {
    wait_until(&format!("{reason} is counted"), || {
        Metrics::of(serin).sum("serin_rejected_total", &[("reason", reason)]) >= 1.0
    });
}

#[test]
fn a_long_target_is_414() {
    let app = Backend::ok("x");
    let serin = Serin::with(listener("limits: { uriBytes: 1KiB }"), &one(app.address()));
    assert_eq!(get(serin.address(), &format!("/{}", "a".repeat(900))).status, 200);
    let response = get(serin.address(), &format!("/{}", "a".repeat(2000)));
    response.problem(414);
    assert_eq!(response.head.get("server"), Some("serin"));
    counted(&serin, "uri");
    assert_eq!(app.requests(), 1);
}

#[test]
fn too_many_fields_are_431() {
    let app = Backend::ok("x");
    let serin = Serin::with(listener("limits: { headers: 20 }"), &one(app.address()));
    let send = |fields: usize| {
        let fields: String = (0..fields).map(|n| format!("x-{n}: 1\r\n")).collect();
        let mut client = Client::connect(serin.address());
        client.send(format!("GET / HTTP/1.1\r\nhost: serin.test\r\n{fields}\r\n"));
        client.response("GET")
    };
    assert_eq!(send(15).status, 200);
    send(40).problem(431);
    counted(&serin, "headers");
    assert_eq!(app.requests(), 1);
}

#[test]
fn a_large_head_is_431() {
    let app = Backend::ok("x");
    let serin = Serin::with(listener("limits: { headerBytes: 8KiB }"), &one(app.address()));
    let send = |bytes: usize| {
        let mut client = Client::connect(serin.address());
        client.send(format!(
            "GET / HTTP/1.1\r\nhost: serin.test\r\nx-large: {}\r\n\r\n",
            "a".repeat(bytes)
        ));
        client.response("GET")
    };
    assert_eq!(send(4_000).status, 200);
    send(20_000).problem(431);
    counted(&serin, "headers");
    assert_eq!(app.requests(), 1);
}

#[test]
fn connections_beyond_the_limit_are_turned_away() {
    let app = Backend::ok("x");
    let serin = Serin::with(listener("limits: { connections: 2 }"), &one(app.address()));
    let mut first = Client::connect(serin.address());
    let mut second = Client::connect(serin.address());
    assert_eq!((first.get("/").status, second.get("/").status), (200, 200));
    let mut third = Client::connect(serin.address());
    // Answered without having been asked: 503 and the end.
    third.send("GET / HTTP/1.1\r\nhost: serin.test\r\n\r\n");
    let response = third.response("GET");
    response.problem(503);
    assert!(response.head.get("retry-after").is_some(), "{response:?}");
    assert!(third.closed());
    counted(&serin, "connections");
    assert_eq!(
        (first.get("/").status, second.get("/").status),
        (200, 200),
        "those inside go on"
    );
    drop(first);
    wait_until("the place is free again", || {
        let mut client = Client::connect(serin.address());
        client
            .try_request("GET", "/", &[], b"")
            .is_ok_and(|response| response.status == 200)
    });
}

#[test]
fn a_slow_head_is_408() {
    let app = Backend::ok("x");
    let serin = Serin::with(
        listener("timeouts: { requestHead: 300ms, body: 30s, idle: 30s }"),
        &one(app.address()),
    );
    let mut client = Client::connect(serin.address());
    client.send("GET / HTTP/1.1\r\nhost: serin");
    if let Ok(response) = client.try_response("GET") {
        assert_eq!(response.status, 408);
    }
    assert!(client.closed());
    counted(&serin, "head_timeout");
    assert_eq!(app.requests(), 0);
}

#[test]
fn an_idle_connection_is_closed_in_silence() {
    let app = Backend::ok("x");
    let serin = Serin::with(
        listener("timeouts: { requestHead: 10s, body: 30s, idle: 300ms }"),
        &one(app.address()),
    );
    let mut client = Client::connect(serin.address());
    assert_eq!(client.get("/").status, 200);
    assert!(client.closed(), "and not a byte is sent");
}

#[test]
fn a_connection_that_never_asks_is_closed_in_silence() {
    let app = Backend::ok("x");
    let serin = Serin::with(
        listener("timeouts: { requestHead: 300ms, body: 30s, idle: 1s }"),
        &one(app.address()),
    );
    // Its clock is that between two requests: no head has begun that could be late.
    let rest = Client::connect(serin.address()).wire().rest();
    assert_eq!(String::from_utf8_lossy(&rest.expect("an end in good order")), "");
    let late = Metrics::of(&serin).sum("serin_rejected_total", &[("reason", "head_timeout")]);
    assert_eq!(late, 0.0);
}

#[test]
fn a_backend_is_spared_more_than_its_limit() {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let app = Backend::start(move |_| [vec![Act::Until(Arc::clone(&gate))], ok("x")].concat());
    let config = one(app.address()).replace("endpoints: ", "limits: { maxInFlight: 1 }, endpoints: ");
    let serin = Serin::start(&config);
    let address = serin.address();
    let first = thread::spawn(move || get(address, "/").status);
    wait_until("the first is with the backend", || app.requests() == 1);
    let second = get(serin.address(), "/");
    second.problem(503);
    assert!(second.head.get("retry-after").is_some(), "{second:?}");
    assert_eq!(second.head.get("server"), Some("serin"));
    counted(&serin, "backend_limit");
    open.store(true, Ordering::SeqCst);
    assert_eq!(first.join().expect("no panic"), 200);
    assert_eq!(get(serin.address(), "/").status, 200, "there is room again");
    wait_until("our own refusal is not the backend's failure", || {
        let (success, failure, _) = Metrics::of(&serin).requests("app", "stable");
        (success, failure) == (2, 0)
    });
}

/// RFC 9112 framing that two parties could read in two ways: 400, and the connection ends.
#[track_caller]
fn refused(serin: &Serin, request: &str) {
    let mut client = Client::connect(serin.address());
    client.send(request);
    let response = client.response("GET");
    assert_eq!(response.status, 400, "{request:?}: {response:?}");
    assert!(client.closed(), "{request:?}");
}

#[test]
fn a_refused_head_has_no_body() {
    let app = Backend::ok("x");
    let serin = Serin::start(&one(app.address()));
    let mut client = Client::connect(serin.address());
    client.send("HEAD /../x HTTP/1.1\r\nhost: a\r\n\r\n");
    let response = client.response("HEAD");
    assert_eq!(response.status, 400);
    assert_ne!(response.head.get("content-length"), Some("0"));
    assert!(client.closed(), "nothing follows the head");
}

#[test]
fn ambiguous_framing_is_refused() {
    let app = Backend::ok("x");
    let serin = Serin::start(&one(app.address()));
    for request in [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3, 4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nhost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n folded: 1\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
        "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/3.7\r\nhost: a\r\n\r\n",
        // Without its name the backend would take the coding for the content.
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        refused(&serin, request);
    }
    assert_eq!(app.requests(), 0);
}

#[test]
fn a_bad_request_behind_a_good_one_is_refused_in_our_words() {
    // The good one's answer looks like a refusal itself, and is passed on as it is.
    let app = Backend::start(|_| status(400));
    let serin = Serin::start(&one(app.address()));
    let mut client = Client::connect(serin.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\nBAD\r\n\r\n");
    let first = client.response("GET");
    assert_eq!((first.status, first.variant()), (400, "stable"));
    client.response("GET").problem(400);
    assert!(client.closed());
    counted(&serin, "bad_request");
    assert_eq!(app.requests(), 1);
}

#[test]
fn idle_connections_do_not_use_up_the_limit_of_connections() {
    let app = Backend::ok("x");
    let other = Backend::ok("x");
    let limits = "limits: { maxConnections: 1 }, loadBalancing: roundRobin, endpoints: ";
    let config = one(app.address()).replace("endpoints: ", limits).replace(
        &app.address().to_string(),
        &format!("{}\", \"{}", app.address(), other.address()),
    );
    let options = Options {
        workers: 1,
        ..Options::default()
    };
    let serin = Serin::with(options, &config);
    let mut client = Client::connect(serin.address());
    for n in 0..6 {
        assert_eq!(client.get("/").status, 200, "request {n}");
    }
    assert_eq!((app.requests(), other.requests()), (3, 3));
}

#[test]
fn one_client_cannot_have_all_connections() {
    let app = Backend::ok("x");
    let serin = Serin::with(
        listener("limits: { connections: 100, connectionsPerClient: 2 }"),
        &one(app.address()),
    );
    let mut first = Client::connect(serin.address());
    let mut second = Client::connect(serin.address());
    assert_eq!((first.get("/").status, second.get("/").status), (200, 200));
    let mut third = Client::connect(serin.address());
    third.send("GET / HTTP/1.1\r\nhost: serin.test\r\n\r\n");
    let told = third.response("GET").problem(503);
    assert!(
        told["detail"].as_str().expect("a text").starts_with("this client"),
        "{told}"
    );
    counted(&serin, "connections_per_client");
    // Others are none of its business.
    let mut other = Client::connect_from([127, 0, 0, 2], serin.address());
    assert_eq!(other.get("/").status, 200);
    drop(second);
    wait_until("its place is free again", || {
        Client::try_connect(serin.address())
            .and_then(|mut client| client.try_request("GET", "/", &[("host", "serin.test")], b""))
            .is_ok_and(|answer| answer.status == 200)
    });
}

#[test]
fn a_connection_that_is_old_enough_ends_with_an_answer_that_says_so() {
    let app = Backend::ok("x");
    let serin = Serin::with(listener("timeouts: { connectionAge: 1s }"), &one(app.address()));
    let mut client = Client::connect(serin.address());
    let mut answers = 0;
    wait_until("an answer is the last one", || {
        let answer = client.get("/");
        assert_eq!(answer.status, 200);
        answers += 1;
        answer.head.get("connection").is_some_and(|value| value == "close")
    });
    assert!(answers > 1, "the first one was not");
    assert!(client.closed());
    assert_eq!(get(serin.address(), "/").status, 200);
}
