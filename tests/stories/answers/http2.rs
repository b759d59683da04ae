//! The same to a client of HTTP/2 (RFC 9113 §8.1.1): what breaks is reset or told as 502, and never whole.

use std::convert::Infallible;

use bytes::Bytes;
use http::Request;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty};

use super::chunks::BAD;
use crate::common::{Act, Backend, H2, Metrics, Serin, one, wait_until};

/// What a backend says before it closes too early.
const CUT: &[&[u8]] = &[
    b"",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
];

fn get(path: String) -> Request<BoxBody<Bytes, Infallible>> {
    let body = BoxBody::new(Empty::new());
    Request::get(format!("http://serin.test{path}"))
        .body(body)
        .expect("a request")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_is_never_whole_to_a_client_of_http2() {
    let begun = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let cut = CUT.iter().map(|says| says.to_vec());
    let answers: Vec<_> = cut.chain(BAD.iter().map(|(_, rest)| [begun, *rest].concat())).collect();
    let cases = answers.len();
    let app = Backend::start(move |request| {
        let case: usize = request.target().trim_matches('/').parse().unwrap_or_default();
        vec![Act::Send(answers[case].clone()), Act::Close]
    });
    let serin = Serin::start(&one(app.address()));
    let client = H2::connect(serin.address()).await;
    for case in 0..cases {
        // A reset may overtake the head that was to go before it.
        if let Ok(response) = client.clone().send(get(format!("/{case}"))).await {
            let status = response.status().as_u16();
            let body = response.into_body().collect().await;
            assert_eq!(status == 502, body.is_ok(), "{case}: {status} {body:?}");
        }
    }
    let failed = cases as u64;
    wait_until("all are in the books", || {
        Metrics::of(&serin).attempts("app", "stable") == (0, failed, 0)
    });
    assert_eq!(Metrics::of(&serin).requests("app", "stable"), (0, failed, 0));
}
