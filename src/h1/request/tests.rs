//! Which heads of requests are taken, and which rule refuses the others.

use bytes::BytesMut;

use super::{Framing, HeadLimits, Refusal, Request, RequestDecoder};
use crate::head::Version;
use crate::path::{PathPolicy, PathProblem};

const LIMITS: HeadLimits = HeadLimits {
    bytes: 400,
    fields: 8,
    target_bytes: 100,
};

/// What becomes of `input`, in one piece; byte by byte it must be the same.
fn decode(input: &[u8]) -> Result<Option<Request>, Refusal> {
    let mut decoder = RequestDecoder::new(LIMITS, PathPolicy::Strict);
    let whole = decoder.decode(&mut BytesMut::from(input));
    let (mut decoder, mut buf) = (RequestDecoder::new(LIMITS, PathPolicy::Strict), BytesMut::new());
    let pieces = input
        .iter()
        .map(|&byte| {
            buf.extend_from_slice(&[byte]);
            decoder.decode(&mut buf)
        })
        .find(|result| !matches!(result, Ok(None)))
        .unwrap_or(Ok(None));
    assert_eq!(format!("{whole:?}"), format!("{pieces:?}"), "in pieces");
    whole
}

#[track_caller]
fn accept(input: &str) -> Request {
    decode(input.as_bytes())
        .unwrap_or_else(|refusal| panic!("{input:?}: {refusal}"))
        .unwrap_or_else(|| panic!("{input:?}: incomplete"))
}

/// As soon as the last byte of `input` has come, it is refused.
#[track_caller]
fn refuse(input: impl AsRef<[u8]>, expected: Refusal) {
    let input = input.as_ref();
    let result = decode(input).map(|request| request.is_some());
    assert_eq!(result, Err(expected), "{}", input.escape_ascii());
}

/// A request with this line.
#[track_caller]
fn check_line(line: &str, expected: Result<&str, Refusal>) {
    match expected {
        Ok(target) => {
            let head = accept(&format!("{line}\r\nhost: a\r\n\r\n")).head;
            assert_eq!(format!("{} {}", head.method().as_str(), head.target()), target);
        }
        Err(refusal) => refuse(format!("{line}\r\n"), refusal),
    }
}

/// A request with these field lines.
#[track_caller]
fn check_fields(lines: &str, expected: Result<&[(&str, &str)], Refusal>) {
    match expected {
        Ok(fields) => {
            let request = accept(&format!("GET / HTTP/1.1\r\nhost: a\r\n{lines}\r\n\r\n"));
            let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
            let got: Vec<_> = request
                .head
                .fields()
                .iter()
                .skip(1)
                .map(|(n, v)| (text(n), text(v)))
                .collect();
            let fields: Vec<_> = fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            assert_eq!(got, fields);
        }
        Err(refusal) => refuse(format!("GET / HTTP/1.1\r\nhost: a\r\n{lines}\r\n"), refusal),
    }
}

/// A POST with these fields: how its body is delimited, and whether the client waits for a 100.
#[track_caller]
fn check_framing(lines: &str, expected: Result<(Framing, bool), Refusal>) {
    let input = format!("POST / HTTP/1.1\r\nhost: a\r\n{lines}\r\n");
    match expected {
        Ok(expected) => {
            let request = accept(&format!("{input}\r\n"));
            assert_eq!((request.framing, request.expects_continue), expected, "{lines}");
        }
        Err(refusal) => refuse(input, refusal),
    }
}

/// A request of this version with these fields: whether the connection outlives it.
#[track_caller]
fn check_keep_alive(version: &str, lines: &str, expected: Result<bool, Refusal>) {
    let input = format!("GET / HTTP/{version}\r\nhost: a\r\n{lines}");
    match expected {
        Ok(expected) => assert_eq!(accept(&format!("{input}\r\n")).keep_alive, expected),
        Err(refusal) => refuse(input, refusal),
    }
}

