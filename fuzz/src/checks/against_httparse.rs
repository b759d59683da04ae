//! Heads: what we accept httparse reads alike, and no rule on framing is broken in it. What it accepts we may refuse.

use std::iter::once;

use bytes::BytesMut;
use httparse::{EMPTY_HEADER, Status};

use super::stream::{LIMITS, Pairs, Stop, Stream, bytes, cut, pairs, requests, responses};
use crate::h1::{Asked, Framing, RequestDecoder, ResponseDecoder};
use crate::head::Version;
use crate::path::{PathPolicy, canonical};

/// Heads of requests, in streams of whole requests.
pub fn request_head(input: &[u8]) {
    for policy in [PathPolicy::Strict, PathPolicy::Normalize] {
        check_splits(input, |input, pieces| match pieces {
            Pieces::Whole => requests(once(input), policy),
            Pieces::Cut => requests(cut(input), policy),
            Pieces::Bytes => requests(bytes(input), policy),
        });
        check_first_request(input, policy);
    }
}

/// Heads of responses, in streams of whole responses.
pub fn response_head(input: &[u8]) {
    for (head, upgrade) in [(false, false), (true, false), (false, true)] {
        let asked = Asked { head, upgrade };
        check_splits(input, |input, pieces| match pieces {
            Pieces::Whole => responses(once(input), asked),
            Pieces::Cut => responses(cut(input), asked),
            Pieces::Bytes => responses(bytes(input), asked),
        });
        check_first_response(input, asked);
    }
}

enum Pieces {
    Whole,
    Cut,
    Bytes,
}

/// The pieces in which bytes come change nothing, nor does what follows a refusal.
fn check_splits(input: &[u8], read: impl Fn(&[u8], Pieces) -> Stream) {
    let whole = read(input, Pieces::Whole);
    assert_eq!(whole, read(input, Pieces::Cut), "cut");
    assert_eq!(whole, read(input, Pieces::Bytes), "byte by byte");
    if matches!(whole.stop, Stop::Refused(_)) {
        let longer = [input, b"\r\n\r\nGET / HTTP/1.1\r\n\n"].concat();
        assert_eq!(whole, read(&longer, Pieces::Cut), "more behind a refusal");
    }
}

fn check_first_request(input: &[u8], policy: PathPolicy) {
    let mut buf = BytesMut::from(input);
    let Ok(ours) = RequestDecoder::new(LIMITS, policy).decode(&mut buf) else {
        return;
    };
    let mut room = [EMPTY_HEADER; 64];
    let mut theirs = httparse::Request::new(&mut room);
    let status = theirs.parse(input);
    let Some(ours) = ours else {
        assert!(!matches!(status, Ok(Status::Complete(_))), "we want more than a head");
        return;
    };
    assert_eq!(
        status,
        Ok(Status::Complete(input.len() - buf.len())),
        "length of the head"
    );
    assert_eq!(Some(ours.head.method().as_str()), theirs.method);
    let fields = their_fields(theirs.headers);
    assert_eq!(pairs(ours.head.fields()), fields);
    check_target(ours.head.target(), theirs.path.expect("it is complete"), policy);
    let rejoined = match ours.head.query() {
        Some(query) => format!("{}?{query}", ours.head.path()),
        None => ours.head.path().to_owned(),
    };
    assert_eq!(ours.head.target(), rejoined, "path and query");

    let said = Said::of(&fields, theirs.version);
    assert_eq!(ours.head.version(), said.version);
    assert_eq!(ours.framing, said.request_framing());
    assert_eq!(ours.keep_alive, said.persists());
    assert_eq!(ours.expects_continue, said.expects_continue());
    match said.all(b"host")[..] {
        [] if said.version == Version::Http10 => assert_eq!(ours.head.authority(), ""),
        [host] if !host.is_empty() => assert_eq!(ours.head.authority().as_bytes(), host),
        _ => panic!("a request without one host"),
    }
    assert!(ours.head.authority().starts_with(ours.head.host()));
}

/// Our target is the canonical form of what was sent, and its own.
fn check_target(ours: &str, sent: &str, policy: PathPolicy) {
    if sent == "*" {
        assert_eq!(ours, "*");
        return;
    }
    for target in [sent, ours] {
        let mut form = target.as_bytes().to_vec();
        let canonical = canonical(&mut form, policy).expect("it was accepted");
        assert_eq!(&form[..canonical.len], ours.as_bytes());
    }
}

