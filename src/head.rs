//! Heads of requests and responses: method, target, status and fields as slices into one buffer.
//!
//! The seam between protocol adapters and the rest: routing, handling and forwarding speak these
//! types, whatever engine read the bytes. Field names are lower case. Values are bytes; they hold
//! no CR, LF or NUL.

use bytes::Bytes;
use smallvec::SmallVec;

/// A request method (RFC 9110 §9); others are kept by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // they are the words of the RFC
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
    Connect,
    Trace,
    Other(Box<str>),
}

impl Method {
    /// The method with this exact spelling.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            "PATCH" => Self::Patch,
            "CONNECT" => Self::Connect,
            "TRACE" => Self::Trace,
            other => Self::Other(other.into()),
        }
    }

    /// As on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Patch => "PATCH",
            Self::Connect => "CONNECT",
            Self::Trace => "TRACE",
            Self::Other(name) => name,
        }
    }

    /// Whether a repeated request does what one does (RFC 9110 §9.2.2).
    #[must_use]
    pub const fn is_idempotent(&self) -> bool {
        matches!(
            self,
            Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace
        )
    }
}

/// A protocol version that a peer spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // they are the versions of the RFCs
pub enum Version {
    Http10,
    Http11,
    Http2,
}

/// A part of a head's buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// The bytes from `start` to before `end`.
    ///
    /// # Panics
    /// When a head is longer than 4 GiB: readers bound them far below.
    #[must_use]
    pub fn new(start: usize, end: usize) -> Self {
        Self {
            start: u32::try_from(start).expect("heads are bounded"),
            len: u32::try_from(end - start).expect("heads are bounded"),
        }
    }

    /// Where it begins.
    #[must_use]
    pub const fn start(self) -> usize {
        self.start as usize
    }

    /// Where it ends.
    #[must_use]
    pub const fn end(self) -> usize {
        self.start as usize + self.len as usize
    }

    /// The bytes that it names.
    #[must_use]
    pub fn of(self, buf: &[u8]) -> &[u8] {
        &buf[self.start as usize..][..self.len as usize]
    }
}

/// Where the name and the value of each field lie, in order. Sixteen of them cost no allocation.
pub type FieldSpans = SmallVec<[(Span, Span); 16]>;

/// Header fields in order, names in lower case, as slices into one shared buffer.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    buf: Bytes,
    entries: FieldSpans,
}

impl Fields {
    /// Fields that lie in `buf`, names in lower case. Nothing is copied.
    #[must_use]
    pub const fn from_parts(buf: Bytes, entries: FieldSpans) -> Self {
        Self { buf, entries }
    }

    /// Every field, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> + '_ {
        self.entries
            .iter()
            .map(|(name, value)| (name.of(&self.buf), value.of(&self.buf)))
    }

    /// The bytes that all names and values lie in, and where.
    #[must_use]
    pub fn parts(&self) -> (&[u8], &[(Span, Span)]) {
        (&self.buf, &self.entries)
    }

    /// A cheap slice of the shared buffer that is `part`, one of the names or values.
    ///
    /// # Panics
    /// When `part` is not of these fields.
    #[must_use]
    pub fn share(&self, part: &[u8]) -> Bytes {
        self.buf.slice_ref(part)
    }

    /// The first value of `name` (lower case).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(n, _)| *n == name.as_bytes()).map(|(_, value)| value)
    }

    /// Every value of `name` (lower case).
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.iter()
            .filter(move |(n, _)| *n == name.as_bytes())
            .map(|(_, value)| value)
    }

    /// Number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Collects a head's bytes; then [`HeadBuilder::request`] or [`HeadBuilder::response`].
#[derive(Debug, Default)]
pub struct HeadBuilder {
    buf: Vec<u8>,
    entries: FieldSpans,
}

