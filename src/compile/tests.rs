//! What a table shares with the one before it, and what it makes anew.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::{Book, InForce, Trial, compile};
use crate::config::{self, Rules, Spec};
use crate::head::{HeadBuilder, Method, Version};
use crate::measure::{FailureStatuses, RecorderKey, Track};
use crate::name::Name;
use crate::rollout::{Plan, Rotation};
use crate::route::{
    AccessLog, CohortSpec, Destination, FieldMatch, FieldTest, HostMatch, KeysSpec, LoadBalancing, Match, PathMatch,
    Request, Secret, Table,
};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn backend(text: &str, endpoints: &[(&str, u16)]) -> config::Backend {
    let endpoint = |&(host, port): &(&str, u16)| config::Endpoint {
        host: host.to_owned(),
        port,
    };
    config::Backend {
        name: name(text),
        release: None,
        commit_ms: None,
        endpoints: endpoints.iter().map(endpoint).collect(),
        load_balancing: LoadBalancing::LeastRequest,
        protocol: crate::route::BackendProtocol::Http1,
        tls: None,
        proxy_protocol: None,
        allow_internal: false,
        limits: config::BackendLimits {
            max_streams: 100,
            max_in_flight: 100,
            max_connections: 100,
            connect_timeout: Duration::from_secs(1),
        },
    }
}

fn route(text: &str) -> config::Route {
    let variant = |(text, backend, weight)| config::Variant {
        name: name(text),
        backend,
        weight,
        value: None,
    };
    config::Route {
        name: name(text),
        matches: Match {
            path: PathMatch::Prefix(format!("/{text}")),
            ..Match::default()
        },
        timeout: Duration::from_secs(5),
        body_timeout: None,
        total_timeout: None,
        variants: [("stable", 0, 90), ("canary", 1, 10)].map(variant).into(),
        rules: Rules {
            cohorts: vec![CohortSpec {
                keys: Some(KeysSpec {
                    inline: vec!["alice".to_owned()],
                    file: None,
                }),
                ..CohortSpec::of(name("staff"), Destination::Variant(1))
            }],
            ..Rules::of(name(text))
        },
        failure_statuses: FailureStatuses::default(),
        expose_variant: true,
    }
}

fn spec(routes: &[&str]) -> Spec {
    Spec {
        environment: None,
        listeners: Vec::new(),
        trusted_proxies: Vec::new(),
        admin: "127.0.0.1:9901".parse().unwrap(),
        admin_tls: None,
        memory_max: None,
        upstream_tls: Vec::new(),
        log: config::Log {
            level: "info".to_owned(),
            json: true,
            access: AccessLog::Off,
        },
        outcome_log: None,
        tokens_file: None,
        audit: config::Audit::default(),
        notifications: Vec::new(),
        state_directory: PathBuf::from("state"),
        backends: vec![backend("v1", &[("10.0.0.1", 80)]), backend("v2", &[("10.0.0.2", 80)])],
        routes: routes.iter().map(|text| route(text)).collect(),
        rollouts: Vec::new(),
        flags: Vec::new(),
        issuers: Vec::new(),
        jwks: Vec::new(),
        key_files: Vec::new(),
    }
}

fn by_file(spec: &Spec) -> Vec<InForce> {
    let in_force = |route: &config::Route| InForce {
        weights: route.variants.iter().map(|variant| variant.weight).collect(),
        epoch: 0,
        trial: None,
        enabled: true,
        aborts: 0,
    };
    spec.routes.iter().map(in_force).collect()
}

/// A table, what it was made from, and the book it was made with.
struct Made {
    spec: Arc<Spec>,
    in_force: Vec<InForce>,
    table: Table,
    book: Book,
}

fn make(spec: Spec) -> Made {
    let in_force = by_file(&spec);
    let (spec, mut book) = (Arc::new(spec), Book::new(2));
    let table = compile(&spec, &in_force, 1, &mut book, None);
    Made {
        spec,
        in_force,
        table,
        book,
    }
}

