//! JSON with its members in the order of the file, and the way to a place in it.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value as Json};

/// A JSON value whose members keep their order. No object has a member twice.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// Reads one JSON value. The parser bounds how deep it may be.
///
/// # Errors
/// What is no JSON, or has a member twice, with line and column.
pub(super) fn parse(text: &[u8]) -> Result<Node, serde_json::Error> {
    serde_json::from_slice(text)
}

impl Node {
    /// The member `name` of an object.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(known, _)| known == name).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The only member of an object.
    pub(super) fn only_member(&self) -> Option<(&str, &Self)> {
        match self {
            Self::Object(members) => match members.as_slice() {
                [(name, node)] => Some((name, node)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The items of a list; what is none stands for a list of itself alone.
    pub(super) fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            one => std::slice::from_ref(one),
        }
    }

    /// The same for who does not care for the order.
    pub(super) fn to_json(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Number(number) => Json::Number(number.clone()),
            Self::Text(text) => Json::String(text.clone()),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Object(members) => members
                .iter()
                .map(|(name, node)| (name.clone(), node.to_json()))
                .collect(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number is not finite"))?;
        Ok(Node::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Node, A::Error> {
        let mut known = HashSet::new();
        let mut members = Vec::new();
        while let Some(name) = object.next_key::<String>()? {
            if !known.insert(name.clone()) {
                return Err(A::Error::custom(format_args!(
                    "the member {name:?} is written twice; keep one"
                )));
            }
            members.push((name, object.next_value()?));
        }
        Ok(Node::Object(members))
    }
}

/// The way to a value: members and items, from a root that has a name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path<'p> {
    before: Option<&'p Path<'p>>,
    step: Step<'p>,
    /// How many steps there were, also in front of the root.
    pub(super) depth: usize,
}

#[derive(Clone, Copy, Debug)]
enum Step<'p> {
    Member(&'p str),
    Item(usize),
}

impl<'p> Path<'p> {
    /// A root; `depth` steps led to it.
    pub(super) const fn root(name: &'p str, depth: usize) -> Self {
        Self {
            before: None,
            step: Step::Member(name),
            depth,
        }
    }

    /// On to a member.
    pub(super) const fn member(&'p self, name: &'p str) -> Self {
        self.on(Step::Member(name))
    }

    /// On to an item, counted from 0.
    pub(super) const fn item(&'p self, index: usize) -> Self {
        self.on(Step::Item(index))
    }

    const fn on(&'p self, step: Step<'p>) -> Self {
        Self {
            before: Some(self),
            step,
            depth: self.depth + 1,
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(before) = self.before {
            before.fmt(f)?;
        }
        match self.step {
            Step::Item(index) => write!(f, "[{index}]"),
            Step::Member(name) => {
                let dot = if self.before.is_some() { "." } else { "" };
                write!(f, "{dot}{}", name.escape_debug())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Node, Path, parse};

    #[test]
    fn members_keep_their_order_and_come_once() {
        let node = parse(br#"{"b": 1, "a": [null, true, -2, 0.5, "x"]}"#).unwrap();
        let Node::Object(members) = &node else {
            panic!("{node:?}")
        };
        assert_eq!(
            members.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["b", "a"]
        );
        assert_eq!(node.to_json().to_string(), r#"{"a":[null,true,-2,0.5,"x"],"b":1}"#);
        let twice = parse(b"{\"a\": 1,\n \"a\": 2}").unwrap_err().to_string();
        assert_eq!(twice, "the member \"a\" is written twice; keep one at line 2 column 4");
    }

    #[test]
    fn a_path_is_written_as_people_do() {
        let flags = Path::root("targeting", 0);
        let rule = flags.member("if");
        assert_eq!(rule.item(2).member("a b").to_string(), "targeting.if[2].a b");
    }
}
