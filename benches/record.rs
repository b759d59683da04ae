//! What recording one exchange costs the worker that serves it: dispatched, headed, resolved and
//! answered. The goal is below 100 ns. And what a reader pays for counts and for a whole snapshot.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use serin::measure::{CodeClass, FailureStatuses, Recorder, RecorderKey, Track};
use serin::name::Name;

fn recorder(workers: usize) -> Recorder {
    let name = |text: &str| Name::new(text).expect("a plain word is a name");
    let key = RecorderKey {
        route: name("shop"),
        variant: name("canary"),
        backend: name("shop-v2"),
        cohort: None,
    };
    let recorder = Recorder::new(key, workers);
    recorder.set_limit_us(0, 500_000);
    recorder.set_limit_us(1, 1_000_000);
    recorder
}

/// One exchange from beginning to end, as the ledger records it.
fn record(recorder: &Recorder, statuses: &FailureStatuses, worker: usize, latency_us: u64) {
    let cell = recorder.cell(worker);
    let track = Track::Draw {
        slot: black_box(latency_us as u8) & 1,
    };
    cell.dispatched(track);
    cell.headed(track, recorder, latency_us, 0);
    let outcome = statuses.outcome_of(black_box(200));
    cell.resolved(track, outcome);
    cell.answered(outcome, CodeClass::of(black_box(200)));
}

fn benches(criterion: &mut Criterion) {
    let statuses = FailureStatuses::default();
    let one = recorder(1);
    let mut latency_us = 1u64;
    criterion.bench_function("record an exchange", |bencher| {
        bencher.iter(|| {
            // Latencies from 1 us to 4 s, so that no single bucket stays in the nearest cache.
            latency_us = latency_us.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            record(&one, &statuses, 0, latency_us >> 42);
        });
    });

    let eight = recorder(8);
    (0..8).for_each(|worker| (0..10_000).for_each(|n| record(&eight, &statuses, worker, n)));
    criterion.bench_function("read the counts of 8 workers", |bencher| {
        bencher.iter(|| black_box(&eight).counts(Track::Draw { slot: 0 }));
    });
    criterion.bench_function("snapshot and merge 8 workers", |bencher| {
        bencher.iter(|| black_box(&eight).snapshot());
    });
    let snapshot = eight.snapshot();
    criterion.bench_function("p99 of a snapshot", |bencher| {
        bencher.iter(|| black_box(&snapshot).latency.quantile_us(0.99));
    });
}

criterion_group!(record_benches, benches);
criterion_main!(record_benches);