#[test]
fn a_head_is_taken_off_the_front_and_the_next_follows() {
    let mut buf = BytesMut::from("GET /a?b HTTP/1.1\r\nHost: x:80\r\n\r\nPUT /c HTTP/1.0\r\n\r\nbody");
    let mut decoder = RequestDecoder::new(LIMITS, PathPolicy::Strict);
    let first = decoder.decode(&mut buf).expect("good").expect("complete").head;
    assert_eq!(
        (first.authority(), first.host(), first.path(), first.query()),
        ("x:80", "x", "/a", Some("b"))
    );
    let second = decoder.decode(&mut buf).expect("good").expect("complete").head;
    assert_eq!(
        (second.authority(), second.target(), second.version()),
        ("", "/c", Version::Http10)
    );
    assert_eq!(&buf[..], b"body");
}

#[test]
fn one_empty_line_before_a_request_is_read_over() {
    assert_eq!(accept("\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n").head.target(), "/");
    refuse("\r\n\r", Refusal::EmptyLines);
    refuse("\n", Refusal::LineEnd);
    refuse("\rG", Refusal::LineEnd);
}

#[test]
fn request_lines_have_three_parts() {
    check_line("GET /a HTTP/1.1", Ok("GET /a"));
    check_line("get /a HTTP/1.0", Ok("get /a"));
    check_line("M-SEARCH /a HTTP/1.1", Ok("M-SEARCH /a"));
    check_line("OPTIONS * HTTP/1.1", Ok("OPTIONS *"));
    check_line("GET  /a HTTP/1.1", Err(Refusal::RequestLine));
    check_line("GET /a  HTTP/1.1", Err(Refusal::RequestLine));
    check_line("GET HTTP/1.1", Err(Refusal::RequestLine));
    check_line("GET /a HTTP/1.1 ", Err(Refusal::Version));
    check_line("GET\t/a HTTP/1.1", Err(Refusal::MethodName));
    check_line("GE\"T /a HTTP/1.1", Err(Refusal::MethodName));
    check_line("GE\0T /a HTTP/1.1", Err(Refusal::MethodName));
    check_line(
        &format!("{} /a HTTP/1.1", "M".repeat(32)),
        Ok(&format!("{} /a", "M".repeat(32))),
    );
    check_line(&format!("{} /a HTTP/1.1", "M".repeat(33)), Err(Refusal::MethodName));
    check_line("CONNECT a:443 HTTP/1.1", Err(Refusal::Method));
    check_line("TRACE / HTTP/1.1", Err(Refusal::Method));
}

#[test]
fn two_versions_are_spoken() {
    for version in [
        "",
        " ",
        " HTTP",
        " HTTP/1.2",
        " HTTP/2.0",
        " HTTP/2",
        " http/1.1",
        " HTTP/01.1",
        " HTTP/1.1a",
        " HTTP/1.1\t",
    ] {
        check_line(&format!("GET /a{version}"), Err(Refusal::Version));
    }
}

#[test]
fn targets_are_paths() {
    check_line("GET /a?b=/../c HTTP/1.1", Ok("GET /a?b=/../c"));
    for target in [
        "http://a/",
        "https://a/",
        "http:/x",
        "a",
        "a:80",
        "a:80/b",
        "u@a",
        "*",
        "**",
        "?a",
        "\\a",
    ] {
        check_line(&format!("GET {target} HTTP/1.1"), Err(Refusal::TargetForm));
    }
    check_line("OPTIONS *a HTTP/1.1", Err(Refusal::TargetForm));
    for target in ["/a b", "/\t", "/\0", "/\x7f", "/\u{e9}"] {
        check_line(&format!("GET {target} HTTP/1.1"), Err(Refusal::Path(PathProblem::Byte)));
    }
    check_line("GET /a?b#c HTTP/1.1", Err(Refusal::Path(PathProblem::Fragment)));
}

#[test]
fn targets_are_canonical() {
    check_line("GET /%61?%61 HTTP/1.1", Ok("GET /a?%61"));
    check_line("GET //a HTTP/1.1", Err(Refusal::Path(PathProblem::EmptySegment)));
    check_line("GET /a/../b HTTP/1.1", Err(Refusal::Path(PathProblem::DotSegment)));
}

