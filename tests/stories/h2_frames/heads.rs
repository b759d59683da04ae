//! Heads and bodies (RFC 9113 §8): what passes comes out as HTTP/1.1 that can be read in one way only.

use super::cases::{Case, data, exactly, fields, get, in_parts, post, trailers};
use super::wire::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HAS_PRIORITY, HEADERS, PADDED, SETTINGS, WINDOW_UPDATE, block, frame,
    literal_as, number, setting,
};

const ROOT: &str = "GET / HTTP/1.1";

pub fn that_pass() -> Vec<Case> {
    let (head, tail) = {
        let whole = block(&fields(&[("x-long", "value")]));
        (whole[..20].to_vec(), whole[20..].to_vec())
    };
    let split = [
        frame(HEADERS, END_STREAM, 1, &head),
        frame(CONTINUATION, 0, 1, &tail[..9]),
        frame(CONTINUATION, END_HEADERS, 1, &tail[9..]),
    ];
    let prioritised = [&[0, 0, 0, 0, 16][..], &block(&fields(&[]))].concat();
    let padded = [&[5][..], &block(&fields(&[])), &[0; 5]].concat();
    let remembered = [literal_as(0x40, b"x-kept", b"in the table"), number(0x80, 7, 62)].concat();
    let remembered = [block(&fields(&[])), remembered].concat();
    let passes = |name, given: &[(&str, &str)], start: &str, has| Case::passes(name, get(1, given), start, has);
    vec![
        passes("plain", &[], ROOT, &["host: serin.test\r\n", "x-forwarded-proto: http"]).lacking(&[
            "connection:",
            "transfer-encoding:",
            "content-length:",
            ":",
        ]),
        passes(
            "query",
            &[(":path", "/a/b?c=d&e=%20")],
            "GET /a/b?c=d&e=%20 HTTP/1.1",
            &[],
        ),
        // The engine has cut it off before we see it: it is nowhere, so nobody reads it in another way.
        passes("fragment", &[(":path", "/a?b#c")], "GET /a?b HTTP/1.1", &[]),
        passes(
            "options-of-the-server",
            &[(":method", "OPTIONS"), (":path", "*")],
            "OPTIONS * HTTP/1.1",
            &[],
        ),
        passes("method-of-ones-own", &[(":method", "PURGE")], "PURGE / HTTP/1.1", &[]),
        passes("head", &[(":method", "HEAD")], "HEAD / HTTP/1.1", &[]).told("200 over"),
        passes("scheme-http", &[(":scheme", "http")], ROOT, &[]),
        passes(
            "port",
            &[(":authority", "serin.test:8443")],
            ROOT,
            &["host: serin.test:8443\r\n"],
        ),
        passes(
            "ipv6",
            &[(":authority", "[2001:db8::1]:443")],
            ROOT,
            &["host: [2001:db8::1]:443\r\n"],
        ),
        passes(
            "host-alone",
            &[("-:authority", ""), ("host", "other.test")],
            ROOT,
            &["host: other.test\r\n"],
        ),
        passes(
            "host-the-same",
            &[("host", "SERIN.test")],
            ROOT,
            &["host: serin.test\r\n"],
        )
        .lacking(&["host: SERIN"]),
        passes(
            "cookies-joined",
            &[("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2"), ("cookie", "c=3")],
            ROOT,
            &["cookie: a=1; b=2; c=3\r\n"],
        )
        .lacking(&["cookie: a=1\r\n", "cookie: b=2"]),
        passes(
            "te-trailers",
            &[("te", "trailers")],
            ROOT,
            &["te: trailers\r\n", "connection: te\r\n"],
        ),
        passes("empty-value", &[("x-empty", "")], ROOT, &["x-empty: \r\n"]),
        passes(
            "value-above-ascii",
            &[("x-name", "J\u{fc}rgen")],
            ROOT,
            &["x-name: J\u{fc}rgen\r\n"],
        ),
        passes("value-with-a-tab", &[("x-tab", "a\tb")], ROOT, &["x-tab: a\tb\r\n"]),
        passes(
            "our-own-fields",
            &[("x-serin-variant", "canary"), ("x-serin-anything", "1")],
            ROOT,
            &["x-serin-variant: stable\r\n"],
        )
        .lacking(&["x-serin-variant: canary", "x-serin-anything"]),
        passes(
            "spoofed-forwarding",
            &[
                ("x-forwarded-for", "1.2.3.4"),
                ("forwarded", "for=1.2.3.4"),
                ("x-forwarded-proto", "ftp"),
            ],
            ROOT,
            &["x-forwarded-for: 127.0.0.1\r\n"],
        )
        .lacking(&["forwarded: ", "x-forwarded-proto: ftp"]),
        passes("length-of-nothing", &[("content-length", "0")], ROOT, &[])
            .lacking(&["content-length: 0\r\ncontent-length"]),
        passes("many-fields", &[("x-a", "1"); 90], ROOT, &["x-a: 1\r\nx-a: 1\r\n"]),
        Case::passes("split-over-three-frames", split.concat(), ROOT, &["x-long: value\r\n"]),
        Case::passes(
            "with-priority",
            frame(HEADERS, END_HEADERS | END_STREAM | HAS_PRIORITY, 1, &prioritised),
            ROOT,
            &[],
        ),
        Case::passes(
            "padded",
            frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, &padded),
            ROOT,
            &[],
        ),
        Case::passes(
            "field-from-the-table",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &remembered),
            ROOT,
            &["x-kept: in the table\r\nx-kept: in the table\r\n"],
        ),
        Case::passes(
            "unknown-frame-and-flags",
            [frame(0xfa, 0xff, 0, b"grease"), get(1, &[])].concat(),
            ROOT,
            &[],
        ),
        Case::passes(
            "window-first",
            [frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]), get(1, &[])].concat(),
            ROOT,
            &[],
        ),
        Case::passes("a-later-stream", get(7, &[]), ROOT, &[]),
        Case::passes(
            "websocket-fields-without-connect",
            get(1, &[("sec-websocket-key", "abc")]),
            ROOT,
            &[],
        )
        .lacking(&["upgrade:", "connection:"]),
    ]
}

