//! Which header fields pass, which stop here, and which we add (RFC 9110 §7.6, design rule 12 and §4).

use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use super::trace::Made;
use super::upstream::ClientAddresses;
use super::{grpc, websocket};
use crate::h1::{put_field, put_fields};
use crate::head::{Fields, RequestHead, ResponseHead, Version};
use crate::ofrep;
use crate::route::{is_ours, is_proxys, is_spelling_of};

/// What a request is sent on with.
pub(super) struct Forwarding<'r> {
    /// The head as the client sent it.
    pub(super) head: &'r RequestHead,
    /// The client's address as text.
    pub(super) peer: &'r str,
    /// The two ends of the client's connection.
    pub(super) addresses: ClientAddresses,
    /// Whether the peer's own forwarding fields are believed.
    pub(super) peer_trusted: bool,
    /// Whether the client came over TLS.
    pub(super) https: bool,
    /// Who its verified certificate says it is. Goes out as `x-serin-client-certificate`.
    pub(super) certificate: Option<&'r str>,
    /// Whether it is passed on as a protocol switch.
    pub(super) upgrade: bool,
    /// What is left of the client's deadline; goes out as `grpc-timeout`.
    pub(super) grpc_timeout: Option<Duration>,
    /// Goes out as `x-serin-route`.
    pub(super) route: &'r Bytes,
    /// Goes out as `x-serin-variant`.
    pub(super) variant: &'r Bytes,
    /// Goes out as `x-serin-cohort`.
    pub(super) cohort: Option<&'r Bytes>,
    /// Headers that stop here: they hold secrets of cohorts. In lower case.
    pub(super) secret: &'r [Box<str>],
    /// Values made for this request.
    pub(super) made: &'r Made,
}

/// Writes the fields of a request to its backend, in one pass. The host and what delimits the body are not
/// among them.
pub(super) fn put_request_fields<S: FieldSink>(forwarding: &Forwarding<'_>, out: &mut S) {
    let fields = forwarding.head.fields();
    let named = named_by_connection(fields);
    // HTTP/2 knows no key: the client's is not for the backend, and the backend's is ours.
    let own_key = forwarding.upgrade && forwarding.head.version() == Version::Http2;
    // Of these there is one of ours, if any.
    let replaced: Option<&[u8]> = if forwarding.grpc_timeout.is_some() {
        Some(b"grpc-timeout")
    } else if own_key || (forwarding.upgrade && S::HTTP2) {
        Some(b"sec-websocket-key")
    } else {
        None
    };
    let mut trailers = false;
    out.pass(fields, |name, value| {
        // Written once, below.
        trailers |= name == b"te" && value.eq_ignore_ascii_case(b"trailers");
        passes_up(name, forwarding.peer_trusted)
            && !is_named(&named, name)
            && !forwarding
                .secret
                .iter()
                .any(|secret| is_spelling_of(name, secret.as_bytes()))
            && Some(name) != replaced
    });
    if forwarding.upgrade {
        out.put_upgrade();
        if own_key && !S::HTTP2 {
            out.put("sec-websocket-key", &websocket::key(forwarding.made.nonce));
        }
    } else if trailers {
        out.put_te_trailers();
    }
    if let Some(left) = forwarding.grpc_timeout {
        out.put("grpc-timeout", grpc::timeout_text(left).as_bytes());
    }
    put_forwarded(forwarding, out);
    forwarding.made.put(out);
    out.put_shared("x-serin-route", forwarding.route);
    out.put_shared("x-serin-variant", forwarding.variant);
    if let Some(cohort) = forwarding.cohort {
        out.put_shared("x-serin-cohort", cohort);
    }
    if let Some(certificate) = forwarding.certificate {
        out.put("x-serin-client-certificate", certificate.as_bytes());
    }
}

/// Where fields of a request go: the bytes of HTTP/1.1, or the fields of HTTP/2. Which fields, and what they say, is
/// for neither to decide.
pub(super) trait FieldSink {
    /// Whether it is HTTP/2, where fields that concern one connection do not exist (RFC 9113 §8.2.2).
    const HTTP2: bool;

