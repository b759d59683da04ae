use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::files::{ACTIVE, read_anchor};
use super::{Audit, AuditQuery, Misfit, WAITING_MAX, aside, list_audit, records_behind, verify_audit};
use crate::audit::{ADOPTED, Anchor, Chain, Filter, Record, Report, parse};

const LARGE: u64 = 1 << 20;

fn record(reason: &str) -> Record {
    Record {
        at_ms: 1_000,
        kind: "weights".into(),
        by: "alice".into(),
        reason: reason.into(),
        ..Record::default()
    }
}

/// A state directory with a log; the state is written as control writes it.
struct Stage {
    temp: tempfile::TempDir,
    audit: Audit,
}

impl Stage {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let audit = Audit::open(temp.path(), None, false).0;
        Self { temp, audit }
    }

    fn path(&self) -> &Path {
        self.temp.path()
    }

    fn write_state(&self) {
        let text = format!(
            r#"{{"audit":{}}}"#,
            serde_json::to_string(&self.audit.anchor()).unwrap()
        );
        fs::write(self.path().join("state.json"), text).unwrap();
    }

    fn save(&mut self, max_bytes: u64) {
        self.audit.sync();
        self.write_state();
        self.audit.was_saved(max_bytes);
    }

    fn add(&mut self, reasons: &[&str]) -> &mut Self {
        for reason in reasons {
            self.audit.note(record(reason));
            self.save(LARGE);
        }
        self
    }

    /// Begins again with the last state; what did not fit.
    fn restart(&mut self) -> Option<String> {
        self.restart_after(false).map(|misfit| misfit.what)
    }

    /// `fell_back`: the last state is not the newest one.
    fn restart_after(&mut self, fell_back: bool) -> Option<Misfit> {
        let (audit, told) = Audit::open(self.temp.path(), read_anchor(self.temp.path()).ok(), fell_back);
        self.audit = audit;
        told
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path().join(ACTIVE)).unwrap()
    }

    fn write(&self, text: &str) {
        fs::write(self.path().join(ACTIVE), text).unwrap();
    }

    fn reasons(&self) -> Vec<String> {
        let query = AuditQuery {
            limit: 1_000,
            next: None,
            filter: Filter::default(),
        };
        let page = list_audit(self.path(), &query).unwrap().unwrap();
        let lines = page.lines.iter().rev();
        lines.map(|line| parse(line.as_bytes()).unwrap().reason).collect()
    }

    fn verify(&self) -> Report {
        verify_audit(self.path()).unwrap().0
    }

    #[track_caller]
    fn is_whole(&self, records: u64) {
        let report = self.verify();
        assert!(
            report.is_whole() && report.anchored && report.records == records,
            "{report:?}"
        );
    }
}

#[test]
fn what_was_saved_is_in_the_file_and_only_its_owner_may_read_it() {
    let mut stage = Stage::new();
    stage.add(&["one", "two", "three"]);
    assert_eq!(stage.text().lines().count(), 3);
    assert_eq!(stage.reasons(), ["one", "two", "three"]);
    stage.is_whole(3);
    assert!(
        stage.audit.anchor().pending.len() == 1,
        "the last line is not known to be durable"
    );
    stage.audit.sync();
    assert!(stage.audit.anchor().pending.is_empty() && !stage.audit.is_ahead());
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(stage.path().join(ACTIVE)).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(stage.restart(), None);
}

#[test]
fn what_could_not_be_saved_did_not_happen() {
    let mut stage = Stage::new();
    stage.add(&["one"]);
    let mark = stage.audit.mark();
    stage.audit.note(record("refused"));
    // The file was made durable, and then the state could not be written.
    stage.audit.sync();
    stage.audit.take_back(mark);
    stage.add(&["two"]);
    assert_eq!(stage.reasons(), ["one", "two"]);
    stage.is_whole(2);
}

