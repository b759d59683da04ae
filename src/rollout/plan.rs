//! Steps and what each waits for; refuses a plan that cannot end.

use std::sync::Arc;
use std::time::Duration;

use super::errand::{Errand, Smoke};
use super::gate::Approvals;
use super::window::Window;
use crate::analysis::figures;
use crate::share::MILLION;

/// One part of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What the canary gets of the pair, in parts per million. Never less than in the step before.
    pub weight_ppm: u32,
    /// What has to come about before the next step.
    pub needs: Needs,
    /// The part of the file's list that it comes of, from 0: a ramp and a batch are many steps.
    pub part: usize,
    /// Which endpoints of the two sides take requests; `None`: all.
    pub rotation: Option<Rotation>,
}

/// What has to come about before a step gives way to the next.
#[derive(Clone, Debug, PartialEq)]
pub enum Needs {
    /// Its bake time, and evidence that passes.
    Evidence {
        /// Its least duration.
        bake_time: Duration,
    },
    /// Time, while nothing speaks against the canary.
    Time(Duration),
    /// Somebody who resumes or promotes: it is entered paused.
    Person,
    /// People who approve.
    Approvals(Approvals),
    /// A time of the week.
    Window(Window),
    /// An answer from outside.
    Errand(Arc<Errand>),
    /// The requests of endpoints that have left the rotation have ended, or this much time is over.
    Drained(Duration),
}

/// Which endpoints take requests while the endpoints of one side are replaced by those of the other, one by
/// one in the order of the file: the first `to` of the canary's, all but the first `from_out` of stable's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// How many of stable's are out.
    pub from_out: u32,
    /// How many of the canary's are in.
    pub to_in: u32,
}

/// Steps in rising order, up to 100 %, and what follows success. Without steps: a standing guard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    steps: Arc<[Step]>,
    /// What follows success.
    pub after: After,
}

/// What follows success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct After {
    /// For so long the canary is judged on, and loses everything when it fails. Zero: not at all.
    pub watch: Duration,
    /// For so long the former stable stands by; its end is told. Zero: not at all.
    pub standby: Duration,
    /// For so long `rollback` is possible; `None`: until the next start.
    pub rollback_window: Option<Duration>,
    /// The next start begins with the roles exchanged.
    pub swap_roles: bool,
}

/// Why steps are no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // each variant is explained by its message
pub enum PlanError {
    #[error("{after} comes after {before}; list the steps in rising order")]
    NotRising { step: usize, before: String, after: String },
    #[error("a step needs a weight above 0 %")]
    Zero { step: usize },
    #[error("a step cannot have more than 100 %")]
    AboveWhole { step: usize },
    #[error("the last step must be 100 %, or the plan never ends; add `- {{ setWeight: 100% }}`")]
    NoEnd,
}

impl Step {
    /// The canary gets `weight_ppm` for at least `bake_time`.
    #[must_use]
    pub const fn weigh(weight_ppm: u32, bake_time: Duration) -> Self {
        Self::new(weight_ppm, Needs::Evidence { bake_time })
    }

    /// At `weight_ppm` until `needs` has come about; all endpoints take requests.
    #[must_use]
    pub const fn new(weight_ppm: u32, needs: Needs) -> Self {
        Self {
            weight_ppm,
            needs,
            part: 0,
            rotation: None,
        }
    }

    /// How long evidence is gathered at least; zero where the step waits for something else.
    #[must_use]
    pub const fn bake_time(&self) -> Duration {
        match self.needs {
            Needs::Evidence { bake_time } => bake_time,
            _ => Duration::ZERO,
        }
    }

    /// What it waits for beside evidence, behind a weight: `, approvals`.
    pub(super) fn waits_for(&self) -> &'static str {
        match &self.needs {
            Needs::Evidence { .. } => "",
            Needs::Time(_) | Needs::Person => ", pause",
            Needs::Approvals(_) => ", approvals",
            Needs::Window(_) => ", window",
            Needs::Errand(errand) => match **errand {
                Errand::Webhook(_) => ", webhook",
                Errand::Smoke(_) => ", smoke test",
            },
            Needs::Drained(_) => ", draining",
        }
    }

    /// How long it lasts by plan, if it is time that it waits for.
    #[must_use]
    pub const fn least_time(&self) -> Duration {
        match self.needs {
            Needs::Evidence { bake_time: time } | Needs::Time(time) => time,
            Needs::Person | Needs::Approvals(_) | Needs::Window(_) | Needs::Errand(_) | Needs::Drained(_) => {
                Duration::ZERO
            }
        }
    }
}

impl PlanError {
    /// Index of the step that is wrong; `None` when it is the plan as a whole.
    #[must_use]
    pub const fn step(&self) -> Option<usize> {
        match self {
            Self::NotRising { step, .. } | Self::Zero { step } | Self::AboveWhole { step } => Some(*step),
            Self::NoEnd => None,
        }
    }
}

