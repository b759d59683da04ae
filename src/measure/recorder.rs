//! The counters of one (route, variant, backend): one cell for each worker, one writer for each cell.
//!
//! A writer uses relaxed loads and stores, never read-modify-write: `dispatched` is stored first,
//! outcomes later and with Release, in the order in which they happen. A reader loads them with Acquire
//! in the opposite order, outcomes first and `dispatched` last: it never sees more outcomes than ends,
//! more ends than requests, or more client errors than heads.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::histogram::LatencyHistogram;
use super::outcome::{CodeClass, Outcome, Track};
use super::snapshot::{Counts, Snapshot};
use crate::name::Name;

/// How many latency limits a recorder can count at: `warn` and `critical` of p50, p90, p95 and p99 in
/// that order, two that move with stable's quantiles, and the age from which an open request is
/// no coming success any more.
pub const LIMITS: usize = 11;

/// Where a canary is compared with stable's p90: stable counts at it, the canary at a multiple.
pub const AT_P90: usize = 8;

/// As [`AT_P90`] with p99.
pub const AT_P99: usize = 9;

/// From this age on an open request without a response head is no coming success any more.
pub const PATIENCE: usize = 10;

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
    /// The cohort whose requests alone are counted; `None`: everybody's.
    pub cohort: Option<Name>,
}

/// The counters of one (route, variant, backend) in all workers.
#[derive(Debug)]
pub struct Recorder {
    key: RecorderKey,
    /// Latency limits in microseconds; they move without a new generation.
    limits_us: [AtomicU64; LIMITS],
    /// A bit for each limit that is on: what is off costs nothing.
    active: AtomicU16,
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
    client_errors: AtomicU64,
    /// Response heads received.
    headed: AtomicU64,
    /// Ended without a response head.
    headless: AtomicU64,
    /// Response heads received in at most each limit.
    fast: [AtomicU64; LIMITS],
    /// Requests older than each limit before their response head came.
    slow: [AtomicU64; LIMITS],
    /// Of those that the clock found slow, how many still wait for their head.
    overdue: [AtomicU32; LIMITS],
}

impl Recorder {
    /// A recorder with nothing recorded, for `workers` writers.
    #[must_use]
    pub fn new(key: RecorderKey, workers: usize) -> Self {
        Self {
            key,
            limits_us: [const { AtomicU64::new(NO_LIMIT) }; LIMITS],
            active: AtomicU16::new(0),
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

    /// Moves a latency limit, or switches it off with [`NO_LIMIT`]. Requests in flight meet it within a
    /// second; those that were found slow already are not counted again at this index.
    pub fn set_limit_us(&self, index: usize, limit_us: u64) {
        self.limits_us[index].store(limit_us, Ordering::Relaxed);
        let bit = 1 << index;
        if limit_us == NO_LIMIT {
            self.active.fetch_and(!bit, Ordering::Release);
        } else {
            self.active.fetch_or(bit, Ordering::Release);
        }
    }

    /// The limits that are on, with their index, but those whose bit is set in `counted`. Costs one load,
    /// and one for each of them.
    pub fn limits_but(&self, counted: u16) -> impl Iterator<Item = (usize, u64)> {
        let mut left = self.active.load(Ordering::Relaxed) & !counted;
        let limits = std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let index = left.trailing_zeros() as usize;
            left &= left - 1;
            Some((index, self.limit_us(index)))
        });
        // One that is switched off at this moment may still have its bit.
        limits.filter(|&(_, limit_us)| limit_us != NO_LIMIT)
    }

    /// The counters of `track`, all workers together. Costs some twenty loads a worker.
    #[must_use]
    pub fn counts(&self, track: Track) -> Counts {
        self.cells
            .iter()
            .fold(Counts::default(), |sum, cell| sum + cell.counts(track))
    }

    /// Requests of `track` that are open, have no response head and are older than each limit, as far as
    /// the workers' clocks have found out: up to one tick of 10 ms late.
    ///
    /// To be read *after* [`Recorder::counts`]: then a request whose end is in the counts is not here,
    /// and no more are here than [`Counts::open_without_head`] but for those that were dispatched after
    /// the counts were read and were older than the limit before this was.
    #[must_use]
    pub fn overdue(&self, track: Track) -> [u64; LIMITS] {
        let mut sum = [0; LIMITS];
        for cell in &self.cells {
            for (sum, overdue) in sum.iter_mut().zip(&cell.book(track).overdue) {
                *sum += u64::from(overdue.load(Ordering::Acquire));
            }
        }
        sum
    }

