//! `fractional`: how users divide, and by what key.

use super::json::{Node, Path};
use super::operand::{Constant, Operand};
use super::reader::Reader;
use crate::route::{KeySource, bucket_of_key};

/// The largest weight, and the largest sum of weights, that flagd takes.
const WEIGHT_MAX: u64 = i32::MAX as u64;

/// How users divide among variants.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Division {
    /// Variants and their weights in the order of the file, each variant once. Their sum is above 0.
    pub(super) weights: Vec<(usize, u32)>,
    /// What is hashed.
    pub(super) bucketing: Bucketing,
}

/// What is hashed to place a user.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bucketing {
    /// Where the key stands.
    pub(super) source: KeySource,
    /// Between the flag's key and the user's.
    pub(super) salt: String,
    /// What becomes of users without a key.
    pub(super) keyless: Keyless,
    /// Whether flagd hashes something else, so that it places other users.
    pub(super) moves_users: bool,
}

/// What becomes of users without a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyless {
    /// They get the default variant.
    Default,
    /// An empty text is hashed in its place.
    Hashed,
}

/// What flagd hashes, as far as it was read.
struct Hashed<'f> {
    /// Constant text in front of the key.
    prefix: String,
    /// The attribute that is the key.
    name: &'f str,
    keyless: Keyless,
}

impl Division {
    /// The variant of users for whom an empty key is hashed, on the flag `flag`.
    pub(super) fn variant_of_empty_key(&self, flag: &str) -> Option<usize> {
        let bucket = u64::from(bucket_of_key(flag, self.bucketing.salt.as_bytes()));
        let sum: u64 = self.weights.iter().map(|&(_, weight)| u64::from(weight)).sum();
        let mut end = 0;
        let of_bucket = self.weights.iter().find(|&&(_, weight)| {
            end += u64::from(weight);
            bucket < end * 1_000_000 / sum
        });
        of_bucket.map(|&(variant, _)| variant)
    }
}

impl<'f> Reader<'f> {
    /// What `fractional` with these arguments says.
    pub(super) fn division(&mut self, arguments: &'f [Node], here: &Path<'_>) -> Option<Division> {
        let (hashed, weights, first) = match arguments {
            // What is a list is the first weight: then the targeting key is hashed, with the flag's key in front.
            [Node::List(_), ..] | [] => (Some(self.shorthand()), arguments, 0),
            [Node::Null, rest @ ..] => (Some(self.shorthand()), rest, 1),
            [key, rest @ ..] => (self.hashed(key, &here.item(0)), rest, 1),
        };
        let weights = self.weights(weights, first, here);
        let (hashed, weights) = (hashed?, weights?);
        let (salt, moves_users) = match hashed.prefix.strip_prefix(self.flag) {
            Some(salt) => (salt.to_owned(), false),
            None => {
                let before = match hashed.prefix.as_str() {
                    "" => "nothing".to_owned(),
                    prefix => format!("{prefix:?}"),
                };
                let why = format!(
                    "hashes {before} before `{}`, and not the flag's key: here variants have the same shares of the \
                     users, but other users",
                    hashed.name
                );
                let instead = "begin its first argument with {\"cat\": [{\"var\": \"$flagd.flagKey\"}, …]} while flagd still decides";
                // A loss, but no reason to leave the flag out.
                let _: Option<()> = self.say(here, why, instead);
                (hashed.prefix, true)
            }
        };
        self.short(here, &salt)?;
        let source = match hashed.name {
            "targetingKey" => KeySource::TargetingKey,
            name => KeySource::Attribute(name.to_owned()),
        };
        Some(Division {
            weights,
            bucketing: Bucketing {
                source,
                salt,
                keyless: hashed.keyless,
                moves_users,
            },
        })
    }

