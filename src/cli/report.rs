//! `serin report`: what releases came to, from the audit log. No Serin needs to run, and one may.

use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::args::{Output, ReportArgs};
use super::audit::directory;
use super::table::Table;
use super::text::{percent, span};
use super::{Console, Exit};
use crate::audit::{Filter, Record, parse};
use crate::control::{AuditQuery, list_audit};
use crate::report::{Figures, Report, Reporter, Spread};

/// Records that are read at once.
const PAGE: usize = 1_000;

/// A trial that ends in the period began at most so long before it; its start names the commit.
const LOOK_BACK_MS: u64 = 30 * 86_400_000;

/// `serin report -c FILE`
pub fn report(args: &ReportArgs, console: &mut Console<'_>) -> Exit {
    let directory = match directory(&args.place, console) {
        Ok(directory) => directory,
        Err(exit) => return exit,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let from = now.saturating_sub(args.since);
    let [now_ms, from_ms] = [now, from].map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let records = match records(&directory, from_ms.saturating_sub(LOOK_BACK_MS)) {
        Ok(records) => records,
        Err(error) => {
            let directory = directory.display();
            console.complain(&format!("the audit log in {directory} cannot be read: {error}"));
            return Exit::Failed;
        }
    };
    let mut reporter = Reporter::new(from_ms, now_ms, args.route.clone());
    records.iter().for_each(|record| reporter.take(record));
    let report = reporter.finish();
    console.say(&match args.place.output {
        Output::Text => in_words(&report),
        Output::Json => in_json(&report).to_string(),
    });
    Exit::Done
}

/// What happened to rollouts, oldest first: from the newest record back to the first one before `from_ms`.
fn records(directory: &Path, from_ms: u64) -> io::Result<Vec<Record>> {
    let mut query = AuditQuery {
        limit: PAGE,
        next: None,
        filter: Filter {
            kind: Some("rollout".to_owned()),
            ..Filter::default()
        },
    };
    let mut records = Vec::new();
    loop {
        let page = list_audit(directory, &query)?.unwrap_or_default();
        for line in &page.lines {
            if let Ok(record) = parse(line.as_bytes()) {
                // Evidence is the largest part of a record, and does not count here.
                records.push(Record {
                    evidence: None,
                    ..record
                });
            }
        }
        query.next = page.next;
        let is_enough = records.last().is_some_and(|record| record.at_ms < from_ms);
        if query.next.is_none() || is_enough {
            break;
        }
    }
    records.reverse();
    Ok(records)
}

fn in_words(report: &Report) -> String {
    let heads = [
        "ROUTE",
        ">DEPLOYMENTS",
        ">PER DAY",
        ">PER WEEK",
        ">LEAD TIME",
        ">P90",
        ">FAILURE RATE",
        ">TIME TO RESTORE",
        ">P90",
    ];
    let mut table = Table::new(&heads);
    let mut row = |name: &str, figures: &Figures| {
        let per_day = figures.per_day(report.days);
        let failed = match figures.change_failure_rate() {
            Some(rate) => format!("{} ({} of {})", percent(&json!(rate)), figures.failed, figures.finished),
            None => "-".to_owned(),
        };
        let time = |spread: Option<Spread>, of: fn(Spread) -> u64| span(&seconds(spread.map(of)));
        table.row(vec![
            name.to_owned(),
            figures.deployments.to_string(),
            format!("{per_day:.2}"),
            format!("{:.2}", per_day * 7.0),
            time(figures.lead_time, |spread| spread.median_ms),
            time(figures.lead_time, |spread| spread.p90_ms),
            failed,
            time(figures.time_to_restore, |spread| spread.median_ms),
            time(figures.time_to_restore, |spread| spread.p90_ms),
        ]);
    };
    for (name, figures) in &report.routes {
        row(name, figures);
    }
    row("all", &report.all);
    let (from, until) = (instant(report.from_ms), instant(report.until_ms));
    format!("{from} to {until} ({:.1} days)\n\n{}", report.days, table.render())
}

/// Durations in seconds, rates 0 to 1, what is unknown `null`: as in the API.
fn in_json(report: &Report) -> Value {
    let spread = |spread: Option<Spread>| {
        json!({
            "count": spread.map_or(0, |spread| spread.count),
            "median": seconds(spread.map(|spread| spread.median_ms)),
            "p90": seconds(spread.map(|spread| spread.p90_ms)),
        })
    };
    let figures = |figures: &Figures| {
        let per_day = figures.per_day(report.days);
        json!({
            "deployments": figures.deployments,
            "deploymentsPerDay": per_day,
            "deploymentsPerWeek": per_day * 7.0,
            "leadTime": spread(figures.lead_time),
            "finished": figures.finished,
            "failed": figures.failed,
            "changeFailureRate": figures.change_failure_rate(),
            "timeToRestore": spread(figures.time_to_restore),
        })
    };
    let route = |(name, route): (&String, &Figures)| (name.clone(), figures(route));
    json!({
        "from": instant(report.from_ms),
        "until": instant(report.until_ms),
        "days": report.days,
        "all": figures(&report.all),
        "routes": report.routes.iter().map(route).collect::<serde_json::Map<_, _>>(),
    })
}

#[allow(clippy::cast_precision_loss)] // times stay far below 2^52 ms
fn seconds(ms: Option<u64>) -> Value {
    json!(ms.map(|ms| ms as f64 / 1000.0))
}

fn instant(ms: u64) -> String {
    crate::admin::rfc3339(ms)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::{in_json, in_words, records};
    use crate::audit::{Chain, Record};
    use crate::report::Reporter;

    const HOUR: u64 = 3_600_000;

    /// A log of a start, its promotion and another route's abort, with other records between.
    fn log() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let mut chain = Chain::default();
        let mut text = String::new();
        let commit = BTreeMap::from([("commitTime".to_owned(), "3600000".to_owned())]);
        for (hours, kind, route, from, to, facts) in [
            (4, "rollout", "shop", "idle", "progressing", commit),
            (5, "weights", "shop", "", "", BTreeMap::new()),
            (6, "rollout", "shop", "progressing", "succeeded", BTreeMap::new()),
            (7, "rollout", "cart", "idle", "progressing", BTreeMap::new()),
            (8, "rollout", "cart", "progressing", "aborted", BTreeMap::new()),
        ] {
            let line = chain.append(Record {
                at_ms: hours * HOUR,
                kind: kind.to_owned(),
                by: "ann".to_owned(),
                route: Some(route.to_owned()),
                rollout: Some(route.to_owned()),
                from: from.to_owned(),
                to: to.to_owned(),
                facts,
                ..Record::default()
            });
            text.push_str(&line);
            text.push('\n');
        }
        fs::write(directory.path().join("audit.jsonl"), text).unwrap();
        directory
    }

    #[test]
    fn a_log_becomes_a_table_and_an_object() {
        let directory = log();
        let mut reporter = Reporter::new(4 * HOUR, 52 * HOUR, None);
        for record in records(directory.path(), 0).unwrap() {
            reporter.take(&record);
        }
        let report = reporter.finish();
        let lines = [
            "1970-01-01T04:00:00.000Z to 1970-01-03T04:00:00.000Z (2.0 days)",
            "",
            "ROUTE  DEPLOYMENTS  PER DAY  PER WEEK  LEAD TIME    P90    FAILURE RATE  TIME TO RESTORE    P90",
            "cart             0     0.00      0.00          -      -  100 % (1 of 1)            1h00m  1h00m",
            "shop             1     0.50      3.50      5h00m  5h00m    0 % (0 of 1)                -      -",
            "all              1     0.50      3.50      5h00m  5h00m   50 % (1 of 2)            1h00m  1h00m",
        ];
        let text = in_words(&report);
        assert_eq!(text.lines().collect::<Vec<_>>(), lines, "\n{text}");
        let json = in_json(&report);
        assert_eq!(json["all"]["changeFailureRate"], 0.5);
        assert_eq!(json["routes"]["shop"]["leadTime"]["median"], 18_000.0);
        assert_eq!(
            json["routes"]["shop"]["timeToRestore"]["median"],
            serde_json::Value::Null
        );
        assert_eq!(json["routes"]["cart"]["timeToRestore"]["p90"], 3600.0);
    }

    #[test]
    fn reading_ends_behind_the_period_and_an_empty_directory_is_an_empty_log() {
        let directory = log();
        assert_eq!(records(directory.path(), 0).unwrap().len(), 4);
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(records(empty.path(), 0).unwrap(), []);
    }
}
