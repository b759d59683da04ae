//! The part of a request that keeps a client on one side, and the clients that are placed by rule.

use std::collections::HashSet;
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;

use super::field::FieldMatch;
use super::matcher::without_end;
use super::murmur::Murmur3;
use crate::head::RequestHead;
use crate::name::Name;

/// What a draw is made of. Absent or empty: the fallback, else a fresh draw.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeySpec {
    /// Where the key stands.
    pub source: KeySource,
    /// What to use where the request has no such key.
    pub fallback: KeyFallback,
}

/// Where a key stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// A request header, lower case. Of several the first, without blanks around it.
    Header(String),
    /// The client's address (rightmost untrusted, with `trustedProxies`) in its canonical text.
    ClientIp,
}

/// What to use where the request has no such key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyFallback {
    /// A fresh draw for each request.
    FreshDraw,
    /// The client's address.
    ClientIp,
}

/// Clients that go to one variant by rule. All conditions must hold; lists are "any of".
#[derive(Clone, Debug, PartialEq)]
pub struct CohortSpec {
    /// Unique in the split.
    pub name: Name,
    /// Conditions on headers; all must hold.
    pub headers: Vec<FieldMatch>,
    /// Keys (of the split's key) that belong; empty: no condition.
    pub keys: Vec<String>,
    /// Index in the split's variants.
    pub variant: usize,
    /// Whether these requests vote like drawn ones. Default false.
    pub evidence: bool,
}

/// A [`CohortSpec`], ready to serve.
#[derive(Debug)]
pub struct Cohort {
    /// Unique in the split.
    pub name: Name,
    /// Index in the split's variants.
    pub variant: usize,
    /// Whether these requests vote like drawn ones.
    pub evidence: bool,
    /// Lower case, without a dot at the end.
    hosts: Box<[Box<str>]>,
    headers: Box<[FieldMatch]>,
    keys: HashSet<Box<[u8]>>,
}

/// The key of one route, ready to serve.
#[derive(Clone, Debug)]
pub struct RouteKey {
    spec: Arc<KeySpec>,
    /// The route's name is absorbed already.
    hash: Murmur3,
}

/// A request's key; never empty.
#[derive(Clone, Copy, Debug)]
pub struct Key<'h>(KeyText<'h>);

#[derive(Clone, Copy, Debug)]
enum KeyText<'h> {
    Field(&'h [u8]),
    Address { text: [u8; ADDRESS_TEXT_MAX], len: usize },
}

/// The longest text of an address: IPv6 with its last 32 bits in IPv4's form.
const ADDRESS_TEXT_MAX: usize = 45;

impl KeySpec {
    /// The key of a request from `client`; `None` asks for a fresh draw. Does not allocate.
    #[must_use]
    pub fn key_of<'h>(&self, head: &'h RequestHead, client: IpAddr) -> Option<Key<'h>> {
        let field = match &self.source {
            KeySource::Header(name) => head.fields().get(name).map(<[u8]>::trim_ascii),
            KeySource::ClientIp => return Some(Key::of_address(client)),
        };
        match (field.filter(|value| !value.is_empty()), self.fallback) {
            (Some(value), _) => Some(Key(KeyText::Field(value))),
            (None, KeyFallback::ClientIp) => Some(Key::of_address(client)),
            (None, KeyFallback::FreshDraw) => None,
        }
    }
}

impl RouteKey {
    /// Makes `spec` ready for `route`. Routes with equal keys had better share one.
    #[must_use]
    pub fn new(route: &Name, spec: Arc<KeySpec>) -> Self {
        let hash = Murmur3::default().absorb(route.as_str().as_bytes());
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

impl Key<'_> {
    /// The address as text; an IPv4 address mapped into IPv6 as IPv4.
    fn of_address(address: IpAddr) -> Self {
        let mut text = [0; ADDRESS_TEXT_MAX];
        let mut room = &mut text[..];
        write!(room, "{}", address.to_canonical()).expect("no address is longer");
        let len = ADDRESS_TEXT_MAX - room.len();
        Self(KeyText::Address { text, len })
    }

    /// The key itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            KeyText::Field(value) => value,
            KeyText::Address { text, len } => &text[..*len],
        }
    }
}

impl Cohort {
    /// Makes `spec` ready to serve.
    #[must_use]
    pub fn new(spec: &CohortSpec) -> Self {
        Self {
            name: spec.name.clone(),
            variant: spec.variant,
            evidence: spec.evidence,
            hosts: [].into(),
            headers: spec.headers.clone().into(),
            keys: spec.keys.iter().map(|key| key.as_bytes().into()).collect(),
        }
    }

    /// Whoever asks for one of `hosts` (lower case, without port), on the way to `variant`; never evidence.
    #[must_use]
    pub fn of_hosts(name: Name, hosts: &[String], variant: usize) -> Self {
        Self {
            name,
            variant,
            evidence: false,
            hosts: hosts.iter().map(|host| without_end(host, '.').into()).collect(),
            headers: [].into(),
            keys: HashSet::new(),
        }
    }

