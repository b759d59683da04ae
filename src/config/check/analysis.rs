//! What is judged: limits, their defaults, and which keys go with which kind of test.

use std::time::Duration;

use crate::analysis::{self, AnalysisSpec, Level, Limits};
use crate::config::file::{self, ClientErrors, CompareWith, OnInsufficientData, Test};
use crate::config::read::{Reader, Slot};
use crate::config::tree::NodeId;
use crate::config::units::{Limit, Percent};
use crate::share::MILLION;

/// What an `analysis` says.
pub(super) struct Judged {
    /// What is judged; without the bound of the budget.
    pub(super) analysis: AnalysisSpec,
    /// How long after a bake time evidence is waited for.
    pub(super) patience: Duration,
    /// Votes of one key in ten seconds and worker.
    pub(super) max_votes_per_key: Option<u32>,
    /// First requests of an endpoint whose latencies are no evidence.
    pub(super) warm_up: u32,
}

/// Reads what is written at `slot` for a canary in `split`; `None` when it does not come about, which
/// is then reported.
pub(super) fn check(
    slot: &Slot<file::Analysis>,
    split: Option<&file::Split>,
    reader: &mut Reader<'_>,
) -> Option<Judged> {
    let is_keyed = split.is_some_and(|split| !split.key.left_out);
    let votes = is_keyed.then_some(VOTES_PER_KEY);
    let Some(written) = slot.get() else {
        return slot.left_out.then(|| Judged {
            analysis: AnalysisSpec::default(),
            patience: PATIENCE,
            max_votes_per_key: votes,
            warm_up: 0,
        });
    };
    check_keys(written, reader);
    check_ranges(written, reader);
    if split.is_some() && !is_keyed && written.max_votes_per_key.value.is_some() {
        reader.refuse(
            written.max_votes_per_key.at,
            "the split has no key to count votes by; give it `key: { header: x-user-id }`, or leave this out",
        );
    }
    Some(Judged {
        analysis: spec(written, reader),
        patience: patience(written, reader),
        max_votes_per_key: written.max_votes_per_key.value.map(|n| n.0).or(votes),
        warm_up: written.warm_up.value.map_or(0, |n| n.0),
    })
}

fn spec(written: &file::Analysis, reader: &mut Reader<'_>) -> AnalysisSpec {
    let default = AnalysisSpec::default();
    let is_sequential = written.test.or(Test::Sequential) == Test::Sequential;
    let compare_with_stable = written.compare_with.or(CompareWith::Stable) == CompareWith::Stable;
    // What is not compared has no limit either, so that the spec says what is judged.
    let is_relative = is_sequential && compare_with_stable;

    let error_rate = &written.error_rate;
    let errors = error_rate.get().map(|limits| (&limits.warn, &limits.critical));
    let successes = written
        .success_rate
        .get()
        .map(|limits| (&limits.warn, &limits.critical));
    let error_rate = match errors {
        Some(pair) => Some(limits(error_rate.at, pair, Worse::Above, Percent::share, reader)),
        // A canary that answers 500 at once is fast: latency alone judges nobody.
        None => default.error_rate.filter(|_| successes.is_none()),
    };
    AnalysisSpec {
        test: if is_sequential {
            analysis::Test::Sequential
        } else {
            analysis::Test::Threshold
        },
        compare_with_stable,
        min_requests: written
            .min_requests
            .value
            .map_or(default.min_requests, |n| u64::from(n.0)),
        alpha: written.alpha.value.map_or(default.alpha, Percent::share),
        error_rate,
        success_rate: successes.map(|pair| limits(written.success_rate.at, pair, Worse::Below, Percent::share, reader)),
        latency: [
            &written.latency_p50,
            &written.latency_p90,
            &written.latency_p95,
            &written.latency_p99,
        ]
        .map(|slot| {
            let pair = slot.get().map(|limits| (&limits.warn, &limits.critical));
            pair.map(|pair| limits(slot.at, pair, Worse::Above, |limit: Limit| limit.0, reader))
        }),
        error_rate_ratio: written.error_rate_ratio.value.map_or(default.error_rate_ratio, |n| n.0),
        error_rate_margin: written
            .error_rate_margin
            .value
            .map_or(default.error_rate_margin, Percent::share),
        latency_factor: written
            .latency_factor
            .value
            .map_or(default.latency_factor, |factor| factor.0)
            .filter(|_| is_relative),
        failed_requests: None,
        client_errors: match written.client_errors.or(ClientErrors::Warn) {
            ClientErrors::Off => None,
            ClientErrors::Warn => Some(Level::Warn),
            ClientErrors::Critical => Some(Level::Critical),
        }
        .filter(|_| is_relative),
    }
}