impl Made {
    fn then(&mut self, spec: &Arc<Spec>, in_force: &[InForce]) -> Table {
        let last = Some((&self.spec, &*self.in_force, &self.table));
        compile(spec, in_force, 2, &mut self.book, last)
    }

    /// Which routes of `next` are the very ones of the table before, by name.
    fn shared(&self, next: &Table) -> Vec<String> {
        let routes = next.routes.iter();
        let shared = routes.filter(|new| self.table.routes.iter().any(|old| Arc::ptr_eq(old, new)));
        shared.map(|route| route.name.to_string()).collect()
    }
}

fn trial(aborted: bool) -> Option<Trial> {
    Some(Trial {
        rollout: name("checkout"),
        from: 0,
        to: 1,
        aborted,
        rotation: None,
        idle: None,
    })
}

fn check_shared(change: impl FnOnce(&mut Spec), expected: &[&str], same_index: bool) {
    let mut made = make(spec(&["a", "b", "c"]));
    let mut new = Spec::clone(&made.spec);
    change(&mut new);
    let in_force = by_file(&new);
    let next = made.then(&Arc::new(new), &in_force);
    assert_eq!(made.shared(&next), expected);
    assert_eq!(Arc::ptr_eq(&next.index, &made.table.index), same_index);
}

#[test]
fn a_new_file_rebuilds_only_what_it_changes() {
    check_shared(|_| {}, &["a", "b", "c"], true);
    check_shared(|spec| spec.routes[1].timeout *= 2, &["a", "c"], true);
    check_shared(|spec| spec.routes[1].variants[0].weight = 7, &["a", "c"], true);
    check_shared(|spec| spec.routes[1].rules.cohorts.clear(), &["a", "c"], true);
    check_shared(
        |spec| spec.routes[1].matches.path = PathMatch::Any,
        &["a", "b", "c"],
        false,
    );
    check_shared(|spec| spec.routes.swap(0, 2), &["c", "b", "a"], false);
    check_shared(|spec| drop(spec.routes.remove(0)), &["b", "c"], false);
    check_shared(|spec| spec.routes.push(route("d")), &["a", "b", "c"], false);
    check_shared(
        |spec| spec.backends[1].release = Some("v2".to_owned()),
        &["a", "b", "c"],
        true,
    );
    check_shared(|spec| spec.backends[1].limits.max_in_flight = 1, &[], true);
    check_shared(|spec| spec.routes[2].variants[1].backend = 0, &["a", "b"], true);
    let backend_in_front = |spec: &mut Spec| {
        spec.backends.insert(0, backend("v0", &[("10.0.0.9", 80)]));
        let variants = spec.routes.iter_mut().flat_map(|route| &mut route.variants);
        variants.for_each(|variant| variant.backend += 1);
    };
    check_shared(backend_in_front, &["a", "b", "c"], true);
}

/// A rollout on the route at this place, from `stable` to `canary`.
fn rollout(route: usize) -> config::Rollout {
    config::Rollout {
        name: name("checkout"),
        route,
        from: 0,
        to: 1,
        auto_start: false,
        analysis: Default::default(),
        observe: false,
        in_flight_max: None,
        patience: Duration::ZERO,
        max_votes_per_key: Some(10),
        warm_up: 5,
        plan: Plan::new(Vec::new()).unwrap(),
        strategy: config::Strategy::Canary,
        window: None,
        preview: None,
        drain: None,
        on_rollback: Vec::new(),
    }
}

#[test]
fn what_counts_as_evidence_is_part_of_the_route() {
    let change = |spec: &mut Spec| spec.routes[1].failure_statuses = FailureStatuses::new([404]);
    check_shared(change, &["a", "c"], true);
    check_shared(|spec| spec.rollouts = vec![rollout(2)], &["a", "b"], true);
}

