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

    /// The outcome of a backend's own answer with this status: 5xx is its failure, 4xx shows
    /// nothing about it, the rest is success.
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        match status {
            500.. => Self::Failure,
            400..=499 => Self::NoEvidence,
            _ => Self::Success,
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

    #[test]
    fn a_status_is_the_backends_failure_from_500_on() {
        let check = |status, expected| assert_eq!(Outcome::of_status(status), expected, "{status}");
        check(101, Outcome::Success);
        check(200, Outcome::Success);
        check(304, Outcome::Success);
        check(400, Outcome::NoEvidence);
        check(404, Outcome::NoEvidence);
        check(499, Outcome::NoEvidence);
        check(500, Outcome::Failure);
        check(503, Outcome::Failure);
        check(999, Outcome::Failure);
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
