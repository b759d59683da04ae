//! `serin audit`: reads the audit log in a state directory. No Serin needs to run, and one may.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::args::{AuditAction, AuditArgs, AuditListArgs, AuditPlace, Output};
use super::local::{count, load};
use super::table::Table;
use super::{Console, Exit};
use crate::audit::{Fault, Filter, Report};
use crate::control::{AuditQuery, list_audit, verify_audit};

/// Records that are read at once.
const PAGE: usize = 1_000;

/// `serin audit list|verify`
pub fn audit(args: &AuditArgs, console: &mut Console<'_>) -> Exit {
    let place = match &args.action {
        AuditAction::List(args) => &args.place,
        AuditAction::Verify(place) => place,
    };
    let directory = match directory(place, console) {
        Ok(directory) => directory,
        Err(exit) => return exit,
    };
    let done = match &args.action {
        AuditAction::List(args) => list(&directory, args, console),
        AuditAction::Verify(place) => verify(&directory, place.output, console),
    };
    done.unwrap_or_else(|error| {
        console.complain(&format!(
            "the audit log in {} cannot be read: {error}",
            directory.display()
        ));
        Exit::Failed
    })
}

/// The state directory that holds the log; the console says why there is none.
pub(super) fn directory(place: &AuditPlace, console: &mut Console<'_>) -> Result<PathBuf, Exit> {
    if let Some(directory) = &place.state {
        return Ok(directory.clone());
    }
    match load(&place.config) {
        Ok(spec) => Ok(spec.state_directory),
        Err(report) => {
            console.complain(&format!("{}: {report}", place.config.display()));
            console.complain("name the state directory with --state to read the log without the file");
            Err(Exit::ConfigInvalid)
        }
    }
}

/// The newest records, oldest first, as a page for people is read downwards.
fn list(directory: &std::path::Path, args: &AuditListArgs, console: &mut Console<'_>) -> std::io::Result<Exit> {
    let mut query = AuditQuery {
        limit: PAGE,
        next: None,
        filter: Filter {
            rollout: args.rollout.clone(),
            route: args.route.clone(),
            by: args.by.clone(),
            kind: args.kind.clone(),
            since_ms: args.since,
            until_ms: args.until,
        },
    };
    let mut lines = Vec::new();
    while lines.len() < args.limit {
        query.limit = PAGE.min(args.limit - lines.len());
        let page = list_audit(directory, &query)?.unwrap_or_default();
        lines.extend(page.lines);
        query.next = page.next;
        if query.next.is_none() {
            break;
        }
    }
    lines.reverse();
    match args.place.output {
        Output::Json => lines.iter().for_each(|line| console.say(line)),
        Output::Text => console.say(&table(&lines)),
    }
    Ok(Exit::Done)
}

fn table(lines: &[String]) -> String {
    let mut table = Table::new(&[">SEQ", "TIME", "KIND", "WHO", "WHAT", "FROM", "TO", "REASON"]);
    for line in lines {
        let record: Value = serde_json::from_str(line).unwrap_or_default();
        let text = |key: &str| record[key].as_str().unwrap_or("").to_owned();
        table.row(vec![
            record["seq"].to_string(),
            text("time"),
            text("kind"),
            text("by"),
            what(&record),
            text("from"),
            text("to"),
            // A refused file has a line for each of its problems.
            text("reason").lines().next().unwrap_or("").to_owned(),
        ]);
    }
    table.render()
}

/// Whom it concerns: the flag where that is called otherwise than its route.
fn what(record: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let (flag, route) = (text(&record["facts"]["flag"]), text(&record["route"]));
    let flag = if flag == route { String::new() } else { flag };
    let names = [flag, text(&record["rollout"]), route];
    names.into_iter().find(|name| !name.is_empty()).unwrap_or_default()
}