#[test]
fn lines_that_only_the_state_holds_are_written_at_the_next_start() {
    let mut stage = Stage::new();
    stage.add(&["one"]);
    stage.audit.note(record("two"));
    stage.audit.note(record("three"));
    stage.write_state();
    stage.is_whole(3);
    let whole = stage.text();
    for torn in ["", "{\"seq\":2", "\0\0\0\0", "garbage"] {
        stage.write(&(whole.clone() + torn));
        let told = stage.restart();
        assert_eq!(told.is_some(), !torn.is_empty(), "{told:?}");
        stage.save(LARGE);
        assert_eq!(stage.reasons(), ["one", "two", "three"]);
        stage.is_whole(3);
        // The state as it was before the file was written.
        let mut anchor = stage.audit.anchor();
        anchor.pending = stage.text().lines().skip(1).map(str::to_owned).collect();
        let text = format!(r#"{{"audit":{}}}"#, serde_json::to_string(&anchor).unwrap());
        fs::write(stage.path().join("state.json"), text).unwrap();
    }
}

#[test]
fn what_was_changed_while_it_was_down_is_told_and_stays_to_be_found() {
    let check = |change: fn(&str) -> String, told: &str, found: bool| {
        let mut stage = Stage::new();
        stage.add(&["one", "two", "three"]);
        stage.save(LARGE);
        stage.write(&change(&stage.text()));
        let said = stage.restart().unwrap_or_default();
        assert!(said.contains(told), "{said}");
        stage.add(&["four"]);
        let report = stage.verify();
        assert_eq!(report.is_whole(), !found, "{report:?}");
        assert_eq!(stage.reasons().last().unwrap(), "four");
    };
    check(
        |text| text.replace("three", "3"),
        "record 3, the last one, is not the one that was written",
        true,
    );
    check(
        |text| text.lines().next().unwrap().to_owned() + "\n",
        "records 2 to 3 are missing",
        true,
    );
    check(|_| String::new(), "records 1 to 3 are missing", true);
    check(|text| text.trim_end().to_owned(), "record 3 is missing", false);
    check(
        |text| text.to_owned() + "garbage\n",
        "what stands at its end is no record",
        true,
    );
    // It may be a line whose state was lost with the disk that held it.
    check(|text| text.to_owned() + "{\"seq\":4,", "torn line of 9 bytes", false);
    check(
        |text| {
            let last = text.lines().last().unwrap();
            let mut chain = crate::audit::Chain::at(3, last.as_bytes());
            text.to_owned() + &chain.append(record("forged")) + "\n"
        },
        "record 4 is not known to the state, whose newest is 3",
        true,
    );
}

#[test]
fn what_a_lost_state_may_have_known_is_taken_over_and_counted() {
    let mut stage = Stage::new();
    stage.add(&["one", "two"]);
    let older = fs::read(stage.path().join("state.json")).unwrap();
    stage.add(&["three", "four"]);
    fs::write(stage.path().join("state.json"), &older).unwrap();
    let misfit = stage.restart_after(true).unwrap();
    assert!(misfit.adopted == 2 && misfit.what.starts_with("records 3 to 4 are not known"));
    stage.audit.note(Record {
        kind: "start".into(),
        facts: [(ADOPTED.to_owned(), "2".to_owned())].into(),
        ..record("five")
    });
    stage.save(LARGE);
    assert_eq!(stage.reasons(), ["one", "two", "three", "four", "five"]);
    let report = stage.verify();
    assert!(report.is_whole() && report.adopted == 2, "{report:?}");

    // The same without a state that was lost: a line is in the state before it is in the file.
    fs::write(stage.path().join("state.json"), &older).unwrap();
    let misfit = stage.restart_after(false).unwrap();
    assert_eq!(misfit.adopted, 0, "{misfit:?}");
    stage.add(&["three again"]);
    assert!(!stage.verify().is_whole());
}

/// The log from `lines[from]` on, written anew with true hashes, and `more` records behind it.
fn chained_anew(text: &str, from: usize, more: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut chain = Chain::at(from as u64, lines[from - 1].as_bytes());
    let mut anew: Vec<String> = lines[..from].iter().map(|&line| line.to_owned()).collect();
    let mut records: Vec<Record> = lines[from..]
        .iter()
        .map(|line| parse(line.as_bytes()).unwrap())
        .collect();
    records[0].by = "mallory".to_owned();
    records.extend(vec![record("forged"); more]);
    anew.extend(records.into_iter().map(|record| chain.append(record)));
    anew.join("\n") + "\n"
}

#[test]
fn a_history_written_anew_is_never_taken_over_and_is_found_for_ever() {
    for (fell_back, rotated) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut stage = Stage::new();
        stage.add(&["1", "2", "3", "4", "5", "6"]);
        let forged = chained_anew(&stage.text(), 3, 2);
        if rotated {
            let lines: Vec<&str> = forged.split_inclusive('\n').collect();
            fs::write(aside(stage.path(), 1), lines[..7].concat()).unwrap();
            stage.write(&lines[7..].concat());
        } else {
            stage.write(&forged);
        }
        let misfit = stage.restart_after(fell_back).unwrap();
        assert_eq!(misfit.adopted, 0, "{misfit:?}");
        assert!(misfit.what.contains("records 7 to 8 are not known"), "{misfit:?}");
        for round in 0..3 {
            stage.add(&["more"]);
            let report = stage.verify();
            assert!(!report.is_whole() && report.anchored, "{round}: {report:?}");
            assert_eq!(stage.restart(), None);
        }
    }
}

