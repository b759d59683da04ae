//! Audit logs: nothing that stands in one makes the reader fall, a log that was written is whole, and one changed byte
//! is found wherever it is.
//!
//! The input is two numbers of two bytes, a byte to change by, and texts in lines: each becomes a record.

use serin::audit::{Anchor, Chain, Record, Report, Verifier, parse};

/// One log.
pub fn audit(input: &[u8]) {
    let _ = verified(input, None);
    for line in input.split(|&byte| byte == b'\n') {
        if let Ok(record) = parse(line) {
            check_record(record);
        }
    }
    let Some((&[a, b, c, d, by], texts)) = input.split_first_chunk::<5>() else {
        return;
    };
    let (mut log, anchor) = written(texts);
    let report = verified(&log, Some(&anchor));
    assert!(report.is_whole(), "{:?}", report.faults);
    assert_eq!(report.records, anchor.head.seq);
    if by != 0 && !log.is_empty() {
        let at = usize::from(u16::from_be_bytes([a, b])) * 65_536 + usize::from(u16::from_be_bytes([c, d]));
        let at = at % log.len();
        log[at] ^= by;
        let report = verified(&log, Some(&anchor));
        assert!(!report.is_whole(), "byte {at} was changed by {by}, and nobody saw it");
    }
}

/// The log of the records that `texts` stand for, and both its ends.
fn written(texts: &[u8]) -> (Vec<u8>, Anchor) {
    let mut chain = Chain::default();
    let mut log = Vec::new();
    for text in texts.split(|&byte| byte == b'\n').take(64) {
        let text = String::from_utf8_lossy(text).into_owned();
        let record = Record {
            at_ms: text.len() as u64 * 1_000_003,
            kind: "rollout".into(),
            by: text.chars().rev().collect(),
            route: text.len().is_multiple_of(2).then(|| text.clone()),
            facts: [("fact".to_owned(), text.clone())].into(),
            reason: text,
            ..Record::default()
        };
        let line = chain.append(record);
        assert!(!line.contains('\n'), "a record is one line");
        log.extend_from_slice(line.as_bytes());
        log.push(b'\n');
    }
    let anchor = Anchor {
        head: chain,
        ..Anchor::default()
    };
    (log, anchor)
}

/// A record that was read is written and read as the same, but for what is cut.
fn check_record(record: Record) {
    let mut chain = Chain {
        seq: record.seq.wrapping_sub(1),
        hash: record.previous.clone(),
    };
    if record.seq == 0 {
        return;
    }
    let first = chain.append(record);
    let read = parse(first.as_bytes()).expect("what was written is a record");
    let mut chain = Chain {
        seq: read.seq - 1,
        hash: read.previous.clone(),
    };
    assert_eq!(chain.append(read), first, "what was written is written otherwise");
}

fn verified(log: &[u8], anchor: Option<&Anchor>) -> Report {
    let mut verifier = Verifier::new(anchor.cloned());
    verifier.begin_file("audit.jsonl");
    let mut lines = log.split(|&byte| byte == b'\n');
    let torn = lines.next_back().unwrap_or_default();
    lines.for_each(|line| verifier.line(line));
    verifier.torn(torn);
    verifier.finish(anchor)
}
