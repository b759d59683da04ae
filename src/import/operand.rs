//! What an operation compares: a value of the context, or a constant.

use serde_json::Number;

use super::json::{Node, Path};
use super::reader::Reader;

/// One side of a comparison.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operand<'f> {
    /// A value of the context.
    Value(Value<'f>),
    /// A constant.
    Constant(Constant<'f>),
    /// A list of whatever it is.
    List(&'f [Node]),
    /// The time at which the flag is evaluated.
    Timestamp,
}

/// A value of the context.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'f> {
    /// Parts of its path joined by dots.
    pub(super) name: &'f str,
    /// What stands for it where it is absent.
    pub(super) default: Option<Constant<'f>>,
}

/// A constant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Constant<'f> {
    Null,
    Bool(bool),
    Number(&'f Number),
    Text(&'f str),
}

/// Objects that describe a request: what stands in them is no attribute.
const REQUEST_PARTS: [&str; 4] = ["headers.", "cookies.", "query.", "claims."];

impl<'f> Constant<'f> {
    /// The constant that `node` is.
    pub(super) fn of(node: &'f Node) -> Option<Self> {
        match node {
            Node::Null => Some(Self::Null),
            Node::Bool(value) => Some(Self::Bool(*value)),
            Node::Number(number) => Some(Self::Number(number)),
            Node::Text(text) => Some(Self::Text(text)),
            Node::List(_) | Node::Object(_) => None,
        }
    }

    /// As an attribute of a context has it. Nothing is no text.
    pub(super) fn text(self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Bool(value) => Some(value.to_string()),
            Self::Number(number) => Some(number.to_string()),
            Self::Text(text) => Some(text.to_owned()),
        }
    }

    /// The texts of attributes that are equal to it. Whether a whole number is sent as 18 or as 18.0 is up to the
    /// application's language.
    pub(super) fn texts(self) -> Vec<String> {
        let also = match self {
            Self::Number(number) if number.is_f64() => {
                let value = number
                    .as_f64()
                    .filter(|value| value.fract() == 0.0 && value.abs() < 1e15);
                value.map(|value| format!("{value:.0}"))
            }
            Self::Number(number) => Some(format!("{number}.0")),
            Self::Null | Self::Bool(_) | Self::Text(_) => None,
        };
        self.text().into_iter().chain(also).collect()
    }

    /// Whether it counts as true.
    pub(super) fn is_true(self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(value) => value,
            Self::Number(number) => number.as_f64() != Some(0.0),
            Self::Text(text) => !text.is_empty(),
        }
    }
}

impl<'f> Reader<'f> {
    /// What `node` compares, if it is something to compare.
    pub(super) fn operand(&mut self, node: &'f Node, at: &Path<'_>) -> Option<Operand<'f>> {
        if let Some(constant) = Constant::of(node) {
            return Some(Operand::Constant(constant));
        }
        if let Node::List(items) = node {
            return Some(Operand::List(items));
        }
        self.resolved(node, at, |reader, node, at| match node.only_member() {
            Some(("var", arguments)) => reader.value(arguments.items(), at),
            Some((name, _)) => reader.say(
                at,
                format!("compares what `{name}` computes"),
                "let the application send that as an attribute of its own",
            ),
            None => reader.say(at, "is nothing to compare", "write a constant or a `var`"),
        })
    }

    fn value(&mut self, arguments: &'f [Node], at: &Path<'_>) -> Option<Operand<'f>> {
        let (name, default) = match arguments {
            [Node::Text(name)] => (name.as_str(), None),
            [Node::Text(name), default] => match Constant::of(default) {
                Some(Constant::Null) => (name.as_str(), None),
                Some(default) => (name.as_str(), Some(default)),
                None => {
                    return self.say(
                        at,
                        "has a default that is no constant",
                        "write a text, a number, true or false",
                    );
                }
            },
            _ => return self.say(at, "does not name its value by a text", "write {\"var\": \"NAME\"}"),
        };
        match name {
            "" => return self.say(at, "means the whole context", "name the attribute"),
            "$flagd.flagKey" => return Some(Operand::Constant(Constant::Text(self.flag))),
            "$flagd.timestamp" => return Some(Operand::Timestamp),
            _ => {}
        }
        if REQUEST_PARTS.iter().any(|part| name.starts_with(part)) {
            return self.say(
                at,
                format!("{name}: objects of that name describe a request, and their members are no attributes"),
                "send it under another name",
            );
        }
        if name
            .split('.')
            .any(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
        {
            return self.say(
                at,
                format!("{name}: a list's items cannot be told apart by their places"),
                "send the item as an attribute of its own",
            );
        }
        let name = self.short(at, name)?;
        Some(Operand::Value(Value { name, default }))
    }
}

#[cfg(test)]
mod tests {
    use super::Constant;
    use crate::import::json::parse;

    #[track_caller]
    fn check(json: &str, texts: &[&str], is_true: bool) {
        let node = parse(json.as_bytes()).unwrap();
        let constant = Constant::of(&node).unwrap();
        assert_eq!(
            (constant.texts(), constant.is_true()),
            (texts.iter().map(ToString::to_string).collect(), is_true),
            "{json}"
        );
    }

    #[test]
    fn a_constant_equals_the_texts_that_contexts_have_for_it() {
        check("\"18\"", &["18"], true);
        check("18", &["18", "18.0"], true);
        check("18.0", &["18.0", "18"], true);
        check("-0.5", &["-0.5"], true);
        check("0", &["0", "0.0"], false);
        check("true", &["true"], true);
        check("\"\"", &[""], false);
        check("null", &[], false);
    }
}