#[test]
fn what_is_no_regular_file_is_not_waited_for() {
    let mut stage = Stage::new();
    stage.add(&["one"]);
    fs::remove_file(stage.path().join(ACTIVE)).unwrap();
    let fifo = stage.path().join(ACTIVE);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let query = AuditQuery {
        limit: 5,
        next: None,
        filter: Filter::default(),
    };
    let told = verify_audit(stage.path()).unwrap_err().to_string();
    assert!(told.ends_with("audit.jsonl is no regular file"), "{told}");
    assert_eq!(list_audit(stage.path(), &query).unwrap_err().to_string(), told);
    assert_eq!(stage.restart(), None);
    stage.add(&["two"]);
    assert!(stage.audit.problem().unwrap().ends_with(&told));
    fs::remove_file(&fifo).unwrap();
    stage.save(LARGE);
    assert_eq!(stage.reasons().last().unwrap(), "two");
}

#[test]
fn files_that_look_like_ours_and_are_not_are_named() {
    let mut stage = Stage::new();
    stage.add(&["one"]);
    for name in [
        "audit.old.jsonl",
        "audit.2025-01-01.jsonl",
        "audit.jsonl.gz",
        "other.jsonl",
    ] {
        fs::write(stage.path().join(name), "").unwrap();
    }
    let report = stage.verify();
    assert_eq!(report.strays, ["audit.2025-01-01.jsonl", "audit.old.jsonl"]);
    assert!(report.is_whole());
}

#[test]
fn a_file_that_is_changed_under_our_feet_is_told_of_in_the_log() {
    let check = |change: fn(&Path), found: bool| {
        let mut stage = Stage::new();
        stage.add(&["one", "two", "three"]);
        change(&stage.path().join(ACTIVE));
        stage.add(&["four"]);
        assert!(stage.audit.is_ahead(), "the damage has a record that is not saved yet");
        stage.save(LARGE);
        assert!(
            stage
                .reasons()
                .iter()
                .any(|reason| reason.contains("missing at its end")),
            "{:?}",
            stage.reasons()
        );
        let report = stage.verify();
        assert_eq!((report.is_whole(), report.told.len()), (!found, 1), "{report:?}");
    };
    check(|path| fs::write(path, "").unwrap(), true);
    check(|path| fs::remove_file(path).unwrap(), true);
}

#[test]
fn without_a_file_lines_wait_in_the_state_until_there_is_one() {
    let temp = tempfile::tempdir().unwrap();
    let obstacle = temp.path().join(ACTIVE);
    fs::create_dir(&obstacle).unwrap();
    let audit = Audit::open(temp.path(), None, false).0;
    let mut stage = Stage { temp, audit };
    stage.add(&["one", "two"]);
    assert!(stage.audit.problem().unwrap().contains("cannot be written"));
    assert!(stage.audit.is_behind() && stage.audit.has_room());
    assert_eq!(stage.audit.view().waiting.len(), 2);
    assert_eq!(stage.restart(), None);
    stage.add(&["three"]);
    fs::remove_dir(&obstacle).unwrap();
    stage.audit.append(LARGE);
    assert_eq!((stage.audit.problem(), stage.audit.is_behind()), (None, false));
    stage.is_whole(3);
    assert_eq!(stage.text().lines().count(), 3);
}