impl HeadBuilder {
    /// A builder with room for `bytes` bytes of names and values.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            buf: Vec::with_capacity(bytes),
            entries: FieldSpans::new(),
        }
    }

    /// Adds a field; `name` must be in lower case.
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        let name = self.push(name);
        let value = self.push(value);
        self.entries.push((name, value));
    }

    /// The request: `authority` as in `Host` or `:authority` (may be empty), `target` in origin
    /// form with its query, `/` at least, or `*`; canonical.
    #[must_use]
    pub fn request(mut self, method: Method, version: Version, authority: &str, target: &str) -> RequestHead {
        let authority = self.push(authority.as_bytes());
        let path_len = target.find('?').unwrap_or(target.len());
        let target = self.push(target.as_bytes());
        let fields = Fields::from_parts(self.buf.into(), self.entries);
        RequestHead::from_parts(method, version, authority, (target, path_len), fields)
    }

    /// The response.
    #[must_use]
    pub fn response(self, status: u16, version: Version) -> ResponseHead {
        ResponseHead {
            status,
            version,
            fields: Fields::from_parts(self.buf.into(), self.entries),
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Span {
        let start = self.buf.len();
        self.buf.extend_from_slice(bytes);
        Span::new(start, self.buf.len())
    }
}

/// The head of a request.
#[derive(Clone, Debug)]
pub struct RequestHead {
    method: Method,
    version: Version,
    authority: Span,
    host_len: u32,
    target: Span,
    path_len: u32,
    fields: Fields,
}

impl RequestHead {
    /// A head whose parts lie in the buffer of `fields`: the authority, and the target with the length
    /// of its path, both ASCII. Nothing is copied.
    #[must_use]
    pub fn from_parts(
        method: Method,
        version: Version,
        authority: Span,
        (target, path_len): (Span, usize),
        fields: Fields,
    ) -> Self {
        let host_len = host_len(authority.of(&fields.buf));
        Self {
            method,
            version,
            authority,
            host_len,
            target,
            path_len: u32::try_from(path_len).expect("targets are bounded"),
            fields,
        }
    }

    /// Lets go of the buffer: what is left is a head without target and fields, to be overwritten.
    pub fn clear(&mut self) {
        self.fields = Fields::default();
        (self.authority, self.host_len) = (Span::default(), 0);
        (self.target, self.path_len) = (Span::default(), 0);
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// What the client spoke.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// `host` or `host:port`; empty when the client named none.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.text(self.authority)
    }

    /// [`RequestHead::authority`] as bytes, for those who only pass it on.
    #[must_use]
    pub fn authority_bytes(&self) -> &[u8] {
        self.authority.of(&self.fields.buf)
    }

    /// The authority without its port.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.authority()[..self.host_len as usize]
    }

    /// Path and query in canonical form (see [`crate::path`]): as matched, as forwarded, as logged.
    #[must_use]
    pub fn target(&self) -> &str {
        self.text(self.target)
    }

    /// [`RequestHead::target`] as bytes, for those who only pass it on.
    #[must_use]
    pub fn target_bytes(&self) -> &[u8] {
        self.target.of(&self.fields.buf)
    }

    /// The target without its query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.target()[..self.path_len as usize]
    }

    /// What follows `?`, if there is one.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.target().get(self.path_len as usize + 1..)
    }

    /// The header fields. `host` is among them only if an adapter put it there.
    #[must_use]
    pub const fn fields(&self) -> &Fields {
        &self.fields
    }

    fn text(&self, span: Span) -> &str {
        // Built from `&str`; checking again costs a few nanoseconds for short texts.
        std::str::from_utf8(span.of(&self.fields.buf)).expect("was a str")
    }
}

/// The head of a final response, or of a 101.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// 101, or 200 to 999.
    pub status: u16,
    /// What the backend spoke.
    pub version: Version,
    /// The header fields.
    pub fields: Fields,
}

/// Length of the host in `host:port`, `[v6]:port` or either without a port.
fn host_len(authority: &[u8]) -> u32 {
    let end = match authority.first() {
        Some(b'[') => authority
            .iter()
            .position(|&b| b == b']')
            .map_or(authority.len(), |i| i + 1),
        _ => authority.iter().position(|&b| b == b':').unwrap_or(authority.len()),
    };
    u32::try_from(end).expect("heads are bounded")
}

#[cfg(test)]
mod tests {
    use super::{HeadBuilder, Method, Version};

    fn check(authority: &str, target: &str, host: &str, path: &str, query: Option<&str>) {
        let head = HeadBuilder::default().request(Method::Get, Version::Http11, authority, target);
        assert_eq!((head.host(), head.path(), head.query()), (host, path, query));
    }

    #[test]
    fn authority_and_target_fall_into_their_parts() {
        check(
            "shop.example.com:8080",
            "/a/b?x=1",
            "shop.example.com",
            "/a/b",
            Some("x=1"),
        );
        check("[::1]:80", "/", "[::1]", "/", None);
        check("", "*", "", "*", None);
        check("h", "/?", "h", "/", Some(""));
    }

    #[test]
    fn fields_keep_their_order_and_repeats() {
        let mut head = HeadBuilder::with_capacity(64);
        head.field(b"cookie", b"a=1");
        head.field(b"x-user-id", b"\xff");
        head.field(b"cookie", b"b=2");
        let head = head.response(200, Version::Http11);
        assert_eq!(head.fields.get("x-user-id"), Some(&b"\xff"[..]));
        assert_eq!(head.fields.get_all("cookie").collect::<Vec<_>>(), [b"a=1", b"b=2"]);
        assert_eq!(head.fields.get("none"), None);
        assert_eq!(head.fields.len(), 3);
    }
}
