//! What Serin has recorded, as far as a case can move it.

use crate::common::{Metrics, Serin};

/// What Serin has counted.
#[derive(Debug)]
pub struct Counts {
    pub success: u64,
    pub failure: u64,
    pub no_evidence: u64,
    /// By reason; those above 0.
    pub rejected: Vec<(String, u64)>,
}

impl Counts {
    pub fn of(serin: &Serin) -> Self {
        let metrics = Metrics::of(serin);
        let (success, failure, no_evidence) = metrics.requests("app", "stable");
        Self {
            success,
            failure,
            no_evidence,
            rejected: metrics.by_label("serin_rejected_total", "reason"),
        }
    }

    pub fn since(&self, before: &Self) -> Self {
        let was = |reason: &str| {
            before
                .rejected
                .iter()
                .find(|(own, _)| own == reason)
                .map_or(0, |(_, count)| *count)
        };
        let rejected = self
            .rejected
            .iter()
            .map(|(reason, count)| (reason.clone(), count - was(reason)));
        Self {
            success: self.success - before.success,
            failure: self.failure - before.failure,
            no_evidence: self.no_evidence - before.no_evidence,
            rejected: rejected.filter(|(_, count)| *count > 0).collect(),
        }
    }
}

/// The label under which a refusal with this status is counted.
pub fn reject_reason(status: u16) -> Option<&'static str> {
    match status {
        400 | 413 => Some("bad_request"),
        405 | 417 => Some("unsupported"),
        414 => Some("uri"),
        431 => Some("headers"),
        _ => None,
    }
}
