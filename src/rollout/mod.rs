//! What to do next: a plan, a place in it, and how verdicts, people and time move it. Pure.

mod plan;
mod state;

pub use plan::{Plan, PlanError, Step};
pub use state::{Move, Phase, Refused, State, Verb};
