//! A client's byte stream under the HTTP/2 engine: it notes since when the client takes no bytes or leaves a head
//! unfinished, and what its frames cost.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::ConnectionClock;
use super::h2_account::Account;
use super::h2_frames::Frames;
use super::stream::Stream;
use super::worker::Worker;

/// A client's stream that keeps the connection's clock and its account.
pub(super) struct ClientIo {
    stream: Stream,
    worker: Rc<Worker>,
    clock: Rc<ConnectionClock>,
    account: Rc<Account>,
    frames: Frames,
}

impl ClientIo {
    /// The stream at its first byte.
    pub(super) fn new(stream: Stream, worker: &Rc<Worker>, clock: &Rc<ConnectionClock>, account: &Rc<Account>) -> Self {
        Self {
            stream,
            worker: Rc::clone(worker),
            clock: Rc::clone(clock),
            account: Rc::clone(account),
            frames: Frames::new(),
        }
    }

    /// The stream itself, for what comes after HTTP/2.
    pub(super) fn into_stream(self) -> Stream {
        self.stream
    }
}

impl AsyncRead for ClientIo {
    /// Pending for good once the connection is over: what such a client sends is not even read. What came before the
    /// frame that ended it is still passed on.
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.account.over().is_some() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        match this.frames.pass(&buf.filled()[before..]) {
            Ok(0) => {}
            Ok(cost) => this.account.charge(cost, || this.worker.now_us()),
            Err(breach) => {
                this.account.end(breach.reason);
                buf.set_filled(before + breach.sound);
                if breach.sound == 0 {
                    // Nothing read would be the end of the stream.
                    return Poll::Pending;
                }
            }
        }
        if this.frames.is_in_head() {
            this.clock.head_waits(|| this.worker.now_us());
        } else {
            this.clock.head_is_whole();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        match &result {
            Poll::Pending => self.clock.blocked(|| self.worker.now_us()),
            Poll::Ready(_) => self.clock.unblocked(),
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
