//! Whatever is done to a chain is found.

use super::{FAULTS_MAX, Report, Verifier};
use crate::audit::{Anchor, Chain, Record};
use proptest::prelude::*;

/// A log of `count` records, and what the state says of it.
fn log(count: u64) -> (Vec<String>, Anchor) {
    let mut anchor = Anchor::default();
    let record = |n| Record {
        at_ms: n * 1000,
        kind: "weights".into(),
        by: "alice".into(),
        reason: format!("for the {n}th time"),
        ..Record::default()
    };
    let lines = (0..count).map(|n| anchor.head.append(record(n))).collect();
    (lines, anchor)
}

fn read(lines: &[String], anchor: Option<&Anchor>) -> Verifier {
    let mut verifier = Verifier::new(anchor.cloned());
    verifier.begin_file("audit.jsonl");
    lines.iter().for_each(|line| verifier.line(line.as_bytes()));
    verifier
}

fn verify(lines: &[String], anchor: &Anchor) -> Report {
    read(lines, Some(anchor)).finish(Some(anchor))
}

/// `change` makes one fault, told of this line with these words.
#[track_caller]
fn check(change: impl FnOnce(&mut Vec<String>), line: u64, expected: &str) {
    let (mut lines, anchor) = log(9);
    change(&mut lines);
    let report = verify(&lines, &anchor);
    let told = format!("{:?}", report.faults);
    assert!(
        report.faults[0].line == line && report.faults[0].what.contains(expected),
        "{told}"
    );
    assert_eq!((report.faults.len(), report.more_faults), (1, 0), "{told}");
}

#[test]
fn a_log_as_it_was_written_is_whole() {
    for count in [0, 1, 9] {
        let (lines, anchor) = log(count);
        let report = verify(&lines, &anchor);
        assert!(report.is_whole() && report.anchored, "{report:?}");
        assert_eq!(report.records, count);
    }
    let (lines, anchor) = log(9);
    let report = verify(&lines, &anchor);
    assert_eq!(report.first.as_deref(), Some("1970-01-01T00:00:00.000Z"));
    assert_eq!(report.last.as_deref(), Some("1970-01-01T00:00:08.000Z"));
}

#[test]
fn every_fault_is_told_with_its_place() {
    check(
        |lines| lines[3] = lines[3].replace("alice", "bob"),
        5,
        "one of the two was changed",
    );
    check(|lines| lines[8] = lines[8].replace("alice", "bob"), 9, "it was changed");
    check(
        |lines| lines[3] = lines[3].replace("\"seq\"", "\"sec\""),
        4,
        "no record: ",
    );
    check(|lines| lines[3] = "\0\0".to_owned(), 4, "no record: ");
    check(|lines| lines.insert(3, String::new()), 4, "no record: ");
    check(|lines| drop(lines.remove(3)), 4, "record 4 is missing before it");
    check(
        |lines| drop(lines.drain(3..6)),
        4,
        "records 4 to 6 are missing before it",
    );
    check(
        |lines| drop(lines.drain(..2)),
        1,
        "records 1 to 2 are missing before it",
    );
    check(|lines| lines.insert(3, lines[2].clone()), 4, "added here, or moved");
    check(
        |lines| lines.truncate(7),
        8,
        "records 8 to 9 are missing here, at the end",
    );
    check(Vec::clear, 1, "records 1 to 9 are missing here");
}

#[test]
fn two_that_changed_places_are_found() {
    let (mut lines, anchor) = log(9);
    lines.swap(3, 4);
    let report = verify(&lines, &anchor);
    assert_eq!(report.faults[0].line, 4);
    assert_eq!(report.faults[1].seq, Some(4));
}

#[test]
fn a_record_that_was_added_with_all_its_hashes_is_not_known_to_the_state() {
    let (mut lines, anchor) = log(4);
    let mut forged = anchor.head.clone();
    lines.push(forged.append(Record::default()));
    let report = verify(&lines, &anchor);
    assert!(
        report.faults[0]
            .what
            .contains("record 5 is not known to the state, whose newest is 4"),
        "{report:?}"
    );
}

#[test]
fn a_chain_that_was_written_anew_does_not_fit_the_state() {
    let (_, anchor) = log(4);
    let mut chain = Chain::default();
    let forged: Vec<String> = (0..4).map(|_| chain.append(Record::default())).collect();
    assert_eq!(verify(&forged, &anchor).faults[0].line, 4);
}

