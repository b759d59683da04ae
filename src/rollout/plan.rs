//! Steps and bake times; refuses a plan that cannot end.

use std::time::Duration;

use crate::analysis::figures;
use crate::share::MILLION;

/// One part of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What the canary gets of the pair, in parts per million.
    pub weight_ppm: u32,
    /// Its least duration.
    pub bake_time: Duration,
}

/// Steps in rising order, the last of them 100 %; empty for a standing guard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<Step>,
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
    /// Checks `steps`: each above 0 and above the one before it, the last one 100 %. No steps at
    /// all are the plan of a standing guard.
    ///
    /// # Errors
    /// The first [`PlanError`], with the index of its step.
    pub fn new(steps: Vec<Step>) -> Result<Self, PlanError> {
        let mut before = 0;
        for (index, &Step { weight_ppm, .. }) in steps.iter().enumerate() {
            match weight_ppm {
                0 => return Err(PlanError::Zero { step: index }),
                w if w > MILLION => return Err(PlanError::AboveWhole { step: index }),
                w if w <= before => {
                    return Err(PlanError::NotRising {
                        step: index,
                        before: as_in_the_file(before),
                        after: as_in_the_file(w),
                    });
                }
                w => before = w,
            }
        }
        if !steps.is_empty() && before != MILLION {
            return Err(PlanError::NoEnd);
        }
        Ok(Self { steps })
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

    /// The first step that gives the canary more than `weight_ppm`; `None` at the end.
    #[must_use]
    pub(super) fn next_above(&self, weight_ppm: u32) -> Option<usize> {
        self.steps.iter().position(|step| step.weight_ppm > weight_ppm)
    }

    /// The step whose weight is nearest to `weight_ppm`, the lower of two; `None` for a guard.
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
        Plan::new(
            percents
                .iter()
                .map(|p| Step {
                    weight_ppm: p * 10_000,
                    bake_time: Duration::ZERO,
                })
                .collect(),
        )
    }

    #[test]
    fn a_plan_rises_and_ends_at_the_whole() {
        let check = |percents: &[u32], expected: &str| {
            let found = plan(percents).map_or_else(|error| error.to_string(), |_| "fine".to_owned());
            assert!(found.starts_with(expected), "{percents:?}: {found}");
        };
        check(&[], "fine");
        check(&[100], "fine");
        check(&[5, 25, 100], "fine");
        check(&[5, 50, 30, 100], "30% comes after 50%");
        check(&[5, 5, 100], "5% comes after 5%");
        check(&[0, 100], "a step needs a weight above 0 %");
        check(&[5, 101], "a step cannot have more than 100 %");
        check(&[5, 25], "the last step must be 100 %");
    }

    #[test]
    fn an_error_names_its_step() {
        assert_eq!(plan(&[5, 50, 30, 100]).unwrap_err().step(), Some(2));
        assert_eq!(plan(&[5]).unwrap_err().step(), None);
    }

    #[test]
    fn the_nearest_step_is_by_weight() {
        let plan = plan(&[5, 25, 50, 100]).unwrap();
        let check = |percent: u32, expected: usize| assert_eq!(plan.nearest(percent * 10_000), Some(expected));
        check(1, 0);
        check(15, 0);
        check(16, 1);
        check(50, 2);
        check(75, 2);
        check(99, 3);
        assert_eq!(Plan::default().nearest(1), None);
    }

    #[test]
    fn the_next_step_is_above_the_weight_in_force() {
        let plan = plan(&[5, 25, 100]).unwrap();
        let check = |ppm: u32, expected: Option<usize>| assert_eq!(plan.next_above(ppm), expected);
        check(0, Some(0));
        check(50_000, Some(1));
        check(60_000, Some(1));
        check(250_000, Some(2));
        check(1_000_000, None);
    }
}
