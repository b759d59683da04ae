//! Logs that were made up, and what they show.

use std::path::Path;

use super::{Event, OtherLog, Rehearsal, Summary, What};
use crate::analysis::VerdictKind;
use crate::measure::Outcome;
use crate::outcome::{HEADER, Record, Vote};

const SECOND: u64 = 1_000_000;
/// 2026-11-21T12:00:00Z
const NOON_US: u64 = 1_795_262_400 * SECOND;

const PLAN: &str = "steps: [{ setWeight: 10%, bakeTime: 30s }, { setWeight: 50%, bakeTime: 30s }, { setWeight: 100% }]";

fn rehearsal(analysis: &str, more: &str) -> Rehearsal {
    let text = format!(
        "
version: 1
listeners: [{{ name: public, address: '127.0.0.1:1' }}]
backends: [{{ name: v1, endpoints: ['127.0.0.1:2'] }}, {{ name: v2, endpoints: ['127.0.0.1:3'] }}]
routes:
- name: shop
  split:
    key: {{ header: x-user }}
    variants: [{{ name: stable, backend: v1, weight: 100 }}, {{ name: canary, backend: v2, weight: 0 }}]
rollouts: [{{ name: shop, route: shop, from: stable, to: canary, analysis: {analysis}, {more} }}]
"
    );
    let spec = crate::config::load(&text, Path::new("serin.yaml"), &|_| None);
    let spec = spec.unwrap_or_else(|problems| panic!("{problems}"));
    Rehearsal::new(&spec, None).unwrap()
}

/// Some seconds of steady traffic.
#[derive(Clone, Copy)]
struct Stretch {
    seconds: u64,
    /// Requests a second.
    rate: u64,
    /// The canary's share in percent.
    percent: u64,
    /// Failures in a thousand, of stable and of the canary.
    failures: [u64; 2],
    latency_us: [u64; 2],
    vote: Vote,
}

const CALM: Stretch = Stretch {
    seconds: 40,
    rate: 500,
    percent: 10,
    failures: [2, 2],
    latency_us: [8_000, 8_000],
    vote: Vote::Full,
};

/// A log in the order in which requests end, as workers write it.
struct Log {
    /// The end of each line, and the line.
    lines: Vec<(u64, Vec<u8>)>,
    now_us: u64,
    rng: fastrand::Rng,
}

impl Log {
    fn new() -> Self {
        Self {
            lines: Vec::new(),
            now_us: NOON_US,
            rng: fastrand::Rng::with_seed(11),
        }
    }

    fn then(mut self, stretch: Stretch) -> Self {
        for number in 0..stretch.seconds * stretch.rate {
            let at_us = self.now_us + number * SECOND / stretch.rate;
            let side = usize::from(self.rng.u64(0..100) < stretch.percent);
            let fails = self.rng.u64(0..1000) < stretch.failures[side];
            let share = if side == 1 {
                stretch.percent
            } else {
                100 - stretch.percent
            };
            let latency_us = stretch.latency_us[side] + self.rng.u64(0..2_000);
            let record = Record {
                at_ms: at_us / 1000,
                route: "shop",
                variant: ["stable", "canary"][side],
                share_ppm: u32::try_from(share * 10_000).unwrap(),
                vote: stretch.vote,
                key: Some(self.rng.u32(..)),
                outcome: if fails { Outcome::Failure } else { Outcome::Success },
                status: if fails { 500 } else { 200 },
                latency_us: Some(latency_us),
                duration_us: latency_us + 100,
                waited_us: 0,
                worker: 0,
            };
            self.put(&record);
        }
        self.now_us += stretch.seconds * SECOND;
        self
    }

    fn silence(mut self, seconds: u64) -> Self {
        self.now_us += seconds * SECOND;
        self
    }

    fn put(&mut self, record: &Record<'_>) {
        let mut line = Vec::new();
        record.write(&mut line);
        line.pop();
        self.lines.push((record.end_us(), line));
    }