#[test]
fn votes_have_a_limit_on_both_sides_of_a_rollout_and_are_remembered() {
    let mut spec = spec(&["a", "b"]);
    let third = config::Variant {
        name: name("flag"),
        ..spec.routes[1].variants[1].clone()
    };
    spec.routes[1].variants.push(third);
    spec.rollouts = vec![rollout(1)];
    let mut made = make(spec);
    let of = |table: &Table, route: usize| -> Vec<_> {
        let variants = table.routes[route].variants.iter();
        let limit = variants.map(|variant| (variant.vote_limit.as_ref().map(|limit| limit.max), variant.warm_up));
        limit.collect()
    };
    assert_eq!(of(&made.table, 0), [(None, 0), (None, 0)]);
    assert_eq!(of(&made.table, 1), [(Some(10), 5), (Some(10), 5), (None, 0)]);
    let mut new = Spec::clone(&made.spec);
    new.rollouts[0].max_votes_per_key = Some(3);
    let mut in_force = made.in_force.clone();
    in_force[1].epoch += 1;
    let next = made.then(&Arc::new(new), &in_force);
    assert_eq!(of(&next, 1), [(Some(3), 5), (Some(3), 5), (None, 0)]);
    let votes = |table: &Table| Arc::clone(&table.routes[1].variants[1].vote_limit.as_ref().unwrap().votes);
    assert!(Arc::ptr_eq(&votes(&made.table), &votes(&next)));
    assert!(Arc::ptr_eq(&made.table.routes[0], &next.routes[0]));
}

#[test]
fn identities_outlive_what_is_rebuilt() {
    let mut made = make(spec(&["a"]));
    let mut new = Spec::clone(&made.spec);
    new.backends[0].limits.max_in_flight = 7;
    new.backends[0].endpoints.push(config::Endpoint {
        host: "10.0.0.3".to_owned(),
        port: 80,
    });
    new.routes[0].timeout *= 2;
    let in_force = made.in_force.clone();
    let next = made.then(&Arc::new(new), &in_force);
    let (old, new) = (&made.table.routes[0].variants[0], &next.routes[0].variants[0]);
    assert!(Arc::ptr_eq(&old.recorder, &new.recorder));
    assert!(!Arc::ptr_eq(&old.backend, &new.backend));
    assert!(Arc::ptr_eq(&old.backend.endpoints[0], &new.backend.endpoints[0]));
    assert_eq!(new.backend.endpoints[1].id.0, 2);
    assert!(Arc::ptr_eq(
        &made.table.routes[0].flag.cohorts[0],
        &next.routes[0].flag.cohorts[0]
    ));
}

#[test]
fn what_no_table_uses_is_forgotten_and_its_numbers_are_not_used_again() {
    let mut made = make(spec(&["a", "b"]));
    let key = RecorderKey {
        route: name("b"),
        variant: name("canary"),
        backend: name("v2"),
        cohort: None,
    };
    let before = made.book.recorder(&key);
    let mut new = Spec::clone(&made.spec);
    new.routes.pop();
    new.backends[0] = backend("v1", &[("10.0.0.7", 80)]);
    let in_force = by_file(&new);
    let next = made.then(&Arc::new(new), &in_force);
    assert_eq!(next.backends[0].endpoints[0].id.0, 2);
    assert_eq!((made.book.recorders.len(), made.book.endpoints.len()), (3, 2));
    assert!(!Arc::ptr_eq(&made.book.recorder(&key), &before));
}

#[test]
fn weights_and_epoch_in_force_decide_not_those_of_the_file() {
    let mut made = make(spec(&["a"]));
    let in_force = [InForce {
        weights: vec![750_000, 250_000],
        epoch: 3,
        trial: trial(false),
        enabled: true,
        aborts: 0,
    }];
    let next = made.then(&Arc::clone(&made.spec), &in_force);
    let route = &next.routes[0];
    assert_eq!(
        (
            route.flag.split.share_ppm(1),
            route.variants[1].slot,
            route.flag.cohorts.len()
        ),
        (250_000, 1, 1)
    );
    assert!(route.variants[0].breaker.is_none());
    let (breaker, stable) = route.variants[1].breaker.as_ref().unwrap();
    assert!(Arc::ptr_eq(breaker, &made.book.breaker(&name("checkout"))) && *stable == 0);
    assert_eq!((next.generation, &next.generation_text[..]), (2, &b"2"[..]));
}

