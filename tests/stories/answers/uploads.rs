//! Answers that come before the request's body has gone up (RFC 9112 §9.5).

use super::case::Case;
use super::expected::{CLOSED, MALFORMED, last, last_problem, ok, problem};
use super::play::play;

const HALF: &str = "POST {path} HTTP/1.1\r\nhost: serin.test\r\ncontent-length: 10\r\n\r\nhello";
const CHUNK: &str = "POST {path} HTTP/1.1\r\nhost: serin.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const TOO_LARGE: &str = "HTTP/1.1 413 Too Large\r\ncontent-length: 4\r\nconnection: close\r\n\r\nlots";

/// A request of which half of the body has come to the backend.
fn half(name: &str) -> Case {
    Case::new(name).asks(HALF).fresh("POST").takes("hello")
}

fn chunk(name: &str) -> Case {
    Case::new(name).asks(CHUNK).fresh("POST").takes("5\r\nhello\r\n")
}

#[test]
fn an_early_answer_reaches_the_client_and_ends_its_connection() {
    let too_large = |case: Case| {
        case.says(TOO_LARGE)
            .gets(last("413 Content Too Large", "content-length: 4\r\n", "lots"))
            .closed()
            .dropped()
            .no_evidence()
    };
    let fine = |case: Case| {
        case.says(OK)
            .gets(last("200 OK", "content-length: 2\r\n", "ok"))
            .closed()
            .dropped()
    };
    play(vec![
        too_large(half("413")),
        too_large(chunk("413-to-chunks")),
        too_large(
            Case::new("413-before-the-body")
                .asks(&HALF[..HALF.len() - 5])
                .fresh("POST"),
        ),
        fine(half("200")),
        fine(chunk("200-to-chunks")),
        half("500")
            .says("HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno")
            .gets(last("500 Internal Server Error", "content-length: 2\r\n", "no"))
            .closed()
            .dropped()
            .failure(),
        half("413-and-the-end")
            .says(TOO_LARGE)
            .gets(last("413 Content Too Large", "content-length: 4\r\n", "lots"))
            .ends()
            .closed()
            .dropped()
            .no_evidence(),
        half("413-and-half-the-end")
            .says(TOO_LARGE)
            .finishes()
            .gets(last("413 Content Too Large", "content-length: 4\r\n", "lots"))
            .closed()
            .dropped()
            .no_evidence(),
    ]);
}

/// A client that sends on, or waits before it sends, is told all the same.
#[test]
fn an_early_answer_reaches_a_client_who_does_not_listen_yet() {
    let told = last("413 Content Too Large", "content-length: 4\r\n", "lots");
    let large = "POST {path} HTTP/1.1\r\nhost: serin.test\r\ncontent-length: 100000000\r\n\r\n";
    let waiting = "POST {path} HTTP/1.1\r\nhost: serin.test\r\nexpect: 100-continue\r\ncontent-length: 10\r\n\r\n";
    play(vec![
        Case::new("sends-on")
            .asks(large)
            .fresh("POST")
            .pours(100_000_000)
            .says(TOO_LARGE)
            .pours(1_000_000)
            .gets(&told)
            .closed()
            .dropped()
            .no_evidence(),
        Case::new("waits")
            .asks(waiting)
            .fresh("POST")
            .gets("HTTP/1.1 100 Continue\r\n\r\n")
            .says(TOO_LARGE)
            .gets(&told)
            .closed()
            .dropped()
            .no_evidence(),
    ]);
}

#[test]
fn an_answer_in_parts_goes_along_with_the_upload() {
    play(vec![
        half("both-come-to-their-end")
            .says("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok")
            .gets(last("200 OK", "content-length: 4\r\n", "ok"))
            .asks("world")
            .takes("world")
            .says("ay")
            .gets("ay")
            .closed(),
        half("interim")
            .says("HTTP/1.1 100 Continue\r\n\r\n")
            .asks("world")
            .takes("world")
            .says(OK)
            .gets(ok("ok")),
        half("the-answer-breaks-off")
            .says("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok")
            .gets(last("200 OK", "content-length: 4\r\n", "ok"))
            .ends()
            .closed()
            .dropped()
            .failure(),
    ]);
}

#[test]
fn a_backend_that_leaves_in_an_upload_is_at_fault() {
    let refused = |case: Case, detail| case.gets(last_problem(502, detail)).closed().dropped().failure();
    play(vec![
        refused(half("closes").ends(), CLOSED),
        refused(half("resets").resets(), CLOSED),
        refused(chunk("closes-in-chunks").ends(), CLOSED),
        refused(half("says-nonsense").says("what?\r\n\r\n"), MALFORMED),
        refused(half("half-an-answer").says("HTTP/1.1 200 OK\r\n").ends(), CLOSED),
        // All of it was sent: then the client's connection can go on.
        Case::new("closes-after-it")
            .asks("POST {path} HTTP/1.1\r\nhost: serin.test\r\ncontent-length: 5\r\n\r\nhello")
            .fresh("POST")
            .takes("hello")
            .ends()
            .gets(problem(502, CLOSED))
            .dropped()
            .failure(),
    ]);
}
