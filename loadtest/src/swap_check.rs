//! What the clients of scenario `swap` saw, and whether it is what must hold. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::backend::BODY_BYTES;
use crate::client::{Answer, Broken};
use crate::report::Condition;
use crate::stats::deviations;

/// Weights of stable and canary in the file.
pub(crate) const WEIGHTS_AT_START: [u32; 2] = [50, 50];

/// Weights that are set by hand in turn.
pub(crate) const WEIGHTS_BY_HAND: [[u32; 2]; 2] = [[30, 70], [70, 30]];

/// A split further away than this is a fault: by chance it happens once in 1.7 million tests.
const DEVIATIONS_MAX: f64 = 5.0;

/// The least part of the asked changes that has to be made for the run to count.
const CHANGES_MADE_MIN: f64 = 0.95;

/// The first faults are kept in words, the others only counted.
const EXAMPLES_MAX: usize = 5;

/// One change that was asked of the admin API.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// The generation from which these weights of stable and canary count; `None` for a reload.
    pub(crate) weights: Option<(u64, [u32; 2])>,
    /// Why it was refused.
    pub(crate) refused: Option<String>,
}

/// What one answer shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Observation {
    /// Whole, from this generation, and from the canary or not.
    Good {
        /// The only `x-serin-generation`.
        generation: u64,
        /// Whether the canary answered.
        canary: bool,
    },
    /// A status or body that is not the backend's.
    Failed(String),
    /// Not exactly one generation, or a variant that did not answer.
    Mislabelled(String),
}

/// All that the clients saw.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Connections that lasted until the end.
    pub(crate) connections_kept: u64,
    connections_dropped: u64,
    failed: u64,
    mislabelled: u64,
    generations_fallen: u64,
    /// Answers of stable and canary by generation.
    answers: BTreeMap<u64, [u64; 2]>,
    examples: Vec<String>,
}

impl Observation {
    /// Judges one answer by itself.
    pub(crate) fn of(answer: &Answer<'_>) -> Self {
        if answer.status != 200 || answer.body.len() != BODY_BYTES {
            return Self::Failed(format!("status {}, {} bytes of body", answer.status, answer.body.len()));
        }
        let Some(generation) = answer
            .only_value("x-serin-generation")
            .and_then(|value| value.parse().ok())
        else {
            let values: Vec<&str> = answer.values("x-serin-generation").collect();
            return Self::Mislabelled(format!("x-serin-generation {values:?}"));
        };
        match (answer.only_value("x-serin-variant"), answer.only_value("x-served-by")) {
            (Some("stable"), Some("stable")) => Self::Good {
                generation,
                canary: false,
            },
            (Some("canary"), Some("canary")) => Self::Good {
                generation,
                canary: true,
            },
            (named, served) => Self::Mislabelled(format!("names variant {named:?}, served by {served:?}")),
        }
    }
}

impl Ledger {
    /// Records one answer on a connection whose last generation was `last`; answers the last one from now on.
    pub(crate) fn record(&mut self, observation: &Observation, last: u64) -> u64 {
        match observation {
            Observation::Good { generation, canary } => {
                self.answers.entry(*generation).or_default()[usize::from(*canary)] += 1;
                if *generation < last {
                    self.generations_fallen += 1;
                    self.keep_example(format!("generation {generation} after {last}"));
                }
                last.max(*generation)
            }
            Observation::Failed(what) => {
                self.failed += 1;
                self.keep_example(what.clone());
                last
            }
            Observation::Mislabelled(what) => {
                self.mislabelled += 1;
                self.keep_example(what.clone());
                last
            }
        }
    }

    /// Records a request without a whole answer; its connection is lost with it.
    pub(crate) fn record_broken(&mut self, error: &Broken) {
        self.failed += 1;
        self.connections_dropped += 1;
        self.keep_example(error.to_string());
    }

    /// Everything that must hold, with its figures.
    pub(crate) fn conditions(&self, changes: &[Change], asked: u64, seconds: u32) -> Vec<Condition> {
        let condition = |name: &str, held, figures| Condition {
            name: name.to_owned(),
            held,
            figures,
        };
        let good: u64 = self.answers.values().flatten().sum();
        let rate = good / u64::from(seconds.max(1));
        let examples = if self.examples.is_empty() {
            String::new()
        } else {
            format!(": {}", self.examples.join("; "))
        };
        let refused: Vec<&String> = changes.iter().filter_map(|change| change.refused.as_ref()).collect();
        let first_refusal = refused.first().map(|text| format!(": {text}")).unwrap_or_default();
        let made = changes.len() - refused.len();
        let mut conditions = vec![
            condition(
                "no request failed",
                self.failed == 0 && good > 0,
                format!(
                    "{} of {} ({rate} req/s){examples}",
                    self.failed,
                    good + self.failed + self.mislabelled
                ),
            ),
            condition(
                "no connection was dropped",
                self.connections_dropped == 0 && self.connections_kept > 0,
                format!(
                    "{} dropped, {} kept for the whole run",
                    self.connections_dropped, self.connections_kept
                ),
            ),
            condition(
                "each answer has one generation and the variant that served it",
                self.mislabelled == 0,
                format!("{} wrong, {} generations seen", self.mislabelled, self.answers.len()),
            ),
            condition(
                "generations never fall on a connection",
                self.generations_fallen == 0,
                format!("{} times", self.generations_fallen),
            ),
            condition(
                "no change was refused",
                refused.is_empty(),
                format!("{} refused{first_refusal}", refused.len()),
            ),
            condition(
                "changes kept their rate",
                made as f64 >= CHANGES_MADE_MIN * asked as f64,
                format!("{made} of {asked} made"),
            ),
        ];
        for (weights, answers) in self.answers_by_weights(changes) {
            let (hits, trials) = (answers[1], answers[0] + answers[1]);
            let expected = f64::from(weights[1]) / f64::from(weights[0] + weights[1]);
            let away = deviations(hits, trials, expected);
            conditions.push(condition(
                &format!("the split follows weights {}/{}", weights[0], weights[1]),
                away.abs() <= DEVIATIONS_MAX,
                format!(
                    "canary got {hits} of {trials}, {away:+.2} standard deviations from {:.0} %",
                    expected * 100.0
                ),
            ));
        }
        conditions
    }