    /// What a rehearsal tells: seconds since noon, and the event.
    fn told(mut self, mut rehearsal: Rehearsal) -> (Vec<(f64, What)>, Summary) {
        self.lines.sort_by_key(|&(end_us, _)| end_us);
        rehearsal.line(HEADER.as_bytes()).unwrap();
        for (_, line) in &self.lines {
            rehearsal.line(line).unwrap();
        }
        rehearsal.finish();
        let events = rehearsal.take_events();
        assert!(events.is_sorted_by_key(|event| event.at_ms));
        let told = |event: Event| ((event.at_ms as f64 - NOON_US as f64 / 1e3) / 1e3, event.what);
        (events.into_iter().map(told).collect(), rehearsal.summary())
    }
}

/// The words of what was told, in order; verdicts by their own.
fn words(told: &[(f64, What)]) -> Vec<&'static str> {
    let word = |(_, what): &(f64, What)| match what {
        What::Begun => "begins",
        What::Moved => "moves",
        What::Verdict(verdict) => verdict.kind.as_str(),
        What::Passed { .. } => "passes",
        What::Paused { .. } => "pauses",
        What::Promoted => "succeeds",
        What::Aborted => "aborts",
        What::Ended => "ends",
    };
    told.iter().map(word).collect()
}

fn count(told: &[(f64, What)], word: &str) -> usize {
    words(told).into_iter().filter(|&one| one == word).count()
}

#[track_caller]
fn when(told: &[(f64, What)], word: &str) -> f64 {
    let at = words(told).into_iter().position(|one| one == word);
    told[at.unwrap_or_else(|| panic!("no {word} in {:?}", words(told)))].0
}

#[test]
fn errors_above_the_limit_abort_within_seconds() {
    let sick = Stretch {
        failures: [2, 80],
        ..CALM
    };
    let log = Log::new().then(Stretch { percent: 0, ..CALM }).then(CALM).then(sick);
    let (told, summary) = log.told(rehearsal("{ errorRate: { critical: 5% } }", PLAN));
    let aborted = when(&told, "aborts");
    assert!((80.0..90.0).contains(&aborted), "{aborted}: {:?}", words(&told));
    assert_eq!((count(&told, "aborts"), count(&told, "begins")), (1, 1));
    assert_eq!(when(&told, "begins"), 40.0);
    let reason = told.iter().find_map(|(_, what)| match what {
        What::Verdict(verdict) if verdict.kind == VerdictKind::Fail => Some(verdict.reason.clone()),
        _ => None,
    });
    assert!(reason.unwrap().contains("canary"));
    let rollout = &summary.rollouts[0];
    assert_eq!(
        (rollout.trials, rollout.aborts, rollout.verdict),
        (1, 1, Some(VerdictKind::Fail))
    );
    assert_eq!(rollout.canary_requests + rollout.stable_requests, 60_000);
}

#[test]
fn everything_that_fails_aborts_at_once() {
    let dead = Stretch {
        failures: [2, 1000],
        ..CALM
    };
    let (told, _) = Log::new().then(CALM).then(dead).told(rehearsal("{}", PLAN));
    assert!((40.0..40.5).contains(&when(&told, "aborts")), "{told:?}");
}

#[test]
fn a_healthy_canary_passes_step_by_step() {
    let log = Log::new()
        .then(Stretch { percent: 0, ..CALM })
        .then(CALM)
        .then(Stretch { percent: 50, ..CALM })
        .then(Stretch { percent: 100, ..CALM });
    let (told, summary) = log.told(rehearsal("{ errorRate: { critical: 5% } }", PLAN));
    assert_eq!(
        (count(&told, "aborts"), count(&told, "passes")),
        (0, 2),
        "{:?}",
        words(&told)
    );
    let passed: Vec<_> = told
        .iter()
        .filter_map(|(at, what)| match what {
            What::Passed { step, of: 3, after } if after.as_secs() >= 30 => Some((*step, *at)),
            _ => None,
        })
        .collect();
    assert_eq!(passed.len(), 2, "{told:?}");
    assert!(passed[0].0 == 0 && (70.0..80.0).contains(&passed[0].1), "{passed:?}");
    assert!(passed[1].0 == 1 && (110.0..120.0).contains(&passed[1].1), "{passed:?}");
    assert_eq!(when(&told, "succeeds"), 120.0);
    assert_eq!(summary.tally.late, 0);
}

