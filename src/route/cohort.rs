//! The part of a request that keeps a client on one side, and the clients that are placed by rule.

use regex::bytes::Regex;

use crate::name::Name;

/// What a draw is made of. Absent or empty: the fallback, else a fresh draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// Where the key stands.
    pub source: KeySource,
    /// What to use where the request has no such key.
    pub fallback: KeyFallback,
}

/// Where a key stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A request header, lower case.
    Header(String),
    /// The client's address (rightmost untrusted, with `trustedProxies`).
    ClientIp,
}

/// What to use where the request has no such key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFallback {
    /// A fresh draw for each request.
    FreshDraw,
    /// The client's address.
    ClientIp,
}

/// Clients that go to one variant by rule. All conditions must hold; lists are "any of".
#[derive(Clone, Debug)]
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

/// A condition on a header or a query parameter.
#[derive(Clone, Debug)]
pub struct FieldMatch {
    /// Header names in lower case; query names as written.
    pub name: String,
    /// What its value must be.
    pub test: FieldTest,
}

/// What a value must be. Any of several values of the same name may satisfy it.
#[derive(Clone, Debug)]
pub enum FieldTest {
    /// Equal, byte for byte.
    Exact(String),
    /// Begins so.
    Prefix(String),
    /// The whole value matches.
    Regex(Regex),
    /// There (true) or not there (false).
    Present(bool),
}

impl PartialEq for CohortSpec {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.headers, &self.keys, self.variant, self.evidence)
            == (&other.name, &other.headers, &other.keys, other.variant, other.evidence)
    }
}

impl PartialEq for FieldMatch {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.test == other.test
    }
}

impl PartialEq for FieldTest {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) | (Self::Prefix(a), Self::Prefix(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            (Self::Present(a), Self::Present(b)) => a == b,
            (Self::Exact(_) | Self::Prefix(_) | Self::Regex(_) | Self::Present(_), _) => false,
        }
    }
}

/// The bucket, `0..1_000_000`, of a key: `(murmur3_x86_32(seed 0, routeName + key) × 1,000,000) >> 32`.
#[must_use]
pub fn bucket_of_key(_route: &str, _key: &[u8]) -> u32 {
    todo!()
}

/// The bucket, `0..1_000_000`, of a fresh uniform draw.
#[must_use]
pub const fn bucket_of_draw(draw: u64) -> u32 {
    (((draw >> 32) * 1_000_000) >> 32) as u32
}
