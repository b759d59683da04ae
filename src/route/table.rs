//! The routes of this moment, compiled: `choose(request, client, draw) -> Choice`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use super::backend::Backend;
use super::breaker::Breaker;
use super::curfew::Curfew;
use super::facts::Facts;
use super::flag::{Flag, FlagId, Why};
use super::index::Index;
use super::votes::Votes;
use super::withheld::Withheld;
use crate::head::RequestHead;
use crate::jwt::Issuer;
use crate::measure::{FailureStatuses, Recorder, Track};
use crate::name::Name;
use crate::path::PathPolicy;
use crate::tls::ListenerTls;

/// One generation of everything a request needs to know.
#[derive(Debug)]
pub struct Table {
    /// Rises with every change.
    pub generation: u64,
    /// `generation` in decimal, for the response header.
    pub generation_text: Bytes,
    /// Settings of each listener, by its index.
    pub listeners: Arc<[ListenerSettings]>,
    /// What is spoken on each of them.
    pub listener_tls: Arc<[ListenerTls]>,
    /// Peers whose forwarded headers are believed: address and leading bits.
    pub trusted_proxies: Arc<[(IpAddr, u8)]>,
    /// Which exchanges get a line in the access log.
    pub access_log: AccessLog,
    /// Arranged matches; positions in `routes`.
    pub index: Arc<Index>,
    /// In file order.
    pub routes: Box<[Arc<Route>]>,
    /// Flags without a route, in file order.
    pub flags: Box<[Arc<Flag>]>,
    /// How applications call the flags, those of routes and those without.
    pub flag_keys: Arc<FlagKeys>,
    /// Whose tokens are believed.
    pub issuers: Arc<[Arc<Issuer>]>,
    /// In file order, also those that no route leads to.
    pub backends: Arc<[Arc<Backend>]>,
}

/// How applications call flags.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FlagKeys {
    by_key: HashMap<Name, FlagId>,
    /// Those that a question for all flags answers, in file order.
    listed: Box<[FlagId]>,
}

impl FlagKeys {
    /// Every flag by its key; and those that a question for all is answered with, in order.
    #[must_use]
    pub fn new(by_key: HashMap<Name, FlagId>, listed: Vec<FlagId>) -> Self {
        Self {
            by_key,
            listed: listed.into(),
        }
    }

    /// The flag that is called so.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<FlagId> {
        self.by_key.get(key).copied()
    }

    /// What a question for all flags answers: flags without a route, and those of routes that have a key or
    /// that say how they are called.
    #[must_use]
    pub fn listed(&self) -> &[FlagId] {
        &self.listed
    }
}

/// Which exchanges get a line in the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// None.
    Off,
    /// Those whose outcome is not a success.
    Errors,
    /// Every one.
    All,
}

/// `Strict-Transport-Security` (RFC 6797 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hsts {
    /// For how many seconds browsers shall come by `https` only.
    pub max_age_s: u64,
    /// Also to all hosts below.
    pub include_subdomains: bool,
    /// Browsers may have it built in.
    pub preload: bool,
}

/// Clocks and bounds of a listener's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // as in config::spec
pub struct ListenerSettings {
    pub handshake: Duration,
    pub request_head: Duration,
    pub body: Duration,
    pub idle: Duration,
    pub connection_age: Option<Duration>,
    pub connections: u32,
    pub connections_per_client: u32,
    pub streams: u32,
    pub upgrades: u32,
    pub headers: u32,
    pub header_bytes: u32,
    pub uri_bytes: u32,
    pub paths: PathPolicy,
    /// Applications may ask for flags here.
    pub ofrep: bool,
    pub proxy_protocol: bool,
    pub redirect_to_https: Option<u16>,
    pub hsts: Option<Hsts>,
}

/// A route, ready to serve.
#[derive(Debug)]
pub struct Route {
    /// Its name.
    pub name: Name,
    /// Until the response head.
    pub timeout: Duration,
    /// Between two reads of a response's body; `None`: as the listener says.
    pub body_timeout: Option<Duration>,
    /// For a whole exchange; `None`: it may last.
    pub total_timeout: Option<Duration>,
    /// How its requests divide.
    pub flag: Flag,
    /// In file order.
    pub variants: SmallVec<[Variant; 2]>,
    /// Which statuses of its backends are their failures.
    pub failure_statuses: FailureStatuses,
    /// Whether responses name variant and generation.
    pub expose_variant: bool,
    /// Headers of clients that stop here.
    pub withheld: Withheld,
}

