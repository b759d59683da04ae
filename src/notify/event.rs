//! What a record of the audit log is to those who are told of rollouts. Pure.

use crate::audit::{Record, WOULD_ABORT};
use crate::config::Severity;

/// Something that channels may be told of.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Of its record; 0: it is not in the log.
    pub seq: u64,
    /// Unix milliseconds.
    pub at_ms: u64,
    /// What happened.
    pub what: What,
    /// How much it matters; `None`: it goes well.
    pub severity: Option<Severity>,
    /// In one line.
    pub title: String,
    /// Why, with figures.
    pub reason: String,
    /// Whom it concerns; `None`: all.
    pub rollout: Option<String>,
    /// Whom it concerns.
    pub route: Option<String>,
    /// What is on trial.
    pub release: Option<String>,
    /// Before, in words.
    pub from: String,
    /// Now, in words.
    pub to: String,
    /// Who.
    pub by: String,
    /// That came of it.
    pub generation: u64,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // their words say it
pub enum What {
    Aborted,
    RolledBack,
    WouldAbort,
    Paused,
    Held,
    Waiting,
    Started,
    Moved,
    Succeeded,
    Recovered,
    Watched,
    Approved,
    Frozen,
    Unfrozen,
    SwitchedOff,
    SwitchedOn,
}

impl What {
    /// The word in payloads.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aborted => "aborted",
            Self::RolledBack => "rolledBack",
            Self::WouldAbort => "wouldAbort",
            Self::Paused => "paused",
            Self::Held => "held",
            Self::Waiting => "waiting",
            Self::Started => "started",
            Self::Moved => "moved",
            Self::Succeeded => "succeeded",
            Self::Recovered => "recovered",
            Self::Watched => "watched",
            Self::Approved => "approved",
            Self::Frozen => "frozen",
            Self::Unfrozen => "unfrozen",
            Self::SwitchedOff => "switchedOff",
            Self::SwitchedOn => "switchedOn",
        }
    }

    /// How much it matters when `by` did it; `None`: it goes well. Who pauses a rollout knows it.
    fn severity(self, by: &str) -> Option<Severity> {
        match self {
            Self::Aborted | Self::RolledBack => Some(Severity::Critical),
            Self::WouldAbort | Self::Held | Self::Waiting => Some(Severity::Warn),
            Self::Paused => matches!(by, "serin" | "file").then_some(Severity::Warn),
            // What the file and the clock do was planned.
            Self::SwitchedOff => (!matches!(by, "serin" | "file")).then_some(Severity::Warn),
            Self::Started
            | Self::Moved
            | Self::Succeeded
            | Self::Recovered
            | Self::Watched
            | Self::Approved
            | Self::Frozen
            | Self::Unfrozen
            | Self::SwitchedOn => None,
        }
    }
}

/// What channels may be told of `record`; `None`: nothing.
#[must_use]
pub fn event_of(record: &Record) -> Option<Event> {
    let what = match (record.kind.as_str(), phase(&record.to)) {
        ("rollout", to) => of_rollout(record, phase(&record.from), to)?,
        ("verdict", "hold") => What::Held,
        // Where Serin acts, the abort that follows tells it.
        ("verdict", "fail") if record.reason.starts_with(WOULD_ABORT) => What::WouldAbort,
        ("approval", _) => What::Approved,
        ("freeze", "frozen") => What::Frozen,
        ("freeze", _) => What::Unfrozen,
        // A word that changes nothing is in the audit log alone.
        ("flag", to) if to == record.from => return None,
        ("flag", "disabled") => What::SwitchedOff,
        ("flag", _) => What::SwitchedOn,
        _ => return None,
    };
    let title = match &record.rollout {
        Some(rollout) if record.kind != "flag" => format!("{rollout}: {}", words(what, record)),
        Some(_) | None => words(what, record),
    };
    Some(Event {
        seq: record.seq,
        at_ms: record.at_ms,
        what,
        severity: what.severity(&record.by),
        title,
        reason: record.reason.clone(),
        rollout: record.rollout.clone(),
        route: record.route.clone(),
        release: record.facts.get("release").cloned(),
        from: record.from.clone(),
        to: record.to.clone(),
        by: record.by.clone(),
        generation: record.generation,
    })
}

