//! A record as one line of JSON, and back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Record;

/// Bytes of the longest line, without its end.
pub const LINE_MAX: usize = 192 << 10;
/// Characters of the longest reason: the problems of a refused file fill it.
const REASON_MAX: usize = 4_000;
/// Characters of every other text. JSON may need six bytes for one.
const TEXT_MAX: usize = 1_000;
/// Facts of one record, and characters of one of them.
const FACTS_MAX: usize = 16;
const FACT_MAX: usize = 500;
/// Bytes of the evidence as JSON: some hundred figures are far less.
const EVIDENCE_MAX: usize = 16 << 10;

#[derive(Serialize, Deserialize)]
struct Line {
    seq: u64,
    time: String,
    kind: String,
    by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    route: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rollout: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    from: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    to: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    reason: String,
    generation: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    facts: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    evidence: Option<Value>,
    previous: String,
}

/// The line of a record, without the end of line; never longer than [`LINE_MAX`].
pub(super) fn to_line(record: Record) -> String {
    let facts = record.facts.into_iter().take(FACTS_MAX);
    let line = Line {
        seq: record.seq,
        time: rfc3339(record.at_ms),
        kind: cut(record.kind, TEXT_MAX),
        by: cut(record.by, TEXT_MAX),
        route: record.route.map(|route| cut(route, TEXT_MAX)),
        rollout: record.rollout.map(|rollout| cut(rollout, TEXT_MAX)),
        from: cut(record.from, TEXT_MAX),
        to: cut(record.to, TEXT_MAX),
        reason: cut(record.reason, REASON_MAX),
        generation: record.generation,
        facts: facts
            .map(|(name, value)| (cut(name, FACT_MAX), cut(value, FACT_MAX)))
            .collect(),
        evidence: record
            .evidence
            .filter(|evidence| evidence.to_string().len() <= EVIDENCE_MAX),
        previous: record.previous,
    };
    serde_json::to_string(&line).expect("texts and numbers are JSON")
}

/// Reads a line without its end.
///
/// # Errors
/// Why it is no record.
pub fn parse(line: &[u8]) -> Result<Record, String> {
    if line.len() > LINE_MAX {
        return Err(format!("it is longer than the {LINE_MAX} bytes that a record may have"));
    }
    let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let time: jiff::Timestamp = line.time.parse().map_err(|_| {
        format!(
            "{:?} is no time of the form 2026-11-21T12:00:00.000Z",
            cut(line.time, 80)
        )
    })?;
    Ok(Record {
        seq: line.seq,
        at_ms: u64::try_from(time.as_millisecond()).unwrap_or(0),
        kind: line.kind,
        by: line.by,
        route: line.route,
        rollout: line.rollout,
        from: line.from,
        to: line.to,
        reason: line.reason,
        generation: line.generation,
        facts: line.facts,
        evidence: line.evidence,
        previous: line.previous,
    })
}

/// Unix milliseconds as `2026-11-21T12:00:00.000Z`; what lies beyond the year 9999 is its end.
pub(super) fn rfc3339(unix_ms: u64) -> String {
    let time = i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    format!("{:.3}", time.unwrap_or(jiff::Timestamp::MAX))
}

/// The first `max` characters; a text that is longer says that it was.
fn cut(mut text: String, max: usize) -> String {
    // The last character makes room for the sign.
    if let (Some((end, _)), Some(_)) = (text.char_indices().nth(max - 1), text.char_indices().nth(max)) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{LINE_MAX, cut, parse, rfc3339, to_line};
    use crate::audit::Record;
    use proptest::prelude::*;
    use serde_json::json;

    pub(in crate::audit) fn record() -> Record {
        Record {
            seq: 7,
            at_ms: 1_795_262_413_042,
            kind: "rollout".into(),
            by: "alice".into(),
            route: Some("shop".into()),
            rollout: Some("checkout".into()),
            from: "progressing".into(),
            to: "aborted".into(),
            reason: "errors \"8.1 %\"\nof 913".into(),
            generation: 42,
            facts: [("release".to_owned(), "v2".to_owned())].into(),
            evidence: Some(json!({"canary": {"requests": 913, "errorRate": 0.081}})),
            previous: "ab".repeat(32),
        }
    }

    #[test]
    fn a_record_is_one_line_and_what_is_absent_is_left_out() {
        let line = to_line(record());
        let expected = concat!(
            r#"{"seq":7,"time":"2026-11-21T12:00:13.042Z","kind":"rollout","by":"alice","route":"shop","#,
            r#""rollout":"checkout","from":"progressing","to":"aborted","reason":"errors \"8.1 %\"\nof 913","#,
            r#""generation":42,"facts":{"release":"v2"},"evidence":{"canary":{"errorRate":0.081,"requests":913}},"#,
        );
        assert_eq!(line, format!("{expected}\"previous\":\"{}\"}}", "ab".repeat(32)));
        let bare = to_line(Record::default());
        let expected = r#"{"seq":0,"time":"1970-01-01T00:00:00.000Z","kind":"","by":"","generation":0,"previous":""}"#;
        assert_eq!(bare, expected);
    }

    #[test]
    fn times_are_utc_with_milliseconds() {
        assert_eq!(rfc3339(951_782_400_007), "2000-02-29T00:00:00.007Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-30T22:00:00.999Z");
    }

    #[test]
    fn what_is_no_record_says_why() {
        let check = |from: &str, to: &str, expected: &str| {
            let problem = parse(to_line(record()).replace(from, to).as_bytes()).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        };
        check("\"seq\":7,", "", "missing field `seq`");
        check("\"seq\":7", "\"seq\":-7", "expected u64");
        check("2026-11-21", "yesterday", "is no time");
        check("\"by\"", "by", "key must be a string");
        let long = "x".repeat(LINE_MAX);
        check("8.1 %", &long, "longer than the 196608 bytes");
        assert!(parse(b"\xff\xfe").is_err() && parse(b"").is_err());
    }

    #[test]
    fn a_text_that_was_cut_says_so() {
        let check = |text: &str, expected: &str| assert_eq!(cut(text.into(), 3), expected);
        check("", "");
        check("äöü", "äöü");
        check("äöüß", "äö…");
    }

    #[test]
    fn the_longest_record_fits_into_a_line() {
        let long = || "\u{1}".repeat(100_000);
        let mut record = Record {
            kind: long(),
            by: long(),
            route: Some(long()),
            rollout: Some(long()),
            from: long(),
            to: long(),
            reason: long(),
            evidence: Some(json!(long())),
            ..record()
        };
        record.facts = (0..100).map(|n| (format!("{n}{}", long()), long())).collect();
        let line = to_line(record);
        assert!(line.len() <= LINE_MAX, "{}", line.len());
        assert!(parse(line.as_bytes()).unwrap().reason.ends_with('…'));
    }

    proptest! {
        #[test]
        fn every_record_is_read_as_it_was_written(
            texts in proptest::collection::vec(any::<String>(), 7),
            (seq, at_ms, generation) in (any::<u64>(), 0u64..253_402_207_200_000, any::<u64>()),
            names in any::<bool>(),
        ) {
            let text = |n: usize| texts[n].clone();
            let written = Record {
                seq, at_ms, generation,
                kind: text(0), by: text(1), from: text(2), to: text(3), reason: text(4),
                route: names.then(|| text(5)), rollout: names.then(|| text(6)),
                facts: [(text(5), text(6))].into(),
                evidence: names.then(|| json!({"p": text(0)})),
                previous: text(1),
            };
            let line = to_line(written.clone());
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(parse(line.as_bytes()).unwrap(), written);
        }
    }
}
