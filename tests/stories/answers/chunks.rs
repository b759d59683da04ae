//! Chunks and trailers (RFC 9112 §7.1): what is not by the grammar ends the body where it was still right.

use super::case::Case;
use super::expected::{TRUNCATED, chunked, last_problem, whole};
use super::play::play;

const HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// RFC 9110 §6.5.1: a client that takes trailers.
const TRAILERS_WANTED: &str = "GET {path} HTTP/1.1\r\nhost: serin.test\r\nconnection: te\r\nte: trailers\r\n\r\n";

/// What comes after a first chunk has reached the client.
pub const BAD: &[(&str, &[u8])] = &[
    ("no-size", b"\r\n"),
    ("word", b"zz\r\n"),
    ("word-in-size", b"1g\r\n"),
    ("space-first", b" 5\r\nhello\r\n"),
    ("space-last", b"5 \r\nhello\r\n"),
    ("tab-last", b"5\t\r\nhello\r\n"),
    ("plus", b"+5\r\nhello\r\n"),
    ("minus", b"-5\r\nhello\r\n"),
    ("prefix", b"0x5\r\nhello\r\n"),
    ("underscore", b"1_0\r\n0123456789abcdef\r\n"),
    ("point", b"5.0\r\nhello\r\n"),
    ("comma", b"5,5\r\nhello\r\n"),
    ("other-digits", b"\xef\xbc\x95\r\nhello\r\n"),
    ("size-of-2-to-the-63", b"8000000000000000\r\nhello"),
    ("size-of-2-to-the-64", b"10000000000000000\r\nhello"),
    ("size-of-2-to-the-64-and-5", b"10000000000000005\r\nhello\r\n"),
    ("too-many-zeros", b"00000000000000005\r\nhello\r\n"),
    ("size-ends-in-lf", b"5\nhello\r\n"),
    ("size-ends-in-cr", b"5\rhello\r\n"),
    ("size-ends-in-two-crs", b"5\r\r\nhello\r\n"),
    ("size-ends-in-nul", b"5\0\r\nhello\r\n"),
    ("extension-without-name", b"5;\r\nhello\r\n"),
    ("extension-after-space", b"5 ;a=b\r\nhello\r\n"),
    ("extension-space-name", b"5; a=b\r\nhello\r\n"),
    ("extension-space-equals", b"5;a =b\r\nhello\r\n"),
    ("extension-without-value", b"5;a=\r\nhello\r\n"),
    ("extension-open-quote", b"5;a=\"b\r\nhello\r\n"),
    ("extension-after-quote", b"5;a=\"b\"c\r\nhello\r\n"),
    ("extension-lf-in-quote", b"5;a=\"b\nc\"\r\nhello\r\n"),
    ("extension-lf", b"5;a\nhello\r\n"),
    ("extension-cr", b"5;a\rb\r\nhello\r\n"),
    ("extension-nul", b"5;a\0b\r\nhello\r\n"),
    ("data-too-short", b"9\r\nhello\r\n0\r\n\r\nxxxxxxxx"),
    ("data-too-long", b"4\r\nhello\r\n"),
    ("data-ends-in-lf", b"5\r\nhello\n0\r\n\r\n"),
    ("data-ends-in-cr", b"5\r\nhello\r0\r\n\r\n"),
    ("data-ends-in-nothing", b"5\r\nhello0\r\n\r\n"),
    ("last-chunk-ends-in-lf", b"0\n\r\n"),
    ("end-in-lf", b"0\r\n\n"),
    ("trailer-no-colon", b"0\r\nno colon\r\n\r\n"),
    ("trailer-empty-name", b"0\r\n: x\r\n\r\n"),
    ("trailer-space-colon", b"0\r\nx-sum : 1\r\n\r\n"),
    ("trailer-space-first", b"0\r\n x-sum: 1\r\n\r\n"),
    ("trailer-fold", b"0\r\nx-sum: 1\r\n 2\r\n\r\n"),
    ("trailer-nul", b"0\r\nx-sum: \0\r\n\r\n"),
    ("trailer-lf", b"0\r\nx-sum: 1\n\r\n"),
    ("trailer-cr", b"0\r\nx-sum: 1\rx-more: 2\r\n\r\n"),
    (
        "trailer-an-answer",
        b"0\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison",
    ),
];

/// A case whose first chunk has reached the client.
fn begun(name: &str) -> Case {
    Case::get(name)
        .says(format!("{HEAD}3\r\nabc\r\n"))
        .gets(chunked("200 OK", ""))
        .gets_chunks("abc")
}

#[test]
fn bad_chunks_end_the_answer_where_it_was_right() {
    // Content of a chunk passes as it comes; whether its line end is right shows after it.
    let passed = |name: &str| match name {
        "data-too-short" => "hello\r\n0\r",
        "data-too-long" => "hell",
        "data-ends-in-lf" | "data-ends-in-cr" | "data-ends-in-nothing" => "hello",
        _ => "",
    };
    let case = |(name, bytes): &(&str, &[u8])| {
        begun(name)
            .says(bytes)
            .gets_chunks(passed(name))
            .closed()
            .dropped()
            .failure()
    };
    play(BAD.iter().map(case).collect());
}

/// The same in one piece with the head: nothing has gone out yet, and the client is told.
#[test]
fn bad_chunks_with_their_head_are_no_answer() {
    let case = |(name, bytes): &(&str, &[u8])| {
        let says = [HEAD.as_bytes(), b"3\r\nabc\r\n", bytes].concat();
        Case::get(name)
            .says(says)
            .gets(last_problem(502, TRUNCATED))
            .closed()
            .dropped()
            .failure()
    };
    play(BAD.iter().map(case).collect());
}

