//! Kept connections that turn out to be closed (RFC 9112 §9.3.1): what may be sent again, and what must not.

use super::case::Case;
use super::expected::{CLOSED, MALFORMED, bare_problem, ok, problem, whole};
use super::play::play;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A case with a kept connection on which a second request has come.
fn second(name: &str, method: &'static str, rest: &str) -> Case {
    Case::get(name)
        .says(OK)
        .gets(ok("ok"))
        .asks(format!("{method} {{path}} HTTP/1.1\r\nhost: serin.test\r\n{rest}"))
        .again(method)
}

fn bare(name: &str, method: &'static str) -> Case {
    second(name, method, "\r\n")
}

#[test]
fn what_does_no_harm_is_sent_again_on_a_fresh_connection() {
    let answered = |case: Case, method| case.fresh(method).says(OK).gets(ok("ok")).books(2, 0, 0);
    let with_body = |name, method| second(name, method, "content-length: 5\r\n\r\nhello").takes("hello");
    play(vec![
        answered(bare("get", "GET").ends(), "GET"),
        answered(bare("get-reset", "GET").resets(), "GET"),
        answered(bare("get-half-close", "GET").finishes(), "GET"),
        answered(bare("options", "OPTIONS").ends(), "OPTIONS"),
        answered(bare("put", "PUT").ends(), "PUT"),
        answered(bare("delete", "DELETE").ends(), "DELETE"),
        answered(bare("delete-reset", "DELETE").resets(), "DELETE"),
        with_body("put-with-body", "PUT")
            .ends()
            .fresh("PUT")
            .takes("hello")
            .says(OK)
            .gets(ok("ok"))
            .books(2, 0, 0),
        bare("head", "HEAD")
            .ends()
            .fresh("HEAD")
            .says("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
            .gets(whole("200 OK", "content-length: 2\r\n", ""))
            .books(2, 0, 0),
        // A close that had come before the request went out: nobody was asked.
        answered(
            Case::get("post-after-the-end")
                .says(OK)
                .gets(ok("ok"))
                .ends()
                .asks(POST),
            "POST",
        ),
        answered(
            Case::get("post-after-a-reset")
                .says(OK)
                .gets(ok("ok"))
                .resets()
                .asks(POST),
            "POST",
        ),
        answered(
            Case::get("post-after-a-half-close")
                .says(OK)
                .gets(ok("ok"))
                .finishes()
                .asks(POST),
            "POST",
        ),
        answered(
            Case::get("post-after-a-word")
                .says(OK)
                .gets(ok("ok"))
                .says("x")
                .asks(POST),
            "POST",
        ),
    ]);
}

const POST: &str = "POST {path} HTTP/1.1\r\nhost: serin.test\r\ncontent-length: 0\r\n\r\n";

#[test]
fn what_may_have_been_acted_on_is_not_sent_again() {
    let failed = |case: Case, detail| case.gets(problem(502, detail)).dropped().books(1, 1, 0);
    let with_body = |name, method| second(name, method, "content-length: 5\r\n\r\nhello").takes("hello");
    play(vec![
        failed(second("post", "POST", "content-length: 0\r\n\r\n").ends(), CLOSED),
        failed(
            second("post-reset", "POST", "content-length: 0\r\n\r\n").resets(),
            CLOSED,
        ),
        failed(
            second("post-half-close", "POST", "content-length: 0\r\n\r\n").finishes(),
            CLOSED,
        ),
        failed(with_body("post-with-body", "POST").ends(), CLOSED),
        failed(with_body("patch", "PATCH").ends(), CLOSED),
        failed(bare("own-method", "BREW").ends(), CLOSED),
        failed(bare("lower-case-get", "get").ends(), CLOSED),
        // Part of an answer has come.
        failed(bare("a-byte", "GET").says("H").ends(), CLOSED),
        failed(bare("half-a-head", "GET").says("HTTP/1.1 200 OK\r\n").ends(), CLOSED),
        failed(
            bare("an-interim-answer", "GET")
                .says("HTTP/1.1 100 Continue\r\n\r\n")
                .ends(),
            CLOSED,
        ),
        failed(bare("no-http", "GET").says("what?\r\n\r\n"), MALFORMED),
    ]);
}

#[test]
fn a_fresh_connection_that_closes_is_a_failure() {
    let refused = |case: Case| case.refused(502, CLOSED);
    play(vec![
        refused(Case::get("get").ends()),
        refused(Case::get("get-reset").resets()),
        Case::asked("head", "HEAD")
            .ends()
            .gets(bare_problem(502, CLOSED))
            .dropped()
            .failure(),
        refused(Case::asked("delete", "DELETE").ends()),
        refused(
            Case::new("at-accept")
                .asks("GET {path} HTTP/1.1\r\nhost: serin.test\r\n\r\n")
                .accepts()
                .ends(),
        ),
        refused(Case::new("post").asks(POST).fresh("POST").ends()),
        // The connection that takes the place of a stale one is a fresh one.
        bare("after-a-stale-one", "GET")
            .ends()
            .fresh("GET")
            .ends()
            .refused(502, CLOSED)
            .books(1, 1, 0),
    ]);
}