#[test]
fn an_aborted_canary_gets_nothing_whatever_its_weight() {
    let mut made = make(spec(&["a"]));
    for weights in [[90, 10], [0, 1], [1, 0]] {
        let in_force = [InForce {
            weights: weights.into(),
            epoch: 1,
            trial: trial(true),
            enabled: true,
            aborts: 0,
        }];
        let next = made.then(&Arc::clone(&made.spec), &in_force);
        let route = &next.routes[0];
        assert_eq!(
            (route.flag.split.share_ppm(0), route.flag.split.share_ppm(1)),
            (1_000_000, 0)
        );
        assert!(route.flag.cohorts.is_empty() && route.variants[1].breaker.is_some());
    }
}

/// A trial with this rotation (how many are out, how many in), and this side idle.
fn trial_with(rotation: Option<(u32, u32)>, idle: Option<usize>) -> Option<Trial> {
    let rotation = rotation.map(|(from_out, to_in)| Rotation { from_out, to_in });
    Some(Trial {
        rotation,
        idle,
        ..trial(false).unwrap()
    })
}

#[test]
fn a_rotation_says_which_endpoints_take_requests_of_its_route() {
    let mut spec = spec(&["a", "b"]);
    spec.backends[0] = backend("v1", &[("10.0.0.1", 80), ("10.0.0.2", 80), ("10.0.0.3", 80)]);
    spec.backends[1] = backend("v2", &[("10.0.1.1", 80), ("10.0.1.2", 80)]);
    let made = make(spec);
    let check = |trial: Option<Trial>, from: Range<usize>, to: Range<usize>| {
        let mut in_force = made.in_force.clone();
        in_force[0].trial = trial;
        let table = compile(&made.spec, &in_force, 2, &mut Book::new(1), None);
        let of = |route: usize| [0, 1].map(|at| table.routes[route].variants[at].in_rotation.clone());
        assert_eq!(of(0), [from, to], "{in_force:?}");
        assert_eq!(of(1), [0..3, 0..2], "another route");
    };
    check(None, 0..3, 0..2);
    check(trial_with(None, None), 0..3, 0..2);
    check(trial_with(Some((1, 1)), None), 1..3, 0..1);
    check(trial_with(Some((2, 2)), None), 2..3, 0..2);
    // More than there are, since the file has changed.
    check(trial_with(Some((0, 9)), None), 0..3, 0..2);
    // Whoever comes without weight is served by all.
    check(trial_with(Some((3, 2)), None), 0..3, 0..2);
    check(trial_with(Some((9, 0)), None), 0..3, 0..2);
}

/// Where requests to this host, with this `x-preview`, go on the route of `table` that they match.
fn check_preview(table: &Table, host: &str, preview: Option<&str>, expected: Option<(&str, &str, Option<&str>)>) {
    let mut head = HeadBuilder::default();
    if let Some(value) = preview {
        head.field(b"x-preview", value.as_bytes());
    }
    let head = head.request(Method::Get, Version::Http11, host, "/a/1");
    let client = [192, 0, 2, 1].into();
    let found = table.find(&head, true).map(|at| {
        let choice = table.choose(at, &Request::of(&head, client), 0);
        let cohort = choice.cohort.map(|at| choice.route.flag.cohorts[at].name.as_str());
        assert_eq!(choice.track == Track::Cohort, cohort.is_some());
        let variant = &choice.route.variants[choice.variant];
        (choice.route.name.as_str(), variant.name.as_str(), cohort)
    });
    assert_eq!(found, expected, "{host} {preview:?}");
}

/// Two routes: `a` on the host `shop.example`, with a preview of its rollout, and `b` on any host.
fn spec_with_preview() -> Spec {
    let mut spec = spec(&["a", "b"]);
    spec.routes[0].matches.hosts = vec![HostMatch::Exact("shop.example".to_owned())];
    spec.routes[1].matches.path = PathMatch::Any;
    spec.rollouts = vec![config::Rollout {
        preview: Some(config::Preview {
            hosts: vec!["green.example".to_owned()],
            header: Some(FieldMatch {
                name: "x-preview".to_owned(),
                test: FieldTest::Exact("1".to_owned()),
            }),
        }),
        ..rollout(0)
    }];
    spec
}

