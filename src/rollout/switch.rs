//! Whether a flag is on: what the file says, its schedule, and what a person said since.

/// What the file says of a flag. Times are in Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// False: off, whatever the times say.
    pub enabled: bool,
    /// From then on it is on.
    pub enable_at_ms: Option<u64>,
    /// From then on it is off.
    pub disable_at_ms: Option<u64>,
}

/// What a person said of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByHand {
    /// On or off.
    pub enabled: bool,
    /// When, in Unix milliseconds.
    pub at_ms: u64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            enabled: true,
            enable_at_ms: None,
            disable_at_ms: None,
        }
    }
}

impl Schedule {
    /// Whether the flag is on at `now_ms`: by the latest time that has passed, and before the first one the
    /// opposite of what it brings. What a person switched off stays off until a person switches it on; what a
    /// person switched on goes by the times that passed since then.
    #[must_use]
    pub fn is_on(&self, by_hand: Option<ByHand>, now_ms: u64) -> bool {
        match by_hand {
            Some(ByHand { enabled: false, .. }) => false,
            Some(ByHand { enabled: true, at_ms }) => {
                let since = self.times().filter(|&(time, _)| at_ms < time && time <= now_ms);
                since.max().is_none_or(|(_, on)| on)
            }
            None if !self.enabled => false,
            None => match self.times().filter(|&(time, _)| time <= now_ms).max() {
                Some((_, on)) => on,
                None => self.times().min().is_none_or(|(_, on)| !on),
            },
        }
    }

    /// The times, and whether the flag is on from then on. Of equal times the later to count is that which
    /// switches on: `check` refuses them.
    fn times(&self) -> impl Iterator<Item = (u64, bool)> {
        let on = self.enable_at_ms.map(|time| (time, true));
        let off = self.disable_at_ms.map(|time| (time, false));
        on.into_iter().chain(off)
    }
}

#[cfg(test)]
mod tests {
    use super::{ByHand, Schedule};

    #[track_caller]
    fn check(schedule: Schedule, by_hand: Option<(bool, u64)>, expected: &[(u64, bool)]) {
        let by_hand = by_hand.map(|(enabled, at_ms)| ByHand { enabled, at_ms });
        for &(now_ms, on) in expected {
            assert_eq!(
                schedule.is_on(by_hand, now_ms),
                on,
                "{schedule:?} {by_hand:?} at {now_ms}"
            );
        }
    }

    fn times(enable_at_ms: Option<u64>, disable_at_ms: Option<u64>) -> Schedule {
        Schedule {
            enabled: true,
            enable_at_ms,
            disable_at_ms,
        }
    }

    #[test]
    fn without_times_it_is_as_the_file_or_a_person_says() {
        check(Schedule::default(), None, &[(0, true)]);
        check(Schedule::default(), Some((false, 0)), &[(0, false), (9, false)]);
        let off = Schedule {
            enabled: false,
            ..Schedule::default()
        };
        check(off, None, &[(0, false)]);
        check(off, Some((true, 5)), &[(5, true)]);
    }

    #[test]
    fn times_switch_it() {
        check(
            times(Some(10), None),
            None,
            &[(0, false), (9, false), (10, true), (99, true)],
        );
        check(times(None, Some(10)), None, &[(0, true), (9, true), (10, false)]);
        check(
            times(Some(10), Some(20)),
            None,
            &[(9, false), (10, true), (19, true), (20, false)],
        );
        check(
            times(Some(20), Some(10)),
            None,
            &[(9, true), (10, false), (19, false), (20, true)],
        );
    }

    #[test]
    fn the_files_no_is_a_kill_switch() {
        let killed = Schedule {
            enabled: false,
            ..times(Some(10), None)
        };
        check(killed, None, &[(9, false), (10, false), (99, false)]);
    }

    #[test]
    fn what_a_person_switched_off_no_time_switches_on() {
        check(
            times(Some(10), None),
            Some((false, 5)),
            &[(5, false), (10, false), (99, false)],
        );
    }

    #[test]
    fn what_a_person_switched_on_goes_by_later_times() {
        check(
            times(Some(10), Some(20)),
            Some((true, 5)),
            &[(5, true), (19, true), (20, false)],
        );
        check(times(None, Some(10)), Some((true, 15)), &[(15, true), (99, true)]);
    }
}