#[test]
fn what_is_too_long_is_refused_before_it_ends() {
    let path = |len: usize| format!("GET /{} HTTP/1.1", "a".repeat(len - 1));
    check_line(&path(100), Ok(path(100).trim_end_matches(" HTTP/1.1")));
    check_line(&path(101), Err(Refusal::TargetTooLong));
    refuse(format!("GET /{}", "a".repeat(139)), Refusal::TargetTooLong);
    refuse("M".repeat(144), Refusal::MethodName);
    let head = "GET / HTTP/1.1\r\nhost: a\r\nb: ";
    accept(&format!("{head}{}\r\n\r\n", "b".repeat(396 - head.len())));
    refuse(
        format!("{head}{}\r\n\r\n", "b".repeat(397 - head.len())),
        Refusal::HeadTooLarge,
    );
    refuse(format!("{head}{}", "b".repeat(400 - head.len())), Refusal::HeadTooLarge);
    check_fields("a: b\r\n".repeat(7).trim_end(), Ok(&[("a", "b"); 7]));
    check_fields("a: b\r\n".repeat(8).trim_end(), Err(Refusal::TooManyFields));
}

#[test]
fn other_protocols_are_not_waited_for() {
    refuse(b"\x16", Refusal::MethodName);
    refuse("PRI * HTTP/2.0\r\n", Refusal::Version);
    refuse("{", Refusal::MethodName);
}

#[test]
fn names_are_lowered_and_values_trimmed() {
    check_fields("X-A:b", Ok(&[("x-a", "b")]));
    check_fields("X-A: \t b\tc \t", Ok(&[("x-a", "b\\tc")]));
    check_fields("a:\r\nb: \t", Ok(&[("a", ""), ("b", "")]));
    check_fields("a: \u{e9}:\"\\", Ok(&[("a", "\\xc3\\xa9:\\\"\\\\")]));
    check_fields("!#$%&'*+-.^_`|~9: x", Ok(&[("!#$%&\\'*+-.^_`|~9", "x")]));
}

#[test]
fn field_lines_that_readers_read_in_two_ways_are_refused() {
    check_fields(" b: c", Err(Refusal::Fold));
    check_fields("\tb: c", Err(Refusal::Fold));
    check_fields("b : c", Err(Refusal::SpaceBeforeColon));
    check_fields("b\t: c", Err(Refusal::SpaceBeforeColon));
    check_fields(": c", Err(Refusal::NameEmpty));
    check_fields("b c: d", Err(Refusal::SpaceBeforeColon));
    check_fields("b\0: d", Err(Refusal::Name));
    check_fields("b(: d", Err(Refusal::Name));
    check_fields("\u{e9}: d", Err(Refusal::Name));
    check_fields("b", Err(Refusal::NoColon));
    check_fields("b: \0", Err(Refusal::Value));
    check_fields("b: \x0b", Err(Refusal::Value));
    check_fields("b: \x7f", Err(Refusal::Value));
    check_fields("b: c\rd: e", Err(Refusal::LineEnd));
    check_fields("b: c\r", Err(Refusal::LineEnd));
    check_fields("b: c\nd: e", Err(Refusal::LineEnd));
    check_fields("b\n", Err(Refusal::LineEnd));
    check_fields("\rb: c", Err(Refusal::LineEnd));
    refuse("GET / HTTP/1.1\n", Refusal::LineEnd);
    refuse("GET / HTTP/1.1\r\r\n", Refusal::LineEnd);
    refuse("GET / HTTP/1.1\r\n host: a\r\n", Refusal::Fold);
    refuse("GET / HTTP/1.1\r\nhost: a\r\n\n", Refusal::LineEnd);
}

#[test]
fn there_is_one_host() {
    refuse("GET / HTTP/1.1\r\n\r\n", Refusal::HostMissing);
    refuse("GET / HTTP/1.1\r\nhost:\r\n", Refusal::Host);
    refuse("GET / HTTP/1.1\r\nhost: a, b\r\n", Refusal::Host);
    check_fields("host: a", Err(Refusal::HostRepeated));
    assert_eq!(
        accept("GET / HTTP/1.1\r\nx: y\r\nHost: [::1]:80\r\n\r\n").head.host(),
        "[::1]"
    );
}

