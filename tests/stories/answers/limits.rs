//! Heads that do not end (RFC 9110 §5.4, §15.6): refused as soon as there is too much of them, while more comes.

use super::case::Case;
use super::expected::{MALFORMED, whole};
use super::play::play;

/// More than any head may be: four times 64 KiB of interim heads included.
const TOO_MUCH: usize = 1024 * 1024;

fn endless(name: &str, beginning: &str, piece: &str) -> Case {
    Case::get(name)
        .says(beginning)
        .floods(piece, TOO_MUCH / piece.len())
        .refused(502, MALFORMED)
}

#[test]
fn an_endless_head_is_no_answer() {
    play(vec![
        endless("status-line", "HTTP/1.1 200 ", "O"),
        endless("no-status-line", "", "x"),
        endless("version", "HTTP/1.", "1"),
        endless("name", "HTTP/1.1 200 OK\r\n", "x"),
        endless("value", "HTTP/1.1 200 OK\r\nx-a: ", "x"),
        endless("spaces", "HTTP/1.1 200 OK\r\nx-a:", " "),
        endless("fields", "HTTP/1.1 200 OK\r\n", "x-a: b\r\n"),
        endless("empty-fields", "HTTP/1.1 200 OK\r\n", "a:\r\n"),
        endless(
            "cookies",
            "HTTP/1.1 200 OK\r\n",
            "set-cookie: a=0123456789012345678901234567890123456789\r\n",
        ),
        endless("large-interim", "HTTP/1.1 103 Early Hints\r\n", "link: </a>\r\n"),
        endless("empty-lines", "", "\r\n"),
    ]);
}

#[test]
fn a_whole_head_with_too_much_is_no_answer() {
    let with = |name: &str, fields: &str| {
        Case::get(name)
            .says(format!("HTTP/1.1 200 OK\r\n{fields}content-length: 2\r\n\r\nok"))
            .refused(502, MALFORMED)
    };
    play(vec![
        with("many-fields", &"a:\r\n".repeat(2000)),
        with("large-field", &format!("x-a: {}\r\n", "b".repeat(200_000))),
        with("large-fields", &format!("x-a: {}\r\n", "b".repeat(4_000)).repeat(50)),
    ]);
}

#[test]
fn a_large_head_is_an_answer() {
    let with = |name: &str, fields: &str| {
        let fields = format!("{fields}content-length: 2\r\n");
        Case::get(name)
            .says(format!("HTTP/1.1 200 OK\r\n{fields}\r\nok"))
            .gets(whole("200 OK", fields, "ok"))
    };
    play(vec![
        with("ninety-fields", &"x-a: b\r\n".repeat(90)),
        with("field-of-30000", &format!("x-a: {}\r\n", "b".repeat(30_000))),
        with("fields-of-30000", &format!("x-a: {}\r\n", "b".repeat(500)).repeat(60)),
    ]);
}
