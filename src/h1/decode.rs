//! Heads of requests and responses from bytes.

use bytes::BytesMut;

use super::body::Framing;
use super::refusal::Refusal;
use crate::head::{RequestHead, ResponseHead};
use crate::path::PathPolicy;

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes, from the first of the start line to the last of the empty line.
    pub bytes: usize,
    /// Number of fields.
    pub fields: usize,
    /// Bytes of a request's target.
    pub target_bytes: usize,
}

/// The head of a request, and what follows from it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Names in lower case; `host` is among the fields; the target is in origin form (or `*`) and canonical.
    pub head: RequestHead,
    /// How its body is delimited.
    pub framing: Framing,
    /// Whether another request may follow on the connection.
    pub keep_alive: bool,
    /// Whether the client waits for `100 (Continue)` before it sends the body.
    pub expects_continue: bool,
}

/// Reads heads of requests (RFC 9112 §3, §5, §6) as they come, in pieces of any size.
#[derive(Clone, Debug)]
pub struct RequestDecoder {
    _limits: HeadLimits,
    _policy: PathPolicy,
}

impl RequestDecoder {
    /// A decoder at the beginning of a connection.
    #[must_use]
    pub fn new(limits: HeadLimits, policy: PathPolicy) -> Self {
        Self {
            _limits: limits,
            _policy: policy,
        }
    }

    /// Takes the next head off the front of `buf`, which holds all that has come since the last message ended;
    /// `None` when it is not complete yet. Each byte is looked at once, whatever the pieces.
    ///
    /// # Errors
    /// As soon as what has come can be no acceptable head. The decoder must not be used again.
    pub fn decode(&mut self, _buf: &mut BytesMut) -> Result<Option<Request>, Refusal> {
        Ok(None)
    }
}

/// What was asked, as far as a response depends on it (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// By HEAD: there is no body.
    pub head: bool,
    /// For an upgrade: a 101 may come.
    pub upgrade: bool,
}

/// The head of a final response or of a 101, and what follows from it.
#[derive(Clone, Debug)]
pub struct Response {
    /// Names in lower case.
    pub head: ResponseHead,
    /// How its body is delimited.
    pub framing: Framing,
    /// Whether another request may follow on the connection.
    pub keep_alive: bool,
}

/// Reads heads of responses (RFC 9112 §4, §5, §6) as they come, in pieces of any size. Interim responses (1xx but
/// 101) are read over, so many and no more.
#[derive(Clone, Debug)]
pub struct ResponseDecoder {
    _limits: HeadLimits,
}

impl ResponseDecoder {
    /// A decoder at the beginning of a connection.
    #[must_use]
    pub fn new(limits: HeadLimits) -> Self {
        Self { _limits: limits }
    }

    /// Takes the next head off the front of `buf`; `None` when it is not complete yet.
    ///
    /// # Errors
    /// As soon as what has come can be no acceptable head. The decoder must not be used again.
    pub fn decode(&mut self, _buf: &mut BytesMut, _asked: Asked) -> Result<Option<Response>, Refusal> {
        Ok(None)
    }
}
