//! Who may speak against a release, and how often: no client alone where there are many, no client by
//! its own mistakes, and no endpoint by being cold.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{iter, once};
use http::Request;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;
use tokio::sync::oneshot;

use crate::common::{
    Act, Backend, Client, H2, Metrics, Options, Serin, backend, hang, ok, one, pair, pair_with, rollout, status,
    wait_until,
};

/// So many answers of 500 that one user gets.
const BAD: usize = 100;

/// Forty users are served well; then one gets nothing but errors.
fn one_user_against_forty(analysis: &str) -> Serin {
    let stable = Backend::ok("v1");
    let canary = Backend::start(|request| match request.head.get("x-user-id") {
        Some("unlucky") => status(500),
        _ => ok("v2"),
    });
    let key = "    key: { header: x-user-id }\n";
    let config = pair_with(stable.address(), canary.address(), (0, 100), "", key) + &rollout(analysis, "[]");
    // One worker: each counts for itself.
    let options = Options {
        workers: 1,
        ..Options::default()
    };
    let serin = Serin::with(options, &config);
    let mut client = Client::connect(serin.address());
    for user in (0..40).map(|n| format!("user-{n}")) {
        assert_eq!(client.request("GET", "/", &[("x-user-id", &user)], b"").status, 200);
    }
    for _ in 0..BAD {
        let fields = [("x-user-id", "unlucky")];
        // Aborted, it is stable that answers.
        assert!([200, 500].contains(&client.request("GET", "/", &fields, b"").status));
    }
    serin
}

#[test]
fn one_key_cannot_veto_a_release_where_there_are_many() {
    let analysis = "{ errorRate: { critical: 30% }, compareWith: none, maxVotesPerKey: 3 }";
    let serin = one_user_against_forty(analysis);
    wait_until("all are in the books", || {
        Metrics::of(&serin).attempts("shop", "canary") == (40, BAD as u64, 0)
    });
    let failed = [("variant", "canary"), ("outcome", "failure")];
    let heard = BAD as f64 - Metrics::of(&serin).sum("serin_cohort_attempts_total", &failed);
    // Three, and three more where a new window began in between.
    assert!([3.0, 6.0].contains(&heard), "{heard}");
    assert_eq!(serin.phase(), "watching");
}

#[test]
fn without_a_limit_it_can() {
    let analysis = "{ errorRate: { critical: 30% }, compareWith: none, maxVotesPerKey: 1000 }";
    one_user_against_forty(analysis).until_phase("aborted");
}

#[test]
fn a_route_says_which_statuses_are_failures() {
    let app = Backend::start(|request| status(request.target()[1..].parse().expect("a status")));
    let route = |name: &str, list: &str| {
        format!(
            "- {{ name: {name}, match: {{ headers: [{{ name: x-route, exact: {name} }}] }}, {list} split: {{ variants: [{{ name: only, backend: app, weight: 1 }}] }} }}\n"
        )
    };
    let config = format!(
        "backends:\n{}routes:\n{}{}",
        backend("app", app.address()),
        route("usual", ""),
        route("own", "failureStatuses: [404, 500],")
    );
    let serin = Serin::start(&config);
    let mut client = Client::connect(serin.address());
    for name in ["usual", "own"] {
        for code in [200, 403, 404, 500, 503] {
            let fields = [("x-route", name)];
            assert_eq!(client.request("GET", &format!("/{code}"), &fields, b"").status, code);
        }
    }
    wait_until("all are in the books", || {
        let metrics = Metrics::of(&serin);
        metrics.attempts("usual", "only") == (1, 2, 2) && metrics.attempts("own", "only") == (1, 2, 2)
    });
}

