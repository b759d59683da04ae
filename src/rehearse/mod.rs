//! What would have become of each rollout: a log of outcomes is replayed through the code that judges a
//! running one. Pure: the caller brings the lines, and time is what they say.
//!
//! Lines are written when an exchange is over, so they are put in order of dispatch first
//! (`window`). For each rollout the counters are kept as workers keep them (`side`), looked at ten
//! times a second of the log's time, and given to the same judge (`case`).

mod case;
mod epoch;
mod event;
mod side;
mod trial;
mod window;

use std::collections::HashMap;

use case::{Case, Exchange};
pub use event::{Event, RolloutSummary, Summary, Tally, What};
use window::Window;

use crate::config::Spec;
use crate::name::Name;
use crate::outcome::{BadLine, HEADER, Line, Record};

/// Of the format that is known.
const VERSION: u32 = 1;

/// A log in another format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // each variant is explained by its message
pub enum OtherLog {
    #[error("is no outcome log: it does not begin with {HEADER}")]
    NoHeader,
    #[error("is an outcome log of version {0}; this Serin reads version {VERSION}")]
    Version(u32),
}

/// The replay of one or more logs, in order.
#[derive(Debug)]
pub struct Rehearsal {
    cases: Vec<Case>,
    /// By route; it has one rollout at most.
    of_route: HashMap<Name, usize>,
    window: Window<(usize, Exchange)>,
    /// A file begins: its first line must say what it is.
    at_first_line: bool,
    tally: Tally,
    events: Vec<Event>,
}

impl Rehearsal {
    /// Of the rollouts of `spec`, or of `only` one; `None` when there is none of that name.
    #[must_use]
    pub fn new(spec: &Spec, only: Option<&str>) -> Option<Self> {
        let wanted = |name: &Name| only.is_none_or(|only| name.as_str() == only);
        let rollouts = spec.rollouts.iter().filter(|rollout| wanted(&rollout.name));
        let cases: Vec<Case> = rollouts.clone().map(|rollout| Case::new(spec, rollout)).collect();
        let routes = rollouts.map(|rollout| spec.routes[rollout.route].name.clone());
        (!cases.is_empty()).then(|| Self {
            of_route: routes.zip(0..).collect(),
            cases,
            window: Window::default(),
            at_first_line: true,
            tally: Tally::default(),
            events: Vec::new(),
        })
    }

    /// Another file begins.
    pub fn begin_file(&mut self) {
        self.at_first_line = true;
    }

    /// Takes a line, without its end. One that makes no sense is counted and passed over.
    ///
    /// # Errors
    /// [`OtherLog`] when the file is in another format.
    pub fn line(&mut self, line: &[u8]) -> Result<(), OtherLog> {
        self.tally.lines += 1;
        let is_first = std::mem::take(&mut self.at_first_line);
        match Line::parse(line) {
            Ok(Line::Header(VERSION)) => {}
            Ok(Line::Header(other)) => return Err(OtherLog::Version(other)),
            _ if is_first => return Err(OtherLog::NoHeader),
            Ok(Line::Record(record)) => self.record(&record),
            Ok(Line::Lost(lines)) => self.tally.lost = self.tally.lost.saturating_add(lines),
            Ok(Line::Comment) => {}
            Err(BadLine) => self.tally.garbled += 1,
        }
        Ok(())
    }

    /// A line that was cut off, or is longer than any can be.
    pub fn garbled_line(&mut self) -> Result<(), OtherLog> {
        self.line(b"")
    }

    /// All lines were read: what is left is taken in.
    pub fn finish(&mut self) {
        while let Some((at_us, (case, exchange))) = self.window.drain() {
            self.dispatch(at_us, case, exchange);
        }
        let end_us = self.window.newest_us();
        for case in &mut self.cases {
            case.finish(end_us, &mut self.events);
        }
    }

    /// What happened since the last call, in order of time.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// What was read, and where each rollout stands.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            tally: Tally {
                late: self.window.late(),
                ..self.tally
            },
            rollouts: self.cases.iter().map(Case::summary).collect(),
        }
    }

    fn record(&mut self, record: &Record<'_>) {
        let case = self.of_route.get(record.route).copied();
        let exchange = case.and_then(|case| self.cases[case].exchange(record));
        let Some((case, exchange)) = case.zip(exchange) else {
            self.tally.elsewhere += 1;
            return;
        };
        self.tally.requests += 1;
        let began_ms = self.tally.began_ms.get_or_insert(record.at_ms);
        *began_ms = (*began_ms).min(record.at_ms);
        self.tally.ended_ms = Some(record.end_us().div_ceil(1000)).max(self.tally.ended_ms);
        self.window.push(record.at_us(), record.end_us(), (case, exchange));
        while let Some((at_us, (case, exchange))) = self.window.pop() {
            self.dispatch(at_us, case, exchange);
        }
    }

    fn dispatch(&mut self, at_us: u64, case: usize, exchange: Exchange) {
        for case in &mut self.cases {
            case.advance(at_us, &mut self.events);
        }
        self.cases[case].dispatch(at_us, exchange, &mut self.events);
    }
}

#[cfg(test)]
mod tests;