fn of_rollout(record: &Record, from: &str, to: &str) -> Option<What> {
    let waits = record.facts.contains_key("waitsFor");
    match (from, to) {
        ("aborted", "aborted") => None,
        ("succeeded", "aborted") => Some(What::RolledBack),
        (_, "aborted") => Some(What::Aborted),
        (_, "paused") => Some(What::Paused),
        ("succeeded", "succeeded") => Some(What::Watched),
        (_, "succeeded") => Some(What::Succeeded),
        (_, "progressing" | "promoting") if waits => Some(What::Waiting),
        ("progressing" | "promoting" | "paused", "progressing" | "promoting") => Some(What::Moved),
        (_, "progressing" | "promoting") => Some(What::Started),
        _ => None,
    }
}

/// The phase that words such as `progressing, step 2 of 4` begin with.
fn phase(words: &str) -> &str {
    words.split(',').next().unwrap_or_default()
}

/// The title behind the rollout's name.
fn words(what: What, record: &Record) -> String {
    let waits_for = record.facts.get("waitsFor");
    match what {
        What::Aborted => "aborted, the canary gets nothing".to_owned(),
        What::RolledBack => "rolled back after its promotion".to_owned(),
        What::WouldAbort => "would have been aborted, but only observes".to_owned(),
        What::Paused => "paused, waits for a person".to_owned(),
        What::Held => "held, the verdict lets it go no further".to_owned(),
        What::Waiting => format!("waits for {}", waits_for.map_or("people", String::as_str)),
        What::Started => "started".to_owned(),
        What::Moved => format!("moved on to {}", record.to),
        What::Succeeded => "promoted".to_owned(),
        What::Recovered => "recovered, promoted after an abort".to_owned(),
        What::Watched => "still promoted".to_owned(),
        What::Approved => format!("approved by {}", record.by),
        What::Frozen => "frozen, nothing moves forward".to_owned(),
        What::Unfrozen => "not frozen any more".to_owned(),
        What::SwitchedOff => format!("flag {} switched off", flag(record)),
        What::SwitchedOn => format!("flag {} switched on", flag(record)),
    }
}

fn flag(record: &Record) -> &str {
    record.facts.get("flag").map_or("", String::as_str)
}

impl Event {
    /// A success, as those see it who were told of the abort before it.
    pub(super) fn recovered(&self) -> Self {
        let name = self.rollout.as_deref().unwrap_or_default();
        Self {
            what: What::Recovered,
            title: format!("{name}: recovered, promoted after an abort"),
            ..self.clone()
        }
    }

    pub(super) fn is_critical(&self) -> bool {
        self.severity == Some(Severity::Critical)
    }

    /// The time as `2026-11-21T12:00:00.000Z`.
    pub(super) fn time(&self) -> String {
        let ms = i64::try_from(self.at_ms).unwrap_or(i64::MAX);
        let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
        format!("{time:.3}")
    }

