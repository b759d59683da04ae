//! What happened, as a record of the audit log.

use serde_json::Value;

use super::super::evidence::EvidenceBody;
use super::super::journal::{Happening, Kind, WOULD_ABORT};
use crate::analysis::Verdict;
use crate::audit::Record;
use crate::name::Name;

impl Happening {
    /// The record of it; `None` for a verdict that nobody would have acted upon.
    pub(in crate::control) fn record(&self, generation: u64, at_ms: u64) -> Option<Record> {
        if self.kind == Kind::Verdict && !self.reason.starts_with(WOULD_ABORT) {
            return None;
        }
        Some(self.told(generation, at_ms))
    }

    /// The same for those who are told of it: also what is in no log, which has the number 0.
    pub(in crate::control) fn told(&self, generation: u64, at_ms: u64) -> Record {
        let facts = self.facts.iter();
        Record {
            seq: self.seq.unwrap_or(0),
            at_ms,
            generation,
            kind: self.kind.as_str().to_owned(),
            by: self.by.clone(),
            route: self.route.as_ref().map(Name::to_string),
            rollout: self.rollout.as_ref().map(Name::to_string),
            from: self.from.clone(),
            to: self.to.clone(),
            reason: self.reason.clone(),
            facts: facts.map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            evidence: self.verdict.as_ref().map(evidence),
            ..Record::default()
        }
    }
}

/// The figures as the API shows them, with the verdict's word, and without the proof.
fn evidence(verdict: &Verdict) -> Value {
    let mut figures = serde_json::to_value(EvidenceBody::brief(verdict)).unwrap_or_default();
    if let Value::Object(figures) = &mut figures {
        figures.insert("verdict".to_owned(), verdict.kind.as_str().into());
        figures.insert("reason".to_owned(), verdict.reason.clone().into());
    }
    figures
}
