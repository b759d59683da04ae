//! Reads request bodies: strict JSON, every bad field named, a key given twice refused.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::problem::{Kind, Problem};
use crate::control::{Entry, Order};

/// Characters in a reason; it is kept in journals and state.
const REASON_CHARS_MAX: usize = 1000;

/// `PUT /v1/routes/{route}/weights`
#[derive(Debug, PartialEq)]
pub(super) struct Weights {
    /// As posted: names and numbers are for control to check.
    pub(super) weights: Vec<(String, Value)>,
    /// Empty when left out.
    pub(super) reason: String,
}

/// `POST /v1/rollouts/{rollout}/{verb}`, and the like.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Command {
    /// Empty when left out.
    pub(super) reason: String,
    /// For `promote` only.
    pub(super) full: bool,
    /// For `start` only.
    pub(super) order: Order,
}

/// What a command may say beside its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing.
    Reason,
    /// `full`
    Full,
    /// `from`, `to` and `commitTime`
    Order,
}

impl Weights {
    /// Reads `bytes`.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Problem> {
        let mut form = Form::read(bytes, &["weights", "reason"])?;
        let weights = match form.take("weights") {
            Some(Node::Object(weights)) => weights
                .into_iter()
                .map(|(name, node)| (name, node.into_value()))
                .collect(),
            Some(Node::Plain(_)) => form.wrong(
                "weights",
                "must be an object of variant to weight, such as {\"stable\":90,\"canary\":10}",
            ),
            None => form.wrong("weights", "is missing; name every variant of the split"),
        };
        let reason = form.reason();
        form.finish(Self { weights, reason })
    }
}

impl Command {
    /// Reads `bytes`; an empty body is an empty command.
    pub(super) fn read(bytes: &[u8], takes: Takes) -> Result<Self, Problem> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let known: &[&str] = match takes {
            Takes::Reason => &["reason"],
            Takes::Full => &["reason", "full"],
            Takes::Order => &["reason", "from", "to", "commitTime"],
        };
        let mut form = Form::read(bytes, known)?;
        let full = match form.take("full") {
            Some(Node::Plain(Value::Bool(full))) => full,
            Some(_) => form.wrong("full", "must be true or false"),
            None => false,
        };
        let order = form.order();
        let reason = form.reason();
        form.finish(Self { reason, full, order })
    }
}

/// Reads the body of a call that has no fields: empty, or an empty object.
pub(super) fn nothing(bytes: &[u8]) -> Result<(), Problem> {
    if bytes.is_empty() {
        return Ok(());
    }
    Form::read(bytes, &[])?.finish(())
}

/// What reading `bytes` as the body of a call comes to, as a text: for tests of all bodies. `kind` chooses the call:
/// weights, a command without fields of its own, `promote`, `start`, and what has no fields.
#[doc(hidden)]
#[must_use]
pub fn read_as(kind: u8, bytes: &[u8]) -> String {
    match kind % 5 {
        0 => format!("{:?}", Weights::read(bytes)),
        1 => format!("{:?}", Command::read(bytes, Takes::Reason)),
        2 => format!("{:?}", Command::read(bytes, Takes::Full)),
        3 => format!("{:?}", Command::read(bytes, Takes::Order)),
        _ => format!("{:?}", nothing(bytes)),
    }
}

/// The fields of a body, and what is wrong with them so far.
struct Form {
    fields: Vec<(String, Node)>,
    errors: Vec<Entry>,
}

impl Form {
    fn read(bytes: &[u8], known: &[&str]) -> Result<Self, Problem> {
        let node: Node = serde_json::from_slice(bytes)
            .map_err(|error| Problem::new(Kind::Malformed, format!("the body is not JSON: {error}")))?;
        let Node::Object(fields) = node else {
            return Err(Problem::new(Kind::Malformed, "the body must be a JSON object"));
        };
        let mut form = Self {
            fields: Vec::new(),
            errors: Vec::new(),
        };
        form.refuse_twice("", &fields);
        for (name, node) in fields {
            if known.contains(&name.as_str()) {
                form.fields.push((name, node));
            } else {
                let name: String = name.chars().take(80).collect();
                let message = match known {
                    [] => "is unknown; this call has no fields".to_owned(),
                    known => format!("is unknown; known are {}", known.join(", ")),
                };
                form.error(&name, &message);
            }
        }
        Ok(form)
    }

