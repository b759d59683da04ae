//! Messages to bytes: start lines, fields and chunks, appended to a buffer.

use crate::head::{Fields, Method};

/// `GET /path HTTP/1.1`.
pub fn put_request_line(out: &mut Vec<u8>, method: &Method, target: &[u8]) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// `HTTP/1.1 200 OK`, with the status's own phrase (RFC 9110 §15), or none.
pub fn put_status_line(out: &mut Vec<u8>, status: u16) {
    if let Some(line) = status_line(status) {
        out.extend_from_slice(line.as_bytes());
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.extend_from_slice(b" \r\n");
}

/// `name: value`. The caller vouches for both: they come from a decoder, or from us.
pub fn put_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The fields that `keep` says, in order. Neighbours that lie in their buffer as they are written go over together.
pub fn put_fields<'f>(out: &mut Vec<u8>, fields: &'f Fields, mut keep: impl FnMut(&'f [u8], &'f [u8]) -> bool) {
    let (buf, entries) = fields.parts();
    let mut run = 0..0;
    for (name, value) in entries {
        let (name_bytes, value_bytes) = (name.of(buf), value.of(buf));
        if !keep(name_bytes, value_bytes) {
            continue;
        }
        let as_written = buf[name.end()..value.end()].starts_with(b": ")
            && value.start() == name.end() + 2
            && buf[value.end()..].starts_with(b"\r\n");
        if as_written && run.end == name.start() {
            run.end = value.end() + 2;
            continue;
        }
        out.extend_from_slice(&buf[run]);
        run = 0..0;
        if as_written {
            run = name.start()..value.end() + 2;
        } else {
            put_field(out, name_bytes, value_bytes);
        }
    }
    out.extend_from_slice(&buf[run]);
}

