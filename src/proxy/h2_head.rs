//! Decides what a request head in HTTP/2 is in our words, or why it is none (RFC 9113 §8). Pure: no stream, no worker.
//!
//! The engine below has refused already what stands in the wrong place or is said twice: pseudo-header fields behind
//! others, repeated or unknown ones, `:status`, names that are no lower-case tokens, values with control characters,
//! connection-specific fields, lengths that are no numbers, and data that breaks its `content-length`. What it lets
//! through and HTTP/1 would read in two ways is refused here.

use http::header::{self, HeaderMap};
use http::request::Parts;
use smallvec::SmallVec;

use super::h2_body::is_name;
use crate::h1::{METHOD_BYTES_MAX, is_host};
use crate::head::{HeadBuilder, Method, RequestHead, Version};
use crate::path::{PathPolicy, canonical};

/// A request as far as its head says.
#[derive(Debug)]
pub(super) struct Asked {
    /// What crosses the seam. An extended CONNECT (RFC 8441) is a GET with `upgrade` and `connection`, which no other
    /// request of this version has.
    pub(super) head: RequestHead,
    /// What `content-length` says.
    pub(super) length: Option<u64>,
    /// The client waits for 100 (Continue) before it sends the body.
    pub(super) expects_continue: bool,
    /// What follows on the stream is a tunnel, if it is granted.
    pub(super) tunnel: bool,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Malformed (RFC 9113 §8.1.1); says how. Its stream is reset.
    Malformed(&'static str),
    /// Well formed, and more than we take; says why.
    Bad(&'static str),
    /// More fields than the listener takes.
    TooManyFields,
    /// CONNECT without `:protocol`: we are no forward proxy.
    Method,
    /// An extended CONNECT for another protocol than WebSocket.
    Protocol,
    /// An `Expect` other than `100-continue`.
    Expectation,
}

/// What is asked besides the head itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    /// Of an extended CONNECT.
    pub(super) protocol: Option<&'a str>,
    /// The head is not the end of the stream.
    pub(super) more: bool,
    /// Fields that are taken; the parts of a cookie count as one.
    pub(super) fields_max: usize,
    pub(super) paths: PathPolicy,
}

/// What the fields say that concerns the message itself.
#[derive(Default)]
struct Said<'m> {
    host: Option<&'m [u8]>,
    length: Option<u64>,
    expects_continue: bool,
    cookies: SmallVec<[&'m [u8]; 8]>,
}

/// The request of a head.
///
/// # Errors
/// When it is refused.
pub(super) fn to_head(parts: &Parts, around: Around<'_>) -> Result<Asked, Refused> {
    // The same in each version: what one lets in, the other must be able to say.
    if parts.method.as_str().len() > METHOD_BYTES_MAX {
        return Err(Refused::Malformed("the method is longer than any"));
    }
    let method = Method::parse(parts.method.as_str());
    if method == Method::Connect && parts.uri.authority().is_none() {
        // RFC 9113 §8.5, where a Host field is nobody's name.
        return Err(Refused::Malformed("CONNECT without :authority"));
    }
    let tunnel = match (&method, around.protocol) {
        (Method::Connect, Some("websocket")) => true,
        (Method::Connect, Some(_)) => return Err(Refused::Protocol),
        (Method::Connect, None) => return Err(Refused::Method),
        (_, Some(_)) => return Err(Refused::Malformed(":protocol without CONNECT")),
        (_, None) => false,
    };
    // RFC 9113 §8.3.1: other schemes are for who resolves them.
    if !parts.uri.scheme_str().is_none_or(is_http) {
        return Err(Refused::Bad("the :scheme is neither http nor https"));
    }
    let said = read_fields(&parts.headers, tunnel, around.fields_max)?;
    if tunnel && !around.more {
        return Err(Refused::Bad("a tunnel that has ended before it began"));
    }
    if !around.more && said.length.is_some_and(|length| length > 0) {
        return Err(Refused::Malformed("a content-length without content"));
    }
    let authority = authority(parts, said.host)?;
    let mut room = SmallVec::new();
    let target = target(parts, &method, around.paths, &mut room)?;
    Ok(Asked {
        head: build(parts, &said, tunnel, (method, authority, target)),
        length: said.length,
        expects_continue: said.expects_continue && around.more,
        tunnel,
    })
}

/// Looks at every field; what is refused for one is refused whole.
fn read_fields(fields: &HeaderMap, tunnel: bool, fields_max: usize) -> Result<Said<'_>, Refused> {
    let mut said = Said::default();
    for (name, value) in fields {
        let value = value.as_bytes();
        if !is_name(name) {
            return Err(Refused::Malformed("a field's name is no token"));
        }
        // RFC 9113 §8.2.1. HTTP/1 would trim it, and another reader not.
        if matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t']) {
            return Err(Refused::Malformed("a field's value begins or ends with white space"));
        }
        match name.as_str() {
            "cookie" => said.cookies.push(value),
            "host" if said.host.is_some() => return Err(Refused::Bad("more than one Host field")),
            "host" => said.host = Some(value),
            "content-length" if said.length.is_some() => {
                return Err(Refused::Bad("more than one content-length"));
            }
            "content-length" if tunnel => return Err(Refused::Bad("a tunnel has no content-length")),
            "content-length" => said.length = Some(length(value)?),
            "expect" if said.expects_continue || !value.eq_ignore_ascii_case(b"100-continue") => {
                return Err(Refused::Expectation);
            }
            "expect" => said.expects_continue = true,
            // RFC 9113 §8.2.2. Were one let through, HTTP/1 would take it for its own framing.
            "connection" | "proxy-connection" | "keep-alive" | "transfer-encoding" | "upgrade" => {
                return Err(Refused::Malformed("a field that concerns one connection in HTTP/1"));
            }
            "te" if value != b"trailers" => return Err(Refused::Malformed("a TE other than trailers")),
            _ => {}
        }
    }
    // All parts of a cookie are one field.
    if fields.len() - said.cookies.len().saturating_sub(1) > fields_max {
        return Err(Refused::TooManyFields);
    }
    Ok(said)
}

