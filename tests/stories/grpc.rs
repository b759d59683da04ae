//! Calls of gRPC: the status that they end with decides, and deadlines hold.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};

use crate::common::{Call, H2, Metrics, Peer, Serin, fields, one_with, wait_until};

/// What a script answers to `/a.B/C?x`.
async fn answer(mut call: Call, kept: Arc<Mutex<Vec<HeaderMap>>>) {
    kept.lock().expect("no panic").push(call.request.headers().clone());
    let what = call
        .request
        .uri()
        .path()
        .rsplit('/')
        .next()
        .expect("a method")
        .to_owned();
    let head = || Response::builder().header("content-type", "application/grpc+proto");
    let message = Bytes::from_static(b"\0\0\0\0\x02hi");
    match &*what {
        "Bare" => call.answer(head().header("grpc-status", "14"), "", None).await,
        "Missing" => call.answer(head(), message, None).await,
        "Page" => {
            call.answer(Response::builder().header("content-type", "text/html"), "hi", None)
                .await
        }
        "Hang" => {
            let _kept = call;
            std::future::pending::<()>().await;
        }
        "Begun" => {
            let mut send = call
                .respond
                .send_response(head().body(()).expect("a head"), false)
                .expect("open");
            send.send_data(message, false).expect("it is open");
            let _kept = (call, send);
            std::future::pending::<()>().await;
        }
        status => {
            let status: &'static str = status.to_owned().leak();
            call.answer(head(), message, Some(fields(&[("grpc-status", status)])))
                .await;
        }
    }
}

struct Site {
    serin: Serin,
    client: H2,
    seen: Arc<Mutex<Vec<HeaderMap>>>,
    _peer: Peer,
}

impl Site {
    async fn new(route: &str) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let peer = Peer::http2(None, h2::server::Builder::new(), move |call| {
            answer(call, Arc::clone(&kept))
        })
        .await;
        let serin = Serin::start(&one_with(peer.address(), "protocol: http2", route));
        let client = H2::connect(serin.address()).await;
        Self {
            serin,
            client,
            seen,
            _peer: peer,
        }
    }

    fn request(method: &str, timeout: Option<&str>) -> Request<BoxBody<Bytes, std::convert::Infallible>> {
        let mut request = Request::post(format!("http://serin.test/a.B/{method}"))
            .header("content-type", "application/grpc+proto")
            .header("te", "trailers");
        if let Some(timeout) = timeout {
            request = request.header("grpc-timeout", timeout);
        }
        let body = Full::new(Bytes::from_static(b"\0\0\0\0\x02yo")).boxed();
        request.body(body).expect("a request")
    }

    /// The status that the call ends with, in its trailers or its head.
    async fn call(&mut self, method: &str, timeout: Option<&str>) -> Option<String> {
        let (head, _, trailers) = self.client.exchange(Self::request(method, timeout)).await;
        let status = trailers.unwrap_or_default().get("grpc-status").cloned();
        let status = status.or_else(|| head.headers.get("grpc-status").cloned());
        status.map(|status| status.to_str().expect("text").to_owned())
    }

    /// Successes, failures, and what shows nothing.
    fn attempts(&self) -> (u64, u64, u64) {
        Metrics::of(&self.serin).attempts("app", "stable")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_in_the_trailers_decides() {
    let mut site = Site::new("").await;
    let mut before = site.attempts();
    for (method, status, shows) in [
        ("0", Some("0"), (1, 0, 0)),
        ("2", Some("2"), (0, 1, 0)),
        ("4", Some("4"), (0, 1, 0)),
        ("13", Some("13"), (0, 1, 0)),
        ("14", Some("14"), (0, 1, 0)),
        ("15", Some("15"), (0, 1, 0)),
        ("1", Some("1"), (0, 0, 1)),
        ("3", Some("3"), (0, 0, 1)),
        ("5", Some("5"), (0, 0, 1)),
        ("16", Some("16"), (0, 0, 1)),
        ("Bare", Some("14"), (0, 1, 0)),
        ("Missing", None, (0, 1, 0)),
        // Whoever calls what is no service of gRPC must not speak against it.
        ("Page", None, (0, 0, 1)),
    ] {
        assert_eq!(site.call(method, None).await.as_deref(), status, "{method}");
        let expected = (before.0 + shows.0, before.1 + shows.1, before.2 + shows.2);
        wait_until(method, || site.attempts() == expected);
        before = expected;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_the_call_and_what_is_left_of_it_is_passed_on() {
    let mut site = Site::new("timeout: 10s").await;
    assert_eq!(site.call("0", Some("10S")).await.as_deref(), Some("0"));
    assert_eq!(site.call("0", Some("soon")).await.as_deref(), Some("0"));
    let seen: Vec<_> = site.seen.lock().expect("no panic").drain(..).collect();
    let passed = seen[0]
        .get("grpc-timeout")
        .expect("a deadline")
        .to_str()
        .expect("text")
        .to_owned();
    let left: u64 = passed
        .strip_suffix('u')
        .expect("microseconds")
        .parse()
        .expect("a number");
    assert!((1_000_000..=10_000_000).contains(&left), "{passed}");
    assert_eq!(seen[1].get("grpc-timeout").expect("as it was"), "soon");

    let begun = Instant::now();
    assert_eq!(site.call("Hang", Some("60m")).await.as_deref(), Some("4"));
    assert_eq!(site.call("Begun", Some("60m")).await.as_deref(), Some("4"));
    assert!(begun.elapsed() >= Duration::from_millis(120), "{:?}", begun.elapsed());
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "long before the timeout: {:?}",
        begun.elapsed()
    );
    wait_until("no client speaks against a release by giving it no time", || {
        site.attempts() == (2, 0, 2)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_was_given_time_and_did_not_answer_has_failed() {
    let mut site = Site::new("timeout: 400ms").await;
    assert_eq!(site.call("Hang", Some("300m")).await.as_deref(), Some("4"));
    wait_until("half of the timeout is time enough", || site.attempts() == (0, 1, 0));
    // Its own word within a tiny deadline shows nothing.
    assert_eq!(site.call("4", Some("90m")).await.as_deref(), Some("4"));
    wait_until("it is booked", || site.attempts() == (0, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_may_have_run_is_not_told_as_one_to_try_again() {
    let mut site = Site::new("timeout: 200ms").await;
    let text = std::fs::read_to_string(site.serin.file()).expect("it can be read");
    std::fs::write(site.serin.file(), text.replace("access: off", "access: all")).expect("it can be written");
    site.serin.reload();
    // Its log says what the client was sent, ours and the backend's.
    assert_eq!(site.call("Hang", None).await.as_deref(), Some("4"));
    assert_eq!(site.call("13", None).await.as_deref(), Some("13"));
    wait_until("both are in the log", || {
        let log = site.serin.log();
        log.contains("/a.B/Hang 200 grpc=4 failure ") && log.contains("/a.B/13 200 grpc=13 failure ")
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_ends_when_its_route_gives_it_no_more_time() {
    let mut site = Site::new("timeout: 200ms, totalTimeout: 300ms").await;
    let answer = site.client.send(Site::request("Begun", None)).await.expect("a head");
    assert!(answer.into_body().collect().await.is_err(), "it breaks off");
    wait_until("all of the time was the backend's", || site.attempts() == (0, 1, 0));
}
