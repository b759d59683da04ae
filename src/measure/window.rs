//! Recent snapshots; what happened since an instant.

use std::collections::VecDeque;

/// Recent values of a cumulative quantity, oldest first, bounded in number. Times are milliseconds of any clock that
/// never goes back.
#[derive(Clone, Debug)]
pub struct Window<T> {
    /// With the time of each in milliseconds, which never goes back; at most `capacity`.
    entries: VecDeque<(u64, T)>,
    capacity: usize,
}

impl<T> Window<T> {
    /// Empty; keeps the newest `capacity` values, at least one.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            entries: VecDeque::with_capacity(capacity),
            capacity,
        }
    }

    /// Keeps `value` as of `at_ms`, and drops the oldest where there is no room. A time before the
    /// latest one is taken as the latest one, so that times never go back.
    pub fn push(&mut self, at_ms: u64, value: T) {
        let at_ms = self.latest().map_or(at_ms, |(latest_ms, _)| at_ms.max(latest_ms));
        if self.entries.len() == self.capacity {
            self.entries.pop_front();
        }
        self.entries.push_back((at_ms, value));
    }

    /// The newest value at or before `at_ms`, with its time; `None` when all are later. Binary search.
    #[must_use]
    pub fn since(&self, at_ms: u64) -> Option<(u64, &T)> {
        let later = self.entries.partition_point(|entry| entry.0 <= at_ms);
        later.checked_sub(1).map(|index| self.entry(index))
    }

    /// As [`Window::since`], but the oldest value when all are later; `None` when empty.
    #[must_use]
    pub fn since_or_oldest(&self, at_ms: u64) -> Option<(u64, &T)> {
        self.since(at_ms).or_else(|| self.oldest())
    }

    /// The newest value, with its time.
    #[must_use]
    pub fn latest(&self) -> Option<(u64, &T)> {
        self.entries.back().map(|(at_ms, value)| (*at_ms, value))
    }

    /// The oldest value that is kept, with its time.
    #[must_use]
    pub fn oldest(&self) -> Option<(u64, &T)> {
        self.entries.front().map(|(at_ms, value)| (*at_ms, value))
    }

    fn entry(&self, index: usize) -> (u64, &T) {
        let (at_ms, value) = &self.entries[index];
        (*at_ms, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(capacity: usize, times: &[u64]) -> Window<u64> {
        let mut window = Window::new(capacity);
        times.iter().for_each(|&at_ms| window.push(at_ms, at_ms * 10));
        window
    }

    #[test]
    fn since_is_the_newest_at_or_before() {
        let window = of(10, &[100, 200, 200, 350]);
        let check = |at_ms, expected: Option<u64>| assert_eq!(window.since(at_ms).map(|entry| entry.0), expected);
        check(99, None);
        check(100, Some(100));
        check(349, Some(200));
        check(9_999, Some(350));
        assert_eq!(window.since_or_oldest(99), Some((100, &1000)));
        assert_eq!(of(3, &[]).since_or_oldest(99), None);
    }

    #[test]
    fn times_never_go_back() {
        assert_eq!(of(3, &[200, 100]).latest(), Some((200, &1000)));
    }

    proptest! {
        #[test]
        fn the_newest_are_kept_and_found(
            mut times in prop::collection::vec(0u64..1000, 1..50),
            capacity in 1usize..20,
            at_ms in 0u64..1100,
        ) {
            times.sort_unstable();
            let window = of(capacity, &times);
            let kept = &times[times.len().saturating_sub(capacity)..];
            let expected = kept.iter().rev().find(|&&time| time <= at_ms).copied();
            prop_assert_eq!(window.since(at_ms).map(|entry| entry.0), expected);
            prop_assert_eq!(window.oldest().map(|entry| entry.0), kept.first().copied());
            prop_assert_eq!(window.latest().map(|entry| entry.0), kept.last().copied());
        }
    }
}
