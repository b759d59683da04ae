//! How often one key may vote: no client can veto a release where there are many. The caller brings the
//! time.
//!
//! Decided when a request is dispatched, never by how it ends: that would bend the rate. Memory is
//! bounded: a worker's box holds 2048 keys of the present window, in sets of four. A key whose set is
//! full shares the count of one of them, so it may be heard less often than it could, never more often.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Votes are counted anew after so long.
const WINDOW_US: u64 = 10_000_000;

/// Below so many different keys each is heard in full: where there are few clients, each counts.
const MANY: u32 = 20;

const SETS: usize = 512;
const WAYS: usize = 4;

type Seats = [[AtomicU64; WAYS]; SETS];

/// Who voted on one variant of a route lately; a box for each worker, which alone writes it.
#[derive(Debug)]
pub struct Votes {
    boxes: Box<[Ballot]>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Ballot {
    /// Number of the window that is counted.
    window: AtomicU64,
    /// Different keys in it.
    keys: AtomicU32,
    /// Different keys in the window just before it.
    keys_before: AtomicU32,
    /// The key in the upper half, its votes in the lower; 0 votes: nobody's. Made on first use, 16 KiB.
    seats: OnceLock<Box<Seats>>,
}

impl Votes {
    /// Nobody has voted, for `workers` writers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            boxes: (0..workers).map(|_| Ballot::default()).collect(),
        }
    }

    /// Whether one more request of the client with hash `key` may vote in `worker`: `max` times in ten
    /// seconds, and without a limit while there are fewer than 20 keys in this window and were in the
    /// last. Only `worker` may ask. Costs some loads and one store.
    ///
    /// # Panics
    /// When `worker` is not below the number given to [`Votes::new`].
    #[must_use]
    pub fn cast(&self, worker: usize, key: u32, max: u32, now_us: u64) -> bool {
        let ballot = &self.boxes[worker];
        let seats = ballot
            .seats
            .get_or_init(|| Box::new([const { [const { AtomicU64::new(0) }; WAYS] }; SETS]));
        ballot.turn(seats, now_us / WINDOW_US);
        // The upper bits chose the variant: those of one variant are much alike.
        let set = &seats[key as usize % SETS];
        let seat = set.iter().find(|seat| {
            let taken = seat.load(Ordering::Relaxed);
            taken == 0 || key_of(taken) == key
        });
        let seat = seat.unwrap_or(&set[(key >> 9) as usize % WAYS]);
        let taken = seat.load(Ordering::Relaxed);
        if taken == 0 {
            add(&ballot.keys, 1);
            seat.store(u64::from(key) << 32 | 1, Ordering::Relaxed);
            return max > 0;
        }
        let votes = taken as u32;
        if votes >= max && ballot.has_many() {
            return false;
        }
        let votes = votes.saturating_add(1);
        seat.store(taken & !u64::from(u32::MAX) | u64::from(votes), Ordering::Relaxed);
        true
    }
}

impl Ballot {
    /// Begins the window with this number, if it is a later one.
    fn turn(&self, seats: &Seats, window: u64) {
        let before = self.window.load(Ordering::Relaxed);
        if window <= before {
            return;
        }
        let keys = self.keys.load(Ordering::Relaxed);
        let just_before = window == before + 1;
        self.keys_before
            .store(if just_before { keys } else { 0 }, Ordering::Relaxed);
        if keys > 0 {
            let seats = seats.iter().flatten();
            seats.for_each(|seat| seat.store(0, Ordering::Relaxed));
        }
        self.keys.store(0, Ordering::Relaxed);
        self.window.store(window, Ordering::Relaxed);
    }

    fn has_many(&self) -> bool {
        self.keys.load(Ordering::Relaxed) >= MANY || self.keys_before.load(Ordering::Relaxed) >= MANY
    }
}

const fn key_of(taken: u64) -> u32 {
    (taken >> 32) as u32
}

