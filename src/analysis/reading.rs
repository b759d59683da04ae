//! What the counters of both sides say at one moment.

use crate::measure::{Counts, LIMITS};

/// Cumulative counts of both sides at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// A clock that never goes back, in milliseconds.
    pub now_ms: u64,
    /// Parity of the present epoch.
    pub slot: u8,
    /// The canary's part of the two variants' weight in this epoch, 0 to 1.
    pub weight: f64,
    /// The canary.
    pub canary: Side,
    /// Stable.
    pub stable: Side,
}

/// One side of a [`Reading`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Evidence, by slot of the epoch that requests were dispatched in.
    pub counts: [Counts; 2],
    /// Open, without a response head, and older than each latency limit; of both slots.
    pub overdue: [u64; LIMITS],
}

impl Side {
    /// Both slots together.
    #[must_use]
    pub fn sum(&self) -> Counts {
        self.counts[0] + self.counts[1]
    }

    fn went_back_from(&self, last: &Self) -> bool {
        (0..2).any(|slot| self.counts[slot].went_back_from(&last.counts[slot]))
    }
}

impl Reading {
    /// Whether these are the counts of other recorders than those of `last`.
    #[must_use]
    pub fn went_back_from(&self, last: &Self) -> bool {
        self.canary.went_back_from(&last.canary) || self.stable.went_back_from(&last.stable)
    }
}