pub fn that_are_refused() -> Vec<Case> {
    let long = format!("/{}", "a".repeat(17 * 1024));
    let huge = "v".repeat(15 * 1024);
    let malformed = |name, given: &[(&str, &str)]| Case::refused(name, get(1, given), "rst 1");
    let bad = |name, given: &[(&str, &str)]| Case::refused(name, get(1, given), "400, over").counted("bad_request");
    let told = |name, given: &[(&str, &str)]| Case::refused(name, get(1, given), "400, rst 1").counted("bad_request");
    let broken = |name, given: &[(&str, &str)]| Case::refused(name, get(1, given), "goaway 1");
    vec![
        // §8.3: pseudo-header fields.
        malformed("no-method", &[("-:method", "")]),
        malformed("no-scheme", &[("-:scheme", "")]),
        malformed("no-path", &[("-:path", "")]),
        malformed("empty-path", &[(":path", "")]),
        malformed("two-methods", &[(":method", "GET"), (":method", "GET")]),
        malformed("two-paths", &[(":path", "/"), (":path", "/admin")]),
        malformed("two-schemes", &[(":scheme", "https"), (":scheme", "https")]),
        malformed(
            "two-authorities",
            &[(":authority", "serin.test"), (":authority", "other.test")],
        ),
        malformed("status-in-a-request", &[(":status", "200")]),
        malformed("protocol-without-connect", &[(":protocol", "websocket")]),
        broken("unknown-pseudo-header", &[(":version", "HTTP/1.1")]),
        broken("pseudo-header-in-upper-case", &[(":Path", "/")]),
        Case::refused(
            "pseudo-header-behind-a-field",
            exactly(&[
                (":method", "GET"),
                (":scheme", "https"),
                ("x-a", "1"),
                (":authority", "serin.test"),
                (":path", "/"),
            ]),
            "rst 1",
        ),
        // §8.3.1: the target.
        told("path-without-slash", &[(":path", "*")]),
        malformed("path-is-a-word", &[(":path", "admin")]),
        malformed("absolute-path", &[(":path", "http://other.test/")]),
        bad("dot-segments", &[(":path", "/a/../admin")]),
        bad("escaped-dot-segments", &[(":path", "/a/%2e%2e/admin")]),
        bad("escaped-nul", &[(":path", "/a%00")]),
        bad("bad-escape", &[(":path", "/%zz")]),
        malformed("space-in-the-path", &[(":path", "/ HTTP/1.1")]),
        malformed("line-in-the-path", &[(":path", "/ HTTP/1.1\r\nx-a: 1")]),
        malformed("nul-in-the-path", &[(":path", "/a\0b")]),
        bad("path-above-ascii", &[(":path", "/\u{fc}")]),
        Case::refused("path-too-long", in_parts(&[(":path", &long)]), "414, over").counted("uri"),
        bad("scheme-ftp", &[(":scheme", "ftp")]),
        malformed("scheme-that-injects", &[(":scheme", "http://other.test/?")]),
        bad("empty-scheme", &[(":scheme", "")]),
        // §8.3.1: the authority.
        told("user-information", &[(":authority", "user:pass@serin.test")]),
        told("two-hosts-in-one", &[(":authority", "serin.test,other.test")]),
        told("no-such-port", &[(":authority", "serin.test:99999")]),
        told("port-is-no-number", &[(":authority", "serin.test:port")]),
        malformed("empty-authority", &[(":authority", "")]),
        malformed("path-in-the-authority", &[(":authority", "serin.test/admin")]),
        malformed("space-in-the-authority", &[(":authority", "serin.test other.test")]),
        malformed("line-in-the-authority", &[(":authority", "serin.test\r\nx-a: 1")]),
        told("host-differs", &[("host", "other.test")]),
        told("host-differs-by-its-port", &[("host", "serin.test:443")]),
        told("host-is-empty", &[("host", "")]),
        bad("two-host-fields", &[("host", "serin.test"), ("host", "serin.test")]),
        told("no-host-at-all", &[("-:authority", "")]),
        told("host-with-a-comma", &[("-:authority", ""), ("host", "a.test, b.test")]),
        // §8.2.2: fields of one connection.
        malformed("connection", &[("connection", "close")]),
        malformed("connection-names-a-field", &[("connection", "x-forwarded-for")]),
        malformed("proxy-connection", &[("proxy-connection", "keep-alive")]),
        malformed("keep-alive", &[("keep-alive", "timeout=5")]),
        malformed("transfer-encoding", &[("transfer-encoding", "chunked")]),
        malformed("upgrade", &[("upgrade", "websocket")]),
        malformed("te-gzip", &[("te", "gzip")]),
        malformed("te-trailers-and-more", &[("te", "trailers, gzip")]),
        // §8.2.1: names and values.
        broken("name-in-upper-case", &[("X-A", "1")]),
        broken("length-in-upper-case", &[("Content-Length", "5")]),
        broken("name-with-a-space", &[("x a", "1")]),
        broken("name-with-a-colon", &[("x:a", "1")]),
        broken("name-with-a-line", &[("x\r\ntransfer-encoding", "chunked")]),
        broken("name-with-nul", &[("x\0", "1")]),
        broken("name-above-ascii", &[("x-\u{fc}", "1")]),
        broken("empty-name", &[("", "1")]),
        broken("value-with-a-line", &[("x-a", "1\r\ntransfer-encoding: chunked")]),
        broken("value-with-lf", &[("x-a", "1\n2")]),
        broken("value-with-cr", &[("x-a", "1\r2")]),
        broken("value-with-nul", &[("x-a", "1\x002")]),
        broken("value-with-del", &[("x-a", "1\x7f")]),
        told("value-begins-with-a-space", &[("x-a", " 1")]),
        told("value-ends-with-a-tab", &[("x-a", "1\t")]),
        // §8.1.1: lengths.
        bad(
            "length-twice",
            &[(":method", "POST"), ("content-length", "0"), ("content-length", "0")],
        ),
        malformed("two-lengths", &[("content-length", "0"), ("content-length", "5")]),
        malformed("length-is-a-list", &[("content-length", "0, 0")]),
        malformed("length-with-a-sign", &[("content-length", "+0")]),
        malformed("length-below-zero", &[("content-length", "-1")]),
        malformed("length-in-hex", &[("content-length", "0x0")]),
        malformed("length-too-large", &[("content-length", "99999999999999999999")]),
        told("length-is-empty", &[("content-length", "")]),
        malformed("length-without-content", &[("content-length", "5")]),
        // Methods (RFC 9110 §9.1, RFC 8441).
        broken("empty-method", &[(":method", "")]),
        broken("method-with-a-space", &[(":method", "GET /admin")]),
        broken("method-with-a-line", &[(":method", "GET / HTTP/1.1\r\nx")]),
        Case::refused("trace", get(1, &[(":method", "TRACE")]), "405, over").counted("unsupported"),
        Case::refused(
            "connect",
            get(1, &[(":method", "CONNECT"), ("-:scheme", ""), ("-:path", "")]),
            "405, over",
        )
        .counted("unsupported"),
        Case::refused(
            "connect-without-authority",
            get(
                1,
                &[
                    (":method", "CONNECT"),
                    ("-:scheme", ""),
                    ("-:path", ""),
                    ("-:authority", ""),
                ],
            ),
            "400, rst 1",
        )
        .counted("bad_request"),
        Case::refused(
            "connect-to-a-host-field",
            get(
                1,
                &[
                    (":method", "CONNECT"),
                    ("-:scheme", ""),
                    ("-:path", ""),
                    ("-:authority", ""),
                    ("host", "serin.test"),
                ],
            ),
            "400, rst 1",
        )
        .counted("bad_request"),
        Case::refused(
            "told-where-a-body-would-follow",
            [
                post(1, &[("host", "other.test")]),
                data(1, false, b"x"),
                data(1, true, b"y"),
                get(3, &[("x-a", " 1")]),
            ]
            .concat(),
            "400, 400, rst 1, rst 1",
        )
        .counted("bad_request"),
        Case::refused(
            "no-room-to-be-told",
            [
                frame(SETTINGS, 0, 0, &setting(4, 0)),
                post(1, &[("host", "other.test")]),
            ]
            .concat(),
            "400, rst 1",
        )
        .counted("bad_request"),
        malformed("connect-with-a-path", &[(":method", "CONNECT")]),
        Case::refused(
            "connect-for-another-protocol",
            post(1, &[(":method", "CONNECT"), (":protocol", "connect-udp")])[..].to_vec(),
            "501, over",
        )
        .counted("unsupported"),
        bad(
            "tunnel-that-has-ended",
            &[(":method", "CONNECT"), (":protocol", "websocket")],
        ),
        Case::refused("expectation", post(1, &[("expect", "a-miracle")]), "417, over").counted("unsupported"),
        // What gRPC's clients understand.
        Case::refused(
            "grpc-is-told-in-its-own-words",
            get(1, &[("content-type", "application/grpc+proto"), ("host", "other.test")]),
            "200 over",
        )
        .counted("bad_request"),
        // Sizes.
        Case::refused("too-many-fields", get(1, &[("x-a", "1"); 101]), "431, over").counted("headers"),
        Case::refused(
            "too-large-a-head",
            in_parts(&[
                ("x-a", &huge),
                ("x-b", &huge),
                ("x-c", &huge),
                ("x-d", &huge),
                ("x-e", &huge),
            ]),
            "431 over",
        ),
    ]
}

