//! What keeps a user on one side: where their key stands, and the bucket that it hashes to.

use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use super::facts::Facts;
use super::murmur::Murmur3;
use crate::name::Name;

/// What a draw is made of. Absent or empty: the fallback, else a fresh draw.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeySpec {
    /// Where the key stands.
    pub source: KeySource,
    /// What to use where the request has no such key.
    pub fallback: KeyFallback,
}

/// Where a key stands. Of several values the first, without blanks around it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// A request header, lower case.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// A parameter of the query.
    Query(String),
    /// A claim of a verified token.
    Claim(String),
    /// Who the client's certificate says it is.
    ClientCertificate,
    /// The client's address (rightmost untrusted, with `trustedProxies`) in its canonical text.
    ClientIp,
    /// An attribute of the context; for flags without a route.
    Attribute(String),
    /// The targeting key of the context; for flags without a route.
    TargetingKey,
}

/// What to use where the request has no such key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyFallback {
    /// A fresh draw for each request.
    FreshDraw,
    /// The client's address.
    ClientIp,
}

/// The key of one route or flag, ready to serve.
#[derive(Clone, Debug)]
pub struct RouteKey {
    spec: Arc<KeySpec>,
    /// The name of the route or flag and the salt are absorbed already.
    hash: Murmur3,
}

/// A request's key; never empty.
#[derive(Clone, Debug)]
pub struct Key<'h>(KeyText<'h>);

#[derive(Clone, Debug)]
enum KeyText<'h> {
    Borrowed(&'h [u8]),
    /// Decoded, or written anew: an address, a parameter of a query.
    Own(SmallVec<[u8; ADDRESS_TEXT_MAX]>),
}

/// The longest text of an address: IPv6 with its last 32 bits in IPv4's form.
const ADDRESS_TEXT_MAX: usize = 45;

impl KeySpec {
    /// The key of who asks; `None` asks for a fresh draw. Allocates only for a parameter of the query that has
    /// more than 45 bytes.
    #[must_use]
    pub fn key_of<'f>(&self, facts: &'f impl Facts) -> Option<Key<'f>> {
        facts.key(&self.source).or_else(|| match self.fallback {
            KeyFallback::ClientIp => facts.client().map(Key::of_address),
            KeyFallback::FreshDraw => None,
        })
    }
}

impl RouteKey {
    /// Makes `spec` ready for the route or flag `name`; another `salt` draws other users. Routes with equal keys
    /// had better share one.
    #[must_use]
    pub fn new(name: &Name, salt: &str, spec: Arc<KeySpec>) -> Self {
        let hash = Murmur3::default()
            .absorb(name.as_str().as_bytes())
            .absorb(salt.as_bytes());
        Self { spec, hash }
    }

    /// Where the key stands.
    #[must_use]
    pub fn spec(&self) -> &Arc<KeySpec> {
        &self.spec
    }

    /// The hash of `key` on this route; [`bucket_of_hash`] makes a bucket of it.
    #[must_use]
    pub fn hash_of(&self, key: &Key<'_>) -> u32 {
        self.hash.absorb(key.as_bytes()).finish()
    }
}

impl<'h> Key<'h> {
    /// `text` without blanks around it; `None` when nothing is left.
    #[must_use]
    pub fn of(text: &'h [u8]) -> Option<Self> {
        let text = text.trim_ascii();
        (!text.is_empty()).then_some(Self(KeyText::Borrowed(text)))
    }

    /// As [`Key::of`], of bytes that stand nowhere else.
    #[must_use]
    pub fn of_own(text: impl IntoIterator<Item = u8>) -> Option<Key<'static>> {
        let text: SmallVec<[u8; ADDRESS_TEXT_MAX]> = text.into_iter().collect();
        let trimmed = text.trim_ascii();
        match trimmed.len() {
            0 => None,
            whole if whole == text.len() => Some(Key(KeyText::Own(text))),
            _ => Some(Key(KeyText::Own(trimmed.into()))),
        }
    }

    /// The address as text; an IPv4 address mapped into IPv6 as IPv4.
    #[must_use]
    pub fn of_address(address: IpAddr) -> Key<'static> {
        let mut text = [0; ADDRESS_TEXT_MAX];
        let mut room = &mut text[..];
        write!(room, "{}", address.to_canonical()).expect("no address is longer");
        let len = ADDRESS_TEXT_MAX - room.len();
        Key(KeyText::Own(SmallVec::from_buf_and_len(text, len)))
    }

    /// The key itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            KeyText::Borrowed(text) => text,
            KeyText::Own(text) => text,
        }
    }
}

/// The bucket, `0..1_000_000`, of a key: `(murmur3_x86_32(seed 0, routeName + key) × 1,000,000) >> 32`.
#[must_use]
pub fn bucket_of_key(route: &str, key: &[u8]) -> u32 {
    bucket_of_hash(Murmur3::default().absorb(route.as_bytes()).absorb(key).finish())
}

/// The bucket, `0..1_000_000`, of a key's hash.
#[must_use]
pub const fn bucket_of_hash(hash: u32) -> u32 {
    bucket_of_draw((hash as u64) << 32)
}

