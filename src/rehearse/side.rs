//! The counters of one side as workers would have kept them, at any moment of the log's time.

use crate::analysis::Side;
use crate::measure::{Counts, Histogram, LIMITS, NO_LIMIT, Outcome};

/// An open request older than this changes nothing any more by growing older.
const GROWN_US: u64 = 60_000_000;

/// One exchange that is open at the present moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    /// The slot of its epoch; `None`: it does not vote, and only its latency is of use.
    pub(super) slot: Option<u8>,
    pub(super) at_us: u64,
    /// When its response head came; `None`: none came.
    pub(super) head_us: Option<u64>,
    pub(super) end_us: u64,
    /// Until the response head, without the waiting.
    pub(super) latency_us: u64,
    /// Its age does not grow so long.
    pub(super) waited_us: u64,
    pub(super) outcome: Outcome,
    pub(super) client_error: bool,
    /// Its latency says nothing.
    pub(super) warming: bool,
    /// Limits that it was counted at, a bit each.
    pub(super) slow: u16,
}

/// One side of a rollout: what a recorder holds.
#[derive(Debug)]
pub(super) struct SideBook {
    counts: [Counts; 2],
    overdue: [u64; LIMITS],
    limits_us: [u64; LIMITS],
    /// Everybody's, as a recorder keeps them.
    latencies: Histogram,
    /// Whose head is still to come, and all that are open.
    open: Vec<Open>,
    /// Of those whose head has come: their end alone is awaited.
    answered: Vec<Open>,
}

impl SideBook {
    /// Nothing happened yet.
    pub(super) fn new(limits_us: [u64; LIMITS]) -> Self {
        Self {
            counts: Default::default(),
            overdue: [0; LIMITS],
            limits_us,
            latencies: Histogram::default(),
            open: Vec::new(),
            answered: Vec::new(),
        }
    }

    /// Moves a limit.
    pub(super) fn set_limit_us(&mut self, index: usize, limit_us: u64) {
        self.limits_us[index] = limit_us;
    }

    /// A request was sent on its way.
    pub(super) fn dispatched(&mut self, open: Open) {
        if let Some(slot) = open.slot {
            self.counts[usize::from(slot & 1)].dispatched += 1;
        }
        self.open.push(open);
    }

    /// What has happened until `now_us`, which never goes back.
    pub(super) fn settle(&mut self, now_us: u64) {
        let mut open = std::mem::take(&mut self.open);
        self.overdue = [0; LIMITS];
        open.retain_mut(|request| {
            if request.head_us.is_some_and(|head_us| head_us <= now_us) {
                self.headed(request);
                self.answered.push(*request);
                return false;
            }
            self.grow(request, now_us.min(request.end_us));
            if request.end_us <= now_us {
                self.resolved(request, true);
                return false;
            }
            for (index, overdue) in self.overdue.iter_mut().enumerate() {
                *overdue += u64::from(request.slow & (1 << index) != 0);
            }
            true
        });
        self.open = open;
        let mut answered = std::mem::take(&mut self.answered);
        answered.retain(|request| {
            let is_open = request.end_us > now_us;
            if !is_open {
                self.resolved(request, false);
            }
            is_open
        });
        self.answered = answered;
    }

    /// As the judge sees it.
    pub(super) const fn side(&self) -> Side {
        Side {
            counts: self.counts,
            overdue: self.overdue,
        }
    }

    /// Latencies of everything so far.
    pub(super) const fn latencies(&self) -> &Histogram {
        &self.latencies
    }

    /// Whether somebody waits for a head whose age still says something.
    pub(super) fn has_young(&self, now_us: u64) -> bool {
        self.open
            .iter()
            .any(|request| request.at_us.saturating_add(GROWN_US) > now_us)
    }

    fn headed(&mut self, request: &Open) {
        if !request.warming {
            self.latencies.record(request.latency_us);
        }
        let Some(slot) = request.slot else { return };
        let counts = &mut self.counts[usize::from(slot & 1)];
        counts.headed += 1;
        counts.client_errors += u64::from(request.client_error);
        if request.warming {
            return;
        }
        for (index, limit_us) in limits_but(&self.limits_us, request.slow) {
            let side = if request.latency_us > limit_us {
                &mut counts.slow
            } else {
                &mut counts.fast
            };
            side[index] += 1;
        }
    }

    /// It waits until `until_us`, without a head.
    fn grow(&mut self, request: &mut Open, until_us: u64) {
        let Some(slot) = request.slot.filter(|_| !request.warming) else {
            return;
        };
        let age_us = until_us.saturating_sub(request.at_us).saturating_sub(request.waited_us);
        for (index, limit_us) in limits_but(&self.limits_us, request.slow) {
            if age_us > limit_us {
                request.slow |= 1 << index;
                self.counts[usize::from(slot & 1)].slow[index] += 1;
            }
        }
    }

    fn resolved(&mut self, request: &Open, headless: bool) {
        let Some(slot) = request.slot else { return };
        let counts = &mut self.counts[usize::from(slot & 1)];
        counts.headless += u64::from(headless);
        let counter = match request.outcome {
            Outcome::Success => &mut counts.success,
            Outcome::Failure => &mut counts.failure,
            Outcome::NoEvidence => &mut counts.no_evidence,
        };
        *counter += 1;
    }
}

/// The limits that are on, but those whose bit is set in `counted`.
fn limits_but(limits_us: &[u64; LIMITS], counted: u16) -> impl Iterator<Item = (usize, u64)> {
    let limits = limits_us.iter().copied().enumerate();
    limits.filter(move |&(index, limit_us)| limit_us != NO_LIMIT && counted & (1 << index) == 0)
}