#[test]
fn too_much_beside_the_content_ends_the_answer() {
    let cut = |case: Case| case.closed().dropped().failure();
    let trailer = |length: usize| format!("x-a: {}\r\n", "b".repeat(length));
    play(vec![
        cut(begun("extension-of-300").says(format!("1;a={}\r\nx\r\n", "b".repeat(300)))),
        cut(begun("endless-extension").says("1;a=").floods("b", 1_000_000)),
        cut(begun("endless-size").floods("0", 1_000_000)),
        cut(begun("many-trailers").says(format!("0\r\n{}\r\n", "x-a: b\r\n".repeat(65)))),
        cut(begun("large-trailer").says(format!("0\r\n{}\r\n", trailer(17_000)))),
        cut(begun("large-trailers").says(format!("0\r\n{}\r\n", trailer(600).repeat(30)))),
        cut(begun("endless-trailer").says("0\r\nx-a: ").floods("b", 1_000_000)),
        cut(begun("endless-trailers").says("0\r\n").floods("x-a: b\r\n", 100_000)),
        // Each within its limit, all together beyond that of a body.
        cut(begun("many-extensions")
            .says(format!("1;a={}\r\nx\r\n", "b".repeat(200)).repeat(100))
            .gets_some_chunks_of(b'x', 100)),
    ]);
}

#[test]
fn good_chunks_pass_and_their_extensions_stop_here() {
    let case = |name: &str, says: &str, content: &str, trailers: &str| {
        Case::new(name)
            .asks(TRAILERS_WANTED)
            .fresh("GET")
            .says(format!("{HEAD}{says}"))
            .gets(chunked("200 OK", ""))
            .gets_chunks(content)
            .gets(format!("0\r\n{trailers}\r\n"))
    };
    let end = "0\r\n\r\n";
    play(vec![
        case("one", "5\r\nhello\r\n0\r\n\r\n", "hello", ""),
        case("two", "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", "hello!", ""),
        case("upper-case", &format!("A\r\n0123456789\r\n{end}"), "0123456789", ""),
        case("lower-case", &format!("a\r\n0123456789\r\n{end}"), "0123456789", ""),
        case("leading-zeros", &format!("0005\r\nhello\r\n{end}"), "hello", ""),
        case(
            "sixteen-digits",
            &format!("0000000000000005\r\nhello\r\n{end}"),
            "hello",
            "",
        ),
        case("many-zeros-at-last", "5\r\nhello\r\n0000\r\n\r\n", "hello", ""),
        case("like-chunks", &format!("7\r\n0\r\n\r\nab\r\n{end}"), "0\r\n\r\nab", ""),
        case("extension", &format!("5;a\r\nhello\r\n{end}"), "hello", ""),
        case("extension-token", &format!("5;a=b\r\nhello\r\n{end}"), "hello", ""),
        case(
            "extension-quoted",
            &format!("5;a=\"b;\\\"c\"\r\nhello\r\n{end}"),
            "hello",
            "",
        ),
        case("extensions", &format!("5;a;b=c;d=\"\"\r\nhello\r\n{end}"), "hello", ""),
        case("extension-at-last", "5\r\nhello\r\n0;a=b\r\n\r\n", "hello", ""),
        case(
            "trailer",
            "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
            "hello",
            "x-sum: 1\r\n",
        ),
        case(
            "trailers",
            "5\r\nhello\r\n0\r\nx-sum: 1\r\nx-sum: 2\r\nx-more:\r\n\r\n",
            "hello",
            "x-sum: 1\r\nx-sum: 2\r\nx-more: \r\n",
        ),
        case(
            "trailers-that-must-not-be",
            "5\r\nhello\r\n0\r\ncontent-length: 9\r\nTransfer-Encoding: chunked\r\nhost: a\r\nset-cookie: a=b\r\n\
             connection: close\r\nx-serin-variant: evil\r\nx-forwarded-for: 1.2.3.4\r\ncache-control: no-store\r\n\
             content-type: text/html\r\nkeep-alive: 1\r\nupgrade: h2c\r\nx-sum: 1\r\n\r\n",
            "hello",
            "x-sum: 1\r\n",
        ),
        case(
            "sixty-four-trailers",
            &format!("0\r\n{}\r\n", "x-a: b\r\n".repeat(64)),
            "",
            &"x-a: b\r\n".repeat(64),
        ),
        case(
            "a-thousand",
            &format!("{}{end}", "1\r\nx\r\n".repeat(1000)),
            &"x".repeat(1000),
            "",
        ),
        case(
            "large",
            &format!("{:x}\r\n{}\r\n{end}", 300_000, "x".repeat(300_000)),
            &"x".repeat(300_000),
            "",
        ),
        Case::new("byte-by-byte")
            .asks(TRAILERS_WANTED)
            .fresh("GET")
            .says(HEAD)
            .drips(
                "5;a=b\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
                std::time::Duration::from_millis(2),
            )
            .gets(chunked("200 OK", ""))
            .gets_chunks("hello")
            .gets("0\r\nx-sum: 1\r\n\r\n"),
        // Whether a client wants trailers or not: they are no part of the content.
        Case::get("trailer-that-nobody-asked-for")
            .says(format!("{HEAD}5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n"))
            .gets(chunked("200 OK", ""))
            .gets_chunks("hello")
            .gets("0\r\nx-sum: 1\r\n\r\n"),
        Case::asked("none-for-head", "HEAD")
            .says(HEAD)
            .gets(whole("200 OK", "", "")),
    ]);
}
