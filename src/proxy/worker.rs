//! One worker thread's own things: its view of the table, its wheel, its pools, its counters.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, watch};

use super::access_log::{AccessLine, AccessLogWriter};
use super::buffers::Buffers;
use super::clients::{Clients, Seat};
use super::connection::ConnectionClock;
use super::date::Date;
use super::descriptors::Descriptors;
use super::fault::Fault;
use super::ledger::Exchange;
use super::outcome_log::{OutcomeLine, OutcomeLogWriter};
use super::pool::Pools;
use super::wheel::{Key, TICK_US, Wheel};
use crate::jwt::{self, Refused};
use crate::live::{Live, Reader};
use crate::measure::{Pressure, ProxyCells, RejectReason, Room, TokenRefusal};
use crate::route::{Endpoint, ListenerSettings};
use crate::values::Values;

/// How far the process is on its way out, for all workers to see.
#[derive(Debug)]
pub(crate) struct Drain {
    now: AtomicU8,
    changes: watch::Sender<Stage>,
}

impl Drain {
    /// Serving.
    pub(crate) fn new() -> Self {
        Self {
            now: AtomicU8::new(Stage::Running as u8),
            changes: watch::Sender::new(Stage::Running),
        }
    }

    /// Goes on to `stage`. Answers that begin from now on know it.
    pub(crate) fn set(&self, stage: Stage) {
        self.now.store(stage as u8, Ordering::Release);
        self.changes.send_replace(stage);
    }

    /// One load.
    pub(super) fn stage(&self) -> Stage {
        match self.now.load(Ordering::Acquire) {
            0 => Stage::Running,
            1 => Stage::Announcing,
            _ => Stage::Closing,
        }
    }

    /// Waits until `stage` is reached.
    pub(super) async fn reached(&self, stage: Stage) {
        // The sender lives as long as `self`.
        let _ = self.changes.subscribe().wait_for(|now| *now >= stage).await;
    }
}

/// How far the process is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Serving.
    Running,
    /// Still serving, but every answer asks the client to leave.
    Announcing,
    /// Idle connections are closed, nothing new is accepted.
    Closing,
}

/// What waits in the wheel.
#[allow(clippy::large_enum_variant)] // exchanges are the rule, and a box would be an allocation for each
pub(super) enum Timed {
    /// An exchange with a backend.
    Exchange(Exchange),
    /// A client's connection.
    Connection(Rc<ConnectionClock>),
}

/// One worker's own things. Shared by its tasks, never by threads.
pub(super) struct Worker {
    pub(super) id: usize,
    pub(super) live: Arc<Live>,
    pub(super) pools: RefCell<Pools>,
    pub(super) buffers: RefCell<Buffers>,
    pub(super) drain: Arc<Drain>,
    pub(super) descriptors: Descriptors,
    /// Its clones are the connections that are being turned away.
    pub(super) turned_away: Rc<()>,
    /// Bodies of calls for flags that are being gathered.
    pub(super) gathering: Cell<usize>,
    clients: Arc<Clients>,
    pressure: Arc<Pressure>,
    reader: RefCell<Reader>,
    all_cells: Arc<[ProxyCells]>,
    /// The last reading of the clock.
    recent_us: Cell<u64>,
    wheel: RefCell<Wheel<Timed>>,
    /// Exchanges in the wheel.
    exchanges: Cell<usize>,
    /// Wakes the tick when it sleeps long.
    tick_wanted: Notify,
    tick_sleeps: Cell<bool>,
    random: RefCell<fastrand::Rng>,
    tokens: RefCell<jwt::Cache>,
    access_log: AccessLogWriter,
    outcome_log: Option<OutcomeLogWriter>,
    /// What worker microseconds must be added to for Unix time; looked at once a second.
    unix_epoch_us: Cell<u64>,
    /// The same at the start: the times of logged outcomes stay in order when the system's clock is set.
    log_epoch_us: u64,
    date: RefCell<Date>,
}

impl Worker {
    pub(super) fn new(
        id: usize,
        live: Arc<Live>,
        all_cells: Arc<[ProxyCells]>,
        drain: Arc<Drain>,
        (clients, pressure): (Arc<Clients>, Arc<Pressure>),
        (access_log, outcome_log): (AccessLogWriter, Option<OutcomeLogWriter>),
        seed: u64,
    ) -> Self {
        let now_us = live.now_us();
        let epoch_us = unix_us().saturating_sub(now_us);
        Self {
            id,
            reader: RefCell::new(live.reader()),
            live,
            pools: RefCell::new(Pools::default()),
            buffers: RefCell::default(),
            drain,
            descriptors: Descriptors::of_process(),
            turned_away: Rc::new(()),
            gathering: Cell::new(0),
            clients,
            pressure,
            all_cells,
            recent_us: Cell::new(now_us),
            wheel: RefCell::new(Wheel::new(now_us / TICK_US)),
            exchanges: Cell::new(0),
            tick_wanted: Notify::new(),
            tick_sleeps: Cell::new(false),
            random: RefCell::new(fastrand::Rng::with_seed(seed)),
            tokens: RefCell::default(),
            access_log,
            outcome_log,
            unix_epoch_us: Cell::new(epoch_us),
            log_epoch_us: epoch_us,
            date: RefCell::default(),
        }
    }