    /// Names and values, as people read them; none is empty.
    pub(super) fn facts(&self, environment: Option<&str>) -> Vec<(&'static str, String)> {
        let change = match (self.from.is_empty(), self.to.is_empty()) {
            (false, false) => format!("{} → {}", self.from, self.to),
            _ => self.to.clone(),
        };
        let optional = |text: &Option<String>| text.clone().unwrap_or_default();
        let facts = [
            ("Rollout", optional(&self.rollout)),
            ("Route", optional(&self.route)),
            ("Release", optional(&self.release)),
            ("Environment", environment.unwrap_or_default().to_owned()),
            ("Change", change),
            ("By", self.by.clone()),
            ("Generation", self.generation.to_string()),
        ];
        facts.into_iter().filter(|(_, value)| !value.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fixture::record;

    #[test]
    fn records_become_events() {
        let check = |kind: &str, by: &str, from: &str, to: &str, expected: Option<(What, Option<Severity>)>| {
            let mut record = record(1, from, to);
            record.kind = kind.to_owned();
            record.by = by.to_owned();
            let found = event_of(&record).map(|event| (event.what, event.severity));
            assert_eq!(found, expected, "{kind} by {by}: {from} -> {to}");
        };
        let (warn, critical) = (Some(Severity::Warn), Some(Severity::Critical));
        check(
            "rollout",
            "serin",
            "progressing",
            "aborted",
            Some((What::Aborted, critical)),
        );
        check("rollout", "ana", "paused", "aborted", Some((What::Aborted, critical)));
        check(
            "rollout",
            "serin",
            "watching",
            "aborted",
            Some((What::Aborted, critical)),
        );
        check(
            "rollout",
            "ana",
            "succeeded",
            "aborted",
            Some((What::RolledBack, critical)),
        );
        check("rollout", "serin", "progressing", "paused", Some((What::Paused, warn)));
        check("rollout", "ana", "progressing", "paused", Some((What::Paused, None)));
        check("rollout", "ana", "idle", "progressing", Some((What::Started, None)));
        check("rollout", "ana", "aborted", "promoting", Some((What::Started, None)));
        let (one, two) = ("progressing, step 1 of 4", "progressing, step 2 of 4");
        check("rollout", "serin", one, two, Some((What::Moved, None)));
        check(
            "rollout",
            "serin",
            "progressing",
            "promoting",
            Some((What::Moved, None)),
        );
        check("rollout", "ana", "paused", "progressing", Some((What::Moved, None)));
        check(
            "rollout",
            "serin",
            "promoting",
            "succeeded",
            Some((What::Succeeded, None)),
        );
        check(
            "rollout",
            "serin",
            "succeeded",
            "succeeded",
            Some((What::Watched, None)),
        );
        check("rollout", "file", "idle", "watching", None);
        check("rollout", "file", "aborted", "idle", None);
        check("verdict", "serin", "pass", "hold", Some((What::Held, warn)));
        check("verdict", "serin", "pass", "fail", None);
        check("verdict", "serin", "hold", "pass", None);
        check("approval", "ana", "", "1 of 2", Some((What::Approved, None)));
        check("freeze", "ana", "not frozen", "frozen", Some((What::Frozen, None)));
        check("freeze", "ana", "frozen", "not frozen", Some((What::Unfrozen, None)));
        check("flag", "ana", "enabled", "disabled", Some((What::SwitchedOff, warn)));
        check("flag", "serin", "enabled", "disabled", Some((What::SwitchedOff, None)));
        check("flag", "ana", "disabled", "enabled", Some((What::SwitchedOn, None)));
        check("flag", "ana", "disabled", "disabled", None);
        for kind in ["weights", "reload", "start", "stop", "audit", "something new"] {
            check(kind, "serin", "progressing", "aborted", None);
        }
    }

    #[test]
    fn a_failed_verdict_is_told_only_where_nobody_acts_upon_it() {
        let check = |reason: &str, expected: Option<What>| {
            let mut record = record(0, "pass", "fail");
            record.kind = "verdict".to_owned();
            record.reason = reason.to_owned();
            assert_eq!(event_of(&record).map(|event| event.what), expected, "{reason}");
        };
        check("would abort: errorRate 5 %", Some(What::WouldAbort));
        check("errorRate 5 %", None);
        check("errorRate 5 %, which would abort: no", None);
    }

    #[test]
    fn a_step_that_waits_for_people_says_for_whom() {
        let mut record = record(1, "progressing, step 1 of 4", "progressing, step 2 of 4");
        record
            .facts
            .insert("waitsFor".to_owned(), "2 approvals by releaseManager".to_owned());
        let event = event_of(&record).unwrap();
        assert_eq!((event.what, event.severity), (What::Waiting, Some(Severity::Warn)));
        assert_eq!(event.title, "checkout-v2: waits for 2 approvals by releaseManager");
    }

    #[test]
    fn an_event_keeps_what_the_record_says() {
        let event = event_of(&record(7, "progressing", "aborted")).unwrap();
        assert_eq!(event.title, "checkout-v2: aborted, the canary gets nothing");
        assert_eq!(event.release.as_deref(), Some("v2.0.0"));
        assert_eq!((event.seq, event.generation), (7, 42));
        assert_eq!(event.time(), "2026-11-21T12:00:00.000Z");
        assert!(
            event
                .facts(None)
                .iter()
                .any(|fact| *fact == ("Change", "progressing → aborted".to_owned()))
        );
    }
}
