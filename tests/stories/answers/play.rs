//! Plays cases against one Serin, and reads its books.

use std::net::TcpListener;
use std::thread;

use super::case::Case;
use super::stage::Stage;
use crate::common::{Metrics, Options, Serin, wait_for};

/// Plays every case on one Serin with one worker, so that all connections to a backend are in one pool,
/// and fails with all that went otherwise than the table says.
#[track_caller]
pub fn play(cases: Vec<Case>) {
    play_with("20s", Options::default(), cases);
}

/// [`play`] with the routes' timeout, and with further settings.
#[track_caller]
pub fn play_with(timeout: &str, options: Options, cases: Vec<Case>) {
    let cases: Vec<_> = cases
        .into_iter()
        .map(|case| {
            (
                case,
                TcpListener::bind("127.0.0.1:0").expect("loopback has a free port"),
            )
        })
        .collect();
    let mut config = "backends:\n".to_owned();
    for (case, listener) in &cases {
        let address = listener.local_addr().expect("it is bound");
        config.push_str(&crate::common::backend(&case.name, address));
    }
    config.push_str("routes:\n");
    for (Case { name, .. }, _) in &cases {
        config.push_str(&format!(
            "- {{ name: {name}, match: {{ pathPrefix: /{name} }}, timeout: {timeout}, split: {{ variants: [{{ name: only, backend: {name}, weight: 1 }}] }} }}\n"
        ));
    }
    let serin = Serin::with(Options { workers: 1, ..options }, &config);
    let address = serin.address();
    let played: Vec<_> = cases
        .into_iter()
        .map(|(case, listener)| thread::spawn(move || (Stage::play(&case, address, listener).err(), case)))
        .collect();
    let mut wrong = Vec::new();
    let mut right = Vec::new();
    for thread in played {
        match thread.join().expect("a case returns what is wrong") {
            (Some(error), case) => wrong.push(format!("{}: {error}", case.name)),
            (None, case) => right.push(case),
        }
    }
    wrong.extend(books(&serin, &right));
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// What is wrong with the books of the routes, once they are closed.
fn books(serin: &Serin, cases: &[Case]) -> Vec<String> {
    // What comes after the dialogue succeeds twice.
    let expected = |case: &Case| (case.books.0 + 2, case.books.1, case.books.2);
    let total = |(success, failure, none): (u64, u64, u64)| success + failure + none;
    let is_closed = |metrics: &Metrics, case: &Case| {
        total(metrics.requests(&case.name, "only")) >= total(expected(case))
            && metrics.sum("serin_requests_in_flight", &[("route", &case.name)]) == 0.0
    };
    let metrics = wait_for("all cases are in the books", || {
        let metrics = Metrics::of(serin);
        cases.iter().all(|case| is_closed(&metrics, case)).then_some(metrics)
    });
    let mut wrong = Vec::new();
    for case in cases {
        let got = (
            metrics.attempts(&case.name, "only"),
            metrics.requests(&case.name, "only"),
        );
        let expected = expected(case);
        if got != (expected, expected) {
            wrong.push(format!(
                "{}: (success, failure, noEvidence) of attempts and requests are {got:?}, and not {expected:?}",
                case.name
            ));
        }
    }
    wrong
}