#[test]
fn a_preview_reaches_the_idle_side_and_nobody_else_does() {
    let mut made = make(spec_with_preview());
    let spec = Arc::clone(&made.spec);
    let mut with = |idle| {
        let mut in_force = made.in_force.clone();
        in_force[0].trial = trial_with(None, idle);
        made.then(&spec, &in_force)
    };
    let (green, blue, none) = (with(Some(1)), with(Some(0)), with(None));
    let preview = |variant| Some(("a", variant, Some("preview")));
    let plain = Some(("a", "stable", None));
    check_preview(&green, "green.example", None, preview("canary"));
    check_preview(&green, "GREEN.example.:8080", None, preview("canary"));
    check_preview(&green, "shop.example", Some("1"), preview("canary"));
    check_preview(&green, "green.example", Some("0"), preview("canary"));
    check_preview(&green, "shop.example", None, plain);
    check_preview(&green, "shop.example", Some("0"), plain);
    check_preview(&green, "x.green.example", None, Some(("b", "stable", None)));
    check_preview(&blue, "green.example", None, preview("stable"));
    // Without an idle side its host is one of the route's.
    check_preview(&none, "green.example", None, plain);
    check_preview(&none, "shop.example", Some("1"), plain);
}

#[test]
fn a_preview_is_part_of_its_route_and_its_hosts_of_the_index() {
    let mut made = make(spec_with_preview());
    let mut check = |change: fn(&mut config::Preview), shared: &[&str], same_index: bool| {
        let mut new = Spec::clone(&made.spec);
        new.rollouts[0].preview.as_mut().map(change).unwrap();
        let in_force = by_file(&new);
        let next = made.then(&Arc::new(new), &in_force);
        assert_eq!(made.shared(&next), shared);
        assert_eq!(Arc::ptr_eq(&next.index, &made.table.index), same_index);
    };
    check(|_| {}, &["a", "b"], true);
    check(|preview| preview.header = None, &["b"], true);
    check(|preview| preview.hosts.clear(), &["b"], false);
}

#[test]
fn what_began_with_weight_meets_the_curfew_of_its_side() {
    const DRAIN: Option<Duration> = Some(Duration::from_micros(30));
    let mut spec = spec(&["a", "b"]);
    spec.rollouts = vec![rollout(0)];
    let mut made = make(spec);
    let spec = Arc::clone(&made.spec);
    let hours = |table: &Table| [0, 1].map(|variant| table.routes[0].curfew_us(variant));
    let curfew = |table: &Table, variant: usize| Arc::clone(table.routes[0].variants[variant].curfew.as_ref().unwrap());
    assert!(
        made.table.routes[1].variants[0].curfew.is_none(),
        "no rollout, no curfew"
    );
    let mut in_force = made.in_force.clone();
    in_force[0].weights = vec![0, 100];
    let switched = made.then(&spec, &in_force);
    curfew(&switched, 0).heed(false, DRAIN, 100);
    assert_eq!(hours(&made.table), [130, u64::MAX]);
    assert_eq!(hours(&switched), [u64::MAX; 2], "who comes without weight is wanted");
    // Back again: what began before the switch may go on, and meets the next one.
    curfew(&switched, 0).heed(true, DRAIN, 110);
    assert_eq!(hours(&made.table), [u64::MAX; 2]);
    let in_force = made.in_force.clone();
    let back = made.then(&spec, &in_force);
    assert!(Arc::ptr_eq(&curfew(&back, 0), &curfew(&made.table, 0)));
    // An abort takes all weight, whatever stands beside it.
    let mut in_force = made.in_force.clone();
    in_force[0].trial = trial(true);
    let aborted = made.then(&spec, &in_force);
    curfew(&aborted, 1).heed(false, DRAIN, 200);
    assert_eq!((hours(&made.table), hours(&aborted)), ([u64::MAX, 230], [u64::MAX; 2]));
}

