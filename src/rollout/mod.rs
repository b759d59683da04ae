//! What to do next: a plan, a place in it, and how verdicts, people and time move it. Pure.

mod command;
mod parts;
mod phase;
mod plan;
mod state;

pub use command::{Refused, Verb};
pub use parts::Parts;
pub use phase::Phase;
pub use plan::{Plan, PlanError, Step};
pub use state::{Move, State, Tick};
