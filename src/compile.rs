//! The whole table from what stands now: `Spec` + what is in force on each route + known identities.
//! Pure. What did not change since the last table is shared with it, not built again.

mod book;
mod flag;

use std::collections::HashMap;
use std::iter::zip;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

use crate::config::{self, Rules, Spec};
use crate::jwt::Issuer;
use crate::measure::RecorderKey;
use crate::name::Name;
use crate::rollout::Rotation;
use crate::route::{
    Backend, BackendSettings, HostMatch, Index, ListenerSettings, Match, Route, Table, Variant, VoteLimit, Votes,
    Withheld,
};
use crate::tls;

pub use book::Book;

use flag::{FlagInput, binding, flag_keys, flags, new_flag, secret_headers};

/// What is in force on one route beyond its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// A weight for each variant, in file order; they add up to more than 0.
    pub weights: Vec<u32>,
    /// Rises with each change of weight; its parity is the slot of evidence.
    pub epoch: u32,
    /// The rollout on this route.
    pub trial: Option<Trial>,
    /// False: everybody gets the default variant.
    pub enabled: bool,
    /// How often a rollout was aborted here: sticky cookies of before are void.
    pub aborts: u32,
}

/// The rollout on a route, as far as the table must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The rollout's name; its breaker hangs on it.
    pub rollout: Name,
    /// Index of stable.
    pub from: usize,
    /// Index of the canary.
    pub to: usize,
    /// The canary gets nothing at all: no weight, no cohorts.
    pub aborted: bool,
    /// Which endpoints of the two sides take this route's requests; `None`: all. A side of which it leaves none
    /// has no weight; who is placed there all the same (a cohort, what the breaker refuses) may use them all.
    pub rotation: Option<Rotation>,
    /// The side of the pair that the rollout's preview reaches: the one without weight. `None`: there is no
    /// preview now, and its hosts and header place nobody.
    pub idle: Option<usize>,
}

/// The table before, and what it was made from.
#[derive(Clone, Copy)]
struct Last<'a> {
    spec: &'a Arc<Spec>,
    in_force: &'a [InForce],
    table: &'a Table,
}

/// What is written down of one route.
#[derive(Clone, Copy)]
struct Written<'a> {
    route: &'a config::Route,
    rollout: Option<&'a config::Rollout>,
}

/// Makes the table of `generation`. `in_force` has one entry for each route of `spec`, then one for each of its
/// flags without a route, in order.
/// `last` is the table before, with the spec and state it was made from: parts whose inputs are
/// equal are shared. Identities that the new table does not use are forgotten by `book`.
///
/// With the same `Arc<Spec>` as before the cost is that of comparing `in_force`, of cloning an
/// `Arc` for each route, and of what changed.
///
/// # Panics
/// When an entry of `in_force` does not fit its route.
#[must_use]
pub fn compile(
    spec: &Arc<Spec>,
    in_force: &[InForce],
    generation: u64,
    book: &mut Book,
    last: Option<(&Arc<Spec>, &[InForce], &Table)>,
) -> Table {
    assert_eq!(
        spec.routes.len() + spec.flags.len(),
        in_force.len(),
        "each route and each flag has something in force"
    );
    let last = last.map(|(spec, in_force, table)| Last { spec, in_force, table });
    let same_spec = last.filter(|last| Arc::ptr_eq(last.spec, spec));
    let backends = match same_spec {
        Some(last) => Arc::clone(&last.table.backends),
        None => backends(spec, book, last),
    };
    let routes = match same_spec {
        Some(last) => zip(written(spec), in_force)
            .enumerate()
            .map(|(at, (written, now))| {
                let before = &last.table.routes[at];
                if last.in_force[at] == *now {
                    Arc::clone(before)
                } else {
                    let before = Some((written.route, before));
                    Arc::new(new_route(spec, written, now, &backends, book, before))
                }
            })
            .collect(),
        None => routes(spec, in_force, &backends, book, last),
    };
    let table = Table {
        generation,
        generation_text: generation.to_string().into(),
        listeners: listeners(spec, last),
        listener_tls: listener_tls(spec, last),
        trusted_proxies: trusted_proxies(spec, last),
        access_log: spec.log.access,
        index: match last.filter(|last| same_spec.is_some() || same_matches(last.spec, spec)) {
            Some(last) => Arc::clone(&last.table.index),
            None => Arc::new(index(spec)),
        },
        routes,
        flags: flags(spec, &in_force[spec.routes.len()..], book, last),
        flag_keys: match same_spec {
            Some(last) => Arc::clone(&last.table.flag_keys),
            None => Arc::new(flag_keys(spec)),
        },
        issuers: match same_spec {
            Some(last) => Arc::clone(&last.table.issuers),
            None => issuers(spec, book),
        },
        backends,
    };
    if same_spec.is_none() {
        book.forget_all_but(&table);
    }
    table
}

