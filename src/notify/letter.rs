//! What a channel is told of an event, and what it has been told that is not over. Pure.

use std::collections::BTreeSet;

use super::event::{Event, What};
use crate::config::{Channel, Service, Severity};
use crate::outgoing::checksum;

/// PagerDuty takes keys of at most so many characters.
const KEY_MAX: usize = 255;

/// One message to one channel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Letter {
    pub(super) event: Event,
    pub(super) turn: Turn,
    /// It is tried until it is delivered.
    pub(super) must_arrive: bool,
}

/// What a message does to what the channel holds open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Something is wrong from now on.
    Opens(Trouble),
    /// It is not any more.
    Closes(Trouble),
    /// Neither.
    News,
}

/// What is wrong with a rollout, as far as a channel has been told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Trouble {
    pub(super) rollout: String,
    pub(super) sort: Sort,
}

/// The two sorts stand apart: who was told of a rollout that waits must be called anew when it is aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sort {
    Aborted,
    Waits,
}

impl Sort {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Aborted => "aborted",
            Self::Waits => "waits",
        }
    }
}

impl Trouble {
    fn of(event: &Event, sort: Sort) -> Self {
        Self {
            rollout: event.rollout.clone().unwrap_or_default(),
            sort,
        }
    }

    /// By which a service knows that two messages are about the same: `serin/prod/checkout-v2/aborted`.
    pub(super) fn key(&self, environment: Option<&str>) -> String {
        let (sort, environment) = (self.sort.as_str(), environment.unwrap_or("-"));
        let key = format!("serin/{environment}/{}/{sort}", self.rollout);
        if key.chars().count() <= KEY_MAX {
            return key;
        }
        format!("serin/{}/{sort}", checksum(Some(&key), &[]))
    }
}

/// The key of what `event` is about.
pub(super) fn key(event: &Event, environment: Option<&str>) -> String {
    let sort = match event.severity {
        Some(Severity::Warn) => Sort::Waits,
        Some(Severity::Critical) | None => Sort::Aborted,
    };
    Trouble::of(event, sort).key(environment)
}

/// Whether `event` may be a message to `channel`; what is left out here is never asked about again.
pub(super) fn concerns(channel: &Channel, event: &Event) -> bool {
    let may_close = matches!(event.what, What::Succeeded | What::Started | What::Moved);
    may_close || wants(channel, event)
}

/// Whether `channel` is told of `event` for its own sake.
fn wants(channel: &Channel, event: &Event) -> bool {
    match event.severity {
        Some(severity) => severity >= channel.severity,
        None => channel.progress,
    }
}

/// What `channel`, which holds `open`, is told of `event`; perhaps nothing.
pub(super) fn letters(channel: &Channel, open: &BTreeSet<Trouble>, event: &Event) -> Vec<Letter> {
    match channel.service {
        Service::PagerDuty { .. } => to_pager(channel, open, event),
        Service::Slack { .. } | Service::Teams { .. } | Service::Webhook { .. } => {
            to_readers(channel, open, event).into_iter().collect()
        }
    }
}

/// People read what they are told of; who was told of an abort hears of the recovery, too.
fn to_readers(channel: &Channel, open: &BTreeSet<Trouble>, event: &Event) -> Option<Letter> {
    let aborted = Trouble::of(event, Sort::Aborted);
    if event.what == What::Succeeded && open.contains(&aborted) {
        return Some(Letter {
            event: event.recovered(),
            turn: Turn::Closes(aborted),
            must_arrive: true,
        });
    }
    let turn = match event.is_critical() {
        true => Turn::Opens(aborted),
        false => Turn::News,
    };
    wants(channel, event).then(|| Letter {
        event: event.clone(),
        turn,
        must_arrive: event.is_critical(),
    })
}