#[test]
fn what_waits_is_bounded_and_what_was_left_out_is_told() {
    let temp = tempfile::tempdir().unwrap();
    let obstacle = temp.path().join(ACTIVE);
    fs::create_dir(&obstacle).unwrap();
    let audit = Audit::open(temp.path(), None, false).0;
    let mut stage = Stage { temp, audit };
    let reload = || Record {
        kind: "reload".into(),
        ..Record::default()
    };
    for _ in 0..WAITING_MAX + 7 {
        stage.audit.note(reload());
    }
    assert!(!stage.audit.has_room());
    stage.audit.note(record("an abort is kept all the same"));
    assert_eq!(stage.audit.anchor().pending.len(), WAITING_MAX + 1);
    fs::remove_dir(&obstacle).unwrap();
    stage.save(LARGE);
    stage.save(LARGE);
    assert!(stage.audit.has_room());
    stage.add(&["after"]);
    let reasons = stage.reasons();
    let line = &stage.text().lines().nth(WAITING_MAX + 1).unwrap().to_owned();
    assert!(line.contains("7 records of readings"), "{line}");
    assert_eq!(reasons.len(), 1_000, "a page");
    stage.is_whole(WAITING_MAX as u64 + 3);
}

#[test]
fn large_files_are_put_aside_and_old_ones_removed() {
    let mut stage = Stage::new();
    for n in 1..=6 {
        let at_ms = n * 1_000;
        stage.audit.note(Record {
            at_ms,
            ..record(&n.to_string())
        });
        stage.save(if n % 2 == 1 { 1 } else { LARGE });
    }
    for first in [1, 3] {
        assert_eq!(
            fs::read_to_string(aside(stage.path(), first)).unwrap().lines().count(),
            2
        );
    }
    assert_eq!(stage.text().lines().count(), 2);
    stage.is_whole(6);
    assert_eq!(stage.restart(), None);
    // At 5.1 s records 1 and 2 are older than 3 s, record 4 is not.
    stage.audit.prune(Duration::from_secs(3), 5_100);
    assert!(
        aside(stage.path(), 1).exists(),
        "nothing is removed before the state says so"
    );
    stage.write_state();
    assert!(
        stage.verify().is_whole(),
        "a crash here leaves a file that is not missed"
    );
    stage.save(LARGE);
    assert!(!aside(stage.path(), 1).exists() && aside(stage.path(), 3).exists());
    stage.is_whole(5);
    let reasons = stage.reasons();
    assert!(
        reasons[4].contains("records 1 to 2 are older than the 0 days"),
        "{reasons:?}"
    );
    assert_eq!(reasons[..4], ["3", "4", "5", "6"]);
    // A file that is removed by somebody else is missed.
    fs::remove_file(aside(stage.path(), 3)).unwrap();
    assert!(stage.verify().faults[0].what.contains("records 3 to 4 are missing"));
}

#[test]
fn a_file_whose_removal_failed_is_removed_later() {
    let mut stage = Stage::new();
    stage.add(&["one"]);
    stage.audit.note(record("two"));
    stage.save(1);
    let old = fs::read(aside(stage.path(), 1)).unwrap();
    stage.audit.prune(Duration::ZERO, 5_000);
    stage.save(LARGE);
    fs::write(aside(stage.path(), 1), old).unwrap();
    assert!(stage.verify().is_whole());
    assert_eq!(stage.restart(), None);
    stage.audit.prune(Duration::from_secs(1_000_000), 5_000);
    stage.save(LARGE);
    assert!(!aside(stage.path(), 1).exists() && stage.verify().is_whole());
}

#[test]
fn a_file_that_was_put_aside_without_a_new_one_is_the_end_of_the_log() {
    let mut stage = Stage::new();
    stage.add(&["one", "two"]);
    fs::rename(stage.path().join(ACTIVE), aside(stage.path(), 1)).unwrap();
    assert_eq!(stage.restart(), None);
    stage.add(&["three"]);
    assert_eq!(stage.text().lines().count(), 1);
    stage.is_whole(3);
}