#[test]
fn records_that_only_the_state_holds_yet_are_no_fault() {
    let (lines, mut anchor) = log(4);
    anchor.pending = lines[1..].to_vec();
    for written in 1..=4 {
        let report = verify(&lines[..written], &anchor);
        assert!(report.is_whole() && report.records == 4, "{report:?}");
    }
    let report = verify(&lines[..0], &anchor);
    assert!(
        report.faults[0].what.contains("record 1 is missing here, at the end"),
        "{report:?}"
    );
}

#[test]
fn a_torn_line_is_a_fault_unless_the_state_holds_it_whole() {
    let (lines, mut anchor) = log(4);
    let check = |anchor: &Anchor, piece: &str, expected: &[u64]| {
        let mut verifier = read(&lines[..3], Some(anchor));
        verifier.torn(piece.as_bytes());
        let report = verifier.finish(Some(anchor));
        let places: Vec<u64> = report.faults.iter().map(|fault| fault.line).collect();
        assert_eq!(places, expected, "{report:?}");
    };
    check(&anchor, &lines[3], &[4, 5]);
    anchor.pending = lines[3..].to_vec();
    check(&anchor, &lines[3], &[]);
    check(&anchor, &lines[3][..9], &[]);
    check(&anchor, "{\"sec\"", &[4]);
}

#[test]
fn what_comes_while_it_reads_is_no_fault() {
    let (lines, newest) = log(9);
    let (_, before) = log(4);
    let report = read(&lines, Some(&before)).finish(Some(&newest));
    assert!(report.is_whole(), "{report:?}");
    assert!(!read(&lines, Some(&before)).finish(Some(&before)).is_whole());
}

#[test]
fn a_log_whose_beginning_was_removed_for_its_age_begins_where_the_state_says() {
    let (lines, mut anchor) = log(9);
    anchor.pruned = Chain::at(4, lines[3].as_bytes());
    assert!(verify(&lines[4..], &anchor).is_whole());
    for wrong in [&lines[..], &lines[3..], &lines[5..]] {
        assert!(!verify(wrong, &anchor).is_whole());
    }
    anchor.pruned.hash = "0".repeat(64);
    assert!(
        verify(&lines[4..], &anchor).faults[0]
            .what
            .contains("the beginning that the state knows")
    );
}

#[test]
fn without_a_state_the_chain_alone_is_followed() {
    let (mut lines, _) = log(9);
    let report = read(&lines[2..7], None).finish(None);
    assert!(report.is_whole() && !report.anchored);
    lines[4] = lines[4].replace("alice", "bob");
    assert!(!read(&lines[2..7], None).finish(None).is_whole());
}

#[test]
fn faults_are_bounded_and_damage_that_was_told_is_named() {
    let (_, anchor) = log(1);
    let report = verify(&vec!["x".to_owned(); 100], &anchor);
    assert_eq!(report.faults.len(), FAULTS_MAX);
    assert!(report.more_faults >= 80);
    let mut anchor = Anchor::default();
    let record = Record {
        facts: [("audit".to_owned(), "a torn line".to_owned())].into(),
        ..Record::default()
    };
    let line = anchor.head.append(record);
    assert_eq!(verify(&[line], &anchor).told, [1]);
}

proptest! {
    #[test]
    fn no_change_goes_unseen(
        count in 1u64..12, pending in 0usize..4, kind in 0..5, at in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let (lines, mut anchor) = log(count);
        // Lines that the state holds as well may be missing from the file, but not be changed in it.
        anchor.pending = lines[lines.len().saturating_sub(pending)..].to_vec();
        let mut changed = lines.clone();
        let (n, m) = (at.index(lines.len()), other.index(lines.len()));
        match kind {
            0 => {
                let mut bytes = changed[n].clone().into_bytes();
                let place = other.index(bytes.len());
                bytes[place] = byte;
                let mut verifier = read(&changed[..n], Some(&anchor));
                verifier.line(&bytes);
                changed[n + 1..].iter().for_each(|line| verifier.line(line.as_bytes()));
                let is_whole = verifier.finish(Some(&anchor)).is_whole();
                prop_assert_eq!(is_whole, bytes == lines[n].as_bytes());
                return Ok(());
            }
            1 => drop(changed.remove(n)),
            2 => changed.swap(n, m),
            3 => changed.truncate(n),
            _ => changed.insert(n, lines[m].clone()),
        }
        let known_whole = lines.len() - anchor.pending.len();
        let only_pending = changed.len() >= known_whole && lines.starts_with(&changed);
        prop_assert_eq!(verify(&changed, &anchor).is_whole(), only_pending, "{:?}", changed);
    }
}
