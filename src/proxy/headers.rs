//! Which header fields pass, which stop here, and which we add (RFC 9110 §7.6, design rule 12 and §4).

use bytes::Bytes;
use smallvec::SmallVec;

use crate::h1::put_field;
use crate::head::{Fields, RequestHead, ResponseHead};

/// What a request is sent on with.
pub(super) struct Forwarding<'r> {
    /// The head as the client sent it.
    pub(super) head: &'r RequestHead,
    /// Whether the peer's own forwarding fields are believed.
    pub(super) peer_trusted: bool,
    /// Whether it is passed on as a protocol switch.
    pub(super) upgrade: bool,
    /// Goes out as `x-serin-route`.
    pub(super) route: &'r Bytes,
    /// Goes out as `x-serin-variant`.
    pub(super) variant: &'r Bytes,
    /// Goes out as `x-serin-cohort`.
    pub(super) cohort: Option<&'r Bytes>,
    /// Values made for this request.
    pub(super) made: &'r Made,
}

/// Values made for one request, in one buffer.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) request_id: Bytes,
    traceparent: Bytes,
    forwarded_for: Bytes,
    forwarded_proto: Bytes,
    forwarded_host: Bytes,
}

impl Made {
    /// From the peer, what it asked, and 32 random bytes.
    pub(super) fn new(head: &RequestHead, peer: &str, peer_trusted: bool, https: bool, random: [u64; 4]) -> Self {
        let fields = head.fields();
        let mut text = String::with_capacity(192);
        let mut ends = [0usize; 5];

        match fields.get("x-request-id").and_then(request_id) {
            Some(id) => text.push_str(id),
            None => write_hex(&mut text, &random[..2]),
        }
        ends[0] = text.len();

        let continued = fields.get("traceparent").and_then(parse_traceparent);
        text.push_str("00-");
        match continued {
            Some((trace_id, _)) => text.push_str(trace_id),
            None => write_hex(&mut text, &[random[2] | 1, random[1]]),
        }
        text.push('-');
        write_hex(&mut text, &[random[3] | 1]);
        text.push('-');
        text.push_str(continued.map_or("00", |(_, flags)| flags));
        ends[1] = text.len();

        if peer_trusted {
            for value in fields
                .get_all("x-forwarded-for")
                .filter_map(|value| std::str::from_utf8(value).ok())
            {
                text.push_str(value);
                text.push_str(", ");
            }
        }
        text.push_str(peer);
        ends[2] = text.len();

        let believed = |name| {
            if peer_trusted {
                fields.get(name).and_then(|v| std::str::from_utf8(v).ok())
            } else {
                None
            }
        };
        text.push_str(believed("x-forwarded-proto").unwrap_or(if https { "https" } else { "http" }));
        ends[3] = text.len();
        text.push_str(believed("x-forwarded-host").unwrap_or(head.authority()));
        ends[4] = text.len();

        let all = Bytes::from(text);
        let part = |i: usize| all.slice(if i == 0 { 0 } else { ends[i - 1] }..ends[i]);
        Self {
            request_id: part(0),
            traceparent: part(1),
            forwarded_for: part(2),
            forwarded_proto: part(3),
            forwarded_host: part(4),
        }
    }
}

/// Hands the fields of a request to its backend to `out`, one by one. `host` is not among them, nor is what
/// delimits the body: who writes it knows best.
pub(super) fn request_fields(forwarding: &Forwarding<'_>, out: &mut impl FnMut(&[u8], Bytes)) {
    let fields = forwarding.head.fields();
    let named = named_by_connection(fields);
    for (name, value) in fields.iter_shared() {
        let stops = match name {
            b"host" | b"expect" | b"x-request-id" | b"traceparent" | b"forwarded" => {
                name != b"forwarded" || !forwarding.peer_trusted
            }
            b"content-length" => true,
            b"te" => !value.eq_ignore_ascii_case(b"trailers"),
            _ => {
                is_hop_by_hop(name)
                    || name.starts_with(b"x-serin-")
                    || matches!(name, b"x-forwarded-for" | b"x-forwarded-proto" | b"x-forwarded-host")
                    || (name.starts_with(b"x-forwarded-") && !forwarding.peer_trusted)
                    || is_named(&named, name)
            }
        };
        if !stops {
            out(name, value);
        }
    }
    if forwarding.upgrade {
        out(b"connection", Bytes::from_static(b"upgrade"));
        out(b"upgrade", Bytes::from_static(b"websocket"));
    } else if fields.get("te").is_some_and(|te| te.eq_ignore_ascii_case(b"trailers")) {
        out(b"connection", Bytes::from_static(b"te"));
    }
    let made = forwarding.made;
    out(b"x-forwarded-for", made.forwarded_for.clone());
    out(b"x-forwarded-proto", made.forwarded_proto.clone());
    if !made.forwarded_host.is_empty() {
        out(b"x-forwarded-host", made.forwarded_host.clone());
    }
    out(b"x-request-id", made.request_id.clone());
    out(b"traceparent", made.traceparent.clone());
    out(b"x-serin-route", forwarding.route.clone());
    out(b"x-serin-variant", forwarding.variant.clone());
    if let Some(cohort) = forwarding.cohort {
        out(b"x-serin-cohort", cohort.clone());
    }
}

