//! What to do next: a plan, a place in it, and how verdicts, people and time move it. Pure.

mod command;
mod errand;
mod gate;
mod parts;
mod phase;
mod place;
mod plan;
mod state;
mod switch;
mod window;

pub use command::{Refused, Verb};
pub use errand::{Errand, Moment, OnFailure, Smoke, SmokeCheck, Webhook};
pub use gate::{Approval, Approvals};
pub use parts::Parts;
pub use phase::Phase;
pub use plan::{After, Needs, Plan, PlanError, Rotation, Step};
pub use state::{Move, State, Tick};
pub use switch::{ByHand, Schedule};
pub use window::{Window, WindowError};