/// A pager knows alerts only: they begin and end.
fn to_pager(channel: &Channel, open: &BTreeSet<Trouble>, event: &Event) -> Vec<Letter> {
    let (aborted, waits) = (Trouble::of(event, Sort::Aborted), Trouble::of(event, Sort::Waits));
    let letter = |turn, must_arrive| Letter {
        event: event.clone(),
        turn,
        must_arrive,
    };
    let mut letters = Vec::new();
    match event.severity {
        Some(Severity::Critical) => letters.push(letter(Turn::Opens(aborted), true)),
        Some(Severity::Warn) if wants(channel, event) => return vec![letter(Turn::Opens(waits), false)],
        Some(Severity::Warn) => return Vec::new(),
        // Sent even if nothing is known to be open: to close what is not open does nothing, and what was
        // known may have been lost with its file.
        None if event.what == What::Succeeded => letters.push(letter(Turn::Closes(aborted), true)),
        None if matches!(event.what, What::Started | What::Moved) => {}
        None => return Vec::new(),
    }
    if open.contains(&waits) {
        letters.push(letter(Turn::Closes(waits), false));
    }
    letters
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::event_of;
    use crate::notify::fixture::{channel, record};

    fn pager() -> Service {
        Service::PagerDuty {
            url: String::new(),
            routing_key: String::new(),
        }
    }

    fn slack() -> Service {
        Service::Slack { url: String::new() }
    }

    fn open(sorts: &[Sort]) -> BTreeSet<Trouble> {
        let trouble = |&sort: &Sort| Trouble {
            rollout: "checkout-v2".to_owned(),
            sort,
        };
        sorts.iter().map(trouble).collect()
    }

    /// `opens aborted!`: an abort that must arrive.
    fn told(channel: &Channel, open: &BTreeSet<Trouble>, from: &str, to: &str) -> Vec<String> {
        let event = event_of(&record(1, from, to)).unwrap();
        let words = |letter: Letter| {
            let turn = match &letter.turn {
                Turn::Opens(trouble) => format!("opens {}", trouble.sort.as_str()),
                Turn::Closes(trouble) => format!("closes {}", trouble.sort.as_str()),
                Turn::News => letter.event.what.as_str().to_owned(),
            };
            format!("{turn}{}", if letter.must_arrive { "!" } else { "" })
        };
        letters(channel, open, &event).into_iter().map(words).collect()
    }

    #[test]
    fn a_channel_is_told_by_severity_and_progress() {
        let check = |severity, progress, to: &str, expected: &[&str]| {
            let channel = channel(slack(), severity, progress);
            assert_eq!(
                told(&channel, &open(&[]), "progressing", to),
                expected,
                "{severity:?} {to}"
            );
        };
        check(Severity::Warn, false, "aborted", &["opens aborted!"]);
        check(Severity::Critical, false, "aborted", &["opens aborted!"]);
        check(Severity::Warn, false, "paused", &["paused"]);
        check(Severity::Critical, false, "paused", &[]);
        check(Severity::Critical, true, "paused", &[]);
        check(Severity::Warn, false, "promoting", &[]);
        check(Severity::Critical, true, "promoting", &["moved"]);
        check(Severity::Warn, false, "succeeded", &[]);
        check(Severity::Critical, true, "succeeded", &["succeeded"]);
    }

    #[test]
    fn who_was_told_of_an_abort_is_told_of_the_recovery() {
        let quiet = channel(slack(), Severity::Critical, false);
        assert_eq!(
            told(&quiet, &open(&[Sort::Aborted]), "promoting", "succeeded"),
            ["closes aborted!"]
        );
        assert!(told(&quiet, &open(&[]), "promoting", "succeeded").is_empty());
        assert!(told(&quiet, &open(&[Sort::Aborted]), "aborted", "progressing").is_empty());
    }

    #[test]
    fn a_pager_knows_alerts_only() {
        let check = |severity, sorts: &[Sort], (from, to): (&str, &str), expected: &[&str]| {
            // Progress is nothing to be called for.
            let channel = channel(pager(), severity, true);
            assert_eq!(
                told(&channel, &open(sorts), from, to),
                expected,
                "{severity:?} {sorts:?} {to}"
            );
        };
        let (abort, pause, go) = (
            ("progressing", "aborted"),
            ("progressing", "paused"),
            ("paused", "progressing"),
        );
        check(Severity::Critical, &[], abort, &["opens aborted!"]);
        check(
            Severity::Warn,
            &[Sort::Waits],
            abort,
            &["opens aborted!", "closes waits"],
        );
        check(Severity::Critical, &[], pause, &[]);
        check(Severity::Warn, &[], pause, &["opens waits"]);
        check(Severity::Warn, &[Sort::Waits], go, &["closes waits"]);
        check(Severity::Warn, &[], go, &[]);
        let success = ("promoting", "succeeded");
        check(Severity::Critical, &[], success, &["closes aborted!"]);
        check(
            Severity::Warn,
            &[Sort::Waits],
            success,
            &["closes aborted!", "closes waits"],
        );
        check(Severity::Warn, &[], ("succeeded", "succeeded"), &[]);
    }

    #[test]
    fn a_key_is_short_and_says_what_it_is_about() {
        let event = event_of(&record(1, "progressing", "aborted")).unwrap();
        assert_eq!(key(&event, Some("prod")), "serin/prod/checkout-v2/aborted");
        assert_eq!(key(&event, None), "serin/-/checkout-v2/aborted");
        let long = key(&event, Some(&"é".repeat(300)));
        assert!(long.len() < KEY_MAX && long.ends_with("/aborted"), "{long}");
    }
}