/// RFC 9110 §8.6, one number. No sign, no list, and none that another reader would see as a smaller one.
fn length(value: &[u8]) -> Result<u64, Refused> {
    std::str::from_utf8(value)
        .ok()
        .filter(|text| (1..=19).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or(Refused::Malformed("the content-length is not a number"))
}

/// The one host that is asked (RFC 9113 §8.3.1): what `:authority` and `Host` say must be the same.
fn authority<'p>(parts: &'p Parts, host: Option<&'p [u8]>) -> Result<&'p str, Refused> {
    let named = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let asked = match (named, host) {
        (Some(named), Some(host)) if !named.eq_ignore_ascii_case(host) => {
            return Err(Refused::Malformed("Host and :authority name different hosts"));
        }
        (Some(asked), _) | (None, Some(asked)) => asked,
        (None, None) => return Err(Refused::Malformed("no :authority and no Host field")),
    };
    if !is_host(asked) {
        return Err(Refused::Malformed("the host is none, or more than a host and a port"));
    }
    std::str::from_utf8(asked).map_err(|_| Refused::Malformed("the host holds bytes that no host has"))
}

/// The target in origin form, canonical, in `room`; or `*`, which asks about the server itself (RFC 9110 §9.3.7).
fn target<'r>(
    parts: &Parts,
    method: &Method,
    policy: PathPolicy,
    room: &'r mut SmallVec<[u8; 256]>,
) -> Result<&'r str, Refused> {
    let written = parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    match written.as_bytes() {
        b"*" if *method == Method::Options => return Ok("*"),
        [b'/', ..] => {}
        [] => return Err(Refused::Malformed("no :path")),
        _ => return Err(Refused::Malformed("the :path does not begin with a slash")),
    }
    room.extend_from_slice(written.as_bytes());
    let form = canonical(room, policy).map_err(|problem| Refused::Bad(problem.detail()))?;
    Ok(std::str::from_utf8(&room[..form.len]).expect("a canonical target is ASCII"))
}

