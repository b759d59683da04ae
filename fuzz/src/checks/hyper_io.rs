//! Connections to hyper that are made of bytes, and a loop that drives it without a runtime: nothing ever waits.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use hyper::rt::{Read, ReadBufCursor, Write};

/// A peer that sends bytes and then no more, and takes whatever comes.
pub(super) struct Peer<'a> {
    unsent: &'a [u8],
    /// Set when bytes have come; a peer that answers waits for them.
    spoken_to: Rc<Cell<bool>>,
    waiting: Option<Waker>,
}

impl<'a> Peer<'a> {
    /// One that sends at once, as a client does.
    pub(super) fn asking(bytes: &'a [u8]) -> Self {
        Self {
            unsent: bytes,
            spoken_to: Rc::new(Cell::new(true)),
            waiting: None,
        }
    }

    /// One that sends once it has been spoken to.
    pub(super) fn answering(bytes: &'a [u8]) -> Self {
        Self {
            spoken_to: Rc::default(),
            ..Self::asking(bytes)
        }
    }
}

impl Read for Peer<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut room: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if !self.spoken_to.get() {
            self.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let (sent, unsent) = self.unsent.split_at(self.unsent.len().min(room.remaining()));
        room.put_slice(sent);
        self.unsent = unsent;
        Poll::Ready(Ok(()))
    }
}

impl Write for Peer<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.spoken_to.set(true);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Runs a future to its end.
///
/// # Panics
/// When it waits for what nobody will do.
pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    while woken.0.swap(false, Ordering::Relaxed) {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
    panic!("hyper waits for ever");
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