#[test]
fn bodies_have_one_length_or_chunks() {
    check_framing("a: b", Ok((Framing::Empty, false)));
    check_framing("Content-Length: 0", Ok((Framing::Empty, false)));
    check_framing("Content-Length: 007", Ok((Framing::Length(7), false)));
    check_framing(
        "Content-Length: 9999999999999999999",
        Ok((Framing::Length(9_999_999_999_999_999_999), false)),
    );
    check_framing("Transfer-Encoding: Chunked", Ok((Framing::Chunked, false)));
    for value in [
        "",
        "+5",
        "-5",
        "5,5",
        "5, 5",
        "5 5",
        "0x5",
        "5a",
        "5;",
        "\"5\"",
        "18446744073709551616",
        "00000000000000000005",
    ] {
        check_framing(&format!("Content-Length: {value}"), Err(Refusal::ContentLength));
    }
    for value in [
        "",
        "gzip, chunked",
        "chunked, chunked",
        "identity",
        "xchunked",
        "chunkedx",
        "chunked;q=1",
        "\"chunked\"",
        "chunked,",
        ",chunked",
        "\tchunked",
        "chunked\t",
        "chunked, identity",
        "chunked gzip",
        "chu nked",
    ] {
        check_framing(&format!("Transfer-Encoding: {value}"), Err(Refusal::TransferEncoding));
    }
    check_framing("Transfer-Encoding: \x0bchunked", Err(Refusal::Value));
    check_framing(
        "Content-Length: 5\r\nContent-Length: 5",
        Err(Refusal::ContentLengthRepeated),
    );
    check_framing(
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        Err(Refusal::TransferEncoding),
    );
    check_framing(
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        Err(Refusal::LengthBesideCoding),
    );
    check_framing(
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        Err(Refusal::LengthBesideCoding),
    );
    refuse(
        "GET / HTTP/1.0\r\ntransfer-encoding: chunked\r\n",
        Refusal::TransferEncodingOld,
    );
}

#[test]
fn only_one_expectation_is_known() {
    check_framing(
        "Expect: 100-Continue\r\nContent-Length: 5",
        Ok((Framing::Length(5), true)),
    );
    check_framing("Expect: 100-continue", Ok((Framing::Empty, false)));
    check_framing("Expect: 200-ok", Err(Refusal::Expectation));
    check_framing("Expect:", Err(Refusal::Expectation));
    check_framing("Expect: 100-continue, 100-continue", Err(Refusal::Expectation));
    check_framing(
        "Expect: 100-continue\r\nExpect: 100-continue",
        Err(Refusal::Expectation),
    );
    let old = "POST / HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n";
    assert!(!accept(old).expects_continue);
}

#[test]
fn connection_options_decide_what_follows() {
    check_keep_alive("1.1", "", Ok(true));
    check_keep_alive("1.1", "connection: Close\r\n", Ok(false));
    check_keep_alive("1.1", "connection: upgrade, close\r\n", Ok(false));
    check_keep_alive("1.1", "connection: upgrade\r\nconnection: close\r\n", Ok(false));
    check_keep_alive("1.1", "connection:\r\n", Ok(true));
    check_keep_alive("1.1", "connection: x-close ,,\tkeep-alive\r\n", Ok(true));
    check_keep_alive("1.0", "", Ok(false));
    check_keep_alive("1.0", "connection: Keep-Alive\r\n", Ok(true));
    check_keep_alive("1.0", "connection: keep-alive, close\r\n", Ok(false));
    check_keep_alive("1.1", "connection: a b\r\n", Err(Refusal::Connection));
    check_keep_alive("1.1", "connection: close;q=1\r\n", Err(Refusal::Connection));
    check_keep_alive("1.1", "connection: \"close\"\r\n", Err(Refusal::Connection));
    check_keep_alive("1.1", "connection: close, Host\r\n", Err(Refusal::ConnectionOption));
    check_keep_alive("1.1", "connection: content-length\r\n", Err(Refusal::ConnectionOption));
    check_keep_alive(
        "1.1",
        "connection: Transfer-Encoding\r\n",
        Err(Refusal::ConnectionOption),
    );
}
