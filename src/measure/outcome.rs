//! What one exchange shows about its backend.

/// What one exchange shows about its backend (design rule 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The backend answered, and not with an error of its own.
    Success,
    /// The backend's fault: 5xx, connect error, reset, timeout, malformed response.
    Failure,
    /// The client's fault or ours: says nothing about the backend.
    NoEvidence,
}

impl Outcome {
    /// All, in the order of their counters.
    pub const ALL: [Self; 3] = [Self::Success, Self::Failure, Self::NoEvidence];

    /// The word in logs, labels and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::NoEvidence => "noEvidence",
        }
    }
}

/// Which statuses of a backend are its failures. 128 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureStatuses {
    bits: [u64; 16],
}

impl FailureStatuses {
    /// Exactly these; what is above 1023 is none.
    #[must_use]
    pub fn new(statuses: impl IntoIterator<Item = u16>) -> Self {
        let mut bits = [0; 16];
        for status in statuses.into_iter().filter(|&status| status < 1024) {
            bits[usize::from(status >> 6)] |= 1 << (status & 63);
        }
        Self { bits }
    }

    /// The outcome of a backend's own answer with this status: what is listed is its failure, the other
    /// errors (400 and above) show nothing about it, the rest is success.
    #[must_use]
    pub fn outcome_of(&self, status: u16) -> Outcome {
        match status {
            _ if self.contains(status) => Outcome::Failure,
            400.. => Outcome::NoEvidence,
            _ => Outcome::Success,
        }
    }

    /// Whether `status` says that the client made a mistake, and is no failure.
    #[must_use]
    pub fn is_client_error(&self, status: u16) -> bool {
        (400..500).contains(&status) && !self.contains(status)
    }

    /// Whether `status` is the backend's failure.
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        let word = self.bits.get(usize::from(status >> 6));
        word.is_some_and(|word| word & (1 << (status & 63)) != 0)
    }
}

impl Default for FailureStatuses {
    /// 500 to 999.
    fn default() -> Self {
        Self::new(500..=999)
    }
}

/// The class of the status that the client was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodeClass {
    /// 101 and other interim statuses that ended the exchange.
    Informational,
    /// 2xx
    Success,
    /// 3xx
    Redirection,
    /// 4xx
    ClientError,
    /// 5xx
    ServerError,
    /// The client got no status at all.
    None,
}

impl CodeClass {
    /// All, in the order of their counters.
    pub const ALL: [Self; 6] = [
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
        Self::None,
    ];

    /// The class of `status`; 0 means that none was sent.
    #[must_use]
    pub const fn of(status: u16) -> Self {
        match status {
            0..=99 => Self::None,
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }

    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::None => "none",
        }
    }
}

/// Which book an exchange is kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// The draw placed it: evidence, in the slot of the epoch it was dispatched in (its parity).
    Draw {
        /// 0 or 1: the epoch's parity.
        slot: u8,
    },
    /// A cohort placed it: measured and exported, but it does not vote.
    Cohort,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(statuses: &FailureStatuses, status: u16, expected: Outcome, client_error: bool) {
        assert_eq!(statuses.outcome_of(status), expected, "{status}");
        assert_eq!(statuses.is_client_error(status), client_error, "{status}");
    }

    #[test]
    fn a_status_is_the_backends_failure_from_500_on() {
        let default = FailureStatuses::default();
        check(&default, 101, Outcome::Success, false);
        check(&default, 200, Outcome::Success, false);
        check(&default, 304, Outcome::Success, false);
        check(&default, 399, Outcome::Success, false);
        check(&default, 400, Outcome::NoEvidence, true);
        check(&default, 404, Outcome::NoEvidence, true);
        check(&default, 499, Outcome::NoEvidence, true);
        check(&default, 500, Outcome::Failure, false);
        check(&default, 503, Outcome::Failure, false);
        check(&default, 999, Outcome::Failure, false);
    }

    #[test]
    fn a_list_of_its_own_says_what_is_a_failure() {
        let own = FailureStatuses::new([404, 500, 206]);
        check(&own, 404, Outcome::Failure, false);
        check(&own, 403, Outcome::NoEvidence, true);
        check(&own, 500, Outcome::Failure, false);
        check(&own, 503, Outcome::NoEvidence, false);
        check(&own, 206, Outcome::Failure, false);
        check(&own, 200, Outcome::Success, false);
        check(&FailureStatuses::new([]), 599, Outcome::NoEvidence, false);
    }

    #[test]
    fn a_class_is_the_first_digit() {
        let check = |status, expected: &str| assert_eq!(CodeClass::of(status).as_str(), expected, "{status}");
        check(0, "none");
        check(101, "1xx");
        check(204, "2xx");
        check(301, "3xx");
        check(429, "4xx");
        check(502, "5xx");
        check(799, "5xx");
    }

    #[test]
    fn counters_are_in_the_order_of_all() {
        assert!(Outcome::ALL.iter().enumerate().all(|(i, &o)| o as usize == i));
        assert!(CodeClass::ALL.iter().enumerate().all(|(i, &c)| c as usize == i));
    }
}