fn check_first_response(input: &[u8], asked: Asked) {
    let mut buf = BytesMut::from(input);
    let Ok(ours) = ResponseDecoder::new(LIMITS).decode(&mut buf, asked) else {
        return;
    };
    let mut at = 0;
    // The interim responses that we read over are heads to httparse.
    let (status, version, fields) = loop {
        let mut room = [EMPTY_HEADER; 64];
        let mut theirs = httparse::Response::new(&mut room);
        match (theirs.parse(&input[at..]), &ours) {
            (Ok(Status::Complete(len)), _) if matches!(theirs.code, Some(100 | 102..=199)) => at += len,
            (Ok(Status::Complete(_)), None) => panic!("we want more than a head"),
            (_, None) => return,
            (Ok(Status::Complete(len)), Some(_)) => {
                at += len;
                break (theirs.code, theirs.version, their_fields(theirs.headers));
            }
            (refused, Some(_)) => panic!("accepted: {refused:?}"),
        }
    };
    let ours = ours.expect("the loop has asked");
    assert_eq!(at, input.len() - buf.len(), "length of the heads");
    assert_eq!(Some(ours.head.status), status);
    assert_eq!(pairs(&ours.head.fields), fields);
    let said = Said::of(&fields, version);
    assert_eq!(ours.head.version, said.version);
    assert_eq!(ours.framing, said.response_framing(ours.head.status, asked));
    assert_eq!(
        ours.keep_alive,
        said.persists() && ours.framing != Framing::Close && ours.head.status != 101
    );
    assert!(ours.head.status != 101 || asked.upgrade);
}

/// Names in lower case, values without white space around them; none holds what ends a line or a string.
fn their_fields(fields: &[httparse::Header<'_>]) -> Pairs {
    let pair = |field: &httparse::Header<'_>| {
        let value = trim(field.value);
        assert!(value.iter().all(|byte| !b"\0\r\n\x7f".contains(byte)));
        (field.name.to_ascii_lowercase().into_bytes(), value.to_vec())
    };
    fields.iter().map(pair).collect()
}

fn trim(value: &[u8]) -> &[u8] {
    let kept = |byte: &u8| !b" \t".contains(byte);
    let Some(start) = value.iter().position(kept) else {
        return &[];
    };
    let end = value.iter().rposition(kept).map_or(start, |last| last + 1);
    &value[start..end]
}

/// The rules on framing (RFC 9112 §6.3 and §9.3) in another way than the codec has them: over all fields at once.
struct Said<'a> {
    fields: &'a Pairs,
    version: Version,
}

impl<'a> Said<'a> {
    fn of(fields: &'a Pairs, minor: Option<u8>) -> Self {
        let version = match minor {
            Some(0) => Version::Http10,
            Some(1) => Version::Http11,
            other => panic!("version 1.{other:?}"),
        };
        Self { fields, version }
    }

    fn all(&self, name: &[u8]) -> Vec<&'a [u8]> {
        let named = self.fields.iter().filter(|field| field.0 == name);
        named.map(|field| &field.1[..]).collect()
    }

    /// By Transfer-Encoding or by Content-Length: the one that is there, if there is one.
    fn framing(&self) -> Option<Framing> {
        match (&self.all(b"transfer-encoding")[..], &self.all(b"content-length")[..]) {
            ([], []) => None,
            ([coding], []) if self.version == Version::Http11 && coding.eq_ignore_ascii_case(b"chunked") => {
                Some(Framing::Chunked)
            }
            ([], [digits]) if digits.iter().all(u8::is_ascii_digit) => {
                let digits = std::str::from_utf8(digits).expect("they are digits");
                match digits.parse().expect("it was accepted") {
                    0 => Some(Framing::Empty),
                    length => Some(Framing::Length(length)),
                }
            }
            (codings, lengths) => panic!("accepted: {codings:?}, {lengths:?}"),
        }
    }

    fn request_framing(&self) -> Framing {
        self.framing().unwrap_or(Framing::Empty)
    }

    fn response_framing(&self, status: u16, asked: Asked) -> Framing {
        match self.framing() {
            Some(Framing::Chunked | Framing::Length(_)) if matches!(status, 100..=199 | 204) => panic!("no body there"),
            _ if asked.head || matches!(status, 100..=199 | 204 | 304) => Framing::Empty,
            framing => framing.unwrap_or(Framing::Close),
        }
    }

    /// Whether a client waits with a body (RFC 9110 §10.1.1).
    fn expects_continue(&self) -> bool {
        let expected = self.all(b"expect");
        let known = |value: &&[u8]| value.eq_ignore_ascii_case(b"100-continue");
        assert!(expected.iter().all(known), "accepted: {expected:?}");
        !expected.is_empty() && self.version == Version::Http11 && self.request_framing() != Framing::Empty
    }

    fn persists(&self) -> bool {
        let lists = self.all(b"connection");
        let has = |option: &[u8]| {
            let mut members = lists.iter().flat_map(|list| list.split(|&byte| byte == b','));
            members.any(|member| trim(member).eq_ignore_ascii_case(option))
        };
        !has(b"close") && (self.version == Version::Http11 || has(b"keep-alive"))
    }
}
