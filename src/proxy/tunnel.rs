//! Bytes both ways after a switch of protocols, until either side ends or falls silent.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};
use tokio_util::io::poll_read_buf;

use super::buffers::Buffers;
use super::fault::Fault;
use super::forward::{BackendBody, Far};
use super::worker::Worker;

/// How long a tunnel may be silent in both directions, unless its route says so (`bodyTimeout`): a hundred times the
/// idle timeout of a connection between two requests, because WebSockets are quiet by nature.
const PATIENCE: u32 = 100;

/// Counts a tunnel, from when it is asked for until it is over.
pub(super) struct Tunnel {
    worker: Rc<Worker>,
}

impl Tunnel {
    /// One more, of at most `most` in the whole process. Tunnels asked for by several workers at the same instant may
    /// exceed that by their number less one.
    ///
    /// # Errors
    /// [`Fault::TooManyUpgrades`].
    pub(super) fn begin(worker: &Rc<Worker>, most: u32) -> Result<Self, Fault> {
        if worker.tunnels() >= u64::from(most) {
            return Err(Fault::TooManyUpgrades);
        }
        worker.cells().tunnel(1);
        Ok(Self {
            worker: Rc::clone(worker),
        })
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.worker.cells().tunnel(-1);
    }
}

/// Passes bytes until both sides have ended, or we end it. However it ends, the backend has done its part. A drain is no
/// end: tunnels have as long as other answers have, and then they end with the process. A WebSocket's close is for its
/// two ends to say.
pub(super) async fn run(
    worker: &Rc<Worker>,
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    body: BackendBody,
    idle: Duration,
) {
    let Some((far, ahead, ledger, _counted)) = body.into_tunnel() else {
        return;
    };
    let patience = ledger.body_timeout().unwrap_or(idle * PATIENCE);
    let passed = async {
        // What counts the connection or holds the place on it is kept until the end.
        match far {
            Far::Http1(mut socket, _counted) => {
                pass(&mut client, &mut socket, ahead, patience, &worker.buffers).await;
            }
            Far::Http2(mut stream, _open) => pass(&mut client, &mut stream, ahead, patience, &worker.buffers).await,
        }
    };
    tokio::select! {
        () = passed => ledger.complete(None),
        // Nobody else is late in a tunnel: the variant was taken out of service, or its route gives it no more time.
        late = poll_fn(|cx| ledger.poll_late(cx)) => ledger.blame_late(late),
    }
}

async fn pass(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    backend: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ahead: Bytes,
    patience: Duration,
    buffers: &RefCell<Buffers>,
) {
    let heard = Cell::new(Instant::now());
    let mut up = Way::default();
    let mut down = Way {
        ahead,
        ..Way::default()
    };
    // Each way on its own: a side that does not read must not keep us from reading the other.
    let both = poll_fn(|cx| {
        let up = up.poll(cx, &mut *client, &mut *backend, buffers, &heard)?;
        let down = down.poll(cx, &mut *backend, &mut *client, buffers, &heard)?;
        if up.is_ready() && down.is_ready() {
            Poll::Ready(io::Result::Ok(()))
        } else {
            Poll::Pending
        }
    });
    let silence = async {
        while heard.get().elapsed() < patience {
            sleep_until(heard.get() + patience).await;
        }
    };
    tokio::select! {
        // How it broke is for nobody to know: the other side sees that it did.
        _ = both => {}
        () = silence => {}
    }
    for way in [up, down] {
        buffers.borrow_mut().give_output(way.bytes);
    }
}

/// Bytes on their way from one side to the other.
#[derive(Default)]
struct Way {
    /// Goes out first.
    ahead: Bytes,
    /// Read, and gone out up to `gone`. Of the worker's, and held only while there are some.
    bytes: Vec<u8>,
    gone: usize,
    stage: Flow,
    /// Encrypted, what was taken may not have been sent.
    unflushed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Flow {
    #[default]
    Open,
    /// There is no more to read.
    Ended,
    /// The other side knows.
    Over,
}

impl Way {
    /// Passes on what there is. Ready when `from` has ended and `to` knows.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        buffers: &RefCell<Buffers>,
        heard: &Cell<Instant>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.ahead.is_empty() || self.gone < self.bytes.len() {
                ready!(self.poll_write(cx, to))?;
                heard.set(Instant::now());
                continue;
            }
            match self.stage {
                Flow::Open => {}
                Flow::Ended => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.stage = Flow::Over;
                    return Poll::Ready(Ok(()));
                }
                Flow::Over => return Poll::Ready(Ok(())),
            }
            self.bytes.clear();
            self.gone = 0;
            if self.bytes.capacity() == 0 {
                self.bytes = buffers.borrow_mut().output();
            }
            match poll_read_buf(Pin::new(&mut *from), cx, &mut self.bytes) {
                Poll::Ready(Ok(0)) => self.stage = Flow::Ended,
                Poll::Ready(Ok(_)) => heard.set(Instant::now()),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    // Who waits holds no memory.
                    buffers.borrow_mut().give_output(std::mem::take(&mut self.bytes));
                    if self.unflushed {
                        ready!(Pin::new(&mut *to).poll_flush(cx))?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, to: &mut (impl AsyncWrite + Unpin)) -> Poll<io::Result<()>> {
        let due = if self.ahead.is_empty() {
            &self.bytes[self.gone..]
        } else {
            &self.ahead
        };
        let n = ready!(Pin::new(to).poll_write(cx, due))?;
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.unflushed = true;
        if self.ahead.is_empty() {
            self.gone += n;
        } else {
            self.ahead.advance(n);
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::pass;
    use crate::proxy::buffers::Buffers;

    /// Two ends of a tunnel, and what passes bytes between them.
    async fn tunnel(ahead: &'static [u8], play: impl AsyncFnOnce(DuplexStream, DuplexStream), patience: Duration) {
        let ((client, mut near), (backend, mut far)) = (duplex(1000), duplex(1000));
        let buffers = RefCell::<Buffers>::default();
        tokio::join!(play(client, backend), async move {
            pass(&mut near, &mut far, Bytes::from_static(ahead), patience, &buffers).await;
        });
    }

    #[tokio::test(start_paused = true)]
    async fn each_way_ends_on_its_own() {
        let play = async |mut client: DuplexStream, mut backend: DuplexStream| {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut all = Vec::new();
            backend.read_to_end(&mut all).await.unwrap();
            assert_eq!(all, b"question");
            // More than fits into any buffer on the way.
            let answer = vec![b'x'; 100_000];
            let reading = async {
                let mut all = Vec::new();
                client.read_to_end(&mut all).await.unwrap();
                all
            };
            let writing = async {
                backend.write_all(&answer).await.unwrap();
                backend.shutdown().await.unwrap();
            };
            let (all, ()) = tokio::join!(reading, writing);
            assert!(all.starts_with(b"ahead") && all[5..] == answer);
        };
        tunnel(b"ahead", play, Duration::from_secs(60)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn silence_in_both_directions_ends_it_and_a_word_in_one_does_not() {
        let play = async |mut client: DuplexStream, mut backend: DuplexStream| {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(40)).await;
                client.write_all(b"x").await.unwrap();
                assert_eq!(backend.read_u8().await.unwrap(), b'x');
            }
            let silent = tokio::time::Instant::now();
            assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
            assert_eq!(silent.elapsed().as_secs(), 60);
        };
        tunnel(b"", play, Duration::from_secs(60)).await;
    }
}
