//! A message for an incoming webhook of Slack. Pure.
//!
//! Limits: docs.slack.dev, reference/block-kit: 50 blocks, a header of 150 characters, texts of 3,000, at
//! most 10 fields of 2,000 characters, at most 10 elements in a context. `&`, `<` and `>` are markup
//! (messaging/formatting-message-text) and are escaped, so that no reason calls a whole channel.

use serde_json::{Value, json};

use super::event::{Event, What};
use super::text::{fit, plain};
use crate::config::Severity;

const HEADER_MAX: usize = 150;
const TEXT_MAX: usize = 3_000;
const FIELD_MAX: usize = 2_000;

/// The body of the message.
pub(super) fn message(event: &Event, environment: Option<&str>, left_out: u64) -> Value {
    let title = format!("{} {}", sign(event), event.title);
    let facts = event.facts(environment).into_iter();
    let fields: Vec<Value> = facts
        .map(|(name, value)| text(&format!("*{name}*\n{}", escaped(&value, FIELD_MAX / 2))))
        .collect();
    let mut blocks = vec![json!({
        "type": "header",
        "text": { "type": "plain_text", "text": plain(&title, HEADER_MAX), "emoji": false },
    })];
    if !event.reason.trim().is_empty() {
        blocks.push(json!({ "type": "section", "text": text(&escaped(&event.reason, TEXT_MAX)) }));
    }
    blocks.push(json!({ "type": "section", "fields": fields }));
    let mut context = format!("Serin, {}", event.time());
    if left_out > 0 {
        context = format!("{context}; {left_out} earlier messages were left out");
    }
    blocks.push(json!({ "type": "context", "elements": [text(&context)] }));
    json!({ "text": escaped(&format!("{title}: {}", event.reason), TEXT_MAX), "blocks": blocks })
}

/// The colour, at a glance.
pub(super) const fn sign(event: &Event) -> &'static str {
    match (event.severity, event.what) {
        (Some(Severity::Critical), _) => "\u{1f534}",
        (Some(Severity::Warn), _) => "\u{1f7e1}",
        (None, What::Succeeded | What::Recovered) => "\u{1f7e2}",
        (None, _) => "\u{1f535}",
    }
}

fn text(text: &str) -> Value {
    // Verbatim: no name in it becomes a mention.
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}

fn escaped(text: &str, max: usize) -> String {
    fit(text, max, |character| match character {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        _ => None,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::notify::event_of;
    use crate::notify::fixture::record;

    /// Slack's rules for the blocks that we use (docs.slack.dev/reference/block-kit/blocks).
    pub(in crate::notify) fn hold_to_schema(message: &Value) {
        let characters = |value: &Value| value.as_str().expect("a text").chars().count();
        let object = |text: &Value, kind: &str, max: usize| {
            assert_eq!(text["type"], kind);
            assert!((1..=max).contains(&characters(&text["text"])), "{text}");
        };
        assert!(characters(&message["text"]) > 0);
        let blocks = message["blocks"].as_array().expect("blocks");
        assert!((1..=50).contains(&blocks.len()));
        for block in blocks {
            match block["type"].as_str().expect("a type") {
                "header" => object(&block["text"], "plain_text", 150),
                "section" => {
                    assert!(
                        block["text"].is_object() != block["fields"].is_array(),
                        "one of the two"
                    );
                    if block["text"].is_object() {
                        object(&block["text"], "mrkdwn", 3_000);
                    }
                    let fields = block["fields"].as_array().map_or(&[][..], Vec::as_slice);
                    assert!(fields.len() <= 10);
                    fields.iter().for_each(|field| object(field, "mrkdwn", 2_000));
                }
                "context" => {
                    let elements = block["elements"].as_array().expect("elements");
                    assert!((1..=10).contains(&elements.len()));
                    elements.iter().for_each(|element| object(element, "mrkdwn", 3_000));
                }
                other => panic!("{other} is no block of ours"),
            }
        }
    }

    #[test]
    fn an_abort_is_shown_with_its_reason() {
        let event = event_of(&record(1, "progressing", "aborted")).unwrap();
        let message = message(&event, Some("prod"), 3);
        hold_to_schema(&message);
        let text = message.to_string();
        assert!(text.contains("checkout-v2: aborted, the canary gets nothing"));
        assert!(text.contains("5.2 % errors in 812 requests &lt;stable: 0.1 %&gt; &amp;"));
        assert!(text.contains("2026-11-21T12:00:00.000Z; 3 earlier messages were left out"));
        for fact in [
            "*Rollout*",
            "*Release*\\nv2.0.0",
            "*Environment*\\nprod",
            "progressing → aborted",
        ] {
            assert!(text.contains(fact), "{fact}: {text}");
        }
    }

    proptest! {
        #[test]
        fn every_message_keeps_to_the_limits(words in "(?s).{0,20}", times in 0_usize..400, left_out in 0_u64..3) {
            let mut record = record(1, "progressing", "aborted");
            record.reason = words.repeat(times);
            record.rollout = Some(words.repeat(times));
            record.by = words.repeat(times);
            hold_to_schema(&message(&event_of(&record).unwrap(), Some(&words.repeat(times)), left_out));
        }
    }
}