/// Ranges that depend on the test, or whose ends need words of their own.
fn check_ranges(written: &file::Analysis, reader: &mut Reader<'_>) {
    let is_sequential = written.test.known_or(Test::Sequential) == Some(Test::Sequential);
    if let Some(limits) = written.error_rate.get().filter(|_| is_sequential) {
        check_provable(&limits.warn, Worse::Above, reader);
        check_provable(&limits.critical, Worse::Above, reader);
    }
    if let Some(limits) = written.success_rate.get() {
        check_provable(&limits.warn, Worse::Below, reader);
        check_provable(&limits.critical, Worse::Below, reader);
    }
    if let Some(alpha) = written.alpha.value
        && !(1..=ALPHA_PPM_MAX).contains(&alpha.ppm)
    {
        reader.refuse_text(written.alpha.at, "is out of range; give 0.0001% to 5%");
    }
}

/// Keys that would say nothing are refused: who writes them relies on them.
fn check_keys(written: &file::Analysis, reader: &mut Reader<'_>) {
    let relative = [
        written_at(&written.error_rate_ratio),
        written_at(&written.error_rate_margin),
        written_at(&written.latency_factor),
        written_at(&written.client_errors),
    ];
    let alpha = written_at(&written.alpha);
    if written.compare_with.value == Some(CompareWith::Nothing) {
        for at in relative.into_iter().flatten() {
            reader.refuse(at, "needs `compareWith: stable`; write that, or leave this out");
        }
    }
    if written.test.value == Some(Test::Threshold) {
        for at in relative.into_iter().chain([alpha]).flatten() {
            reader.refuse(at, "needs `test: sequential`; write that, or leave this out");
        }
    }
}

fn written_at<T>(slot: &Slot<T>) -> Option<NodeId> {
    slot.get().map(|_| slot.at)
}

/// Zero means that a person is asked as soon as the bake time is over.
fn patience(written: &file::Analysis, reader: &mut Reader<'_>) -> Duration {
    match written.on_insufficient_data.or(OnInsufficientData::Extend) {
        OnInsufficientData::Extend => written.max_wait.value.map_or(PATIENCE, |limit| limit.0),
        OnInsufficientData::Hold => {
            if written.max_wait.value.is_some() {
                reader.refuse(
                    written.max_wait.at,
                    "needs `onInsufficientData: extend`; write that, or leave this out",
                );
            }
            Duration::ZERO
        }
    }
}

/// On which side of a limit things are worse.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Worse {
    Above,
    Below,
}

/// At least one limit, and a warning no later than the end.
fn limits<T: Copy + PartialOrd, U>(
    at: NodeId,
    (warn, critical): (&Slot<T>, &Slot<T>),
    worse: Worse,
    convert: fn(T) -> U,
    reader: &mut Reader<'_>,
) -> Limits<U> {
    if warn.left_out && critical.left_out {
        reader.refuse(at, "has no limit; give `warn`, `critical` or both");
    }
    if let (Some(first), Some(last)) = (warn.value, critical.value) {
        let (is_late, word) = match worse {
            Worse::Above => (first > last, "above"),
            Worse::Below => (first < last, "below"),
        };
        if is_late {
            let last = reader.tree.quote(critical.at);
            let message = format!("is {word} critical, {last}; a warning comes first");
            reader.refuse_text(warn.at, &message);
        }
    }
    Limits {
        warn: warn.value.map(convert),
        critical: critical.value.map(convert),
    }
}

/// A limit on a rate at either end of its range can be broken by one request or by none.
fn check_provable(slot: &Slot<Percent>, worse: Worse, reader: &mut Reader<'_>) {
    let Some(limit) = slot.value else { return };
    let mend = match limit.ppm {
        0 => "write one above 0%, such as 0.01%",
        MILLION => "write one below 100%, such as 99.99%",
        _ => return,
    };
    let is_strictest = (limit.ppm == 0) == (worse == Worse::Above);
    let what = if is_strictest {
        "no number of good requests can prove"
    } else {
        "nothing can break"
    };
    reader.refuse_text(slot.at, &format!("is a limit that {what}; {mend}"));
}

/// 5 %.
const ALPHA_PPM_MAX: u32 = 50_000;
/// How long evidence is waited for after a bake time, where nothing else is said.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// Votes of one key where nothing else is said.
const VOTES_PER_KEY: u32 = 10;
