//! Conditions of cohorts: one test each, and none that contradicts another.

use super::matches::value_regex;
use crate::config::file::Tests;
use crate::config::read::Reader;
use crate::config::tree::NodeId;
use crate::route::{Comparison, Condition, FieldTest, Origin};

/// A condition of a cohort, and where it stands.
pub(super) type Placed = (NodeId, Condition);

/// The condition at `at` on the value `name` of `origin`; `None` when it does not come about, which is then reported.
pub(super) fn condition(
    at: NodeId,
    (origin, name): (Origin, &str),
    tests: Tests<'_>,
    reader: &mut Reader<'_>,
) -> Option<Placed> {
    let given = given(&tests);
    match given.as_slice() {
        [_] => {}
        [] => {
            reader.refuse(at, format!("tests nothing; give one of {TESTS}"));
            return None;
        }
        several => {
            let several = several.join(" and ");
            reader.refuse(at, format!("has several tests, {several}; keep one"));
            return None;
        }
    }
    let condition = Condition {
        origin,
        name: name.to_owned(),
        test: test(&tests, reader)?,
        negated: tests.not.known_or(false)?,
    };
    Some((at, condition))
}

/// Reports conditions that nobody can satisfy together with an earlier one.
pub(super) fn check_contradictions(conditions: &[Placed], reader: &mut Reader<'_>) {
    for (i, (at, later)) in conditions.iter().enumerate() {
        if let Some((first, _)) = conditions[..i].iter().find(|(_, earlier)| earlier.excludes(later)) {
            let line = reader.tree.get(*first).place.0;
            let message =
                format!("contradicts the condition on line {line}, so that nobody can belong; remove one of them");
            reader.refuse(*at, message);
        }
    }
}

/// The keys of the tests that are written.
fn given(tests: &Tests<'_>) -> Vec<&'static str> {
    let left_out = [
        tests.exact.left_out,
        tests.prefix.left_out,
        tests.suffix.left_out,
        tests.contains.left_out,
        tests.regex.left_out,
        tests.present.left_out,
        tests.one_of.left_out,
        tests.sem_ver.left_out,
        tests.less_than.left_out,
        tests.less_or_equal.left_out,
        tests.greater_than.left_out,
        tests.greater_or_equal.left_out,
    ];
    let keys = TESTS.split(", ").zip(left_out);
    keys.filter(|(_, left_out)| !left_out).map(|(key, _)| key).collect()
}

fn test(tests: &Tests<'_>, reader: &mut Reader<'_>) -> Option<FieldTest> {
    if let Some(text) = tests.regex.get() {
        return value_regex(tests.regex.at, text, reader);
    }
    let texts = || {
        let list = tests.one_of.get()?;
        list.as_ref()
            .iter()
            .map(|slot| slot.get().cloned())
            .collect::<Option<_>>()
    };
    let numbers = [
        (tests.less_than, Comparison::Less),
        (tests.less_or_equal, Comparison::LessOrEqual),
        (tests.greater_than, Comparison::Greater),
        (tests.greater_or_equal, Comparison::GreaterOrEqual),
    ];
    let number = || {
        numbers
            .iter()
            .find_map(|(slot, how)| Some(FieldTest::Number(*how, slot.value?.0)))
    };
    let exact = tests.exact.get().map(|text| FieldTest::Exact(text.clone()));
    exact
        .or_else(|| tests.prefix.get().map(|text| FieldTest::Prefix(text.0.clone())))
        .or_else(|| tests.suffix.get().map(|text| FieldTest::Suffix(text.0.clone())))
        .or_else(|| tests.contains.get().map(|text| FieldTest::Contains(text.0.clone())))
        .or_else(|| tests.present.value.map(FieldTest::Present))
        .or_else(|| texts().map(FieldTest::OneOf))
        .or_else(|| tests.sem_ver.get().map(|version| version.0.clone()))
        .or_else(number)
}

/// The keys of all tests, in the order of [`given`].
const TESTS: &str = "exact, prefix, suffix, contains, regex, present, oneOf, semVer, lessThan, lessOrEqual, \
                     greaterThan, greaterOrEqual";