    /// Microseconds by the clock that all workers and control share.
    pub(super) fn now_us(&self) -> u64 {
        let now_us = self.live.now_us();
        self.recent_us.set(now_us);
        now_us
    }

    /// The Unix second of a moment of this worker's clock.
    pub(super) fn unix_s(&self, now_us: u64) -> u64 {
        (self.unix_epoch_us.get() + now_us) / 1_000_000
    }

    /// The last answer of [`Worker::now_us`]: at most 100 ms old while a
    /// connection is open, and free. For limits of seconds.
    pub(super) fn recent_us(&self) -> u64 {
        self.recent_us.get()
    }

    /// Looks at the table of this moment. `f` must not look again.
    pub(super) fn with_table<R>(&self, f: impl FnOnce(&crate::route::Table) -> R) -> R {
        f(self.reader.borrow_mut().table())
    }

    /// A fresh uniform number.
    pub(super) fn draw(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }

    /// What the token of a request says, once it is verified. One that is not believed is counted.
    pub(super) fn claims(&self, asked: &jwt::Asked<'_>) -> Option<Rc<Values>> {
        let count = |why| self.cells().refuse_token(refusal(why));
        self.tokens.borrow_mut().claims(asked, count)
    }

    /// How many workers there are.
    pub(super) fn count(&self) -> usize {
        self.all_cells.len()
    }

    /// This worker's counters.
    pub(super) fn cells(&self) -> &ProxyCells {
        &self.all_cells[self.id]
    }

    /// Connections open on `listener`, all workers together.
    pub(super) fn connections(&self, listener: usize) -> u64 {
        let sum: i64 = self.all_cells.iter().map(|cells| cells.connections(listener)).sum();
        u64::try_from(sum).unwrap_or(0)
    }

    /// Tunnels open or asked for, all workers together.
    pub(super) fn tunnels(&self) -> u64 {
        let sum: i64 = self.all_cells.iter().map(ProxyCells::tunnels).sum();
        u64::try_from(sum).unwrap_or(0)
    }

    /// What the process has room for. One relaxed load.
    pub(super) fn room(&self) -> Room {
        self.pressure.room()
    }

    /// A seat for a connection of `address`, to be kept as long as it is open; `None` where a client may
    /// have all that there are, and nobody counts.
    ///
    /// # Errors
    /// The client has all that it may. It is counted.
    pub(super) fn seat(
        &self,
        listener: usize,
        address: IpAddr,
        settings: &ListenerSettings,
    ) -> Result<Option<Seat>, Fault> {
        if settings.connections_per_client >= settings.connections {
            return Ok(None);
        }
        match self.clients.take(listener, address, settings.connections_per_client) {
            Some(seat) => Ok(Some(seat)),
            None => {
                self.cells().reject(RejectReason::ConnectionsPerClient);
                Err(Fault::TooManyOfClient)
            }
        }
    }

    /// Where the process is on its way out.
    pub(super) fn stage(&self) -> Stage {
        self.drain.stage()
    }

    pub(super) fn begin_exchange(&self, due: u64, timed: Timed) -> Key {
        self.exchanges.set(self.exchanges.get() + 1);
        self.insert(due, timed)
    }

    pub(super) fn end_exchange(&self, key: Key) -> Exchange {
        self.exchanges.set(self.exchanges.get() - 1);
        match self.wheel.borrow_mut().remove(key) {
            Timed::Exchange(exchange) => exchange,
            Timed::Connection(_) => unreachable!("a ledger's key leads to its exchange"),
        }
    }

    pub(super) fn with_exchange<R>(&self, key: Key, f: impl FnOnce(&mut Exchange) -> R) -> R {
        match self.wheel.borrow_mut().get_mut(key) {
            Timed::Exchange(exchange) => f(exchange),
            Timed::Connection(_) => unreachable!("a ledger's key leads to its exchange"),
        }
    }

    pub(super) fn watch_connection(&self, clock: Rc<ConnectionClock>) -> Key {
        let due = (self.now_us() + clock.interval_us()) / TICK_US + 1;
        self.insert(due, Timed::Connection(clock))
    }

    pub(super) fn forget_connection(&self, key: Key) {
        drop(self.wheel.borrow_mut().remove(key));
    }

    pub(super) fn log_access(&self, line: AccessLine) {
        if !self.access_log.put(line) {
            self.cells().reject(RejectReason::LogLine);
        }
    }

    /// Whether outcomes are logged.
    pub(super) fn logs_outcomes(&self) -> bool {
        self.outcome_log.is_some()
    }

    /// Logs an outcome; `line` has its time in worker microseconds.
    pub(super) fn log_outcome(&self, mut line: OutcomeLine) {
        line.at_us += self.log_epoch_us;
        if self.outcome_log.as_ref().is_some_and(|log| !log.put(line)) {
            self.cells().reject(RejectReason::OutcomeLine);
        }
    }

