//! Who gets what as a list of cohorts: those that nobody can reach are dropped, those without a key told apart.

use std::sync::LazyLock;

use regex::bytes::Regex;

use super::branches::{Branch, Outcome};
use super::conditions::present;
use super::division::{Bucketing, Division, Keyless};
use super::dnf::{ALTERNATIVES_MAX, Dnf, TooLong, implies};
use super::json::Path;
use super::order::common_order;
use super::reader::Reader;
use crate::route::{Condition, FieldTest, KeySource, Origin};

/// What was gathered of who gets what.
#[derive(Default)]
pub(super) struct Gathered {
    /// Conditions, and what who satisfies them gets; the first that holds decides.
    pub(super) rules: Vec<(Vec<Condition>, Outcome, Option<&'static str>)>,
    /// What everybody else gets.
    pub(super) rest: Option<Outcome>,
}

/// Cohorts in their order: those that no user can reach are dropped, and users without a key are told apart.
pub(super) fn gather(branches: Vec<Branch>, reader: &mut Reader<'_>, path: &Path<'_>) -> Option<Gathered> {
    let mut gathered = Gathered::default();
    'all: for branch in branches {
        for alternative in branch.who.alternatives() {
            if gathered.takes_all(alternative) {
                continue;
            }
            if let Outcome::Divided(division) = &branch.outcome {
                keyless(division, alternative, &mut gathered, reader, path)?;
            }
            if alternative.is_empty() {
                gathered.rest = Some(branch.outcome);
                break 'all;
            }
            gathered.rules.push((alternative.clone(), branch.outcome.clone(), None));
        }
    }
    match gathered.rules.len() {
        0..=ALTERNATIVES_MAX => Some(gathered),
        _ => reader.bounded(path, Err(TooLong)),
    }
}

/// flagd gives one variant to all users without a key, Serin draws lots: a cohort in front makes them agree.
fn keyless(
    division: &Division,
    members: &[Condition],
    gathered: &mut Gathered,
    reader: &mut Reader<'_>,
    path: &Path<'_>,
) -> Option<()> {
    let name = match &division.bucketing.source {
        KeySource::Attribute(name) => name.as_str(),
        _ => "targetingKey",
    };
    let (without, variant) = match division.bucketing.keyless {
        Keyless::Default => (present(name, false), reader.default_variant(path)?),
        Keyless::Hashed => (blank(name), division.variant_of_empty_key(reader.flag)?),
    };
    let has_key = |condition: &Condition| condition.name == name && !condition.negated && !condition.test.passes(b"");
    if members.iter().any(has_key) {
        return Some(());
    }
    let both = Dnf::all(members.iter().cloned().map(Dnf::of)).and_then(|members| members.and(&without));
    for conditions in reader.bounded(path, both)?.alternatives() {
        if !gathered.takes_all(conditions) {
            let why = "without a key flagd gives all of them the same";
            let rule = (conditions.clone(), Outcome::Variant(variant), Some(why));
            gathered.rules.push(rule);
        }
    }
    Some(())
}

/// Whoever has no such value, or an empty one.
fn blank(name: &str) -> Dnf {
    Dnf::of(Condition {
        origin: Origin::Attribute,
        name: name.to_owned(),
        test: FieldTest::Regex(NOT_BLANK.clone()),
        negated: true,
    })
}

/// A text that is not blank.
static NOT_BLANK: LazyLock<Regex> = LazyLock::new(|| Regex::new(NOT_BLANK_TEXT).expect("it is a regular expression"));

/// As a configuration has it.
pub(super) const NOT_BLANK_TEXT: &str = r"(?s).*\S.*";

impl Gathered {
    /// Whether a rule takes all whom these conditions would take.
    fn takes_all(&self, conditions: &[Condition]) -> bool {
        self.rules.iter().any(|(known, ..)| implies(conditions, known))
    }

    fn divisions(&self) -> impl Iterator<Item = &Division> {
        let outcomes = self.rules.iter().map(|(_, outcome, _)| outcome).chain(&self.rest);
        outcomes.filter_map(|outcome| match outcome {
            Outcome::Divided(division) => Some(division),
            Outcome::Variant(_) => None,
        })
    }
}

/// What all divisions hash; `None` inside: there is none.
#[allow(clippy::option_option, reason = "the outer one: whether there is one for all")]
pub(super) fn one_bucketing(
    gathered: &Gathered,
    reader: &mut Reader<'_>,
    path: &Path<'_>,
) -> Option<Option<Bucketing>> {
    let mut all = gathered.divisions().map(|division| &division.bucketing);
    let first = all.next();
    if all.all(|other| Some((&other.source, &other.salt)) == first.map(|first| (&first.source, &first.salt))) {
        return Some(first.cloned());
    }
    reader.say(
        path,
        "not every `fractional` hashes the same, and a flag here has one key and one salt",
        "make a flag of each",
    )
}

pub(super) fn one_order(gathered: &Gathered, reader: &mut Reader<'_>, path: &Path<'_>) -> Option<Vec<usize>> {
    let mut orders: Vec<Vec<usize>> = gathered
        .divisions()
        .map(|division| division.weights.iter().map(|&(variant, _)| variant).collect())
        .collect();
    orders.sort();
    orders.dedup();
    match common_order(reader.variants.len(), &orders) {
        Some(order) => Some(order),
        None => reader.say(
            path,
            "one `fractional` has the variants in another order than another one",
            "bring them into one order, or make a flag of each",
        ),
    }
}
