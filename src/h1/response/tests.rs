//! Which heads of responses are taken, and which rule refuses the others.

use bytes::BytesMut;

use super::{Asked, Framing, HeadLimits, Refusal, Response, ResponseDecoder};

const LIMITS: HeadLimits = HeadLimits {
    bytes: 100,
    fields: 4,
    target_bytes: 0,
};
const GET: Asked = Asked {
    head: false,
    upgrade: false,
};
const HEAD: Asked = Asked {
    head: true,
    upgrade: false,
};
const UPGRADE: Asked = Asked {
    head: false,
    upgrade: true,
};

/// What becomes of `input`, in one piece; byte by byte it must be the same.
fn decode(input: &[u8], asked: Asked) -> Result<Option<Response>, Refusal> {
    let whole = ResponseDecoder::new(LIMITS).decode(&mut BytesMut::from(input), asked);
    let (mut decoder, mut buf) = (ResponseDecoder::new(LIMITS), BytesMut::new());
    let pieces = input
        .iter()
        .map(|&byte| {
            buf.extend_from_slice(&[byte]);
            decoder.decode(&mut buf, asked)
        })
        .find(|result| !matches!(result, Ok(None)))
        .unwrap_or(Ok(None));
    assert_eq!(format!("{whole:?}"), format!("{pieces:?}"), "in pieces");
    whole
}

/// A final status, its framing and whether the connection persists; or the refusal as soon as the last byte has come.
#[track_caller]
fn check(asked: Asked, input: impl AsRef<[u8]>, expected: Result<(u16, Framing, bool), Refusal>) {
    let input = input.as_ref();
    let response = decode(input, asked)
        .map(|response| response.expect("complete"))
        .map(|response| (response.head.status, response.framing, response.keep_alive));
    assert_eq!(response, expected, "{}", input.escape_ascii());
}

#[test]
fn status_lines_have_a_version_a_status_and_perhaps_a_reason() {
    let close = |status| Ok((status, Framing::Close, false));
    check(GET, "HTTP/1.1 200 OK\r\n\r\n", close(200));
    check(GET, "HTTP/1.0 599 \r\n\r\n", close(599));
    check(GET, "HTTP/1.1 200\r\n\r\n", close(200));
    check(GET, b"HTTP/1.1 404 not\there \xff\r\n\r\n", close(404));
    for bad in [
        "HTTP/1.1 20\r\n",
        "HTTP/1.1  200 OK\r\n",
        "HTTP/1.1 2000\r\n",
        "HTTP/1.1 20a OK\r\n",
        "HTTP/1.1\r\n",
        "HTTP/1.1\t200 OK\r\n",
    ] {
        check(GET, bad, Err(Refusal::StatusLine));
    }
    check(GET, "HTTP/1.1 200 a\0b\r\n", Err(Refusal::StatusLine));
    check(GET, "HTTP/1.1 200\tOK\r\n", Err(Refusal::StatusLine));
    check(GET, "HTTP/1.1 200 a\rb\r\n", Err(Refusal::LineEnd));
    check(GET, "HTTP/1.1 200 OK\n", Err(Refusal::LineEnd));
    for status in ["000", "099", "600", "999"] {
        check(GET, format!("HTTP/1.1 {status} x\r\n"), Err(Refusal::Status));
    }
}

#[test]
fn other_protocols_are_refused_by_their_first_bytes() {
    for bad in ["\r", "\n", " ", "h", "HTTP/2", "HTTP/0", "ICY", "\x15"] {
        let first_bad = bad
            .bytes()
            .zip(*b"HTTP/1.")
            .position(|(came, due)| came != due)
            .expect("bad")
            + 1;
        check(GET, &bad[..first_bad], Err(Refusal::Version));
    }
    check(GET, "HTTP/1.2 200 OK\r\n", Err(Refusal::Version));
}

