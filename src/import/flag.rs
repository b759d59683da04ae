//! One flag of flagd: its parts read, and put together as cohorts and weights.

use serde_json::Value as Json;

use super::branches::{Branch, Outcome};
use super::cohorts::{Gathered, gather, one_bucketing, one_order};
use super::division::{Bucketing, Division};
use super::dnf::Dnf;
use super::flagd::{Gap, metadata};
use super::json::{Node, Path};
use super::reader::Reader;
use super::schedule::Times;
use crate::name::Name;
use crate::route::{Condition, KeySource};
use crate::share::shares;

/// Variants of one flag.
const VARIANTS_MAX: usize = 100;
/// Objects and lists in each other in a value: a configuration bounds how deep it is as a whole.
const VALUE_DEPTH_MAX: usize = 20;

/// A flag in the words of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Flag {
    pub(super) name: String,
    /// The attribute that is the key; `None`: the targeting key.
    pub(super) key: Option<String>,
    pub(super) salt: String,
    pub(super) enabled: bool,
    pub(super) times: Times,
    pub(super) default: Option<String>,
    /// With their weights and values, in the order in which they lie side by side.
    pub(super) variants: Vec<(String, u32, Json)>,
    pub(super) cohorts: Vec<Cohort>,
    /// Whether users are placed by another hash than in flagd.
    pub(super) moves_users: bool,
}

/// A cohort in the words of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cohort {
    pub(super) name: String,
    /// Why it is there, where its conditions do not say so.
    pub(super) why: Option<&'static str>,
    /// All must hold.
    pub(super) conditions: Vec<Condition>,
    pub(super) to: To,
}

/// Where a cohort leads.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum To {
    Variant(String),
    Fractional(Vec<(String, u32)>),
}

/// The flag `key`, unless it must be left out, and what was not converted.
pub(super) fn convert(key: &str, node: &Node, evaluators: Option<&Node>) -> (Option<Flag>, Vec<Gap>) {
    let root = Root { node, key };
    let mut reader = Reader::new(key, root.variant_names(), root.default(), evaluators);
    let flag = read(&root, &mut reader);
    (flag, reader.gaps)
}

/// What flagd says of a flag.
struct Root<'f> {
    node: &'f Node,
    key: &'f str,
}

impl<'f> Root<'f> {
    fn variants(&self) -> &'f [(String, Node)] {
        match self.node.get("variants") {
            Some(Node::Object(members)) => members,
            _ => &[],
        }
    }

    fn variant_names(&self) -> Vec<&'f str> {
        self.variants().iter().map(|(name, _)| name.as_str()).collect()
    }

    fn default(&self) -> Option<usize> {
        match self.node.get("defaultVariant") {
            Some(Node::Text(name)) => self.variants().iter().position(|(known, _)| known == name),
            _ => None,
        }
    }
}

fn read<'f>(root: &Root<'f>, reader: &mut Reader<'f>) -> Option<Flag> {
    let is_named = check_names(root, reader);
    let values = read_values(root, reader);
    let enabled = read_state(root, reader);
    check_members(root, reader);
    let path = Path::root("targeting", 0);
    let (times, branches) = match root.node.get("targeting") {
        None | Some(Node::Null) => (Some(Times::default()), untargeted(reader)),
        Some(Node::Object(members)) if members.is_empty() => (Some(Times::default()), untargeted(reader)),
        Some(targeting) => match reader.times(targeting, &path) {
            Some((times, inner)) => {
                let cases = path.member("if");
                (times, reader.branches(inner, &cases.item(1)))
            }
            None => (Some(Times::default()), reader.branches(targeting, &path)),
        },
    };
    let gathered = gather(branches?, reader, &path)?;
    let bucketing = one_bucketing(&gathered, reader, &path);
    let order = one_order(&gathered, reader, &path);
    let (times, bucketing, order, values, enabled) = (times?, bucketing?, order?, values?, enabled?);
    is_named.then(|| build(root, &gathered, bucketing, &order, values, (enabled, times)))
}

/// Without targeting all get the default variant.
fn untargeted(reader: &mut Reader<'_>) -> Option<Vec<Branch>> {
    let default = reader.default_variant(&Path::root("defaultVariant", 0))?;
    Some(vec![Branch {
        who: Dnf::constant(true),
        outcome: Outcome::Variant(default),
    }])
}

fn check_names(root: &Root<'_>, reader: &mut Reader<'_>) -> bool {
    let path = Path::root("variants", 0);
    if let Err(bad) = Name::new(root.key) {
        let _: Option<()> = reader.say(&Path::root("key", 0), bad.to_string(), "rename it");
    }
    for (name, _) in root.variants() {
        if let Err(bad) = Name::new(name) {
            let _: Option<()> = reader.say(&path, bad.to_string(), "rename it");
        }
    }
    let count = root.variants().len();
    if !(1..=VARIANTS_MAX).contains(&count) {
        let why = format!("has {count} variants");
        let _: Option<()> = reader.say(&path, why, "give it 1 to 100");
    }
    match root.node.get("defaultVariant") {
        Some(Node::Text(name)) if root.default().is_none() => {
            let why = format!("{name:?} is no variant of this flag");
            let _: Option<()> = reader.say(&Path::root("defaultVariant", 0), why, "name one of its variants");
        }
        _ => {}
    }
    reader.gaps.is_empty()
}

