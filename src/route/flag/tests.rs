use std::net::IpAddr;
use std::sync::Arc;

use super::{Decision, Flag, FlagId, Prerequisite, Why};
use crate::head::{HeadBuilder, Method, RequestHead, Version};
use crate::name::Name;
use crate::route::{
    AccessLog, Cohort, CohortParts, CohortSpec, Condition, Destination, FieldTest, Index, KeyFallback, KeySource,
    KeySpec, Origin, Request, RouteKey, Split, Sticky, StickySpec, Table,
};
use crate::share::bounds;

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
const NOW_S: u64 = 1_800_000_000;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A flag `off`/`on`, keyed by `x-user-id`.
fn flag(key: &str, weights: [u32; 2]) -> Flag {
    let spec = KeySpec {
        source: KeySource::Header("x-user-id".to_owned()),
        fallback: KeyFallback::FreshDraw,
    };
    Flag {
        key: name(key),
        rule: Some(RouteKey::new(&name(key), "", spec.into())),
        enabled: true,
        default: 0,
        prerequisites: [].into(),
        cohorts: [].into(),
        split: Split::new(bounds(&weights).unwrap()),
        sticky: None,
        names: ["off", "on"].map(name).into(),
        values: None,
        asks_claims: false,
    }
}

fn cohort(text: &str, to: Destination, prerequisites: &[Prerequisite]) -> Arc<Cohort> {
    let spec = CohortSpec {
        conditions: vec![Condition {
            origin: Origin::Header,
            name: format!("x-{text}"),
            test: FieldTest::Present(true),
            negated: false,
        }],
        prerequisites: prerequisites.to_vec(),
        ..CohortSpec::of(name(text), to)
    };
    Arc::new(Cohort::new(&spec, CohortParts::default()))
}

fn sticky() -> Arc<Sticky> {
    let spec = StickySpec {
        cookie: None,
        max_age_s: 3_600,
        secret: None,
        same_site: "Lax",
    };
    Arc::new(Sticky::new("ui", &spec, &[7; 32], 1))
}

fn table(flags: impl IntoIterator<Item = Flag>) -> Table {
    Table {
        generation: 1,
        generation_text: "1".into(),
        listeners: [].into(),
        listener_tls: [].into(),
        trusted_proxies: [].into(),
        access_log: AccessLog::Off,
        index: Arc::new(Index::new([])),
        backends: [].into(),
        flags: flags.into_iter().map(Arc::new).collect(),
        flag_keys: Arc::default(),
        issuers: [].into(),
        routes: [].into(),
    }
}

fn head(fields: &[(&str, &str)]) -> RequestHead {
    let mut head = HeadBuilder::default();
    for (name, value) in fields {
        head.field(name.as_bytes(), value.as_bytes());
    }
    head.request(Method::Get, Version::Http11, "h", "/")
}

/// What the first flag answers.
fn decide(table: &Table, fields: &[(&str, &str)], draw: u64) -> Decision {
    let head = head(fields);
    let request = Request {
        now_s: NOW_S,
        ..Request::of(&head, CLIENT)
    };
    table.decide(&table.flags[0], &request, draw)
}

#[track_caller]
fn check(table: &Table, fields: &[(&str, &str)], expected: (usize, Why)) {
    for draw in [0, u64::MAX] {
        let decision = decide(table, fields, draw);
        assert_eq!((decision.variant, decision.why), expected, "{fields:?} {draw}");
    }
}

fn on(flag: usize) -> Prerequisite {
    Prerequisite {
        flag: FlagId::Own(flag),
        variant: 1,
    }
}

