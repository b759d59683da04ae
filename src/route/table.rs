//! The routes of this moment, compiled: `choose(request, client, draw) -> Choice`.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use super::backend::Backend;
use super::breaker::Breaker;
use super::cohort::{Cohort, Key, RouteKey, bucket_of_draw, bucket_of_hash};
use super::curfew::Curfew;
use super::index::Index;
use super::split::Split;
use super::votes::Votes;
use crate::head::RequestHead;
use crate::measure::{FailureStatuses, Recorder, Track};
use crate::name::Name;
use crate::path::PathPolicy;

/// One generation of everything a request needs to know.
#[derive(Debug)]
pub struct Table {
    /// Rises with every change.
    pub generation: u64,
    /// `generation` in decimal, for the response header.
    pub generation_text: Bytes,
    /// Settings of each listener, by its index.
    pub listeners: Arc<[ListenerSettings]>,
    /// Peers whose forwarded headers are believed: address and leading bits.
    pub trusted_proxies: Arc<[(IpAddr, u8)]>,
    /// Which exchanges get a line in the access log.
    pub access_log: AccessLog,
    /// Arranged matches; positions in `routes`.
    pub index: Arc<Index>,
    /// In file order.
    pub routes: Box<[Arc<Route>]>,
    /// In file order, also those that no route leads to.
    pub backends: Arc<[Arc<Backend>]>,
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

/// Clocks and bounds of a listener's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // as in config::spec
pub struct ListenerSettings {
    pub request_head: Duration,
    pub body: Duration,
    pub idle: Duration,
    pub connections: u32,
    pub headers: u32,
    pub header_bytes: u32,
    pub uri_bytes: u32,
    pub paths: PathPolicy,
}

/// A route, ready to serve.
#[derive(Debug)]
pub struct Route {
    /// Its name.
    pub name: Name,
    /// Until the response head.
    pub timeout: Duration,
    /// What keeps a user on one side.
    pub key: Option<RouteKey>,
    /// Tried in order, before the split. Those of an aborted canary are not here.
    pub cohorts: Box<[Arc<Cohort>]>,
    /// Which variant owns which buckets.
    pub split: Split,
    /// In file order.
    pub variants: SmallVec<[Variant; 2]>,
    /// Which statuses of its backends are their failures.
    pub failure_statuses: FailureStatuses,
    /// Whether responses name variant and generation.
    pub expose_variant: bool,
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
    /// The hash of the request's key, if it has one.
    pub key: Option<u32>,
}

impl Table {
    /// Where a request from `client` goes; `None` when no route matches. `draw` is uniform and
    /// fresh. Pure; does not allocate.
    #[must_use]
    pub fn choose<'t>(&'t self, head: &RequestHead, client: IpAddr, draw: u64) -> Option<Choice<'t>> {
        let route = &self.routes[self.index.find(head)?];
        let key = route.key.as_ref().and_then(|key| key.spec().key_of(head, client));
        let hash = route.hash_of(key.as_ref());
        let (variant, cohort) = match route.cohort_of(head, key.as_ref()) {
            Some(cohort) => (route.cohorts[cohort].variant, Some(cohort)),
            None => (route.split.variant_of(bucket(hash, draw)), None),
        };
        let votes = cohort.is_none_or(|cohort| route.cohorts[cohort].evidence);
        let track = if votes {
            Track::Draw {
                slot: route.variants[variant].slot,
            }
        } else {
            Track::Cohort
        };
        Some(Choice {
            route,
            variant,
            cohort,
            track,
            key: hash,
        })
    }
}

impl Route {
    /// The first cohort that the request belongs to.
    #[must_use]
    pub fn cohort_of(&self, head: &RequestHead, key: Option<&Key<'_>>) -> Option<usize> {
        self.cohorts.iter().position(|cohort| cohort.holds(head, key))
    }

    /// The variant that the split gives to `key`, or to the fresh `draw` without one.
    #[must_use]
    pub fn variant_of(&self, key: Option<&Key<'_>>, draw: u64) -> usize {
        self.split.variant_of(bucket(self.hash_of(key), draw))
    }

