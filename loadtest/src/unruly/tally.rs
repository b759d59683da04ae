//! What the clients and the unruly service saw together, and whether it is what must hold. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Counts;
use super::client::Outcome;
use super::plan::{Ask, Plan};
use crate::report::Condition;

/// The first faults are kept in words, the others only counted.
const EXAMPLES_MAX: usize = 5;

/// The least part of the exchanges with a service that behaves that has to be answered: a proxy that refuses everything
/// mixes nothing up either. A POST may meet a connection that is just being closed, and must then not be sent again.
const ANSWERED_MIN: f64 = 0.99;

/// Exchanges by how they ended.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tally {
    /// All that were begun.
    pub(crate) exchanges: u64,
    /// With the service's answer.
    pub(crate) answered: u64,
    /// With an error of the proxy's own, by status.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// On a connection that the proxy had kept and then ended without a byte, by what went wrong in the exchange before.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// Visibly without an answer, or with a part of it.
    pub(crate) cut: u64,
    /// Sent behind one whose answer was the last on its connection.
    pub(crate) unreached: u64,
    /// Given up by the client, by plan.
    pub(crate) left: u64,
    /// Without an end for a long time.
    pub(crate) hung: u64,
    /// With what belongs to another.
    pub(crate) foreign: u64,
    /// With a part that passed for the whole.
    pub(crate) misframed: u64,
    /// GETs and HEADs where nothing was to go wrong.
    pub(crate) safe: Answered,
    /// POSTs where nothing was to go wrong.
    pub(crate) posts: Answered,
    /// The first faults.
    pub(crate) examples: Vec<String>,
    /// The first that were not answered where nothing was to go wrong.
    pub(crate) unanswered: Vec<String>,
}

/// A number of exchanges, and how many of them were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Answered {
    /// How many.
    pub(crate) of: u64,
    /// How many of them were answered by the service.
    pub(crate) answered: u64,
}

impl Answered {
    /// How many were not.
    pub(crate) fn failed(self) -> u64 {
        self.of - self.answered
    }

    fn share(self) -> f64 {
        self.answered as f64 / self.of.max(1) as f64
    }
}

impl Tally {
    /// Records how one exchange ended.
    pub(crate) fn record(&mut self, plan: &Plan, outcome: &Outcome) {
        self.exchanges += 1;
        match outcome {
            Outcome::Answered { .. } => self.answered += 1,
            Outcome::Refused { status } => {
                *self.refused.entry(*status).or_default() += 1;
                if *status < 500 {
                    self.keep_example(format!("{plan:?}: refused with {status}"));
                }
            }
            Outcome::Dropped { after } => {
                let misdeed = after
                    .misdeed
                    .map_or_else(|| "nothing".to_owned(), |misdeed| format!("{misdeed:?}"));
                *self.dropped.entry(misdeed).or_default() += 1;
            }
            Outcome::Cut => self.cut += 1,
            Outcome::Unreached => self.unreached += 1,
            Outcome::Left => self.left += 1,
            Outcome::Hung => {
                self.hung += 1;
                self.keep_example(format!("{plan:?} hung"));
            }
            Outcome::Foreign(what) => {
                self.foreign += 1;
                self.keep_example(format!("{plan:?}: {what}"));
            }
            Outcome::Misframed(what) => {
                self.misframed += 1;
                self.keep_example(format!("{plan:?}: {what}"));
            }
        }
        if plan.misdeed.is_none() && !matches!(outcome, Outcome::Left | Outcome::Unreached) {
            let of = match plan.ask {
                Ask::Get | Ask::Head => &mut self.safe,
                Ask::Post { .. } => &mut self.posts,
            };
            of.of += 1;
            let is_answered = matches!(outcome, Outcome::Answered { .. });
            of.answered += u64::from(is_answered);
            if !is_answered && self.unanswered.len() < EXAMPLES_MAX {
                self.unanswered.push(format!("{plan:?}: {outcome:?}"));
            }
        }
    }

    /// What must hold of `wanted` exchanges.
    pub(crate) fn conditions(&self, wanted: u64, counts: &Counts) -> Vec<Condition> {
        let none = |name: &str, found: u64| Condition {
            name: name.to_owned(),
            held: found == 0,
            figures: format!("{found} of {}", self.exchanges),
        };
        let answered = |name: &str, of: Answered| Condition {
            name: format!(
                "{name} are answered where nothing was to go wrong, {}%",
                ANSWERED_MIN * 100.0
            ),
            held: of.share() >= ANSWERED_MIN,
            figures: format!("{:.3}%, all but {} of {}", of.share() * 100.0, of.failed(), of.of),
        };
        vec![
            Condition {
                name: "all exchanges were made".to_owned(),
                held: self.exchanges >= wanted,
                figures: format!("{} of {wanted}", self.exchanges),
            },
            none("no client got what belongs to another exchange", self.foreign),
            none("no backend got what belongs to another exchange", counts.foreign_bodies),
            none("no part of an answer passed for the whole", self.misframed),
            none("no part of a request passed for the whole", counts.misframed),
            none(
                "no request was blamed on its client",
                self.refused.range(..500).map(|(_, count)| count).sum(),
            ),
            none("no POST was sent twice", counts.duplicate_posts),
            none("no exchange hung", self.hung),
            answered("GET and HEAD", self.safe),
            answered("POST", self.posts),
        ]
    }