impl Plan {
    /// Checks `steps`: none gets less than the one before it, none that wants evidence is at 0, and the
    /// last is at 100 %. No steps at all are the plan of a standing guard.
    ///
    /// # Errors
    /// The first [`PlanError`], with the index of its step.
    pub fn new(steps: Vec<Step>) -> Result<Self, PlanError> {
        let mut before = 0;
        for (index, step) in steps.iter().enumerate() {
            match (step.weight_ppm, &step.needs) {
                (0, Needs::Evidence { .. }) => return Err(PlanError::Zero { step: index }),
                (w, _) if w > MILLION => return Err(PlanError::AboveWhole { step: index }),
                (w, _) if w < before => {
                    return Err(PlanError::NotRising {
                        step: index,
                        before: as_in_the_file(before),
                        after: as_in_the_file(w),
                    });
                }
                (w, _) => before = w,
            }
        }
        if !steps.is_empty() && before != MILLION {
            return Err(PlanError::NoEnd);
        }
        Ok(Self {
            steps: steps.into(),
            after: After::default(),
        })
    }

    /// With what follows success.
    #[must_use]
    pub fn followed_by(self, after: After) -> Self {
        Self { after, ..self }
    }

    /// The steps.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether there are no steps: weights come from people and the file, and are watched.
    #[must_use]
    pub fn is_guard(&self) -> bool {
        self.steps.is_empty()
    }

    /// What endpoints must pass before they take requests, where they are replaced one by one and checked.
    #[must_use]
    pub fn health(&self) -> Option<&Smoke> {
        self.steps.iter().find_map(|step| match (&step.needs, step.rotation) {
            (Needs::Errand(errand), Some(_)) => match &**errand {
                Errand::Smoke(smoke) => Some(smoke),
                Errand::Webhook(_) => None,
            },
            _ => None,
        })
    }

    /// How many of stable's endpoints were out before so many were, by this plan: where a batch began.
    #[must_use]
    pub fn out_before(&self, from_out: u32) -> u32 {
        let outs = self
            .steps
            .iter()
            .filter_map(|step| step.rotation)
            .map(|rotation| rotation.from_out);
        outs.filter(|out| *out < from_out).max().unwrap_or(0)
    }

    /// How long all steps together bake at least.
    #[must_use]
    pub fn bake_time(&self) -> Duration {
        self.steps.iter().map(Step::bake_time).sum()
    }

    /// What tells this plan from another one by value, over restarts of the same Serin: one text for each
    /// step, and one for what follows success.
    #[must_use]
    pub fn marks(&self) -> Vec<String> {
        let after = format!("{:?}", self.after);
        self.steps
            .iter()
            .map(|step| format!("{step:?}"))
            .chain([after])
            .collect()
    }

    /// The step after `step`, where `weight_ppm` is in force; `None` at the end. Steps that would take
    /// weight away again are left out, but for people's gates; a step that was raised in the file is not
    /// gone through yet.
    #[must_use]
    pub(super) fn after_step(&self, step: usize, weight_ppm: u32) -> Option<usize> {
        let raised = self.steps.get(step).is_some_and(|step| step.weight_ppm > weight_ppm);
        let first = if raised { step } else { step + 1 };
        (first..self.steps.len()).find(|&index| {
            let step = &self.steps[index];
            step.weight_ppm >= weight_ppm || matches!(step.needs, Needs::Approvals(_))
        })
    }

    /// The step in which a place of `old` at `step` goes on, where `weight_ppm` is in force: the nearest by
    /// weight, but none behind a gate of approvals that was not passed in `old`. `None` for a guard.
    #[must_use]
    pub(super) fn place_of(&self, old: &Self, step: usize, weight_ppm: u32) -> Option<usize> {
        let nearest = self.nearest(weight_ppm)?;
        let passed = old.gates().take_while(|(index, _)| *index < step).map(|(_, gate)| gate);
        let known = passed
            .zip(self.gates())
            .take_while(|(old, (_, new))| old == new)
            .count();
        let barrier = self.gates().nth(known).map(|(index, _)| index);
        Some(barrier.map_or(nearest, |barrier| nearest.min(barrier)))
    }

    /// Whether people have to approve at `step` or behind it.
    #[must_use]
    pub fn has_gate_from(&self, step: usize) -> bool {
        self.gates().any(|(index, _)| index >= step)
    }

    fn gates(&self) -> impl Iterator<Item = (usize, &Approvals)> {
        let steps = self.steps.iter().enumerate();
        steps.filter_map(|(index, step)| match &step.needs {
            Needs::Approvals(gate) => Some((index, gate)),
            _ => None,
        })
    }

    /// The step that gives the canary everything; `None` for a guard.
    #[must_use]
    pub(super) fn whole(&self) -> Option<usize> {
        self.steps.iter().position(|step| step.weight_ppm == MILLION)
    }