/// Whose tokens are believed, with the keys that were read with the file.
fn issuers(spec: &Spec, book: &mut Book) -> Arc<[Arc<Issuer>]> {
    let read = |at: usize| spec.jwks.get(at).and_then(Option::as_ref);
    let issuers = spec.issuers.iter().enumerate();
    issuers.map(|(at, issuer)| book.issuer(issuer, read(at))).collect()
}

/// The backends of `spec`; those that are defined as before are the same ones.
fn backends(spec: &Spec, book: &mut Book, last: Option<Last<'_>>) -> Arc<[Arc<Backend>]> {
    let before: HashMap<_, _> = last
        .iter()
        .flat_map(|last| zip(&last.spec.backends, last.table.backends.iter()))
        .map(|(spec, backend)| (&spec.name, (spec, backend)))
        .collect();
    let admin = spec.admin;
    let backend = |(spec, tls): (&config::Backend, &Option<Arc<tls::Upstream>>)| match before.get(&spec.name) {
        Some((before, backend)) if is_same_backend(before, spec) && backend.tls == *tls => Arc::clone(backend),
        _ => Arc::new(new_backend(spec, tls.clone(), admin, book)),
    };
    let tls = spec.upstream_tls.iter().chain(std::iter::repeat(&None));
    zip(&spec.backends, tls).map(backend).collect()
}

fn new_backend(spec: &config::Backend, tls: Option<Arc<tls::Upstream>>, admin: SocketAddr, book: &mut Book) -> Backend {
    let endpoints = spec.endpoints.iter().map(|address| book.endpoint(&spec.name, address));
    let settings = BackendSettings {
        load_balancing: spec.load_balancing,
        max_in_flight: spec.limits.max_in_flight,
        max_connections: spec.limits.max_connections,
        connect_timeout: spec.limits.connect_timeout,
        protocol: spec.protocol,
        max_streams: spec.limits.max_streams,
        tls,
        proxy_protocol: spec.proxy_protocol,
        allow_internal: spec.allow_internal,
        admin: Some(admin),
    };
    Backend::new(spec.name.clone(), endpoints.collect(), settings, book.workers)
}

/// The routes of `spec`; those whose inputs are as before are the same ones.
fn routes(
    spec: &Spec,
    in_force: &[InForce],
    backends: &[Arc<Backend>],
    book: &mut Book,
    last: Option<Last<'_>>,
) -> Box<[Arc<Route>]> {
    let before: HashMap<_, _> = last
        .iter()
        .flat_map(|last| written(last.spec).zip(last.in_force).zip(&last.table.routes))
        .map(|((written, in_force), route)| (&written.route.name, (written, in_force, route)))
        .collect();
    let same_keys = last.is_some_and(|last| last.spec.key_files == spec.key_files);
    let same_secrets = last.is_some_and(|last| secret_headers(last.spec) == secret_headers(spec));
    let same_flags = last.is_some_and(|last| same_flags(last.spec, spec));
    let same_releases = last.is_some_and(|last| same_releases(last.spec, spec));
    // Flags that a route asks may have changed in any way; it is made anew, which costs little.
    let may_share = |Rules { sticky, .. }: &Rules| same_releases || sticky.is_none();
    let route = |(new, now): (Written<'_>, &InForce)| {
        let rules = &new.route.rules;
        let known = before.get(&new.route.name);
        let known = known.filter(|_| (same_keys || !rules.reads_keys()) && (same_flags || !rules.asks_flags()));
        match known {
            Some((old, then, route))
                if *then == now
                    && may_share(rules)
                    && same_secrets
                    && !rules.asks_flags()
                    && is_same_route(*old, new, route, backends) =>
            {
                Arc::clone(route)
            }
            known => {
                let before = known.map(|(old, _, route)| (old.route, *route));
                Arc::new(new_route(spec, new, now, backends, book, before))
            }
        }
    };
    written(spec).zip(in_force).map(route).collect()
}

/// The routes of `spec` in order, each with its rollout.
fn written(spec: &Spec) -> impl Iterator<Item = Written<'_>> {
    let mut rollouts = vec![None; spec.routes.len()];
    for rollout in &spec.rollouts {
        rollouts[rollout.route] = Some(rollout);
    }
    zip(&spec.routes, rollouts).map(|(route, rollout)| Written { route, rollout })
}

