//! Previews: which requests reach the idle side, and that no other route wants them.

use super::matches::headers;
use crate::config::file::{self, File};
use crate::config::read::{Reader, Slot};
use crate::config::spec::{Preview, Rollout, Route};
use crate::route::{FieldTest, HostMatch, Match, PREVIEW};

/// The preview; `None` when it does not come about, which is then reported.
pub(super) fn check(slot: &Slot<file::Preview>, reader: &mut Reader<'_>) -> Option<Preview> {
    let written = slot.get()?;
    if written.host.left_out && written.hosts.left_out && written.header.left_out {
        reader.refuse(slot.at, "shows nothing to anyone; give `host`, `hosts` or `header`");
        return None;
    }
    let header = match written.header.left_out {
        true => None,
        false => headers(std::iter::once(&written.header), reader)?.pop(),
    };
    if header
        .as_ref()
        .is_some_and(|header| matches!(header.test, FieldTest::Present(false)))
    {
        reader.refuse(
            written.header.at,
            "is met by every request without the header; say what a request must have",
        );
    }
    let mut hosts = Vec::new();
    let single = (!written.host.left_out).then_some(&written.host);
    for slot in single.into_iter().chain(written.hosts.items()) {
        match slot.get()? {
            HostMatch::Exact(host) => hosts.push(host.clone()),
            HostMatch::Wildcard(_) => {
                reader.refuse_text(slot.at, "is no single host; name each host of the preview");
            }
        }
    }
    Some(Preview { hosts, header })
}

/// Reports cohorts that have the name under which those stand who look at the idle side.
pub(super) fn check_names(file: &File, rollouts: &[Rollout], routes: &[Route], reader: &mut Reader<'_>) {
    let previewed = rollouts
        .iter()
        .zip(file.rollouts.items())
        .filter(|(rollout, _)| rollout.preview.is_some());
    for (rollout, written) in previewed {
        let mut cohorts = routes[rollout.route].rules.cohorts.iter();
        if let Some(written) = written.get()
            && cohorts.any(|cohort| cohort.name.as_str() == PREVIEW)
        {
            let message = "the route has a cohort named `preview`, which is what those are called whom a preview places; \
                           rename the cohort";
            reader.refuse(written.preview.at, message);
        }
    }
}

/// Reports previews whose hosts lead elsewhere already: to another route of the same rank, to all of their own
/// route, or to another preview. `rollouts` and `routes` are those of `file`, in its order.
pub(super) fn check_hosts(file: &File, rollouts: &[Rollout], routes: &[Route], reader: &mut Reader<'_>) {
    let mut previews: Vec<(usize, Match)> = Vec::new();
    for (rollout, written) in rollouts.iter().zip(file.rollouts.items()) {
        let Some(preview) = rollout.preview.as_ref().filter(|preview| !preview.hosts.is_empty()) else {
            continue;
        };
        let Some(at) = written.get().map(|written| written.preview.at) else {
            continue;
        };
        let own = &routes[rollout.route].matches;
        let shown = Match {
            hosts: preview.hosts.iter().cloned().map(HostMatch::Exact).collect(),
            ..own.clone()
        };
        if shown.hosts.iter().any(|host| own.hosts.contains(host)) {
            reader.refuse(
                at,
                "has a host of the route itself, all of whose requests would reach the idle side; give it another one",
            );
        }
        let by_route =
            (0..routes.len()).find(|&other| other != rollout.route && routes[other].matches.is_ambiguous_with(&shown));
        let by_preview = || previews.iter().find(|(_, other)| other.is_ambiguous_with(&shown));
        if let Some(other) = by_route.or_else(|| by_preview().map(|(route, _)| *route)) {
            let line = file
                .routes
                .items()
                .nth(other)
                .map_or(0, |slot| reader.tree.get(slot.at).place.0);
            let message = format!("has a host that leads to the route on line {line} already; give it one of its own");
            reader.refuse(at, message);
        }
        previews.push((rollout.route, shown));
    }
}