    /// When an exchange ends that was sent to `variant` by this route, at the latest, by the clock of `Live`;
    /// `u64::MAX`: by itself. What began without weight knows no such hour: it was wanted there.
    #[must_use]
    pub fn curfew_us(&self, variant: usize) -> u64 {
        let curfew = self.variants[variant].curfew.as_ref();
        let curfew = curfew.filter(|_| self.split.share_ppm(variant) > 0);
        curfew.map_or(u64::MAX, |curfew| curfew.at_us())
    }

    fn hash_of(&self, key: Option<&Key<'_>>) -> Option<u32> {
        Some(self.key.as_ref()?.hash_of(key?))
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

fn bucket(hash: Option<u32>, draw: u64) -> u32 {
    hash.map_or_else(|| bucket_of_draw(draw), bucket_of_hash)
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
        Backend, BackendSettings, Cohort, CohortSpec, Endpoint, EndpointId, FieldMatch, FieldTest, Index, KeyFallback,
        KeySource, KeySpec, LoadBalancing, Match, PathMatch, RouteKey, Split, bucket_of_key,
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
        };
        let key = RecorderKey {
            route: name("checkout"),
            variant: name(variant),
            backend: backend.clone(),
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
        let header = header.map(|value| FieldMatch {
            name: "x-canary".to_owned(),
            test: FieldTest::Exact(value.to_owned()),
        });
        Arc::new(Cohort::new(&CohortSpec {
            name: name(text),
            headers: header.into_iter().collect(),
            keys: keys.iter().map(|&key| key.to_owned()).collect(),
            variant: 1,
            evidence,
        }))
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
            key: keyed.then(|| RouteKey::new(&name("checkout"), key.into())),
            cohorts: [
                cohort("beta", Some("true"), &[], false),
                cohort("voting", Some("vote"), &[], true),
                cohort("staff", None, &["alice"], false),
            ]
            .into(),
            split: Split::new(bounds(weights).unwrap()),
            variants: [variant("stable", 0), variant("canary", 1)].into(),
            failure_statuses: FailureStatuses::default(),
            expose_variant: true,
        };
        Table {
            generation: 1,
            generation_text: "1".into(),
            listeners: [].into(),
            trusted_proxies: [].into(),
            access_log: AccessLog::Off,
            index: Arc::new(Index::new([&matches])),
            backends: [].into(),
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

    fn check(table: &Table, fields: &[(&str, &str)], draw: u64, expected: (usize, Option<&str>, Track)) {
        let head = head("/checkout/1", fields);
        let choice = table.choose(&head, CLIENT, draw).unwrap();
        let cohort = choice.cohort.map(|cohort| choice.route.cohorts[cohort].name.as_str());
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
            table.choose(&head, CLIENT, 0).unwrap().variant
        };
        for user in (0..100).map(|n| format!("u{n}")) {
            let head = head("/checkout", &[("x-user-id", &user)]);
            assert_eq!(table.choose(&head, CLIENT, u64::MAX).unwrap().variant, side(&user));
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
            let key = table.choose(&head, CLIENT, 0).unwrap().key;
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
        assert!(table(&[1, 1], false).choose(&head("/cart", &[]), CLIENT, 0).is_none());
    }

    #[test]
    fn keys_divide_as_the_weights_say() {
        let table = table(&[75, 25], true);
        let on_canary = (0..100_000).filter(|n| {
            let user = format!("user-{n}");
            let head = head("/checkout", &[("x-user-id", &user)]);
            table.choose(&head, CLIENT, 0).unwrap().variant == 1
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
                let variant = |table: &Table| table.choose(&head, CLIENT, 0).unwrap().variant;
                prop_assert!(variant(&low) <= variant(&high));
            }
        }

        #[test]
        fn weight_zero_gets_nothing(draw in any::<u64>(), user in "[b-z]{0,3}", canary in any::<bool>()) {
            let weights = if canary { [0, 3] } else { [3, 0] };
            let head = head("/checkout", &[("x-user-id", &user)]);
            let choice = table(&weights, true).choose(&head, CLIENT, draw).unwrap().variant;
            prop_assert_eq!(choice, usize::from(canary));
        }
    }
}