    /// Whether a request with this key belongs. Does not allocate; does not grow with the list of keys.
    #[must_use]
    pub fn holds(&self, head: &RequestHead, key: Option<&Key<'_>>) -> bool {
        (self.hosts.is_empty() || self.names(without_end(head.host(), '.')))
            && self
                .headers
                .iter()
                .all(|condition| condition.holds_in_fields(head.fields()))
            && (self.keys.is_empty() || key.is_some_and(|key| self.keys.contains(key.as_bytes())))
    }

    fn names(&self, host: &str) -> bool {
        self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
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

    use super::{
        Cohort, CohortSpec, Key, KeyFallback, KeySource, KeySpec, RouteKey, bucket_of_draw, bucket_of_hash,
        bucket_of_key,
    };
    use crate::head::{HeadBuilder, Method, RequestHead, Version};
    use crate::name::Name;
    use crate::route::{FieldMatch, FieldTest};

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
        let key = spec.key_of(&head, client.parse().unwrap());
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

    fn cohort(headers: &[(&str, &str)], keys: &[&str]) -> Cohort {
        Cohort::new(&CohortSpec {
            name: Name::new("beta").unwrap(),
            headers: headers
                .iter()
                .map(|(name, value)| FieldMatch {
                    name: (*name).to_owned(),
                    test: FieldTest::Exact((*value).to_owned()),
                })
                .collect(),
            keys: keys.iter().map(|&key| key.to_owned()).collect(),
            variant: 1,
            evidence: false,
        })
    }

    fn check_cohort(cohort: &Cohort, fields: &[(&str, &str)], expected: bool) {
        let head = head(fields);
        let key = user_id(KeyFallback::FreshDraw).key_of(&head, [10, 0, 0, 1].into());
        assert_eq!(cohort.holds(&head, key.as_ref()), expected, "{cohort:?} {fields:?}");
    }

    #[test]
    fn all_conditions_of_a_cohort_must_hold() {
        let both = cohort(&[("x-canary", "true"), ("x-env", "test")], &[]);
        check_cohort(&both, &[("x-canary", "true"), ("x-env", "test")], true);
        check_cohort(&both, &[("x-canary", "true")], false);
        let staff = cohort(&[], &["alice", "bob"]);
        check_cohort(&staff, &[("x-user-id", "bob")], true);
        check_cohort(&staff, &[("x-user-id", "eve")], false);
        check_cohort(&staff, &[], false);
        let mixed = cohort(&[("x-canary", "true")], &["alice"]);
        check_cohort(&mixed, &[("x-canary", "true"), ("x-user-id", "alice")], true);
        check_cohort(&mixed, &[("x-user-id", "alice")], false);
        check_cohort(&mixed, &[("x-canary", "true")], false);
    }

    #[test]
    fn buckets_follow_the_written_formula() {
        // "hello" hashes to 0x248bfa47: 613,153,351 × 1,000,000 / 2^32 = 142,760.89…
        assert_eq!(bucket_of_key("hel", b"lo"), 142_760);
        assert_eq!(bucket_of_key("hello", b""), 142_760);
        assert_eq!(bucket_of_draw(u64::MAX), 999_999);
        assert_eq!(bucket_of_draw(0), 0);
    }

    #[test]
    fn a_cohort_of_hosts_holds_who_asks_for_one_of_them() {
        let hosts = ["green.example".to_owned(), "look.example.".to_owned()];
        let cohort = Cohort::of_hosts(Name::new("preview").unwrap(), &hosts, 1);
        assert!(!cohort.evidence && cohort.variant == 1);
        let check = |host: &str, expected: bool| {
            let head = HeadBuilder::default().request(Method::Get, Version::Http11, host, "/");
            assert_eq!(cohort.holds(&head, None), expected, "{host}");
        };
        check("green.example", true);
        check("Green.Example:8080", true);
        check("green.example.", true);
        check("look.example", true);
        check("blue.example", false);
        check("x.green.example", false);
        check("", false);
    }

    proptest! {
        #[test]
        fn a_route_places_a_key_as_the_formula_says(route in "[a-z]{1,9}", user in "[a-z0-9]{1,20}") {
            let head = head(&[("x-user-id", &user)]);
            let spec = user_id(KeyFallback::FreshDraw);
            let key = spec.key_of(&head, [10, 0, 0, 1].into()).unwrap();
            let route_key = RouteKey::new(&Name::new(&route).unwrap(), spec.clone().into());
            let bucket = bucket_of_hash(route_key.hash_of(&key));
            prop_assert_eq!(bucket, bucket_of_key(&route, user.as_bytes()));
            prop_assert!(bucket < 1_000_000);
        }
    }
}