/// Copies everything into one buffer.
fn build(
    parts: &Parts,
    said: &Said<'_>,
    tunnel: bool,
    (method, authority, target): (Method, &str, &str),
) -> RequestHead {
    let sizes = parts
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    let bytes = sizes.sum::<usize>() + authority.len() + target.len() + 2 * said.cookies.len();
    let mut head = HeadBuilder::with_capacity(bytes + TUNNEL_BYTES);
    for (name, value) in &parts.headers {
        // Its handshake is of HTTP/1.1; here it says nothing (RFC 8441 §5).
        let of_handshake = tunnel && *name == header::SEC_WEBSOCKET_KEY;
        if name != header::COOKIE && !of_handshake {
            head.field(name.as_str().as_bytes(), value.as_bytes());
        }
    }
    if !said.cookies.is_empty() {
        // HTTP/2 may split cookies; HTTP/1.1 has one field (RFC 9113 §8.2.3).
        head.field(b"cookie", &said.cookies.join(&b"; "[..]));
    }
    if !tunnel {
        return head.request(method, Version::Http2, authority, target);
    }
    head.field(b"upgrade", b"websocket");
    head.field(b"connection", b"upgrade");
    head.request(Method::Get, Version::Http2, authority, target)
}

/// What a tunnel adds.
const TUNNEL_BYTES: usize = 40;

fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, Request};

    use super::*;

    /// A GET for `https://shop/` with these fields; where one begins with a colon, that part of the start line.
    fn ask(fields: &[(&str, &str)], more: bool) -> Result<Asked, Refused> {
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(http::uri::Scheme::HTTPS);
        uri.authority = Some("shop".parse().expect("an authority"));
        uri.path_and_query = Some("/".parse().expect("a path"));
        let (mut method, mut protocol) = ("GET", None);
        let mut request = Request::new(());
        for &(name, value) in fields {
            match name {
                ":method" => method = value,
                ":protocol" => protocol = Some(value),
                ":scheme" => uri.scheme = Some(value.parse().expect("a scheme")),
                ":authority" if value.is_empty() => (uri.scheme, uri.authority) = (None, None),
                ":authority" => uri.authority = Some(value.parse().expect("an authority")),
                ":path" => uri.path_and_query = Some(value.parse().expect("a path")),
                name => {
                    let name = HeaderName::from_lowercase(name.as_bytes()).expect("a name");
                    let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
                    request.headers_mut().append(name, value);
                }
            }
        }
        *request.uri_mut() = http::Uri::from_parts(uri).expect("an address");
        *request.method_mut() = method.parse().expect("a method");
        let around = Around {
            protocol,
            more,
            fields_max: 4,
            paths: PathPolicy::Strict,
        };
        to_head(&request.into_parts().0, around)
    }

    fn check(fields: &[(&str, &str)], expected: Option<Refused>) {
        assert_eq!(ask(fields, true).err(), expected, "{fields:?}");
    }

    fn bad(fields: &[(&str, &str)]) {
        assert!(matches!(ask(fields, true), Err(Refused::Bad(_))), "{fields:?}");
    }

    fn malformed(fields: &[(&str, &str)]) {
        assert!(matches!(ask(fields, true), Err(Refused::Malformed(_))), "{fields:?}");
    }

    #[test]
    fn what_is_plain_passes() {
        check(&[], None);
        check(&[("host", "SHOP")], None);
        check(&[(":authority", ""), ("host", "shop:80")], None);
        check(&[(":scheme", "HTTP")], None);
        check(&[(":method", "OPTIONS"), (":path", "*")], None);
        check(&[("te", "trailers")], None);
        check(&[("content-length", "5")], None);
        check(&[("x-empty", "")], None);
        check(&[(":authority", "[2001:db8::1]:8443")], None);
    }

    #[test]
    fn two_hosts_are_none() {
        malformed(&[("host", "other")]);
        malformed(&[("host", "shop:443")]);
        malformed(&[("host", "")]);
        bad(&[("host", "shop"), ("host", "shop")]);
        malformed(&[(":authority", "user@shop")]);
        malformed(&[(":authority", "shop,other")]);
        malformed(&[(":authority", "shop:99999")]);
        malformed(&[(":authority", "")]);
    }

    #[test]
    fn targets_have_one_form() {
        malformed(&[(":path", "*")]);
        malformed(&[(":path", "?x")]);
        bad(&[(":path", "/a/../b")]);
        bad(&[(":path", "/a%00")]);
        bad(&[(":scheme", "ftp")]);
    }

    #[test]
    fn methods_are_as_long_as_in_http_1() {
        check(&[(":method", &"A".repeat(METHOD_BYTES_MAX))], None);
        malformed(&[(":method", &"A".repeat(METHOD_BYTES_MAX + 1))]);
    }

    #[test]
    fn lengths_are_said_once_and_plainly() {
        for value in ["+5", "-5", "5,5", "0x5", "5 5", "", "99999999999999999999"] {
            malformed(&[("content-length", value)]);
        }
        bad(&[("content-length", "5"), ("content-length", "5")]);
        let ended = ask(&[("content-length", "5")], false);
        assert!(matches!(ended, Err(Refused::Malformed(_))));
        assert_eq!(
            ask(&[("content-length", "0")], false).expect("it passes").length,
            Some(0)
        );
    }

    #[test]
    fn fields_of_a_connection_in_http_1_are_refused() {
        for name in [
            "connection",
            "proxy-connection",
            "keep-alive",
            "transfer-encoding",
            "upgrade",
        ] {
            malformed(&[(name, "close")]);
        }
        malformed(&[("x\"a", "1")]);
        malformed(&[("te", "gzip")]);
        malformed(&[("te", "Trailers")]);
        malformed(&[("x-a", " 1")]);
        malformed(&[("x-a", "1\t")]);
        check(&[("expect", "200-ok")], Some(Refused::Expectation));
    }

    #[test]
    fn parts_of_a_cookie_are_one_field() {
        let crumbs = [
            ("cookie", "a=1"),
            ("x-a", "1"),
            ("cookie", "b=2"),
            ("cookie", "c=3"),
            ("cookie", "d=4"),
        ];
        let asked = ask(&crumbs, false).expect("five fields that count as two");
        assert_eq!(
            asked.head.fields().get_all("cookie").collect::<Vec<_>>(),
            [b"a=1; b=2; c=3; d=4"]
        );
        let many = [("x-a", "1"), ("x-b", "1"), ("x-c", "1"), ("x-d", "1"), ("x-e", "1")];
        check(&many, Some(Refused::TooManyFields));
    }

    #[test]
    fn connect_is_for_websockets_alone() {
        check(&[(":method", "CONNECT")], Some(Refused::Method));
        check(
            &[(":method", "CONNECT"), (":protocol", "connect-udp")],
            Some(Refused::Protocol),
        );
        malformed(&[(":protocol", "websocket")]);
        malformed(&[(":method", "CONNECT"), (":authority", ""), ("host", "shop")]);
        let socket = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            ("sec-websocket-key", "theirs"),
        ];
        let asked = ask(&socket, true).expect("a tunnel");
        let fields = asked.head.fields();
        assert!(asked.tunnel && *asked.head.method() == Method::Get);
        assert_eq!(
            (fields.get("upgrade"), fields.get("connection")),
            (Some(&b"websocket"[..]), Some(&b"upgrade"[..]))
        );
        assert_eq!(fields.get("sec-websocket-key"), None);
        bad(&[socket[0], socket[1], ("content-length", "0")]);
        assert!(ask(&socket, false).is_err());
    }
}