    /// Refuses a key that stands twice in one object, at any depth.
    fn refuse_twice(&mut self, above: &str, fields: &[(String, Node)]) {
        let mut seen = HashSet::new();
        for (name, node) in fields {
            let path = format!("{above}{name}");
            if let Node::Object(inner) = node {
                self.refuse_twice(&format!("{path}."), inner);
            }
            if !seen.insert(name) {
                self.error(&path, "is given twice");
            }
        }
    }

    fn take(&mut self, name: &str) -> Option<Node> {
        let index = self.fields.iter().position(|(seen, _)| seen == name)?;
        Some(self.fields.swap_remove(index).1)
    }

    fn reason(&mut self) -> String {
        match self.take("reason") {
            Some(Node::Plain(Value::String(reason))) if reason.chars().count() > REASON_CHARS_MAX => {
                self.wrong("reason", &format!("is longer than {REASON_CHARS_MAX} characters"))
            }
            Some(Node::Plain(Value::String(reason))) => reason,
            Some(_) => self.wrong("reason", "must be a text"),
            None => String::new(),
        }
    }

    /// Which way, and since when the release is ready.
    fn order(&mut self) -> Order {
        let direction = match (self.variant("from"), self.variant("to")) {
            (Some(from), Some(to)) => Some((from, to)),
            (None, None) => None,
            (Some(_), None) => self.wrong("to", "is missing beside `from`"),
            (None, Some(_)) => self.wrong("from", "is missing beside `to`"),
        };
        let commit_ms = self.take("commitTime").and_then(|node| {
            let commit_ms = instant_ms(&node);
            if commit_ms.is_none() {
                self.error("commitTime", "must be an instant such as \"2026-11-20T10:00:00Z\"");
            }
            commit_ms
        });
        Order { direction, commit_ms }
    }

    /// The name of a variant; whether there is one is for control to say.
    fn variant(&mut self, field: &str) -> Option<String> {
        match self.take(field)? {
            Node::Plain(Value::String(name)) => Some(name),
            _ => {
                self.error(field, "must be the name of a variant");
                // Not missing, so that nobody is told so.
                Some(String::new())
            }
        }
    }

    fn error(&mut self, path: &str, message: &str) {
        self.errors.push(Entry {
            place: String::new(),
            path: path.to_owned(),
            message: message.to_owned(),
        });
    }

    /// Notes an error; the answer stands in for the value.
    fn wrong<T: Default>(&mut self, path: &str, message: &str) -> T {
        self.error(path, message);
        T::default()
    }

    fn finish<T>(self, value: T) -> Result<T, Problem> {
        if self.errors.is_empty() {
            Ok(value)
        } else {
            Err(Problem::invalid(self.errors))
        }
    }
}

/// RFC 3339, not before 1970.
fn instant_ms(node: &Node) -> Option<u64> {
    let Node::Plain(Value::String(text)) = node else {
        return None;
    };
    let instant: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(instant.as_millisecond()).ok()
}

/// JSON that keeps every key of an object, also one that stands twice.
#[derive(Debug, PartialEq)]
enum Node {
    Object(Vec<(String, Node)>),
    Plain(Value),
}

