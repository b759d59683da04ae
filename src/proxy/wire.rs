//! A client's connection in HTTP/1 as bytes: what was read and not taken, what is still to be written, and whether
//! a byte of the present answer has gone out.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWrite as _;

use super::buffers::{LARGE, ROOM_MIN, SMALL};
use super::stream::Stream;
use crate::h1::{BodyDecoder, Framing};

/// Both directions of the connection, and what is buffered of them.
pub(super) struct Wire {
    /// `None` once the conversation has ended.
    pub(super) stream: Option<Stream>,
    /// Read, and not taken.
    pub(super) input: BytesMut,
    /// To be written, from `written` on.
    pub(super) output: Vec<u8>,
    written: usize,
    /// Of the present request.
    pub(super) body: BodyDecoder,
    /// The client waits for 100 (Continue) before it sends the body (RFC 9110 §10.1.1).
    pub(super) continue_due: bool,
    /// The answer to the present request is being written.
    pub(super) answering: bool,
    /// A byte of the output has been handed to the stream since the answer was begun, or stood in it half written.
    begun: bool,
}

impl Wire {
    /// The wire of a conversation that begins: `input` was read already, `output` is an empty buffer.
    pub(super) fn new(stream: Stream, input: BytesMut, output: Vec<u8>) -> Self {
        Self {
            stream: Some(stream),
            input,
            output,
            written: 0,
            body: BodyDecoder::new(Framing::Empty),
            continue_due: false,
            answering: false,
            begun: false,
        }
    }

    /// Reads what there is room for; 0 at the end of the stream.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Ok(0));
        };
        if self.input.capacity() - self.input.len() < ROOM_MIN {
            // What was read last may still be in use: no room is made for bytes that do not come.
            ready!(stream.poll_readable(cx))?;
            let large = self.body.remaining().is_some_and(|left| left >= LARGE as u64);
            self.input.reserve(if large { LARGE } else { SMALL });
        }
        tokio_util::io::poll_read_buf(Pin::new(stream), cx, &mut self.input)
    }

    /// Writes the output, then `more`, from which what was written is taken.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, more: &mut Bytes) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let mut stream = Pin::new(stream);
        while self.written < self.output.len() || !more.is_empty() {
            let head = &self.output[self.written..];
            let n = if more.is_empty() {
                ready!(stream.as_mut().poll_write(cx, head))?
            } else if head.is_empty() {
                ready!(stream.as_mut().poll_write(cx, more))?
            } else {
                let both = [io::IoSlice::new(head), io::IoSlice::new(more)];
                ready!(stream.as_mut().poll_write_vectored(cx, &both))?
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.begun = true;
            let of_head = n.min(head.len());
            self.written += of_head;
            bytes::Buf::advance(more, n - of_head);
        }
        self.output.clear();
        self.written = 0;
        stream.poll_flush(cx)
    }

    /// Writes the output.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.output.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.poll_write(cx, &mut Bytes::new())
    }

    /// Bytes of the output that are still to be written.
    pub(super) fn unwritten(&self) -> usize {
        self.output.len() - self.written
    }

    /// An answer follows. Where it does, no 100 is due any more: behind its head there is no place for one.
    pub(super) fn begin_answer(&mut self) {
        (self.answering, self.continue_due) = (true, false);
        self.begun = self.written > 0;
    }

    /// Takes the beginning of an answer back, if not one byte of it has gone out; `false` if it is too late.
    pub(super) fn take_back(&mut self) -> bool {
        if !self.begun {
            self.output.clear();
        }
        !self.begun
    }

    /// Has the end of the connection look like the break that it is: to a client who reads until then, an
    /// orderly end would look whole.
    pub(super) fn reset_on_close(&self) {
        if let Some(stream) = &self.stream {
            stream.reset_on_close();
        }
    }
}