    /// The figures for people.
    pub(crate) fn render(&self, counts: &Counts) -> String {
        let refused = list(self.refused.iter().map(|(status, count)| format!("{count} × {status}")));
        let dropped = list(
            self.dropped
                .iter()
                .map(|(misdeed, count)| format!("{count} after {misdeed}")),
        );
        let Self {
            exchanges,
            answered,
            cut,
            unreached,
            left,
            ..
        } = self;
        let Counts {
            requests,
            repeats,
            closed,
            ..
        } = counts;
        let mut text = format!(
            "{exchanges} exchanges: {answered} answered, refused by the proxy {refused}, cut {cut}, \
             not reached on a closed connection {unreached}, left by the client {left}\n\
             connections dropped between two exchanges: {dropped}\n\
             backends: {requests} requests, {repeats} of them retries, {closed} connections ended on purpose\n"
        );
        for example in self.examples.iter().chain(&self.unanswered) {
            text += &format!("  {example}\n");
        }
        text
    }

    fn keep_example(&mut self, example: String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example);
        }
    }
}

fn list(parts: impl Iterator<Item = String>) -> String {
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() {
        "none".to_owned()
    } else {
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unruly::plan::Misdeed;

    fn plan(ask: Ask, misdeed: Option<Misdeed>) -> Plan {
        Plan {
            id: 1,
            ask,
            bytes: 10,
            chunked: false,
            misdeed,
            leave: None,
        }
    }

    const POST: Ask = Ask::Post {
        bytes: 1,
        chunked: false,
    };

    /// Which conditions fail after these exchanges, by the first words of their names.
    fn check(exchanges: &[(Plan, Outcome)], counts: Counts, expected: &[&str]) {
        let mut tally = Tally::default();
        for (plan, outcome) in exchanges {
            tally.record(plan, outcome);
        }
        let conditions = tally.conditions(exchanges.len() as u64, &counts);
        let failed: Vec<&str> = conditions
            .iter()
            .filter(|condition| !condition.held)
            .map(|condition| condition.name.as_str())
            .collect();
        assert_eq!(failed.len(), expected.len(), "{failed:?}");
        assert!(
            failed.iter().zip(expected).all(|(name, begin)| name.starts_with(begin)),
            "{failed:?}"
        );
        tally.render(&counts);
    }

    #[test]
    fn what_a_service_spoils_is_no_fault_of_the_proxy() {
        let good = [
            (plan(Ask::Get, None), Outcome::Answered { status: 200 }),
            (plan(POST, None), Outcome::Answered { status: 200 }),
        ];
        let spoilt = [
            (plan(Ask::Get, Some(Misdeed::Reset)), Outcome::Refused { status: 502 }),
            (plan(POST, Some(Misdeed::HalfBody)), Outcome::Cut),
            (plan(POST, None), Outcome::Unreached),
            (plan(Ask::Head, None), Outcome::Left),
        ];
        check(&[good.as_slice(), &spoilt].concat(), Counts::default(), &[]);
    }

    #[test]
    fn each_fault_has_its_condition() {
        let good = [
            (plan(Ask::Get, None), Outcome::Answered { status: 200 }),
            (plan(POST, None), Outcome::Answered { status: 200 }),
        ];
        let with = |ask, misdeed, outcome| [good.as_slice(), &[(plan(ask, misdeed), outcome)]].concat();
        let spoilt = Some(Misdeed::Extra);
        let foreign = with(Ask::Get, spoilt, Outcome::Foreign("x".to_owned()));
        check(&foreign, Counts::default(), &["no client got"]);
        let short = with(Ask::Get, spoilt, Outcome::Misframed("x".to_owned()));
        check(&short, Counts::default(), &["no part of an answer"]);
        let blamed = with(Ask::Get, spoilt, Outcome::Refused { status: 400 });
        check(&blamed, Counts::default(), &["no request was blamed"]);
        check(
            &with(POST, spoilt, Outcome::Hung),
            Counts::default(),
            &["no exchange hung"],
        );
        check(
            &with(Ask::Head, None, Outcome::Cut),
            Counts::default(),
            &["GET and HEAD"],
        );
        check(
            &with(POST, None, Outcome::Refused { status: 502 }),
            Counts::default(),
            &["POST"],
        );
        let counts = Counts {
            duplicate_posts: 1,
            foreign_bodies: 1,
            misframed: 1,
            ..Counts::default()
        };
        check(
            &good,
            counts,
            &["no backend got", "no part of a request", "no POST was sent twice"],
        );
    }
}