#[test]
fn the_body_follows_from_question_status_and_fields() {
    let with = |status: u16, fields: &str| format!("HTTP/1.1 {status} x\r\n{fields}\r\n");
    check(
        GET,
        with(200, "Content-Length: 5\r\n"),
        Ok((200, Framing::Length(5), true)),
    );
    check(GET, with(200, "Content-Length: 0\r\n"), Ok((200, Framing::Empty, true)));
    check(
        GET,
        with(200, "Transfer-Encoding: chunked\r\n"),
        Ok((200, Framing::Chunked, true)),
    );
    check(
        GET,
        with(200, "Content-Length: 5\r\nConnection: close\r\n"),
        Ok((200, Framing::Length(5), false)),
    );
    check(GET, with(204, ""), Ok((204, Framing::Empty, true)));
    check(GET, with(204, "Content-Length: 0\r\n"), Ok((204, Framing::Empty, true)));
    check(GET, with(304, "Content-Length: 5\r\n"), Ok((304, Framing::Empty, true)));
    check(
        GET,
        with(304, "Transfer-Encoding: chunked\r\n"),
        Ok((304, Framing::Empty, true)),
    );
    check(
        HEAD,
        with(200, "Content-Length: 5\r\n"),
        Ok((200, Framing::Empty, true)),
    );
    check(HEAD, with(200, ""), Ok((200, Framing::Empty, true)));
    check(GET, with(204, "Content-Length: 5\r\n"), Err(Refusal::BodyForbidden));
    check(
        HEAD,
        with(204, "Transfer-Encoding: chunked\r\n"),
        Err(Refusal::BodyForbidden),
    );
    check(GET, with(103, "Content-Length: 5\r\n"), Err(Refusal::BodyForbidden));
    let old = "HTTP/1.0 200 x\r\nContent-Length: 5\r\n";
    check(GET, format!("{old}\r\n"), Ok((200, Framing::Length(5), false)));
    check(
        GET,
        format!("{old}Connection: keep-alive\r\n\r\n"),
        Ok((200, Framing::Length(5), true)),
    );
}

#[test]
fn contradictions_are_refused_whatever_was_asked() {
    for asked in [GET, HEAD] {
        let check = |fields: &str, refusal| check(asked, format!("HTTP/1.1 200 x\r\n{fields}\r\n"), Err(refusal));
        check("content-length: 5\r\ncontent-length: 5", Refusal::ContentLengthRepeated);
        check("content-length: 5, 5", Refusal::ContentLength);
        check(
            "content-length: 5\r\ntransfer-encoding: chunked",
            Refusal::LengthBesideCoding,
        );
        check("transfer-encoding: gzip, chunked", Refusal::TransferEncoding);
        check("a: b\r\n c", Refusal::Fold);
        check("a: \0", Refusal::Value);
    }
    check(
        GET,
        "HTTP/1.0 200 x\r\ntransfer-encoding: chunked\r\n",
        Err(Refusal::TransferEncodingOld),
    );
}

#[test]
fn interim_responses_are_read_over_so_many() {
    let interim = "HTTP/1.1 103 x\r\na: b\r\n\r\n";
    let last = "HTTP/1.1 200 x\r\ncontent-length: 1\r\n\r\n";
    check(
        GET,
        "HTTP/1.1 100 Continue\r\n\r\n".repeat(15) + last,
        Ok((200, Framing::Length(1), true)),
    );
    check(GET, interim.repeat(16) + last, Ok((200, Framing::Length(1), true)));
    check(GET, interim.repeat(17), Err(Refusal::InterimFlood));
    let large = format!("HTTP/1.1 103 {}\r\n\r\n", "x".repeat(70));
    check(GET, large.repeat(5), Err(Refusal::InterimFlood));
    check(GET, large.repeat(4) + last, Ok((200, Framing::Length(1), true)));
}

#[test]
fn protocols_switch_when_asked() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n";
    check(UPGRADE, switch, Ok((101, Framing::Empty, false)));
    check(GET, switch, Err(Refusal::UnaskedSwitch));
    check(
        UPGRADE,
        "HTTP/1.1 101 x\r\ncontent-length: 1\r\n\r\n",
        Err(Refusal::BodyForbidden),
    );
}

#[test]
fn heads_are_bounded() {
    let head = "HTTP/1.1 200 x\r\na: ";
    check(
        GET,
        format!("{head}{}\r\n\r\n", "b".repeat(96 - head.len())),
        Ok((200, Framing::Close, false)),
    );
    check(
        GET,
        format!("{head}{}", "b".repeat(100 - head.len())),
        Err(Refusal::HeadTooLarge),
    );
    check(
        GET,
        format!("HTTP/1.1 200 {}", "b".repeat(87)),
        Err(Refusal::HeadTooLarge),
    );
    check(
        GET,
        format!("HTTP/1.1 200 x\r\n{}", "a: b\r\n".repeat(5)),
        Err(Refusal::TooManyFields),
    );
}