#[cfg(test)]
mod tests {
    use super::{Open, SideBook};
    use crate::measure::{LIMITS, NO_LIMIT, Outcome};

    const FAST: Open = Open {
        slot: Some(0),
        at_us: 1_000,
        head_us: Some(1_400),
        end_us: 1_500,
        latency_us: 400,
        waited_us: 0,
        outcome: Outcome::Success,
        client_error: false,
        warming: false,
        slow: 0,
    };

    const HANGS: Open = Open {
        head_us: None,
        end_us: 9_000,
        outcome: Outcome::Failure,
        ..FAST
    };

    /// Counts at 500 us and at 2 ms.
    fn book(open: &[Open]) -> SideBook {
        let mut limits_us = [NO_LIMIT; LIMITS];
        (limits_us[0], limits_us[1]) = (500, 2_000);
        let mut book = SideBook::new(limits_us);
        open.iter().for_each(|&open| book.dispatched(open));
        book
    }

    /// `[dispatched, headed, headless, success, failure, no evidence]`, fast, slow and overdue at `now_us`.
    fn check(book: &mut SideBook, now_us: u64, counts: [u64; 6], fast: [u64; 2], slow: [u64; 2], overdue: [u64; 2]) {
        book.settle(now_us);
        let side = book.side();
        let sum = side.sum();
        let found = [
            sum.dispatched,
            sum.headed,
            sum.headless,
            sum.success,
            sum.failure,
            sum.no_evidence,
        ];
        assert_eq!(found, counts, "{now_us}");
        let both = |all: [u64; LIMITS]| [all[0], all[1]];
        assert_eq!(
            (both(sum.fast), both(sum.slow), both(side.overdue)),
            (fast, slow, overdue),
            "{now_us}"
        );
    }

    #[test]
    fn each_event_counts_from_its_moment_on() {
        let mut book = book(&[FAST]);
        check(&mut book, 1_399, [1, 0, 0, 0, 0, 0], [0, 0], [0, 0], [0, 0]);
        check(&mut book, 1_400, [1, 1, 0, 0, 0, 0], [1, 1], [0, 0], [0, 0]);
        check(&mut book, 1_500, [1, 1, 0, 1, 0, 0], [1, 1], [0, 0], [0, 0]);
        check(&mut book, 9_999, [1, 1, 0, 1, 0, 0], [1, 1], [0, 0], [0, 0]);
    }

    #[test]
    fn who_hangs_is_slow_before_the_end() {
        let mut book = book(&[HANGS]);
        check(&mut book, 1_500, [1, 0, 0, 0, 0, 0], [0, 0], [0, 0], [0, 0]);
        check(&mut book, 1_501, [1, 0, 0, 0, 0, 0], [0, 0], [1, 0], [1, 0]);
        check(&mut book, 5_000, [1, 0, 0, 0, 0, 0], [0, 0], [1, 1], [1, 1]);
        assert!(book.has_young(5_000) && !book.has_young(61_000_000));
        check(&mut book, 9_000, [1, 0, 1, 0, 1, 0], [0, 0], [1, 1], [0, 0]);
    }

    #[test]
    fn nobody_grows_older_after_the_end_or_while_the_client_is_waited_for() {
        let mut short = book(&[Open { end_us: 1_600, ..HANGS }]);
        check(&mut short, 9_000, [1, 0, 1, 0, 1, 0], [0, 0], [1, 0], [0, 0]);
        let mut waits = book(&[Open {
            waited_us: 7_000,
            outcome: Outcome::NoEvidence,
            ..HANGS
        }]);
        check(&mut waits, 8_500, [1, 0, 0, 0, 0, 0], [0, 0], [0, 0], [0, 0]);
        check(&mut waits, 8_501, [1, 0, 0, 0, 0, 0], [0, 0], [1, 0], [1, 0]);
        check(&mut waits, 9_000, [1, 0, 1, 0, 0, 1], [0, 0], [1, 0], [0, 0]);
    }

    #[test]
    fn who_was_found_slow_is_not_fast_where_the_limit_moved() {
        let slow = Open {
            head_us: Some(1_700),
            latency_us: 700,
            end_us: 1_700,
            ..FAST
        };
        let mut book = book(&[slow]);
        check(&mut book, 1_600, [1, 0, 0, 0, 0, 0], [0, 0], [1, 0], [1, 0]);
        book.set_limit_us(0, 5_000);
        check(&mut book, 1_700, [1, 1, 0, 1, 0, 0], [0, 1], [1, 0], [0, 0]);
    }

    #[test]
    fn an_endpoint_that_warms_up_shows_no_latency_and_who_has_no_vote_nothing_else() {
        let mut warming = book(&[Open { warming: true, ..FAST }, Open { warming: true, ..HANGS }]);
        check(&mut warming, 8_000, [2, 1, 0, 1, 0, 0], [0, 0], [0, 0], [0, 0]);
        assert_eq!(warming.latencies().count(), 0);
        let mut voiceless = book(&[Open { slot: None, ..FAST }, Open { slot: None, ..HANGS }]);
        check(&mut voiceless, 9_999, [0; 6], [0, 0], [0, 0], [0, 0]);
        assert_eq!(voiceless.latencies().count(), 1);
    }

    #[test]
    fn slots_and_client_errors_are_kept_apart() {
        let wrong = Open {
            slot: Some(1),
            outcome: Outcome::NoEvidence,
            client_error: true,
            ..FAST
        };
        let mut book = book(&[FAST, wrong]);
        book.settle(2_000);
        let [even, odd] = book.side().counts;
        assert_eq!(
            (even.success, even.client_errors, odd.no_evidence, odd.client_errors),
            (1, 0, 1, 1)
        );
    }
}
