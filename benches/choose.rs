//! Where a request goes, among 1, 100 and 10,000 routes. The question: does the number of routes matter?
//! And by what rules: what do a key, cohorts, a list of 1,000,000 keys and a prerequisite cost beside a free draw?
//!
//! Each turn serves 8,192 requests to routes spread over the whole table, so that a table which no
//! longer fits the nearest caches shows it; the requests themselves are as many whatever the table.
#![allow(missing_docs)] // criterion's macros make public functions
#![allow(clippy::print_stdout)] // it reports

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serin::compile::{Book, compile};
use serin::head::{HeadBuilder, Method, RequestHead, Version};
use serin::name::Name;
use serin::route::{
    CohortSpec, Condition, Destination, FieldTest, FlagId, HostMatch, KeyFallback, KeySet, KeySource, KeySpec,
    KeysSpec, Match, Origin, PathMatch, Prerequisite, Request, Table,
};

mod fixture;

/// The program's own: where things lie in memory is part of the answer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const REQUESTS: usize = 8192;
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// How the routes differ.
#[derive(Clone, Copy, Debug)]
enum Layout {
    /// A host each, ten paths below every host.
    Hosts,
    /// One host, a path prefix each, and one for everything else.
    Paths,
}

fn host_of(layout: Layout, route: usize) -> String {
    match layout {
        Layout::Hosts => format!("shop-{}.example.com", route / 10),
        Layout::Paths => "shop.example.com".to_owned(),
    }
}

fn path_of(layout: Layout, route: usize) -> String {
    match layout {
        Layout::Hosts => format!("/api/service-{}", route % 10),
        Layout::Paths => format!("/api/service-{route}"),
    }
}

fn table(layout: Layout, routes: usize, keyed: bool) -> Table {
    let matches = |route| Match {
        hosts: vec![HostMatch::Exact(host_of(layout, route))],
        path: PathMatch::Prefix(path_of(layout, route)),
        ..Match::default()
    };
    let spec = Arc::new(fixture::spec(routes, keyed, matches));
    compile(&spec, &fixture::in_force(&spec), 1, &mut Book::new(1), None)
}

fn requests(layout: Layout, routes: usize) -> Vec<RequestHead> {
    let request = |n: usize| {
        // A stride without common divisors visits routes far apart.
        let route = n * 7919 % routes;
        let mut head = HeadBuilder::default();
        for (name, value) in [
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
            ("accept", "application/json"),
            ("accept-encoding", "gzip, br"),
        ] {
            head.field(name.as_bytes(), value.as_bytes());
        }
        head.field(b"cookie", format!("session=0123456789abcdef; uid=user-{n}").as_bytes());
        head.field(b"x-user-id", format!("user-{n}").as_bytes());
        let target = format!("{}/items/{n}?page=2", path_of(layout, route));
        head.request(Method::Get, Version::Http11, &host_of(layout, route), &target)
    };
    (0..REQUESTS).map(request).collect()
}

fn choose(criterion: &mut Criterion) {
    for (layout, keyed) in [
        (Layout::Hosts, false),
        (Layout::Hosts, true),
        (Layout::Paths, false),
        (Layout::Paths, true),
    ] {
        let kind = if keyed { "keyed" } else { "unkeyed" };
        let mut group = criterion.benchmark_group(format!("choose/{layout:?}/{kind}"));
        group.throughput(Throughput::Elements(REQUESTS as u64));
        for routes in [1, 100, 10_000] {
            let (table, requests) = (table(layout, routes, keyed), requests(layout, routes));
            group.bench_with_input(BenchmarkId::from_parameter(routes), &requests, |bencher, requests| {
                let mut draw = 0u64;
                bencher.iter(|| {
                    for head in requests {
                        draw = draw.wrapping_add(0x9e37_79b9_7f4a_7c15);
                        let route = table.find(head, true).expect("each request has a route");
                        black_box(table.choose(route, &Request::of(head, CLIENT), draw));
                    }
                });
            });
        }
        group.finish();
    }
}

/// By what a route places its requests.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// By chance.
    Unkeyed,
    /// By a header that each request has.
    Header,
    /// By a cookie that stands second in its field.
    Cookie,
    /// By a header, after a list of 1,000,000 keys in which every fourth user stands.
    Listed,
    /// By a header, after five cohorts whose conditions nobody meets.
    Cohorts,
    /// By a header, where another flag has to answer `stable`.
    Prerequisite,
}

const RULES: [Rule; 6] = [
    Rule::Unkeyed,
    Rule::Header,
    Rule::Cookie,
    Rule::Listed,
    Rule::Cohorts,
    Rule::Prerequisite,
];

fn ruled_table(rule: Rule) -> Table {
    let matches = |route| Match {
        path: PathMatch::Prefix(path_of(Layout::Paths, route)),
        ..Match::default()
    };
    let mut spec = fixture::spec(2, !matches!(rule, Rule::Unkeyed), matches);
    let rules = &mut spec.routes[0].rules;
    let cohort = |text: String| CohortSpec::of(Name::new(&text).expect("a name"), Destination::Variant(1));
    match rule {
        Rule::Unkeyed | Rule::Header => {}
        Rule::Cookie => {
            rules.key = Some(KeySpec {
                source: KeySource::Cookie("uid".to_owned()),
                fallback: KeyFallback::FreshDraw,
            });
        }
        Rule::Listed => {
            let keys = KeySet::parse(
                (0..1_000_000)
                    .map(|n| format!("user-{}\n", 4 * n))
                    .collect::<String>()
                    .into(),
            );
            let keys = keys.expect("a list of keys");
            println!("1,000,000 keys: {} bytes", keys.bytes());
            rules.cohorts.push(CohortSpec {
                keys: Some(KeysSpec {
                    inline: Vec::new(),
                    file: Some(0),
                }),
                ..cohort("listed".to_owned())
            });
            spec.key_files.push(("keys.txt".into(), Some(Arc::new(keys))));
        }
        Rule::Cohorts => {
            let unmet = |n| CohortSpec {
                conditions: vec![Condition {
                    origin: Origin::Header,
                    name: format!("x-cohort-{n}"),
                    test: FieldTest::Exact("true".to_owned()),
                    negated: false,
                }],
                ..cohort(format!("cohort-{n}"))
            };
            rules.cohorts.extend((0..5).map(unmet));
        }
        Rule::Prerequisite => rules.prerequisites.push(Prerequisite {
            flag: FlagId::Route(1),
            variant: 0,
        }),
    }
    let spec = Arc::new(spec);
    compile(&spec, &fixture::in_force(&spec), 1, &mut Book::new(1), None)
}

fn decide(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    group.throughput(Throughput::Elements(REQUESTS as u64));
    let requests = requests(Layout::Paths, 1);
    for rule in RULES {
        let table = ruled_table(rule);
        group.bench_function(format!("{rule:?}"), |bencher| {
            let mut draw = 0u64;
            bencher.iter(|| {
                for head in &requests {
                    draw = draw.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    black_box(table.choose(0, &Request::of(head, CLIENT), draw));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, choose, decide);
criterion_main!(benches);
