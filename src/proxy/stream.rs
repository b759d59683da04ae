//! A client's byte stream: clear or TLS, with bytes that were read ahead given back first.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::io::poll_read_buf;

use super::buffers::Buffers;

/// A client's byte stream.
pub(super) struct Stream {
    /// Read ahead; comes first.
    ahead: Bytes,
    inner: Inner,
}

enum Inner {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(super) const fn clear(tcp: TcpStream) -> Self {
        Self {
            ahead: Bytes::new(),
            inner: Inner::Clear(tcp),
        }
    }

    pub(super) fn tls(tls: TlsStream<TcpStream>) -> Self {
        Self {
            ahead: Bytes::new(),
            inner: Inner::Tls(Box::new(tls)),
        }
    }

    /// Whether it is encrypted.
    pub(super) const fn is_tls(&self) -> bool {
        matches!(self.inner, Inner::Tls(_))
    }

    /// Has the end of the connection look like a break.
    pub(super) fn reset_on_close(&self) {
        // Encrypted streams end with a farewell, whose absence shows.
        if let Inner::Clear(tcp) = &self.inner {
            let _ = socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO)); // or it just ends
        }
    }

    /// Ready when there may be something to read.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.inner {
            Inner::Clear(tcp) if self.ahead.is_empty() => tcp.poll_read_ready(cx),
            Inner::Clear(_) | Inner::Tls(_) => Poll::Ready(Ok(())),
        }
    }

    /// Waits for bytes and reads them into a buffer of the worker's, which is taken only when they have come;
    /// an empty one at the end of the stream.
    pub(super) async fn first_bytes(&mut self, buffers: &RefCell<Buffers>) -> io::Result<BytesMut> {
        if !self.ahead.is_empty() {
            let mut first = buffers.borrow_mut().input();
            first.extend_from_slice(&std::mem::take(&mut self.ahead));
            return Ok(first);
        }
        match &mut self.inner {
            Inner::Clear(tcp) => {
                poll_fn(|cx| {
                    // No more than a hint: a fresh socket counts as readable until it is asked.
                    ready!(tcp.poll_read_ready(cx))?;
                    let mut first = buffers.borrow_mut().input();
                    match poll_read_buf(Pin::new(&mut *tcp), cx, &mut first) {
                        Poll::Ready(Ok(_)) => Poll::Ready(Ok(first)),
                        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                        Poll::Pending => {
                            buffers.borrow_mut().give_input(first);
                            Poll::Pending
                        }
                    }
                })
                .await
            }
            Inner::Tls(tls) => {
                // What the socket shows may be no more than a part of a record.
                let mut few = [0; 32];
                let n = tls.read(&mut few).await?;
                let mut first = buffers.borrow_mut().input();
                first.extend_from_slice(&few[..n]);
                Ok(first)
            }
        }
    }

    /// Gives bytes back that were read but not used.
    pub(super) fn unread(&mut self, bytes: Bytes) {
        if self.ahead.is_empty() {
            self.ahead = bytes;
        } else if !bytes.is_empty() {
            self.ahead = [bytes, std::mem::take(&mut self.ahead)].concat().into();
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let n = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..n]);
            self.ahead.advance(n);
            return Poll::Ready(Ok(()));
        }
        match &mut self.inner {
            Inner::Clear(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Inner::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Inner::Clear(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Inner::Tls(tls) => Pin::new(tls.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Inner::Clear(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Inner::Tls(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Clear(tcp) => Pin::new(tcp).poll_flush(cx),
            Inner::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Clear(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Inner::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
        }
    }
}
