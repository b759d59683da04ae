//! Backends that only a clock ends.

use std::time::Duration;

use super::case::Case;
use super::expected::{LATE, chunked, ok, whole};
use super::play::play_with;
use crate::common::Options;

#[test]
fn a_backend_that_is_too_slow_is_at_fault() {
    let options = Options {
        listener: "timeouts: { requestHead: 10s, body: 500ms, idle: 30s }".to_owned(),
        ..Options::default()
    };
    let cut = |case: Case| case.closed().dropped().failure();
    let pause = Duration::from_millis(100);
    let cases = vec![
        Case::get("silent").refused(504, LATE),
        Case::get("after-interim")
            .says("HTTP/1.1 100 Continue\r\n\r\n")
            .refused(504, LATE),
        Case::get("in-a-head")
            .says("HTTP/1.1 200 OK\r\ncontent-le")
            .refused(504, LATE),
        Case::get("slow-head")
            .drips("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", pause)
            .refused(504, LATE),
        Case::get("slow-interim")
            .drips("HTTP/1.1 100 Continue\r\n\r\n", pause)
            .refused(504, LATE),
        cut(Case::get("in-a-body")
            .says("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
            .gets(whole("200 OK", "content-length: 10\r\n", "hello"))),
        cut(Case::get("before-a-body")
            .says("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")
            .gets(whole("200 OK", "content-length: 10\r\n", ""))),
        cut(Case::get("in-chunks")
            .says("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
            .gets(chunked("200 OK", ""))
            .gets_chunks("hello")),
        cut(Case::get("before-the-close")
            .says("HTTP/1.1 200 OK\r\n\r\nhello")
            .gets(chunked("200 OK", ""))
            .gets_chunks("hello")),
        // Slower than the whole timeout, never silent for long: a body has time.
        Case::get("slow-body")
            .says("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")
            .drips("0123456789", pause)
            .gets(whole("200 OK", "content-length: 10\r\n", "0123456789")),
        Case::get("slow-and-in-time")
            .drips(
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
                Duration::from_millis(2),
            )
            .gets(ok("ok")),
    ];
    play_with("700ms", options, cases);
}
