//! Field lines (RFC 9112 §5), and the fields that stop here (RFC 9110 §7.6.1).

use super::case::Case;
use super::expected::whole;
use super::malformed;
use super::play::play;

const BAD_FIELDS: &[(&str, &[u8])] = &[
    ("no-colon", b"HTTP/1.1 200 OK\r\nno colon\r\ncontent-length: 0\r\n\r\n"),
    ("empty-name", b"HTTP/1.1 200 OK\r\n: x\r\ncontent-length: 0\r\n\r\n"),
    (
        "space-before-colon",
        b"HTTP/1.1 200 OK\r\nx-a : x\r\ncontent-length: 0\r\n\r\n",
    ),
    (
        "tab-before-colon",
        b"HTTP/1.1 200 OK\r\nx-a\t: x\r\ncontent-length: 0\r\n\r\n",
    ),
    ("length-space-colon", b"HTTP/1.1 200 OK\r\ncontent-length : 0\r\n\r\n"),
    (
        "fold-by-space",
        b"HTTP/1.1 200 OK\r\nx-a: x\r\n y\r\ncontent-length: 0\r\n\r\n",
    ),
    (
        "fold-by-tab",
        b"HTTP/1.1 200 OK\r\nx-a: x\r\n\ty\r\ncontent-length: 0\r\n\r\n",
    ),
    (
        "fold-to-nothing",
        b"HTTP/1.1 200 OK\r\nx-a: x\r\n \r\ncontent-length: 0\r\n\r\n",
    ),
    ("fold-first", b"HTTP/1.1 200 OK\r\n x-a: x\r\ncontent-length: 0\r\n\r\n"),
    ("folded-length", b"HTTP/1.1 200 OK\r\ncontent-length:\r\n 0\r\n\r\n"),
    (
        "name-with-space",
        b"HTTP/1.1 200 OK\r\nx a: x\r\ncontent-length: 0\r\n\r\n",
    ),
    (
        "name-with-nul",
        b"HTTP/1.1 200 OK\r\nx\0a: x\r\ncontent-length: 0\r\n\r\n",
    ),
    (
        "name-with-cr",
        b"HTTP/1.1 200 OK\r\nx\ra: x\r\ncontent-length: 0\r\n\r\n",
    ),
    (
        "name-with-parens",
        b"HTTP/1.1 200 OK\r\nx(a): x\r\ncontent-length: 0\r\n\r\n",
    ),
    (
        "name-with-quotes",
        b"HTTP/1.1 200 OK\r\n\"x-a\": x\r\ncontent-length: 0\r\n\r\n",
    ),
    (
        "name-with-slash",
        b"HTTP/1.1 200 OK\r\nx/a: x\r\ncontent-length: 0\r\n\r\n",
    ),
    (
        "name-with-obs-text",
        b"HTTP/1.1 200 OK\r\nx-\xe9: x\r\ncontent-length: 0\r\n\r\n",
    ),
    (
        "name-with-delete",
        b"HTTP/1.1 200 OK\r\nx\x7fa: x\r\ncontent-length: 0\r\n\r\n",
    ),
    (
        "value-with-nul",
        b"HTTP/1.1 200 OK\r\nx-a: a\0b\r\ncontent-length: 0\r\n\r\n",
    ),
    (
        "value-with-cr",
        b"HTTP/1.1 200 OK\r\nx-a: a\rset-cookie: b\r\ncontent-length: 0\r\n\r\n",
    ),
    (
        "value-ends-in-cr",
        b"HTTP/1.1 200 OK\r\nx-a: a\r\r\ncontent-length: 0\r\n\r\n",
    ),
    (
        "value-with-lf",
        b"HTTP/1.1 200 OK\r\nx-a: a\nset-cookie: b\r\ncontent-length: 0\r\n\r\n",
    ),
    (
        "value-with-escape",
        b"HTTP/1.1 200 OK\r\nx-a: \x1b[2J\r\ncontent-length: 0\r\n\r\n",
    ),
    (
        "value-with-backspace",
        b"HTTP/1.1 200 OK\r\nx-a: a\x08b\r\ncontent-length: 0\r\n\r\n",
    ),
    (
        "value-with-delete",
        b"HTTP/1.1 200 OK\r\nx-a: a\x7fb\r\ncontent-length: 0\r\n\r\n",
    ),
    ("end-by-lf", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\n"),
    ("end-by-cr", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\rx\r\n"),
    ("end-by-two-crs", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\r\n"),
    (
        "connection-names-length",
        b"HTTP/1.1 200 OK\r\nconnection: content-length\r\ncontent-length: 0\r\n\r\n",
    ),
    (
        "connection-names-coding",
        b"HTTP/1.1 200 OK\r\nconnection: close, Transfer-Encoding\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "connection-with-space",
        b"HTTP/1.1 200 OK\r\nconnection: a b\r\ncontent-length: 0\r\n\r\n",
    ),
    (
        "connection-with-quotes",
        b"HTTP/1.1 200 OK\r\nconnection: \"close\"\r\ncontent-length: 0\r\n\r\n",
    ),
];

#[test]
fn a_bad_field_line_is_no_answer() {
    play(malformed(BAD_FIELDS));
}

/// A backend's fields and what the client gets of them.
const FIELDS: &[(&str, &[u8], &[u8])] = &[
    ("plain", b"x-a: b\r\n", b"x-a: b\r\n"),
    ("upper-case-name", b"X-A: B\r\n", b"x-a: B\r\n"),
    ("empty-value", b"x-a:\r\nx-b: \r\n", b"x-a: \r\nx-b: \r\n"),
    ("space-about", b"x-a: \t b c \t \r\n", b"x-a: b c\r\n"),
    ("no-space", b"x-a:b\r\n", b"x-a: b\r\n"),
    ("tab-within", b"x-a: b\tc\r\n", b"x-a: b\tc\r\n"),
    ("obs-text", b"x-a: \xe9\xff\x80\r\n", b"x-a: \xe9\xff\x80\r\n"),
    ("token-name", b"!#$%&'*+-.^_`|~9: b\r\n", b"!#$%&'*+-.^_`|~9: b\r\n"),
    ("colons", b"x-a: b: c:\r\n", b"x-a: b: c:\r\n"),
    ("commas", b"x-a: b,,c, \r\n", b"x-a: b,,c,\r\n"),
    (
        "cookies-in-order",
        b"set-cookie: b=1\r\nx-a: b\r\nset-cookie: a=2\r\n",
        b"set-cookie: b=1\r\nx-a: b\r\nset-cookie: a=2\r\n",
    ),
    ("keep-alive", b"keep-alive: timeout=5\r\nx-a: b\r\n", b"x-a: b\r\n"),
    ("proxy-connection", b"proxy-connection: keep-alive\r\n", b""),
    ("te", b"te: trailers\r\n", b""),
    ("upgrade-offered", b"upgrade: h2c\r\n", b""),
    (
        "upgrade-named",
        b"connection: upgrade\r\nupgrade: h2c, websocket\r\n",
        b"",
    ),
    ("named", b"x-a: b\r\nconnection: x-A\r\nx-c: d\r\n", b"x-c: d\r\n"),
    (
        "named-in-two-lines",
        b"connection: x-a\r\nx-a: b\r\nconnection: keep-alive, x-c\r\nx-c: d\r\nx-e: f\r\n",
        b"x-e: f\r\n",
    ),
    ("named-after-nothing", b"connection: , ,x-a\r\nx-a: b\r\n", b""),
    (
        "variant-of-its-own",
        b"x-serin-variant: evil\r\nx-a: b\r\n",
        b"x-a: b\r\n",
    ),
    (
        "any-of-ours",
        b"X-Serin-Generation: 9\r\nx-serin-other: evil\r\nx-a: b\r\n",
        b"x-a: b\r\n",
    ),
    ("ours-not-quite", b"x-serinity: b\r\n", b"x-serinity: b\r\n"),
    ("its-own-server", b"server: nginx\r\n", b"server: nginx\r\n"),
    (
        "proxy-authenticate",
        b"proxy-authenticate: Basic\r\n",
        b"proxy-authenticate: Basic\r\n",
    ),
];

#[test]
fn fields_pass_as_they_are_or_stop_here() {
    let case = |(name, says, got): &(&str, &[u8], &[u8])| {
        Case::get(name)
            .says([b"HTTP/1.1 200 OK\r\n", *says, b"content-length: 2\r\n\r\nok"].concat())
            .gets(whole("200 OK", [*got, b"content-length: 2\r\n"].concat(), "ok"))
    };
    play(FIELDS.iter().map(case).collect());
}

/// A backend's own date stands, wherever it is; ours is added where there is none.
#[test]
fn a_date_is_the_backends_if_it_has_one() {
    let date = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let says = format!("HTTP/1.1 200 OK\r\n{date}content-length: 2\r\n\r\nok");
    let got = format!(
        "HTTP/1.1 200 OK\r\n{date}x-serin-variant: only\r\nx-serin-generation: 1\r\ncontent-length: 2\r\n\r\nok"
    );
    play(vec![Case::get("dated").says(says).gets(got)]);
}
