//! What must hold for every input: one function for each fuzz target, which panics where it does not.
//!
//! `tests/corpus.rs` includes this module too, and replays the corpora. Its parents provide `h1`, `head` and `path`: in
//! `fuzz/` they are compiled alone, so that the counters of coverage are the codec's.

mod admin_bodies;
mod against_httparse;
mod against_hyper;
mod audits;
mod bodies;
mod configurations;
mod h2_requests;
mod hyper_io;
mod paths;
mod proxy_headers;
mod round_trips;
mod states;
mod stream;

pub use admin_bodies::admin_json;
pub use against_httparse::{request_head, response_head};
pub use against_hyper::{request_hyper, response_hyper};
pub use audits::audit;
pub use bodies::body;
pub use configurations::config;
pub use h2_requests::h2_request;
pub use paths::path;
pub use proxy_headers::proxy_protocol;
pub use round_trips::round_trip;
pub use states::state;
