//! Bodies from bytes (RFC 9112 §6 and §7).

use bytes::{Bytes, BytesMut};

use super::chunked::ChunkedDecoder;
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

/// Reads one body, as it comes, in pieces of any size. What it gives out shares the memory of what came in.
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// So many bytes are to come; 0 when all has come.
    Length(u64),
    Chunked(ChunkedDecoder),
    Close,
}

impl BodyDecoder {
    /// A decoder at the beginning of a body.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Empty => State::Length(0),
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(ChunkedDecoder::default()),
            Framing::Close => State::Close,
        };
        Self { state }
    }

    /// Takes the next part off the front of `buf`. `None`: more bytes are wanted, or the body is over.
    ///
    /// # Errors
    /// When the framing is broken. The decoder must not be used again.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Part>, Refusal> {
        match &mut self.state {
            State::Length(left) => Ok(take_up_to(buf, left).map(Part::Data)),
            State::Chunked(chunked) => chunked.decode(buf),
            State::Close if buf.is_empty() => Ok(None),
            State::Close => Ok(Some(Part::Data(buf.split().freeze()))),
        }
    }

    /// Whether all of the body has been taken: what follows in the buffer belongs to another message.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match &self.state {
            State::Length(left) => *left == 0,
            State::Chunked(chunked) => chunked.is_done(),
            State::Close => false,
        }
    }

    /// The stream has ended, and all that came has been taken.
    ///
    /// # Errors
    /// When the body is not complete. One until the end of the connection then is.
    pub fn end(&mut self) -> Result<(), Refusal> {
        if matches!(self.state, State::Close) {
            self.state = State::Length(0);
        }
        if self.is_done() {
            Ok(())
        } else {
            Err(Refusal::Truncated)
        }
    }

    /// How many bytes of content are still to come, where that is known.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        match &self.state {
            State::Length(left) => Some(*left),
            State::Chunked(chunked) => chunked.is_done().then_some(0),
            State::Close => None,
        }
    }
}

/// Takes what has come of the next `left` bytes, and counts them off.
pub(super) fn take_up_to(buf: &mut BytesMut, left: &mut u64) -> Option<Bytes> {
    let len = usize::try_from(*left).map_or(buf.len(), |left| left.min(buf.len()));
    if len == 0 {
        return None;
    }
    *left -= len as u64;
    Some(buf.split_to(len).freeze())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::{BodyDecoder, Framing, Part, Refusal};

    /// The content, what is left in the buffer, whether the body is done and how much is to come; then what the end of
    /// the stream means.
    #[track_caller]
    fn check(framing: Framing, input: &str, expected: (&str, &str, bool, Option<u64>), end: Result<(), Refusal>) {
        let (mut decoder, mut buf, mut content) = (BodyDecoder::new(framing), BytesMut::from(input), Vec::new());
        while let Some(part) = decoder.decode(&mut buf).expect("good") {
            match part {
                Part::Data(data) => content.extend_from_slice(&data),
                Part::Trailers(_) => {}
            }
        }
        let (content, left) = (String::from_utf8_lossy(&content), String::from_utf8_lossy(&buf));
        assert_eq!((&*content, &*left, decoder.is_done(), decoder.remaining()), expected);
        assert_eq!(decoder.end(), end);
    }

    #[test]
    fn bodies_end_where_their_framing_says() {
        check(Framing::Empty, "abc", ("", "abc", true, Some(0)), Ok(()));
        check(Framing::Length(3), "abcd", ("abc", "d", true, Some(0)), Ok(()));
        check(
            Framing::Chunked,
            "1\r\na\r\n0\r\n\r\nb",
            ("a", "b", true, Some(0)),
            Ok(()),
        );
        check(Framing::Close, "abc", ("abc", "", false, None), Ok(()));
    }

    #[test]
    fn truncated_bodies_are_seen() {
        check(
            Framing::Length(3),
            "ab",
            ("ab", "", false, Some(1)),
            Err(Refusal::Truncated),
        );
        check(
            Framing::Length(3),
            "",
            ("", "", false, Some(3)),
            Err(Refusal::Truncated),
        );
        check(
            Framing::Chunked,
            "1\r\na\r\n0\r\n",
            ("a", "", false, None),
            Err(Refusal::Truncated),
        );
        check(Framing::Chunked, "", ("", "", false, None), Err(Refusal::Truncated));
    }
}
