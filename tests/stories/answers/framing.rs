//! What delimits a body (RFC 9112 §6): one reader must not see another body than the next.

use super::case::Case;
use super::expected::{MALFORMED, bare_problem, chunked, ok, whole};
use super::malformed;
use super::play::play;

const AMBIGUOUS: &[(&str, &[u8])] = &[
    // RFC 9112 §6.3, rule 5; RFC 9110 §8.6.
    (
        "two-lengths",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
    ),
    (
        "two-other-lengths",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
    ),
    (
        "lengths-far-apart",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx-a: b\r\nCONTENT-LENGTH: 0\r\n\r\nok",
    ),
    ("list", b"HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok"),
    ("other-list", b"HTTP/1.1 200 OK\r\ncontent-length: 2,3\r\n\r\nok"),
    ("trailing-comma", b"HTTP/1.1 200 OK\r\ncontent-length: 2,\r\n\r\nok"),
    ("plus", b"HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok"),
    ("minus", b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nok"),
    ("minus-zero", b"HTTP/1.1 200 OK\r\ncontent-length: -0\r\n\r\n"),
    ("hexadecimal", b"HTTP/1.1 200 OK\r\ncontent-length: 0x2\r\n\r\nok"),
    ("hex-digit", b"HTTP/1.1 200 OK\r\ncontent-length: a\r\n\r\n0123456789"),
    ("point", b"HTTP/1.1 200 OK\r\ncontent-length: 2.0\r\n\r\nok"),
    ("exponent", b"HTTP/1.1 200 OK\r\ncontent-length: 2e0\r\n\r\nok"),
    (
        "underscore",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1_0\r\n\r\n0123456789",
    ),
    (
        "space-within",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1 0\r\n\r\n0123456789",
    ),
    ("parameter", b"HTTP/1.1 200 OK\r\ncontent-length: 2;x\r\n\r\nok"),
    ("quoted", b"HTTP/1.1 200 OK\r\ncontent-length: \"2\"\r\n\r\nok"),
    ("empty", b"HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n"),
    ("word", b"HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\nok"),
    (
        "other-digits",
        b"HTTP/1.1 200 OK\r\ncontent-length: \xef\xbc\x92\r\n\r\nok",
    ),
    (
        "overflow",
        b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551618\r\n\r\nok",
    ),
    (
        "overflow-by-far",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999999999999999999999\r\n\r\nok",
    ),
    // RFC 9112 §6.1 and §6.3, rules 3 and 4.
    (
        "length-and-chunks",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "chunks-and-length",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "no-length-and-chunks",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "length-and-identity",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: identity\r\n\r\nok",
    ),
    (
        "chunks-in-1-0",
        b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "gzip-chunked",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "gzip-then-chunked",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "chunked-gzip",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "chunked-chunked",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "chunked-twice",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "chunked-and-identity",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, identity\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    ("identity", b"HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nok"),
    ("gzip", b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nok"),
    (
        "empty-coding",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding:\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "almost",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "almost-at-the-end",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunkedx\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "coding-parameter",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked;q=1\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "coding-quoted",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: \"chunked\"\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "coding-comma",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked,\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "comma-coding",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: , chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "vertical-tab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: \x0bchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    // Not white space to everybody.
    (
        "tab-before-coding",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding:\tchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "tab-after-coding",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\t\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "coding-split",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chun ked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    // RFC 9110 §8.6, RFC 9112 §6.1: a 204 has no body to frame.
    (
        "204-with-length",
        b"HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok",
    ),
    (
        "204-with-chunks",
        b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "304-with-bad-length",
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: -1\r\n\r\n",
    ),
    (
        "304-with-both",
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
    ),
];

#[test]
fn ambiguous_framing_is_no_answer() {
    play(malformed(AMBIGUOUS));
}

#[test]
fn ambiguous_framing_is_no_answer_to_head_either() {
    let rows: [(&str, &[u8]); 4] = [
        (
            "two-lengths",
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n",
        ),
        ("bad-length", b"HTTP/1.1 200 OK\r\ncontent-length: 2x\r\n\r\n"),
        (
            "both",
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
        ),
        ("gzip", b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n"),
    ];
    let case = |(name, says): (&str, &[u8])| {
        Case::asked(name, "HEAD")
            .says(says)
            .gets(bare_problem(502, MALFORMED))
            .dropped()
            .failure()
    };
    play(rows.into_iter().map(case).collect());
}

#[test]
fn plain_framing_is_understood() {
    let chunks = |name, fields: &str| {
        Case::get(name)
            .says(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n2\r\nok\r\n0\r\n\r\n"))
            .gets(chunked("200 OK", ""))
            .gets_chunks("ok")
            .gets("0\r\n\r\n")
    };
    let length =
        |name, text: &str| Case::get(name).says(format!("HTTP/1.1 200 OK\r\ncontent-length: {text}\r\n\r\nok"));
    play(vec![
        length("length", "2").gets(ok("ok")),
        length("spaces", " \t2\t ").gets(ok("ok")),
        length("zeros", "0002").gets(ok("ok")),
        chunks("chunks", "transfer-encoding: chunked"),
        chunks("any-case", "Transfer-Encoding: ChunKed"),
        chunks("coding-spaces", "transfer-encoding:   chunked  "),
        Case::get("other-field")
            .says("HTTP/1.1 200 OK\r\ntransfer_encoding: chunked\r\ncontent-length: 2\r\n\r\nok")
            .gets(whole(
                "200 OK",
                "transfer_encoding: chunked\r\ncontent-length: 2\r\n",
                "ok",
            )),
        Case::get("empty")
            .says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .gets(ok("")),
        Case::get("no-chunks")
            .says("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
            .gets(chunked("200 OK", ""))
            .gets("0\r\n\r\n"),
        Case::get("until-close")
            .says("HTTP/1.1 200 OK\r\n\r\nok")
            .gets(chunked("200 OK", ""))
            .gets_chunks("ok")
            .ends()
            .gets("0\r\n\r\n")
            .dropped(),
        Case::get("204")
            .says("HTTP/1.1 204 No Content\r\nx-a: b\r\n\r\n")
            .gets(whole("204 No Content", "x-a: b\r\n", "")),
        Case::get("304-with-length")
            .says("HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\ncontent-length: 99\r\n\r\n")
            .gets(whole("304 Not Modified", "etag: \"a\"\r\ncontent-length: 99\r\n", "")),
        Case::get("304-bare")
            .says("HTTP/1.1 304 Not Modified\r\n\r\n")
            .gets(whole("304 Not Modified", "", "")),
        Case::asked("head-with-length", "HEAD")
            .says("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n")
            .gets(whole("200 OK", "content-length: 99\r\n", "")),
        Case::asked("head-bare", "HEAD")
            .says("HTTP/1.1 200 OK\r\nx-a: b\r\n\r\n")
            .gets(whole("200 OK", "x-a: b\r\n", "")),
    ]);
}
