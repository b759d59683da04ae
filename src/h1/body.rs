//! Bodies from bytes (RFC 9112 §6 and §7).

use bytes::{Bytes, BytesMut};

use super::refusal::Refusal;
use crate::head::Fields;

/// How a body is delimited (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// So many bytes, at least one.
    Length(u64),
    /// In chunks.
    Chunked,
    /// Until the end of the connection; responses only.
    Close,
}

/// A part of a body.
#[derive(Clone, Debug)]
pub enum Part {
    /// Bytes of the content, at least one.
    Data(Bytes),
    /// The trailer fields of a chunked body that has some; nothing follows.
    Trailers(Box<Fields>),
}

/// Reads one body, as it comes, in pieces of any size.
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    _framing: Framing,
}

impl BodyDecoder {
    /// A decoder at the beginning of a body.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self { _framing: framing }
    }

    /// Takes the next part off the front of `buf`. `None`: more bytes are wanted, or the body is over.
    ///
    /// # Errors
    /// When the framing is broken. The decoder must not be used again.
    pub fn decode(&mut self, _buf: &mut BytesMut) -> Result<Option<Part>, Refusal> {
        Ok(None)
    }

    /// Whether all of the body has been taken: what follows in the buffer belongs to another message.
    #[must_use]
    pub fn is_done(&self) -> bool {
        false
    }

    /// The stream has ended, and all that came has been taken.
    ///
    /// # Errors
    /// When the body is not complete. One until the end of the connection then is.
    pub fn end(&mut self) -> Result<(), Refusal> {
        Err(Refusal::Truncated)
    }

    /// How many bytes of content are still to come, where that is known.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        None
    }
}