/// The bucket, `0..1_000_000`, of a fresh uniform draw.
#[must_use]
pub const fn bucket_of_draw(draw: u64) -> u32 {
    (((draw >> 32) * 1_000_000) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Key, KeyFallback, KeySource, KeySpec, RouteKey, bucket_of_draw, bucket_of_hash, bucket_of_key};
    use crate::head::{HeadBuilder, Method, RequestHead, Version};
    use crate::name::Name;
    use crate::route::Request;

    fn head(fields: &[(&str, &str)]) -> RequestHead {
        let mut head = HeadBuilder::default();
        for (name, value) in fields {
            head.field(name.as_bytes(), value.as_bytes());
        }
        head.request(Method::Get, Version::Http11, "h", "/")
    }

    fn user_id(fallback: KeyFallback) -> KeySpec {
        KeySpec {
            source: KeySource::Header("x-user-id".to_owned()),
            fallback,
        }
    }

    fn check_key(spec: &KeySpec, fields: &[(&str, &str)], client: &str, expected: Option<&str>) {
        let head = head(fields);
        let request = Request::of(&head, client.parse().unwrap());
        let key = spec.key_of(&request);
        assert_eq!(key.as_ref().map(Key::as_bytes), expected.map(str::as_bytes));
    }

    #[test]
    fn an_absent_or_empty_header_means_the_fallback_or_a_fresh_draw() {
        let fresh = user_id(KeyFallback::FreshDraw);
        check_key(&fresh, &[("x-user-id", "alice")], "10.0.0.1", Some("alice"));
        check_key(&fresh, &[("x-user-id", "\t alice ")], "10.0.0.1", Some("alice"));
        check_key(&fresh, &[("x-user-id", "a"), ("x-user-id", "b")], "10.0.0.1", Some("a"));
        check_key(&fresh, &[("x-user-id", "  ")], "10.0.0.1", None);
        check_key(&fresh, &[], "10.0.0.1", None);
        let address = user_id(KeyFallback::ClientIp);
        check_key(&address, &[("x-user-id", "alice")], "10.0.0.1", Some("alice"));
        check_key(&address, &[("x-user-id", "")], "10.0.0.1", Some("10.0.0.1"));
        check_key(&address, &[], "10.0.0.1", Some("10.0.0.1"));
    }

    #[test]
    fn an_address_is_a_key_in_its_canonical_text() {
        let spec = KeySpec {
            source: KeySource::ClientIp,
            fallback: KeyFallback::FreshDraw,
        };
        check_key(&spec, &[("x-user-id", "alice")], "192.0.2.7", Some("192.0.2.7"));
        check_key(&spec, &[], "::ffff:192.0.2.7", Some("192.0.2.7"));
        check_key(&spec, &[], "2001:DB8:0::1", Some("2001:db8::1"));
        let longest = "1111:2222:3333:4444:5555:6666:7777:8888";
        check_key(&spec, &[], longest, Some(longest));
    }

    #[test]
    fn a_key_may_stand_in_a_cookie_or_in_the_query() {
        let check = |source: KeySource, fields: &[(&str, &str)], target: &str, expected: Option<&str>| {
            let mut head = HeadBuilder::default();
            for (name, value) in fields {
                head.field(name.as_bytes(), value.as_bytes());
            }
            let head = head.request(Method::Get, Version::Http11, "h", target);
            let request = Request::of(&head, [10, 0, 0, 1].into());
            let spec = KeySpec {
                source,
                fallback: KeyFallback::FreshDraw,
            };
            let key = spec.key_of(&request);
            assert_eq!(
                key.as_ref().map(Key::as_bytes),
                expected.map(str::as_bytes),
                "{fields:?} {target}"
            );
        };
        let cookie = || KeySource::Cookie("uid".to_owned());
        check(cookie(), &[("cookie", "a=1; uid=alice; uid=bob")], "/", Some("alice"));
        check(
            cookie(),
            &[("cookie", "a=1"), ("cookie", "uid=\"alice\"")],
            "/",
            Some("alice"),
        );
        check(cookie(), &[("cookie", "xuid=alice; Uid=bob; uid=")], "/", None);
        let query = || KeySource::Query("user".to_owned());
        check(query(), &[], "/?a=1&user=al%69ce&user=bob", Some("alice"));
        check(query(), &[], "/?user=+", None);
        check(query(), &[], "/", None);
    }

    #[test]
    fn buckets_follow_the_written_formula() {
        // "hello" hashes to 0x248bfa47: 613,153,351 × 1,000,000 / 2^32 = 142,760.89…
        assert_eq!(bucket_of_key("hel", b"lo"), 142_760);
        assert_eq!(bucket_of_key("hello", b""), 142_760);
        assert_eq!(bucket_of_draw(u64::MAX), 999_999);
        assert_eq!(bucket_of_draw(0), 0);
    }

    proptest! {
        #[test]
        fn a_route_places_a_key_as_the_formula_says(
            route in "[a-z]{1,9}", salt in "[a-z0-9]{0,3}", user in "[a-z0-9]{1,20}",
        ) {
            let head = head(&[("x-user-id", &user)]);
            let spec = user_id(KeyFallback::FreshDraw);
            let request = Request::of(&head, [10, 0, 0, 1].into());
            let key = spec.key_of(&request).unwrap();
            let route_key = RouteKey::new(&Name::new(&route).unwrap(), &salt, spec.clone().into());
            let bucket = bucket_of_hash(route_key.hash_of(&key));
            prop_assert_eq!(bucket, bucket_of_key(&format!("{route}{salt}"), user.as_bytes()));
            prop_assert!(bucket < 1_000_000);
        }
    }
}