    /// The counters of what is evidence, of both epochs and all workers together: what the draw
    /// placed, and cohorts that vote.
    #[must_use]
    pub fn evidence(&self) -> Counts {
        self.counts(Track::Draw { slot: 0 }) + self.counts(Track::Draw { slot: 1 })
    }

    /// The counters of all tracks and all workers together: attempts, whoever placed them.
    #[must_use]
    pub fn all_counts(&self) -> Counts {
        self.evidence() + self.counts(Track::Cohort)
    }

    /// Counters and latencies of everything so far. Costs one pass over the buckets of each worker.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot {
            counts: self.evidence(),
            cohort: self.counts(Track::Cohort),
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
    pub fn headed(&self, track: Track, recorder: &Recorder, latency_us: u64, counted: u16) {
        let book = self.book(track);
        book.lower_overdue(counted);
        bump(&book.headed, Ordering::Release);
        for (index, limit_us) in recorder.limits_but(counted) {
            let side = if latency_us > limit_us { &book.slow } else { &book.fast };
            bump(&side[index], Ordering::Release);
        }
        self.latency.get_or_init(Box::default).record(latency_us);
    }

    /// Its response head came, and how soon says nothing: the endpoint is warming up. The clock must not
    /// have found it slow.
    pub fn headed_warming(&self, track: Track) {
        bump(&self.book(track).headed, Ordering::Release);
    }

    /// The head that came is the backend's own answer to a client's mistake.
    pub fn client_error(&self, track: Track) {
        bump(&self.book(track).client_errors, Ordering::Release);
    }

