//! Whether a log is the one that was written: finds what was changed, removed, added or reordered, and
//! where. Takes one line after the other, and holds none of them.

use super::line::{parse, rfc3339};
use super::{ADOPTED, Anchor, Chain, Record};

/// So many faults are told with their places; the rest is counted.
const FAULTS_MAX: usize = 20;

/// Follows the chain from its beginning to its end.
#[derive(Debug)]
pub struct Verifier {
    anchor: Option<Anchor>,
    chain: Chain,
    /// The line before was none; what follows it has been told of already.
    after_garbage: bool,
    file: String,
    line: u64,
    torn: Option<(u64, Vec<u8>)>,
    report: Report,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Number of records, those included that only the state holds yet.
    pub records: u64,
    /// When the first one was written, in RFC 3339; `None`: there is none.
    pub first: Option<String>,
    /// When the last one was written.
    pub last: Option<String>,
    /// Whether a state said where the log must begin and end. Without it a cut end is not found.
    pub anchored: bool,
    /// The first of the faults, in the order of the log.
    pub faults: Vec<Fault>,
    /// How many more there are.
    pub more_faults: u64,
    /// Numbers of records that tell of damage which Serin found itself; the first of them.
    pub told: Vec<u64>,
    /// So many records a start took over though the state that was left did not know them: a damaged state
    /// may have, or somebody added them.
    pub adopted: u64,
    /// Files beside the log that look like a part of it and are none; the first of them.
    pub strays: Vec<String>,
}

/// One place where the log is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: String,
    /// From 1.
    pub line: u64,
    /// The number that the record there bears, if one stands there.
    pub seq: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl Report {
    /// Whether every record is the one that was written, as far as the log alone can show.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.faults.is_empty()
    }
}

impl Verifier {
    /// `anchor`: what the state said before the log was read. Without one the log may begin anywhere.
    #[must_use]
    pub fn new(anchor: Option<Anchor>) -> Self {
        Self {
            chain: anchor.as_ref().map(|anchor| anchor.pruned.clone()).unwrap_or_default(),
            after_garbage: false,
            file: String::new(),
            line: 0,
            torn: None,
            report: Report {
                anchored: anchor.is_some(),
                ..Report::default()
            },
            anchor,
        }
    }

    /// The lines of another file follow.
    pub fn begin_file(&mut self, name: &str) {
        self.settle_torn(None);
        (self.file, self.line) = (name.to_owned(), 0);
    }

    /// One line, without its end.
    pub fn line(&mut self, line: &[u8]) {
        self.line += 1;
        match parse(line) {
            Ok(record) => self.record(&record, line),
            Err(why) => {
                self.fault(None, format!("this line is no record: {why}"));
                self.chain = Chain::at(self.chain.seq + 1, line);
                self.after_garbage = true;
            }
        }
    }

    /// What stands behind the last end of line of a file.
    pub fn torn(&mut self, piece: &[u8]) {
        if !piece.is_empty() {
            self.line += 1;
            self.torn = Some((self.line, piece.to_owned()));
        }
    }

    /// The log was read. `newest`: what the state says now; records may have come meanwhile.
    #[must_use]
    pub fn finish(mut self, newest: Option<&Anchor>) -> Report {
        let anchor = self.anchor.take();
        let whole = [anchor.as_ref(), newest]
            .into_iter()
            .flatten()
            .find_map(|anchor| anchor.pending_line(self.chain.seq + 1));
        self.settle_torn(whole.map(str::as_bytes));
        if let Some(anchor) = &anchor {
            self.meet(anchor, newest.unwrap_or(anchor));
        }
        self.report
    }

