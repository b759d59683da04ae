//! The calls that Serin makes by itself: webhooks that may hold a rollout, smoke tests of a canary.
//!
//! Whoever is called may be slow, broken or hostile: every call ends in time, is read up to a limit, follows
//! no redirect, and knows no proxy of the environment. A future that is dropped ends its call at once.

mod backoff;
mod client;
mod connect;
#[cfg(test)]
pub(crate) mod fixture;
mod payload;
pub mod smoke;
pub mod webhook;
mod words;

pub use backoff::{Backoff, RETRY_AFTER_MAX, retry_after};
pub use client::{Answer, BODY_BYTES_MAX, Call, CallError, Client, End, Rest};
pub use payload::{Payload, checksum};
pub use words::{excerpt, excerpt_without};

/// How Serin calls itself when it calls others.
pub const USER_AGENT: &str = concat!("serin/", env!("CARGO_PKG_VERSION"));

/// What is told while an errand goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The other side said no; it is asked again.
    Refused(String),
    /// A try failed; there is another.
    Retrying(String),
}

/// How an errand ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It may go on; why, in words.
    Passed(String),
    /// All tries failed; why, in words.
    Failed(String),
}