fn add(count: &AtomicU32, more: u32) {
    count.store(count.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::{MANY, Votes, WINDOW_US};

    const MAX: u32 = 3;

    /// Keys as one variant sees them: alike in the upper bits.
    fn crowd(keys: u32) -> impl Iterator<Item = u32> {
        (0..keys).map(|n| 0xfff0_0000 | n)
    }

    fn votes_with(keys: u32, now_us: u64) -> Votes {
        let votes = Votes::new(2);
        assert!(crowd(keys).all(|key| votes.cast(0, key, MAX, now_us)));
        votes
    }

    /// How many of `tries` votes of `key` are heard.
    fn check(votes: &Votes, worker: usize, key: u32, now_us: u64, tries: u32, expected: u32) {
        let heard = (0..tries).filter(|_| votes.cast(worker, key, MAX, now_us));
        assert_eq!(heard.count(), expected as usize, "{key:x} at {now_us}");
    }

    #[test]
    fn where_many_vote_one_key_is_heard_a_few_times() {
        let votes = votes_with(MANY - 1, 0);
        check(&votes, 0, 7, 0, 10, MAX);
        check(&votes, 0, 8, 0, 2, 2);
        check(&votes, 0, 8, 0, 2, 1);
        check(&votes, 0, 0xfff0_0000, 0, 10, MAX - 1);
    }

    #[test]
    fn where_few_vote_each_is_heard_in_full() {
        let votes = votes_with(MANY - 2, 0);
        check(&votes, 0, 7, 0, 100, 100);
        // Now they are many, and it has had its say.
        assert!(votes.cast(0, 8, MAX, 0));
        check(&votes, 0, 7, 0, 10, 0);
    }

    #[test]
    fn a_new_window_counts_anew_and_remembers_how_many_there_were() {
        let votes = votes_with(MANY, 0);
        check(&votes, 0, 7, WINDOW_US - 1, 10, MAX);
        check(&votes, 0, 7, WINDOW_US, 10, MAX);
        // In the last window there was one key.
        check(&votes, 0, 7, 2 * WINDOW_US, 10, 10);
    }

    #[test]
    fn a_window_without_votes_makes_them_few() {
        let votes = votes_with(MANY, 0);
        check(&votes, 0, 7, 2 * WINDOW_US, 10, 10);
    }

    #[test]
    fn a_clock_that_another_request_overtook_counts_in_the_present_window() {
        let votes = votes_with(MANY, 5 * WINDOW_US);
        check(&votes, 0, 7, 5 * WINDOW_US - 1, 10, MAX);
    }

    #[test]
    fn each_worker_counts_for_itself() {
        let votes = votes_with(MANY, 0);
        check(&votes, 1, 7, 0, 10, 10);
    }

    #[test]
    fn the_key_0_is_a_key_like_others() {
        let votes = votes_with(MANY, 0);
        check(&votes, 0, 0, 0, 10, MAX);
    }

    #[test]
    fn a_full_house_shares_what_there_is_and_stays_bounded() {
        let votes = votes_with(MANY, 0);
        let keys = crowd(100_000).map(|key| key.wrapping_mul(0x9e37_79b9));
        let heard = keys.filter(|&key| votes.cast(0, key, MAX, 0)).count();
        assert!(heard <= 2048 * MAX as usize, "{heard}");
    }

    #[test]
    fn none_at_all_means_none() {
        let votes = votes_with(MANY, 0);
        assert!(!votes.cast(0, 7, 0, 0));
    }

    proptest! {
        #[test]
        fn where_many_vote_no_key_is_heard_more_often_than_it_may(
            casts in prop::collection::vec((0u32..3000, any::<bool>()), 1..5000),
        ) {
            let votes = votes_with(MANY, 0);
            let mut heard: HashMap<u32, u32> = HashMap::new();
            for (key, alike) in casts {
                let key = if alike { key } else { key.wrapping_mul(0x9e37_79b9) };
                if votes.cast(0, key, MAX, 0) {
                    *heard.entry(key).or_insert(0) += 1;
                }
            }
            prop_assert!(heard.values().all(|&heard| heard <= MAX));
        }
    }
}
