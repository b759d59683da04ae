//! A strategy as a plan: which keys go with it, its parts, and what follows success.

use std::sync::Arc;
use std::time::Duration;

use super::batches::Fleet;
use super::errands::{Errands, smoke, webhook};
use super::rollouts::Ground;
use super::steps::{Part, Walk};
use super::weave::weave;
use crate::config::file::{self, OnSuccess, Strategy};
use crate::config::read::{Reader, Slot};
use crate::config::scalar::Portion;
use crate::rollout::{After, Moment, Plan, Step, Webhook};
use crate::share::MILLION;

/// How a rollout goes.
pub(super) struct Course {
    /// Its steps, and what follows success.
    pub(super) plan: Plan,
    /// Called after an abort or a rollback.
    pub(super) on_rollback: Vec<Arc<Webhook>>,
}

/// The course of `written`; `None` when it does not come about, which is then reported.
pub(super) fn course<'f>(written: &'f file::Rollout, ground: &Ground<'f>, reader: &mut Reader<'_>) -> Option<Course> {
    let strategy = written.strategy.known_or(Strategy::Canary);
    if let Some(strategy) = strategy {
        check_keys(written, strategy, reader);
    }
    let mut errands = Errands::default();
    let webhooks: Vec<_> = written
        .webhooks
        .items()
        .map(|slot| webhook(slot, &mut errands, reader))
        .collect();
    let people = ground
        .file
        .admin
        .get()
        .map_or(!ground.file.admin.left_out, |admin| !admin.tokens_file.left_out);
    // Under a strategy that is not known, any part may stand.
    let walk_as = strategy.unwrap_or(Strategy::Canary);
    let parts = Walk::new(walk_as, people, &mut errands).parts(&written.steps, reader);
    let parts = match strategy? {
        Strategy::Canary => parts,
        Strategy::BlueGreen => parts.and_then(|parts| switch(parts, &written.steps, reader)),
        Strategy::Rolling => {
            let batches = batches(&written.rolling, written, ground, reader);
            parts.and_then(|mut parts| {
                parts.extend(batches?);
                Some(parts)
            })
        }
    };
    let is_guard = strategy == Some(Strategy::Canary) && written.steps.items().next().is_none();
    if is_guard {
        check_guard(written, reader);
    }
    let webhooks: Vec<Webhook> = webhooks.into_iter().collect::<Option<Vec<_>>>()?.concat();
    let plan = match Plan::new(weave(parts?, &webhooks)) {
        Ok(plan) => plan.followed_by(after(written)),
        Err(error) => {
            reader.refuse(written.steps.at, error.to_string());
            return None;
        }
    };
    let on_rollback = webhooks
        .into_iter()
        .filter(|webhook| webhook.moment == Moment::Rollback);
    Some(Course {
        plan,
        on_rollback: on_rollback.map(Arc::new).collect(),
    })
}

/// Keys that another strategy has.
fn check_keys(written: &file::Rollout, strategy: Strategy, reader: &mut Reader<'_>) {
    if strategy != Strategy::BlueGreen {
        for (left_out, at) in [
            (written.preview.left_out, written.preview.at),
            (written.standby.left_out, written.standby.at),
        ] {
            if !left_out {
                reader.refuse(at, "needs `strategy: blueGreen`; leave it out, or say so");
            }
        }
    }
    if strategy != Strategy::Rolling && !written.rolling.left_out {
        reader.refuse(written.rolling.at, "needs `strategy: rolling`; leave it out, or say so");
    }
    if strategy == Strategy::Rolling && !written.drain.left_out {
        reader.refuse(
            written.drain.at,
            "does not go with `strategy: rolling`, which drains batch by batch; write `rolling: { drain: 30s }`",
        );
    }
}

/// Keys that need a plan.
fn check_guard(written: &file::Rollout, reader: &mut Reader<'_>) {
    let waits = |slot: &&Slot<file::Webhook>| {
        let on = slot.get().map(|webhook| &webhook.on);
        on.is_some_and(|on| on.items().any(|on| on.value.is_some_and(|on| on != file::On::Rollback)))
    };
    let webhook = written.webhooks.items().find(waits).map(|slot| slot.at);
    for at in [
        (!written.post_promotion.left_out).then_some(written.post_promotion.at),
        (!written.rollback_window.left_out).then_some(written.rollback_window.at),
        (!written.window.left_out).then_some(written.window.at),
        (written.on_success.value == Some(OnSuccess::SwapRoles)).then_some(written.on_success.at),
        webhook,
    ]
    .into_iter()
    .flatten()
    {
        reader.refuse(at, "says nothing without a plan; give the rollout `steps`");
    }
}

/// Parts with exactly one switch; no parts at all are the switch alone.
fn switch(mut parts: Vec<Part>, list: &Slot<file::List<file::Step>>, reader: &mut Reader<'_>) -> Option<Vec<Part>> {
    if parts.is_empty() {
        parts.push(vec![Step::weigh(MILLION, Duration::ZERO)]);
    }
    // A second one is not above the first, and was refused as such.
    if parts.iter().flatten().all(|step| step.weight_ppm != MILLION) {
        reader.refuse(list.at, "never switches; add `- { setWeight: 100% }`");
        return None;
    }
    Some(parts)
}

fn batches(
    slot: &Slot<file::Rolling>,
    written: &file::Rollout,
    ground: &Ground<'_>,
    reader: &mut Reader<'_>,
) -> Option<Vec<Part>> {
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
    let fleet = Fleet {
        bake_time: rolling.map_or(Duration::ZERO, |rolling| rolling.bake_time.or(Duration::ZERO)),
        drain: rolling
            .and_then(|rolling| rolling.drain.value)
            .map_or(DRAIN, |limit| limit.0),
        health,
        ..Fleet::new(count, surge, unavailable)
    };
    if fleet.unavailable >= count {
        let why = match surge {
            Portion::Count(0) | Portion::Share(0) => "give `maxSurge` 1 or more",
            Portion::Count(_) | Portion::Share(_) => "give a smaller `maxUnavailable`",
        };
        let message = format!("would leave none of the {count} endpoints in rotation; {why}");
        reader.refuse(slot.at, message);
        return None;
    }
    Some(fleet.batches())
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
            "has {after} endpoints and `from` has {before}; with `strategy: rolling` both have as many, and each \
             takes the place of another"
        );
        reader.refuse(written.to.at, message);
        return None;
    }
    u32::try_from(before).ok().filter(|count| *count > 0)
}

fn after(written: &file::Rollout) -> After {
    let standby = written.standby.value.map(|limit| limit.0);
    After {
        watch: written
            .post_promotion
            .get()
            .and_then(|after| after.watch.value)
            .map_or(Duration::ZERO, |limit| limit.0),
        standby: standby.unwrap_or(Duration::ZERO),
        rollback_window: written.rollback_window.value.map(|limit| limit.0).or(standby),
        swap_roles: written.on_success.or(OnSuccess::Keep) == OnSuccess::SwapRoles,
    }
}

/// How long endpoints that were taken out are waited for.
const DRAIN: Duration = Duration::from_secs(30);
