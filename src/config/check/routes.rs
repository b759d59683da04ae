//! Routes: their splits, keys and cohorts.

use std::time::Duration;

use super::matches::{headers, route_match};
use super::names::{Names, check_unique};
use super::{ambiguity, duration_or};
use crate::config::file::{self, Fallback, File, Paths};
use crate::config::read::{Reader, Slot};
use crate::config::spec::{Route, Rules, Variant};
use crate::measure::FailureStatuses;
use crate::path::PathPolicy;
use crate::route::{CohortSpec, Condition, Destination, KeyFallback, KeySource, KeySpec, KeysSpec, Match, Origin};

/// All routes; `None` when one does not come about, which is then reported.
pub(super) fn check(file: &File, backends: &Names<'_>, reader: &mut Reader<'_>) -> Option<Vec<Route>> {
    check_unique(
        reader,
        "route",
        file.routes.items().filter_map(Slot::get).map(|route| &route.name),
    );
    let paths = widest_policy(file);
    let mut routes = Vec::new();
    let mut matches = Vec::new();
    for slot in file.routes.items() {
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
        routes.push(route(written, matched, backends, reader));
    }
    ambiguity::check(&matches, reader);
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

fn route(
    written: &file::Route,
    matches: Option<Match>,
    backends: &Names<'_>,
    reader: &mut Reader<'_>,
) -> Option<Route> {
    let split = written.split.get()?;
    let variant_names = || split.variants.items().map(|v| v.get().map(|v| &v.name));
    check_unique(reader, "variant", variant_names().flatten());
    let names = Names::of(reader, "variant", variant_names());
    let variants: Vec<_> = split
        .variants
        .items()
        .map(|v| variant(v.get()?, backends, reader))
        .collect();
    check_weights(split, reader);

    let key = match split.key.get() {
        Some(key) => key_spec(split.key.at, key, reader).map(Some),
        None => split.key.left_out.then_some(None),
    };
    check_unique(
        reader,
        "cohort",
        split.cohorts.items().filter_map(Slot::get).map(|c| &c.name),
    );
    let cohorts: Vec<_> = split
        .cohorts
        .items()
        .map(|slot| cohort(slot, split, &names, reader))
        .collect();
    let failure_statuses = match written.failure_statuses.get() {
        Some(_) => {
            let statuses: Option<Vec<_>> = written.failure_statuses.items().map(|slot| slot.get()).collect();
            statuses.map(|list| FailureStatuses::new(list.into_iter().flat_map(|statuses| statuses.0.clone())))
        }
        None => written.failure_statuses.left_out.then(FailureStatuses::default),
    };
    Some(Route {
        name: written.name.get()?.clone(),
        matches: matches?,
        timeout: duration_or(Some(&written.timeout), Duration::from_secs(5)),
        variants: variants.into_iter().collect::<Option<_>>()?,
        rules: Rules {
            listed: !split.key.left_out,
            key: key?,
            cohorts: cohorts.into_iter().collect::<Option<_>>()?,
            ..Rules::of(written.name.get()?.clone())
        },
        failure_statuses: failure_statuses?,
        expose_variant: written.expose_variant.or(true),
    })
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

fn check_weights(split: &file::Split, reader: &mut Reader<'_>) {
    let weights: Option<Vec<u32>> = split
        .variants
        .items()
        .map(|variant| Some(variant.get()?.weight.get()?.0))
        .collect();
    if weights.is_some_and(|weights| !weights.is_empty() && weights.iter().all(|&weight| weight == 0)) {
        reader.refuse(
            split.variants.at,
            "the weights add up to 0; give at least one variant a weight above 0",
        );
    }
}

fn key_spec(at: crate::config::tree::NodeId, written: &file::Key, reader: &mut Reader<'_>) -> Option<KeySpec> {
    match (written.header.left_out, written.client_ip.left_out) {
        (false, true) => Some(KeySpec {
            source: KeySource::Header(written.header.get()?.0.clone()),
            fallback: match (written.fallback.value, written.fallback.left_out) {
                (Some(Fallback::ClientIp), _) => KeyFallback::ClientIp,
                (None, true) => KeyFallback::FreshDraw,
                (None, false) => return None,
            },
        }),
        (true, false) => {
            if written.client_ip.value == Some(false) {
                reader.refuse(
                    written.client_ip.at,
                    "can only be true; leave `key` out to draw anew for each request",
                );
            }
            if !written.fallback.left_out {
                reader.refuse(
                    written.fallback.at,
                    "every client has an address, so there is nothing to fall back from; leave it out",
                );
            }
            written.client_ip.value.map(|_| KeySpec {
                source: KeySource::ClientIp,
                fallback: KeyFallback::FreshDraw,
            })
        }
        (true, true) => {
            reader.refuse(at, "names no key; give `header: x-user-id` or `clientIp: true`");
            None
        }
        (false, false) => {
            reader.refuse(
                at,
                "names two keys; keep `header`, and write `fallback: clientIp` for requests without it",
            );
            None
        }
    }
}

fn cohort(
    slot: &Slot<file::Cohort>,
    split: &file::Split,
    variants: &Names<'_>,
    reader: &mut Reader<'_>,
) -> Option<CohortSpec> {
    let written = slot.get()?;
    let variant = variants.find(&written.variant, reader);
    let headers = headers(written.headers.items(), reader);
    let keys: Option<Vec<String>> = written
        .keys
        .items()
        .map(|slot| slot.get().map(|text| text.0.clone()))
        .collect();
    let is_empty = |left_out: bool, length: Option<usize>| left_out || length == Some(0);
    let no_headers = is_empty(written.headers.left_out, written.headers.get().map(Vec::len));
    let no_keys = is_empty(written.keys.left_out, written.keys.get().map(Vec::len));
    if no_headers && no_keys {
        reader.refuse(slot.at, "takes everyone; give it `headers` or `keys`");
    }
    if !no_keys && split.key.left_out {
        reader.refuse(
            written.keys.at,
            "the split has no key to compare these with; give it `key: { header: x-user-id }`",
        );
    }
    let conditions = headers?.into_iter().map(|header| Condition {
        origin: Origin::Header,
        name: header.name,
        test: header.test,
        negated: false,
    });
    Some(CohortSpec {
        conditions: conditions.collect(),
        keys: keys.map(|inline| (!no_keys).then_some(KeysSpec { inline, file: None }))?,
        evidence: written.evidence.or(false),
        ..CohortSpec::of(written.name.get()?.clone(), Destination::Variant(variant?))
    })
}
