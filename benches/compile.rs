//! A table of 10,000 routes: from nothing, after a change of one weight, and after a new file that changes nothing.
#![allow(missing_docs)] // criterion's macros make public functions

use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use serin::compile::{Book, compile as compile_table};
use serin::config::Spec;
use serin::route::{HostMatch, Match, PathMatch};

mod fixture;

const ROUTES: usize = 10_000;
const WORKERS: usize = 2;

fn compile(criterion: &mut Criterion) {
    let matches = |route| Match {
        hosts: vec![HostMatch::Exact(format!("shop-{}.example.com", route / 10))],
        path: PathMatch::Prefix(format!("/api/service-{}", route % 10)),
        ..Match::default()
    };
    let spec = Arc::new(fixture::spec(ROUTES, true, matches));
    let before = fixture::in_force(&spec);
    let mut book = Book::new(WORKERS);
    let last = compile_table(&spec, &before, 1, &mut book, None);

    let mut group = criterion.benchmark_group("compile/10000 routes");
    group.sample_size(20);
    group.bench_function("from scratch", |bencher| {
        bencher.iter_batched(
            || Book::new(WORKERS),
            |mut book| {
                let table = compile_table(&spec, &before, 1, &mut book, None);
                (table, book)
            },
            BatchSize::PerIteration,
        );
    });
    let mut now = before.clone();
    now[ROUTES / 2].weights = vec![80, 20];
    now[ROUTES / 2].epoch = 1;
    group.bench_function("weight change", |bencher| {
        bencher.iter_with_large_drop(|| compile_table(&spec, &now, 2, &mut book, Some((&spec, &before, &last))));
    });
    let same = Arc::new(Spec::clone(&spec));
    group.bench_function("equal file", |bencher| {
        bencher.iter_with_large_drop(|| compile_table(&same, &before, 2, &mut book, Some((&spec, &before, &last))));
    });
    group.finish();
}

criterion_group!(benches, compile);
criterion_main!(benches);