#[test]
fn a_curfew_is_remembered_as_long_as_an_exchange_holds_it() {
    let mut with_rollout = spec(&["a"]);
    with_rollout.rollouts = vec![rollout(0)];
    let mut made = make(with_rollout.clone());
    let held = Arc::clone(made.table.routes[0].variants[1].curfew.as_ref().unwrap());
    let without = Arc::new(spec(&["a"]));
    let in_force = by_file(&without);
    made.table = made.then(&without, &in_force);
    made.spec = without;
    let again = made.then(&Arc::new(with_rollout), &in_force);
    let curfew = |variant: usize| again.routes[0].variants[variant].curfew.as_ref().unwrap();
    assert!(Arc::ptr_eq(curfew(1), &held));
}

#[test]
fn a_cohort_comes_back_with_its_canary() {
    let mut made = make(spec(&["a"]));
    made.in_force[0].trial = trial(true);
    let (spec, aborted) = (Arc::clone(&made.spec), made.in_force.clone());
    made.table = made.then(&spec, &aborted);
    let again = [InForce {
        trial: trial(false),
        ..aborted[0].clone()
    }];
    assert_eq!(made.then(&spec, &again).routes[0].flag.cohorts.len(), 1);
}

fn check_endpoint(host: &str, authority: &str, address: Option<&str>) {
    let mut spec = spec(&["a"]);
    spec.backends[0] = backend("v1", &[(host, 8080)]);
    let table = make(spec).table;
    let endpoint = &table.backends[0].endpoints[0];
    assert_eq!(&*endpoint.authority, authority);
    assert_eq!(endpoint.address, address.map(|address| address.parse().unwrap()));
}

#[test]
fn endpoints_are_addresses_or_names() {
    check_endpoint("10.0.0.1", "10.0.0.1:8080", Some("10.0.0.1:8080"));
    check_endpoint("::1", "[::1]:8080", Some("[::1]:8080"));
    check_endpoint("checkout.internal", "checkout.internal:8080", None);
}

proptest! {
    #[test]
    fn a_weight_change_shares_everything_else(
        changes in prop::collection::vec((0usize..5, 1u32..100, 0u32..100, any::<bool>()), 1..10),
    ) {
        let mut made = make(spec(&["a", "b", "c", "d", "e"]));
        let spec = Arc::clone(&made.spec);
        for (at, stable, canary, aborted) in changes {
            let mut in_force = made.in_force.clone();
            in_force[at].weights = vec![stable, canary];
            in_force[at].epoch += 1;
            in_force[at].trial = trial(aborted);
            let next = made.then(&spec, &in_force);
            for other in (0..5).filter(|&other| other != at) {
                prop_assert!(Arc::ptr_eq(&made.table.routes[other], &next.routes[other]));
            }
            prop_assert!(Arc::ptr_eq(&made.table.index, &next.index));
            prop_assert!(Arc::ptr_eq(&made.table.backends, &next.backends));
            // What was shared is what would have been built.
            let scratch = compile(&spec, &in_force, 2, &mut Book::new(2), None);
            for (shared, built) in next.routes.iter().zip(&scratch.routes) {
                prop_assert_eq!(&shared.flag.split, &built.flag.split);
                prop_assert_eq!(shared.variants[1].slot, built.variants[1].slot);
                prop_assert_eq!(shared.flag.cohorts.len(), built.flag.cohorts.len());
            }
            (made.in_force, made.table) = (in_force, next);
        }
    }
}

#[test]
fn a_secret_of_one_route_stops_on_all() {
    let mut with_secret = spec(&["a", "b"]);
    with_secret.routes[0].rules.cohorts[0].secret = Some(Secret {
        header: "x-override".to_owned(),
        value: "sesame".to_owned(),
    });
    let mut made = make(spec(&["a", "b"]));
    assert!(
        made.table
            .routes
            .iter()
            .all(|route| route.withheld.from(None).is_empty())
    );
    let in_force = by_file(&with_secret);
    let next = made.then(&Arc::new(with_secret), &in_force);
    assert!(
        next.routes
            .iter()
            .all(|route| *route.withheld.from(None)[0] == *"x-override")
    );
}
