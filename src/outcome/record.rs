//! What one exchange came to, as far as a rehearsal needs to know it.

use crate::measure::{FailureStatuses, Outcome};

/// One exchange with a backend that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was dispatched, in Unix milliseconds by a clock that does not go back while Serin runs.
    pub at_ms: u64,
    /// The route.
    pub route: &'a str,
    /// The variant that was tried.
    pub variant: &'a str,
    /// What the variant owned of the split at dispatch, 0 to 1,000,000.
    pub share_ppm: u32,
    /// Whether it is evidence.
    pub vote: Vote,
    /// Hash of the key that the draw went by; `None` without one.
    pub key: Option<u32>,
    /// How it ended.
    pub outcome: Outcome,
    /// What the client was sent; 0 when nothing was.
    pub status: u16,
    /// Until the backend's response head, without the time that the client kept us waiting; `None`:
    /// no head came.
    pub latency_us: Option<u64>,
    /// From dispatch to the end.
    pub duration_us: u64,
    /// How long we waited for the client's body before the response head (or the end) came. The clock
    /// of latency stood still in it.
    pub waited_us: u64,
    /// The worker that served it: votes of a key are counted by worker.
    pub worker: u16,
}

/// Whether an exchange is evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    /// Its outcome and its latency are.
    Full,
    /// Its outcome is; the endpoint was still warming up.
    Warming,
    /// It is none, since its key had voted often enough.
    Unheard,
    /// It is none: a cohort placed it, or the breaker sent it elsewhere.
    None,
}

impl Vote {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Full, Self::Warming, Self::Unheard, Self::None];

    /// The letter in a line.
    #[must_use]
    pub const fn letter(self) -> u8 {
        match self {
            Self::Full => b'v',
            Self::Warming => b'w',
            Self::Unheard => b'k',
            Self::None => b'-',
        }
    }
}

impl Record<'_> {
    /// When it was dispatched, in Unix microseconds.
    #[must_use]
    pub const fn at_us(&self) -> u64 {
        self.at_ms.saturating_mul(1000)
    }

    /// When it was over, in Unix microseconds.
    #[must_use]
    pub const fn end_us(&self) -> u64 {
        self.at_us().saturating_add(self.duration_us)
    }

    /// When the backend's response head came, in Unix microseconds; `None`: none came.
    #[must_use]
    pub fn head_us(&self) -> Option<u64> {
        let after_us = self.latency_us?.saturating_add(self.waited_us);
        Some(self.at_us().saturating_add(after_us).min(self.end_us()))
    }

    /// How it would have ended where these statuses are a backend's failures. Only a backend's own
    /// answer depends on them.
    #[must_use]
    pub fn outcome_by(&self, statuses: &FailureStatuses) -> Outcome {
        let by_status = statuses.outcome_of(self.status);
        match (self.latency_us, by_status) {
            // Without a head it was not the status that decided, nor where a good answer broke off.
            (None, _) | (Some(_), Outcome::Success) => self.outcome,
            (Some(_), Outcome::Failure | Outcome::NoEvidence) => by_status,
        }
    }

    /// Whether the backend itself answered 4xx, where that is none of its failures.
    #[must_use]
    pub fn is_client_error(&self, statuses: &FailureStatuses) -> bool {
        self.latency_us.is_some() && statuses.is_client_error(self.status)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Record, Vote};
    use crate::measure::{FailureStatuses, Outcome};

    pub(in crate::outcome) const RECORD: Record<'static> = Record {
        at_ms: 1_795_262_413_042,
        route: "checkout",
        variant: "canary",
        share_ppm: 50_000,
        vote: Vote::Full,
        key: Some(0x00c0_ffee),
        outcome: Outcome::Success,
        status: 200,
        latency_us: Some(12_345),
        duration_us: 13_000,
        waited_us: 0,
        worker: 1,
    };

    #[test]
    fn the_head_comes_after_the_waiting_and_not_after_the_end() {
        let check = |latency_us, waited_us, expected: Option<u64>| {
            let record = Record {
                latency_us,
                waited_us,
                ..RECORD
            };
            let after = record.head_us().map(|head_us| head_us - record.at_us());
            assert_eq!(after, expected, "{latency_us:?} {waited_us}");
        };
        check(None, 100, None);
        check(Some(500), 0, Some(500));
        check(Some(500), 100, Some(600));
        check(Some(500), 20_000, Some(13_000));
        check(Some(u64::MAX), u64::MAX, Some(13_000));
    }

    #[test]
    fn other_failure_statuses_change_only_what_the_backend_answered() {
        let not_found = FailureStatuses::new([404].into_iter().chain(500..=999));
        let none = FailureStatuses::new([599]);
        let check = |statuses: &FailureStatuses, status, outcome, latency_us, expected, client_error| {
            let record = Record {
                status,
                outcome,
                latency_us,
                ..RECORD
            };
            assert_eq!(
                record.outcome_by(statuses),
                expected,
                "{status} {outcome:?} {latency_us:?}"
            );
            assert_eq!(record.is_client_error(statuses), client_error, "{status} {outcome:?}");
        };
        let usual = FailureStatuses::default();
        use Outcome::{Failure, NoEvidence, Success};
        check(&usual, 200, Success, Some(1), Success, false);
        check(&usual, 404, NoEvidence, Some(1), NoEvidence, true);
        check(&usual, 503, Failure, Some(1), Failure, false);
        check(&usual, 200, Failure, Some(1), Failure, false);
        check(&not_found, 404, NoEvidence, Some(1), Failure, false);
        check(&not_found, 400, NoEvidence, Some(1), NoEvidence, true);
        check(&usual, 404, Failure, Some(1), NoEvidence, true);
        check(&none, 503, Failure, Some(1), NoEvidence, false);
        check(&none, 502, Failure, None, Failure, false);
        check(&not_found, 408, NoEvidence, None, NoEvidence, false);
    }
}
