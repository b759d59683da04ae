//! The compact log of outcomes: one line for each exchange with a backend that is over. Pure: lines
//! from records, and records from lines.

mod line;
mod record;

pub use line::{BadLine, HEADER, LONGEST, Line, write_header, write_lost};
pub use record::{Record, Vote};
