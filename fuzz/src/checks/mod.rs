//! What must hold of the codec for every input: one function for each fuzz target, which panics where it does not.
//!
//! `tests/corpus.rs` includes this module too, and replays the corpora. Its parents provide `h1`, `head` and `path`.

mod against_httparse;
mod against_hyper;
mod bodies;
mod hyper_io;
mod paths;
mod round_trips;
mod stream;

pub use against_httparse::{request_head, response_head};
pub use against_hyper::{request_hyper, response_hyper};
pub use bodies::body;
pub use paths::path;
pub use round_trips::round_trip;