    /// Adds the fields that `keep` says, in order.
    fn pass<'f>(&mut self, fields: &'f Fields, keep: impl FnMut(&'f [u8], &'f [u8]) -> bool);

    /// Adds a field.
    fn put(&mut self, name: &'static str, value: &[u8]);

    /// Adds a field whose value may be kept.
    fn put_shared(&mut self, name: &'static str, value: &Bytes);

    /// Adds a field of several values.
    fn put_list<'f>(&mut self, name: &'static str, values: impl Iterator<Item = &'f [u8]>, last: &[u8]);

    /// Says that trailers are welcome.
    fn put_te_trailers(&mut self);

    /// Asks for a WebSocket.
    fn put_upgrade(&mut self);
}

impl FieldSink for Vec<u8> {
    const HTTP2: bool = false;

    fn pass<'f>(&mut self, fields: &'f Fields, keep: impl FnMut(&'f [u8], &'f [u8]) -> bool) {
        put_fields(self, fields, keep);
    }

    fn put(&mut self, name: &'static str, value: &[u8]) {
        put_field(self, name.as_bytes(), value);
    }

    fn put_shared(&mut self, name: &'static str, value: &Bytes) {
        put_field(self, name.as_bytes(), value);
    }

    fn put_list<'f>(&mut self, name: &'static str, values: impl Iterator<Item = &'f [u8]>, last: &[u8]) {
        self.extend_from_slice(name.as_bytes());
        self.extend_from_slice(b": ");
        for value in values {
            self.extend_from_slice(value);
            self.extend_from_slice(b", ");
        }
        self.extend_from_slice(last);
        self.extend_from_slice(b"\r\n");
    }

    fn put_te_trailers(&mut self) {
        self.extend_from_slice(b"te: trailers\r\nconnection: te\r\n");
    }

    fn put_upgrade(&mut self) {
        self.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
    }
}

/// Whom the request came from, and what it asked for.
fn put_forwarded(forwarding: &Forwarding<'_>, out: &mut impl FieldSink) {
    let fields = forwarding.head.fields();
    let hops = fields.get_all("x-forwarded-for");
    let believed_hops = if forwarding.peer_trusted { usize::MAX } else { 0 };
    out.put_list("x-forwarded-for", hops.take(believed_hops), forwarding.peer.as_bytes());
    let believed = |name| fields.get(name).filter(|_| forwarding.peer_trusted);
    let own: &[u8] = if forwarding.https { b"https" } else { b"http" };
    out.put("x-forwarded-proto", believed("x-forwarded-proto").unwrap_or(own));
    let host = believed("x-forwarded-host").unwrap_or(forwarding.head.authority_bytes());
    if !host.is_empty() {
        out.put("x-forwarded-host", host);
    }
}

/// Whether a client's field goes on to the backend, unless `Connection` names it.
fn passes_up(name: &[u8], peer_trusted: bool) -> bool {
    match name {
        b"host" | b"expect" | b"x-request-id" | b"traceparent" => false,
        _ if is_hop_by_hop(name) || is_ours(name) => false,
        _ if is_proxys(name) => peer_trusted && !is_said_by_us(name),
        _ => true,
    }
}

/// Whether the name is one that we write anew, in any spelling: two of them would disagree.
fn is_said_by_us(name: &[u8]) -> bool {
    let said: [&[u8]; 3] = [b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"];
    said.iter().any(|said| is_spelling_of(name, said))
}

/// Hands the fields of a backend's response that pass to `out`. What delimits the body is not among them.
pub(super) fn response_fields<'h>(head: &'h ResponseHead, mut out: impl FnMut(&'h [u8], &'h [u8])) {
    let named = named_by_connection(&head.fields);
    for (name, value) in head.fields.iter() {
        if passes_down(name) && !is_named(&named, name) {
            out(name, value);
        }
    }
}

/// Writes the fields of a backend's response that pass; the answer is whether there is a `date`. With `own_hsts` we
/// say ourselves what `strict-transport-security` is: it must stand there once (RFC 6797 §7.1).
pub(super) fn put_response_fields(head: &ResponseHead, own_hsts: bool, out: &mut Vec<u8>) -> bool {
    let named = named_by_connection(&head.fields);
    let mut dated = false;
    put_fields(out, &head.fields, |name, _| {
        let passes = passes_down(name) && !is_named(&named, name);
        let passes = passes && !(own_hsts && name == b"strict-transport-security");
        dated |= passes && name == b"date";
        passes
    });
    dated
}

/// Whether a backend's field goes on to the client, unless `Connection` names it.
fn passes_down(name: &[u8]) -> bool {
    !(is_hop_by_hop(name) || is_ours(name))
}

