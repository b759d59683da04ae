//! An event for a plain webhook: as JSON, or in a form of its own. Pure.

use serde_json::{Value, json};

use super::event::Event;
use super::letter::key;
use crate::config::Severity;
use crate::config::template::fill;

/// The event as JSON.
pub(super) fn message(event: &Event, environment: Option<&str>, left_out: u64) -> Value {
    json!({
        "what": event.what.as_str(),
        "severity": severity(event),
        "title": event.title,
        "reason": event.reason,
        "rollout": event.rollout,
        "route": event.route,
        "environment": environment,
        "release": event.release,
        "from": event.from,
        "to": event.to,
        "by": event.by,
        "time": event.time(),
        "generation": event.generation,
        "seq": event.seq,
        "dedupKey": key(event, environment),
        "leftOut": left_out,
    })
}

/// `template` with the event's values.
pub(super) fn filled(template: &str, event: &Event, environment: Option<&str>, left_out: u64) -> String {
    let values = message(event, environment, left_out);
    fill(template, |name| match &values[name] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    })
}

const fn severity(event: &Event) -> &'static str {
    match event.severity {
        Some(Severity::Critical) => "critical",
        Some(Severity::Warn) => "warn",
        None => "info",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::template::{PLACEHOLDERS, check};
    use crate::notify::event_of;
    use crate::notify::fixture::record;

    fn event() -> Event {
        event_of(&record(7, "progressing", "aborted")).unwrap()
    }

    #[test]
    fn every_placeholder_has_a_value() {
        let message = message(&event(), Some("prod"), 0);
        for name in PLACEHOLDERS {
            assert!(message.get(name).is_some_and(|value| !value.is_null()), "{name}");
        }
    }

    #[test]
    fn a_template_is_filled_with_the_event() {
        let template = r#"{"msg":"{{severity}} {{rollout}} {{what}}: {{reason}}","n":{{generation}}}"#;
        check(template).unwrap();
        let found: Value = serde_json::from_str(&filled(template, &event(), None, 0)).unwrap();
        let expected = "critical checkout-v2 aborted: 5.2 % errors in 812 requests <stable: 0.1 %> & \"more\"";
        assert_eq!(found, json!({ "msg": expected, "n": 42 }));
        assert_eq!(filled(r#"{"e":"{{environment}}"}"#, &event(), None, 0), r#"{"e":""}"#);
    }

    #[test]
    fn the_documentation_shows_what_is_sent() {
        let text = include_str!("../../docs/notifications.md");
        let example = text.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
        let shown: Value = serde_json::from_str(example.unwrap()).unwrap();
        assert_eq!(shown, message(&event(), Some("prod"), 0));
    }
}
