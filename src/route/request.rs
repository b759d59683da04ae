//! The facts of a request: its head, and what is known of its connection.

use std::net::IpAddr;

use smallvec::SmallVec;

use super::facts::{Facts, Origin};
use super::field::{decoded, name_and_value};
use super::key::{Key, KeySource};
use super::proxied::is_proxys;
use crate::head::RequestHead;
use crate::values::Values;

/// A request, as flags see it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    /// What it asks for.
    pub head: &'r RequestHead,
    /// Rightmost untrusted, with `trustedProxies`.
    pub client: IpAddr,
    /// Whether the peer is one of `trustedProxies`: of all others `forwarded`, `x-forwarded-*` and `x-serin-*` count for
    /// nothing.
    pub peer_trusted: bool,
    /// Who the client's verified certificate says it is.
    pub certificate: Option<&'r str>,
    /// Of a verified token.
    pub claims: Option<&'r Values>,
    /// Unix seconds.
    pub now_s: u64,
}

impl<'r> Request<'r> {
    /// A request of which nothing is known but its head and where it came from.
    #[must_use]
    pub const fn of(head: &'r RequestHead, client: IpAddr) -> Self {
        Self {
            head,
            client,
            peer_trusted: true,
            certificate: None,
            claims: None,
            now_s: 0,
        }
    }

    /// Whether the header `name` says what the peer may say.
    fn believes(&self, name: &str) -> bool {
        self.peer_trusted || !is_proxys(name.as_bytes())
    }

    fn cookies(&self, name: &str) -> impl Iterator<Item = &'r [u8]> {
        let fields = self.head.fields().get_all("cookie");
        cookies(fields, name.as_bytes())
    }

    fn parameters(&self, name: &str) -> impl Iterator<Item = &'r [u8]> {
        let pairs = self
            .head
            .query()
            .into_iter()
            .flat_map(|query| query.as_bytes().split(|&byte| byte == b'&'));
        let named = pairs.filter(|pair| !pair.is_empty()).map(name_and_value);
        named
            .filter(move |(other, _)| decoded(other).eq(name.bytes()))
            .map(|(_, value)| value)
    }
}

impl Facts for Request<'_> {
    fn any(&self, origin: Origin, name: &str, mut test: impl FnMut(&[u8]) -> bool) -> bool {
        match origin {
            Origin::Header => self.believes(name) && self.head.fields().get_all(name).any(test),
            Origin::Cookie => self.cookies(name).any(test),
            Origin::Query => self
                .parameters(name)
                .any(|value| test(&decoded(value).collect::<SmallVec<[u8; 256]>>())),
            Origin::Claim => self
                .claims
                .is_some_and(|claims| claims.all(name).any(|value| test(value.as_bytes()))),
            Origin::ClientCertificate => self.certificate.is_some_and(|name| test(name.as_bytes())),
            Origin::Attribute => false,
        }
    }

    fn key(&self, source: &KeySource) -> Option<Key<'_>> {
        match source {
            KeySource::Header(name) if !self.believes(name) => None,
            KeySource::Header(name) => Key::of(self.head.fields().get(name)?),
            KeySource::Cookie(name) => Key::of(self.cookies(name).next()?),
            KeySource::Query(name) => Key::of_own(decoded(self.parameters(name).next()?)),
            KeySource::Claim(name) => Key::of(self.claims?.all(name).next()?.as_bytes()),
            KeySource::ClientCertificate => Key::of(self.certificate?.as_bytes()),
            KeySource::ClientIp => Some(Key::of_address(self.client)),
            KeySource::Attribute(_) | KeySource::TargetingKey => None,
        }
    }

    fn client(&self) -> Option<IpAddr> {
        Some(self.client)
    }

    fn host(&self) -> &str {
        self.head.host()
    }

    fn now_s(&self) -> u64 {
        self.now_s
    }
}

/// The values of the cookie `name` in `fields` (RFC 6265 §5.4), without the quotes that they may stand in.
fn cookies<'f>(fields: impl Iterator<Item = &'f [u8]>, name: &[u8]) -> impl Iterator<Item = &'f [u8]> {
    fields
        .flat_map(|field| field.split(|&byte| byte == b';'))
        .map(name_and_value)
        .filter(move |(other, _)| other.trim_ascii() == name)
        .map(|(_, value)| unquoted(value))
}

/// The value of a cookie without blanks around it and without the quotes that it may stand in.
#[must_use]
pub fn unquoted(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii();
    let inner = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    inner.unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::Request;
    use crate::head::{HeadBuilder, Method, Version};
    use crate::route::{Facts, KeySource, Origin};

    #[test]
    fn what_only_proxies_may_say_counts_from_proxies_alone() {
        let mut head = HeadBuilder::default();
        for name in ["forwarded", "x-forwarded-user", "x-serin-variant", "x-user"] {
            head.field(name.as_bytes(), b"alice");
        }
        let head = head.request(Method::Get, Version::Http11, "h", "/");
        let check = |name: &str, peer_trusted: bool, expected: bool| {
            let request = Request {
                peer_trusted,
                ..Request::of(&head, [192, 0, 2, 7].into())
            };
            assert_eq!(
                request.any(Origin::Header, name, |_| true),
                expected,
                "{name} {peer_trusted}"
            );
            let source = KeySource::Header(name.to_owned());
            assert_eq!(request.key(&source).is_some(), expected, "{name} {peer_trusted}");
        };
        for name in ["forwarded", "x-forwarded-user", "x-serin-variant"] {
            check(name, false, false);
            check(name, true, true);
        }
        check("x-user", false, true);
    }
}