    /// The totals as JSON.
    pub(crate) fn totals(&self, changes: &[Change]) -> Value {
        let by_weights: Vec<Value> = self
            .answers_by_weights(changes)
            .into_iter()
            .map(|(weights, answers)| json!({ "weights": weights, "answers": answers }))
            .collect();
        json!({
            "failedRequests": self.failed,
            "connectionsKept": self.connections_kept,
            "connectionsDropped": self.connections_dropped,
            "mislabelled": self.mislabelled,
            "generationsFallen": self.generations_fallen,
            "generationsSeen": self.answers.len(),
            "changes": changes.len(),
            "answersByWeights": by_weights,
            "examples": self.examples,
        })
    }

    /// Answers of stable and canary by the weights of their generation: those of the newest change not above it. Reloads make
    /// generations too, and leave the weights as they are.
    fn answers_by_weights(&self, changes: &[Change]) -> BTreeMap<[u32; 2], [u64; 2]> {
        let by_generation: BTreeMap<u64, [u32; 2]> = changes.iter().filter_map(|change| change.weights).collect();
        let mut sums: BTreeMap<[u32; 2], [u64; 2]> = BTreeMap::new();
        for (generation, answers) in &self.answers {
            let weights = by_generation
                .range(..=generation)
                .next_back()
                .map_or(WEIGHTS_AT_START, |(_, weights)| *weights);
            let sum = sums.entry(weights).or_default();
            sum[0] += answers[0];
            sum[1] += answers[1];
        }
        sums
    }

    fn keep_example(&mut self, what: String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(generation: u64, canary: bool) -> Observation {
        Observation::Good { generation, canary }
    }

    fn set(generation: u64, weights: [u32; 2]) -> Change {
        Change {
            weights: Some((generation, weights)),
            refused: None,
        }
    }

    fn broken_rules(ledger: &Ledger, changes: &[Change], asked: u64) -> Vec<String> {
        ledger
            .conditions(changes, asked, 1)
            .into_iter()
            .filter(|condition| !condition.held)
            .map(|c| c.name)
            .collect()
    }

    fn ledger_with(answers: &[(u64, [u64; 2])]) -> Ledger {
        Ledger {
            connections_kept: 1,
            answers: answers.iter().copied().collect(),
            ..Ledger::default()
        }
    }

    #[test]
    fn generations_inherit_the_weights_of_the_newest_change() {
        let ledger = ledger_with(&[(4, [5, 5]), (6, [3, 7]), (7, [30, 70]), (9, [7, 3])]);
        let changes = [
            set(6, [30, 70]),
            Change {
                weights: None,
                refused: None,
            },
            set(8, [70, 30]),
        ];
        let expected = BTreeMap::from([([30, 70], [33, 77]), ([50, 50], [5, 5]), ([70, 30], [7, 3])]);
        assert_eq!(ledger.answers_by_weights(&changes), expected);
    }

    #[test]
    fn a_clean_run_holds_everything() {
        let ledger = ledger_with(&[(1, [500, 500]), (2, [3000, 7000])]);
        assert_eq!(broken_rules(&ledger, &[set(2, [30, 70])], 1), Vec::<String>::new());
    }

    #[test]
    fn a_split_that_ignores_a_change_is_found() {
        let ledger = ledger_with(&[(2, [5000, 5000])]);
        assert_eq!(
            broken_rules(&ledger, &[set(2, [30, 70])], 1),
            ["the split follows weights 30/70"]
        );
    }

    #[test]
    fn a_fallen_generation_is_found_and_the_highest_stays() {
        let mut ledger = ledger_with(&[]);
        assert_eq!(ledger.record(&good(5, false), 0), 5);
        assert_eq!(ledger.record(&good(4, true), 5), 5);
        assert_eq!(ledger.generations_fallen, 1);
    }

    #[test]
    fn a_broken_connection_is_a_failed_request_too() {
        let mut ledger = ledger_with(&[(1, [10, 10])]);
        ledger.record_broken(&Broken::Late);
        assert_eq!(
            broken_rules(&ledger, &[], 0),
            ["no request failed", "no connection was dropped"]
        );
    }

    #[test]
    fn nothing_done_holds_nothing() {
        let broken = broken_rules(&Ledger::default(), &[], 100);
        assert_eq!(
            broken,
            [
                "no request failed",
                "no connection was dropped",
                "changes kept their rate"
            ]
        );
    }
}
