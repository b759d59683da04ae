//! Adapter: the body of an HTTP/2 message as it comes on its stream, in frames of the seam; either side's.
//!
//! What has been handed on is given back to the peer's windows at once: what waits here is never more than a window.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::body::{Broken, Frame, Length};
use crate::h1::is_forbidden_trailer;
use crate::head::{Fields, HeadBuilder, Version};

/// The body of a message as it comes on its stream.
pub(super) struct StreamBody {
    stream: RecvStream,
    /// What its `content-length` says is still to come. The engine holds the peer to it (RFC 9113 §8.1.1).
    declared: Option<u64>,
    /// The data is over: only trailers can follow.
    data_over: bool,
    /// Nothing more comes.
    ended: bool,
    reset: Option<Reason>,
}

impl StreamBody {
    /// The body that comes on `stream`; `declared` is what the head says of its length.
    pub(super) const fn new(stream: RecvStream, declared: Option<u64>) -> Self {
        Self {
            stream,
            declared,
            data_over: false,
            ended: false,
            reset: None,
        }
    }

    /// The next part. Frames without data are passed over.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Broken>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        while !self.data_over {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.take(data.len());
                    return Poll::Ready(Some(Ok(Frame::Data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(self.broke(&error)))),
                None => self.data_over = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx));
        self.ended = true;
        Poll::Ready(match trailers {
            Ok(Some(map)) if !map.iter().all(|(name, value)| is_name(name) && is_value(value)) => Some(Err(Broken)),
            Ok(Some(map)) if !map.is_empty() => Some(Ok(Frame::Trailers(Box::new(to_fields(&map))))),
            Ok(_) => None,
            Err(error) => Some(Err(self.broke(&error))),
        })
    }

    /// Whether nothing more comes.
    pub(super) fn is_end(&self) -> bool {
        self.ended || self.stream.is_end_stream()
    }

    /// What is still to come.
    pub(super) fn length(&self) -> Length {
        match self.declared {
            _ if self.is_end() => Length::Empty,
            Some(n) => Length::Known(n),
            None => Length::Unknown,
        }
    }

    /// The code with which the peer (or the engine, for a breach of the protocol) ended the stream or the
    /// connection under it; `None` while it lives, at its good end, and where the socket just broke.
    pub(super) const fn reset(&self) -> Option<Reason> {
        self.reset
    }

    /// Gives `n` bytes that are handed on back to the windows.
    fn take(&mut self, n: usize) {
        if let Some(declared) = &mut self.declared {
            *declared = declared.saturating_sub(n as u64);
        }
        // It refuses no more than has come; a stream that was reset has given everything back already.
        let _ = self.stream.flow_control().release_capacity(n);
    }

    fn broke(&mut self, error: &h2::Error) -> Broken {
        self.ended = true;
        self.reset = error.reason();
        Broken
    }
}

/// Whether `name` is a token (RFC 9110 §5.1). The engine takes each of them for one, but lets a quotation mark pass,
/// which HTTP/1.1 has no place for.
pub(super) fn is_name(name: &HeaderName) -> bool {
    !name.as_str().as_bytes().contains(&b'"')
}

/// Whether `value` neither begins nor ends with white space (RFC 9113 §8.2.1). The engine lets it pass.
fn is_value(value: &HeaderValue) -> bool {
    !matches!(value.as_bytes(), [b' ' | b'\t', ..] | [.., b' ' | b'\t'])
}

/// Fields of the engine as ours; names are in lower case, values without CR, LF and NUL already.
pub(super) fn to_fields(map: &HeaderMap) -> Fields {
    let bytes = map.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let mut head = HeadBuilder::with_capacity(bytes);
    for (name, value) in map {
        head.field(name.as_str().as_bytes(), value.as_bytes());
    }
    head.response(200, Version::Http2).fields
}

/// Our trailer fields as the engine's, without those that trailers must not hold (RFC 9110 §6.5.1).
pub(super) fn to_trailers(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields.iter() {
        if !is_forbidden_trailer(name) {
            append(&mut map, name, fields.share(value));
        }
    }
    map
}

/// Adds a field; one that the engine takes for none is left out.
pub(super) fn append(map: &mut HeaderMap, name: &[u8], value: Bytes) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_maybe_shared(value)) {
        map.append(name, value);
    }
}