/// One side of a split, ready to serve.
#[derive(Debug)]
pub struct Variant {
    /// Its name.
    pub name: Name,
    /// Where it leads.
    pub backend: Arc<Backend>,
    /// Which of its endpoints this route's requests may use; at least one.
    pub in_rotation: Range<usize>,
    /// Where its exchanges are counted.
    pub recorder: Arc<Recorder>,
    /// Parity of the epoch of evidence.
    pub slot: u8,
    /// Asked before each dispatch: the breaker, and the variant that takes what it refuses.
    pub breaker: Option<(Arc<Breaker>, usize)>,
    /// When what began here ends after all weight is lost; on both sides of a rollout.
    pub curfew: Option<Arc<Curfew>>,
    /// How often one key may vote, where that has a limit.
    pub vote_limit: Option<VoteLimit>,
    /// Latencies of so many first requests of an endpoint are no evidence.
    pub warm_up: u32,
}

/// How often one key may vote on a variant.
#[derive(Clone, Debug)]
pub struct VoteLimit {
    /// Who has voted lately.
    pub votes: Arc<Votes>,
    /// In ten seconds and worker.
    pub max: u32,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'t> {
    /// The route it matched.
    pub route: &'t Arc<Route>,
    /// Index in the route's variants.
    pub variant: usize,
    /// Index in the route's cohorts, if one placed it.
    pub cohort: Option<usize>,
    /// The book it is kept in.
    pub track: Track,
    /// The hash of the request's key, or the draw of its sticky cookie, if it has one.
    pub key: Option<u32>,
    /// The answer is to set a sticky cookie with this draw.
    pub cookie: Option<u32>,
}

impl Table {
    /// The index of the route that matches; `None` when none does. `peer_trusted`: the peer is one of the trusted
    /// proxies. Of all others `forwarded`, `x-forwarded-*` and `x-serin-*` count for nothing.
    #[must_use]
    pub fn find(&self, head: &RequestHead, peer_trusted: bool) -> Option<usize> {
        self.index.find(head, peer_trusted)
    }

    /// Where a request on the route with index `route` goes. `draw` is uniform and fresh. Pure; does not allocate
    /// but for long parameters of a query.
    ///
    /// # Panics
    /// When there is no such route.
    #[must_use]
    pub fn choose<'t>(&'t self, route: usize, facts: &impl Facts, draw: u64) -> Choice<'t> {
        let route = &self.routes[route];
        let decision = self.decide(&route.flag, facts, draw);
        let (variant, cohort) = match decision.why {
            Why::Cohort(cohort) => (decision.variant, Some(cohort)),
            Why::Disabled | Why::Prerequisite(_) | Why::Split => (decision.variant, None),
        };
        let votes = cohort.is_none_or(|cohort| route.flag.cohorts[cohort].evidence);
        let track = if votes {
            Track::Draw {
                slot: route.variants[variant].slot,
            }
        } else {
            Track::Cohort
        };
        Choice {
            route,
            variant,
            cohort,
            track,
            key: decision.hash,
            cookie: decision.cookie,
        }
    }
}

impl Route {
    /// When an exchange ends that was sent to `variant` by this route, at the latest, by the clock of `Live`;
    /// `u64::MAX`: by itself. What began without weight knows no such hour: it was wanted there.
    #[must_use]
    pub fn curfew_us(&self, variant: usize) -> u64 {
        let curfew = self.variants[variant].curfew.as_ref();
        let curfew = curfew.filter(|_| self.flag.split.share_ppm(variant) > 0);
        curfew.map_or(u64::MAX, |curfew| curfew.at_us())
    }
}

