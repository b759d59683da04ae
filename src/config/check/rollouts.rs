//! Rollouts: the pair they move weight between, their budget, and what the other files check about them.

use std::collections::HashMap;

use super::names::{Names, check_unique};
use super::{analysis, preview, strategy};
use crate::analysis::AnalysisSpec;
use crate::config::file::{self, AutoStart, File, Mode};
use crate::config::read::{Reader, Slot};
use crate::config::spec::{Rollout, Route, Strategy};

/// All rollouts; `None` when one does not come about, which is then reported. `checked` are the routes of `file`,
/// where all came about: they know the weights of this environment.
pub(super) fn check(file: &File, checked: Option<&[Route]>, reader: &mut Reader<'_>) -> Option<Vec<Rollout>> {
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
        let mut ground = Ground {
            file,
            split,
            checked: route.and_then(|route| checked?.get(route)),
            pair: None,
        };
        rollouts.push(rollout(written, route, &mut ground, reader));
    }
    rollouts.into_iter().collect()
}

/// What is said elsewhere in the file about a rollout's place.
pub(super) struct Ground<'f> {
    /// The file.
    pub(super) file: &'f File,
    /// The split of its route.
    pub(super) split: Option<&'f file::Split>,
    /// Its route, where all routes came about.
    pub(super) checked: Option<&'f Route>,
    /// `from` and `to` in the split.
    pub(super) pair: Option<(usize, usize)>,
}

fn rollout<'f>(
    written: &'f file::Rollout,
    route: Option<usize>,
    ground: &mut Ground<'f>,
    reader: &mut Reader<'_>,
) -> Option<Rollout> {
    let split = ground.split;
    ground.pair = split.and_then(|split| pair(written, split, ground.checked, reader));
    let judged = analysis::check(&written.analysis, split, reader);
    let (failed_requests, in_flight_max) = budget(&written.budget, reader);
    let course = strategy::course(written, ground, reader);
    let preview = match written.preview.get() {
        Some(_) => preview::check(&written.preview, reader).map(Some),
        None => written.preview.left_out.then_some(None),
    };
    let (from, to) = ground.pair?;
    let (judged, course) = (judged?, course?);
    Some(Rollout {
        name: written.name.get()?.clone(),
        route: route?,
        from,
        to,
        auto_start: written.auto_start.or(AutoStart::Manual) == AutoStart::OnReleaseChange,
        analysis: AnalysisSpec {
            failed_requests,
            ..judged.analysis
        },
        observe: written.mode.or(Mode::Act) == Mode::Observe,
        in_flight_max,
        patience: judged.patience,
        max_votes_per_key: judged.max_votes_per_key,
        warm_up: judged.warm_up,
        plan: course.plan,
        strategy: match written.strategy.or(file::Strategy::Canary) {
            file::Strategy::Canary => Strategy::Canary,
            file::Strategy::BlueGreen => Strategy::BlueGreen,
            file::Strategy::Rolling => Strategy::Rolling,
        },
        window: course.window,
        preview: preview?,
        drain: written
            .drain
            .get()
            .and_then(|drain| drain.after.value)
            .map(|limit| limit.0),
        on_rollback: course.on_rollback,
    })
}

/// `from` and `to` of one split: two neighbours, so that moving weight between them moves no other
/// variant's users, and with some weight to move.
fn pair(
    written: &file::Rollout,
    split: &file::Split,
    checked: Option<&Route>,
    reader: &mut Reader<'_>,
) -> Option<(usize, usize)> {
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
            let weight = |i: usize| match checked {
                Some(route) => Some(route.variants[i].weight),
                None => Some(split.variants.items().nth(i)?.get()?.weight.get()?.0),
            };
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
    if split.default_variant.get().is_some() && split.default_variant.get() == written.to.get() {
        let line = reader.tree.get(written.to.at).place.0;
        let message = format!(
            "is on trial by the rollout on line {line}, and a kill switch must not lead to it; name another variant"
        );
        reader.refuse_text(split.default_variant.at, &message);
    }
    Some((from, to))
}

fn budget(slot: &Slot<file::Budget>, reader: &mut Reader<'_>) -> (Option<u64>, Option<u32>) {
    let Some(written) = slot.get() else {
        return (None, None);
    };
    if written.failed_requests.left_out && written.in_flight.left_out {
        reader.refuse(slot.at, "has no bound; give `failedRequests`, `inFlight` or both");
    }
    let failed_requests = written.failed_requests.value.map(|n| u64::from(n.0));
    (failed_requests, written.in_flight.value.map(|n| n.0))
}
