//! Flags of other systems in the words of this one. Pure: text comes in, text and what is lost go out.
//!
//! flagd's targeting is a program in JSON Logic that ends in the name of a variant; Serin has a list of cohorts,
//! each a conjunction of conditions, and weights for everybody else. `branches` walks the program and gathers who
//! gets what, `dnf` turns conditions into alternatives of conjunctions, `division` reads `fractional`, and `flag`
//! puts the pieces together; `write` knows how a configuration is written.

mod branches;
mod conditions;
mod division;
mod dnf;
mod flag;
mod flagd;
mod json;
mod operand;
mod order;
mod reader;
mod schedule;
mod write;

pub use flagd::{BadFile, Converted, FILE_BYTES_MAX, Gap, from_flagd};
