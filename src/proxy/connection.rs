//! What a client's connection is doing, and since when: the clock that closes idle and slow ones.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::wheel::{Key, TICK_US};
use super::worker::Worker;
use crate::route::ListenerSettings;
use slab::Slab;

/// How old the reading of the clock may be that a phase is entered with: nobody is cut off early.
const CLOCK_AGE_US: u64 = 100_000;

/// How long a connection keeps its buffers while nothing is asked.
const REST_US: u64 = 100_000;

/// How long a client that has ended its side still gets an answer: it may only have said that it sends no more
/// (RFC 9293 §3.6), and nothing tells that from having left.
const HALF_CLOSED_US: u64 = 1_000_000;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// For the first byte of a request.
    Idle,
    /// For the rest of a head.
    Head,
    /// For a backend, or for a body in either direction: its exchange has a clock of its own.
    Busy,
}

/// The clock of one connection. Written as bytes pass, read once a second or so.
#[derive(Debug)]
pub(super) struct ConnectionClock {
    pub(super) settings: ListenerSettings,
    phase: Cell<Phase>,
    since_us: Cell<u64>,
    /// When it was opened.
    opened_us: u64,
    /// Since when the client takes no bytes; 0: it does.
    blocked_since_us: Cell<u64>,
    /// Since when the head of a request on a stream of its own has been on its way; 0: none is.
    head_since_us: Cell<u64>,
    late: Cell<bool>,
    /// Late in a way that leaves nobody to wait for.
    stuck: Cell<bool>,
    /// When the client ended its side, or last took something after that; 0: it has not.
    half_closed_us: Cell<u64>,
    /// Idle for so long that its engine may be put away.
    resting: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// What is offered on HTTP/2 streams.
    offers: RefCell<Slab<Rc<Offer>>>,
}

