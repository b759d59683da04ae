//! Records and channels for tests.

use std::collections::BTreeMap;

use crate::audit::Record;
use crate::config::{Channel, Service, Severity};
use crate::name::Name;

/// 2026-11-21T12:00:00Z
pub(super) const NOON_MS: u64 = 1_795_262_400_000;

pub(super) fn record(seq: u64, from: &str, to: &str) -> Record {
    Record {
        seq,
        at_ms: NOON_MS,
        kind: "rollout".to_owned(),
        by: "serin".to_owned(),
        route: Some("checkout".to_owned()),
        rollout: Some("checkout-v2".to_owned()),
        from: from.to_owned(),
        to: to.to_owned(),
        reason: "5.2 % errors in 812 requests <stable: 0.1 %> & \"more\"".to_owned(),
        generation: 42,
        facts: BTreeMap::from([("release".to_owned(), "v2.0.0".to_owned())]),
        evidence: None,
        previous: String::new(),
    }
}

pub(super) fn channel(service: Service, severity: Severity, progress: bool) -> Channel {
    Channel {
        name: Name::new("ops").unwrap(),
        service,
        severity,
        progress,
        rollouts: Vec::new(),
    }
}
