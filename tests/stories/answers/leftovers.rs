//! Bytes that no answer owns (RFC 9112 §9.3, §9.2): whoever asks next must not get them.

use std::io::ErrorKind;

use super::case::Case;
use super::expected::{MALFORMED, TRUNCATED, bare_problem, chunked, last, last_problem, ok, problem, whole};
use super::play::play;
use crate::common::{Backend, Client, Serin, ok as backend_ok, one, text};

const POISON: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const CHUNKS: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";

/// In one piece with an answer they make it none: nobody can know where it ends.
#[test]
fn an_answer_with_more_behind_it_is_none() {
    let get = |name: &str, says: String| Case::get(name).says(says).refused(502, MALFORMED);
    let after = |name: &str, extra: &str| get(name, format!("{OK}{extra}"));
    let chunks = |name: &str, extra: &str| {
        Case::get(name)
            .says(format!("{CHUNKS}{extra}"))
            .gets(last_problem(502, TRUNCATED))
            .closed()
            .dropped()
            .failure()
    };
    let head = |name: &str, says: String| {
        Case::asked(name, "HEAD")
            .says(says)
            .gets(bare_problem(502, MALFORMED))
            .dropped()
            .failure()
    };
    let no_content = "HTTP/1.1 204 No Content\r\n\r\n";
    let not_modified = "HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\n";
    let length_of_4 = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n";
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
        chunks("chunks-a-byte", "x"),
        chunks("chunks-a-line-end", "\r\n"),
        chunks("chunks-a-last-chunk", "0\r\n\r\n"),
        get(
            "length-0-a-body",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nbody".to_owned(),
        ),
        get("204-a-body", format!("{no_content}body")),
        get("204-an-answer", format!("{no_content}{POISON}")),
        get("204-a-chunk", format!("{no_content}0\r\n\r\n")),
        get("304-a-body", format!("{not_modified}body")),
        get("304-an-answer", format!("{not_modified}{POISON}")),
        head("head-a-body", format!("{length_of_4}body")),
        head("head-an-answer", format!("{length_of_4}{POISON}")),
        head("head-a-byte", "HTTP/1.1 200 OK\r\n\r\nx".to_owned()),
        head("head-chunks", CHUNKS.to_owned()),
    ]);
}

/// Where the head has gone out already, the client sees that something is wrong.
#[test]
fn a_body_with_more_behind_it_breaks_off() {
    let cut = |case: Case| case.closed().dropped().failure();
    let length = |name: &str, rest: &str| {
        cut(Case::get(name)
            .says("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok")
            .gets(whole("200 OK", "content-length: 4\r\n", "ok"))
            .says(rest))
    };
    let chunks = |name: &str, rest: &str| {
        cut(Case::get(name)
            .says("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n")
            .gets(chunked("200 OK", ""))
            .gets_chunks("ok")
            .says(rest))
    };
    play(vec![
        length("a-byte", "ayx"),
        length("an-answer", &format!("ay{POISON}")),
        length("a-line-end", "ay\r\n"),
        chunks("chunks-a-byte", "0\r\n\r\nx"),
        chunks("chunks-an-answer", &format!("0\r\n\r\n{POISON}")),
        chunks(
            "chunks-an-answer-after-trailers",
            &format!("0\r\nx-sum: 1\r\n\r\n{POISON}"),
        ),
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

/// An answer of so many bytes.
fn sized(bytes: usize, in_chunks: bool) -> String {
    let framed = |content: &str| {
        let length = content.len();
        if in_chunks {
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{length:06x}\r\n{content}\r\n0\r\n\r\n")
        } else {
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length:06}\r\n\r\n{content}")
        }
    };
    framed(&"x".repeat(bytes - framed("").len()))
}

/// Wherever a read ends, what lies behind it in the socket reaches nobody.
#[test]
fn poison_behind_an_answer_of_any_size_reaches_nobody() {
    let app = Backend::start(|request| {
        let mut words = request.target().split('/').skip(1);
        match (words.next(), words.next().and_then(|size| size.parse().ok())) {
            (Some(framing), Some(size)) => text(&(sized(size, framing == "chunks") + POISON)),
            _ => backend_ok("clean"),
        }
    });
    let serin = Serin::start(&one(app.address()));
    let mut client = Client::connect(serin.address());
    let sizes = [4096, 8192, 16384, 32768]
        .into_iter()
        .flat_map(|size| size - 100..size + 100);
    for (size, framing) in sizes.flat_map(|size| [(size, "length"), (size, "chunks")]) {
        // No answer, half an answer or the whole of it: what lies behind it can be seen too late.
        match client.try_request("GET", &format!("/{framing}/{size}"), &[], b"") {
            Ok(response) if response.status == 502 => {
                response.problem(502);
            }
            Ok(response) => assert!(response.body.iter().all(|&byte| byte == b'x'), "{framing} {size}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{framing} {size}"),
        }
        let next = client.try_request("GET", "/clean", &[], b"").unwrap_or_else(|_| {
            client = Client::connect(serin.address());
            client.get("/clean")
        });
        assert_eq!((next.status, next.text().as_str()), (200, "clean"), "{framing} {size}");
    }
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
        // The second answer came before the second request was sent.
        Case::new("both-at-once")
            .asks(&two)
            .fresh("GET")
            .says(format!("{one}{POISON}"))
            .gets(problem(502, MALFORMED))
            .fresh("GET")
            .says(other)
            .gets(ok("other"))
            .books(1, 1, 0),
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