    fn shorthand(&self) -> Hashed<'f> {
        Hashed {
            prefix: self.flag.to_owned(),
            name: "targetingKey",
            keyless: Keyless::Default,
        }
    }

    fn hashed(&mut self, key: &'f Node, at: &Path<'_>) -> Option<Hashed<'f>> {
        self.resolved(key, at, |reader, key, at| {
            let parts = match key.only_member() {
                Some(("cat", parts)) => parts.items(),
                Some(("var", _)) => std::slice::from_ref(key),
                _ => {
                    return reader.say(
                        at,
                        "is no key: it has neither `var` nor `cat`",
                        "write {\"cat\": [{\"var\": \"$flagd.flagKey\"}, {\"var\": \"NAME\"}]}",
                    );
                }
            };
            let is_cat = key.get("cat").is_some();
            let mut prefix = String::new();
            let mut name = None;
            for (index, part) in parts.iter().enumerate() {
                let list = at.member("cat");
                let place = list.item(index);
                match (reader.operand(part, if is_cat { &place } else { at })?, name) {
                    (Operand::Constant(constant), None) => prefix.push_str(&constant.text().unwrap_or_default()),
                    (Operand::Value(value), None) if value.default.is_none() => name = Some(value.name),
                    _ => {
                        return reader.say(
                            &place,
                            "only constant texts can be hashed, and then one attribute",
                            "let the application send the whole key as one attribute",
                        );
                    }
                }
            }
            match name {
                Some(name) => Some(Hashed {
                    prefix,
                    name,
                    keyless: if is_cat { Keyless::Hashed } else { Keyless::Default },
                }),
                None => reader.say(
                    at,
                    "is the same for all users: all get the same variant",
                    "name that variant",
                ),
            }
        })
    }

    fn weights(&mut self, entries: &'f [Node], first: usize, here: &Path<'_>) -> Option<Vec<(usize, u32)>> {
        let mut weights: Vec<(usize, u32)> = Vec::new();
        let mut sum = 0;
        for (index, entry) in entries.iter().enumerate() {
            let at = here.item(first + index);
            let (variant, weight) = match entry {
                Node::List(pair) => match pair.as_slice() {
                    [variant] => (variant, Some(1)),
                    [variant, weight] => (variant, whole(weight)),
                    _ => return self.say(&at, "is no pair of a variant and its weight", "write [\"NAME\", 50]"),
                },
                _ => return self.say(&at, "is no pair of a variant and its weight", "write [\"NAME\", 50]"),
            };
            let Some(weight) = weight.filter(|&weight| weight <= WEIGHT_MAX - sum) else {
                return self.say(
                    &at,
                    format!("the weight is no constant whole number, or the weights come to more than {WEIGHT_MAX}"),
                    "write whole numbers, and one `fractional` for each case",
                );
            };
            sum += weight;
            let variant = match Constant::of(variant) {
                Some(constant) => self.variant(constant, &at.item(0))?,
                None => {
                    return self.say(
                        &at.item(0),
                        "the variant is computed",
                        "write one `fractional` for each case",
                    );
                }
            };
            let weight = u32::try_from(weight).unwrap_or(u32::MAX);
            let known = weights.iter().position(|(known, _)| *known == variant);
            match known {
                _ if weight == 0 => {}
                None => weights.push((variant, weight)),
                Some(last) if last + 1 == weights.len() => weights[last].1 += weight,
                Some(_) => {
                    return self.say(
                        &at,
                        "this variant has a share before, and another one between them",
                        "give it one share",
                    );
                }
            }
        }
        if sum == 0 {
            return self.say(here, "the weights come to 0", "give one of them a weight above 0");
        }
        Some(weights)
    }

    /// The index of the variant that `constant` names; null means the default.
    pub(super) fn variant(&mut self, constant: Constant<'f>, at: &Path<'_>) -> Option<usize> {
        let Some(name) = constant.text() else {
            return self.default_variant(at);
        };
        match self.variants.iter().position(|known| **known == name) {
            Some(index) => Some(index),
            None => self.say(
                at,
                format!("{name:?} is no variant of this flag"),
                "name one of its variants",
            ),
        }
    }
}

/// A whole number, 0 or more.
fn whole(node: &Node) -> Option<u64> {
    match node {
        Node::Number(number) => number.as_u64().or_else(|| {
            let value = number.as_f64().filter(|value| value.fract() == 0.0)?;
            (0.0..=WEIGHT_MAX as f64).contains(&value).then_some(value as u64)
        }),
        // flagd takes a weight that is null for one that is not written.
        Node::Null => Some(1),
        _ => None,
    }
}