pub fn bodies() -> Vec<Case> {
    let up = "POST / HTTP/1.1";
    let sends = |name, frames: &[Vec<u8>], has| Case::passes(name, frames.concat(), up, has);
    let padded = [&[3][..], b"abc", &[0; 3]].concat();
    let breaks = |name, frames: &[Vec<u8>], told| Case::refused(name, frames.concat(), told).perhaps();
    vec![
        sends(
            "length",
            &[post(1, &[("content-length", "5")]), data(1, true, b"12345")],
            &["content-length: 5\r\n", "\r\n12345"],
        )
        .lacking(&["transfer-encoding"]),
        sends(
            "length-in-pieces",
            &[
                post(1, &[("content-length", "5")]),
                data(1, false, b"12"),
                data(1, false, b"3"),
                data(1, true, b"45"),
            ],
            &["content-length: 5\r\n", "\r\n12345"],
        ),
        sends(
            "no-length",
            &[post(1, &[]), data(1, false, b"12"), data(1, true, b"345")],
            &["transfer-encoding: chunked\r\n", "\r\n5\r\n12345\r\n0\r\n\r\n"],
        )
        .lacking(&["content-length"]),
        sends(
            "an-end-of-its-own",
            &[
                post(1, &[("content-length", "3")]),
                data(1, false, b"abc"),
                data(1, true, b""),
            ],
            &["content-length: 3\r\n", "\r\nabc"],
        ),
        sends(
            "padded-data",
            &[
                post(1, &[("content-length", "3")]),
                frame(DATA, PADDED | END_STREAM, 1, &padded),
            ],
            &["\r\nabc"],
        ),
        sends(
            "empty-body",
            &[post(1, &[("content-length", "0")]), data(1, true, b"")],
            &[],
        ),
        sends(
            "trailers",
            &[post(1, &[]), data(1, false, b"abc"), trailers(1, &[("x-sum", "6")])],
            &["\r\n3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n"],
        ),
        sends(
            "trailers-that-frame-or-route",
            &[
                post(1, &[]),
                data(1, false, b"abc"),
                trailers(
                    1,
                    &[
                        ("content-length", "9"),
                        ("host", "other.test"),
                        ("x-serin-variant", "canary"),
                        ("authorization", "x"),
                        ("x-sum", "6"),
                    ],
                ),
            ],
            &["\r\n3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n"],
        )
        .lacking(&[
            "host: other",
            "content-length",
            "x-serin-variant: canary",
            "authorization",
        ]),
        sends(
            "body-that-looks-like-chunks",
            &[post(1, &[("content-length", "5")]), data(1, true, b"0\r\n\r\n")],
            &["content-length: 5\r\n", "\r\n0\r\n\r\n"],
        ),
        Case {
            sends: vec![
                post(1, &[("content-length", "2"), ("expect", "100-continue")]),
                data(1, true, b"ok"),
            ],
            told: "100, 200, over",
            ..sends("expects-continue", &[], &["content-length: 2\r\n", "\r\nok"]).lacking(&["expect"])
        },
        breaks(
            "less-than-its-length",
            &[post(1, &[("content-length", "5")]), data(1, true, b"12")],
            "rst 1",
        ),
        breaks(
            "more-than-its-length",
            &[post(1, &[("content-length", "2")]), data(1, true, b"12345")],
            "rst 1",
        ),
        breaks(
            "more-than-nothing",
            &[post(1, &[("content-length", "0")]), data(1, true, b"1")],
            "rst 1",
        ),
        breaks(
            "trailers-before-the-end",
            &[
                post(1, &[("content-length", "5")]),
                data(1, false, b"12"),
                trailers(1, &[("x-sum", "3")]),
            ],
            "rst 1",
        ),
        breaks(
            "trailers-that-do-not-end",
            &[post(1, &[]), frame(HEADERS, END_HEADERS, 1, &block(&[("x-sum", "3")]))],
            "rst 1",
        ),
        breaks(
            "trailers-of-one-connection",
            &[post(1, &[]), trailers(1, &[("transfer-encoding", "chunked")])],
            "rst 1",
        ),
        breaks(
            "trailers-with-a-path",
            &[
                post(1, &[]),
                data(1, false, b"abc"),
                trailers(1, &[(":path", "/admin"), ("x-sum", "6")]),
            ],
            "goaway 1",
        ),
        breaks(
            "trailers-with-a-method-from-the-table",
            &[post(1, &[]), frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x82])],
            "goaway 1",
        ),
        breaks(
            "trailers-with-a-path-behind-padding",
            &[
                post(1, &[]),
                frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, &[2, 0x84, 0, 0]),
            ],
            "goaway 1",
        ),
        breaks(
            "trailers-that-inject",
            &[post(1, &[]), trailers(1, &[("x-a", "1\r\nx-b: 2")])],
            "goaway 1",
        ),
        breaks(
            "cancelled",
            &[
                post(1, &[("content-length", "5")]),
                data(1, false, b"12"),
                super::protocol::reset(1, 8),
                get(3, &[(":path", "/next")]),
            ],
            "200, over",
        ),
    ]
}