/// An answer that an HTTP/2 stream cannot send on: a client that gives a stream no window stalls it, and no socket
/// shows that.
#[derive(Debug, Default)]
pub(super) struct Offer {
    /// Since when the client has had something to take; 0: it takes all there is.
    since_us: Cell<u64>,
    late: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Offer {
    /// There is something to take, and no room for it. Ready when the client has been given time enough.
    pub(super) fn poll_late(&self, cx: &Context<'_>, now_us: u64) -> Poll<()> {
        if self.late.get() {
            return Poll::Ready(());
        }
        if self.since_us.get() == 0 {
            self.since_us.set(now_us.max(1));
        }
        match &mut *self.waker.borrow_mut() {
            Some(waker) => waker.clone_from(cx.waker()),
            waker => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// The client has taken something.
    pub(super) fn taken(&self) {
        self.since_us.set(0);
    }

    fn tick(&self, now_us: u64, patience_us: u128) {
        let since_us = self.since_us.get();
        let age_us = u128::from(now_us.saturating_sub(since_us + CLOCK_AGE_US));
        if since_us != 0 && age_us >= patience_us {
            self.late.set(true);
            if let Some(waker) = self.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }
}

/// A clock that its worker looks at for as long as this is kept.
pub(super) struct Watched {
    worker: Rc<Worker>,
    pub(super) clock: Rc<ConnectionClock>,
    key: Key,
}

impl Watched {
    pub(super) fn new(worker: &Rc<Worker>, clock: ConnectionClock) -> Self {
        let clock = Rc::new(clock);
        Self {
            key: worker.watch_connection(Rc::clone(&clock)),
            worker: Rc::clone(worker),
            clock,
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.worker.forget_connection(self.key);
    }
}

impl ConnectionClock {
    pub(super) fn new(settings: ListenerSettings, phase: Phase, now_us: u64) -> Self {
        Self {
            settings,
            phase: Cell::new(phase),
            since_us: Cell::new(now_us),
            opened_us: now_us,
            blocked_since_us: Cell::new(0),
            head_since_us: Cell::new(0),
            late: Cell::new(false),
            stuck: Cell::new(false),
            half_closed_us: Cell::new(0),
            resting: Cell::new(false),
            waker: RefCell::new(None),
            offers: RefCell::default(),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Whether it has been open for as long as it may: what it is answered then is its last answer.
    pub(super) fn is_old(&self, now_us: u64) -> bool {
        let age_us = u128::from(now_us.saturating_sub(self.opened_us));
        self.settings
            .connection_age
            .is_some_and(|max| age_us >= max.as_micros())
    }

    pub(super) fn enter(&self, phase: Phase, now_us: u64) {
        self.phase.set(phase);
        self.since_us.set(now_us);
        self.resting.set(false);
        // Who was late in the phase before has come after all.
        self.late.set(false);
    }

    /// Watches over what a stream offers, until it is forgotten.
    pub(super) fn watch(&self, offer: Rc<Offer>) -> usize {
        self.offers.borrow_mut().insert(offer)
    }

    pub(super) fn forget(&self, key: usize) {
        drop(self.offers.borrow_mut().remove(key));
    }

    pub(super) fn blocked(&self, now_us: impl FnOnce() -> u64) {
        if self.blocked_since_us.get() == 0 {
            self.blocked_since_us.set(now_us().max(1));
        }
    }

    pub(super) fn unblocked(&self) {
        self.blocked_since_us.set(0);
    }

    /// A head has come in part.
    pub(super) fn head_waits(&self, now_us: impl FnOnce() -> u64) {
        if self.head_since_us.get() == 0 {
            self.head_since_us.set(now_us().max(1));
        }
    }

    /// No head has come in part.
    pub(super) fn head_is_whole(&self) {
        self.head_since_us.set(0);
    }

    /// Whether a head is late that has come in part.
    pub(super) fn head_is_late(&self) -> bool {
        self.stuck.get() && self.head_since_us.get() != 0
    }

    /// Whether the client takes nothing, or does not end what it has begun: waiting for its streams is waiting for
    /// nothing.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck.get()
    }

    /// The client has ended its side.
    pub(super) fn half_close(&self, now_us: u64) {
        self.half_closed_us.set(now_us.max(1));
    }

    /// A client that has ended its side takes what it is sent, or something has begun for it.
    pub(super) fn renew_half_closed(&self, now_us: u64) {
        if self.is_half_closed() {
            self.half_close(now_us);
        }
    }

    /// Whether the client has ended its side.
    pub(super) fn is_half_closed(&self) -> bool {
        self.half_closed_us.get() != 0
    }

    /// Ready when a client that has ended its side has been given time enough.
    pub(super) fn poll_half_closed(&self, cx: &Context<'_>, now_us: u64) -> Poll<()> {
        if now_us.saturating_sub(self.half_closed_us.get()) >= HALF_CLOSED_US {
            return Poll::Ready(());
        }
        self.listen(cx);
        Poll::Pending
    }

    /// Whether nothing has been asked for a while.
    pub(super) fn rests(&self) -> bool {
        self.resting.get() && self.phase.get() == Phase::Idle
    }

    /// How often to look: a quarter of the shortest limit, at most [`REST_US`], or a second where it rests.
    pub(super) fn interval_us(&self) -> u64 {
        let settings = &self.settings;
        let shortest = settings.request_head.min(settings.idle).min(settings.body);
        let most_us = if self.rests() { 1_000_000 } else { REST_US };
        u64::try_from(shortest.as_micros())
            .unwrap_or(u64::MAX)
            .div_euclid(4)
            .clamp(TICK_US, most_us)
    }

    /// Looks at the clock; the answer is the tick at which to look again.
    pub(super) fn tick(&self, now_us: u64) -> u64 {
        let age_us = u128::from(now_us.saturating_sub(self.since_us.get() + CLOCK_AGE_US));
        let settings = &self.settings;
        let overdue = match self.phase.get() {
            Phase::Idle => age_us >= settings.idle.as_micros(),
            Phase::Head => age_us >= settings.request_head.as_micros(),
            Phase::Busy => false,
        };
        let since = |since_us: u64| u128::from(now_us.saturating_sub(since_us));
        let (blocked, head) = (self.blocked_since_us.get(), self.head_since_us.get());
        let stuck = (blocked != 0 && since(blocked) >= settings.body.as_micros())
            || (head != 0 && since(head) >= settings.request_head.as_micros());
        for (_, offer) in self.offers.borrow().iter() {
            offer.tick(now_us, settings.body.as_micros());
        }
        if stuck || overdue {
            self.stuck.set(stuck);
            self.late.set(true);
            self.wake();
        }
        if self.is_old(now_us) {
            self.wake();
        }
        if self.is_half_closed() {
            self.wake();
        }
        if self.phase.get() == Phase::Idle
            && now_us.saturating_sub(self.since_us.get()) >= REST_US
            && !self.resting.replace(true)
        {
            self.wake();
        }
        (now_us + self.interval_us()) / TICK_US + 1
    }

    /// Has the connection look at everything anew.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Ready when the client was too slow.
    pub(super) fn poll_late(&self, cx: &Context<'_>) -> Poll<()> {
        if self.late.get() {
            return Poll::Ready(());
        }
        self.listen(cx);
        Poll::Pending
    }

    /// The same for who has more to look at, and is woken again.
    pub(super) fn is_late(&self, cx: &Context<'_>) -> bool {
        self.listen(cx);
        self.late.get()
    }

    fn listen(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match waker.as_mut() {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
    }
}
