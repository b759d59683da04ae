//! A client's byte stream under an engine: it keeps the connection's clock, and takes the engine's own
//! bare refusals of bad heads out of the stream, because ours are problem documents.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{ConnectionClock, Phase};
use super::fault::Fault;
use super::stream::Stream;
use super::worker::Worker;

/// A client's stream that keeps the connection's clock, and takes hyper's own bare refusals of bad
/// heads out of the stream: ours are problem documents.
pub(super) struct ClientIo {
    pub(super) stream: Stream,
    pub(super) worker: Rc<Worker>,
    pub(super) clock: Rc<ConnectionClock>,
    /// HTTP/2 refuses in frames, and reads bytes that begin no request.
    pub(super) http1: bool,
    pub(super) refusal: Option<Fault>,
    /// End of stream, or an error.
    pub(super) ended: bool,
}

impl AsyncRead for ClientIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        match &result {
            Poll::Ready(Ok(())) if buf.filled().len() > before => {
                if self.http1 && self.clock.is_flushed() && self.clock.phase() == Phase::Idle {
                    self.clock.enter(Phase::Head, self.worker.recent_us());
                }
            }
            Poll::Ready(_) => self.ended = true,
            Poll::Pending => {}
        }
        result
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        // Nothing has been asked yet, and nothing is owed: this is the engine's own refusal.
        if self.http1 && !self.clock.owes() && (self.clock.is_flushed() || self.refusal.is_some()) {
            if let Some(fault) = refusal(buf) {
                self.refusal = Some(fault);
            }
            if self.refusal.is_some() {
                return Poll::Ready(Ok(buf.len()));
            }
        }
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        match &result {
            Poll::Pending => self.clock.blocked(|| self.worker.now_us()),
            Poll::Ready(Err(_)) => self.ended = true,
            Poll::Ready(Ok(_)) => self.clock.unblocked(),
        }
        self.clock.set_flushed(false);
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.clock.set_flushed(result.is_ready());
        result
    }

    /// Left to the connection's owner, who lingers.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What the engine refuses with a bare answer of its own.
fn refusal(answer: &[u8]) -> Option<Fault> {
    match answer.get(..13)? {
        b"HTTP/1.1 400 " | b"HTTP/1.0 400 " => Some(Fault::BadRequest("this is no valid HTTP request")),
        b"HTTP/1.1 414 " | b"HTTP/1.0 414 " => Some(Fault::UriTooLong),
        b"HTTP/1.1 431 " | b"HTTP/1.0 431 " => Some(Fault::HeadTooLarge),
        b"HTTP/1.1 405 " | b"HTTP/1.0 405 " => Some(Fault::MethodNotAllowed),
        _ => None,
    }
}
