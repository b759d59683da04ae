//! Adapter: the head of an answer as the HTTP/2 engine writes it.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use super::body::{AnswerBody, Length};
use super::fault::Fault;
use super::h2_body::append;
use super::handle::Stamp;
use super::headers;
use super::worker::Worker;
use crate::head::ResponseHead;
use crate::ofrep;

/// A head to be sent, and the body behind it.
pub(super) type Own = (Response<()>, AnswerBody);

/// A backend's answer, whose body has this length.
pub(super) fn of_backend(worker: &Worker, head: &ResponseHead, length: Length, stamp: Stamp) -> Response<()> {
    let mut response = new(head.status, head.fields.len() + 5);
    let map = response.headers_mut();
    headers::response_fields(head, |name, value| append(map, name, head.fields.share(value)));
    if let Some(length) = declared_length(head, length) {
        map.insert(header::CONTENT_LENGTH, length);
    }
    if !map.contains_key(header::DATE) {
        put(map, header::DATE, worker.date());
    }
    put_stamp(map, stamp);
    response
}

/// A granted tunnel (RFC 8441 §5): the stream is the socket, and neither side proves that it knows HTTP/1.1.
pub(super) fn of_switch(worker: &Worker, head: &ResponseHead, stamp: Stamp) -> Response<()> {
    let mut response = new(200, head.fields.len() + 4);
    let map = response.headers_mut();
    headers::response_fields(head, |name, value| {
        if name != b"sec-websocket-accept" {
            append(map, name, head.fields.share(value));
        }
    });
    if !map.contains_key(header::DATE) {
        put(map, header::DATE, worker.date());
    }
    put_stamp(map, stamp);
    response
}

/// An answer to a call for flags.
pub(super) fn of_flags(worker: &Worker, answer: ofrep::Answer, stamp: Stamp, head_only: bool) -> Own {
    let mut response = new(answer.status, 6);
    let map = response.headers_mut();
    for (name, value) in headers::ofrep_fields(&answer) {
        if let Ok(value) = HeaderValue::from_str(value) {
            map.insert(HeaderName::from_static(name), value);
        }
    }
    put(map, header::DATE, worker.date());
    put_stamp(map, stamp);
    // A 304 would have to say how long the body is that it does not send (RFC 9110 §8.6).
    if answer.status != 304 {
        map.insert(header::CONTENT_LENGTH, answer.body.len().into());
    }
    let body = (!head_only && !answer.body.is_empty()).then(|| answer.body.into());
    (response, AnswerBody::Own(body))
}

/// The same by `https`.
pub(super) fn of_redirect(worker: &Worker, location: Bytes) -> Own {
    let mut response = new(308, 4);
    let map = response.headers_mut();
    put(map, header::LOCATION, location);
    put_own(map, worker);
    map.insert(header::CONTENT_LENGTH, 0.into());
    (response, AnswerBody::Own(None))
}

/// What went wrong, as a problem document; to a client of gRPC as its trailers, which are all there is.
pub(super) fn of_fault(worker: &Worker, fault: Fault, stamp: Stamp, head_only: bool) -> Own {
    let grpc = stamp.grpc;
    let mut response = new(if grpc { 200 } else { fault.status() }, 8);
    let map = response.headers_mut();
    put_own(map, worker);
    let mut body = None;
    if grpc {
        map.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        map.insert(GRPC_STATUS, u16::from(fault.grpc_status()).into());
        put(map, GRPC_MESSAGE, grpc_message(fault.detail()).into());
    } else {
        let problem = fault.problem();
        map.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        map.insert(header::CONTENT_LENGTH, problem.len().into());
        body = Some(problem).filter(|_| !head_only);
    }
    if let Some((name, value)) = fault.field() {
        map.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    put_stamp(map, stamp);
    (response, AnswerBody::Own(body))
}

fn new(status: u16, fields: usize) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    response.headers_mut().reserve(fields);
    response
}

fn put_own(map: &mut HeaderMap, worker: &Worker) {
    map.insert(header::SERVER, HeaderValue::from_static("serin"));
    put(map, header::DATE, worker.date());
}

fn put_stamp(map: &mut HeaderMap, stamp: Stamp) {
    if let Some(served) = stamp.served {
        put(map, VARIANT, served.variant);
        put(map, GENERATION, served.generation);
    }
    if let Some(cookie) = stamp.cookie {
        put(map, header::SET_COOKIE, cookie);
    }
    if let Some(hsts) = stamp.hsts {
        put(map, header::STRICT_TRANSPORT_SECURITY, hsts);
    }
}

/// Adds a field of ours.
fn put(map: &mut HeaderMap, name: HeaderName, value: Bytes) {
    if let Ok(value) = HeaderValue::from_maybe_shared(value) {
        map.append(name, value);
    }
}

/// What `content-length` says: of the body, or of the one that a HEAD or a 304 only describes.
fn declared_length(head: &ResponseHead, length: Length) -> Option<HeaderValue> {
    match length {
        Length::Known(n) => Some(n.into()),
        Length::Unknown => None,
        Length::Empty => HeaderValue::from_bytes(head.fields.get("content-length")?).ok(),
    }
}

/// A text as `grpc-message` holds it: percent-encoded but for printable ASCII (the gRPC protocol over HTTP/2,
/// "Status-Message").
fn grpc_message(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | ..=0x1f | 0x7f.. => {
                let _ = write!(encoded, "%{byte:02X}"); // a String takes everything
            }
            byte => encoded.push(char::from(byte)),
        }
    }
    encoded
}

const VARIANT: HeaderName = HeaderName::from_static("x-serin-variant");
const GENERATION: HeaderName = HeaderName::from_static("x-serin-generation");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

#[cfg(test)]
mod tests {
    use super::grpc_message;

    #[test]
    fn messages_for_grpc_are_ascii_in_one_line() {
        assert_eq!(grpc_message("no route; try again"), "no route; try again");
        assert_eq!(grpc_message("100 %\n\u{e9}"), "100 %25%0A%C3%A9");
    }
}
