//! Bytes to an HTTP/2 client, gathered over the frames of one turn and sent with one system call.
//!
//! The HTTP/2 engine writes and flushes frame by frame. Here a write only gathers; the owner of the
//! connection sends what has come together when the engine has nothing more to do.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Gathered bytes that are sent before more are taken.
const GATHERED_MAX: usize = 64 * 1024;

/// Room that is kept for the next turn.
const KEPT_MAX: usize = 16 * 1024;

/// The engine's end of a stream.
pub(super) struct Gathering<S>(Rc<RefCell<Gathered<S>>>);

/// The owner's end: sends what was gathered.
pub(super) struct Sender<S>(Rc<RefCell<Gathered<S>>>);

struct Gathered<S> {
    stream: S,
    out: BytesMut,
}

/// Both ends of `stream`.
pub(super) fn gather<S>(stream: S) -> (Gathering<S>, Sender<S>) {
    let shared = Rc::new(RefCell::new(Gathered {
        stream,
        out: BytesMut::new(),
    }));
    (Gathering(Rc::clone(&shared)), Sender(shared))
}

impl<S: AsyncWrite + Unpin> Sender<S> {
    /// Sends what was gathered. Called after each turn of the engine; an error is left for the
    /// engine to meet.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_send(cx)
    }

    /// The stream, once the engine has been dropped.
    pub(super) fn into_stream(self) -> Option<S> {
        Rc::into_inner(self.0).map(|gathered| gathered.into_inner().stream)
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.out.advance(n),
            }
        }
        if self.out.capacity() > KEPT_MAX {
            self.out = BytesMut::new();
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathering<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathering<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let gathered = &mut *self.0.borrow_mut();
        if gathered.out.len() >= GATHERED_MAX {
            ready!(gathered.poll_send(cx))?;
        }
        gathered.out.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    /// Left to the owner, at the end of the turn.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Left to the owner, like the rest.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::gather;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test(flavor = "current_thread")]
    async fn frames_of_a_turn_go_out_together_and_in_order() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let (mut engine, sender) = gather(ours);
        engine.write_all(b"one ").await.unwrap();
        engine.flush().await.unwrap();
        engine.write_all(b"two").await.unwrap();
        std::future::poll_fn(|cx| sender.poll_send(cx)).await.unwrap();
        let mut got = [0; 64];
        let n = theirs.read(&mut got).await.unwrap();
        assert_eq!(&got[..n], b"one two");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_client_that_does_not_read_stops_the_engine() {
        let (ours, _theirs) = tokio::io::duplex(1024);
        let (mut engine, _sender) = gather(ours);
        let chunk = [0; 16 * 1024];
        let mut taken = 0;
        while let Some(Ok(n)) = futures_util::FutureExt::now_or_never(engine.write(&chunk)) {
            taken += n;
            assert!(taken < 1 << 20, "it takes everything");
        }
        assert!(taken >= 64 * 1024);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_end_leaves_what_is_left_to_the_owner() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let (mut engine, sender) = gather(ours);
        engine.write_all(b"goodbye").await.unwrap();
        engine.shutdown().await.unwrap();
        drop(engine);
        std::future::poll_fn(|cx| sender.poll_send(cx)).await.unwrap();
        drop(sender.into_stream());
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"goodbye");
    }
}
