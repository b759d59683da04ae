//! Weights as people post them and as names carry them. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::view::Entry;
use crate::config::{FlagVariant, Variant};
use crate::name::Name;
use crate::share::WEIGHT_MAX;

/// A weight for each variant by name: names outlive the order of the file.
pub(super) type Weights = BTreeMap<Name, u32>;

/// The longest name that a configuration may give.
const NAME_MAX: usize = 63;

/// What has a name and a weight in the file: a variant of a route, or of a flag without one.
pub(super) trait Weighed {
    fn name(&self) -> &Name;
    fn weight(&self) -> u32;
}

impl Weighed for Variant {
    fn name(&self) -> &Name {
        &self.name
    }

    fn weight(&self) -> u32 {
        self.weight
    }
}

impl Weighed for FlagVariant {
    fn name(&self) -> &Name {
        &self.name
    }

    fn weight(&self) -> u32 {
        self.weight
    }
}

/// The weights that the file declares.
pub(super) fn declared(variants: &[impl Weighed]) -> Weights {
    by_name(variants, variants.iter().map(Weighed::weight))
}

/// `weights`, which are in file order, by name.
pub(super) fn by_name(variants: &[impl Weighed], weights: impl IntoIterator<Item = u32>) -> Weights {
    let names = variants.iter().map(|variant| variant.name().clone());
    names.zip(weights).collect()
}

/// `weights` in file order. A variant that they do not name gets 0; when nothing is left, the file's.
pub(super) fn in_file_order(variants: &[impl Weighed], weights: &Weights) -> Vec<u32> {
    let ordered: Vec<u32> = variants
        .iter()
        .map(|variant| weights.get(variant.name()).copied().unwrap_or(0))
        .collect();
    if ordered.iter().all(|&weight| weight == 0) {
        return variants.iter().map(Weighed::weight).collect();
    }
    ordered
}

/// In words: `stable=90 canary=10`.
pub(super) fn in_words(variants: &[impl Weighed], weights: &[u32]) -> String {
    let parts: Vec<String> = variants
        .iter()
        .zip(weights)
        .map(|(variant, weight)| format!("{}={weight}", variant.name()))
        .collect();
    parts.join(" ")
}

/// Checks weights as posted: every variant named once, each a whole number from 0 to 1,000,000,
/// their sum above 0. The answer is in file order.
///
/// # Errors
/// Every problem, each with its field.
pub(super) fn check_posted(variants: &[impl Weighed], posted: &[(String, Value)]) -> Result<Vec<u32>, Vec<Entry>> {
    let mut problems = Vec::new();
    let names = || variants.iter().map(|variant| variant.name().as_str());
    let list = || names().collect::<Vec<_>>().join(", ");
    let mut found: BTreeMap<&str, Option<u32>> = BTreeMap::new();
    for (name, value) in posted {
        let path = format!("weights.{name}");
        if !names().any(|known| known == name) {
            let hint = nearest(name, names()).map_or_else(
                || format!("the split has {}", list()),
                |near| format!("did you mean `{near}`?"),
            );
            problems.push(problem(path, format!("no such variant; {hint}")));
            continue;
        }
        let weight = weight_of(value);
        if found.insert(name, weight.as_ref().ok().copied()).is_some() {
            problems.push(problem(path, "named twice; once is enough".to_owned()));
        } else if let Err(message) = weight {
            problems.push(problem(path, message));
        }
    }
    for name in names().filter(|name| !found.contains_key(name)) {
        problems.push(problem(
            format!("weights.{name}"),
            format!("missing; name every variant of the split: {}", list()),
        ));
    }
    let weights: Vec<u32> = names().filter_map(|name| found.get(name).copied().flatten()).collect();
    if problems.is_empty() && weights.iter().all(|&weight| weight == 0) {
        let message = "the weights add up to 0; give at least one variant a weight above 0";
        problems.push(problem("weights".to_owned(), message.to_owned()));
    }
    if problems.is_empty() {
        Ok(weights)
    } else {
        Err(problems)
    }
}

/// A problem of one field of a body.
fn problem(path: String, message: String) -> Entry {
    Entry {
        place: String::new(),
        path,
        message,
    }
}

fn weight_of(value: &Value) -> Result<u32, String> {
    let range = format!("use a whole number from 0 to {WEIGHT_MAX}");
    let Some(number) = value.as_number() else {
        return Err(format!("not a number; {range}"));
    };
    match (number.as_u64(), number.as_i64()) {
        (Some(weight), _) => u32::try_from(weight)
            .ok()
            .filter(|&weight| weight <= WEIGHT_MAX)
            .ok_or_else(|| format!("{weight} is too large; {range}")),
        (None, Some(weight)) => Err(format!("{weight} is negative; {range}")),
        (None, None) => Err(format!("{number} is not a whole number; {range}")),
    }
}

