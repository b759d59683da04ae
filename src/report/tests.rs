//! The four numbers, worked by hand.

use super::*;

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

/// `at_hours route from to fact=value …`
fn record(line: &str) -> Record {
    let words: Vec<&str> = line.split_whitespace().collect();
    let facts = words[4..].iter().map(|fact| fact.split_once('=').unwrap());
    Record {
        seq: 1,
        at_ms: words[0].parse::<u64>().unwrap() * HOUR,
        kind: "rollout".to_owned(),
        by: "serin".to_owned(),
        route: Some(words[1].to_owned()),
        rollout: Some(words[1].to_owned()),
        from: words[2].to_owned(),
        to: words[3].to_owned(),
        reason: String::new(),
        generation: 1,
        facts: facts.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        evidence: None,
        previous: String::new(),
    }
}

fn report(from_hours: u64, until_hours: u64, lines: &[&str]) -> Report {
    let mut reporter = Reporter::new(from_hours * HOUR, until_hours * HOUR, None);
    lines.iter().for_each(|line| reporter.take(&record(line)));
    reporter.finish()
}

#[test]
fn a_month_of_two_routes() {
    let commit = |hours: u64| (hours * HOUR).to_string();
    let lines = [
        format!("24 shop idle progressing commitTime={}", commit(22)),
        "25 shop progressing progressing".to_owned(),
        "26 shop promoting succeeded".to_owned(),
        format!("48 shop succeeded progressing commitTime={}", commit(40)),
        "50 shop progressing aborted".to_owned(),
        "52 shop aborted progressing".to_owned(),
        "60 shop progressing succeeded".to_owned(),
        "72 cart idle progressing commitTime=1970-01-04T00:00:00Z".to_owned(),
        "76 cart promoting succeeded".to_owned(),
        "82 cart succeeded aborted badSince=1970-01-04T09:00:00Z".to_owned(),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let report = report(24, 264, &lines);
    assert_eq!(report.days, 10.0);
    let all = &report.all;
    assert_eq!((all.deployments, all.finished, all.failed), (3, 4, 2));
    assert_eq!((all.per_day(report.days), all.change_failure_rate()), (0.3, Some(0.5)));
    let hours = |median: u64, p90: u64, count| {
        Some(Spread {
            count,
            median_ms: median * HOUR,
            p90_ms: p90 * HOUR,
        })
    };
    // 26 − 22 and 76 − 72; the retry named no commit.
    assert_eq!(all.lead_time, hours(4, 4, 2));
    // 50 − 48 since the step began, 82 − 81 since it was seen.
    assert_eq!(all.time_to_restore.unwrap().median_ms, HOUR + HOUR / 2);
    let shop = &report.routes["shop"];
    assert_eq!((shop.deployments, shop.finished, shop.failed), (2, 3, 1));
    assert_eq!(shop.time_to_restore, hours(2, 2, 1));
    let cart = &report.routes["cart"];
    assert_eq!(
        (cart.change_failure_rate(), cart.lead_time),
        (Some(1.0), hours(4, 4, 1))
    );
}

#[test]
fn the_commit_of_a_start_is_not_that_of_the_next() {
    let lines = [
        "1 a idle progressing commitTime=0",
        "2 a progressing succeeded",
        "3 a succeeded progressing",
        "9 a promoting succeeded",
    ];
    assert_eq!(report(0, 24, &lines).all.lead_time.unwrap().count, 1);
}

#[test]
fn what_began_before_the_period_ends_in_it() {
    let lines = [
        "1 a idle progressing commitTime=0",
        "30 a progressing progressing",
        "100 a promoting succeeded",
    ];
    let found = report(48, 120, &lines);
    assert_eq!(found.days, 3.0);
    assert_eq!(found.all.lead_time.unwrap().median_ms, 100 * HOUR);
    // A success before it that is rolled back in it: one trial, and it failed.
    let found = report(48, 120, &["40 a promoting succeeded", "50 a succeeded aborted"]);
    assert_eq!((found.all.deployments, found.all.change_failure_rate()), (0, Some(1.0)));
    // And what comes after it does not count.
    assert_eq!(report(0, 24, &["30 a promoting succeeded"]).all, Figures::default());
}

#[test]
fn what_is_no_trial_does_not_count() {
    let lines = [
        "1 a idle watching",
        "2 a watching aborted",
        "3 a aborted idle",
        "4 a idle aborted",
    ];
    assert_eq!(report(0, 24, &lines).all, Figures::default());
    let mut weights = record("1 a progressing succeeded");
    weights.kind = "weights".to_owned();
    let mut reporter = Reporter::new(0, DAY, None);
    reporter.take(&weights);
    assert_eq!(reporter.finish().all, Figures::default());
}

#[test]
fn one_route_can_be_asked_for() {
    let mut reporter = Reporter::new(0, DAY, Some("a".to_owned()));
    for line in ["1 a promoting succeeded", "2 b promoting succeeded"] {
        reporter.take(&record(line));
    }
    let report = reporter.finish();
    assert_eq!((report.all.deployments, report.routes.len()), (1, 1));
}

#[test]
fn nothing_is_null_and_clocks_that_jump_take_no_time() {
    let empty = report(0, 240, &[]);
    assert_eq!(
        (empty.days, empty.all.change_failure_rate(), empty.all.lead_time),
        (10.0, None, None)
    );
    let found = report(
        0,
        24,
        &[
            "5 a idle progressing commitTime=99999999999",
            "3 a progressing succeeded",
        ],
    );
    assert_eq!((found.all.deployments, found.all.lead_time), (1, None));
    assert_eq!(
        report(0, 24, &["5 a idle progressing", "3 a paused aborted"])
            .all
            .time_to_restore,
        None
    );
}

#[test]
fn a_spread_has_a_middle_and_a_rank() {
    let check = |times: &[u64], median_ms, p90_ms| {
        let count = times.len() as u64;
        let spread = Spread {
            count,
            median_ms,
            p90_ms,
        };
        assert_eq!(Spread::of(times.to_vec()), Some(spread), "{times:?}");
    };
    check(&[7], 7, 7);
    check(&[10, 2], 6, 10);
    check(&[3, 1, 2], 2, 3);
    check(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 5, 9);
    check(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], 6, 10);
    assert_eq!(Spread::of(Vec::new()), None);
}
