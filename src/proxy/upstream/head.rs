//! Heads between our types and those of the HTTP/2 engine: what is sent to an endpoint, what may come from it.

use bytes::Bytes;
use h2::ext::Protocol;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Uri};

use crate::head::{Fields, ResponseHead, Version};
use crate::proxy::body::{Length, Outgoing};
use crate::proxy::h2_body::{is_name, to_fields};
use crate::proxy::headers::{self, FieldSink, Forwarding};

/// Fields in an answer: as many as over HTTP/1.1.
const FIELDS_MAX: usize = 256;

/// What an answer depends on besides itself.
#[derive(Clone, Copy)]
pub(super) struct Expected {
    /// HEAD was asked.
    pub(super) head: bool,
    /// A WebSocket was asked for.
    pub(super) upgrade: bool,
}

/// The head that is sent for a request; `authority` names the host where the client named none.
///
/// # Errors
/// What HTTP/2 has no way to say, as the engine sees it.
pub(super) fn request(
    forwarding: &Forwarding<'_>,
    authority: &str,
    body: &Outgoing,
    is_tls: bool,
) -> Result<Request<()>, &'static str> {
    let head = forwarding.head;
    let share = |part| head.fields().share(part);
    let named = match head.authority_bytes() {
        b"" => Bytes::copy_from_slice(authority.as_bytes()), // HTTP/1.0 knows requests without
        named => share(named),
    };
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if is_tls { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority =
        Some(Authority::from_maybe_shared(named).map_err(|_| "the host holds bytes that cannot be sent over HTTP/2")?);
    uri.path_and_query = Some(
        PathAndQuery::from_maybe_shared(share(head.target_bytes()))
            .map_err(|_| "the target holds bytes that cannot be sent over HTTP/2")?,
    );
    let mut fields = Sink {
        map: HeaderMap::with_capacity(head.fields().len() + 12),
        is_bad: false,
    };
    let length = match body {
        Outgoing::Empty if head.fields().get("content-length").is_some() && !forwarding.upgrade => Some(0),
        Outgoing::Empty => None,
        Outgoing::Whole(bytes) => Some(bytes.len() as u64),
        Outgoing::Client(body) => match body.length() {
            Length::Empty => Some(0),
            Length::Known(n) => Some(n),
            Length::Unknown => None,
        },
    };
    if let Some(length) = length {
        fields.map.insert(header::CONTENT_LENGTH, length.into());
    }
    headers::put_request_fields(forwarding, &mut fields);
    if fields.is_bad {
        return Err("a field holds bytes that cannot be sent over HTTP/2");
    }
    let mut request = Request::new(());
    *request.method_mut() = if forwarding.upgrade {
        request.extensions_mut().insert(Protocol::from_static("websocket"));
        http::Method::CONNECT
    } else {
        http::Method::from_bytes(head.method().as_str().as_bytes()).map_err(|_| "the method is none")?
    };
    *request.uri_mut() = Uri::from_parts(uri).map_err(|_| "the target cannot be sent over HTTP/2")?;
    *request.headers_mut() = fields.map;
    Ok(request)
}

/// The head of an answer, and the length that it declares. A tunnel that was granted comes as a 101, as over HTTP/1.1.
///
/// # Errors
/// The rule that it breaks. The engine has seen to the names, and to what concerns one connection only
/// (RFC 9113 §8.2).
pub(super) fn response(
    parts: &http::response::Parts,
    expected: Expected,
) -> Result<(ResponseHead, Option<u64>), &'static str> {
    let mut status = parts.status.as_u16();
    if !(200..=599).contains(&status) {
        return Err("the status is none that an answer has");
    }
    if parts.headers.len() > FIELDS_MAX {
        return Err("there are more fields than any server sends");
    }
    if !parts.headers.keys().all(is_name) {
        return Err("a name is no token (RFC 9110, 5.1)");
    }
    let padded = |value: &HeaderValue| {
        let is_pad = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        is_pad(value.as_bytes().first()) || is_pad(value.as_bytes().last())
    };
    if parts.headers.values().any(padded) {
        return Err("a value begins or ends with white space (RFC 9113, 8.2.1)");
    }
    let declared = declared_length(&parts.headers)?;
    if expected.upgrade && (200..300).contains(&status) {
        status = 101;
    }
    let head = ResponseHead {
        status,
        version: Version::Http2,
        fields: to_fields(&parts.headers),
    };
    // It describes a body that is not sent (RFC 9110 §8.6).
    let is_bare = expected.head || matches!(status, 101 | 204 | 304);
    Ok((head, declared.filter(|_| !is_bare)))
}