#[test]
fn the_first_answers_of_a_cold_endpoint_are_no_evidence_of_slowness() {
    const COLD: usize = 8;
    let served = Arc::new(AtomicUsize::new(0));
    let canary = Backend::start(move |_| {
        let cold = served.fetch_add(1, Ordering::SeqCst) < COLD;
        let pause = Duration::from_millis(if cold { 400 } else { 0 });
        [vec![Act::Wait(pause)], ok("v2")].concat()
    });
    let stable = Backend::ok("v1");
    let analysis = "{ latencyP95: { critical: 200ms }, compareWith: none, warmUp: 8 }";
    let config = pair(stable.address(), canary.address(), (0, 100)) + &rollout(analysis, "[]");
    let serin = Serin::start(&config);
    let mut client = Client::connect(serin.address());
    for _ in 0..COLD + 12 {
        assert_eq!(client.get("/").variant(), "canary");
    }
    wait_until("all are in the books", || {
        Metrics::of(&serin).attempts("shop", "canary") == (COLD as u64 + 12, 0, 0)
    });
    let of_canary = [("variant", "canary")];
    let timed = Metrics::of(&serin).sum("serin_request_duration_seconds_count", &of_canary);
    assert_eq!(timed, 12.0);
    assert_eq!(serin.phase(), "watching");
}

/// Five bytes of an upload of a hundred by HTTP/2, and its end once `end` says so; nothing more where that is dropped.
fn upload(path: &str, end: oneshot::Receiver<()>) -> Request<BoxBody<Bytes, Infallible>> {
    let piece = iter([Ok(Frame::data(Bytes::from_static(b"hello")))]);
    let rest = once(async {
        if end.await.is_err() {
            std::future::pending::<()>().await;
        }
        Ok(Frame::data(Bytes::new()))
    });
    let body = StreamBody::new(futures_util::StreamExt::chain(piece, rest)).boxed();
    Request::post(format!("http://serin.test{path}"))
        .header("content-length", "100")
        .body(body)
        .expect("a request")
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_uploads_over_http2_are_the_clients_fault() {
    let app = Backend::ok("x");
    let serin = Serin::start(&one(app.address()));
    let client = H2::connect(serin.address()).await;
    let begin = |path: &'static str| {
        let (end, ended) = oneshot::channel();
        let mut client = client.clone();
        let waiting = tokio::spawn(async move { client.send(upload(path, ended)).await });
        wait_until("the backend has its beginning", || {
            app.seen().iter().any(|seen| seen.head.start.contains(path))
        });
        (end, waiting)
    };
    // Broken once it is under way: what is broken from the beginning is sent nowhere.
    let (end, short) = begin("/short");
    end.send(()).expect("it waits");
    let short = short
        .await
        .expect("no panic")
        .map(|response| response.status().as_u16());
    assert_ne!(short.unwrap_or(400), 200);
    let (_end, waiting) = begin("/given-up");
    waiting.abort();
    wait_until("all are in the books", || {
        Metrics::of(&serin).attempts("app", "stable") == (0, 0, 2)
    });
    assert!(app.seen().iter().all(|seen| !seen.whole), "{:?}", app.seen());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_given_up_after_a_long_wait_speaks_against_the_backend() {
    let app = Backend::start(|_| hang());
    let serin = Serin::start(&one(app.address()).replace("pathPrefix: / }", "pathPrefix: / }\n  timeout: 1s"));
    let mut client = H2::connect(serin.address()).await;
    let request = Request::get("http://serin.test/").body(Empty::new().boxed());
    let waiting = tokio::spawn(async move { client.send(request.expect("a request")).await.map(drop) });
    wait_until("the backend is asked", || app.requests() == 1);
    // More than half of the timeout, less than all of it.
    tokio::time::sleep(Duration::from_millis(700)).await;
    waiting.abort();
    wait_until("it is in the books", || {
        Metrics::of(&serin).attempts("app", "stable") == (0, 1, 0)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_4xx_over_http2_do_not_vote() {
    let app = Backend::start(|_| status(404));
    let serin = Serin::start(&one(app.address()));
    let mut client = H2::connect(serin.address()).await;
    let request = Request::get("http://serin.test/").body(Empty::new().boxed());
    let (head, ..) = client.exchange(request.expect("a request")).await;
    assert_eq!(head.status.as_u16(), 404);
    wait_until("it is in the books", || {
        Metrics::of(&serin).attempts("app", "stable") == (0, 0, 1)
    });
}
