//! Backends that speak HTTP/2, in clear and over TLS, for clients of both protocols.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::common::{
    Call, Client, H2, Metrics, Options, Pair, Peer, Serin, fields, noise, one_with, send_all, wait_until,
};

const HTTP2: &str = "protocol: http2";

fn builder() -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 22);
    builder
}

/// Answers with the request's own body and trailers, and what it was in `x-seen`.
async fn echo(mut call: Call) {
    let seen = format!("{} {}", call.request.method(), call.request.uri());
    if let Some((body, trailers)) = call.whole().await {
        call.answer(Response::builder().header("x-seen", seen), body, trailers)
            .await;
    }
}

fn get(path: &str) -> Request<BoxBody<Bytes, std::convert::Infallible>> {
    let request = Request::get(format!("http://serin.test{path}"));
    request.body(Empty::new().boxed()).expect("a request")
}

fn post(path: &str, body: impl Into<Bytes>) -> Request<BoxBody<Bytes, std::convert::Infallible>> {
    let request = Request::post(format!("http://serin.test{path}"));
    request.body(Full::new(body.into()).boxed()).expect("a request")
}

/// A Serin in front of `peer`, which it takes for `app` of `pair`, where there is one.
fn serin_for(peer: &Peer, pair: Option<&Pair>, more: &str) -> Serin {
    let dir = TempDir::new().expect("a temporary directory");
    let tls = pair.map_or_else(String::new, |pair| {
        std::fs::write(dir.path().join("ca.pem"), &pair.certificate_pem).expect("it can be written");
        ", tls: { ca: ca.pem, serverName: app.test }".to_owned()
    });
    let body = one_with(peer.address(), &format!("{HTTP2}{tls}{more}"), "timeout: 20s");
    Serin::in_dir(dir, Options::default(), &body)
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_trailers_pass_both_ways_from_either_protocol() {
    let sent = noise(20 * 1024 * 1024 + 5);
    let pair = Pair::of(&["app.test"]);
    for tls in [false, true] {
        let acceptor = tls.then(|| pair.acceptor("h2", None));
        let peer = Peer::http2(acceptor, builder(), echo).await;
        let serin = serin_for(&peer, tls.then_some(&pair), "");

        let mut client = H2::connect(serin.address()).await;
        let trailers = fields(&[("x-sum", "7")]);
        let frames = [
            Frame::data(Bytes::from(sent.clone())),
            Frame::trailers(trailers.clone()),
        ];
        let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok))).boxed();
        let request = Request::post("http://serin.test/a?b").body(body).expect("a request");
        let (head, body, came) = client.exchange(request).await;
        assert_eq!(head.status.as_u16(), 200);
        assert!(body[..] == sent[..], "{} bytes came back", body.len());
        assert_eq!(came, Some(trailers));
        let scheme = if tls { "https" } else { "http" };
        let seen = head.headers.get("x-seen").expect("it was seen").to_str().expect("text");
        assert_eq!(seen, format!("POST {scheme}://serin.test/a?b"));

        let mut plain = Client::connect(serin.address());
        let whole = plain.request("POST", "/whole", &[("host", "serin.test")], &sent[..200_000]);
        assert_eq!(whole.status, 200);
        assert!(whole.body == sent[..200_000]);
        plain.send("POST /chunks HTTP/1.1\r\nhost: serin.test\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n");
        plain.send("3\r\nabc\r\n0\r\nx-sum: 3\r\n\r\n");
        let chunks = plain.response("POST");
        assert_eq!(
            (chunks.text().as_str(), chunks.trailers.get("x-sum")),
            ("abc", Some("3"))
        );
        let head = plain.request("HEAD", "/", &[("host", "serin.test")], b"");
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(
            peer.connections(),
            Metrics::of(&serin).sum("serin_upstream_connections", &[]) as usize
        );
        assert!(peer.connections() <= 2, "one for each worker");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_come_as_http2_has_them() {
    let seen: Arc<std::sync::Mutex<Vec<HeaderMap>>> = Arc::default();
    let kept = Arc::clone(&seen);
    let peer = Peer::http2(None, builder(), move |mut call: Call| {
        kept.lock().expect("no panic").push(call.request.headers().clone());
        async move {
            call.answer(Response::builder().header("x-kept", "yes"), "ok", None)
                .await
        }
    })
    .await;
    let serin = serin_for(&peer, None, "");
    let mut client = Client::connect(serin.address());
    client.send(
        "GET /a HTTP/1.1\r\nhost: serin.test\r\nconnection: keep-alive, x-mine, te\r\nx-mine: 1\r\nkeep-alive: 5\r\n\
         te: trailers\r\nupgrade: h2c\r\nX-Serin-Route: spoofed\r\ncookie: a=1\r\naccept: */*\r\n\r\n",
    );
    let answer = client.response("GET");
    assert_eq!((answer.status, answer.head.get("x-kept")), (200, Some("yes")));
    assert_eq!(answer.head.get("content-length"), None);
    let fields = seen.lock().expect("no panic").pop().expect("it was asked");
    let field = |name: &str| fields.get(name).map(|value| value.to_str().expect("text").to_owned());
    for gone in [
        "connection",
        "keep-alive",
        "upgrade",
        "x-mine",
        "host",
        "transfer-encoding",
    ] {
        assert_eq!(field(gone), None, "{gone}");
    }
    for (name, value) in [
        ("te", "trailers"),
        ("accept", "*/*"),
        ("cookie", "a=1"),
        ("x-serin-route", "app"),
        ("x-forwarded-host", "serin.test"),
        ("x-forwarded-proto", "http"),
    ] {
        assert_eq!(field(name).as_deref(), Some(value), "{name}");
    }
    assert!(field("traceparent").is_some_and(|parent| parent.len() == 55));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_share_a_connection_as_far_as_the_backend_allows() {
    for (streams, expected) in [(100, 1), (2, 4)] {
        let (waiting, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, released) = (Arc::clone(&waiting), Arc::clone(&go));
        let mut builder = builder();
        builder.max_concurrent_streams(streams);
        let peer = Peer::http2(None, builder, move |mut call: Call| {
            let (count, released) = (Arc::clone(&count), Arc::clone(&released));
            async move {
                count.fetch_add(1, Ordering::SeqCst);
                while !released.load(Ordering::SeqCst) {
                    // The pause between two looks.
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                call.answer(Response::builder(), "ok", None).await;
            }
        })
        .await;
        let options = Options {
            workers: 1,
            ..Options::default()
        };
        let serin = Serin::with(options, &one_with(peer.address(), HTTP2, "timeout: 20s"));
        let client = H2::connect(serin.address()).await;
        let asked: Vec<_> = (0..8)
            .map(|_| {
                let mut client = client.clone();
                tokio::spawn(async move { client.exchange(get("/")).await.0.status.as_u16() })
            })
            .collect();
        let waited = Arc::clone(&waiting);
        tokio::task::spawn_blocking(move || wait_until("all are there", || waited.load(Ordering::SeqCst) == 8))
            .await
            .expect("they came");
        assert_eq!(peer.connections(), expected, "{streams} streams each");
        go.store(true, Ordering::SeqCst);
        for asked in asked {
            assert_eq!(asked.await.expect("no panic"), 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_sent_again_and_what_may_have_been_done_is_not() {
    let done = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&done);
    let peer = Peer::http2(None, builder(), move |mut call: Call| {
        let count = Arc::clone(&count);
        async move {
            let path = call.request.uri().path().to_owned();
            match (&*path, call.connection) {
                ("/refused", 0) => call.respond.send_reset(Reason::REFUSED_STREAM),
                ("/always", _) => call.respond.send_reset(Reason::REFUSED_STREAM),
                ("/broken", _) => {
                    count.fetch_add(1, Ordering::SeqCst);
                    call.respond.send_reset(Reason::INTERNAL_ERROR);
                }
                _ => echo(call).await,
            }
        }
    })
    .await;
    let options = Options {
        workers: 1,
        ..Options::default()
    };
    let serin = Serin::with(options, &one_with(peer.address(), HTTP2, ""));
    let mut client = H2::connect(serin.address()).await;
    let (head, body, _) = client.exchange(post("/refused", "money")).await;
    assert_eq!((head.status.as_u16(), &body[..]), (200, &b"money"[..]));
    assert_eq!(peer.connections(), 2, "not on the connection that had no room");
    assert_eq!(client.exchange(post("/broken", "money")).await.0.status.as_u16(), 502);
    assert_eq!(done.load(Ordering::SeqCst), 1);
    assert_eq!(client.exchange(get("/broken")).await.0.status.as_u16(), 502);
    assert_eq!(
        done.load(Ordering::SeqCst),
        2,
        "its reset is its answer, whatever the method"
    );
    assert_eq!(client.exchange(get("/always")).await.0.status.as_u16(), 502);
    assert_eq!(client.exchange(post("/", "on")).await.0.status.as_u16(), 200);
    let (success, failure, none) = Metrics::of(&serin).attempts("app", "stable");
    assert_eq!((success, failure, none), (2, 3, 0));
}

/// A canary that resets what it cannot do, and cannot do half of it, loses its trial.
#[tokio::test(flavor = "multi_thread")]
async fn every_reset_counts_and_costs_no_connection() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let peer = Peer::http2(None, builder(), move |mut call: Call| {
        let nth = count.fetch_add(1, Ordering::SeqCst);
        async move {
            match (nth % 2, call.request.uri().path()) {
                (1, "/cancel") => call.respond.send_reset(Reason::CANCEL),
                (1, "/broken") => call.respond.send_reset(Reason::INTERNAL_ERROR),
                (1, "/refused") => call.respond.send_reset(Reason::REFUSED_STREAM),
                _ => echo(call).await,
            }
        }
    })
    .await;
    let options = Options {
        workers: 1,
        ..Options::default()
    };
    let serin = Serin::with(options, &one_with(peer.address(), HTTP2, ""));
    let mut client = H2::connect(serin.address()).await;
    for path in ["/cancel", "/broken"] {
        for status in [200, 502].repeat(5) {
            assert_eq!(client.exchange(get(path)).await.0.status.as_u16(), status);
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst), 20, "each was asked once");
    for _ in 0..10 {
        assert_eq!(client.exchange(post("/refused", "")).await.0.status.as_u16(), 200);
    }
    // The first, and two for each of the others.
    assert_eq!(asked.load(Ordering::SeqCst), 39);
    assert_eq!(Metrics::of(&serin).attempts("app", "stable"), (20, 10, 0));
    assert_eq!(peer.connections(), 1);
}

/// Its connection ended under a request that may be repeated: once, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ends_costs_one_more_try() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let peer = Peer::start(None, move |stream, _| {
        let count = Arc::clone(&count);
        async move {
            let mut serving = builder().handshake::<_, Bytes>(stream).await.expect("a preface");
            while let Some(Ok((request, respond))) = serving.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                if request.uri().path() == "/cut" {
                    return;
                }
                tokio::spawn(echo(Call {
                    request,
                    respond,
                    connection: 0,
                }));
            }
        }
    })
    .await;
    let options = Options {
        workers: 1,
        ..Options::default()
    };
    let serin = Serin::with(options, &one_with(peer.address(), HTTP2, ""));
    let mut client = H2::connect(serin.address()).await;
    for (method, seen) in [("GET", 2), ("POST", 1)] {
        assert_eq!(client.exchange(get("/")).await.0.status.as_u16(), 200);
        let before = asked.load(Ordering::SeqCst);
        let request = if method == "GET" {
            get("/cut")
        } else {
            post("/cut", "money")
        };
        assert_eq!(client.exchange(request).await.0.status.as_u16(), 502);
        assert_eq!(asked.load(Ordering::SeqCst) - before, seen, "{method}");
    }
    assert_eq!(Metrics::of(&serin).attempts("app", "stable"), (2, 2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_goes_away_loses_nothing() {
    // Each connection says that it leaves after its second request.
    let peer = Peer::start(None, |stream, _| async move {
        let mut serving = builder().handshake::<_, Bytes>(stream).await.expect("a preface");
        let mut served = 0;
        while let Some(Ok((request, respond))) = serving.accept().await {
            served += 1;
            if served == 2 {
                serving.graceful_shutdown();
            }
            tokio::spawn(echo(Call {
                request,
                respond,
                connection: 0,
            }));
        }
    })
    .await;
    let options = Options {
        workers: 1,
        ..Options::default()
    };
    let serin = Serin::with(options, &one_with(peer.address(), HTTP2, ""));
    let mut client = H2::connect(serin.address()).await;
    for nth in 0..20 {
        let (head, body, _) = client.exchange(post("/", format!("order {nth}"))).await;
        assert_eq!((head.status.as_u16(), body), (200, format!("order {nth}").into()));
    }
    assert!(peer.connections() >= 7, "{}", peer.connections());
    assert_eq!(Metrics::of(&serin).attempts("app", "stable"), (20, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_takes_its_request_back() {
    let (cancelled, there) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, seen) = (Arc::clone(&cancelled), Arc::clone(&there));
    let peer = Peer::http2(None, builder(), move |mut call: Call| {
        let (told, seen) = (Arc::clone(&told), Arc::clone(&seen));
        async move {
            let mut send = call
                .respond
                .send_response(Response::new(()), false)
                .expect("it is open");
            send.send_data(Bytes::from_static(b"begun"), false).expect("it is open");
            seen.notify_one();
            let reason = std::future::poll_fn(|cx| send.poll_reset(cx)).await;
            if matches!(reason, Ok(Reason::CANCEL)) {
                told.notify_one();
            }
        }
    })
    .await;
    let options = Options {
        workers: 1,
        ..Options::default()
    };
    let serin = Serin::with(options, &one_with(peer.address(), HTTP2, ""));
    let mut client = H2::connect(serin.address()).await;
    let mut answer = client.send(get("/")).await.expect("a head");
    let first = answer.body_mut().frame().await.expect("more").expect("whole");
    assert_eq!(first.data_ref().expect("data"), "begun");
    there.notified().await;
    drop(answer);
    tokio::time::timeout(crate::common::PATIENCE, cancelled.notified())
        .await
        .expect("it is told");
    let next = client.send(get("/")).await.expect("a head");
    assert_eq!(next.status().as_u16(), 200, "its connection goes on");
    assert_eq!(peer.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_break_the_rules_are_none() {
    let peer = Peer::http2(None, builder(), |mut call: Call| async move {
        let path = call.request.uri().path().to_owned();
        let head = Response::builder();
        let mut begin =
            |head: http::response::Builder| call.respond.send_response(head.body(()).expect("a head"), false);
        match &*path {
            "/short" => {
                let mut send = begin(head.header("content-length", "10")).expect("it is open");
                send_all(&mut send, Bytes::from_static(b"four"), None).await;
            }
            "/two-lengths" => {
                let head = head.header("content-length", "4").header("content-length", "5");
                let mut send = begin(head).expect("it is open");
                send_all(&mut send, Bytes::from_static(b"four"), None).await;
            }
            "/padded" => {
                let mut send = begin(head.header("x-a", " b")).expect("it is open");
                send_all(&mut send, Bytes::from_static(b"four"), None).await;
            }
            "/204" => {
                let mut send = begin(head.status(204)).expect("it is open");
                send_all(&mut send, Bytes::from_static(b"four"), None).await;
            }
            "/late-end" => {
                let mut send = begin(head.status(204)).expect("it is open");
                send_all(&mut send, Bytes::new(), None).await;
            }
            "/status" => drop(begin(head.status(999))),
            _ => drop(begin(head)),
        }
    })
    .await;
    let serin = serin_for(&peer, None, "");
    let ask = |path: &'static str| {
        let address = serin.address();
        tokio::task::spawn_blocking(move || Client::connect(address).get(path).status)
    };
    for path in ["/two-lengths", "/padded", "/204", "/status"] {
        assert_eq!(ask(path).await.expect("an answer"), 502, "{path}");
    }
    assert_eq!(ask("/late-end").await.expect("an answer"), 204);
    assert_eq!(Metrics::of(&serin).attempts("app", "stable"), (1, 4, 0));
    let address = serin.address();
    let cut = tokio::task::spawn_blocking(move || {
        let mut client = Client::connect(address);
        client.send("GET /short HTTP/1.1\r\nhost: serin.test\r\n\r\n");
        client.try_response("GET").is_err() || client.wire().head().is_ok()
    });
    assert!(cut.await.expect("no panic"));
    wait_until("it is booked", || {
        Metrics::of(&serin).attempts("app", "stable") == (1, 5, 0)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_speak_http2_is_no_backend_of_it() {
    let app = crate::common::Backend::ok("one");
    let serin = Serin::start(&one_with(app.address(), HTTP2, ""));
    let mut client = H2::connect(serin.address()).await;
    assert_eq!(client.exchange(get("/")).await.0.status.as_u16(), 502);
    assert_eq!(Metrics::of(&serin).attempts("app", "stable"), (0, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_pass_as_they_come() {
    let more = Arc::new(Notify::new());
    let asked = Arc::clone(&more);
    let peer = Peer::http2(None, builder(), move |mut call: Call| {
        let more = Arc::clone(&asked);
        async move {
            let head = Response::builder().header("content-type", "text/event-stream");
            let mut send = call
                .respond
                .send_response(head.body(()).expect("a head"), false)
                .expect("open");
            send.send_data(Bytes::from_static(b"data: 1\n\n"), false)
                .expect("it is open");
            more.notified().await;
            send.send_data(Bytes::from_static(b"data: 2\n\n"), true)
                .expect("it is open");
        }
    })
    .await;
    let serin = serin_for(&peer, None, "");
    let mut client = H2::connect(serin.address()).await;
    let mut answer = client.send(get("/")).await.expect("a head");
    let mut next = async || {
        let frame = answer.body_mut().frame().await.expect("more").expect("whole");
        frame.into_data().expect("data")
    };
    assert_eq!(next().await, "data: 1\n\n");
    more.notify_one();
    assert_eq!(next().await, "data: 2\n\n");

    let address = serin.address();
    let plain = tokio::task::spawn_blocking(move || {
        let mut client = Client::connect(address);
        client.send("GET / HTTP/1.1\r\nhost: serin.test\r\n\r\n");
        let head = client.wire().head().expect("a head").expect("a head");
        let first = client.wire().exactly("9\r\ndata: 1\n\n\r\n".len()).expect("the first");
        (head.start, first, client)
    });
    let (start, first, mut client) = plain.await.expect("no panic");
    assert!(start.starts_with("HTTP/1.1 200"), "{start}");
    assert_eq!(first, b"9\r\ndata: 1\n\n\r\n");
    more.notify_one();
    let rest = tokio::task::spawn_blocking(move || client.wire().exactly("9\r\ndata: 2\n\n\r\n".len()).expect("more"));
    assert_eq!(rest.await.expect("no panic"), b"9\r\ndata: 2\n\n\r\n");
}