/// What `content-length` says.
fn declared_length(map: &HeaderMap) -> Result<Option<u64>, &'static str> {
    let mut lengths = map.get_all(header::CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else {
        return Ok(None);
    };
    let bytes = length.as_bytes();
    let number = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
    match number {
        Some(number) if bytes.iter().all(u8::is_ascii_digit) && lengths.next().is_none() => Ok(Some(number)),
        _ => Err("content-length is not one number"),
    }
}

/// Fields as the engine takes them.
struct Sink {
    map: HeaderMap,
    /// One of them could not be taken.
    is_bad: bool,
}

impl Sink {
    fn add(&mut self, name: Result<HeaderName, header::InvalidHeaderName>, value: Bytes) {
        match (name, HeaderValue::from_maybe_shared(value)) {
            (Ok(name), Ok(value)) => self.is_bad |= self.map.try_append(name, value).is_err(),
            _ => self.is_bad = true,
        }
    }
}

impl FieldSink for Sink {
    const HTTP2: bool = true;

    fn pass<'f>(&mut self, fields: &'f Fields, mut keep: impl FnMut(&'f [u8], &'f [u8]) -> bool) {
        for (name, value) in fields.iter() {
            if keep(name, value) {
                self.add(HeaderName::from_bytes(name), fields.share(value));
            }
        }
    }

    fn put(&mut self, name: &'static str, value: &[u8]) {
        self.add(Ok(HeaderName::from_static(name)), Bytes::copy_from_slice(value));
    }

    fn put_shared(&mut self, name: &'static str, value: &Bytes) {
        self.add(Ok(HeaderName::from_static(name)), value.clone());
    }

    fn put_list<'f>(&mut self, name: &'static str, values: impl Iterator<Item = &'f [u8]>, last: &[u8]) {
        let mut list = Vec::new();
        for value in values {
            list.extend_from_slice(value);
            list.extend_from_slice(b", ");
        }
        list.extend_from_slice(last);
        self.add(Ok(HeaderName::from_static(name)), list.into());
    }

    fn put_te_trailers(&mut self) {
        self.put_shared("te", &Bytes::from_static(b"trailers"));
    }

    /// The method says it (RFC 8441 §4).
    fn put_upgrade(&mut self) {}
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::{Expected, response};

    const PLAIN: Expected = Expected {
        head: false,
        upgrade: false,
    };

    #[track_caller]
    fn check(status: u16, fields: &[(&str, &str)], expected: Expected, came: Result<(u16, Option<u64>), ()>) {
        let mut built = Response::builder().status(status);
        for (name, value) in fields {
            built = built.header(*name, *value);
        }
        let (parts, ()) = built.body(()).unwrap().into_parts();
        let read = response(&parts, expected);
        let read = read.map(|(head, declared)| (head.status, declared)).map_err(drop);
        assert_eq!(read, came, "{status} {fields:?}");
    }

    #[test]
    fn only_what_is_an_answer_is_taken_for_one() {
        check(200, &[], PLAIN, Ok((200, None)));
        check(599, &[("x-a", "b c")], PLAIN, Ok((599, None)));
        check(600, &[], PLAIN, Err(()));
        check(999, &[], PLAIN, Err(()));
        check(200, &[("x-a", " b")], PLAIN, Err(()));
        check(200, &[("x-a", "b\t")], PLAIN, Err(()));
        check(200, &[("x-a", "")], PLAIN, Ok((200, None)));
        let many: Vec<_> = (0..257).map(|_| ("x-a", "b")).collect();
        check(200, &many[1..], PLAIN, Ok((200, None)));
        check(200, &many, PLAIN, Err(()));
    }

    #[test]
    fn a_length_is_one_number() {
        check(200, &[("content-length", "5")], PLAIN, Ok((200, Some(5))));
        check(200, &[("content-length", "5"), ("content-length", "5")], PLAIN, Err(()));
        for length in ["+5", "-5", "5,5", "", "0x5", "18446744073709551616"] {
            check(200, &[("content-length", length)], PLAIN, Err(()));
        }
        check(304, &[("content-length", "5")], PLAIN, Ok((304, None)));
        let head = Expected { head: true, ..PLAIN };
        check(200, &[("content-length", "5")], head, Ok((200, None)));
    }

    #[test]
    fn a_tunnel_that_was_asked_for_is_a_switch() {
        let asked = Expected { upgrade: true, ..PLAIN };
        check(200, &[], asked, Ok((101, None)));
        check(204, &[], asked, Ok((101, None)));
        check(403, &[], asked, Ok((403, None)));
        check(200, &[], PLAIN, Ok((200, None)));
    }
}