/// The empty line.
pub fn put_end_of_head(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// The line before a chunk of `len` bytes, at least one; `\r\n` follows the chunk itself (RFC 9112 §7.1).
pub fn put_chunk_size(out: &mut Vec<u8>, len: usize) {
    debug_assert!(len > 0, "a chunk of no bytes would be the last");
    let digits = len.checked_ilog2().unwrap_or(0) / 4 + 1;
    for at in (0..digits).rev() {
        out.push(b"0123456789abcdef"[len >> (4 * at) & 0xf]);
    }
    out.extend_from_slice(b"\r\n");
}

/// The last chunk and the trailer section, without the fields that trailers must not hold (RFC 9110 §6.5.1).
pub fn put_last_chunk(out: &mut Vec<u8>, trailers: Option<&Fields>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flat_map(Fields::iter) {
        if !is_forbidden_trailer(name) {
            put_field(out, name, value);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether a recipient that merges trailers into the head would take this field for framing, routing, a credential, a
/// property of the content, or our own word (RFC 9110 §6.5.1).
#[must_use]
pub fn is_forbidden_trailer(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 2] = [b"x-serin-", b"x-forwarded-"];
    // Who merges trailers may fold names as CGI does, too.
    let begins = |prefix: &&[u8]| {
        let same = |(&byte, &known): (&u8, &u8)| byte == known || (byte == b'_' && known == b'-');
        name.len() >= prefix.len() && name.iter().zip(*prefix).all(same)
    };
    matches!(
        name,
        b"transfer-encoding"
            | b"content-length"
            | b"host"
            | b"connection"
            | b"trailer"
            | b"te"
            | b"upgrade"
            | b"keep-alive"
            | b"proxy-connection"
            | b"content-encoding"
            | b"content-type"
            | b"content-range"
            | b"authorization"
            | b"proxy-authorization"
            | b"proxy-authenticate"
            | b"www-authenticate"
            | b"cookie"
            | b"set-cookie"
            | b"cache-control"
            | b"expect"
            | b"max-forwards"
            | b"range"
            | b"location"
            | b"forwarded"
            | b"x-real-ip"
            | b"x-request-id"
            | b"traceparent"
    ) || PREFIXES.iter().any(begins)
}

/// The whole line of a status that is registered with a phrase (RFC 9110 §15 and the registry that §16.2 makes).
const fn status_line(status: u16) -> Option<&'static str> {
    Some(match status {
        100 => "HTTP/1.1 100 Continue\r\n",
        101 => "HTTP/1.1 101 Switching Protocols\r\n",
        200 => "HTTP/1.1 200 OK\r\n",
        201 => "HTTP/1.1 201 Created\r\n",
        202 => "HTTP/1.1 202 Accepted\r\n",
        203 => "HTTP/1.1 203 Non-Authoritative Information\r\n",
        204 => "HTTP/1.1 204 No Content\r\n",
        205 => "HTTP/1.1 205 Reset Content\r\n",
        206 => "HTTP/1.1 206 Partial Content\r\n",
        207 => "HTTP/1.1 207 Multi-Status\r\n",
        208 => "HTTP/1.1 208 Already Reported\r\n",
        226 => "HTTP/1.1 226 IM Used\r\n",
        300 => "HTTP/1.1 300 Multiple Choices\r\n",
        301 => "HTTP/1.1 301 Moved Permanently\r\n",
        302 => "HTTP/1.1 302 Found\r\n",
        303 => "HTTP/1.1 303 See Other\r\n",
        304 => "HTTP/1.1 304 Not Modified\r\n",
        305 => "HTTP/1.1 305 Use Proxy\r\n",
        307 => "HTTP/1.1 307 Temporary Redirect\r\n",
        308 => "HTTP/1.1 308 Permanent Redirect\r\n",
        400 => "HTTP/1.1 400 Bad Request\r\n",
        401 => "HTTP/1.1 401 Unauthorized\r\n",
        402 => "HTTP/1.1 402 Payment Required\r\n",
        403 => "HTTP/1.1 403 Forbidden\r\n",
        404 => "HTTP/1.1 404 Not Found\r\n",
        405 => "HTTP/1.1 405 Method Not Allowed\r\n",
        406 => "HTTP/1.1 406 Not Acceptable\r\n",
        407 => "HTTP/1.1 407 Proxy Authentication Required\r\n",
        408 => "HTTP/1.1 408 Request Timeout\r\n",
        409 => "HTTP/1.1 409 Conflict\r\n",
        410 => "HTTP/1.1 410 Gone\r\n",
        411 => "HTTP/1.1 411 Length Required\r\n",
        412 => "HTTP/1.1 412 Precondition Failed\r\n",
        413 => "HTTP/1.1 413 Content Too Large\r\n",
        414 => "HTTP/1.1 414 URI Too Long\r\n",
        415 => "HTTP/1.1 415 Unsupported Media Type\r\n",
        416 => "HTTP/1.1 416 Range Not Satisfiable\r\n",
        417 => "HTTP/1.1 417 Expectation Failed\r\n",
        421 => "HTTP/1.1 421 Misdirected Request\r\n",
        422 => "HTTP/1.1 422 Unprocessable Content\r\n",
        423 => "HTTP/1.1 423 Locked\r\n",
        424 => "HTTP/1.1 424 Failed Dependency\r\n",
        425 => "HTTP/1.1 425 Too Early\r\n",
        426 => "HTTP/1.1 426 Upgrade Required\r\n",
        428 => "HTTP/1.1 428 Precondition Required\r\n",
        429 => "HTTP/1.1 429 Too Many Requests\r\n",
        431 => "HTTP/1.1 431 Request Header Fields Too Large\r\n",
        451 => "HTTP/1.1 451 Unavailable For Legal Reasons\r\n",
        500 => "HTTP/1.1 500 Internal Server Error\r\n",
        501 => "HTTP/1.1 501 Not Implemented\r\n",
        502 => "HTTP/1.1 502 Bad Gateway\r\n",
        503 => "HTTP/1.1 503 Service Unavailable\r\n",
        504 => "HTTP/1.1 504 Gateway Timeout\r\n",
        505 => "HTTP/1.1 505 HTTP Version Not Supported\r\n",
        506 => "HTTP/1.1 506 Variant Also Negotiates\r\n",
        507 => "HTTP/1.1 507 Insufficient Storage\r\n",
        508 => "HTTP/1.1 508 Loop Detected\r\n",
        511 => "HTTP/1.1 511 Network Authentication Required\r\n",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{put_chunk_size, put_last_chunk, put_request_line, put_status_line, status_line};
    use crate::head::{HeadBuilder, Method, Version};

    #[track_caller]
    fn check(put: impl FnOnce(&mut Vec<u8>), expected: &str) {
        let mut out = Vec::new();
        put(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn start_lines_have_three_parts() {
        check(
            |out| put_request_line(out, &Method::Other("M-SEARCH".into()), b"/a?b"),
            "M-SEARCH /a?b HTTP/1.1\r\n",
        );
        check(|out| put_status_line(out, 200), "HTTP/1.1 200 OK\r\n");
        check(|out| put_status_line(out, 299), "HTTP/1.1 299 \r\n");
    }

    #[test]
    fn each_status_line_is_that_of_its_status() {
        for (status, line) in (0..1000).filter_map(|status| Some((status, status_line(status)?))) {
            assert!(
                line.starts_with(&format!("HTTP/1.1 {status} ")) && line.ends_with("\r\n"),
                "{line}"
            );
        }
    }

    #[test]
    fn chunk_sizes_are_hexadecimal_without_leading_zeros() {
        check(|out| put_chunk_size(out, 1), "1\r\n");
        check(|out| put_chunk_size(out, 15), "f\r\n");
        check(|out| put_chunk_size(out, 16), "10\r\n");
        check(|out| put_chunk_size(out, 0xabc0), "abc0\r\n");
        check(|out| put_chunk_size(out, usize::MAX), "ffffffffffffffff\r\n");
    }

    #[test]
    fn trailers_hold_nothing_that_belongs_into_the_head() {
        let mut head = HeadBuilder::default();
        for name in [
            "grpc-status",
            "content-length",
            "x-serin-route",
            "x-forwarded-for",
            "x_forwarded_for",
            "x_serin-route",
            "host",
            "x-checksum",
        ] {
            head.field(name.as_bytes(), b"1");
        }
        let fields = head.response(200, Version::Http11).fields;
        check(
            |out| put_last_chunk(out, Some(&fields)),
            "0\r\ngrpc-status: 1\r\nx-checksum: 1\r\n\r\n",
        );
        check(|out| put_last_chunk(out, None), "0\r\n\r\n");
    }
}
