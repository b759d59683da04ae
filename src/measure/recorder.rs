//! The counters of one (route, variant, backend): one cell for each worker, one writer for each cell.
//!
//! A writer uses relaxed loads and stores, never read-modify-write: `dispatched` is stored first,
//! outcomes later and with Release. A reader loads outcomes with Acquire first and `dispatched`
//! last, so it never sees more outcomes than requests.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::histogram::LatencyHistogram;
use super::outcome::{CodeClass, Outcome, Track};
use super::snapshot::{Counts, Snapshot};
use crate::name::Name;

/// How many latency limits a recorder can count at.
pub const LIMITS: usize = 4;

/// A latency limit that is switched off, in microseconds.
pub const NO_LIMIT: u64 = u64::MAX;

/// What the numbers are about. It outlives swaps of the table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecorderKey {
    /// The route.
    pub route: Name,
    /// The variant in its split.
    pub variant: Name,
    /// The backend that the variant leads to.
    pub backend: Name,
}

/// The counters of one (route, variant, backend) in all workers.
#[derive(Debug)]
pub struct Recorder {
    key: RecorderKey,
    /// Latency limits in microseconds; they move without a new generation.
    limits_us: [AtomicU64; LIMITS],
    cells: Box<[Cell]>,
}

/// The counters that one worker writes.
#[derive(Debug)]
#[repr(align(128))]
pub struct Cell {
    /// Two epochs of drawn requests, then the requests that cohorts sent.
    books: [Book; 3],
    /// Answers by outcome and class of status.
    answers: [[AtomicU64; 6]; 3],
    latency: OnceLock<Box<LatencyHistogram>>,
    in_flight: AtomicU32,
    /// Consecutive failures; back to 0 at a success.
    failure_streak: AtomicU32,
}

#[derive(Debug, Default)]
struct Book {
    dispatched: AtomicU64,
    success: AtomicU64,
    failure: AtomicU64,
    no_evidence: AtomicU64,
    /// Response heads received.
    headed: AtomicU64,
    /// Response heads received in at most each limit.
    fast: [AtomicU64; LIMITS],
    /// Requests older than each limit before their response head came.
    slow: [AtomicU64; LIMITS],
}

impl Recorder {
    /// A recorder with nothing recorded, for `workers` writers.
    #[must_use]
    pub fn new(key: RecorderKey, workers: usize) -> Self {
        Self {
            key,
            limits_us: [const { AtomicU64::new(NO_LIMIT) }; LIMITS],
            cells: (0..workers).map(|_| Cell::new()).collect(),
        }
    }

    /// What the numbers are about.
    #[must_use]
    pub fn key(&self) -> &RecorderKey {
        &self.key
    }

    /// The cell that `worker` writes. Only that worker may call the writing methods of the answer.
    ///
    /// # Panics
    /// When `worker` is not below the number given to [`Recorder::new`].
    #[must_use]
    pub fn cell(&self, worker: usize) -> &Cell {
        &self.cells[worker]
    }

    /// The latency limit `index` in microseconds, [`NO_LIMIT`] when off.
    #[must_use]
    pub fn limit_us(&self, index: usize) -> u64 {
        self.limits_us[index].load(Ordering::Relaxed)
    }

    /// Moves a latency limit; requests in flight meet it from now on.
    pub fn set_limit_us(&self, index: usize, limit_us: u64) {
        self.limits_us[index].store(limit_us, Ordering::Relaxed);
    }

    /// The counters of `track`, all workers together. Costs some twenty loads a worker.
    #[must_use]
    pub fn counts(&self, track: Track) -> Counts {
        self.cells
            .iter()
            .fold(Counts::default(), |sum, cell| sum + cell.counts(track))
    }

    /// The counters of all tracks and all workers together: attempts, whoever placed them.
    #[must_use]
    pub fn all_counts(&self) -> Counts {
        [Track::Draw { slot: 0 }, Track::Draw { slot: 1 }, Track::Cohort]
            .into_iter()
            .fold(Counts::default(), |sum, track| sum + self.counts(track))
    }

