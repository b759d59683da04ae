//! Requests of HTTP/2, through to the bytes that a backend of HTTP/1.1 is sent: what it parses is what we matched, one
//! request of it, with nothing that we did not mean.
//!
//! The input is a plan in lines, from which frames are made, or, behind a zero, the frames themselves. A plan: fields,
//! `name: value`, the four pseudo-header fields as they are; an empty line; trailers in the same form; an empty line; the
//! body.

use std::iter::once;
use std::time::Duration;

use serin::head::RequestHead;
use serin::path::PathPolicy as Paths;
use serin::route::ListenerSettings;
use serin::{Translated, translate};

use super::against_httparse::request_head;
use super::against_hyper::request_hyper;
use super::stream::{End, Pairs, Start, Stop, requests, responses};
use crate::h1::{Asked, is_forbidden_trailer};
use crate::path::PathPolicy;

/// One connection.
pub fn h2_request(input: &[u8]) {
    let frames = match input.split_first() {
        Some((0, frames)) => frames.to_vec(),
        _ => frames_of(input),
    };
    let bytes = [PREFACE, &frames].concat();
    for (ours, theirs) in [
        (Paths::Strict, PathPolicy::Strict),
        (Paths::Normalize, PathPolicy::Normalize),
    ] {
        for request in translate(&bytes, &settings(ours), ours) {
            check(&request, theirs);
        }
    }
}

fn check(request: &Translated, policy: PathPolicy) {
    let (head, sent) = (&request.head, &request.sent);
    request_head(sent);
    request_hyper(sent);
    let stream = requests(once(&sent[..]), policy);
    let shown = String::from_utf8_lossy(sent);
    let [message] = stream.messages.as_slice() else {
        panic!("{} requests went out for one: {shown:?}", stream.messages.len())
    };
    assert_eq!((&stream.stop, &message.end), (&Stop::Open, &End::Complete), "{shown:?}");
    let expected = Start::Request {
        method: head.method().as_str().to_owned(),
        target: head.target().to_owned(),
        authority: head.authority().to_owned(),
    };
    assert_eq!(message.head.start, expected, "a backend sees another request");
    assert_eq!(message.body, request.body.0, "a backend sees another body");
    check_fields(head, &message.head.fields, &shown);
    if let Some(last_chunk) = &request.last_chunk {
        check_trailers(last_chunk);
    }
}

/// Each field is one that came, unchanged, or one of ours; no field says anything of the framing but ours.
fn check_fields(head: &RequestHead, fields: &Pairs, shown: &str) {
    let count = |name: &[u8]| fields.iter().filter(|(own, _)| own == name).count();
    for name in [
        &b"host"[..],
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"cookie",
        b"upgrade",
    ] {
        assert!(count(name) <= 1, "{name:?} in {shown:?}");
    }
    assert_eq!(
        (count(b"host"), count(b"transfer-encoding"), count(b"keep-alive")),
        (1, 0, 0),
        "{shown:?}"
    );
    for (name, value) in fields {
        let came = head
            .fields()
            .iter()
            .any(|(own, said)| own == name && said.trim_ascii() == value);
        let is_ours = OURS.iter().any(|own| own.as_bytes() == name);
        assert!(came || is_ours, "{:?} in {shown:?}", String::from_utf8_lossy(name));
        let folded: Vec<u8> = name
            .iter()
            .map(|&byte| if byte == b'_' { b'-' } else { byte })
            .collect();
        let is_proxys =
            folded.starts_with(b"x-serin-") || folded.starts_with(b"x-forwarded-") || folded == b"forwarded";
        assert!(
            is_ours || !is_proxys,
            "{:?} is for proxies: {shown:?}",
            String::from_utf8_lossy(name)
        );
        assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
    }
}

/// What follows a body in chunks ends where it should, and holds nothing that belongs into the head.
fn check_trailers(last_chunk: &[u8]) {
    let answer = [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", last_chunk].concat();
    let stream = responses(once(&answer[..]), Asked::default());
    let message = &stream.messages[0];
    assert_eq!(
        (stream.messages.len(), &message.end),
        (1, &End::Complete),
        "{last_chunk:?}"
    );
    assert!(message.trailers.iter().all(|(name, _)| !is_forbidden_trailer(name)));
}

/// Frames of one request, as a plan has it.
fn frames_of(plan: &[u8]) -> Vec<u8> {
    let (fields, rest) = halves(plan);
    let (trailers, body) = halves(rest);
    let mut frames = Vec::new();
    let has_more = !trailers.is_empty() || !body.is_empty();
    put_frame(
        &mut frames,
        HEADERS,
        END_HEADERS | if has_more { 0 } else { END_STREAM },
        &block(fields),
    );
    if has_more {
        let flags = if trailers.is_empty() { END_STREAM } else { 0 };
        put_frame(&mut frames, DATA, flags, body);
    }
    if !trailers.is_empty() {
        put_frame(&mut frames, HEADERS, END_HEADERS | END_STREAM, &block(trailers));
    }
    frames
}

/// What stands before an empty line, and behind it.
fn halves(plan: &[u8]) -> (&[u8], &[u8]) {
    match plan.windows(2).position(|two| two == b"\n\n") {
        Some(at) => (&plan[..at], &plan[at + 2..]),
        None => (plan, &[]),
    }
}

/// Fields in lines as a header block: literals without indexing, never compressed (RFC 7541 §6.2.2).
fn block(lines: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        // The colon of a pseudo-header field is a part of its name.
        let colon = line
            .iter()
            .skip(1)
            .position(|&byte| byte == b':')
            .map_or(line.len(), |at| at + 1);
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        out.push(0);
        put_text(&mut out, name);
        put_text(&mut out, value.strip_prefix(b" ").unwrap_or(value));
    }
    out
}

/// RFC 7541 §5.1 and §5.2.
fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text.len();
    if rest < 127 {
        out.push(u8::try_from(rest).expect("below 127"));
    } else {
        out.push(127);
        rest -= 127;
        while rest >= 128 {
            out.push(u8::try_from(rest % 128).expect("below 128") | 128);
            rest /= 128;
        }
        out.push(u8::try_from(rest).expect("below 128"));
    }
    out.extend_from_slice(text);
}

/// RFC 9113 §4.1, on stream 1.
fn put_frame(out: &mut Vec<u8>, kind: u8, flags: u8, payload: &[u8]) {
    let len = u32::try_from(payload.len()).expect("inputs are short").to_be_bytes();
    out.extend_from_slice(&len[1..]);
    out.extend_from_slice(&[kind, flags, 0, 0, 0, 1]);
    out.extend_from_slice(payload);
}

/// Small enough for what the readers that we compare with take.
fn settings(paths: Paths) -> ListenerSettings {
    let clock = Duration::from_secs(1);
    ListenerSettings {
        handshake: clock,
        request_head: clock,
        body: clock,
        idle: clock,
        connection_age: None,
        connections: 1,
        connections_per_client: 1,
        streams: 16,
        upgrades: 1,
        headers: 14,
        header_bytes: 640,
        uri_bytes: 512,
        paths,
        ofrep: false,
        proxy_protocol: false,
        redirect_to_https: None,
        hsts: None,
    }
}

/// What Serin adds.
const OURS: [&str; 13] = [
    "host",
    "content-length",
    "connection",
    "te",
    "upgrade",
    "sec-websocket-key",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-request-id",
    "traceparent",
    "x-serin-route",
    "x-serin-variant",
];
/// RFC 9113 §3.4, with empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
