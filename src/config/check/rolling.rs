//! A rolling release in the file: endpoints that take each other's place, and how many at once.

use std::time::Duration;

use super::batches::Fleet;
use super::rollouts::Ground;
use super::smoke::smoke;
use super::steps::Part;
use crate::config::file;
use crate::config::read::{Reader, Slot};
use crate::config::scalar::Portion;
use crate::share::MILLION;

/// The batches; `None` when they do not come about, which is then reported.
pub(super) fn batches(written: &file::Rollout, ground: &Ground<'_>, reader: &mut Reader<'_>) -> Option<Vec<Part>> {
    let slot = &written.rolling;
    let rolling = slot.get();
    if rolling.is_none() && !slot.left_out {
        return None;
    }
    let count = endpoints(written, ground, reader)?;
    let health = match rolling.map(|rolling| &rolling.health).filter(|health| !health.left_out) {
        Some(health) => Some(smoke(health, reader)?),
        None => None,
    };
    let quarter = Portion::Share(MILLION / 4);
    let portion = |slot: Option<&Slot<Portion>>| slot.map_or(Some(quarter), |slot| slot.known_or(quarter));
    let surge = portion(rolling.map(|rolling| &rolling.max_surge))?;
    let unavailable = portion(rolling.map(|rolling| &rolling.max_unavailable))?;
    if is_none(surge) && is_none(unavailable) {
        let message = "has neither `maxSurge` nor `maxUnavailable`, so that nothing could move; give one of them";
        reader.refuse(slot.at, message);
        return None;
    }
    let fleet = Fleet {
        bake_time: rolling.map_or(Duration::ZERO, |rolling| rolling.bake_time.or(Duration::ZERO)),
        drain: rolling
            .and_then(|rolling| rolling.drain.value)
            .map_or(DRAIN, |limit| limit.0),
        health,
        ..Fleet::new(count, surge, unavailable)
    };
    if fleet.unavailable >= count {
        let why = match is_none(surge) {
            true => "give `maxSurge` 1 or more",
            false => "give a smaller `maxUnavailable`",
        };
        let message = format!("would leave none of the {count} endpoints in rotation; {why}");
        reader.refuse(slot.at, message);
        return None;
    }
    Some(fleet.batches())
}

fn is_none(portion: Portion) -> bool {
    matches!(portion, Portion::Count(0) | Portion::Share(0))
}

/// How many endpoints either side has.
fn endpoints(written: &file::Rollout, ground: &Ground<'_>, reader: &mut Reader<'_>) -> Option<u32> {
    let (from, to) = ground.pair?;
    let backend = |variant: usize| {
        let name = ground.split?.variants.items().nth(variant)?.get()?.backend.get()?;
        let mut backends = ground.file.backends.items().filter_map(Slot::get);
        backends.find(|backend| backend.name.get() == Some(name))
    };
    let (old, new) = (backend(from)?, backend(to)?);
    if old.name.get() == new.name.get() {
        reader.refuse(
            written.to.at,
            "has the same backend as `from`, so that there is nothing to replace; give it one of its own",
        );
        return None;
    }
    let count = |backend: &file::Backend| backend.endpoints.items().count();
    let (before, after) = (count(old), count(new));
    if before != after {
        let message = format!(
            "has a backend of {}, and `from` one of {}; with `strategy: rolling` each endpoint takes the place of \
             another, so give both as many",
            of_endpoints(after),
            of_endpoints(before)
        );
        reader.refuse(written.to.at, message);
        return None;
    }
    u32::try_from(before).ok().filter(|count| *count > 0)
}

fn of_endpoints(count: usize) -> String {
    match count {
        1 => "1 endpoint".to_owned(),
        _ => format!("{count} endpoints"),
    }
}

/// How long endpoints that were taken out are waited for.
const DRAIN: Duration = Duration::from_secs(30);