#[test]
fn edits_by_hand_are_found_and_located() {
    let check = |change: fn(&mut Vec<String>), line: u64| {
        let mut stage = Stage::new();
        stage.add(&["one", "two", "three", "four", "five"]);
        stage.save(LARGE);
        let mut lines: Vec<String> = stage.text().lines().map(str::to_owned).collect();
        change(&mut lines);
        stage.write(&(lines.join("\n") + "\n"));
        let report = stage.verify();
        let fault = &report.faults[0];
        assert_eq!((fault.file.as_str(), fault.line), (ACTIVE, line), "{report:?}");
    };
    check(|lines| lines[1] = lines[1].replace("two", "tvo"), 3);
    check(|lines| drop(lines.remove(2)), 3);
    check(|lines| lines.swap(1, 2), 2);
    check(|lines| lines.truncate(3), 4);
    check(|lines| lines[2] = "x".repeat(300_000), 3);
}

#[test]
fn a_state_older_than_the_log_is_no_anchor_for_its_end() {
    let mut stage = Stage::new();
    stage.add(&["one", "two"]);
    let older = fs::read(stage.path().join("state.json")).unwrap();
    stage.add(&["three"]);
    stage.save(LARGE);
    fs::write(stage.path().join("state.json"), older).unwrap();
    assert!(!stage.verify().is_whole());
    fs::remove_file(stage.path().join("state.json")).unwrap();
    let (report, why) = verify_audit(stage.path()).unwrap();
    assert!(report.is_whole() && !report.anchored && why.unwrap().contains("does not exist"));
}

#[test]
fn a_log_whose_state_was_lost_goes_on_and_says_so() {
    let mut stage = Stage::new();
    stage.add(&["one", "two", "three"]);
    stage.audit.note(record("four"));
    stage.save(1);
    stage.audit.prune(Duration::ZERO, 5_000);
    stage.save(LARGE);
    fs::remove_file(stage.path().join("state.json")).unwrap();
    let told = stage.restart().unwrap();
    assert!(told.contains("whose newest is 0; it begins with record 4"), "{told}");
    stage.add(&["six"]);
    stage.is_whole(3);
    assert_eq!(stage.reasons().last().unwrap(), "six");
}

/// What may happen between two looks at the log.
#[derive(Clone, Debug)]
enum Act {
    Note(usize),
    Refuse,
    Save {
        max_bytes: u64,
    },
    /// The process ends, so much of what was not durable in the file with it.
    Crash {
        lost: usize,
    },
    /// The same, with the new state written and nothing else.
    CrashAfterState {
        lost: usize,
    },
    Prune,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1usize..4).prop_map(Act::Note),
        1 => Just(Act::Refuse),
        4 => prop_oneof![Just(300u64), Just(LARGE)].prop_map(|max_bytes| Act::Save { max_bytes }),
        1 => (0usize..600).prop_map(|lost| Act::Crash { lost }),
        1 => (0usize..600).prop_map(|lost| Act::CrashAfterState { lost }),
        1 => Just(Act::Prune),
    ]
}

