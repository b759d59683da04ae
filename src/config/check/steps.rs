//! The parts of a plan as steps: each part does exactly one thing, and weights rise.

use std::sync::Arc;
use std::time::Duration;

use super::smoke::smoke;
use super::webhooks::{WebhookNames, gate_webhook};
use super::{gates, ramp};
use crate::analysis::figures;
use crate::config::file::{self, Strategy};
use crate::config::read::{Reader, Slot};
use crate::config::tree::NodeId;
use crate::rollout::{Errand, Needs, Step, Window};
use crate::share::MILLION;

/// The steps of one part of the file's list; their weights and needs, not yet their places.
pub(super) type Part = Vec<Step>;

/// What the parts of one rollout depend on.
pub(super) struct Walk<'c, 'f> {
    /// Which parts may stand there.
    pub(super) strategy: Strategy,
    /// Whether people have names, so that they can approve.
    pub(super) people: bool,
    /// When the whole rollout may move forward; `None`: at any time.
    pub(super) window: Option<&'c Window>,
    /// Names of webhooks so far.
    pub(super) names: &'c mut WebhookNames<'f>,
    /// What is in force; `None` after a part whose weight is not known.
    weight_ppm: Option<u32>,
}

/// What one part does.
enum Kind<'f> {
    Weight(&'f Slot<crate::config::units::Percent>),
    Pause(&'f Slot<file::Pause>),
    Gate(&'f Slot<file::Gate>),
    Smoke(&'f Slot<file::Smoke>),
    Ramp(&'f Slot<file::Ramp>),
    Judging(&'f Slot<file::Judging>),
}

impl<'c, 'f> Walk<'c, 'f> {
    /// At the beginning, where the canary has nothing.
    pub(super) fn new(
        strategy: Strategy,
        people: bool,
        window: Option<&'c Window>,
        names: &'c mut WebhookNames<'f>,
    ) -> Self {
        Self {
            strategy,
            people,
            window,
            names,
            weight_ppm: Some(0),
        }
    }

    /// The parts of the list; `None` when one does not come about, which is then reported.
    pub(super) fn parts(
        &mut self,
        list: &'f Slot<file::List<file::Step>>,
        reader: &mut Reader<'_>,
    ) -> Option<Vec<Part>> {
        let parts: Vec<Option<Part>> = list.items().map(|slot| self.part(slot, reader)).collect();
        let parts: Option<Vec<Part>> = parts.into_iter().collect();
        parts.filter(|_| list.value.is_some() || list.left_out)
    }

    fn part(&mut self, slot: &'f Slot<file::Step>, reader: &mut Reader<'_>) -> Option<Part> {
        let part = slot.get().and_then(|written| {
            let kind = kind(slot.at, written, reader)?;
            let bake_time = &written.bake_time;
            if !bake_time.left_out && !matches!(kind, Kind::Weight(_)) {
                reader.refuse(bake_time.at, "goes with `setWeight` only; leave it out");
            }
            if let Some(at) = self.stranger(&kind) {
                reader.refuse(at, what_may_stand(self.strategy));
                return None;
            }
            self.steps(kind, bake_time, reader)
        });
        self.weight_ppm = match &part {
            Some(steps) => steps.last().map(|step| step.weight_ppm).or(self.weight_ppm),
            None => None,
        };
        part
    }

    fn steps(&mut self, kind: Kind<'f>, bake_time: &Slot<Duration>, reader: &mut Reader<'_>) -> Option<Part> {
        let at_weight = |needs| Some(vec![Step::new(self.weight_ppm.unwrap_or(0), needs)]);
        match kind {
            Kind::Weight(slot) => {
                let weight_ppm = slot.get()?.ppm;
                if weight_ppm == 0 {
                    reader.refuse(slot.at, "a step needs a weight above 0 %");
                    return None;
                }
                self.check_rises(slot.at, weight_ppm, reader)?;
                Some(vec![Step::weigh(weight_ppm, bake_time.known_or(Duration::ZERO)?)])
            }
            Kind::Pause(slot) => {
                let duration = &slot.get()?.duration;
                match duration.get() {
                    Some(limit) => at_weight(Needs::Time(limit.0)),
                    None if duration.left_out => at_weight(Needs::Person),
                    None => None,
                }
            }
            Kind::Gate(slot) => {
                let needs = self.gate(slot, reader)?;
                Some(vec![Step::new(self.weight_ppm.unwrap_or(0), needs)])
            }
            Kind::Smoke(slot) => at_weight(Needs::Errand(Arc::new(Errand::Smoke(smoke(slot, reader)?)))),
            Kind::Ramp(slot) => self.ramp(slot, reader),
            Kind::Judging(slot) => {
                let bake_time = slot.get()?.duration.get()?.0;
                if self.weight_ppm == Some(0) {
                    reader.refuse(
                        slot.at,
                        "has nothing to judge before the first weight; put it behind one",
                    );
                    return None;
                }
                at_weight(Needs::Evidence { bake_time })
            }
        }
    }

    /// `None` for a weight that is not above the one before, which is reported.
    fn check_rises(&self, at: NodeId, weight_ppm: u32, reader: &mut Reader<'_>) -> Option<()> {
        match self.weight_ppm {
            Some(before) if weight_ppm <= before => {
                not_rising(at, before, weight_ppm, reader);
                None
            }
            _ => Some(()),
        }
    }

    fn gate(&mut self, slot: &'f Slot<file::Gate>, reader: &mut Reader<'_>) -> Option<Needs> {
        let gate = slot.get()?;
        let given = [!gate.approvals.left_out, !gate.webhook.left_out, !gate.window.left_out];
        if given.iter().filter(|given| **given).count() != 1 {
            reader.refuse(slot.at, "needs exactly one of approvals, webhook and window");
            return None;
        }
        if !gate.approvals.left_out {
            return gates::approvals(&gate.approvals, self.people, reader).map(Needs::Approvals);
        }
        if !gate.window.left_out {
            let window = gates::window(&gate.window)?;
            if self.window.is_some_and(|whole| !gates::meet(whole, &window)) {
                // Once is enough: looking through a whole week takes milliseconds.
                self.window = None;
                reader.refuse(
                    gate.window.at,
                    "is never open while the rollout's own `window` is, so that nothing could pass it; let them meet",
                );
            }
            return Some(Needs::Window(window));
        }
        let webhook = gate_webhook(&gate.webhook, self.names, reader)?;
        Some(Needs::Errand(Arc::new(Errand::Webhook(webhook))))
    }

    /// A weight that rises evenly: every step is as long as the others, and as far from the one before.
    fn ramp(&self, slot: &Slot<file::Ramp>, reader: &mut Reader<'_>) -> Option<Part> {
        let ramp = slot.get()?;
        let (from, to, over) = (ramp.from.get(), ramp.to.get()?.ppm, ramp.over.get()?.0);
        if !ramp.from.left_out && from.is_none() {
            return None;
        }
        if over < RAMP_LEAST {
            reader.refuse_text(
                ramp.over.at,
                "is too short for a ramp; give 2s at least, or `setWeight`",
            );
            return None;
        }
        match from {
            Some(from) if to <= from.ppm => {
                let (to, from) = (as_in_the_file(to), as_in_the_file(from.ppm));
                reader.refuse(ramp.to.at, format!("{to} is not above {from}; a ramp rises"));
                return None;
            }
            // It may begin where the part before ended.
            Some(from) => match self.weight_ppm {
                Some(before) if from.ppm < before => {
                    not_rising(ramp.from.at, before, from.ppm, reader);
                    return None;
                }
                _ => {}
            },
            None => self.check_rises(ramp.to.at, to, reader)?,
        }
        let before = self.weight_ppm?;
        let from = from.map_or(before, |from| from.ppm);
        Some(ramp::steps(before, from, to, over))
    }

    /// Where a part stands that this strategy has no place for.
    fn stranger(&self, kind: &Kind<'_>) -> Option<NodeId> {
        match (self.strategy, kind) {
            (Strategy::Canary, _) => None,
            (_, Kind::Pause(_) | Kind::Gate(_) | Kind::Smoke(_)) => None,
            (Strategy::BlueGreen, Kind::Judging(_)) => None,
            (Strategy::BlueGreen, Kind::Weight(slot)) => {
                slot.get().filter(|weight| weight.ppm != MILLION).map(|_| slot.at)
            }
            (_, Kind::Weight(slot)) => Some(slot.at),
            (_, Kind::Ramp(slot)) => Some(slot.at),
            (Strategy::Rolling, Kind::Judging(slot)) => Some(slot.at),
        }
    }
}

/// Why a part does not go with a strategy.
fn what_may_stand(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Canary => "does not go with `strategy: canary`",
        Strategy::BlueGreen => {
            "does not go with `strategy: blueGreen`, which switches at once; its steps are smoke, gate, pause, \
             analysis and one `setWeight: 100%`"
        }
        Strategy::Rolling => {
            "does not go with `strategy: rolling`, whose weights follow from its batches; its steps are smoke, \
             gate and pause, before the first batch"
        }
    }
}

fn not_rising(at: NodeId, before: u32, after: u32, reader: &mut Reader<'_>) {
    let (before, after) = (as_in_the_file(before), as_in_the_file(after));
    reader.refuse(
        at,
        format!("{after} comes after {before}; list the steps in rising order"),
    );
}

/// What the part does; anything but exactly one thing is reported.
fn kind<'f>(at: NodeId, step: &'f file::Step, reader: &mut Reader<'_>) -> Option<Kind<'f>> {
    let mut kinds = [
        (!step.set_weight.left_out).then_some(Kind::Weight(&step.set_weight)),
        (!step.pause.left_out).then_some(Kind::Pause(&step.pause)),
        (!step.gate.left_out).then_some(Kind::Gate(&step.gate)),
        (!step.smoke.left_out).then_some(Kind::Smoke(&step.smoke)),
        (!step.ramp.left_out).then_some(Kind::Ramp(&step.ramp)),
        (!step.analysis.left_out).then_some(Kind::Judging(&step.analysis)),
    ]
    .into_iter()
    .flatten();
    match (kinds.next(), kinds.next()) {
        (Some(kind), None) => Some(kind),
        (None, _) => {
            reader.refuse(
                at,
                "does nothing; give one of setWeight, pause, gate, smoke, ramp and analysis",
            );
            None
        }
        (Some(_), Some(_)) => {
            reader.refuse(
                at,
                "does several things; make a step of each: setWeight, pause, gate, smoke, ramp, analysis",
            );
            None
        }
    }
}

/// `5%`: how the file writes it.
pub(super) fn as_in_the_file(weight_ppm: u32) -> String {
    figures::ppm(weight_ppm).replace(' ', "")
}

/// Two steps of a second.
const RAMP_LEAST: Duration = Duration::from_secs(2);