    fn record(&mut self, record: &Record, line: &[u8]) {
        let (seq, expected) = (record.seq, self.chain.seq + 1);
        let begins = self.report.records == 0;
        let follows = if self.after_garbage {
            (expected - 1..=expected).contains(&seq)
        } else {
            seq == expected || (begins && self.anchor.is_none())
        };
        if !follows {
            self.fault(Some(seq), out_of_order(seq, expected));
        } else if !self.after_garbage && seq == expected && record.previous != self.chain.hash {
            self.fault(
                Some(seq),
                if self.report.records == 0 {
                    "it does not follow the beginning that the state knows".to_owned()
                } else {
                    "it was not written behind the record before it: one of the two was changed".to_owned()
                },
            );
        }
        self.after_garbage = false;
        self.chain = Chain::at(seq, line);
        let head = self.anchor.as_ref().map(|anchor| &anchor.head);
        if head.is_some_and(|head| head.seq == seq && head.hash != self.chain.hash) {
            self.fault(
                Some(seq),
                "it is not the record that the state knows under this number: it was changed".to_owned(),
            );
        }
        let time = rfc3339(record.at_ms);
        self.report.records += 1;
        self.report.first.get_or_insert_with(|| time.clone());
        self.report.last = Some(time);
        if record.facts.contains_key("audit") && self.report.told.len() < FAULTS_MAX {
            self.report.told.push(seq);
        }
        let adopted = record.facts.get(ADOPTED).filter(|_| record.kind == "start");
        let count = adopted.and_then(|count| count.parse().ok()).unwrap_or(0);
        self.report.adopted = self.report.adopted.saturating_add(count);
    }

    /// A piece without an end is the beginning of a line that the state holds whole, or a fault.
    fn settle_torn(&mut self, whole: Option<&[u8]>) {
        if let Some((line, piece)) = self.torn.take()
            && whole.is_none_or(|whole| !whole.starts_with(&piece))
        {
            self.line = line;
            self.fault(
                None,
                format!(
                    "this line is torn: it ends after {} bytes without an end of line",
                    piece.len()
                ),
            );
        }
    }

    /// The end of the log meets what the state says of it.
    fn meet(&mut self, anchor: &Anchor, newest: &Anchor) {
        let (head, last) = (&anchor.head, self.chain.seq);
        if last < head.seq {
            let behind = |line: &&String| parse(line.as_bytes()).is_ok_and(|record| record.seq > last);
            let lines: Vec<&String> = anchor.pending.iter().filter(behind).collect();
            let first = lines.first().and_then(|line| parse(line.as_bytes()).ok());
            let held = first.as_ref().map_or(head.seq, |first| first.seq - 1);
            if last < held {
                self.line += 1;
                self.fault(
                    None,
                    format!("{} missing here, at the end", records_are(last + 1, held)),
                );
                // What the state holds goes on behind the gap.
                self.chain = Chain {
                    seq: held,
                    hash: first.map_or_else(|| head.hash.clone(), |first| first.previous),
                };
            }
            // The state stands for the end of the file while it is read.
            self.anchor = Some(anchor.clone());
            (self.file, self.line) = ("state.json".to_owned(), 0);
            lines.iter().for_each(|line| self.line(line.as_bytes()));
        } else {
            let differs = last > head.seq && last == newest.head.seq && self.chain.hash != newest.head.hash;
            if last > newest.head.seq || differs {
                let what = format!(
                    "{} not known to the state, whose newest is {}",
                    records_are(head.seq + 1, last),
                    newest.head.seq
                );
                self.fault(Some(last), what);
            }
        }
    }

    fn fault(&mut self, seq: Option<u64>, what: String) {
        if self.report.faults.len() == FAULTS_MAX {
            self.report.more_faults += 1;
            return;
        }
        self.report.faults.push(Fault {
            file: self.file.clone(),
            line: self.line,
            seq,
            what,
        });
    }
}

fn out_of_order(seq: u64, expected: u64) -> String {
    if seq > expected {
        format!("{} missing before it", records_are(expected, seq - 1))
    } else {
        format!("it comes behind record {}: it was added here, or moved", expected - 1)
    }
}

/// `record 7 is` or `records 7 to 9 are`.
#[must_use]
pub fn records_are(from: u64, to: u64) -> String {
    if from == to {
        format!("record {from} is")
    } else {
        format!("records {from} to {to} are")
    }
}

#[cfg(test)]
mod tests {
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
}