    /// It grew older than limit `index` with no response head yet.
    pub fn slow(&self, track: Track, index: usize) {
        let book = self.book(track);
        bump(&book.slow[index], Ordering::Release);
        let overdue = &book.overdue[index];
        overdue.store(overdue.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// It is about to be over, and no response head came. `counted` as for [`Cell::headed`].
    pub fn headless(&self, track: Track, counted: u16) {
        let book = self.book(track);
        book.lower_overdue(counted);
        bump(&book.headless, Ordering::Release);
    }

    /// It is over, after [`Cell::headed`] or [`Cell::headless`]. The answer is how many failures have come in a row, this one included.
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
            client_errors: get(&book.client_errors),
            headed: get(&book.headed),
            headless: get(&book.headless),
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

impl Book {
    /// A request that the clock found slow at these limits waits no more. Before its end is counted:
    /// whoever sees the end sees this too.
    fn lower_overdue(&self, counted: u16) {
        if counted != 0 {
            let met = (0..LIMITS).filter(|index| counted & (1 << index) != 0);
            for overdue in met.map(|index| &self.overdue[index]) {
                overdue.store(overdue.load(Ordering::Relaxed).saturating_sub(1), Ordering::Release);
            }
        }
    }
}

/// One more, by the only writer. Inlined, it is a load and a store.
fn bump(counter: &AtomicU64, order: Ordering) {
    counter.store(counter.load(Ordering::Relaxed) + 1, order);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;
    use std::sync::atomic::AtomicBool;

    const DRAWN: Track = Track::Draw { slot: 0 };

    fn recorder(workers: usize) -> Recorder {
        let name = |text: &str| Name::new(text).unwrap();
        let key = RecorderKey {
            route: name("shop"),
            variant: name("canary"),
            backend: name("shop-v2"),
            cohort: None,
        };
        Recorder::new(key, workers)
    }

    #[test]
    fn each_track_has_a_book_of_its_own() {
        let recorder = recorder(1);
        let cell = recorder.cell(0);
        let tracks = [DRAWN, Track::Draw { slot: 1 }, Track::Cohort];
        for (n, track) in tracks.into_iter().enumerate() {
            for _ in 0..=n {
                cell.dispatched(track);
                cell.resolved(track, Outcome::ALL[n]);
            }
        }
        let check = |track, expected: [u64; 4]| {
            let found = recorder.counts(track);
            assert_eq!(
                [found.dispatched, found.success, found.failure, found.no_evidence],
                expected
            );
        };
        check(tracks[0], [1, 1, 0, 0]);
        check(tracks[1], [2, 0, 2, 0]);
        check(tracks[2], [3, 0, 0, 3]);
        assert_eq!(recorder.all_counts().dispatched, 6);
    }

    #[test]
    fn a_head_is_fast_or_slow_at_each_limit_that_is_on() {
        let recorder = recorder(1);
        recorder.set_limit_us(0, 500);
        recorder.set_limit_us(1, 1000);
        let cell = recorder.cell(0);
        let check = |latency_us, fast: [u64; 2], slow: [u64; 2]| {
            cell.headed(DRAWN, &recorder, latency_us, 0);
            let found = recorder.counts(DRAWN);
            assert_eq!(
                (found.fast[..2].to_vec(), found.slow[..2].to_vec()),
                (fast.to_vec(), slow.to_vec())
            );
            assert_eq!(
                (found.fast[2..].to_vec(), found.slow[2..].to_vec()),
                (vec![0; LIMITS - 2], vec![0; LIMITS - 2])
            );
        };
        check(500, [1, 1], [0, 0]);
        check(501, [1, 2], [1, 0]);
        check(1001, [1, 2], [2, 1]);
    }

    #[test]
    fn a_request_that_the_clock_found_slow_is_not_counted_again() {
        let recorder = recorder(1);
        recorder.set_limit_us(0, 500);
        recorder.set_limit_us(1, 1000);
        let cell = recorder.cell(0);
        cell.dispatched(DRAWN);
        cell.slow(DRAWN, 0);
        cell.headed(DRAWN, &recorder, 700, 1);
        let found = recorder.counts(DRAWN);
        assert_eq!((found.slow[0], found.fast[0]), (1, 0));
        assert_eq!((found.slow[1], found.fast[1]), (0, 1));
        assert_eq!(found.headed, 1);
    }

    #[test]
    fn only_limits_that_are_on_and_not_counted_yet_are_looked_at() {
        let recorder = recorder(1);
        let check = |counted, expected: &[(usize, u64)]| {
            assert_eq!(recorder.limits_but(counted).collect::<Vec<_>>(), expected);
        };
        check(0, &[]);
        for (index, limit_us) in [(0, 500), (3, 900), (PATIENCE, 2500)] {
            recorder.set_limit_us(index, limit_us);
        }
        check(0, &[(0, 500), (3, 900), (PATIENCE, 2500)]);
        check(1 << 3, &[(0, 500), (PATIENCE, 2500)]);
        recorder.set_limit_us(3, NO_LIMIT);
        recorder.set_limit_us(0, 700);
        check(0, &[(0, 700), (PATIENCE, 2500)]);
        check(u16::MAX, &[]);
    }

    #[test]
    fn a_slow_request_is_overdue_until_its_head_or_its_end() {
        let recorder = recorder(2);
        recorder.set_limit_us(0, 500);
        recorder.set_limit_us(1, 1000);
        let check = |expected: [u64; 2], open_without_head| {
            assert_eq!(recorder.overdue(DRAWN)[..2], expected);
            assert_eq!(recorder.counts(DRAWN).open_without_head(), open_without_head);
        };
        let (cell, other) = (recorder.cell(0), recorder.cell(1));
        (0..3).for_each(|_| cell.dispatched(DRAWN));
        other.dispatched(DRAWN);
        check([0, 0], 4);
        cell.slow(DRAWN, 0);
        cell.slow(DRAWN, 0);
        cell.slow(DRAWN, 1);
        other.slow(DRAWN, 0);
        check([3, 1], 4);
        cell.headed(DRAWN, &recorder, 1200, 0b11);
        check([2, 0], 3);
        cell.headless(DRAWN, 0b01);
        check([1, 0], 2);
        cell.headless(DRAWN, 0);
        check([1, 0], 1);
        other.headless(DRAWN, 0b01);
        check([0, 0], 0);
        assert_eq!(recorder.overdue(Track::Cohort), [0; LIMITS]);
        assert_eq!(
            (recorder.counts(DRAWN).headless, recorder.counts(DRAWN).slow[0]),
            (3, 3)
        );
    }

    #[test]
    fn a_head_from_an_endpoint_that_warms_up_is_neither_fast_nor_slow() {
        let recorder = recorder(1);
        recorder.set_limit_us(0, 500);
        recorder.cell(0).dispatched(DRAWN);
        recorder.cell(0).headed_warming(DRAWN);
        let found = recorder.snapshot();
        assert_eq!(
            (found.counts.headed, found.counts.fast[0], found.counts.slow[0]),
            (1, 0, 0)
        );
        assert_eq!(found.latency.count(), 0);
    }

    #[test]
    fn a_streak_counts_failures_in_a_row() {
        let recorder = recorder(1);
        let check = |outcome, expected| assert_eq!(recorder.cell(0).resolved(DRAWN, outcome), expected);
        check(Outcome::Failure, 1);
        check(Outcome::Failure, 2);
        check(Outcome::NoEvidence, 2);
        check(Outcome::Failure, 3);
        check(Outcome::Success, 0);
        check(Outcome::NoEvidence, 0);
    }

    #[test]
    fn in_flight_is_what_was_dispatched_and_is_not_over() {
        let recorder = recorder(2);
        recorder.cell(0).dispatched(DRAWN);
        recorder.cell(1).dispatched(Track::Cohort);
        recorder.cell(1).dispatched(DRAWN);
        recorder.cell(1).resolved(DRAWN, Outcome::Success);
        assert_eq!(recorder.in_flight(), 2);
    }

    #[test]
    fn answers_and_latencies_of_all_workers_add_up() {
        let recorder = recorder(2);
        for worker in [0, 1, 1] {
            let cell = recorder.cell(worker);
            cell.headed(DRAWN, &recorder, 40, 0);
            cell.answered(Outcome::Failure, CodeClass::ServerError);
        }
        assert_eq!(
            recorder.answers()[Outcome::Failure as usize][CodeClass::ServerError as usize],
            3
        );
        let snapshot = recorder.snapshot();
        assert_eq!((snapshot.latency.count(), snapshot.latency.sum_us()), (3, 120));
        assert_eq!(snapshot.counts.headed, 3);
    }

    #[test]
    fn a_reader_never_sees_more_of_what_comes_later() {
        const REQUESTS: u64 = 20_000;
        const WORKERS: u64 = 2;
        let recorder = recorder(2);
        recorder.set_limit_us(0, 500);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let found = recorder.counts(DRAWN);
                    let overdue = recorder.overdue(DRAWN)[0];
                    let over = found.resolved() + found.no_evidence;
                    assert!(over <= found.headed + found.headless, "{found:?}");
                    assert!(found.headed + found.headless <= found.dispatched, "{found:?}");
                    assert!(found.client_errors <= found.headed, "{found:?}");
                    assert!(found.fast[0] + found.slow[0] <= found.dispatched, "{found:?}");
                    // Here a request is overdue as soon as it is dispatched, and each worker has one at a
                    // time: that one may have begun between the two readings.
                    assert!(overdue <= found.open_without_head() + WORKERS, "{overdue} {found:?}");
                }
            });
            let writers = [0, 1].map(|worker| {
                let recorder = &recorder;
                scope.spawn(move || {
                    let cell = recorder.cell(worker);
                    for n in 0..REQUESTS {
                        cell.dispatched(DRAWN);
                        let counted = u16::from(n % 5 == 0);
                        if counted != 0 {
                            cell.slow(DRAWN, 0);
                        }
                        if n % 7 == 0 {
                            cell.headless(DRAWN, counted);
                        } else {
                            cell.headed(DRAWN, recorder, n % 1000, counted);
                            if n % 3 == 2 {
                                cell.client_error(DRAWN);
                            }
                        }
                        cell.resolved(DRAWN, Outcome::ALL[(n % 3) as usize]);
                    }
                })
            });
            for writer in writers {
                writer.join().unwrap();
            }
            done.store(true, Ordering::Release);
        });
        let found = recorder.counts(DRAWN);
        assert_eq!(found.dispatched, WORKERS * REQUESTS);
        assert_eq!((found.open(), found.open_without_head()), (0, 0));
        assert_eq!(recorder.overdue(DRAWN), [0; LIMITS]);
    }
}
