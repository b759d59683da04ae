//! Names of one request: its id, and its place in a distributed trace. Continued from the client, or begun.

use bytes::Bytes;

use super::headers::FieldSink;
use crate::head::RequestHead;

/// Values made for one request, the same however often it is sent. Costs no allocation.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) request_id: RequestId,
    trace_id: [u8; 32],
    span_id: u64,
    flags: [u8; 2],
    /// Told to nobody but in a `sec-websocket-key` of ours.
    pub(super) nonce: [u64; 2],
}

/// What a request is called in logs.
#[derive(Clone, Debug)]
pub(super) enum RequestId {
    /// By whoever sent it.
    Given(Bytes),
    /// By us.
    Drawn([u64; 2]),
}

impl Made {
    /// From what was asked, and 32 random bytes.
    pub(super) fn new(head: &RequestHead, random: [u64; 4]) -> Self {
        let (mut given, mut continued) = (None, None);
        for (name, value) in head.fields().iter() {
            match name {
                b"x-request-id" if given.is_none() => given = Some(value),
                b"traceparent" if continued.is_none() => continued = Some(value),
                _ => {}
            }
        }
        let request_id = match given.filter(|value| is_request_id(value)) {
            Some(value) => RequestId::Given(head.fields().share(value)),
            None => RequestId::Drawn([random[0], random[1]]),
        };
        let (trace_id, flags) = continued
            .and_then(parse_traceparent)
            .unwrap_or_else(|| (hex_of([random[2] | 1, random[1]]), *b"00"));
        Self {
            request_id,
            trace_id,
            span_id: random[3] | 1,
            flags,
            nonce: [
                random[0].rotate_left(32) ^ random[2],
                random[1].rotate_left(32) ^ random[3],
            ],
        }
    }

    /// Writes `x-request-id` and `traceparent`.
    pub(super) fn put(&self, out: &mut impl FieldSink) {
        match &self.request_id {
            RequestId::Given(id) => out.put_shared("x-request-id", id),
            RequestId::Drawn(words) => out.put("x-request-id", &hex_of(*words)),
        }
        let mut parent = *b"00-00000000000000000000000000000000-0000000000000000-00";
        parent[3..35].copy_from_slice(&self.trace_id);
        parent[36..52].copy_from_slice(&hex(self.span_id));
        parent[53..].copy_from_slice(&self.flags);
        out.put("traceparent", &parent);
    }
}

impl RequestId {
    /// As it is written.
    pub(super) fn to_bytes(&self) -> Bytes {
        match self {
            Self::Given(id) => id.clone(),
            Self::Drawn(words) => Bytes::copy_from_slice(&hex_of(*words)),
        }
    }
}

/// Whether a client's own request id is a plain short word.
fn is_request_id(value: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/' | b'=' | b'+');
    !value.is_empty() && value.len() <= 128 && value.iter().all(plain)
}

/// Trace id and flags of a valid `traceparent` (W3C Trace Context §3.2): version 00, and later ones, which may
/// go on after a dash.
fn parse_traceparent(value: &[u8]) -> Option<([u8; 32], [u8; 2])> {
    let value = value.trim_ascii();
    let (fields, rest) = value.split_at_checked(55)?;
    let is_hex = |part: &[u8]| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let (version, trace_id, span_id, flags) = (&fields[..2], &fields[3..35], &fields[36..52], &fields[53..]);
    let dashes = [2, 35, 52].iter().all(|&at| fields[at] == b'-');
    let end = if version == b"00" {
        rest.is_empty()
    } else {
        rest.is_empty() || rest[0] == b'-'
    };
    let is_zero = |part: &[u8]| part.iter().all(|&b| b == b'0');
    let hex = [version, trace_id, span_id, flags].into_iter().all(is_hex);
    (dashes && end && hex && version != b"ff" && !is_zero(trace_id) && !is_zero(span_id))
        .then(|| trace_id.try_into().ok().zip(flags.try_into().ok()))
        .flatten()
}

fn hex_of(words: [u64; 2]) -> [u8; 32] {
    let mut text = [0; 32];
    for (word, text) in words.into_iter().zip(text.chunks_exact_mut(16)) {
        text.copy_from_slice(&hex(word));
    }
    text
}

/// Sixteen digits at once.
fn hex(word: u64) -> [u8; 16] {
    // Halves of the word apart, then those of its halves, at last those of its bytes.
    let mut halves = u128::from(word);
    for shift in [32, 16, 8, 4] {
        let keep = u128::MAX / ((1 << (2 * shift)) - 1) * ((1 << shift) - 1);
        halves = (halves | halves << shift) & keep;
    }
    // 1 in each byte whose half is above 9: those are letters.
    let letters = (halves + u128::from_be_bytes([6; 16])) >> 4 & u128::from_be_bytes([1; 16]);
    (halves + u128::from_be_bytes([b'0'; 16]) + letters * u128::from(b'a' - b'9' - 1)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::Made;
    use crate::head::{HeadBuilder, Method, Version};

    fn check(name: &str, value: &str, expected: &str) {
        let mut head = HeadBuilder::default();
        head.field(name.as_bytes(), value.as_bytes());
        let head = head.request(Method::Get, Version::Http11, "shop.example.com", "/");
        let mut out = Vec::new();
        Made::new(&head, [1, 2, 3, 4]).put(&mut out);
        let text = String::from_utf8(out).expect("ids are text");
        assert!(text.contains(&format!("{expected}\r\n")), "{expected} in {text}");
    }

    #[test]
    fn traces_are_continued_and_bad_ones_begun_anew() {
        let begun = "traceparent: 00-00000000000000030000000000000002-0000000000000005-00";
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let continued = format!("traceparent: 00-{trace}-0000000000000005-01");
        check("traceparent", &format!("00-{trace}-b7ad6b7169203331-01"), &continued);
        check(
            "traceparent",
            &format!("01-{trace}-b7ad6b7169203331-01-more"),
            &continued,
        );
        check("traceparent", &format!("00-{trace}-b7ad6b7169203331-01-more"), begun);
        check("traceparent", &format!("ff-{trace}-b7ad6b7169203331-01"), begun);
        check("traceparent", &format!("00-{trace}-0000000000000000-01"), begun);
        check("traceparent", &format!("00_{trace}-b7ad6b7169203331-01"), begun);
        check("traceparent", "00-0000-x-01", begun);
    }

    #[test]
    fn digits_are_those_of_the_number() {
        for word in [0, 1, 0x9a, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, u64::MAX] {
            assert_eq!(super::hex(word), *format!("{word:016x}").as_bytes());
        }
    }

    #[test]
    fn plain_request_ids_are_kept_and_others_replaced() {
        check("x-request-id", "abc-1", "x-request-id: abc-1");
        let drawn = "x-request-id: 00000000000000010000000000000002";
        check("x-request-id", "a b", drawn);
        check("x-request-id", "", drawn);
        check("x-request-id", &"a".repeat(129), drawn);
    }
}