/// A route as `now` wants it. Cohorts that are defined as `before` are not built again: their
/// lists of keys may be long.
fn new_route(
    whole: &Spec,
    Written { route: spec, rollout }: Written<'_>,
    now: &InForce,
    backends: &[Arc<Backend>],
    book: &mut Book,
    before: Option<(&config::Route, &Arc<Route>)>,
) -> Route {
    assert_eq!(spec.variants.len(), now.weights.len(), "each variant has a weight");
    let trial = now.trial.as_ref();
    let flag = new_flag(
        whole,
        book,
        &FlagInput {
            name: &spec.name,
            rules: &spec.rules,
            names: spec.variants.iter().map(|variant| &variant.name).collect(),
            values: spec.variants.iter().map(|variant| variant.value.as_ref()).collect(),
            backends: spec
                .variants
                .iter()
                .map(|variant| Some(&backends[variant.backend].name))
                .collect(),
            binding: binding(whole, spec, now.aborts),
            previews: rollout.zip(trial.and_then(|trial| trial.idle)),
            now,
            before: before.map(|(old, route)| (&old.rules, &route.flag)),
        },
    );
    let variant = |(at, variant): (usize, &config::Variant)| {
        let backend = Arc::clone(&backends[variant.backend]);
        let canary_of = now.trial.as_ref().filter(|trial| trial.to == at);
        let judged = rollout.filter(|rollout| [rollout.from, rollout.to].contains(&at));
        let known_votes = || {
            let (_, route) = before?;
            let known = route.variants.iter().find(|known| known.name == variant.name)?;
            Some(Arc::clone(&known.vote_limit.as_ref()?.votes))
        };
        let vote_limit = judged.and_then(|rollout| {
            Some(VoteLimit {
                max: rollout.max_votes_per_key?,
                votes: known_votes().unwrap_or_else(|| Arc::new(Votes::new(book.workers))),
            })
        });
        Variant {
            name: variant.name.clone(),
            recorder: book.recorder(&RecorderKey {
                route: spec.name.clone(),
                variant: variant.name.clone(),
                backend: backend.name.clone(),
                cohort: None,
            }),
            in_rotation: in_rotation(now.trial.as_ref(), at, backend.endpoints.len()),
            backend,
            slot: (now.epoch & 1) as u8,
            curfew: judged.map(|_| book.curfew(&spec.name, &variant.name)),
            breaker: canary_of.map(|trial| (book.breaker(&trial.rollout), trial.from)),
            vote_limit,
            warm_up: judged.map_or(0, |rollout| rollout.warm_up),
        }
    };
    Route {
        name: spec.name.clone(),
        timeout: spec.timeout,
        body_timeout: spec.body_timeout,
        total_timeout: spec.total_timeout,
        withheld: Withheld::new(
            &secret_headers(whole),
            &spec.rules.cohorts,
            flag.cohorts.iter().map(|cohort| &cohort.name),
        ),
        flag,
        variants: spec.variants.iter().enumerate().map(variant).collect(),
        failure_statuses: spec.failure_statuses,
        expose_variant: spec.expose_variant,
    }
}

/// Which of `count` endpoints the requests to the variant `at` may use.
fn in_rotation(trial: Option<&Trial>, at: usize, count: usize) -> Range<usize> {
    let rotation = trial.and_then(|trial| Some((trial, trial.rotation?)));
    let range = match rotation {
        Some((trial, rotation)) if trial.from == at => count.min(rotation.from_out as usize)..count,
        Some((trial, rotation)) if trial.to == at => 0..count.min(rotation.to_in as usize),
        _ => 0..count,
    };
    if range.is_empty() { 0..count } else { range }
}

/// Every route's matches; preview hosts lead to the same route, under the same conditions.
fn index(spec: &Spec) -> Index {
    let previews: Vec<(u32, Match)> = preview_hosts(spec)
        .map(|(route, hosts)| {
            let hosts = hosts.iter().cloned().map(HostMatch::Exact);
            let matches = Match {
                hosts: hosts.collect(),
                ..spec.routes[route].matches.clone()
            };
            (u32::try_from(route).expect("fewer routes than that"), matches)
        })
        .collect();
    let routes = (0..).zip(spec.routes.iter().map(|route| &route.matches));
    Index::of(routes.chain(previews.iter().map(|(route, matches)| (*route, matches))))
}

/// The routes that have preview hosts, with them.
fn preview_hosts(spec: &Spec) -> impl Iterator<Item = (usize, &[String])> {
    let rollouts = spec.rollouts.iter();
    let hosts = rollouts.filter_map(|rollout| Some((rollout.route, rollout.preview.as_ref()?.hosts.as_slice())));
    hosts.filter(|(_, hosts)| !hosts.is_empty())
}

