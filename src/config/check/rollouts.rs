//! Rollouts: the pair they move weight between, what is judged, and the plan.

use std::collections::HashMap;
use std::time::Duration;

use super::names::{Names, check_unique};
use crate::analysis::{AnalysisSpec, Limits};
use crate::config::file::{self, AutoStart, CompareWith, File};
use crate::config::read::{Reader, Slot};
use crate::config::spec::Rollout;
use crate::config::units::{Limit, Percent};
use crate::rollout::{Plan, Step};

/// All rollouts; `None` when one does not come about, which is then reported.
pub(super) fn check(file: &File, reader: &mut Reader<'_>) -> Option<Vec<Rollout>> {
    check_unique(
        reader,
        "rollout",
        file.rollouts.items().filter_map(Slot::get).map(|r| &r.name),
    );
    let routes = Names::of(reader, "route", file.routes.items().map(|r| r.get().map(|r| &r.name)));
    let mut taken = HashMap::new();
    let mut rollouts = Vec::new();
    for written in file.rollouts.items() {
        let Some(written) = written.get() else {
            rollouts.push(None);
            continue;
        };
        let route = routes.find(&written.route, reader);
        if let Some(route) = route
            && let Some(line) = taken.insert(route, reader.tree.get(written.route.at).place.0)
        {
            let message = format!("has a rollout on line {line} already; a route has one at most");
            reader.refuse_text(written.route.at, &message);
        }
        let split = route
            .and_then(|route| file.routes.items().nth(route))
            .and_then(|route: &Slot<file::Route>| route.get()?.split.get());
        rollouts.push(rollout(written, route, split, reader));
    }
    rollouts.into_iter().collect()
}

fn rollout(
    written: &file::Rollout,
    route: Option<usize>,
    split: Option<&file::Split>,
    reader: &mut Reader<'_>,
) -> Option<Rollout> {
    let pair = split.and_then(|split| pair(written, split, reader));
    let analysis = analysis(&written.analysis, reader);
    let plan = plan(&written.steps, reader);
    let (from, to) = pair?;
    Some(Rollout {
        name: written.name.get()?.clone(),
        route: route?,
        from,
        to,
        auto_start: written.auto_start.or(AutoStart::Manual) == AutoStart::OnReleaseChange,
        analysis: analysis?,
        observe: false,
        in_flight_max: None,
        patience: PATIENCE,
        max_votes_per_key: None,
        warm_up: 0,
        plan: plan?,
    })
}

/// `from` and `to` of one split: two neighbours, so that moving weight between them moves no other
/// variant's users, and with some weight to move.
fn pair(written: &file::Rollout, split: &file::Split, reader: &mut Reader<'_>) -> Option<(usize, usize)> {
    let names = Names::of(
        reader,
        "variant",
        split.variants.items().map(|v| v.get().map(|v| &v.name)),
    );
    let from = names.find(&written.from, reader);
    let to = names.find(&written.to, reader);
    let (from, to) = (from?, to?);
    match from.abs_diff(to) {
        0 => reader.refuse(written.to.at, "is the same variant as `from`; name the canary"),
        1 => {
            let weight = |i: usize| Some(split.variants.items().nth(i)?.get()?.weight.get()?.0);
            if weight(from) == Some(0) && weight(to) == Some(0) {
                reader.refuse(
                    written.from.at,
                    "has no weight, nor has `to`, so that there is none to move; give `from` a weight above 0",
                );
            }
        }
        _ => reader.refuse(
            written.to.at,
            "must stand beside `from` in the split, or its users would change sides; move the two together",
        ),
    }
    Some((from, to))
}

fn analysis(slot: &Slot<file::Analysis>, reader: &mut Reader<'_>) -> Option<AnalysisSpec> {
    let default = AnalysisSpec::default();
    let Some(written) = slot.get() else {
        return slot.left_out.then_some(default);
    };
    let rate = written.error_rate.get().map(|limits| (&limits.warn, &limits.critical));
    let latency = written.latency_p95.get().map(|limits| (&limits.warn, &limits.critical));
    check_limits(written.error_rate.at, rate, reader);
    check_limits(written.latency_p95.at, latency, reader);
    let latency = latency.map(|(warn, critical)| Limits {
        warn: warn.value.map(duration),
        critical: critical.value.map(duration),
    });
    Some(AnalysisSpec {
        compare_with_stable: written.compare_with.or(CompareWith::Stable) == CompareWith::Stable,
        min_requests: written
            .min_requests
            .value
            .map_or(default.min_requests, |n| u64::from(n.0)),
        // A canary that answers 500 at once is fast: latency alone judges nobody.
        error_rate: rate.map_or(default.error_rate, |(warn, critical)| {
            Some(Limits {
                warn: warn.value.map(Percent::share),
                critical: critical.value.map(Percent::share),
            })
        }),
        latency: [None, None, latency, None],
        ..default
    })
}

/// At least one limit, and a warning no later than the end.
fn check_limits<T: Copy + PartialOrd>(
    at: crate::config::tree::NodeId,
    limits: Option<(&Slot<T>, &Slot<T>)>,
    reader: &mut Reader<'_>,
) {
    let Some((warn, critical)) = limits else { return };
    if warn.left_out && critical.left_out {
        reader.refuse(at, "has no limit; give `warn`, `critical` or both");
    }
    if let (Some(low), Some(high)) = (warn.value, critical.value)
        && low > high
    {
        let message = format!(
            "is above critical, {}; a warning comes first",
            reader.tree.quote(critical.at)
        );
        reader.refuse_text(warn.at, &message);
    }
}

fn plan(slot: &Slot<file::List<file::Step>>, reader: &mut Reader<'_>) -> Option<Plan> {
    let written: Option<Vec<_>> = slot.items().map(Slot::get).collect();
    let written = written.filter(|_| slot.value.is_some() || slot.left_out)?;
    let steps: Option<Vec<_>> = written
        .iter()
        .map(|step| {
            Some(Step {
                weight_ppm: step.set_weight.value?.ppm,
                bake_time: step.bake_time.or(Duration::ZERO),
            })
        })
        .collect();
    let error = match Plan::new(steps?) {
        Ok(plan) => return Some(plan),
        Err(error) => error,
    };
    let step = error.step().and_then(|step| written.get(step));
    reader.refuse(step.map_or(slot.at, |step| step.set_weight.at), error.to_string());
    None
}

fn duration(limit: Limit) -> Duration {
    limit.0
}

/// How long evidence is waited for after a bake time, where nothing else is said.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
