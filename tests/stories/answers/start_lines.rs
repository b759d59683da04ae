//! Status lines (RFC 9112 §4).

use super::case::Case;
use super::expected::{ok, whole};
use super::malformed;
use super::play::play;

const NO_STATUS_LINE: &[(&str, &[u8])] = &[
    ("text", b"what?\r\n\r\n"),
    ("ssh", b"SSH-2.0-OpenSSH_9.6\r\n"),
    ("shoutcast", b"ICY 200 OK\r\n\r\n"),
    ("tls-alert", b"\x15\x03\x01\x00\x02\x02\x0a\r\n"),
    ("http2-settings", b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
    ("empty-line-first", b"\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ("space-first", b" HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ("fields-only", b"content-length: 0\r\n\r\n"),
    ("lower-case-name", b"http/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ("other-name", b"HTTQ/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ("no-name", b"1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ("version-0-9", b"HTTP/0.9 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ("version-1-2", b"HTTP/1.2 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ("version-2-0", b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ("version-2", b"HTTP/2 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ("version-1", b"HTTP/1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ("version-11", b"HTTP/11 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ("version-1-10", b"HTTP/1.10 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ("version-comma", b"HTTP/1,1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ("no-space", b"HTTP/1.1200 OK\r\ncontent-length: 0\r\n\r\n"),
    ("two-spaces", b"HTTP/1.1  200 OK\r\ncontent-length: 0\r\n\r\n"),
    ("tab-for-space", b"HTTP/1.1\t200 OK\r\ncontent-length: 0\r\n\r\n"),
    ("only-a-version", b"HTTP/1.1\r\ncontent-length: 0\r\n\r\n"),
    ("no-status", b"HTTP/1.1 \r\ncontent-length: 0\r\n\r\n"),
    ("status-word", b"HTTP/1.1 abc OK\r\ncontent-length: 0\r\n\r\n"),
    ("status-of-two", b"HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n"),
    ("status-of-four", b"HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n"),
    ("status-signed", b"HTTP/1.1 +20 OK\r\ncontent-length: 0\r\n\r\n"),
    ("status-hex", b"HTTP/1.1 0xc8 OK\r\ncontent-length: 0\r\n\r\n"),
    ("status-spaced", b"HTTP/1.1 2 0 OK\r\ncontent-length: 0\r\n\r\n"),
    ("status-000", b"HTTP/1.1 000 Nothing\r\ncontent-length: 0\r\n\r\n"),
    ("status-099", b"HTTP/1.1 099 Low\r\ncontent-length: 0\r\n\r\n"),
    ("status-600", b"HTTP/1.1 600 High\r\ncontent-length: 0\r\n\r\n"),
    ("status-999", b"HTTP/1.1 999 Higher\r\ncontent-length: 0\r\n\r\n"),
    ("reason-touches", b"HTTP/1.1 200OK\r\ncontent-length: 0\r\n\r\n"),
    ("reason-after-tab", b"HTTP/1.1 200\tOK\r\ncontent-length: 0\r\n\r\n"),
    ("reason-nul", b"HTTP/1.1 200 O\0K\r\ncontent-length: 0\r\n\r\n"),
    ("reason-escape", b"HTTP/1.1 200 O\x1b[2JK\r\ncontent-length: 0\r\n\r\n"),
    ("reason-delete", b"HTTP/1.1 200 O\x7fK\r\ncontent-length: 0\r\n\r\n"),
    ("reason-bare-cr", b"HTTP/1.1 200 O\rK\r\ncontent-length: 0\r\n\r\n"),
    ("two-crs", b"HTTP/1.1 200 OK\r\r\ncontent-length: 0\r\n\r\n"),
    ("bare-lf", b"HTTP/1.1 200 OK\ncontent-length: 0\r\n\r\n"),
    ("only-lfs", b"HTTP/1.1 200 OK\ncontent-length: 0\n\n"),
    ("a-request", b"GET / HTTP/1.1\r\nhost: serin.test\r\n\r\n"),
];

#[test]
fn a_bad_status_line_is_no_answer() {
    play(malformed(NO_STATUS_LINE));
}

#[test]
fn a_good_status_line_is_told_with_the_usual_phrase() {
    let answer = |name: &str, start: &[u8], got: &str| {
        let says = [start, b"\r\ncontent-length: 2\r\n\r\nok"].concat();
        Case::get(name)
            .says(says)
            .gets(whole(got, "content-length: 2\r\n", "ok"))
    };
    play(vec![
        answer("plain", b"HTTP/1.1 200 OK", "200 OK"),
        answer("other-phrase", b"HTTP/1.1 200 All is well!", "200 OK"),
        answer("no-phrase", b"HTTP/1.1 200 ", "200 OK"),
        answer("no-space", b"HTTP/1.1 200", "200 OK"),
        answer("obs-text", b"HTTP/1.1 200 \xc3\xa7a va \xff", "200 OK"),
        answer("tab-in-phrase", b"HTTP/1.1 200 O\tK", "200 OK"),
        answer("spaces-in-phrase", b"HTTP/1.1 200  O  K  ", "200 OK"),
        answer("created", b"HTTP/1.1 201 Created", "201 Created"),
        answer("moved", b"HTTP/1.1 301 Moved", "301 Moved Permanently"),
        answer("missing", b"HTTP/1.1 404 Nothing", "404 Not Found").no_evidence(),
        answer("unknown-299", b"HTTP/1.1 299 Own", "299 "),
        answer("broken", b"HTTP/1.1 500 Oh", "500 Internal Server Error").failure(),
        answer("unknown-599", b"HTTP/1.1 599 Own", "599 ").failure(),
    ]);
}

#[test]
fn an_answer_of_one_byte_at_a_time_is_an_answer() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let pause = std::time::Duration::from_millis(2);
    play(vec![Case::get("dripping").drips(answer, pause).gets(ok("ok"))]);
}
