//! Who gives way when every place at the admin listener is taken: the connection that has been without a request for
//! longest. So nobody keeps a command out by connections on which nothing is asked.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The places of all connections.
#[derive(Debug)]
pub(super) struct Seats {
    free: Arc<Semaphore>,
    quiet: Mutex<Quiet>,
    /// Somebody has become quiet.
    quieter: Notify,
}

/// The connections without a request, those first that have been so for longest, and how each is told to go.
#[derive(Debug, Default)]
struct Quiet {
    tickets: u64,
    by_ticket: BTreeMap<u64, Arc<Notify>>,
}

/// The place of one connection.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    /// Locked before [`Seats::quiet`] is.
    standing: Mutex<Standing>,
    evicted: Arc<Notify>,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Standing {
    /// Requests being answered: one, but for a moment between two.
    requests: usize,
    /// Its place among the quiet while there are none.
    ticket: u64,
}

/// While this lives, a request of the connection is being decided, or events are sent to it. The bytes of any other
/// answer keep nobody's place: who does not read them could keep it for ever.
#[derive(Debug)]
pub(super) struct Busy(Arc<Seat>);

impl Seats {
    pub(super) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(count)),
            quiet: Mutex::default(),
            quieter: Notify::new(),
        })
    }

    /// A place, where there is none that of the one that has been quiet for longest, as soon as it has gone. Waits
    /// while all are being answered.
    pub(super) async fn take(self: &Arc<Self>) -> Arc<Seat> {
        let free = || Arc::clone(&self.free).acquire_owned();
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => Ok(permit),
            Err(_) => loop {
                if self.evict() {
                    break free().await;
                }
                tokio::select! {
                    permit = free() => break permit,
                    () = self.quieter.notified() => {}
                }
            },
        };
        let evicted = Arc::new(Notify::new());
        let ticket = lock(&self.quiet).enter(&evicted);
        Arc::new(Seat {
            seats: Arc::clone(self),
            standing: Mutex::new(Standing { requests: 0, ticket }),
            evicted,
            _permit: permit.expect("the semaphore is never closed"),
        })
    }

    /// Waits until all have gone that have one of `count` places.
    pub(super) async fn all_gone(&self, count: u32) {
        let _ = self.free.acquire_many(count).await;
    }

    /// Tells the one that has been quiet for longest to go; false: nobody is quiet.
    fn evict(&self) -> bool {
        let first = lock(&self.quiet).by_ticket.pop_first();
        first.inspect(|(_, evicted)| evicted.notify_one()).is_some()
    }
}

impl Quiet {
    fn enter(&mut self, evicted: &Arc<Notify>) -> u64 {
        self.tickets += 1;
        self.by_ticket.insert(self.tickets, Arc::clone(evicted));
        self.tickets
    }
}

impl Seat {
    /// Comes to its end when another one needs the place.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// A request has come; `None`: too late, the place is given away.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Busy> {
        let mut standing = lock(&self.standing);
        if standing.requests == 0 {
            lock(&self.seats.quiet).by_ticket.remove(&standing.ticket)?;
        }
        standing.requests += 1;
        Some(Busy(Arc::clone(self)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let ticket = lock(&self.standing).ticket;
        lock(&self.seats.quiet).by_ticket.remove(&ticket);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let seat = &self.0;
        let mut standing = lock(&seat.standing);
        standing.requests -= 1;
        if standing.requests == 0 {
            standing.ticket = lock(&seat.seats.quiet).enter(&seat.evicted);
            seat.seats.quieter.notify_one();
        }
    }
}

/// Nothing panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Marks an answer that keeps its place until its end. Those who give it bound how many there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stays;

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Answering<B> {
    body: B,
    _busy: Option<Busy>,
}

impl<B> Answering<B> {
    /// With `busy` its connection keeps its place until this is dropped.
    pub(super) const fn new(body: B, busy: Option<Busy>) -> Self {
        Self { body, _busy: busy }
    }
}

impl<B: Body + Unpin> Body for Answering<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;

    use super::{Seat, Seats};

    /// Whether it was told to go.
    fn is_told(seat: &Arc<Seat>) -> bool {
        seat.evicted().now_or_never().is_some()
    }

    async fn filled(count: usize) -> (Arc<Seats>, Vec<Arc<Seat>>) {
        let seats = Seats::new(count);
        let mut taken = Vec::new();
        for _ in 0..count {
            taken.push(seats.take().await);
        }
        (seats, taken)
    }

    #[tokio::test]
    async fn nobody_goes_while_there_is_room() {
        let (seats, mut taken) = filled(2).await;
        assert!(!taken.iter().any(is_told));
        taken.pop();
        assert!(seats.take().now_or_never().is_some());
        assert!(!is_told(&taken[0]));
    }

    #[tokio::test]
    async fn the_one_that_has_been_quiet_for_longest_gives_way() {
        let (seats, mut taken) = filled(3).await;
        // The first has been asked something since, the second is being asked.
        drop(taken[0].begin().unwrap());
        let busy = taken[1].begin();
        let next = seats.take();
        tokio::pin!(next);
        assert!(next.as_mut().now_or_never().is_none(), "nobody has gone yet");
        assert_eq!(taken.iter().map(is_told).collect::<Vec<_>>(), [false, false, true]);
        assert!(taken[2].begin().is_none(), "what it asks now would not be answered");
        taken.pop();
        let fourth = next.await;
        let mut more = Box::pin(seats.take());
        assert!(more.as_mut().now_or_never().is_none());
        assert!(is_told(&taken[0]) && !is_told(&fourth));
        drop((more, busy));
    }

    #[tokio::test]
    async fn those_who_are_being_answered_stay_and_a_new_one_waits_for_the_first_to_be_quiet() {
        let (seats, mut taken) = filled(2).await;
        let mut busy: Vec<_> = taken.iter().map(Seat::begin).collect();
        let mut next = Box::pin(seats.take());
        assert!(next.as_mut().now_or_never().is_none());
        assert!(!taken.iter().any(is_told));
        busy.remove(1);
        assert!(next.as_mut().now_or_never().is_none());
        assert_eq!(taken.iter().map(is_told).collect::<Vec<_>>(), [false, true]);
        taken.pop();
        next.await;
    }

    #[tokio::test]
    async fn between_two_requests_that_overlap_nobody_is_quiet() {
        let (seats, taken) = filled(1).await;
        let first = taken[0].begin().unwrap();
        let second = taken[0].begin().unwrap();
        drop(first);
        assert!(!seats.evict());
        drop(second);
        assert!(seats.evict() && !seats.evict());
    }
}
