//! An event for PagerDuty, Events API v2: an alert begins or ends. Pure.
//!
//! Form and limits: developer.pagerduty.com/docs/events-api-v2, and the schema in PagerDuty/api-schema,
//! `reference/events-v2/openapiv3.json`: a summary of at most 1,024 characters, a key of at most 255, at most
//! 512 KB in all.

use serde_json::{Value, json};

use super::event::Event;
use super::letter::{Letter, Turn};
use super::text::plain;
use crate::config::Severity;

const SUMMARY_MAX: usize = 1_024;
const DETAIL_MAX: usize = 4_000;

/// The body of the message; `None`: this letter begins and ends nothing.
pub(super) fn message(letter: &Letter, routing_key: &str, environment: Option<&str>, left_out: u64) -> Option<Value> {
    match &letter.turn {
        Turn::News => None,
        Turn::Closes(trouble) => Some(json!({
            "routing_key": routing_key,
            "event_action": "resolve",
            "dedup_key": trouble.key(environment),
        })),
        Turn::Opens(trouble) => Some(json!({
            "routing_key": routing_key,
            "event_action": "trigger",
            "dedup_key": trouble.key(environment),
            "client": "Serin",
            "payload": payload(&letter.event, environment, left_out),
        })),
    }
}

fn payload(event: &Event, environment: Option<&str>, left_out: u64) -> Value {
    let summary = match event.reason.trim() {
        "" => event.title.clone(),
        reason => format!("{}: {reason}", event.title),
    };
    let severity = match event.severity {
        Some(Severity::Critical) => "critical",
        Some(Severity::Warn) => "warning",
        None => "info",
    };
    let cut = |text: &str| plain(text, DETAIL_MAX);
    let optional = |text: &Option<String>| text.as_deref().map(cut);
    json!({
        "summary": plain(&summary, SUMMARY_MAX),
        "severity": severity,
        "source": cut(environment.unwrap_or("serin")),
        "timestamp": event.time(),
        "component": optional(&event.rollout).unwrap_or_default(),
        "group": optional(&event.route).unwrap_or_default(),
        "class": event.what.as_str(),
        "custom_details": {
            "reason": cut(&event.reason),
            "release": optional(&event.release),
            "from": cut(&event.from),
            "to": cut(&event.to),
            "by": cut(&event.by),
            "generation": event.generation,
            "leftOut": left_out,
        },
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Service;
    use crate::notify::event_of;
    use crate::notify::fixture::{channel, record};
    use crate::notify::letter::letters;

    /// The rules of PagerDuty/api-schema, `reference/events-v2/openapiv3.json`, and the limits of its text.
    pub(in crate::notify) fn hold_to_schema(message: &Value) {
        let characters = |value: &Value| value.as_str().expect("a text").chars().count();
        assert!(message.to_string().len() <= 512 << 10);
        assert!(message["routing_key"].is_string());
        assert!((1..=255).contains(&characters(&message["dedup_key"])));
        match message["event_action"].as_str().expect("an action") {
            "resolve" => {}
            "trigger" => {
                let payload = &message["payload"];
                assert!((1..=1_024).contains(&characters(&payload["summary"])));
                let severity = payload["severity"].as_str().expect("a severity");
                assert!(["critical", "error", "warning", "info"].contains(&severity));
                assert!(characters(&payload["source"]) > 0);
                payload["timestamp"]
                    .as_str()
                    .unwrap()
                    .parse::<jiff::Timestamp>()
                    .unwrap();
                for key in ["component", "group", "class"] {
                    assert!(payload[key].is_string(), "{key}");
                }
                assert!(payload["custom_details"].is_object());
            }
            other => panic!("{other} is no action of ours"),
        }
    }

    fn messages(record: &crate::audit::Record) -> Vec<Value> {
        let service = Service::PagerDuty {
            url: String::new(),
            routing_key: String::new(),
        };
        let channel = channel(service, Severity::Warn, false);
        let letters = letters(&channel, &BTreeSet::new(), &event_of(record).unwrap());
        let messages = letters.iter().map(|letter| message(letter, "R0UT1NG", Some("prod"), 0));
        messages.map(|message| message.expect("an alert")).collect()
    }

    #[test]
    fn an_abort_triggers_and_a_success_resolves() {
        let check = |from: &str, to: &str, expected: &[(&str, &str)]| {
            let found = messages(&record(1, from, to));
            let words = |message: &Value| {
                hold_to_schema(message);
                let text = |key: &str| message[key].as_str().unwrap().to_owned();
                (text("event_action"), text("dedup_key"))
            };
            let found: Vec<_> = found.iter().map(words).collect();
            let found: Vec<_> = found.iter().map(|(action, key)| (&**action, &**key)).collect();
            assert_eq!(found, expected, "{from} {to}");
        };
        check(
            "progressing",
            "aborted",
            &[("trigger", "serin/prod/checkout-v2/aborted")],
        );
        check(
            "promoting",
            "succeeded",
            &[("resolve", "serin/prod/checkout-v2/aborted")],
        );
        check("progressing", "paused", &[("trigger", "serin/prod/checkout-v2/waits")]);
    }

    proptest! {
        #[test]
        fn every_message_keeps_to_the_limits(words in "(?s).{0,20}", times in 0_usize..400) {
            let mut record = record(1, "progressing", "aborted");
            record.reason = words.repeat(times);
            record.rollout = Some(words.repeat(times));
            messages(&record).iter().for_each(hold_to_schema);
        }
    }
}
