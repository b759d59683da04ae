//! Adapter: both halves of an HTTP/2 stream as one byte stream, for tunnels.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::h2_account::Account;

/// Bytes that are taken of one write: a frame.
const WRITE_MAX: usize = 16 * 1024;

/// A stream of an HTTP/2 connection as bytes both ways. An END_STREAM from the peer is the end of what can be read; a
/// shutdown sends ours. Dropped without one, the stream is reset with CANCEL (RFC 8441 §5).
pub(super) struct Duplex {
    send: SendStream<Bytes>,
    receive: RecvStream,
    /// Of a client: what it is sent lets it tell that it has taken it.
    account: Option<Rc<Account>>,
    /// Come, and not read yet.
    ahead: Bytes,
    /// The peer's side has ended.
    read_over: bool,
    /// Our side has ended.
    shut: bool,
}

impl Duplex {
    /// The stream whose head has passed both ways.
    pub(super) const fn new(send: SendStream<Bytes>, receive: RecvStream) -> Self {
        Self {
            send,
            receive,
            account: None,
            ahead: Bytes::new(),
            read_over: false,
            shut: false,
        }
    }

    /// The same, where what is sent earns points for the connection.
    pub(super) fn earning(mut self, account: &Rc<Account>) -> Self {
        self.account = Some(Rc::clone(account));
        self
    }
}

impl AsyncRead for Duplex {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.ahead.is_empty() {
            if this.read_over {
                return Poll::Ready(Ok(()));
            }
            match ready!(this.receive.poll_data(cx)) {
                Some(Ok(data)) => this.ahead = data,
                Some(Err(error)) => return Poll::Ready(Err(broken(&error))),
                // Trailers have no place in a tunnel (RFC 9113 §8.5): they end it like an empty frame.
                None => this.read_over = true,
            }
        }
        let n = this.ahead.len().min(buf.remaining());
        buf.put_slice(&this.ahead[..n]);
        this.ahead.advance(n);
        // A stream that was reset meanwhile has given its windows back already.
        let _ = this.receive.flow_control().release_capacity(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Duplex {
    /// Takes what the peer's windows and the engine's buffer have room for.
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if this.shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let wanted = buf.len().min(WRITE_MAX);
        this.send.reserve_capacity(wanted);
        loop {
            // Asked first: waiting is for an increase, not for what there is.
            let room = this.send.capacity().min(wanted);
            if room > 0 {
                let sent = this.send.send_data(Bytes::copy_from_slice(&buf[..room]), false);
                if let Some(account) = &this.account {
                    account.earn_frame(room);
                }
                return Poll::Ready(sent.map(|()| room).map_err(|error| broken(&error)));
            }
            match ready!(this.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(&error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
    }

    /// The engine sends by itself.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::replace(&mut self.shut, true) {
            return Poll::Ready(Ok(()));
        }
        let ended = self.send.send_data(Bytes::new(), true);
        Poll::Ready(ended.map_err(|error| broken(&error)))
    }
}

/// What the end of a stream is to whoever takes it for a socket.
fn broken(error: &h2::Error) -> io::Error {
    let kind = match error.reason() {
        Some(Reason::NO_ERROR) => io::ErrorKind::BrokenPipe,
        Some(_) => io::ErrorKind::ConnectionReset,
        None => return io::Error::from(error.get_io().map_or(io::ErrorKind::BrokenPipe, io::Error::kind)),
    };
    io::Error::from(kind)
}

#[cfg(test)]
mod tests {
    use super::Duplex;
    use bytes::Bytes;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// A stream's two ends, and what drives them.
    async fn stream() -> (Duplex, Duplex) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (client, server) = tokio::join!(
            h2::client::Builder::new().handshake::<_, Bytes>(ours),
            h2::server::Builder::new().handshake::<_, Bytes>(theirs)
        );
        let ((mut client, driver), mut server) = (client.unwrap(), server.unwrap());
        tokio::spawn(driver);
        let (answer, send) = client
            .send_request(http::Request::post("http://h/").body(()).unwrap(), false)
            .unwrap();
        let (request, mut respond) = server.accept().await.unwrap().unwrap();
        let responding = respond.send_response(http::Response::new(()), false).unwrap();
        tokio::spawn(async move { while server.accept().await.is_some() {} });
        let receive = answer.await.unwrap().into_body();
        (Duplex::new(send, receive), Duplex::new(responding, request.into_body()))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn more_than_every_window_passes_both_ways() {
        let (mut near, mut far) = stream().await;
        let sent: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
        let echo = async {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            far.write_all(&all).await.unwrap();
            far.shutdown().await.unwrap();
        };
        let talk = async {
            near.write_all(&sent).await.unwrap();
            near.shutdown().await.unwrap();
            near.shutdown().await.unwrap();
            let mut all = Vec::new();
            near.read_to_end(&mut all).await.unwrap();
            all
        };
        let ((), all) = tokio::join!(echo, talk);
        assert_eq!(all, sent);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_end_that_was_not_said_is_a_break() {
        let (near, mut far) = stream().await;
        drop(near);
        let error = far.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        // The engine closes its own half with the stream.
        assert!(far.write_all(b"x").await.is_err());
    }
}
