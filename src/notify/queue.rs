//! What waits to be told to one channel: in order, and bounded. Pure.

use std::collections::VecDeque;

use super::event::{Event, What};

/// So many events wait that may be left out.
const OPTIONAL_MAX: usize = 256;
/// So many events wait that must be told; the rest stays in the log meanwhile.
const NEEDED_MAX: usize = 1_024;

/// Events of one channel, oldest first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Event>,
    needed: usize,
    /// Events that were left out since the last message.
    pub(super) left_out: u64,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It waits.
    Waits,
    /// It is not told: too many wait already.
    LeftOut,
    /// It must be told, and there is no room: come again.
    NoRoom,
}

/// Whether it must not be left out: aborts, and what ends them.
pub(super) fn is_needed(event: &Event) -> bool {
    event.is_critical() || event.what == What::Succeeded
}

impl Queue {
    pub(super) fn push(&mut self, event: Event) -> Pushed {
        let needed = is_needed(&event);
        match needed {
            true if self.needed == NEEDED_MAX => return Pushed::NoRoom,
            false if self.waiting.len() - self.needed == OPTIONAL_MAX => {
                self.left_out += 1;
                return Pushed::LeftOut;
            }
            _ => {}
        }
        self.needed += usize::from(needed);
        self.waiting.push_back(event);
        Pushed::Waits
    }

    pub(super) fn front(&self) -> Option<&Event> {
        self.waiting.front()
    }

    pub(super) fn pop(&mut self) {
        if let Some(event) = self.waiting.pop_front() {
            self.needed -= usize::from(is_needed(&event));
        }
    }

    /// Whether an abort waits behind the front.
    pub(super) fn is_urgent(&self) -> bool {
        self.waiting.iter().skip(1).any(Event::is_critical)
    }

    /// The place in the log of the oldest that waits.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.waiting.iter().map(|event| event.seq).find(|&seq| seq > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::event_of;
    use crate::notify::fixture::record;

    fn event(seq: u64, to: &str) -> Event {
        event_of(&record(seq, "progressing", to)).unwrap()
    }

    #[test]
    fn news_is_left_out_where_too_much_waits() {
        let mut queue = Queue::default();
        for seq in 1..=256 {
            assert_eq!(queue.push(event(seq, "paused")), Pushed::Waits);
        }
        assert_eq!(queue.push(event(257, "paused")), Pushed::LeftOut);
        assert_eq!(queue.push(event(258, "aborted")), Pushed::Waits);
        assert_eq!(queue.push(event(259, "succeeded")), Pushed::Waits);
        assert_eq!(queue.left_out, 1);
        queue.pop();
        assert_eq!(queue.push(event(260, "paused")), Pushed::Waits);
        assert_eq!(queue.oldest(), Some(2));
    }

    #[test]
    fn aborts_wait_in_the_log_where_too_many_wait() {
        let mut queue = Queue::default();
        for seq in 1..=1_024 {
            assert_eq!(queue.push(event(seq, "aborted")), Pushed::Waits);
        }
        assert_eq!(queue.push(event(1_025, "aborted")), Pushed::NoRoom);
        queue.pop();
        assert_eq!(queue.push(event(1_025, "aborted")), Pushed::Waits);
    }

    #[test]
    fn an_abort_behind_the_front_is_urgent() {
        let mut queue = Queue::default();
        queue.push(event(1, "aborted"));
        queue.push(event(2, "paused"));
        assert!(!queue.is_urgent());
        queue.push(event(3, "aborted"));
        assert!(queue.is_urgent());
    }
}