/// Writes the fields of a request to its backend.
pub(super) fn put_request_fields(forwarding: &Forwarding<'_>, out: &mut Vec<u8>) {
    request_fields(forwarding, &mut |name, value| put_field(out, name, &value));
}

/// Writes the fields of a backend's response that pass.
#[expect(dead_code, reason = "the engine will")]
pub(super) fn put_response_fields(head: &ResponseHead, out: &mut Vec<u8>) {
    response_fields(head, &mut |name, value| put_field(out, name, &value));
}

/// Hands the fields of a backend's response that pass to `out`.
pub(super) fn response_fields(head: &ResponseHead, out: &mut impl FnMut(&[u8], Bytes)) {
    let named = named_by_connection(&head.fields);
    for (name, value) in head.fields.iter_shared() {
        if !(is_hop_by_hop(name) || name.starts_with(b"x-serin-") || is_named(&named, name)) {
            out(name, value);
        }
    }
    if head.status == 101 {
        out(b"connection", Bytes::from_static(b"upgrade"));
        out(b"upgrade", Bytes::from_static(b"websocket"));
    }
}

/// Whether a request asks for a WebSocket (RFC 6455 §4.1).
pub(super) fn asks_for_websocket(head: &RequestHead) -> bool {
    let fields = head.fields();
    fields
        .get("upgrade")
        .is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
        && fields
            .get_all("connection")
            .flat_map(tokens)
            .any(|token| token.eq_ignore_ascii_case(b"upgrade"))
}

/// Fields that concern one connection only (RFC 9110 §7.6.1, and `Proxy-Connection`).
fn is_hop_by_hop(name: &[u8]) -> bool {
    match name.len() {
        2 => name == b"te",
        7 => name == b"upgrade",
        10 => name == b"connection" || name == b"keep-alive",
        16 => name == b"proxy-connection",
        17 => name == b"transfer-encoding",
        _ => false,
    }
}

type Named<'f> = SmallVec<[&'f [u8]; 4]>;

/// The fields that `Connection` names beside the usual words.
fn named_by_connection(fields: &Fields) -> Named<'_> {
    fields
        .get_all("connection")
        .flat_map(tokens)
        .filter(|token| {
            let usual: [&[u8]; 4] = [b"close", b"keep-alive", b"upgrade", b"te"];
            !usual.iter().any(|word| token.eq_ignore_ascii_case(word))
        })
        .collect()
}