#[test]
fn a_rollout_over_a_hundred_thousand_users_moves_nobody_back() {
    let heads: Vec<_> = (0..100_000)
        .map(|n| head(&[("x-user-id", &format!("user-{n}"))]))
        .collect();
    let sides = |percent: u32| -> Vec<bool> {
        let table = table([flag("ui", [100 - percent, percent])]);
        let side = |head: &RequestHead| {
            let request = Request::of(head, CLIENT);
            table.decide(&table.flags[0], &request, 0).variant == 1
        };
        heads.iter().map(side).collect()
    };
    let steps = [0, 1, 5, 10, 25, 50, 100];
    let raised = steps.map(sides);
    for (percent, sides) in steps.into_iter().zip(&raised) {
        let share = sides.iter().filter(|on| **on).count() as f64 / 1_000.0;
        assert!((share - f64::from(percent)).abs() <= 0.2, "{share} at {percent} %");
    }
    for pair in raised.windows(2) {
        let stays = pair[0].iter().zip(&pair[1]).all(|(before, after)| !before || *after);
        assert!(stays, "raising only adds users");
    }
    // Down again: who came last leaves first, for every step finds the users that it had on the way up.
    for (percent, before) in steps.into_iter().zip(&raised).rev() {
        assert!(sides(percent) == *before, "back at {percent} %");
    }
}

#[test]
fn another_salt_draws_other_users() {
    let salted = |salt: &str| {
        let mut flag = flag("ui", [50, 50]);
        let spec = Arc::clone(flag.rule.as_ref().unwrap().spec());
        flag.rule = Some(RouteKey::new(&name("ui"), salt, spec));
        table([flag])
    };
    let (plain, autumn) = (salted(""), salted("autumn"));
    let differ = (0..1_000).filter(|n| {
        let user = format!("user-{n}");
        let side = |table| decide(table, &[("x-user-id", &user)], 0).variant;
        side(&plain) != side(&autumn)
    });
    // Half of them do: binomial, deviation 16.
    assert!((400..=600).contains(&differ.count()));
}

#[test]
fn a_flag_that_is_off_gives_its_default_to_everybody() {
    let off = Flag {
        enabled: false,
        default: 1,
        split: Split::new(bounds(&[0, 1]).unwrap()),
        ..flag("ui", [1, 1])
    };
    check(&table([off]), &[("x-user-id", "alice")], (1, Why::Disabled));
}

#[test]
fn prerequisites_of_a_flag_come_before_its_cohorts() {
    let other = |weights| Flag {
        cohorts: [cohort("staff", Destination::Variant(1), &[])].into(),
        ..flag("other", weights)
    };
    let asking = || Flag {
        prerequisites: [on(1)].into(),
        cohorts: [cohort("beta", Destination::Variant(1), &[])].into(),
        ..flag("ui", [0, 1])
    };
    let unmet = table([asking(), other([1, 0])]);
    check(&unmet, &[("x-user-id", "a"), ("x-beta", "")], (0, Why::Prerequisite(0)));
    check(&unmet, &[("x-user-id", "a"), ("x-staff", "")], (1, Why::Split));
    check(&unmet, &[("x-beta", ""), ("x-staff", "")], (1, Why::Cohort(0)));
    check(&table([asking(), other([0, 1])]), &[], (1, Why::Split));
}

#[test]
fn who_has_no_key_where_another_flag_looks_for_one_is_answered_alike_each_time() {
    let spec = KeySpec {
        source: KeySource::Header("x-team".to_owned()),
        fallback: KeyFallback::FreshDraw,
    };
    let by_team = Flag {
        rule: Some(RouteKey::new(&name("team"), "", spec.into())),
        ..flag("team", [1, 1])
    };
    let asking = Flag {
        prerequisites: [on(1)].into(),
        ..flag("ui", [0, 1])
    };
    let table = table([asking, by_team]);
    let mut answers = [0; 2];
    for user in 0..100 {
        let user = format!("user-{user}");
        let fields = [("x-user-id", user.as_str())];
        let first = decide(&table, &fields, 0);
        assert_eq!(decide(&table, &fields, u64::MAX), first);
        assert!(!first.by_chance);
        answers[first.variant] += 1;
    }
    assert!(answers.iter().all(|&count| count > 20), "{answers:?}");
    assert!(decide(&table, &[], 0).by_chance);
}