#[test]
fn a_canary_that_answers_late_is_found_by_its_latency() {
    let slow = Stretch {
        latency_us: [8_000, 900_000],
        ..CALM
    };
    let log = Log::new().then(Stretch { percent: 0, ..CALM }).then(CALM).then(slow);
    let (told, _) = log.told(rehearsal("{ latencyP95: { critical: 500ms } }", PLAN));
    let aborted = when(&told, "aborts");
    assert!((80.0..95.0).contains(&aborted), "{aborted}");
    // Relative to stable, with no limit of its own.
    let slower = Stretch {
        latency_us: [8_000, 16_000],
        ..CALM
    };
    let log = Log::new().then(Stretch { percent: 0, ..CALM }).then(CALM).then(slower);
    let (told, _) = log.told(rehearsal("{ errorRate: { critical: 5% } }", PLAN));
    let aborted = when(&told, "aborts");
    assert!((80.0..100.0).contains(&aborted), "{aborted}");
}

#[test]
fn trouble_that_stable_has_as_well_holds() {
    let outage = Stretch {
        seconds: 30,
        failures: [300, 300],
        ..CALM
    };
    let log = Log::new().then(Stretch { percent: 0, ..CALM }).then(CALM).then(outage);
    let (told, _) = log.told(rehearsal("{}", PLAN));
    assert_eq!(count(&told, "aborts"), 0, "{:?}", words(&told));
    assert!(count(&told, "hold") > 0, "{:?}", words(&told));
}

#[test]
fn a_gap_is_passed_over_quickly_and_holds() {
    let quiet = Stretch {
        seconds: 1,
        rate: 20,
        ..CALM
    };
    let month = 30 * 24 * 3600;
    let log = Log::new().then(quiet).silence(month).then(quiet).silence(3).then(quiet);
    let (told, summary) = log.told(rehearsal("{ minRequests: 50 }", PLAN));
    assert!((1.0..60.0).contains(&when(&told, "hold")), "{told:?}");
    for word in ["pass", "passes", "pauses", "aborts"] {
        assert_eq!(count(&told, word), 0, "{word}: {:?}", words(&told));
    }
    assert_eq!(summary.tally.requests, 60);
}

#[test]
fn a_step_waits_for_evidence_as_long_as_the_file_says() {
    let thin = Stretch {
        seconds: 60,
        rate: 2,
        ..CALM
    };
    let analysis = |more: &str| format!("{{ minRequests: 1000, {more} }}");
    let (told, _) = Log::new().then(thin).told(rehearsal(&analysis("maxWait: 10s"), PLAN));
    assert!((40.0..42.0).contains(&when(&told, "pauses")), "{told:?}");
    let (told, _) = Log::new()
        .then(thin)
        .told(rehearsal(&analysis("onInsufficientData: hold"), PLAN));
    assert!((30.0..31.0).contains(&when(&told, "pauses")), "{told:?}");
    let (told, _) = Log::new().then(thin).told(rehearsal(&analysis("maxWait: 10m"), PLAN));
    assert_eq!(count(&told, "pauses"), 0, "{:?}", words(&told));
}

#[test]
fn requests_that_do_not_vote_are_no_evidence() {
    let unheard = Stretch {
        vote: Vote::None,
        failures: [2, 1000],
        ..CALM
    };
    let (told, summary) = Log::new().then(unheard).told(rehearsal("{}", PLAN));
    assert_eq!(words(&told), ["begins", "inconclusive"]);
    let rollout = &summary.rollouts[0];
    assert_eq!((rollout.canary_requests, rollout.without_vote), (0, 20_000));
}