    /// Counters and latencies of everything so far. Costs one pass over the buckets of each worker.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let counts = self.all_counts();
        let mut snapshot = Snapshot {
            counts,
            ..Snapshot::default()
        };
        for latency in self.cells.iter().filter_map(|cell| cell.latency.get()) {
            latency.add_to(&mut snapshot.latency);
        }
        snapshot
    }

    /// Answers by outcome and class of status, all workers together.
    #[must_use]
    pub fn answers(&self) -> [[u64; 6]; 3] {
        let mut sum = [[0; 6]; 3];
        for cell in &self.cells {
            for (row, from) in sum.iter_mut().zip(&cell.answers) {
                for (n, from) in row.iter_mut().zip(from) {
                    *n += from.load(Ordering::Relaxed);
                }
            }
        }
        sum
    }

    /// Requests open at this moment, all workers together.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.cells
            .iter()
            .map(|cell| u64::from(cell.in_flight.load(Ordering::Relaxed)))
            .sum()
    }
}

impl Cell {
    fn new() -> Self {
        Self {
            books: Default::default(),
            answers: Default::default(),
            latency: OnceLock::new(),
            in_flight: AtomicU32::new(0),
            failure_streak: AtomicU32::new(0),
        }
    }

    /// A request was sent on its way.
    pub fn dispatched(&self, track: Track) {
        bump(&self.book(track).dispatched, Ordering::Relaxed);
        self.in_flight
            .store(self.in_flight.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Its response head came after `latency_us`. Limits whose bit is set in `counted` were met by the
    /// clock before and are not counted again.
    pub fn headed(&self, track: Track, recorder: &Recorder, latency_us: u64, counted: u8) {
        let book = self.book(track);
        bump(&book.headed, Ordering::Relaxed);
        for index in (0..LIMITS).filter(|index| counted & (1 << index) == 0) {
            let limit_us = recorder.limit_us(index);
            if limit_us != NO_LIMIT {
                let side = if latency_us > limit_us { &book.slow } else { &book.fast };
                bump(&side[index], Ordering::Release);
            }
        }
        self.latency.get_or_init(Box::default).record(latency_us);
    }

    /// It grew older than limit `index` with no response head yet.
    pub fn slow(&self, track: Track, index: usize) {
        bump(&self.book(track).slow[index], Ordering::Release);
    }

    /// It is over. The answer is how many failures have come in a row, this one included.
    pub fn resolved(&self, track: Track, outcome: Outcome) -> u32 {
        let book = self.book(track);
        let (counter, streak) = match outcome {
            Outcome::Success => (&book.success, 0),
            Outcome::Failure => (
                &book.failure,
                self.failure_streak.load(Ordering::Relaxed).saturating_add(1),
            ),
            Outcome::NoEvidence => (&book.no_evidence, self.failure_streak.load(Ordering::Relaxed)),
        };
        self.failure_streak.store(streak, Ordering::Relaxed);
        bump(counter, Ordering::Release);
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        self.in_flight.store(in_flight.saturating_sub(1), Ordering::Relaxed);
        streak
    }

    /// The client was given an answer of this kind.
    pub fn answered(&self, outcome: Outcome, class: CodeClass) {
        bump(&self.answers[outcome as usize][class as usize], Ordering::Relaxed);
    }

    fn counts(&self, track: Track) -> Counts {
        let book = self.book(track);
        let get = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        let mut counts = Counts {
            success: get(&book.success),
            failure: get(&book.failure),
            no_evidence: get(&book.no_evidence),
            headed: get(&book.headed),
            fast: std::array::from_fn(|i| get(&book.fast[i])),
            slow: std::array::from_fn(|i| get(&book.slow[i])),
            dispatched: 0,
        };
        counts.dispatched = book.dispatched.load(Ordering::Acquire);
        counts
    }

    fn book(&self, track: Track) -> &Book {
        match track {
            Track::Draw { slot } => &self.books[usize::from(slot & 1)],
            Track::Cohort => &self.books[2],
        }
    }
}

/// One more, by the only writer.
fn bump(counter: &AtomicU64, order: Ordering) {
    counter.store(counter.load(Ordering::Relaxed) + 1, order);
}
