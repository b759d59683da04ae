//! Plays cases against one Serin, and reads its books.

use std::net::TcpListener;
use std::thread;

use super::case::Case;
use super::stage::Stage;
use crate::common::{Metrics, Options, Serin, wait_until};

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
    for thread in played {
        let (error, case) = thread.join().expect("a case returns what is wrong");
        // What comes after the dialogue succeeds twice.
        let (success, failure, none) = case.books;
        match error {
            Some(error) => wrong.push(format!("{}: {error}", case.name)),
            None => wrong.extend(books(&serin, &case.name, (success + 2, failure, none))),
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// What is wrong with the books of a route, once they are closed.
fn books(serin: &Serin, route: &str, expected: (u64, u64, u64)) -> Option<String> {
    let total = |(s, f, n): (u64, u64, u64)| s + f + n;
    wait_until(&format!("{route} is in the books"), || {
        let metrics = Metrics::of(serin);
        total(metrics.requests(route, "only")) >= total(expected)
            && metrics.sum("serin_requests_in_flight", &[("route", route)]) == 0.0
    });
    let metrics = Metrics::of(serin);
    let got = (metrics.attempts(route, "only"), metrics.requests(route, "only"));
    (got != (expected, expected)).then(|| {
        format!("{route}: (success, failure, noEvidence) of attempts and requests are {got:?}, and not {expected:?}")
    })
}
