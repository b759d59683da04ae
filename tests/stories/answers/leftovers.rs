//! Bytes that no answer owns (RFC 9112 §9.3, §9.2): whoever asks next must not get them.

use super::case::Case;
use super::expected::{MALFORMED, chunked, last, ok, problem, whole};
use super::play::play;

const POISON: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const CHUNKS: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";

#[test]
fn bytes_after_an_answer_reach_nobody() {
    let after = |name: &str, extra: &str| Case::get(name).says(format!("{OK}{extra}")).gets(ok("ok")).dropped();
    let chunks = |name: &str, extra: &str| {
        Case::get(name)
            .says(format!("{CHUNKS}{extra}"))
            .gets(chunked("200 OK", ""))
            .gets_chunks("ok")
            .gets("0\r\n\r\n")
            .dropped()
    };
    let empty = |name: &str, status: &str, fields: &str, extra: &str| {
        Case::get(name)
            .says(format!("HTTP/1.1 {status}\r\n{fields}\r\n{extra}"))
            .gets(whole(status, fields, ""))
            .dropped()
    };
    let head = |name: &str, fields: &str, extra: &str| {
        Case::asked(name, "HEAD")
            .says(format!("HTTP/1.1 200 OK\r\n{fields}\r\n{extra}"))
            .gets(whole("200 OK", fields, ""))
            .dropped()
    };
    play(vec![
        after("an-answer", POISON),
        after("ten-answers", &POISON.repeat(10)),
        after("a-byte", "x"),
        after("a-nul", "\0"),
        after("a-line-end", "\r\n"),
        after("a-line-end-and-an-answer", &format!("\r\n{POISON}")),
        after("an-interim-answer", "HTTP/1.1 100 Continue\r\n\r\n"),
        after("half-an-answer", "HTTP/1.1 200 OK\r\n"),
        chunks("chunks-an-answer", POISON),
        chunks("chunks-a-line-end", "\r\n"),
        chunks("chunks-a-last-chunk", "0\r\n\r\n"),
        empty("length-0-a-body", "200 OK", "content-length: 0\r\n", "body"),
        empty("204-a-body", "204 No Content", "", "body"),
        empty("204-an-answer", "204 No Content", "", POISON),
        empty("204-a-chunk", "204 No Content", "", "0\r\n\r\n"),
        empty("304-a-body", "304 Not Modified", "content-length: 4\r\n", "body"),
        empty("304-an-answer", "304 Not Modified", "", POISON),
        head("head-a-body", "content-length: 4\r\n", "body"),
        head("head-an-answer", "content-length: 4\r\n", POISON),
        head("head-a-byte", "", "x"),
        Case::asked("head-chunks", "HEAD")
            .says(CHUNKS)
            .gets(chunked("200 OK", ""))
            .dropped(),
    ]);
}

#[test]
fn bytes_on_an_idle_connection_reach_nobody() {
    let idle = |name: &str, extra: &str| Case::get(name).says(OK).gets(ok("ok")).says(extra).dropped();
    play(vec![
        idle("an-answer", POISON),
        idle("a-byte", "H"),
        idle("a-line-end", "\r\n"),
        idle(
            "a-timeout",
            "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        ),
        idle("an-interim-answer", "HTTP/1.1 100 Continue\r\n\r\n"),
        idle(
            "a-timeout-and-the-end",
            "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n",
        )
        .ends(),
        idle("a-flood", &POISON.repeat(1000)),
        Case::get("the-end").says(OK).gets(ok("ok")).ends().dropped(),
        Case::get("half-the-end").says(OK).gets(ok("ok")).finishes().dropped(),
        Case::get("a-reset").says(OK).gets(ok("ok")).resets().dropped(),
        Case::get("chunks-then-an-answer")
            .says(CHUNKS)
            .gets(chunked("200 OK", ""))
            .gets_chunks("ok")
            .gets("0\r\n\r\n")
            .says(POISON)
            .dropped(),
        Case::get("204-then-a-body")
            .says("HTTP/1.1 204 No Content\r\n\r\n")
            .gets(whole("204 No Content", "", ""))
            .says("body")
            .dropped(),
        Case::asked("head-then-a-body", "HEAD")
            .says("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n")
            .gets(whole("200 OK", "content-length: 4\r\n", ""))
            .says("body")
            .dropped(),
    ]);
}

#[test]
fn each_of_two_requests_gets_its_own_answer() {
    let two = "GET {path} HTTP/1.1\r\nhost: serin.test\r\n\r\n".repeat(2);
    let one = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none";
    let other = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nother";
    play(vec![
        Case::new("one-after-the-other")
            .asks(&two)
            .fresh("GET")
            .says(one)
            .gets(ok("one"))
            .again("GET")
            .says(other)
            .gets(ok("other"))
            .books(2, 0, 0),
        // The second answer came before the second request was sent: it belongs to nobody.
        Case::new("both-at-once")
            .asks(&two)
            .fresh("GET")
            .says(format!("{one}{POISON}"))
            .gets(ok("one"))
            .fresh("GET")
            .says(other)
            .gets(ok("other"))
            .books(2, 0, 0),
        Case::new("no-answer-to-the-first")
            .asks(&two)
            .fresh("GET")
            .says("what?\r\n\r\n")
            .gets(problem(502, MALFORMED))
            .fresh("GET")
            .says(other)
            .gets(ok("other"))
            .books(1, 1, 0),
        Case::new("half-an-answer-to-the-first")
            .asks(&two)
            .fresh("GET")
            .says("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
            .gets(whole("200 OK", "content-length: 10\r\n", "half"))
            .ends()
            .closed()
            .dropped()
            .failure(),
        Case::new("until-close-and-then-the-other")
            .asks(&two)
            .fresh("GET")
            .says("HTTP/1.1 200 OK\r\n\r\none")
            .gets(chunked("200 OK", ""))
            .gets_chunks("one")
            .ends()
            .gets("0\r\n\r\n")
            .fresh("GET")
            .says(other)
            .gets(ok("other"))
            .books(2, 0, 0),
        // An answer that does not wait for the question is still the answer to it.
        Case::new("said-before-it-was-asked")
            .asks("GET {path} HTTP/1.1\r\nhost: serin.test\r\nconnection: close\r\n\r\n")
            .accepts()
            .says(OK)
            .gets(last("200 OK", "content-length: 2\r\n", "ok"))
            .again("GET")
            .closed(),
    ]);
}