fn verify(directory: &std::path::Path, output: Output, console: &mut Console<'_>) -> std::io::Result<Exit> {
    let (report, unanchored) = verify_audit(directory)?;
    let nothing = report.records == 0 && !directory.join("state.json").exists();
    let is_good = report.is_whole() && (report.anchored || nothing);
    match output {
        Output::Json => console.say(&in_json(&report, unanchored.as_deref(), is_good).to_string()),
        Output::Text => {
            let place = directory.display();
            for fault in &report.faults {
                console.say(&in_words(fault));
            }
            if report.more_faults > 0 {
                console.say(&format!("and {} more", report.more_faults));
            }
            let span = match (&report.first, &report.last) {
                (Some(first), Some(last)) => format!(" from {first} to {last}"),
                (None, _) | (_, None) => String::new(),
            };
            let records = format!("{}{span}", count(report.records, "record"));
            match (&unanchored, report.is_whole()) {
                (_, false) => console.say(&format!(
                    "{place}: the audit log was TAMPERED WITH or damaged: {records}{}",
                    told(&report)
                )),
                (Some(_), true) if nothing => console.say(&format!("{place}: there is no audit log yet")),
                (Some(why), true) => console.say(&format!(
                    "{place}: the chain is whole, but nothing says where it must end, so that a cut end is not found: \
                     {why}; {records}"
                )),
                (None, true) => console.say(&format!("{place}: the audit log is whole: {records}{}", told(&report))),
            }
            remarks(&report, console);
        }
    }
    Ok(if is_good { Exit::Done } else { Exit::Failed })
}

/// Damage that Serin saw and wrote down itself is for the reader to judge.
fn told(report: &Report) -> String {
    if report.told.is_empty() {
        return String::new();
    }
    let list: Vec<String> = report.told.iter().map(u64::to_string).collect();
    format!("; damage that was found at the time is told in {}", list.join(", "))
}

/// What is no fault, and yet to be looked at.
fn remarks(report: &Report, console: &mut Console<'_>) {
    if report.adopted > 0 {
        console.say(&format!(
            "warning: {} taken over at a start whose state did not know {}: the state that did may have been damaged, \
             or somebody added {}",
            match report.adopted {
                1 => "1 record was".to_owned(),
                many => format!("{many} records were"),
            },
            if report.adopted == 1 { "it" } else { "them" },
            if report.adopted == 1 { "it" } else { "them" },
        ));
    }
    for name in &report.strays {
        console.say(&format!("note: {name:?} is no file of the log"));
    }
}

fn in_words(fault: &Fault) -> String {
    let record = fault.seq.map_or_else(String::new, |seq| format!(" record {seq}:"));
    format!("{}:{}:{record} {}", fault.file, fault.line, fault.what)
}