/// What the variants mean, all of one type.
fn read_values(root: &Root<'_>, reader: &mut Reader<'_>) -> Option<Vec<Json>> {
    let path = Path::root("variants", 0);
    let first = root.variants().first().map(|(_, value)| std::mem::discriminant(value));
    let mut values = Some(Vec::new());
    for (name, value) in root.variants() {
        let at = path.member(name);
        let refused = match value {
            Node::Null | Node::List(_) => Some((
                "is not true or false, a text, a number or an object",
                "put it into an object",
            )),
            _ if Some(std::mem::discriminant(value)) != first => Some((
                "is of another type than the first variant",
                "give all variants values of one type",
            )),
            _ if value.is_deeper_than(VALUE_DEPTH_MAX) => Some((
                "has objects or lists in each other more than 20 deep",
                "make it flatter",
            )),
            Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Object(_) => None,
        };
        match (refused, &mut values) {
            (Some((why, instead)), _) => values = reader.say(&at, why, instead),
            (None, Some(values)) => values.push(value.to_json()),
            (None, None) => {}
        }
    }
    values
}

fn read_state(root: &Root<'_>, reader: &mut Reader<'_>) -> Option<bool> {
    let path = Path::root("state", 0);
    match root.node.get("state") {
        Some(Node::Text(state)) if state == "ENABLED" => Some(true),
        Some(Node::Text(state)) if state == "DISABLED" => {
            let default = reader.default_variant(&path)?;
            let why = format!(
                "is DISABLED, so applications use the default in their code; here they get the value of {:?}",
                reader.variants[default]
            );
            let _: Option<()> = reader.say(&path, why, "make `defaultVariant` the one that means off");
            Some(false)
        }
        _ => reader.say(&path, "is neither ENABLED nor DISABLED", "write one of them"),
    }
}

fn check_members(root: &Root<'_>, reader: &mut Reader<'_>) {
    let Node::Object(members) = root.node else {
        return;
    };
    for (name, _) in members {
        match name.as_str() {
            "key" | "state" | "variants" | "defaultVariant" | "targeting" => {}
            "metadata" => reader.gaps.push(metadata(Some(root.key), &Path::root("metadata", 0))),
            other => {
                let why = format!("there is no {other:?} here");
                let _: Option<()> = reader.say(&Path::root("flag", 0), why, "leave it out");
            }
        }
    }
}

fn build(
    root: &Root<'_>,
    gathered: &Gathered,
    bucketing: Option<Bucketing>,
    order: &[usize],
    values: Vec<Json>,
    (enabled, times): (bool, Times),
) -> Flag {
    let name_of = |variant: usize| root.variants()[variant].0.clone();
    let weights = match &gathered.rest {
        Some(Outcome::Divided(division)) => weights_of(division, order.len()),
        Some(Outcome::Variant(only)) => (0..order.len())
            .map(|variant| 100 * u32::from(variant == *only))
            .collect(),
        None => vec![0; order.len()],
    };
    let cohorts = gathered
        .rules
        .iter()
        .zip(1..)
        .map(|((conditions, outcome, why), number)| Cohort {
            name: format!("rule-{number}"),
            why: *why,
            conditions: conditions.clone(),
            to: match outcome {
                Outcome::Variant(variant) => To::Variant(name_of(*variant)),
                Outcome::Divided(division) => {
                    let weights = weights_of(division, order.len());
                    let those = order.iter().filter(|&&variant| weights[variant] > 0);
                    To::Fractional(those.map(|&variant| (name_of(variant), weights[variant])).collect())
                }
            },
        });
    let bucketing_key = bucketing.as_ref().and_then(|bucketing| match &bucketing.source {
        KeySource::Attribute(name) => Some(name.clone()),
        _ => None,
    });
    Flag {
        name: root.key.to_owned(),
        key: bucketing_key,
        salt: bucketing
            .as_ref()
            .map_or_else(String::new, |bucketing| bucketing.salt.clone()),
        enabled,
        times,
        default: root.default().map(name_of),
        variants: order
            .iter()
            .map(|&variant| (name_of(variant), weights[variant], values[variant].clone()))
            .collect(),
        cohorts: cohorts.collect(),
        moves_users: bucketing.is_some_and(|bucketing| bucketing.moves_users),
    }
}

/// A weight for each of `count` variants: as written, or the parts per million that they come to where a
/// configuration takes none so large. The ranges are the same.
fn weights_of(division: &Division, count: usize) -> Vec<u32> {
    let mut weights = vec![0; count];
    for &(variant, weight) in &division.weights {
        weights[variant] = weight;
    }
    match weights.iter().max() {
        Some(&largest) if largest > crate::share::WEIGHT_MAX => {
            let mut in_order: Vec<u32> = division.weights.iter().map(|&(_, weight)| weight).collect();
            in_order = shares(&in_order).unwrap_or(in_order);
            for (&(variant, _), share) in division.weights.iter().zip(in_order) {
                weights[variant] = share;
            }
            weights
        }
        _ => weights,
    }
}
