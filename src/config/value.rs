//! What a variant means to applications: a JSON value, as YAML writes it.

use serde_json::{Number, Value as Json, json};

use super::read::{Reader, Written};
use super::schema::Defs;
use super::tree::{NodeId, Scalar, Value};

/// A truth value, a text, a number or an object; inside an object lists and nothing, too.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FlagValue(pub(super) Json);

impl FlagValue {
    /// What OpenFeature calls its type.
    pub(super) fn kind(&self) -> &'static str {
        match self.0 {
            Json::Bool(_) => "a truth value",
            Json::Number(_) => "a number",
            Json::String(_) => "a text",
            Json::Object(_) | Json::Array(_) | Json::Null => "an object",
        }
    }
}

impl Written for FlagValue {
    fn read(at: NodeId, reader: &mut Reader<'_>) -> Option<Self> {
        let is_empty = match &reader.tree.get(at).value {
            Value::List(_) => true,
            Value::Scalar(scalar) => scalar.is_null(),
            Value::Map(_) | Value::Bad => false,
        };
        if is_empty {
            reader.refuse_kind(at, "true or false, a text, a number, or a mapping");
            return None;
        }
        json_of(at, reader).map(Self)
    }

    fn schema(_: &mut Defs) -> Json {
        json!({ "type": ["boolean", "string", "number", "object"] })
    }
}

/// The value at `at`; `None` when something in it is ambiguous, which is then reported. The tree bounds its depth.
fn json_of(at: NodeId, reader: &mut Reader<'_>) -> Option<Json> {
    let tree = reader.tree;
    match &tree.get(at).value {
        Value::Scalar(scalar) => match scalar_of(scalar) {
            Ok(value) => Some(value),
            Err(why) => {
                reader.refuse_text(at, why);
                None
            }
        },
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(|&item| json_of(item, reader)).collect();
            items.into_iter().collect::<Option<Vec<_>>>().map(Json::Array)
        }
        Value::Map(entries) => {
            let members: Vec<_> = entries
                .iter()
                .map(|entry| Some((entry.key.clone(), json_of(entry.value, reader)?)))
                .collect();
            members.into_iter().collect::<Option<_>>().map(Json::Object)
        }
        Value::Bad => None,
    }
}

/// Words and numbers that YAML's versions read in different ways are refused rather than guessed.
fn scalar_of(scalar: &Scalar) -> Result<Json, &'static str> {
    let text = scalar.text.as_str();
    if !scalar.plain {
        return Ok(text.into());
    }
    match text {
        "true" => return Ok(true.into()),
        "false" => return Ok(false.into()),
        _ if scalar.is_null() => return Ok(Json::Null),
        _ => {}
    }
    if let Ok(number) = serde_json::from_str::<Number>(text) {
        return Ok(number.into());
    }
    if AMBIGUOUS.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return Err("may mean a truth value; write true or false, or put it in quotes");
    }
    let begins_a_number = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    let is_radix = ["0x", "0o", "0b"].iter().any(|prefix| text.starts_with(prefix));
    let is_odd = text.parse::<f64>().is_ok() || [".nan", ".inf"].iter().any(|end| text.to_lowercase().ends_with(end));
    if begins_a_number && (is_odd || is_radix) {
        return Err("is no number as JSON writes it; do so, such as 0.5, or put it in quotes");
    }
    Ok(text.into())
}

/// What some readers of YAML take for true or false.
const AMBIGUOUS: [&str; 8] = ["yes", "no", "on", "off", "y", "n", "true", "false"];

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::scalar_of;
    use crate::config::tree::Scalar;

    #[track_caller]
    fn check(text: &str, expected: Result<Json, &str>) {
        let plain = Scalar {
            text: text.into(),
            plain: true,
            written: None,
        };
        match (scalar_of(&plain), expected) {
            (Err(got), Err(expected)) => assert!(got.contains(expected), "{text}: {got}"),
            (got, expected) => assert_eq!(got.ok(), expected.ok(), "{text}"),
        }
        let quoted = Scalar { plain: false, ..plain };
        assert_eq!(scalar_of(&quoted), Ok(text.into()));
    }

    #[test]
    fn plain_values_have_the_type_that_they_look_like() {
        check("true", Ok(json!(true)));
        check("blue", Ok(json!("blue")));
        check("-12", Ok(json!(-12)));
        check("0.5", Ok(json!(0.5)));
        check("1.10", Ok(json!(1.1)));
        check("1e3", Ok(json!(1000.0)));
        check("1.2.3", Ok(json!("1.2.3")));
        check("2026-11-20", Ok(json!("2026-11-20")));
        check("~", Ok(Json::Null));
        check("nan", Ok(json!("nan")));
    }

    #[test]
    fn what_may_be_read_in_two_ways_is_refused() {
        for word in ["yes", "Off", "TRUE", "n"] {
            check(word, Err("may mean a truth value"));
        }
        for number in [".5", "+1", "1.", "0x10", "007", "-.inf", "1e999"] {
            check(number, Err("no number as JSON"));
        }
    }
}
