//! Who gets what: flagd's `if`s, in each other or not, as one list in which the first that holds decides.

use super::conditions::is_boolean;
use super::division::Division;
use super::dnf::{ALTERNATIVES_MAX, Dnf, TooLong};
use super::json::{Node, Path};
use super::operand::Constant;
use super::reader::{Operation, Reader};

/// Users, and what they get.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Branch {
    /// Who; of those whom no branch before it holds for.
    pub(super) who: Dnf,
    /// What they get.
    pub(super) outcome: Outcome,
}

/// What users get.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// All the variant with this index.
    Variant(usize),
    /// They divide.
    Divided(Division),
}

impl<'f> Reader<'f> {
    /// Who gets what by `node`. The last branch holds for everybody.
    pub(super) fn branches(&mut self, node: &'f Node, at: &Path<'_>) -> Option<Vec<Branch>> {
        if let Some(constant) = Constant::of(node) {
            let variant = self.variant(constant, at)?;
            return Some(vec![everybody(Outcome::Variant(variant))]);
        }
        self.resolved(node, at, |reader, node, at| {
            let Some(Operation { name, arguments }) = Operation::of(node) else {
                return reader.say(at, "is no variant", "name a variant, or write one operation");
            };
            let here = at.member(name);
            match name {
                "if" | "?:" => reader.cases(arguments, &here),
                "fractional" => {
                    let division = reader.division(arguments, &here)?;
                    Some(vec![everybody(Outcome::Divided(division))])
                }
                "fractionalEvaluation" => reader.say(
                    at,
                    "is the form of the first versions of flagd",
                    "write it as `fractional`",
                ),
                _ if is_boolean(node) => reader.truth_of(node, at),
                _ => reader.say(
                    at,
                    format!("the variant is what `{name}` computes"),
                    "name the variants, with `if` or `fractional` before them",
                ),
            }
        })
    }

    /// Pairs of a condition and what follows from it, then what follows otherwise: nothing, if it is not there.
    fn cases(&mut self, arguments: &'f [Node], here: &Path<'_>) -> Option<Vec<Branch>> {
        let mut all = Some(Vec::new());
        let mut alternatives = 0;
        for (index, case) in arguments.chunks(2).enumerate() {
            let at = 2 * index;
            let (who, then) = match case {
                [who, then] => (
                    self.condition(who, &here.item(at), true),
                    self.branches(then, &here.item(at + 1)),
                ),
                [otherwise, ..] => (Some(Dnf::constant(true)), self.branches(otherwise, &here.item(at))),
                [] => (None, None),
            };
            // What is said of the later cases is of use, too.
            let (Some(who), Some(then), Some(branches)) = (who, then, all.as_mut()) else {
                all = None;
                continue;
            };
            for branch in then {
                let who = self.bounded(here, who.and(&branch.who))?;
                alternatives += who.alternatives().len();
                if alternatives > ALTERNATIVES_MAX + 1 {
                    return self.bounded(here, Err(TooLong));
                }
                if !who.alternatives().is_empty() {
                    branches.push(Branch { who, ..branch });
                }
            }
        }
        let mut all = all?;
        if arguments.len().is_multiple_of(2) {
            all.push(everybody(Outcome::Variant(self.default_variant(here)?)));
        }
        Some(all)
    }

    /// A condition in the place of a variant: true and false name variants.
    fn truth_of(&mut self, node: &'f Node, at: &Path<'_>) -> Option<Vec<Branch>> {
        let who = self.condition(node, at, true)?;
        let held = self.variant(Constant::Bool(true), at)?;
        let otherwise = self.variant(Constant::Bool(false), at)?;
        Some(vec![
            Branch {
                who,
                outcome: Outcome::Variant(held),
            },
            everybody(Outcome::Variant(otherwise)),
        ])
    }
}

fn everybody(outcome: Outcome) -> Branch {
    Branch {
        who: Dnf::constant(true),
        outcome,
    }
}
