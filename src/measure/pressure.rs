//! Whether the process has room for more: written by one watcher, read before every request.

use std::sync::atomic::{AtomicU8, Ordering};

/// What the process has room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// For all that comes.
    #[default]
    Ample,
    /// For no new requests: they are answered 503.
    Short,
    /// Neither for new requests nor for new connections.
    None,
}

/// What there is room for at the moment, for all threads to see.
#[derive(Debug, Default)]
pub struct Pressure(AtomicU8);

impl Pressure {
    /// What there is room for now. One relaxed load.
    #[must_use]
    pub fn room(&self) -> Room {
        match self.0.load(Ordering::Relaxed) {
            0 => Room::Ample,
            1 => Room::Short,
            _ => Room::None,
        }
    }

    /// Requests and connections that come from now on go by it.
    pub fn set(&self, room: Room) {
        self.0.store(room as u8, Ordering::Relaxed);
    }
}

/// From how many bytes on there is room for less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// No new requests.
    short: u64,
    /// No new connections.
    none: u64,
}

impl Bounds {
    /// New requests are refused above `bytes_max`, new connections above 95/90 of it: with the default
    /// of 90 % of all memory that is at 95 %.
    #[must_use]
    pub const fn new(bytes_max: u64) -> Self {
        Self {
            short: bytes_max,
            none: bytes_max.saturating_add(bytes_max / 18),
        }
    }

    /// What there is room for with `used` bytes, where it was `before`. There is room again once a
    /// twentieth less is used than what took it away: else every freed page would let some in and
    /// shut the door again.
    #[must_use]
    pub const fn room(self, before: Room, used: u64) -> Room {
        if used >= lowered(self.none, matches!(before, Room::None)) {
            Room::None
        } else if used >= lowered(self.short, !matches!(before, Room::Ample)) {
            Room::Short
        } else {
            Room::Ample
        }
    }
}

/// A bound, or a twentieth less once it was reached.
const fn lowered(bound: u64, reached: bool) -> u64 {
    if reached { bound - bound / 20 } else { bound }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Room::{Ample, None, Short};

    #[test]
    fn room_is_taken_away_at_a_bound_and_given_back_well_below_it() {
        let bounds = Bounds::new(900);
        let check = |before, used, expected| assert_eq!(bounds.room(before, used), expected, "{before:?} {used}");
        check(Ample, 899, Ample);
        check(Ample, 900, Short);
        check(Ample, 950, None);
        check(Short, 899, Short);
        check(Short, 855, Short);
        check(Short, 854, Ample);
        check(Short, 950, None);
        check(None, 903, None);
        check(None, 902, Short);
        check(None, 854, Ample);
    }

    #[test]
    fn what_is_set_is_seen() {
        let pressure = Pressure::default();
        assert_eq!(pressure.room(), Ample);
        for room in [Short, None, Ample] {
            pressure.set(room);
            assert_eq!(pressure.room(), room);
        }
    }

    #[test]
    fn a_bound_as_large_as_there_is_never_overflows() {
        assert_eq!(Bounds::new(u64::MAX).room(Ample, u64::MAX - 1), Ample);
        assert_eq!(Bounds::new(1).room(Ample, 0), Ample);
    }
}
