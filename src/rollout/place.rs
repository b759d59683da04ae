//! A place in a plan: how long it has baked, and when it gives way.

use std::time::Duration;

use super::plan::{Needs, Plan, Step};
use super::state::{At, Move, Tick};
use crate::analysis::{VerdictKind, figures};

/// A place in a plan that has steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    /// The step; in range.
    pub step: usize,
    /// What it put in force. It outlives a change of the plan, until the next step.
    pub weight_ppm: u32,
    /// Time spent in it while nothing was paused.
    pub baked: Duration,
    /// How much of it was beyond the bake time, with too little evidence to go on.
    pub waited: Duration,
    /// Whether a person resumed it after its bake time, to wait on.
    pub resumed: bool,
    /// Whether the errand that it needs has been done, while nothing could move forward.
    pub cleared: bool,
}

/// Who resumes a step that was paused for want of evidence wants to wait: at least as long.
const RESUMED_WAIT_MIN: Duration = Duration::from_secs(60);

impl Place {
    pub(super) fn of(plan: &Plan, step: usize) -> Option<Self> {
        plan.steps().get(step).map(|found| Self {
            step,
            weight_ppm: found.weight_ppm,
            baked: Duration::ZERO,
            waited: Duration::ZERO,
            resumed: false,
            cleared: false,
        })
    }

    /// The same weight, at another step of a changed plan.
    pub(super) fn moved_to(self, step: usize) -> Self {
        Self {
            step,
            waited: Duration::ZERO,
            resumed: false,
            cleared: false,
            ..self
        }
    }

    /// As a person resumes it: who has waited for evidence waits for it anew.
    pub(super) fn resume(self, plan: &Plan) -> Self {
        Self {
            waited: Duration::ZERO,
            resumed: self.has_baked(plan),
            ..self
        }
    }

    /// What it needs; `None` where a changed plan has no such step any more.
    pub(super) fn needs(self, plan: &Plan) -> Option<&Needs> {
        plan.steps().get(self.step).map(|step| &step.needs)
    }

    /// Whether its bake time is over; that of a step that wants no evidence never is.
    pub(super) fn has_baked(self, plan: &Plan) -> bool {
        self.bake_time(plan).is_some_and(|bake_time| self.baked >= bake_time)
    }

    fn bake_time(self, plan: &Plan) -> Option<Duration> {
        match self.needs(plan)? {
            Needs::Evidence { bake_time } => Some(*bake_time),
            _ => None,
        }
    }

    pub(super) fn bake(&mut self, tick: &Tick<'_>) {
        let before = self.baked;
        self.baked = before.saturating_add(tick.elapsed);
        let evidence_is_thin = tick.verdict.kind == VerdictKind::Inconclusive;
        if let Some(bake_time) = self.bake_time(tick.plan).filter(|_| evidence_is_thin && !tick.held) {
            let over = self.baked.saturating_sub(before.max(bake_time));
            self.waited = self.waited.saturating_add(over);
        }
    }

    /// On to the next step, when what this one needs has come about and nothing speaks against the canary.
    pub(super) fn passed(self, tick: &Tick<'_>) -> Option<Move> {
        let Tick { plan, verdict, .. } = *tick;
        let holds = verdict.kind == VerdictKind::Hold && self.weight_ppm > 0;
        if let Some(step) = plan.steps().get(self.step).filter(|step| step.weight_ppm > 0)
            && matches!(step.needs, Needs::Evidence { .. })
            && self.weight_ppm == 0
        {
            // The file took out what was waited for: without weight no evidence would ever come.
            let at = At::entering(plan, self.step);
            let reason = format!("nothing is waited for any more: {}", at.words(plan));
            return Some(at.because(reason, tick.now_ms));
        }
        let baked = figures::time(self.baked);
        let why = match self.needs(plan)? {
            Needs::Evidence { bake_time } if verdict.kind == VerdictKind::Pass && self.baked >= *bake_time => {
                format!("passed after {baked}: {}", verdict.reason)
            }
            Needs::Time(time) if self.baked >= *time && !holds => format!("is over after {baked}"),
            Needs::Drained(deadline) if (tick.cleared || self.baked >= *deadline) && !holds => {
                format!("drained after {baked}")
            }
            Needs::Approvals(_) | Needs::Window(_) | Needs::Errand(_) if (tick.cleared || self.cleared) && !holds => {
                format!("passed after {baked}")
            }
            _ => return None,
        };
        let reason = format!("{} {why}", self.words(plan));
        Some(At::after(plan, self).because(reason, tick.now_ms))
    }

    /// Paused for a person, where evidence does not come.
    pub(super) fn gave_up(self, tick: &Tick<'_>) -> Option<Move> {
        let Tick { plan, verdict, .. } = *tick;
        let bake_time = self.bake_time(plan)?;
        let patience = match self.resumed {
            true => tick.patience.max(bake_time).max(RESUMED_WAIT_MIN),
            false => tick.patience,
        };
        if verdict.kind != VerdictKind::Inconclusive || !self.has_baked(plan) || self.waited < patience {
            return None;
        }
        let reason = format!(
            "{}: bake time over, evidence too thin: {}; resume to go on waiting, promote to go on without",
            self.words(plan),
            verdict.reason
        );
        let place = self;
        Some(At::Paused { place, by_hand: false }.because(reason, tick.now_ms))
    }

    /// `step 2 of 4 (25 %)`
    pub(super) fn words(self, plan: &Plan) -> String {
        let steps = plan.steps().len();
        let what = plan.steps().get(self.step).map_or("", Step::waits_for);
        format!(
            "step {} of {steps} ({}{what})",
            self.step + 1,
            figures::ppm(self.weight_ppm)
        )
    }
}
