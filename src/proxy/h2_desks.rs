//! Tasks that serve the streams of one HTTP/2 connection, each one stream after the other: what a stream needs is
//! allocated for the first, and used again by the next.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;

use super::h2_stream::{self, OpenStream};

/// Free tasks that one connection keeps: 4 KiB each.
const FREE_MAX: usize = 32;

/// A stream to serve.
type Job = (OpenStream, Request<RecvStream>, SendResponse<Bytes>);

/// The tasks of one connection that have nothing to do. Dropping it ends them; those that serve a stream end with it.
#[derive(Default)]
pub(super) struct Desks(Rc<Free>);

#[derive(Default)]
struct Free {
    desks: RefCell<Vec<Rc<Desk>>>,
    /// No more streams will come.
    closed: Cell<bool>,
}

/// Where one task finds its next stream.
#[derive(Default)]
struct Desk {
    job: Cell<Option<Job>>,
    waker: Cell<Option<Waker>>,
    /// The task is not wanted any more.
    dismissed: Cell<bool>,
}

impl Desks {
    /// Serves a stream, by a task that is free or a new one.
    pub(super) fn serve(&self, open: OpenStream, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let free = self.0.desks.borrow_mut().pop();
        let desk = free.unwrap_or_else(|| {
            let desk = Rc::new(Desk::default());
            let (free, own) = (Rc::clone(&self.0), Rc::clone(&desk));
            // Boxed where it is made: what tokio moves about stays small.
            tokio::task::spawn_local(Box::pin(work(free, own)));
            desk
        });
        desk.job.set(Some((open, request, respond)));
        desk.wake();
    }

    /// Ends the tasks that have nothing to do.
    pub(super) fn rest(&self) {
        for desk in std::mem::take(&mut *self.0.desks.borrow_mut()) {
            desk.dismissed.set(true);
            desk.wake();
        }
    }
}

impl Drop for Desks {
    fn drop(&mut self) {
        self.0.closed.set(true);
        self.rest();
    }
}

impl Free {
    /// Keeps a desk whose stream is over; `false` when there are enough.
    fn keep(&self, desk: &Rc<Desk>) -> bool {
        let mut desks = self.desks.borrow_mut();
        let wanted = !self.closed.get() && desks.len() < FREE_MAX;
        if wanted {
            desks.push(Rc::clone(desk));
        }
        wanted
    }
}

impl Desk {
    /// The next stream; `None` when none will come.
    async fn next(&self) -> Option<Job> {
        poll_fn(|cx| match self.job.take() {
            Some(job) => Poll::Ready(Some(job)),
            None if self.dismissed.get() => Poll::Ready(None),
            None => {
                self.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

async fn work(free: Rc<Free>, desk: Rc<Desk>) {
    while let Some((open, request, respond)) = desk.next().await {
        h2_stream::serve(open, request, respond).await;
        if !free.keep(&desk) {
            return;
        }
    }
}