impl Node {
    fn into_value(self) -> Value {
        match self {
            Self::Object(fields) => Value::Object(
                fields
                    .into_iter()
                    .map(|(name, node)| (name, node.into_value()))
                    .collect(),
            ),
            Self::Plain(value) => value,
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
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Node::Object(fields))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Value>()? {
            items.push(item);
        }
        Ok(Node::Plain(Value::Array(items)))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Plain(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{Command, Problem, Takes, Weights, nothing};
    use crate::control::{Entry, Order};

    fn weights_are_refused(body: &str, errors: &[(&str, &str)]) {
        assert_eq!(Weights::read(body.as_bytes()).unwrap_err(), invalid(errors), "{body}");
    }

    fn command_is_refused(body: &str, takes: Takes, errors: &[(&str, &str)]) {
        assert_eq!(
            Command::read(body.as_bytes(), takes).unwrap_err(),
            invalid(errors),
            "{body}"
        );
    }

    fn invalid(errors: &[(&str, &str)]) -> Problem {
        Problem::invalid(
            errors
                .iter()
                .map(|(path, message)| Entry {
                    place: String::new(),
                    path: (*path).to_owned(),
                    message: (*message).to_owned(),
                })
                .collect(),
        )
    }

    #[test]
    fn weights_are_taken_as_posted() {
        let body = r#"{"weights":{"stable":90,"canary":-1.5,"x":"7","y":{"z":[1]}},"reason":"why"}"#;
        let expected = Weights {
            weights: vec![
                ("stable".into(), json!(90)),
                ("canary".into(), json!(-1.5)),
                ("x".into(), json!("7")),
                ("y".into(), json!({"z": [1]})),
            ],
            reason: "why".into(),
        };
        assert_eq!(Weights::read(body.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn every_bad_field_is_named() {
        let missing = "is missing; name every variant of the split";
        weights_are_refused("{}", &[("weights", missing)]);
        weights_are_refused(
            r#"{"weights":null,"reason":7,"dry":true}"#,
            &[
                ("dry", "is unknown; known are weights, reason"),
                (
                    "weights",
                    "must be an object of variant to weight, such as {\"stable\":90,\"canary\":10}",
                ),
                ("reason", "must be a text"),
            ],
        );
        weights_are_refused(
            r#"{"weights":{"a":1,"a":2},"weights":{"a":3}}"#,
            &[("weights.a", "is given twice"), ("weights", "is given twice")],
        );
        let long = format!(r#"{{"weights":{{}},"reason":"{}"}}"#, "x".repeat(1001));
        weights_are_refused(&long, &[("reason", "is longer than 1000 characters")]);
    }

    #[test]
    fn a_command_may_be_empty_and_only_promote_can_be_full() {
        assert_eq!(Command::read(b"", Takes::Reason).unwrap(), Command::default());
        assert_eq!(Command::read(b"{}", Takes::Full).unwrap(), Command::default());
        let full = Command {
            reason: "go".into(),
            full: true,
            order: Order::default(),
        };
        assert_eq!(
            Command::read(br#"{"full":true,"reason":"go"}"#, Takes::Full).unwrap(),
            full
        );
        command_is_refused(
            r#"{"full":true}"#,
            Takes::Reason,
            &[("full", "is unknown; known are reason")],
        );
        command_is_refused(r#"{"full":1}"#, Takes::Full, &[("full", "must be true or false")]);
    }

    #[test]
    fn a_start_may_say_which_way_and_since_when() {
        let start = |body: &str| Command::read(body.as_bytes(), Takes::Order).map(|command| command.order);
        let order = Order {
            direction: Some(("green".into(), "blue".into())),
            commit_ms: Some(1_795_262_413_042),
        };
        let body = r#"{"from":"green","to":"blue","commitTime":"2026-11-21T13:00:13.042+01:00"}"#;
        assert_eq!(start(body).unwrap(), order);
        assert_eq!(start(r#"{"reason":"x"}"#).unwrap(), Order::default());
        let refused = |body, errors: &[(&str, &str)]| command_is_refused(body, Takes::Order, errors);
        refused(r#"{"from":"green"}"#, &[("to", "is missing beside `from`")]);
        refused(r#"{"to":"green"}"#, &[("from", "is missing beside `to`")]);
        refused(r#"{"from":7,"to":"a"}"#, &[("from", "must be the name of a variant")]);
        for time in ["1", "\"yesterday\"", "\"1969-01-01T00:00:00Z\"", "\"2026-11-21\""] {
            let body = format!(r#"{{"commitTime":{time}}}"#);
            command_is_refused(
                &body,
                Takes::Order,
                &[("commitTime", "must be an instant such as \"2026-11-20T10:00:00Z\"")],
            );
        }
    }

    #[test]
    fn a_call_without_fields_takes_none() {
        assert!(nothing(b"").is_ok() && nothing(b"{}").is_ok());
        let errors = invalid(&[("reason", "is unknown; this call has no fields")]);
        assert_eq!(nothing(br#"{"reason":"why"}"#).unwrap_err(), errors);
    }

    #[test]
    fn what_is_no_json_object_is_malformed() {
        for body in ["", "{", "[]", "7", "{} {}", "\u{feff}{}", "{\"a\":NaN}"] {
            let problem = format!("{:?}", Weights::read(body.as_bytes()).unwrap_err());
            assert!(problem.contains("Malformed"), "{body:?}: {problem}");
        }
        assert!(Weights::read(b"{\"weights\":{\"\xff\":1}}").is_err());
        assert!(Weights::read("[".repeat(100_000).as_bytes()).is_err());
        assert!(Weights::read("{\"weights\":".repeat(100_000).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..200), text in "[{}\\[\\]\":,a-e0-9. ]{0,60}") {
            let _ = (Weights::read(&body), Command::read(&body, Takes::Full));
            let _ = (Weights::read(text.as_bytes()), Command::read(text.as_bytes(), Takes::Order));
        }
    }
}