/// Whether a route would come out the same. What it matches is the index's business, its weights
/// are those in force, and its backends are compared as compiled: their numbers may have moved.
fn is_same_route(old: Written<'_>, new: Written<'_>, compiled: &Route, backends: &[Arc<Backend>]) -> bool {
    if by_rollout(old) != by_rollout(new) {
        return false;
    }
    let (old, new) = (old.route, new.route);
    old.timeout == new.timeout
        && (old.body_timeout, old.total_timeout) == (new.body_timeout, new.total_timeout)
        && old.failure_statuses == new.failure_statuses
        && old.rules == new.rules
        && old.expose_variant == new.expose_variant
        && compiled.variants.len() == new.variants.len()
        && zip(&compiled.variants, &new.variants)
            .all(|(compiled, new)| compiled.name == new.name && Arc::ptr_eq(&compiled.backend, &backends[new.backend]))
        && zip(&old.variants, &new.variants).all(|(old, new)| old.value == new.value)
}

/// Whether the numbers by which prerequisites name flags mean the same flags.
fn same_flags(old: &Spec, new: &Spec) -> bool {
    let names = |spec: &Spec| {
        let routes = spec
            .routes
            .iter()
            .map(|route| (route.name.clone(), route.variants.len()));
        let flags = spec.flags.iter().map(|flag| (flag.name.clone(), flag.variants.len()));
        (routes.collect::<Vec<_>>(), flags.collect::<Vec<_>>())
    };
    names(old) == names(new)
}

/// Whether what sticky cookies are bound to is as before.
fn same_releases(old: &Spec, new: &Spec) -> bool {
    let releases = |spec: &Spec| {
        spec.backends
            .iter()
            .map(|backend| backend.release.clone())
            .collect::<Vec<_>>()
    };
    releases(old) == releases(new)
}

/// What a route takes from the file's rollout on it.
fn by_rollout(written: Written<'_>) -> Option<impl PartialEq> {
    let rollout = written.rollout?;
    let hygiene = (rollout.max_votes_per_key, rollout.warm_up);
    Some((rollout.from, rollout.to, hygiene, &rollout.preview))
}

/// Whether a backend would come out the same: a new release alone changes nothing here.
fn is_same_backend(old: &config::Backend, new: &config::Backend) -> bool {
    // What TLS needs is compared as read.
    old.endpoints == new.endpoints
        && (old.load_balancing, old.limits) == (new.load_balancing, new.limits)
        && (old.protocol, old.proxy_protocol, old.allow_internal)
            == (new.protocol, new.proxy_protocol, new.allow_internal)
}

fn same_matches(old: &Spec, new: &Spec) -> bool {
    old.routes.len() == new.routes.len()
        && preview_hosts(old).eq(preview_hosts(new))
        && zip(&old.routes, &new.routes).all(|(old, new)| old.matches == new.matches)
}

fn listeners(spec: &Spec, last: Option<Last<'_>>) -> Arc<[ListenerSettings]> {
    let settings = spec.listeners.iter().map(|listener| ListenerSettings {
        handshake: listener.timeouts.handshake,
        request_head: listener.timeouts.request_head,
        body: listener.timeouts.body,
        idle: listener.timeouts.idle,
        connection_age: listener.timeouts.connection_age,
        connections: listener.limits.connections,
        connections_per_client: listener.limits.connections_per_client,
        streams: listener.limits.streams,
        upgrades: listener.limits.upgrades,
        headers: listener.limits.headers,
        header_bytes: listener.limits.header_bytes,
        uri_bytes: listener.limits.uri_bytes,
        paths: listener.paths,
        ofrep: listener.ofrep,
        proxy_protocol: listener.proxy_protocol,
        redirect_to_https: listener.redirect_to_https,
        hsts: listener.tls.as_ref().and_then(|tls| tls.hsts),
    });
    shared(settings.collect(), last.map(|last| &last.table.listeners))
}

fn listener_tls(spec: &Spec, last: Option<Last<'_>>) -> Arc<[tls::ListenerTls]> {
    let spoken = spec.listeners.iter().map(config::Listener::listener_tls);
    shared(spoken.collect(), last.map(|last| &last.table.listener_tls))
}

fn trusted_proxies(spec: &Spec, last: Option<Last<'_>>) -> Arc<[(IpAddr, u8)]> {
    let networks = spec.trusted_proxies.iter();
    let networks = networks.map(|network| (network.address, network.prefix_bits));
    shared(networks.collect(), last.map(|last| &last.table.trusted_proxies))
}

/// `last` where it is equal to `new`.
fn shared<T: PartialEq>(new: Arc<[T]>, last: Option<&Arc<[T]>>) -> Arc<[T]> {
    last.filter(|last| **last == new).map_or(new, Arc::clone)
}

#[cfg(test)]
mod tests;