impl Variant {
    /// Whether one more request of the client with hash `key` may vote, as [`Votes::cast`] says. Who has
    /// no key draws anew each time, and may.
    #[must_use]
    pub fn hears(&self, worker: usize, key: Option<u32>, now_us: u64) -> bool {
        match (&self.vote_limit, key) {
            (Some(VoteLimit { votes, max }), Some(key)) => votes.cast(worker, key, *max, now_us),
            (None, _) | (_, None) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{AccessLog, Route, Table, Variant, VoteLimit, Votes};
    use crate::head::{HeadBuilder, Method, RequestHead, Version};
    use crate::measure::{FailureStatuses, Recorder, RecorderKey, Track};
    use crate::name::Name;
    use crate::route::{
        Backend, BackendSettings, Choice, Cohort, CohortParts, CohortSpec, Condition, Destination, Endpoint,
        EndpointId, FieldTest, Flag, Index, KeyFallback, KeySet, KeySource, KeySpec, LoadBalancing, Match, Origin,
        PathMatch, Request, RouteKey, Split, bucket_of_key,
    };
    use crate::share::{MILLION, bounds};

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn variant(variant: &str, slot: u8) -> Variant {
        let backend = name("b");
        let endpoint = Endpoint::new(EndpointId(0), backend.clone(), "b:80".into(), None, 1);
        let settings = BackendSettings {
            load_balancing: LoadBalancing::RoundRobin,
            max_in_flight: 1,
            max_connections: 1,
            connect_timeout: Duration::from_secs(1),
            ..BackendSettings::default()
        };
        let key = RecorderKey {
            route: name("checkout"),
            variant: name(variant),
            backend: backend.clone(),
            cohort: None,
        };
        Variant {
            name: name(variant),
            backend: Arc::new(Backend::new(backend, vec![Arc::new(endpoint)], settings, 1)),
            in_rotation: 0..1,
            recorder: Arc::new(Recorder::new(key, 1)),
            slot,
            breaker: None,
            curfew: None,
            vote_limit: None,
            warm_up: 0,
        }
    }

    fn cohort(text: &str, header: Option<&str>, keys: &[&str], evidence: bool) -> Arc<Cohort> {
        let header = header.map(|value| Condition {
            origin: Origin::Header,
            name: "x-canary".to_owned(),
            test: FieldTest::Exact(value.to_owned()),
            negated: false,
        });
        let spec = CohortSpec {
            conditions: header.into_iter().collect(),
            evidence,
            ..CohortSpec::of(name(text), Destination::Variant(1))
        };
        let keys = (!keys.is_empty()).then(|| Arc::new(KeySet::of(keys.iter().copied()).unwrap()));
        let parts = CohortParts {
            keys: keys.into_iter().collect(),
            ..CohortParts::default()
        };
        Arc::new(Cohort::new(&spec, parts))
    }

    /// One route below `/checkout`: stable in slot 0, canary in slot 1, cohorts that lead to the canary.
    fn table(weights: &[u32], keyed: bool) -> Table {
        let matches = Match {
            path: PathMatch::Prefix("/checkout".to_owned()),
            ..Match::default()
        };
        let key = KeySpec {
            source: KeySource::Header("x-user-id".to_owned()),
            fallback: KeyFallback::FreshDraw,
        };
        let route = Route {
            name: name("checkout"),
            timeout: Duration::from_secs(5),
            body_timeout: None,
            total_timeout: None,
            flag: Flag {
                key: name("checkout"),
                rule: keyed.then(|| RouteKey::new(&name("checkout"), "", key.into())),
                enabled: true,
                default: 0,
                prerequisites: [].into(),
                cohorts: [
                    cohort("beta", Some("true"), &[], false),
                    cohort("voting", Some("vote"), &[], true),
                    cohort("staff", None, &["alice"], false),
                ]
                .into(),
                split: Split::new(bounds(weights).unwrap()),
                sticky: None,
                names: ["stable", "canary"].map(name).into(),
                values: None,
                asks_claims: false,
            },
            withheld: crate::route::Withheld::default(),
            variants: [variant("stable", 0), variant("canary", 1)].into(),
            failure_statuses: FailureStatuses::default(),
            expose_variant: true,
        };
        Table {
            generation: 1,
            generation_text: "1".into(),
            listeners: [].into(),
            listener_tls: [].into(),
            trusted_proxies: [].into(),
            access_log: AccessLog::Off,
            index: Arc::new(Index::new([&matches])),
            backends: [].into(),
            flags: [].into(),
            flag_keys: Arc::default(),
            issuers: [].into(),
            routes: [Arc::new(route)].into(),
        }
    }

    fn head(target: &str, fields: &[(&str, &str)]) -> RequestHead {
        let mut head = HeadBuilder::default();
        for (name, value) in fields {
            head.field(name.as_bytes(), value.as_bytes());
        }
        head.request(Method::Get, Version::Http11, "h", target)
    }

    fn choose<'t>(table: &'t Table, head: &RequestHead, draw: u64) -> Option<Choice<'t>> {
        let route = table.find(head, true)?;
        Some(table.choose(route, &Request::of(head, CLIENT), draw))
    }

    fn check(table: &Table, fields: &[(&str, &str)], draw: u64, expected: (usize, Option<&str>, Track)) {
        let head = head("/checkout/1", fields);
        let choice = choose(table, &head, draw).unwrap();
        let cohort = choice
            .cohort
            .map(|cohort| choice.route.flag.cohorts[cohort].name.as_str());
        assert_eq!((choice.variant, cohort, choice.track), expected, "{fields:?} {draw}");
    }

    const STABLE: (usize, Option<&str>, Track) = (0, None, Track::Draw { slot: 0 });
    const CANARY: (usize, Option<&str>, Track) = (1, None, Track::Draw { slot: 1 });