fn in_json(report: &Report, unanchored: Option<&str>, is_good: bool) -> Value {
    let faults = report
        .faults
        .iter()
        .map(|fault| json!({"file": fault.file, "line": fault.line, "seq": fault.seq, "what": fault.what}));
    json!({
        "ok": is_good,
        "records": report.records,
        "first": report.first,
        "last": report.last,
        "anchored": report.anchored,
        "notAnchored": unanchored,
        "faults": faults.collect::<Vec<_>>(),
        "moreFaults": report.more_faults,
        "told": report.told,
        "adopted": report.adopted,
        "strays": report.strays,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::Parser;
    use serde_json::json;

    use super::audit;
    use crate::audit::{Anchor, Record};
    use crate::cli::{Args, Command, Console, Exit};

    fn state(records: u64) -> tempfile::TempDir {
        let temp = tempfile::tempdir().unwrap();
        let mut anchor = Anchor::default();
        let record = |n: u64| Record {
            at_ms: n * 1_000,
            kind: "weights".into(),
            by: "alice".into(),
            route: Some("shop".into()),
            reason: format!("change {n}\nand more"),
            ..Record::default()
        };
        let lines = (1..=records).map(|n| anchor.head.append(record(n)) + "\n");
        fs::write(temp.path().join("audit.jsonl"), lines.collect::<String>()).unwrap();
        let anchor = serde_json::to_string(&anchor).unwrap();
        fs::write(temp.path().join("state.json"), format!(r#"{{"audit":{anchor}}}"#)).unwrap();
        temp
    }

    fn run(line: &str, directory: &Path) -> (Exit, String) {
        let state = directory.display().to_string();
        let words = ["serin", "audit"]
            .into_iter()
            .chain(line.split(' '))
            .chain(["--state", &state]);
        let Command::Audit(args) = Args::try_parse_from(words).unwrap().command else {
            panic!("{line}")
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = audit(
            &args,
            &mut Console {
                out: &mut out,
                err: &mut err,
            },
        );
        (
            exit,
            String::from_utf8([out, err].concat()).unwrap().replace(&state, "STATE"),
        )
    }

    #[test]
    fn a_whole_log_is_one_line() {
        let temp = state(3);
        let expected =
            "STATE: the audit log is whole: 3 records from 1970-01-01T00:00:01.000Z to 1970-01-01T00:00:03.000Z\n";
        assert_eq!(run("verify", temp.path()), (Exit::Done, expected.to_owned()));
        let (exit, text) = run("verify --output json", temp.path());
        assert!(
            exit == Exit::Done && text.starts_with(r#"{"adopted":0,"anchored":true,"#),
            "{text}"
        );
    }

    #[test]
    fn what_is_to_be_looked_at_is_no_fault_and_is_said() {
        let temp = tempfile::tempdir().unwrap();
        let mut anchor = Anchor::default();
        let line = anchor.head.append(Record {
            kind: "start".into(),
            facts: [("adopted".into(), "2".into()), ("audit".into(), "records".into())].into(),
            ..Record::default()
        });
        fs::write(temp.path().join("audit.jsonl"), line + "\n").unwrap();
        fs::write(temp.path().join("audit.\u{1b}.jsonl"), "").unwrap();
        let anchor = serde_json::to_string(&anchor).unwrap();
        fs::write(temp.path().join("state.json"), format!(r#"{{"audit":{anchor}}}"#)).unwrap();
        let (exit, said) = run("verify", temp.path());
        let lines: Vec<&str> = said.lines().collect();
        assert!(exit == Exit::Done && lines[0].ends_with("is told in 1"), "{said}");
        assert!(
            lines[1].starts_with("warning: 2 records were taken over at a start"),
            "{said}"
        );
        assert_eq!(lines[2], r#"note: "audit.\u{1b}.jsonl" is no file of the log"#);
        let (_, said) = run("verify --output json", temp.path());
        assert!(said.starts_with(r#"{"adopted":2,"#), "{said}");
    }

    #[test]
    fn tampering_is_located_and_fails() {
        let temp = state(3);
        let path = temp.path().join("audit.jsonl");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("change 1", "change 9")).unwrap();
        let (exit, said) = run("verify", temp.path());
        assert_eq!(exit, Exit::Failed);
        assert!(
            said.starts_with("audit.jsonl:2: record 2: it was not written behind"),
            "{said}"
        );
        assert!(said.contains("TAMPERED WITH"), "{said}");
    }

    #[test]
    fn an_end_that_nothing_vouches_for_fails() {
        let temp = state(3);
        fs::write(temp.path().join("state.json"), "{").unwrap();
        let (exit, said) = run("verify", temp.path());
        assert!(
            exit == Exit::Failed && said.contains("a cut end is not found"),
            "{said}"
        );
        let empty = tempfile::tempdir().unwrap();
        let (exit, said) = run("verify", empty.path());
        assert_eq!(
            (exit, said.as_str()),
            (Exit::Done, "STATE: there is no audit log yet\n")
        );
        let (exit, said) = run("verify", &empty.path().join("nowhere"));
        assert!(exit == Exit::Failed && said.contains("cannot be read"), "{said}");
    }

    #[test]
    fn records_are_listed_oldest_first_and_filtered() {
        let temp = state(3);
        let (exit, text) = run("list --limit 2", temp.path());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((exit, lines.len()), (Exit::Done, 3), "{text}");
        assert!(lines[0].starts_with("SEQ  TIME"), "{text}");
        assert!(
            lines[1].starts_with("  2  1970-01-01T00:00:02.000Z  weights  alice  shop"),
            "{text}"
        );
        assert!(lines[2].ends_with("change 3"), "{text}");
        let (_, text) = run(
            "list --since 1970-01-01T00:00:03Z --route shop --output json",
            temp.path(),
        );
        assert!(text.starts_with("{\"seq\":3,") && text.lines().count() == 1, "{text}");
        assert_eq!(run("list --by bob", temp.path()).1.lines().count(), 1);
    }

    #[test]
    fn a_record_is_about_its_flag_its_rollout_or_its_route() {
        let check = |record: serde_json::Value, expected: &str| assert_eq!(super::what(&record), expected, "{record}");
        let of = |flag: &str| json!({"kind": "flag", "route": "shop", "facts": {"flag": flag}});
        check(json!({"kind": "flag", "facts": {"flag": "dark-mode"}}), "dark-mode");
        check(of("new-shop"), "new-shop");
        check(of("shop"), "shop");
        check(json!({"route": "shop", "rollout": "next"}), "next");
        check(json!({"route": "shop"}), "shop");
        check(json!({"kind": "reload"}), "");
        let temp = state(1);
        assert_eq!(run("list --kind flag", temp.path()).1.lines().count(), 1);
    }
}