#[test]
fn one_key_is_heard_as_often_as_the_file_says() {
    let votes = |analysis: &str| {
        let mut log = Log::new();
        for number in 0..1000u64 {
            log.put(&Record {
                at_ms: (NOON_US + number * 1_000) / 1000,
                route: "shop",
                variant: "canary",
                share_ppm: 1_000_000,
                vote: if number % 2 == 0 { Vote::Full } else { Vote::Unheard },
                // Half of all are of one client.
                key: Some(if number < 500 {
                    u32::try_from(number).unwrap()
                } else {
                    7
                }),
                outcome: Outcome::Success,
                status: 200,
                latency_us: Some(100),
                duration_us: 100,
                waited_us: 0,
                worker: 0,
            });
        }
        log.told(rehearsal(analysis, PLAN)).1.rollouts[0].canary_requests
    };
    assert_eq!(votes("{ maxVotesPerKey: 5 }"), 504);
    assert_eq!(votes("{ maxVotesPerKey: 1000000 }"), 1000);
}

#[test]
fn a_canary_that_lost_its_weight_and_gets_it_again_is_another_trial() {
    let dead = Stretch {
        failures: [2, 1000],
        ..CALM
    };
    let none = Stretch { percent: 0, ..CALM };
    let log = Log::new().then(CALM).then(dead).then(none).then(CALM).then(none);
    let (told, summary) = log.told(rehearsal("{}", PLAN));
    let rollout = &summary.rollouts[0];
    assert_eq!((rollout.trials, rollout.aborts), (2, 1));
    assert_eq!(
        (count(&told, "begins"), count(&told, "ends")),
        (2, 1),
        "{:?}",
        words(&told)
    );
}

#[test]
fn a_guard_without_steps_is_rehearsed_too() {
    let sick = Stretch {
        failures: [2, 300],
        ..CALM
    };
    let (told, _) = Log::new().then(CALM).then(sick).told(rehearsal("{}", "mode: act"));
    assert!((40.0..44.0).contains(&when(&told, "aborts")), "{told:?}");
    assert_eq!((count(&told, "passes"), count(&told, "succeeds")), (0, 0));
}

#[test]
fn a_request_that_took_long_is_taken_late_and_counts_once() {
    let mut log = Log::new().then(Stretch {
        seconds: 200,
        rate: 50,
        ..CALM
    });
    let long = Record {
        at_ms: NOON_US / 1000 + 5_000,
        route: "shop",
        variant: "canary",
        share_ppm: 100_000,
        vote: Vote::Full,
        key: None,
        outcome: Outcome::Success,
        status: 200,
        latency_us: Some(500),
        duration_us: 120 * SECOND,
        waited_us: 0,
        worker: 0,
    };
    log.put(&long);
    let (told, summary) = log.told(rehearsal("{}", PLAN));
    assert_eq!((summary.tally.late, summary.tally.requests), (1, 10_001));
    assert_eq!(count(&told, "aborts"), 0);
}

#[test]
fn only_logs_of_this_version_are_read() {
    let mut rehearsal = rehearsal("{}", PLAN);
    assert_eq!(rehearsal.line(b"#serin-outcomes 2"), Err(OtherLog::Version(2)));
    rehearsal.begin_file();
    assert_eq!(rehearsal.line(b"version: 1"), Err(OtherLog::NoHeader));
    rehearsal.begin_file();
    assert_eq!(rehearsal.line(HEADER.as_bytes()), Ok(()));
    assert_eq!(rehearsal.line(HEADER.as_bytes()), Ok(()));
    assert_eq!(rehearsal.garbled_line(), Ok(()));
    assert_eq!(rehearsal.summary().tally.garbled, 1);
}