    #[test]
    fn without_a_key_each_request_draws_anew() {
        let table = table(&[90, 10], false);
        let at = |ppm: u64| ((ppm << 32) / 1_000_000) << 32;
        check(&table, &[], 0, STABLE);
        check(&table, &[("x-user-id", "alice")], at(899_999), STABLE);
        check(&table, &[], at(900_001), CANARY);
        check(&table, &[], u64::MAX, CANARY);
    }

    #[test]
    fn with_a_key_chance_has_no_say() {
        let table = table(&[50, 50], true);
        let side = |user: &str| {
            let head = head("/checkout", &[("x-user-id", user)]);
            choose(&table, &head, 0).unwrap().variant
        };
        for user in (0..100).map(|n| format!("u{n}")) {
            let head = head("/checkout", &[("x-user-id", &user)]);
            assert_eq!(choose(&table, &head, u64::MAX).unwrap().variant, side(&user));
        }
        check(&table, &[], 0, STABLE);
        check(&table, &[], u64::MAX, CANARY);
    }

    #[test]
    fn cohorts_come_before_weights_and_do_not_vote_unless_they_say_so() {
        let table = table(&[100, 0], true);
        check(&table, &[("x-canary", "true")], 0, (1, Some("beta"), Track::Cohort));
        check(
            &table,
            &[("x-canary", "vote")],
            0,
            (1, Some("voting"), Track::Draw { slot: 1 }),
        );
        check(&table, &[("x-user-id", "alice")], 0, (1, Some("staff"), Track::Cohort));
        check(
            &table,
            &[("x-user-id", "alice"), ("x-canary", "true")],
            0,
            (1, Some("beta"), Track::Cohort),
        );
        check(&table, &[("x-user-id", "eve"), ("x-canary", "false")], u64::MAX, STABLE);
    }

    #[test]
    fn a_choice_names_the_hash_that_drew_it_also_where_a_cohort_came_first() {
        let check = |table: &Table, fields: &[(&str, &str)], expected: bool| {
            let head = head("/checkout", fields);
            let key = choose(table, &head, 0).unwrap().key;
            let bucket = key.map(crate::route::bucket_of_hash);
            assert_eq!(bucket, expected.then(|| bucket_of_key("checkout", b"alice")));
        };
        check(&table(&[50, 50], true), &[("x-user-id", "alice")], true);
        check(
            &table(&[50, 50], true),
            &[("x-user-id", "alice"), ("x-canary", "true")],
            true,
        );
        check(&table(&[50, 50], true), &[], false);
        check(&table(&[50, 50], false), &[("x-user-id", "alice")], false);
    }

    #[test]
    fn only_who_has_a_key_is_heard_a_limited_number_of_times() {
        let mut variant = variant("canary", 0);
        assert!((0..50).all(|_| variant.hears(0, Some(7), 0)));
        variant.vote_limit = Some(VoteLimit {
            votes: Arc::new(Votes::new(1)),
            max: 2,
        });
        assert!((0..20).all(|key| variant.hears(0, Some(key), 0)));
        assert!(variant.hears(0, Some(7), 0) && !variant.hears(0, Some(7), 0));
        assert!((0..50).all(|_| variant.hears(0, None, 0)));
    }

    #[test]
    fn no_route_no_choice() {
        assert!(choose(&table(&[1, 1], false), &head("/cart", &[]), 0).is_none());
    }

    #[test]
    fn keys_divide_as_the_weights_say() {
        let table = table(&[75, 25], true);
        let on_canary = (0..100_000).filter(|n| {
            let user = format!("user-{n}");
            let head = head("/checkout", &[("x-user-id", &user)]);
            choose(&table, &head, 0).unwrap().variant == 1
        });
        let share = on_canary.count() as f64 / 100_000.0;
        assert!((share - 0.25).abs() < 0.002, "{share}");
    }

    proptest! {
        #[test]
        fn raising_the_canary_moves_no_client_back(
            a in 0..=MILLION,
            b in 0..=MILLION,
            users in prop::collection::vec("[a-z0-9]{1,12}", 50),
        ) {
            let (low, high) = (a.min(b), a.max(b));
            let (low, high) = (table(&[MILLION - low, low], true), table(&[MILLION - high, high], true));
            for user in users {
                let head = head("/checkout", &[("x-user-id", &user)]);
                let variant = |table: &Table| choose(table, &head, 0).unwrap().variant;
                prop_assert!(variant(&low) <= variant(&high));
            }
        }

        #[test]
        fn weight_zero_gets_nothing(draw in any::<u64>(), user in "[b-z]{0,3}", canary in any::<bool>()) {
            let weights = if canary { [0, 3] } else { [3, 0] };
            let head = head("/checkout", &[("x-user-id", &user)]);
            let choice = choose(&table(&weights, true), &head, draw).unwrap().variant;
            prop_assert_eq!(choice, usize::from(canary));
        }
    }
}
