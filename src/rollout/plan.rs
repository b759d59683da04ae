//! Steps and bake times; refuses a plan that cannot end.

use std::time::Duration;

/// One part of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What the canary gets of the pair, in parts per million.
    pub weight_ppm: u32,
    /// Its least duration.
    pub bake_time: Duration,
}

/// Steps in rising order; empty for a standing guard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<Step>,
}

/// Why steps are no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum PlanError {
    #[error("{after} comes after {before}; list the steps in rising order")]
    NotRising { step: usize, before: String, after: String },
    #[error("a step needs a weight above 0 %")]
    Zero { step: usize },
    #[error("the last step must be 100 %, or the plan never ends; add `- {{ setWeight: 100% }}`")]
    NoEnd,
}

impl Plan {
    /// Checks `steps`.
    ///
    /// # Errors
    /// [`PlanError`] with the index of the step.
    pub fn new(steps: Vec<Step>) -> Result<Self, PlanError> {
        Ok(Self { steps })
    }

    /// The steps.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}