impl Stage {
    /// Loses the last bytes of the file, but none that are durable.
    fn crash(&mut self, lost: usize) -> Option<String> {
        let anchor = read_anchor(self.path()).unwrap_or_default();
        let pending: u64 = anchor.pending.iter().map(|line| line.len() as u64 + 1).sum();
        let path = self.path().join(ACTIVE);
        let len = fs::metadata(&path).unwrap().len();
        let in_file = anchor
            .pending
            .iter()
            .filter(|line| self.text().contains(line.as_str()))
            .count();
        let lost = if in_file == anchor.pending.len() {
            pending.min(lost as u64)
        } else {
            0
        };
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(len - lost.min(len))
            .unwrap();
        self.restart()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_crash_loses_or_damages_what_was_saved(acts in proptest::collection::vec(act(), 1..30)) {
        let mut stage = Stage::new();
        let (mut noted, mut saved) = (0u64, 0u64);
        stage.save(LARGE);
        for act in acts {
            match act {
                Act::Note(count) => {
                    for _ in 0..count {
                        noted += 1;
                        stage.audit.note(Record { at_ms: noted * 1_000, ..record(&noted.to_string()) });
                    }
                }
                Act::Refuse => {
                    let mark = stage.audit.mark();
                    stage.audit.note(record("refused"));
                    stage.audit.sync();
                    stage.audit.take_back(mark);
                }
                Act::Save { max_bytes } => {
                    stage.save(max_bytes);
                    saved = noted;
                }
                Act::Crash { lost } => {
                    let told = stage.crash(lost);
                    prop_assert!(told.as_ref().is_none_or(|told| told.contains("torn line")), "{:?}", told);
                    noted = saved;
                }
                Act::CrashAfterState { lost } => {
                    stage.audit.sync();
                    stage.write_state();
                    saved = noted;
                    let told = stage.crash(lost);
                    prop_assert!(told.as_ref().is_none_or(|told| told.contains("torn line")), "{:?}", told);
                }
                Act::Prune => stage.audit.prune(Duration::from_secs(3), noted * 1_000),
            }
            let report = stage.verify();
            prop_assert!(report.is_whole(), "{:?}", report);
        }
        stage.save(LARGE);
        let reasons: Vec<u64> = stage.reasons().iter().filter_map(|reason| reason.parse().ok()).collect();
        prop_assert_eq!(reasons.last().copied().unwrap_or(0), noted);
        prop_assert!(reasons.is_sorted_by(|a, b| a + 1 == *b));
        prop_assert!(stage.verify().is_whole());
    }
}

#[test]
fn an_anchor_that_makes_no_sense_harms_nobody() {
    let temp = tempfile::tempdir().unwrap();
    let anchor = Anchor {
        pending: vec!["x".into(), "y".into()],
        ..Anchor::default()
    };
    let (mut audit, told) = Audit::open(temp.path(), Some(anchor), false);
    assert!(told.is_some(), "{told:?}");
    audit.note(record("one"));
    audit.was_saved(LARGE);
    assert_eq!(audit.problem(), None);
}

#[test]
fn a_log_that_is_being_written_is_read_whole() {
    let mut stage = Stage::new();
    stage.add(&["one"]);
    let path = stage.path().to_owned();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let writer = std::thread::spawn(move || {
        for n in 0.. {
            stage.audit.note(Record {
                at_ms: n,
                ..record("more")
            });
            if n % 50 == 49 {
                stage.audit.prune(Duration::from_millis(20), n);
            }
            // As control does: the new state replaces the one before in one step.
            stage.audit.sync();
            let text = format!(
                r#"{{"audit":{}}}"#,
                serde_json::to_string(&stage.audit.anchor()).unwrap()
            );
            fs::write(stage.path().join("state.json.new"), text).unwrap();
            fs::rename(stage.path().join("state.json.new"), stage.path().join("state.json")).unwrap();
            stage.audit.was_saved(2_000);
            if ended.recv_timeout(Duration::from_millis(2)) != Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                return stage;
            }
        }
        stage
    });
    let mut pages = 0;
    for _ in 0..40 {
        let (report, why) = verify_audit(&path).unwrap();
        assert!(report.is_whole() && why.is_none(), "{report:?}");
        let query = AuditQuery {
            limit: 30,
            next: None,
            filter: Filter::default(),
        };
        let lines = list_audit(&path, &query).unwrap().unwrap().lines;
        let seqs: Vec<u64> = lines.iter().map(|line| parse(line.as_bytes()).unwrap().seq).collect();
        assert!(seqs.is_sorted_by(|a, b| *a == b + 1), "{seqs:?}");
        pages += usize::from(!seqs.is_empty());
    }
    drop(end);
    let stage = writer.join().unwrap();
    assert!(pages == 40 && stage.verify().is_whole());
}

#[test]
fn records_behind_one_come_oldest_first_and_in_parts() {
    let mut stage = Stage::new();
    let check = |stage: &Stage, seq, expected: std::ops::RangeInclusive<u64>| {
        let found: Vec<u64> = records_behind(stage.path(), seq)
            .iter()
            .map(|record| record.seq)
            .collect();
        assert_eq!(found, expected.collect::<Vec<_>>(), "behind {seq}");
    };
    assert!(records_behind(stage.path(), 0).is_empty());
    stage.add(&["a", "b", "c"]);
    check(&stage, 0, 1..=3);
    check(&stage, 2, 3..=3);
    assert!(records_behind(stage.path(), 3).is_empty());
    let many: Vec<_> = (0..1_200).map(|n| record(&n.to_string())).collect();
    for records in many.chunks(400) {
        for record in records {
            stage.audit.note(record.clone());
        }
        stage.save(8 << 10);
    }
    check(&stage, 1, 2..=501);
    check(&stage, 501, 502..=1_001);
    check(&stage, 1_001, 1_002..=1_203);
}