    /// Writes the `date` of this second (RFC 9110 §6.6.1).
    pub(super) fn put_date(&self, out: &mut Vec<u8>) {
        self.date.borrow_mut().put(self.unix_s(self.recent_us()), out);
    }

    /// The value of a `date` field of this second.
    pub(super) fn date(&self) -> bytes::Bytes {
        self.date.borrow_mut().value(self.unix_s(self.recent_us()))
    }

    /// Logs which rule an endpoint's answer has broken, at most once a second for each endpoint, together with why it
    /// cannot be reached: the client is told no more than that it was no valid HTTP.
    pub(super) fn warn_of_answer(&self, endpoint: &Endpoint, rule: &str) {
        if endpoint.cell(self.id).may_warn(self.recent_us()) {
            let (backend, address) = (&endpoint.backend, &*endpoint.authority);
            tracing::warn!(%backend, endpoint = address, rule, "an answer is not valid HTTP; the connection is closed");
        }
    }

    /// Logs why an endpoint cannot be used, at most once a second for each endpoint.
    pub(super) fn warn_of_endpoint(&self, endpoint: &Endpoint, why: &dyn Display) {
        if endpoint.cell(self.id).may_warn(self.recent_us()) {
            let (backend, address) = (&endpoint.backend, &*endpoint.authority);
            tracing::warn!(%backend, endpoint = address, %why, "no connection to an endpoint");
        }
    }

    fn insert(&self, due: u64, timed: Timed) -> Key {
        if self.tick_sleeps.get() {
            self.tick_wanted.notify_one();
        }
        self.wheel.borrow_mut().insert(due, timed)
    }

    /// The one timer of this worker: every 10 ms while an exchange is open (and a second longer),
    /// every 100 ms while connections are, not at all when there are none.
    pub(super) async fn tick(self: Rc<Self>) {
        let mut quiet_ticks = 0u32;
        let mut next_sweep_us = 0;
        loop {
            let idle = self.wheel.borrow().is_empty() && self.pools.borrow().is_empty();
            if idle || quiet_ticks > 100 {
                self.tick_sleeps.set(true);
                let wanted = self.tick_wanted.notified();
                if idle {
                    self.reader.borrow_mut().rest();
                    wanted.await;
                } else {
                    let _ = tokio::time::timeout(Duration::from_millis(100), wanted).await;
                }
                self.tick_sleeps.set(false);
            } else {
                tokio::time::sleep(Duration::from_micros(TICK_US)).await;
            }
            quiet_ticks = if self.exchanges.get() == 0 {
                quiet_ticks.saturating_add(1)
            } else {
                0
            };
            let now_us = self.now_us();
            let id = self.id;
            self.wheel.borrow_mut().advance(now_us / TICK_US, |timed| match timed {
                Timed::Exchange(exchange) => exchange.tick(id, now_us),
                Timed::Connection(clock) => Some(clock.tick(now_us)),
            });
            if now_us >= next_sweep_us {
                next_sweep_us = now_us + 1_000_000;
                self.unix_epoch_us.set(unix_us().saturating_sub(now_us));
                self.pools.borrow_mut().sweep(now_us);
                match self.room() {
                    Room::Ample => self.buffers.borrow_mut().sweep(),
                    // What a burst left behind must not be what keeps the next one out.
                    Room::Short | Room::None => *self.buffers.borrow_mut() = Buffers::default(),
                }
                if self.exchanges.get() == 0 {
                    self.reader.borrow_mut().rest();
                }
            }
        }
    }

    /// Tells every connection when the process goes further on its way out.
    pub(super) async fn follow_drain(self: Rc<Self>) {
        for stage in [Stage::Announcing, Stage::Closing] {
            self.drain.reached(stage).await;
            for timed in self.wheel.borrow().values() {
                if let Timed::Connection(clock) = timed {
                    clock.wake();
                }
            }
        }
    }
}

/// How a refusal is counted.
const fn refusal(why: Refused) -> TokenRefusal {
    match why {
        Refused::Ended => TokenRefusal::Expired,
        Refused::NotYet => TokenRefusal::NotYet,
        Refused::NoEnd => TokenRefusal::NoExpiry,
        Refused::Audience => TokenRefusal::Audience,
        Refused::Issuer => TokenRefusal::Issuer,
        Refused::Signature => TokenRefusal::Signature,
        Refused::UnknownKey => TokenRefusal::UnknownKey,
        Refused::Algorithm => TokenRefusal::Algorithm,
        Refused::Kind => TokenRefusal::Type,
        Refused::Flood => TokenRefusal::Unchecked,
        Refused::Large
        | Refused::Form
        | Refused::Header
        | Refused::Critical
        | Refused::Claims
        | Refused::TooMuch(_)
        | Refused::TooLong => TokenRefusal::Malformed,
    }
}

/// Microseconds of Unix time, by the system's clock.
fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(0)
}
