//! A message for a workflow webhook of Microsoft Teams: an adaptive card. Pure.
//!
//! Form and limit: learn.microsoft.com, microsoftteams/platform/webhooks-and-connectors: a message with one
//! attachment of type `application/vnd.microsoft.card.adaptive`, at most 28 KB. The schema of the card is
//! adaptivecards.io, version 1.4. Reasons stand in text runs, which know no markup.

use serde_json::{Value, json};

use super::event::{Event, What};
use super::text::plain;
use crate::config::Severity;

const TITLE_MAX: usize = 200;
const REASON_MAX: usize = 3_000;
const FACT_MAX: usize = 200;

/// The body of the message.
pub(super) fn message(event: &Event, environment: Option<&str>, left_out: u64) -> Value {
    let facts: Vec<Value> = event
        .facts(environment)
        .into_iter()
        .map(|(name, value)| json!({ "title": name, "value": plain(&value, FACT_MAX) }))
        .collect();
    let mut foot = format!("Serin, {}", event.time());
    if left_out > 0 {
        foot = format!("{foot}; {left_out} earlier messages were left out");
    }
    let mut body = vec![run(&json!({
        "type": "TextRun",
        "text": plain(&event.title, TITLE_MAX),
        "size": "Large",
        "weight": "Bolder",
        "color": colour(event),
    }))];
    if !event.reason.trim().is_empty() {
        body.push(run(
            &json!({ "type": "TextRun", "text": plain(&event.reason, REASON_MAX) }),
        ));
    }
    body.push(json!({ "type": "FactSet", "facts": facts }));
    body.push(run(
        &json!({ "type": "TextRun", "text": foot, "size": "Small", "isSubtle": true }),
    ));
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "fallbackText": plain(&event.title, TITLE_MAX),
                "body": body,
                "msteams": { "width": "Full" },
            },
        }],
    })
}

fn run(run: &Value) -> Value {
    json!({ "type": "RichTextBlock", "inlines": [run] })
}

const fn colour(event: &Event) -> &'static str {
    match (event.severity, event.what) {
        (Some(Severity::Critical), _) => "Attention",
        (Some(Severity::Warn), _) => "Warning",
        (None, What::Succeeded | What::Recovered) => "Good",
        (None, _) => "Default",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::notify::event_of;
    use crate::notify::fixture::record;

    /// The rules of adaptivecards.io/schemas/adaptive-card.json for the elements that we use, and Teams' own.
    pub(in crate::notify) fn hold_to_schema(message: &Value) {
        assert!(message.to_string().len() <= 28 << 10, "Teams takes 28 KB");
        assert_eq!(message["type"], "message");
        let attachments = message["attachments"].as_array().expect("attachments");
        assert_eq!(attachments.len(), 1);
        assert_eq!(attachments[0]["contentType"], "application/vnd.microsoft.card.adaptive");
        let card = &attachments[0]["content"];
        assert_eq!(
            (&card["type"], &card["version"]),
            (&json!("AdaptiveCard"), &json!("1.4"))
        );
        for element in card["body"].as_array().expect("a body") {
            match element["type"].as_str().expect("a type") {
                "RichTextBlock" => {
                    for run in element["inlines"].as_array().expect("inlines") {
                        assert_eq!(run["type"], "TextRun");
                        assert!(run["text"].is_string());
                        let one_of = |key: &str, words: &[&str]| {
                            let word = run.get(key).map(|word| word.as_str().expect("a word"));
                            assert!(word.is_none_or(|word| words.contains(&word)), "{key}: {word:?}");
                        };
                        one_of("size", &["Default", "Small", "Medium", "Large", "ExtraLarge"]);
                        one_of("weight", &["Default", "Lighter", "Bolder"]);
                        let colours = ["Default", "Dark", "Light", "Accent", "Good", "Warning", "Attention"];
                        one_of("color", &colours);
                    }
                }
                "FactSet" => {
                    let facts = element["facts"].as_array().expect("facts");
                    assert!(!facts.is_empty());
                    assert!(
                        facts
                            .iter()
                            .all(|fact| fact["title"].is_string() && fact["value"].is_string())
                    );
                }
                other => panic!("{other} is no element of ours"),
            }
        }
    }

    #[test]
    fn an_abort_is_shown_with_its_reason() {
        let event = event_of(&record(1, "progressing", "aborted")).unwrap();
        let message = message(&event, Some("prod"), 3);
        hold_to_schema(&message);
        let text = message.to_string();
        for part in [
            "checkout-v2: aborted",
            "5.2 % errors",
            "Attention",
            "v2.0.0",
            "3 earlier messages",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    proptest! {
        #[test]
        fn every_message_keeps_to_the_limits(words in "(?s).{0,20}", times in 0_usize..400) {
            let mut record = record(1, "progressing", "aborted");
            record.reason = words.repeat(times);
            record.rollout = Some(words.repeat(times));
            record.by = words.repeat(times);
            record.from = words.repeat(times);
            hold_to_schema(&message(&event_of(&record).unwrap(), Some(&words.repeat(times)), 1));
        }
    }
}
