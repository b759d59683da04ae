//! HTTP/2 from clients, by prior knowledge, in front of backends that speak HTTP/1.1.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;

use crate::common::{
    Act, Backend, H2, Metrics, Options, Serin, answer, chunked, close, fetch, noise, ok, one, status, wait_until,
};

fn get(path: &str) -> Request<BoxBody<Bytes, Infallible>> {
    Request::get(format!("http://serin.test{path}"))
        .body(Empty::new().boxed())
        .expect("a request")
}

fn post(path: &str, body: impl Into<Bytes>) -> Request<BoxBody<Bytes, Infallible>> {
    let body = Full::new(body.into()).boxed();
    Request::post(format!("http://serin.test{path}"))
        .body(body)
        .expect("a request")
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_answer_to_head_has_no_body() {
    let app = Backend::start(|_| close());
    let serin = Serin::start(&one(app.address()));
    let mut client = H2::connect(serin.address()).await;
    let mut request = get("/");
    *request.method_mut() = Method::HEAD;
    let (parts, body, _) = client.exchange(request).await;
    assert_eq!((parts.status.as_u16(), body.len()), (502, 0));
    assert_eq!(client.exchange(get("/")).await.0.status.as_u16(), 502, "it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_passes_with_its_fields() {
    let fields = [
        ("connection", "x-secret"),
        ("x-secret", "1"),
        ("keep-alive", "timeout=5"),
        ("x-kept", "yes"),
    ];
    let app = Backend::start(move |_| answer(200, &fields, "over two"));
    let serin = Serin::start(&one(app.address()));
    let mut client = H2::connect(serin.address()).await;
    let mut request = get("/a?b=1");
    request.headers_mut().insert("x-mine", HeaderValue::from_static("m"));
    request.headers_mut().append("cookie", HeaderValue::from_static("a=1"));
    request.headers_mut().append("cookie", HeaderValue::from_static("b=2"));
    let (head, body, trailers) = client.exchange(request).await;
    assert_eq!(
        (head.status.as_u16(), head.version, &body[..]),
        (200, Version::HTTP_2, &b"over two"[..])
    );
    assert_eq!(
        (head.headers.get("x-serin-variant"), trailers),
        (Some(&HeaderValue::from_static("stable")), None)
    );
    assert_eq!(head.headers.get("x-kept"), Some(&HeaderValue::from_static("yes")));
    for gone in ["connection", "keep-alive", "x-secret", "transfer-encoding"] {
        assert!(!head.headers.contains_key(gone), "{gone}");
    }
    let seen = app.seen().pop().expect("it was asked").head;
    assert_eq!(seen.start, "GET /a?b=1 HTTP/1.1");
    assert_eq!(
        (seen.get("x-mine"), seen.get("x-forwarded-host")),
        (Some("m"), Some("serin.test"))
    );
    assert_eq!(
        (seen.get("x-forwarded-for"), seen.get("x-forwarded-proto")),
        (Some("127.0.0.1"), Some("http"))
    );
    assert_eq!(
        seen.get("cookie"),
        Some("a=1; b=2"),
        "one field again (RFC 9113, 8.2.3)"
    );
    assert_eq!(seen.all("host").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_pass_both_ways_byte_for_byte() {
    let body = noise(4 * 1024 * 1024 + 3);
    let sent = body.clone();
    let app = Backend::start(move |_| ok(&sent));
    let serin = Serin::start(&one(app.address()));
    let mut client = H2::connect(serin.address()).await;
    let (head, down, _) = client.exchange(post("/", body.clone())).await;
    assert_eq!(head.status.as_u16(), 200);
    assert!(down[..] == body[..], "{} bytes came down", down.len());
    let seen = app.seen().pop().expect("it was asked");
    assert!(seen.body == body, "{} bytes went up", seen.body.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_pass_both_ways() {
    let app = Backend::start(|_| chunked(&[b"data"], &[("grpc-status", "0")]));
    let serin = Serin::start(&one(app.address()));
    let mut client = H2::connect(serin.address()).await;
    let trailers = HeaderMap::from_iter([("x-sum".parse().expect("a name"), HeaderValue::from_static("4"))]);
    // Without a length: HTTP/1.1 has trailers after chunks only.
    let frames = [Frame::data(Bytes::from_static(b"data")), Frame::trailers(trailers)];
    let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok))).boxed();
    let request = Request::builder()
        .method(Method::POST)
        .uri("http://serin.test/rpc")
        .header("te", "trailers")
        .header("trailer", "x-sum")
        .body(body)
        .expect("a request");
    let (_, body, trailers) = client.exchange(request).await;
    assert_eq!(&body[..], b"data");
    assert_eq!(
        trailers.and_then(|all| all.get("grpc-status").cloned()),
        Some(HeaderValue::from_static("0"))
    );
    let seen = app.seen().pop().expect("it was asked");
    assert_eq!(
        (seen.body.as_slice(), seen.trailers.get("x-sum")),
        (&b"data"[..], Some("4"))
    );
    assert_eq!(seen.head.get("te"), Some("trailers"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_share_a_connection_and_a_broken_one_hurts_no_other() {
    let app = Backend::start(|request| match request.target() {
        "/broken" => close(),
        "/cut" => vec![
            Act::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab".to_vec()),
            Act::Close,
        ],
        "/bad" => status(500),
        target => ok(target),
    });
    let serin = Serin::start(&one(app.address()));
    let client = H2::connect(serin.address()).await;
    let streams = (0..60).map(|n| {
        let mut client = client.clone();
        tokio::spawn(async move {
            match n % 6 {
                0 => assert_eq!(client.exchange(get("/broken")).await.0.status.as_u16(), 502),
                1 => {
                    // A reset may overtake the head that was to go before it.
                    if let Ok(response) = client.send(get("/cut")).await {
                        assert_eq!(response.status().as_u16(), 200);
                        response.into_body().collect().await.expect_err("the body is cut");
                    }
                }
                2 => assert_eq!(client.exchange(get("/bad")).await.0.status.as_u16(), 500),
                _ => {
                    let path = format!("/{n}");
                    assert_eq!(client.exchange(get(&path)).await.1, path);
                }
            }
        })
    });
    for stream in streams.collect::<Vec<_>>() {
        stream.await.expect("no panic");
    }
    wait_until("all are in the books", || {
        Metrics::of(&serin).attempts("app", "stable") == (30, 30, 0)
    });
    assert_eq!(Metrics::of(&serin).requests("app", "stable"), (30, 30, 0));
    assert_eq!(Metrics::of(&serin).sum("serin_downstream_connections", &[]), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_our_own_are_problem_documents() {
    let app = Backend::ok("x");
    let config = one(app.address()).replace("pathPrefix: /", "pathPrefix: /app");
    let serin = Serin::start(&config);
    let mut client = H2::connect(serin.address()).await;
    let (head, body, _) = client.exchange(get("/elsewhere")).await;
    assert_eq!(head.status.as_u16(), 404);
    assert_eq!(
        head.headers.get("content-type"),
        Some(&HeaderValue::from_static("application/problem+json"))
    );
    assert_eq!(head.headers.get("server"), Some(&HeaderValue::from_static("serin")));
    let document: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(document["status"], 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_the_client_gives_up_is_no_evidence() {
    let app = Backend::start(|request| {
        if request.target() == "/hang" {
            vec![Act::Hang]
        } else {
            ok("x")
        }
    });
    let serin = Serin::start(&one(app.address()));
    let client = H2::connect(serin.address()).await;
    for n in 0..5 {
        let mut client = client.clone();
        let waiting = tokio::spawn(async move { client.send(get("/hang")).await.map(drop) });
        wait_until("the backend is asked", || app.requests() == n + 1);
        waiting.abort();
    }
    wait_until("all are in the books", || {
        Metrics::of(&serin).attempts("app", "stable") == (0, 0, 5)
    });
    wait_until("nobody waits any more", || app.open() == 0);
    let mut client = client;
    assert_eq!(
        client.exchange(get("/")).await.0.status.as_u16(),
        200,
        "the connection goes on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_fields_are_431() {
    let app = Backend::ok("x");
    let serin = Serin::start(&one(app.address()));
    let mut client = H2::connect(serin.address()).await;
    let mut request = get("/");
    for n in 0..150 {
        let name = http::HeaderName::try_from(format!("x-{n}")).expect("a name");
        request.headers_mut().insert(name, HeaderValue::from_static("1"));
    }
    assert_eq!(client.exchange(request).await.0.status.as_u16(), 431);
    assert_eq!(client.exchange(get("/")).await.0.status.as_u16(), 200);
    assert_eq!(app.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_its_client_stalls_is_reset_and_no_other() {
    let app = Backend::start(|request| {
        if request.target() == "/large" {
            ok(noise(4 << 20))
        } else {
            ok("x")
        }
    });
    let options = Options {
        listener: "timeouts: { requestHead: 10s, body: 300ms, idle: 60s }".to_owned(),
        ..Options::default()
    };
    let serin = Serin::with(options, &one(app.address()));
    let mut client = H2::connect(serin.address()).await;
    // Its body is never read: once its window is full, the socket is still writable.
    let stalled = client.send(get("/large")).await.expect("a head");
    wait_until("it is given up, and says nothing about the backend", || {
        Metrics::of(&serin).attempts("app", "stable") == (0, 0, 1)
    });
    wait_until("nobody waits any more", || app.open() == 0);
    assert_eq!(client.exchange(get("/")).await.0.status.as_u16(), 200);
    stalled.into_body().collect().await.expect_err("it was reset");
}

#[tokio::test(flavor = "multi_thread")]
async fn head_and_bodiless_answers_pass() {
    let app = Backend::start(|request| match request.method() {
        "HEAD" => vec![Act::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 77\r\n\r\n".to_vec())],
        _ => vec![Act::Send(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())],
    });
    let serin = Serin::start(&one(app.address()));
    let mut client = H2::connect(serin.address()).await;
    let mut request = get("/");
    *request.method_mut() = Method::HEAD;
    let (head, body, _) = client.exchange(request).await;
    assert_eq!((head.status.as_u16(), body.len()), (200, 0));
    assert_eq!(
        head.headers.get("content-length"),
        Some(&HeaderValue::from_static("77"))
    );
    assert_eq!(client.exchange(get("/")).await.0.status.as_u16(), 204);
    // Both protocols are served at the same address.
    assert_eq!(fetch(serin.address(), "GET", "/", &[], b"").status, 204);
}
