//! Answers that break off (RFC 9112 §8): before their head they are the backend's failure and a 502, within
//! their body the client's connection ends before the end of the body, and never looks whole.

use super::case::Case;
use super::expected::{CLOSED, chunked, last, whole};
use super::play::play;

const LENGTH: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// Each way in which a backend may break off, on a case that has come so far.
fn each_end(cases: impl IntoIterator<Item = Case>) -> Vec<Case> {
    let mut all = Vec::new();
    for case in cases {
        all.push(case.clone().named("-end").ends());
        all.push(case.clone().named("-reset").resets());
        all.push(case.named("-half-end").finishes());
    }
    all
}

#[test]
fn an_answer_that_breaks_off_before_the_end_of_its_head() {
    let told = |name: &'static str, says: &str| Case::get(name).says(says);
    let cases = [
        Case::get("nothing"),
        told("a-byte", "H"),
        told("half-a-status-line", "HTTP/1.1 20"),
        told("a-status-line", "HTTP/1.1 200 OK\r\n"),
        told("half-a-name", "HTTP/1.1 200 OK\r\ncontent-le"),
        told("half-a-value", "HTTP/1.1 200 OK\r\ncontent-length: 1"),
        told("a-field", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n"),
        told("half-an-empty-line", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r"),
    ];
    let refused = |case: Case| case.refused(502, CLOSED);
    let ends = each_end(cases);
    play(ends.into_iter().map(refused).collect());
}

#[test]
fn a_body_that_breaks_off_never_looks_whole() {
    let cut = |case: Case| case.closed().dropped().failure();
    let length = |name: &'static str, body: &str| {
        Case::get(name)
            .says(format!("{LENGTH}{body}"))
            .gets(whole("200 OK", "content-length: 10\r\n", body))
    };
    // What is left of a chunk, and what follows it, is not passed on before it is known to be right.
    let chunks = |name: &'static str, beginning: &str, content: &str| {
        Case::get(name)
            .says(format!("{CHUNKED}{beginning}"))
            .gets(chunked("200 OK", ""))
            .gets_chunks(content)
    };
    let cases = [
        length("length-nothing", ""),
        length("length-a-byte", "x"),
        length("length-but-one", "012345678"),
        chunks("chunks-nothing", "", ""),
        chunks("chunks-half-a-size", "5", ""),
        chunks("chunks-a-size", "5\r\n", ""),
        chunks("chunks-within", "5\r\nhel", "hel"),
        chunks("chunks-no-line-end", "5\r\nhello", "hello"),
        chunks("chunks-half-a-line-end", "5\r\nhello\r", "hello"),
        chunks("chunks-one", "5\r\nhello\r\n", "hello"),
        chunks("chunks-half-a-last", "5\r\nhello\r\n0", "hello"),
        chunks("chunks-a-last", "5\r\nhello\r\n0\r\n", "hello"),
        chunks("chunks-half-an-end", "5\r\nhello\r\n0\r\n\r", "hello"),
        chunks("chunks-half-a-trailer", "5\r\nhello\r\n0\r\nx-sum", "hello"),
        chunks("chunks-a-trailer", "5\r\nhello\r\n0\r\nx-sum: 1\r\n", "hello"),
    ];
    let ends = each_end(cases);
    play(ends.into_iter().map(cut).collect());
}

#[test]
fn a_body_until_the_close_that_is_reset_never_looks_whole() {
    let old = "GET {path} HTTP/1.0\r\nhost: serin.test\r\n\r\n";
    play(vec![
        Case::get("in-chunks")
            .says("HTTP/1.1 200 OK\r\n\r\nhello")
            .gets(chunked("200 OK", ""))
            .gets_chunks("hello")
            .resets()
            .closed()
            .dropped()
            .failure(),
        // A client of HTTP/1.0 has nothing but the end of the connection to go by.
        Case::new("to-an-old-client")
            .asks(old)
            .fresh("GET")
            .says("HTTP/1.1 200 OK\r\n\r\nhello")
            .gets(last("200 OK", "", "hello"))
            .resets()
            .reset()
            .dropped()
            .failure(),
        Case::new("chunks-to-an-old-client")
            .asks(old)
            .fresh("GET")
            .says(format!("{CHUNKED}5\r\nhello\r\n"))
            .gets(last("200 OK", "", "hello"))
            .ends()
            .reset()
            .dropped()
            .failure(),
        Case::new("bad-chunks-to-an-old-client")
            .asks(old)
            .fresh("GET")
            .says(format!("{CHUNKED}5\r\nhello\r\n"))
            .gets(last("200 OK", "", "hello"))
            .says("zz\r\n")
            .reset()
            .dropped()
            .failure(),
        Case::new("whole-to-an-old-client")
            .asks(old)
            .fresh("GET")
            .says(format!("{CHUNKED}5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n"))
            .gets(last("200 OK", "", "hello"))
            .closed(),
    ]);
}
