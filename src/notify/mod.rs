//! Who is told of what happens to rollouts, and how.
//!
//! The audit log is the queue that outlives the process: each channel has a place in it (`notified.json`),
//! and what lies behind that place is told again after a restart. Aborts are told at least once, in order;
//! other news may be left out where a channel is slow, and the next message says so.
//!
//! [`event_of`], the renderers, [`letter`] and [`line`] are pure; [`courier`] and [`notifier`] read clocks,
//! wait and send.

mod courier;
mod event;
#[cfg(test)]
mod fixture;
mod letter;
mod line;
mod notifier;
mod pager_duty;
mod places;
mod plain;
mod queue;
mod slack;
mod teams;
mod text;

pub use event::{Event, What, event_of};
pub use notifier::{Begin, Notifier, Past, Roster, Teller};
