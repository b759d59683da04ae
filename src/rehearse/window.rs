//! Puts what is known at its end in order of its beginning, as far as a bounded look ahead reaches.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What took longer is taken later than it began.
const REACH_US: u64 = 60_000_000;

/// Items that wait at most, some 150 bytes each. Where more end in a minute the look ahead is shorter.
const ITEMS: usize = 1 << 19;

/// Items that wait for their turn.
#[derive(Debug)]
pub(super) struct Window<T> {
    waiting: BinaryHeap<Reverse<Waiting<T>>>,
    /// Keeps those that began together in the order in which they came.
    next: u64,
    /// The latest end so far.
    newest_us: u64,
    /// What begins from here on can still be put in order.
    given_us: u64,
    late: u64,
}

#[derive(Debug)]
struct Waiting<T> {
    at_us: u64,
    number: u64,
    item: T,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self {
            waiting: BinaryHeap::new(),
            next: 0,
            newest_us: 0,
            given_us: 0,
            late: 0,
        }
    }
}

impl<T> Window<T> {
    /// Takes an item that began at `at_us` and ended at `end_us`. One that began before what was given
    /// out already is late: it begins now.
    pub(super) fn push(&mut self, at_us: u64, end_us: u64, item: T) {
        self.late += u64::from(at_us < self.given_us);
        self.waiting.push(Reverse(Waiting {
            at_us: at_us.max(self.given_us),
            number: self.next,
            item,
        }));
        self.next += 1;
        self.newest_us = self.newest_us.max(end_us);
    }

    /// The next one and when it begins, if nothing that comes can be before it.
    pub(super) fn pop(&mut self) -> Option<(u64, T)> {
        let Reverse(first) = self.waiting.peek()?;
        let is_due = first.at_us.saturating_add(REACH_US) <= self.newest_us;
        if is_due || self.waiting.len() > ITEMS {
            self.drain()
        } else {
            None
        }
    }

    /// The next one, whatever may come.
    pub(super) fn drain(&mut self) -> Option<(u64, T)> {
        let Reverse(first) = self.waiting.pop()?;
        self.given_us = first.at_us;
        Some((first.at_us, first.item))
    }

    /// The latest end so far; 0 when there was none.
    pub(super) const fn newest_us(&self) -> u64 {
        self.newest_us
    }

    /// How many were late.
    pub(super) const fn late(&self) -> u64 {
        self.late
    }
}

impl<T> PartialEq for Waiting<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Waiting<T> {}

impl<T> PartialOrd for Waiting<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Waiting<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_us, self.number).cmp(&(other.at_us, other.number))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ITEMS, REACH_US, Window};

    const SECOND: u64 = 1_000_000;

    /// Beginning and end of each item in seconds, in the order of a log; what comes out, and how many
    /// were late.
    fn check(items: &[(u64, u64)], expected: &[(u64, usize)], late: u64) {
        let mut window = Window::default();
        let mut found = Vec::new();
        for (number, &(at, end)) in items.iter().enumerate() {
            window.push(at * SECOND, end * SECOND, number);
            found.extend(std::iter::from_fn(|| window.pop()));
        }
        found.extend(std::iter::from_fn(|| window.drain()));
        let found: Vec<_> = found.iter().map(|&(at_us, number)| (at_us / SECOND, number)).collect();
        assert_eq!((found.as_slice(), window.late()), (expected, late));
    }

    #[test]
    fn what_ended_later_may_have_begun_sooner() {
        check(&[(5, 6), (1, 7), (5, 7)], &[(1, 1), (5, 0), (5, 2)], 0);
        check(&[(10, 11), (5, 65)], &[(5, 1), (10, 0)], 0);
    }

    #[test]
    fn what_took_longer_than_the_reach_begins_late() {
        check(&[(10, 11), (100, 101), (5, 102)], &[(10, 0), (10, 2), (100, 1)], 1);
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let mut window = Window::default();
        for number in 0..=ITEMS {
            window.push(SECOND, SECOND, number);
            assert_eq!(window.pop().is_some(), number == ITEMS);
        }
    }

    proptest! {
        #[test]
        fn everything_comes_out_once_and_in_order(
            items in prop::collection::vec((0..200u64, 0..90u64), 0..100),
        ) {
            let mut items: Vec<_> = items.iter().map(|&(at, took)| (at * SECOND, (at + took) * SECOND)).collect();
            items.sort_by_key(|&(_, end_us)| end_us);
            let mut window = Window::default();
            let mut found = Vec::new();
            for (number, &(at_us, end_us)) in items.iter().enumerate() {
                window.push(at_us, end_us, number);
                found.extend(std::iter::from_fn(|| window.pop()));
            }
            found.extend(std::iter::from_fn(|| window.drain()));
            prop_assert!(found.is_sorted_by_key(|&(at_us, _)| at_us));
            let is_long = |&(at_us, end_us): &(u64, u64)| end_us - at_us > REACH_US;
            prop_assert!(window.late() <= items.iter().filter(|&item| is_long(item)).count() as u64);
            let mut numbers: Vec<_> = found.iter().map(|&(_, number)| number).collect();
            numbers.sort_unstable();
            prop_assert!(numbers.into_iter().eq(0..items.len()));
        }
    }
}
