//! Deadlines without a timer each: one wheel of 10 ms slots holds whatever waits, in lists of O(1)
//! insertion and removal. Pure: the caller brings the tick.

/// Length of a tick in microseconds.
pub(super) const TICK_US: u64 = 10_000;

/// Slots of the wheel; an entry further away is passed over once a turn (5.12 s).
const SLOTS: usize = 512;

const NONE: u32 = u32::MAX;

/// Things that wait, each for a tick of its own.
#[derive(Debug)]
pub(super) struct Wheel<T> {
    heads: Box<[u32; SLOTS]>,
    entries: Vec<Entry<T>>,
    free: u32,
    len: usize,
    /// Every tick up to and including this one has been served.
    now: u64,
}

#[derive(Debug)]
struct Entry<T> {
    value: Option<T>,
    due: u64,
    before: u32,
    after: u32,
}

/// Where an entry is. Valid from `insert` to `remove`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(u32);

impl<T> Wheel<T> {
    /// An empty wheel that has served every tick up to `now`.
    pub(super) fn new(now: u64) -> Self {
        Self {
            heads: Box::new([NONE; SLOTS]),
            entries: Vec::new(),
            free: NONE,
            len: 0,
            now,
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Lets `value` wait for tick `due`; one that has passed is served at the next.
    pub(super) fn insert(&mut self, due: u64, value: T) -> Key {
        let entry = Entry {
            value: Some(value),
            due: 0,
            before: NONE,
            after: NONE,
        };
        let at = if self.free == NONE {
            let at = u32::try_from(self.entries.len()).expect("fewer entries than memory");
            self.entries.push(entry);
            at
        } else {
            let at = self.free;
            self.free = self.entries[at as usize].after;
            self.entries[at as usize] = entry;
            at
        };
        self.len += 1;
        self.link(at, due);
        Key(at)
    }

    /// Takes an entry out, due or not.
    pub(super) fn remove(&mut self, key: Key) -> T {
        self.unlink(key.0);
        let entry = &mut self.entries[key.0 as usize];
        let value = entry.value.take().expect("a key is valid until it is removed");
        entry.after = self.free;
        self.free = key.0;
        self.len -= 1;
        value
    }

    /// The value that waits at `key`.
    pub(super) fn get_mut(&mut self, key: Key) -> &mut T {
        self.entries[key.0 as usize]
            .value
            .as_mut()
            .expect("a key is valid until it is removed")
    }

    /// Everything that waits.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().filter_map(|entry| entry.value.as_ref())
    }

    /// Serves every tick up to `now`: `fire` answers when an entry is due again. It stays in the
    /// wheel either way, until it is removed; without an answer it never fires again.
    pub(super) fn advance(&mut self, now: u64, mut fire: impl FnMut(&mut T) -> Option<u64>) {
        let first = self.now + 1;
        let last = now.min(self.now + SLOTS as u64);
        self.now = self.now.max(now);
        for tick in first..=last {
            let mut at = self.heads[slot(tick)];
            while at != NONE {
                let entry = &mut self.entries[at as usize];
                let after = entry.after;
                if entry.due <= now {
                    let next = fire(entry.value.as_mut().expect("linked entries have values"));
                    self.unlink(at);
                    match next {
                        Some(due) => self.link(at, due),
                        None => self.entries[at as usize].due = u64::MAX,
                    }
                }
                at = after;
            }
        }
    }

    fn link(&mut self, at: u32, due: u64) {
        let due = due.max(self.now + 1);
        let head = self.heads[slot(due)];
        let entry = &mut self.entries[at as usize];
        (entry.due, entry.before, entry.after) = (due, NONE, head);
        if head != NONE {
            self.entries[head as usize].before = at;
        }
        self.heads[slot(due)] = at;
    }

    fn unlink(&mut self, at: u32) {
        let Entry { due, before, after, .. } = self.entries[at as usize];
        if due == u64::MAX {
            return; // fired for good: in no list
        }
        if before == NONE {
            self.heads[slot(due)] = after;
        } else {
            self.entries[before as usize].after = after;
        }
        if after != NONE {
            self.entries[after as usize].before = before;
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // below SLOTS
const fn slot(tick: u64) -> usize {
    (tick % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::{Key, Wheel};
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn an_entry_fires_at_its_tick_and_not_before() {
        let mut wheel = Wheel::new(0);
        wheel.insert(3, "a");
        let mut fired = Vec::new();
        for now in 1..=4 {
            wheel.advance(now, |&mut v| {
                fired.push((now, v));
                None
            });
        }
        assert_eq!(fired, [(3, "a")]);
    }

    #[test]
    fn an_entry_may_wait_longer_than_a_turn_and_again() {
        let mut wheel = Wheel::new(7);
        wheel.insert(2007, 0u32);
        let mut fired = Vec::new();
        for now in 8..5000 {
            wheel.advance(now, |count| {
                *count += 1;
                fired.push(now);
                (*count < 2).then_some(now + 1000)
            });
        }
        assert_eq!(fired, [2007, 3007]);
    }

    #[test]
    fn a_late_tick_serves_all_that_was_missed() {
        let mut wheel = Wheel::new(0);
        for due in [1, 2, 600, 5000] {
            wheel.insert(due, due);
        }
        let mut fired = Vec::new();
        wheel.advance(3000, |&mut due| {
            fired.push(due);
            None
        });
        fired.sort_unstable();
        assert_eq!(fired, [1, 2, 600]);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_plain_list(ops in prop::collection::vec((0u8..3, 0u64..1500), 1..300)) {
            let mut wheel = Wheel::new(0);
            let mut model: HashMap<u64, u64> = HashMap::new();
            let mut keys: Vec<(Key, u64)> = Vec::new();
            let (mut now, mut id) = (0, 0);
            for (op, n) in ops {
                match op {
                    0 => {
                        id += 1;
                        keys.push((wheel.insert(now + n, id), id));
                        model.insert(id, (now + n).max(now + 1));
                    }
                    1 if !keys.is_empty() => {
                        let (key, id) = keys.swap_remove(usize::try_from(n).unwrap() % keys.len());
                        prop_assert_eq!(wheel.remove(key), id);
                        model.remove(&id);
                    }
                    _ => {
                        now += n;
                        let mut fired = Vec::new();
                        wheel.advance(now, |&mut id| { fired.push(id); None });
                        let mut expected: Vec<u64> =
                            model.iter().filter(|(_, due)| **due <= now).map(|(id, _)| *id).collect();
                        expected.sort_unstable();
                        fired.sort_unstable();
                        prop_assert_eq!(&fired, &expected);
                        for id in fired { model.remove(&id); }
                    }
                }
            }
        }
    }
}