/// The fields of an answer to a call for flags, but for what follows from its length.
pub(super) fn ofrep_fields(answer: &ofrep::Answer) -> impl Iterator<Item = (&'static str, &str)> {
    let kind = (!answer.body.is_empty()).then_some(("content-type", ofrep::CONTENT_TYPE));
    let allow = (answer.status == 405).then_some(("allow", ofrep::ALLOW));
    let etag = answer.etag.as_deref().map(|etag| ("etag", etag));
    [kind, Some(("server", "serin")), allow, etag].into_iter().flatten()
}

/// Whether a request asks for a WebSocket (RFC 6455 §4.1).
pub(super) fn asks_for_websocket(head: &RequestHead) -> bool {
    let fields = head.fields();
    fields
        .get("upgrade")
        .is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
        && names_upgrade(fields)
}

/// Whether `Connection` says that `Upgrade` is meant for us (RFC 9110 §7.8).
pub(super) fn names_upgrade(fields: &Fields) -> bool {
    fields
        .get_all("connection")
        .flat_map(tokens)
        .any(|token| token.eq_ignore_ascii_case(b"upgrade"))
}

/// Fields that concern one connection only (RFC 9110 §7.6.1, and `Proxy-Connection`), and the length of a body, which
/// whoever writes the body says anew.
fn is_hop_by_hop(name: &[u8]) -> bool {
    match name.len() {
        2 => name == b"te",
        7 => name == b"upgrade",
        10 => name == b"connection" || name == b"keep-alive",
        14 => name == b"content-length",
        16 => name == b"proxy-connection",
        17 => name == b"transfer-encoding",
        _ => false,
    }
}

type Named<'f> = SmallVec<[&'f [u8]; 4]>;

/// The fields that `Connection` names beside the usual words.
fn named_by_connection(fields: &Fields) -> Named<'_> {
    let mut named = Named::new();
    for (name, value) in fields.iter() {
        if name == b"connection" {
            named.extend(tokens(value).filter(|token| {
                let usual: [&[u8]; 4] = [b"close", b"keep-alive", b"upgrade", b"te"];
                !usual.iter().any(|word| token.eq_ignore_ascii_case(word))
            }));
        }
    }
    named
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{HeadBuilder, Method};

    fn sent(fields: &[(&str, &str)], trusted: bool) -> Vec<String> {
        let mut head = HeadBuilder::default();
        for (name, value) in fields {
            head.field(name.as_bytes(), value.as_bytes());
        }
        let head = head.request(Method::Get, Version::Http11, "shop.example.com", "/");
        let made = Made::new(&head, [1, 2, 3, 4]);
        let word = Bytes::from_static(b"word");
        let forwarding = Forwarding {
            head: &head,
            peer: "192.0.2.1",
            addresses: ClientAddresses::of_nobody(),
            peer_trusted: trusted,
            https: false,
            certificate: None,
            upgrade: asks_for_websocket(&head),
            grpc_timeout: None,
            route: &word,
            variant: &word,
            cohort: None,
            secret: &["x-override".into()],
            made: &made,
        };
        let mut out = Vec::new();
        put_request_fields(&forwarding, &mut out);
        let text = String::from_utf8(out).expect("fields of the tests are text");
        text.split_terminator("\r\n").map(str::to_owned).collect()
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
    fn what_a_cohort_keeps_secret_is_not_passed_on() {
        let fields = [
            ("x-override", "s3cret"),
            ("X-Override", "again"),
            ("X_Override", "and again"),
            ("x-overridden", "no"),
        ];
        check(&fields, true, &["x-overridden: no"], &["x-override:", "x_override:"]);
    }

    #[test]
    fn no_spelling_gets_past() {
        let spelt = [
            ("X_Forwarded_For", "1.2.3.4"),
            ("x-forwarded_port", "9"),
            ("X_SERIN_ROUTE", "admin"),
            ("x_serin_client_certificate", "root"),
            ("x_user", "7"),
        ];
        let never = ["x_forwarded_for", "x_serin"];
        check(&spelt, false, &["x_user: 7"], &[never[0], never[1], "x-forwarded_port"]);
        // A balancer may have words of its own, but not beside ours.
        check(&spelt, true, &["x_user: 7", "x-forwarded_port: 9"], &never);
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
}