    /// The step whose weight is nearest to `weight_ppm`, the lower and the first of several: no gate is
    /// passed by an edit. `None` for a guard.
    #[must_use]
    pub(super) fn nearest(&self, weight_ppm: u32) -> Option<usize> {
        (0..self.steps.len()).min_by_key(|&index| self.steps[index].weight_ppm.abs_diff(weight_ppm))
    }
}

/// `5%`: how the file writes it.
fn as_in_the_file(weight_ppm: u32) -> String {
    figures::ppm(weight_ppm).replace(' ', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(percents: &[u32]) -> Result<Plan, PlanError> {
        let step = |percent: &u32| Step::weigh(percent * 10_000, Duration::ZERO);
        Plan::new(percents.iter().map(step).collect())
    }

    #[test]
    fn a_plan_never_falls_and_ends_at_the_whole() {
        let check = |percents: &[u32], expected: &str| {
            let found = plan(percents).map_or_else(|error| error.to_string(), |_| "fine".to_owned());
            assert!(found.starts_with(expected), "{percents:?}: {found}");
        };
        check(&[], "fine");
        check(&[100], "fine");
        check(&[5, 25, 100], "fine");
        check(&[5, 5, 100, 100], "fine");
        check(&[5, 50, 30, 100], "30% comes after 50%");
        check(&[0, 100], "a step needs a weight above 0 %");
        check(&[5, 101], "a step cannot have more than 100 %");
        check(&[5, 25], "the last step must be 100 %");
    }

    #[test]
    fn a_step_that_wants_no_evidence_may_stand_before_all_weight() {
        let gate = Step::new(0, Needs::Person);
        assert!(Plan::new(vec![gate, Step::weigh(MILLION, Duration::ZERO)]).is_ok());
    }

    #[test]
    fn an_error_names_its_step() {
        assert_eq!(plan(&[5, 50, 30, 100]).unwrap_err().step(), Some(2));
        assert_eq!(plan(&[5]).unwrap_err().step(), None);
    }

    #[test]
    fn the_nearest_step_is_by_weight() {
        let plan = plan(&[5, 25, 25, 50, 100]).unwrap();
        let check = |percent: u32, expected: usize| assert_eq!(plan.nearest(percent * 10_000), Some(expected));
        check(1, 0);
        check(15, 0);
        check(16, 1);
        check(25, 1);
        check(75, 3);
        check(99, 4);
        assert_eq!(Plan::default().nearest(1), None);
    }

    #[test]
    fn the_next_step_takes_no_weight_away() {
        let plan = plan(&[5, 25, 25, 100]).unwrap();
        let check = |step, percent: u32, expected| assert_eq!(plan.after_step(step, percent * 10_000), expected);
        check(0, 5, Some(1));
        check(1, 25, Some(2));
        check(2, 25, Some(3));
        check(3, 100, None);
        // The file was changed, and the weight of the step before stands.
        check(0, 30, Some(3));
        check(1, 20, Some(1));
    }

    #[test]
    fn no_gate_is_passed_by_an_edit() {
        let gate = |percent: u32, count| {
            let approvals = Approvals {
                count,
                roles: Vec::new(),
                expires: Duration::from_secs(1),
            };
            Step::new(percent * 10_000, Needs::Approvals(approvals))
        };
        let weigh = |percent: u32| Step::weigh(percent * 10_000, Duration::ZERO);
        let plan = |steps: Vec<Step>| Plan::new(steps).unwrap();
        let check = |old: &Plan, step, percent: u32, new: &Plan, expected| {
            assert_eq!(new.place_of(old, step, percent * 10_000), Some(expected));
        };
        let plain = plan(vec![weigh(10), weigh(60), weigh(100)]);
        let gated = plan(vec![weigh(10), gate(10, 2), weigh(100)]);
        check(&plain, 1, 60, &gated, 1);
        check(&gated, 1, 10, &gated, 0);
        check(&gated, 2, 100, &gated, 2);
        // Another gate is one that was not passed.
        let stricter = plan(vec![weigh(10), gate(10, 3), weigh(100)]);
        check(&gated, 2, 100, &stricter, 1);
        // The one that was passed is; a second one is not.
        let twice = plan(vec![weigh(10), gate(10, 2), weigh(50), gate(50, 2), weigh(100)]);
        check(&gated, 2, 100, &twice, 3);
        assert_eq!(
            gated.after_step(0, 600_000),
            Some(1),
            "nor is it left out for its weight"
        );
    }

    #[test]
    fn marks_tell_plans_apart() {
        let marks = |percents: &[u32]| plan(percents).unwrap().marks();
        assert_eq!(marks(&[5, 100]), marks(&[5, 100]));
        assert_ne!(marks(&[5, 100]), marks(&[6, 100]));
        assert_eq!(marks(&[]).len(), 1);
    }
}
