//! Routes: their splits, keys and cohorts.

use std::time::Duration;

use super::matches::route_match;
use super::names::{Names, check_unique};
use super::whole::{Whole, flag_of_route};
use super::{ambiguity, cohorts, duration_or, keys, rules, sticky};
use crate::config::file::{self, File, Paths};
use crate::config::read::{Reader, Slot};
use crate::config::spec::{Route, Rules, Variant};
use crate::measure::FailureStatuses;
use crate::path::PathPolicy;
use crate::route::Match;

/// All routes; `None` when one does not come about, which is then reported.
pub(super) fn check(
    file: &File,
    backends: &Names<'_>,
    whole: &mut Whole<'_>,
    reader: &mut Reader<'_>,
) -> Option<Vec<Route>> {
    check_unique(
        reader,
        "route",
        file.routes.items().filter_map(Slot::get).map(|route| &route.name),
    );
    let paths = widest_policy(file);
    let mut routes = Vec::new();
    let mut matches = Vec::new();
    for (index, slot) in file.routes.items().enumerate() {
        let Some(written) = slot.get() else {
            routes.push(None);
            continue;
        };
        let matched = match (&written.matches.value, written.matches.left_out) {
            (Some(written), _) => route_match(written, paths, reader),
            (None, true) => Some(Match::default()),
            (None, false) => None,
        };
        if let Some(matched) = &matched {
            matches.push((slot.at, &written.name, matched.clone()));
        }
        let parts = Parts {
            index,
            written,
            matched,
            backends,
        };
        routes.push(route(parts, whole, reader));
    }
    ambiguity::check(&matches, reader);
    sticky::check_unique(file, reader);
    routes.into_iter().collect()
}

/// What every path that a request can have passes: routes serve all listeners.
fn widest_policy(file: &File) -> PathPolicy {
    let mut listeners = file.listeners.items().filter_map(Slot::get);
    // A value that does not fit may have meant either.
    let strict = listeners.all(|listener| listener.paths.known_or(Paths::Strict) == Some(Paths::Strict));
    if strict {
        PathPolicy::Strict
    } else {
        PathPolicy::Normalize
    }
}

/// What a route is made of.
struct Parts<'f> {
    index: usize,
    written: &'f file::Route,
    /// `None`: it does not come about.
    matched: Option<Match>,
    backends: &'f Names<'f>,
}

fn route(parts: Parts<'_>, whole: &mut Whole<'_>, reader: &mut Reader<'_>) -> Option<Route> {
    let written = parts.written;
    let split = written.split.get()?;
    let variant_names = || split.variants.items().map(|v| v.get().map(|v| &v.name));
    check_unique(reader, "variant", variant_names().flatten());
    let names = Names::of(reader, "variant", variant_names());
    let variants: Vec<_> = split
        .variants
        .items()
        .map(|v| variant(v.get()?, parts.backends, reader))
        .collect();
    let weights = split.variants.items().map(|v| Some(v.get()?.weight.get()?.0));
    rules::check_weights(split.variants.at, weights, reader);
    let values = rules::values(split.variants.items().filter_map(|v| Some(&v.get()?.value)), reader);

    let key = match split.key.get() {
        Some(key) => keys::of_split(split.key.at, key, whole, reader).map(Some),
        None => split.key.left_out.then_some(None),
    };
    let flag = Whole::of_route(parts.index);
    whole.flags[flag].draws_anew = split.key.left_out;
    let own_key = key.as_ref().and_then(Option::as_ref);
    let sticky = match split.sticky.left_out {
        true => Some(None),
        false => sticky::check(&split.sticky, own_key, reader).map(Some),
    };
    let ruled = rules::check(flag, &split.into(), &names, whole, reader);
    check_unique(
        reader,
        "cohort",
        split.cohorts.items().filter_map(Slot::get).map(|c| &c.name),
    );
    let owner = cohorts::Owner {
        flag,
        variants: &names,
        has_key: !split.key.left_out,
        key: own_key,
        asked: ruled.as_ref().map_or(&[], |ruled| &ruled.prerequisites),
    };
    let cohorts = cohorts::of_split(&split.cohorts, owner, whole, reader);
    let failure_statuses = match written.failure_statuses.get() {
        Some(_) => {
            let statuses: Option<Vec<_>> = written.failure_statuses.items().map(|slot| slot.get()).collect();
            statuses.map(|list| FailureStatuses::new(list.into_iter().flat_map(|statuses| statuses.0.clone())))
        }
        None => written.failure_statuses.left_out.then(FailureStatuses::default),
    };
    let (timeout, total_timeout) = timeouts(written, reader);
    let (ruled, values) = (ruled?, values?);
    let mut variants: Vec<Variant> = variants.into_iter().collect::<Option<_>>()?;
    for (at, (variant, value)) in variants.iter_mut().zip(values).enumerate() {
        variant.value = value;
        variant.weight = ruled.weights.as_ref().map_or(variant.weight, |weights| weights[at]);
    }
    Some(Route {
        name: written.name.get()?.clone(),
        matches: parts.matched?,
        timeout,
        body_timeout: written.body_timeout.value.map(|limit| limit.0),
        total_timeout,
        variants,
        rules: Rules {
            flag: flag_of_route(written).get()?.clone(),
            listed: !split.key.left_out || !split.flag.left_out,
            key: key?,
            salt: ruled.salt,
            schedule: ruled.schedule,
            default: ruled.default,
            prerequisites: ruled.prerequisites,
            cohorts: cohorts?,
            sticky: sticky?,
        },
        failure_statuses: failure_statuses?,
        expose_variant: written.expose_variant.or(true),
    })
}

/// Until the head of the response, and for all of the exchange.
fn timeouts(written: &file::Route, reader: &mut Reader<'_>) -> (Duration, Option<Duration>) {
    let timeout = duration_or(Some(&written.timeout), Duration::from_secs(5));
    let total = written.total_timeout.value.map(|limit| limit.0);
    if written.timeout.known() && total.is_some_and(|total| total < timeout) {
        reader.refuse_text(
            written.total_timeout.at,
            "is for the whole exchange, and shorter than `timeout` (5s unless it says otherwise), \
             which is for its first part; give the longer one here",
        );
    }
    (timeout, total)
}

fn variant(written: &file::Variant, backends: &Names<'_>, reader: &mut Reader<'_>) -> Option<Variant> {
    let backend = backends.find(&written.backend, reader);
    Some(Variant {
        name: written.name.get()?.clone(),
        backend: backend?,
        weight: written.weight.get()?.0,
        value: None,
    })
}
