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
mod tests;