/// The known name that was probably meant. A text too long for a name meant none.
fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    known
        .filter(|_| name.len() <= NAME_MAX)
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|&(distance, candidate)| distance <= candidate.len().max(name.len()) / 3 + 1)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::{Weights, by_name, check_posted, declared, in_file_order, in_words};
    use crate::config::Variant;
    use crate::name::Name;
    use serde_json::json;

    fn variants() -> Vec<Variant> {
        [("stable", 90), ("canary", 10)]
            .map(|(name, weight)| Variant {
                name: Name::new(name).unwrap(),
                backend: 0,
                weight,
                value: None,
            })
            .into()
    }

    /// `expected`: the weights, or `field: beginning of the message` for each problem.
    #[track_caller]
    fn check(body: serde_json::Value, expected: Result<&[u32], &[&str]>) {
        let posted: Vec<_> = body.as_object().unwrap().clone().into_iter().collect();
        match (check_posted(&variants(), &posted), expected) {
            (Ok(weights), Ok(expected)) => assert_eq!(weights, expected),
            (Err(problems), Err(expected)) => {
                let lines: Vec<_> = problems
                    .iter()
                    .map(|problem| format!("{}: {}", problem.path, problem.message))
                    .collect();
                assert_eq!(lines.len(), expected.len(), "{lines:?}");
                for (line, expected) in lines.iter().zip(expected) {
                    assert!(line.contains(expected), "{line:?} lacks {expected:?}");
                }
            }
            (got, expected) => panic!("{body}: {got:?}, not {expected:?}"),
        }
    }

    #[test]
    fn whole_weights_for_every_variant_are_taken_in_file_order() {
        check(json!({"canary": 10, "stable": 90}), Ok(&[90, 10]));
        check(json!({"stable": 0, "canary": 1_000_000}), Ok(&[0, 1_000_000]));
    }

    #[test]
    fn every_bad_field_is_named() {
        check(json!({"stable": 1}), Err(&["weights.canary: missing"]));
        check(json!({}), Err(&["weights.stable: missing", "weights.canary: missing"]));
        check(
            json!({"stable": 1, "canary": 2, "canery": 3}),
            Err(&["weights.canery: no such variant; did you mean `canary`?"]),
        );
        check(
            json!({"stable": 1, "canary": 2, "x": 3}),
            Err(&["weights.x: no such variant; the split has stable, canary"]),
        );
        check(
            json!({"stable": -1, "canary": 1.5}),
            Err(&["weights.canary: 1.5 is not a whole", "weights.stable: -1 is negative"]),
        );
        check(
            json!({"stable": 1_000_001, "canary": "10"}),
            Err(&["weights.canary: not a number", "weights.stable: 1000001 is too large"]),
        );
        check(
            json!({"stable": 1, "canary": 10.0}),
            Err(&["weights.canary: 10.0 is not"]),
        );
        check(json!({"stable": 1, "canary": u64::MAX}), Err(&["is too large"]));
        check(json!({"stable": 1, "canary": null}), Err(&["not a number"]));
        check(
            json!({"stable": 0, "canary": 0}),
            Err(&["weights: the weights add up to 0"]),
        );
    }

    #[test]
    fn a_name_given_twice_is_a_problem() {
        let posted = [("stable", 1), ("canary", 1), ("canary", 2)].map(|(name, n)| (name.to_owned(), json!(n)));
        assert_eq!(
            check_posted(&variants(), &posted).unwrap_err()[0].path,
            "weights.canary"
        );
    }

    #[test]
    fn weights_by_name_survive_another_order_of_the_file() {
        let mut turned = variants();
        turned.reverse();
        assert_eq!(in_file_order(&turned, &declared(&variants())), [10, 90]);
        assert_eq!(declared(&turned), declared(&variants()));
    }

    #[test]
    fn a_variant_without_a_weight_gets_none_and_nothing_at_all_is_the_file() {
        let only_canary = by_name(&variants()[1..], [7]);
        assert_eq!(in_file_order(&variants(), &only_canary), [0, 7]);
        assert_eq!(in_file_order(&variants(), &Weights::new()), [90, 10]);
        assert_eq!(in_words(&variants(), &[1, 2]), "stable=1 canary=2");
    }
}