fn is_named(named: &Named<'_>, name: &[u8]) -> bool {
    named.iter().any(|token| token.eq_ignore_ascii_case(name))
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&b| b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// A client's own request id, if it is a plain short word.
fn request_id(value: &[u8]) -> Option<&str> {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/' | b'=' | b'+');
    if value.is_empty() || value.len() > 128 || !value.iter().all(plain) {
        return None;
    }
    std::str::from_utf8(value).ok()
}

/// Trace id and flags of a valid `traceparent` (W3C Trace Context §3.2): version 00 and later.
fn parse_traceparent(value: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(value).ok()?.trim_ascii();
    let (version, rest) = (text.get(..3)?, text.get(3..)?);
    let (trace_id, span_id, flags) = (rest.get(..32)?, rest.get(33..49)?, rest.get(50..52)?);
    let hex = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let dashes = version.ends_with('-') && rest.as_bytes()[32] == b'-' && rest.as_bytes()[49] == b'-';
    let length_ok = if version == "00-" {
        text.len() == 55
    } else {
        text.len() == 55 || text.as_bytes()[55] == b'-'
    };
    let zero = |part: &str| part.bytes().all(|b| b == b'0');
    (dashes
        && length_ok
        && hex(&version[..2])
        && version != "ff-"
        && hex(trace_id)
        && hex(span_id)
        && hex(flags)
        && !zero(trace_id)
        && !zero(span_id))
    .then_some((trace_id, flags))
}

fn write_hex(text: &mut String, words: &[u64]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for word in words {
        for shift in (0..16).rev() {
            text.push(char::from(DIGITS[(word >> (4 * shift)) as usize & 0xf]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{HeadBuilder, Method, Version};

    fn sent(fields: &[(&str, &str)], trusted: bool) -> Vec<String> {
        let mut head = HeadBuilder::default();
        for (name, value) in fields {
            head.field(name.as_bytes(), value.as_bytes());
        }
        let head = head.request(Method::Get, Version::Http11, "shop.example.com", "/");
        let made = Made::new(&head, "192.0.2.1", trusted, false, [1, 2, 3, 4]);
        let word = Bytes::from_static(b"word");
        let forwarding = Forwarding {
            head: &head,
            peer_trusted: trusted,
            upgrade: asks_for_websocket(&head),
            route: &word,
            variant: &word,
            cohort: None,
            made: &made,
        };
        let mut lines = Vec::new();
        request_fields(&forwarding, &mut |name, value| {
            lines.push(format!(
                "{}: {}",
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(&value)
            ));
        });
        lines
    }

    fn check(fields: &[(&str, &str)], trusted: bool, has: &[&str], lacks: &[&str]) {
        let lines = sent(fields, trusted);
        for line in has {
            assert!(lines.iter().any(|l| l == line), "{line} in {lines:?}");
        }
        for name in lacks {
            assert!(!lines.iter().any(|l| l.starts_with(name)), "no {name} in {lines:?}");
        }
    }

    #[test]
    fn fields_of_one_connection_stop_here() {
        check(
            &[
                ("connection", "close, X-Secret"),
                ("x-secret", "1"),
                ("keep-alive", "5"),
                ("accept", "*/*"),
            ],
            false,
            &["accept: */*"],
            &["connection", "x-secret", "keep-alive"],
        );
        check(&[("te", "gzip")], false, &[], &["te:"]);
        check(
            &[("te", "trailers"), ("connection", "te")],
            false,
            &["te: trailers", "connection: te"],
            &[],
        );
        check(
            &[("upgrade", "h2c"), ("connection", "upgrade")],
            false,
            &[],
            &["upgrade", "connection"],
        );
        check(
            &[("upgrade", "WebSocket"), ("connection", "Upgrade")],
            false,
            &["upgrade: websocket"],
            &[],
        );
    }

    #[test]
    fn an_outsiders_forwarding_fields_are_replaced() {
        let spoofed = [
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-port", "9"),
            ("x-serin-variant", "canary"),
        ];
        check(
            &spoofed,
            false,
            &["x-forwarded-for: 192.0.2.1", "x-serin-variant: word"],
            &["x-forwarded-port"],
        );
        check(
            &spoofed,
            true,
            &["x-forwarded-for: 1.2.3.4, 192.0.2.1", "x-forwarded-port: 9"],
            &[],
        );
        check(
            &[("x-forwarded-proto", "https")],
            true,
            &["x-forwarded-proto: https"],
            &[],
        );
        check(
            &[("x-forwarded-proto", "https")],
            false,
            &["x-forwarded-proto: http"],
            &[],
        );
    }

    #[test]
    fn traces_are_continued_and_bad_ones_begun_anew() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        check(
            &[("traceparent", good)],
            false,
            &["traceparent: 00-0af7651916cd43dd8448eb211c80319c-0000000000000005-01"],
            &[],
        );
        check(
            &[("traceparent", "00-0000-x-01")],
            false,
            &["traceparent: 00-00000000000000030000000000000002-0000000000000005-00"],
            &[],
        );
        check(&[("x-request-id", "abc-1")], false, &["x-request-id: abc-1"], &[]);
        check(
            &[("x-request-id", "a b")],
            false,
            &["x-request-id: 00000000000000010000000000000002"],
            &[],
        );
    }
}