#[test]
fn a_cohort_whose_prerequisites_are_not_met_is_passed_over() {
    let asking = Flag {
        cohorts: [
            cohort("beta", Destination::Variant(1), &[on(1)]),
            cohort("any", Destination::Fractional(vec![0, 1]), &[on(2)]),
        ]
        .into(),
        ..flag("ui", [1, 0])
    };
    let table = table([asking, flag("never", [1, 0]), flag("always", [0, 1])]);
    check(&table, &[("x-beta", "")], (0, Why::Split));
    check(&table, &[("x-beta", ""), ("x-any", "")], (1, Why::Cohort(1)));
}

#[test]
fn chance_is_told_also_where_only_another_flag_was_drawn() {
    let by_chance = |table: &Table, fields: &[(&str, &str)]| decide(table, fields, 1 << 63).by_chance;
    let user = [("x-user-id", "alice")];
    let divided = table([flag("ui", [1, 1])]);
    assert!(by_chance(&divided, &[]) && !by_chance(&divided, &user));
    assert!(!by_chance(&table([flag("ui", [0, 1])]), &[]));
    let asking = Flag {
        prerequisites: [on(1)].into(),
        ..flag("ui", [0, 1])
    };
    let asking = table([asking, flag("other", [1, 1])]);
    assert!(by_chance(&asking, &[]) && !by_chance(&asking, &user));
    let in_parts = Flag {
        cohorts: [cohort("half", Destination::Fractional(vec![1, 1]), &[])].into(),
        ..flag("ui", [0, 1])
    };
    let in_parts = table([in_parts]);
    assert!(by_chance(&in_parts, &[("x-half", "")]) && !by_chance(&in_parts, &[]));
}

#[test]
fn a_sticky_cookie_is_for_those_whom_chance_would_decide() {
    let with_sticky = |weights| Flag {
        sticky: Some(sticky()),
        cohorts: [
            cohort("beta", Destination::Variant(1), &[]),
            cohort("half", Destination::Fractional(vec![1, 1]), &[]),
        ]
        .into(),
        ..flag("ui", weights)
    };
    let divided = table([with_sticky([1, 1])]);
    let cookie = |table: &Table, fields: &[(&str, &str)]| decide(table, fields, 0xdead_beef << 32).cookie;
    assert_eq!(cookie(&divided, &[]), Some(0xdead_beef));
    assert_eq!(cookie(&divided, &[("x-user-id", "alice")]), None);
    assert_eq!(cookie(&divided, &[("x-beta", "")]), None);
    assert_eq!(cookie(&divided, &[("x-half", "")]), Some(0xdead_beef));
    assert_eq!(cookie(&table([with_sticky([1, 0])]), &[]), None);
    assert_eq!(cookie(&table([flag("ui", [1, 1])]), &[]), None);
    let brought = |age_s: u64| {
        let field = sticky().seal(0xdead_beef, NOW_S - age_s, false);
        field.split_once(';').unwrap().0.to_owned()
    };
    let stuck = decide(&divided, &[("cookie", &brought(10))], 0);
    assert_eq!((stuck.variant, stuck.hash, stuck.cookie), (1, Some(0xdead_beef), None));
    assert!(!stuck.by_chance);
    // The same draw is sent anew once half of its time has passed.
    let in_part = decide(&divided, &[("x-half", ""), ("cookie", &brought(10))], 0);
    assert_eq!((in_part.variant, in_part.cookie, in_part.by_chance), (1, None, false));
    let old = decide(&divided, &[("cookie", &brought(2_000))], 0);
    assert_eq!((old.variant, old.cookie), (1, Some(0xdead_beef)));
    let stale = decide(&divided, &[("cookie", &brought(3_600))], 0);
    assert_eq!((stale.variant, stale.cookie), (0, Some(0)));
}

#[test]
fn a_key_comes_before_a_cookie() {
    let both = Flag {
        sticky: Some(sticky()),
        ..flag("ui", [1, 1])
    };
    let both = table([both]);
    let field = sticky().seal(u32::MAX, NOW_S, false);
    let cookie = field.split_once(';').unwrap().0;
    let users = (0..50).map(|n| format!("user-{n}"));
    let moved = users.filter(|user| decide(&both, &[("x-user-id", user), ("cookie", cookie)], 0).variant == 0);
    assert!(moved.count() > 0);
}
