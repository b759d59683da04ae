//! What is known of who asks: one view, so that a request and a context that an application posts are judged by
//! the same code.

use std::net::IpAddr;

use super::key::{Key, KeySource};

/// Where a value stands that a condition looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// A header field, its name in lower case.
    Header,
    /// A cookie, its name as written.
    Cookie,
    /// A parameter of the query, as decoded.
    Query,
    /// A claim of a verified token; parts of its path joined by dots.
    Claim,
    /// Who the client's verified certificate says it is; it has no name.
    ClientCertificate,
    /// An attribute of an application's context; parts of its path joined by dots. Requests have none.
    Attribute,
}

/// What is known of who asks. The proxy knows a head and a connection, OFREP a context.
pub trait Facts {
    /// Whether any value of `name` at `origin` passes `test`, which is called until one does.
    fn any(&self, origin: Origin, name: &str, test: impl FnMut(&[u8]) -> bool) -> bool;

    /// The key that stands at `source`, if there is one that is not empty. Fallbacks are the caller's.
    fn key(&self, source: &KeySource) -> Option<Key<'_>>;

    /// The client's address (rightmost untrusted, with `trustedProxies`).
    fn client(&self) -> Option<IpAddr>;

    /// The host that is asked for, without its port; empty: none.
    fn host(&self) -> &str;

    /// Unix seconds, for what ends.
    fn now_s(&self) -> u64;
}
