//! The live file for people and programs to look at: as JSON, variables unexpanded, secrets hidden.

use serde_json::{Map, Number, Value as Json};

use super::problem::Report;
use super::tree::{NodeId, Scalar, Tree, Value};
use super::yaml;

/// What `text` says, as JSON with keys in alphabetical order. `${VAR}` stays as written, so that
/// nothing of the environment shows; values that a credential header must have are hidden.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut report = Report::new(String::new());
    let json = match yaml::parse(text, &mut report) {
        Some((tree, root)) => to_json(&tree, root),
        None => Json::Null,
    };
    format!("{json:#}\n")
}

fn to_json(tree: &Tree, id: NodeId) -> Json {
    match &tree.get(id).value {
        Value::Scalar(scalar) => scalar_to_json(scalar),
        Value::List(items) => items.iter().map(|&item| to_json(tree, item)).collect(),
        Value::Map(entries) => {
            let is_secret = entries.iter().any(|entry| {
                entry.key == "name"
                    && matches!(&tree.get(entry.value).value, Value::Scalar(name) if is_credential(&name.text))
            });
            let mut object = Map::new();
            for entry in entries {
                let hide = is_secret && matches!(entry.key.as_str(), "exact" | "prefix" | "regex");
                let value = if hide {
                    HIDDEN.into()
                } else {
                    to_json(tree, entry.value)
                };
                object.insert(entry.key.clone(), value);
            }
            Json::Object(object)
        }
        Value::Bad => Json::Null,
    }
}

fn scalar_to_json(scalar: &Scalar) -> Json {
    if scalar.is_null() {
        return Json::Null;
    }
    match scalar.text.as_str() {
        "true" if scalar.plain => true.into(),
        "false" if scalar.plain => false.into(),
        text if scalar.plain => number_of(text).unwrap_or_else(|| text.into()),
        text => text.into(),
    }
}

/// The number that `text` is, where JSON writes it alike: `1.10` may be a release, and stays text.
fn number_of(text: &str) -> Option<Json> {
    let whole = text.parse::<u64>().ok().filter(|number| number.to_string() == text);
    let decimal = || text.parse::<f64>().ok().filter(|number| number.to_string() == text);
    match whole {
        Some(number) => Some(number.into()),
        None => Some(Number::from_f64(decimal()?)?.into()),
    }
}

/// Headers and parameters whose value lets someone in.
fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [
        "authorization",
        "cookie",
        "token",
        "secret",
        "password",
        "api-key",
        "apikey",
    ]
    .iter()
    .any(|word| name.contains(word))
}

const HIDDEN: &str = "<hidden>";

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn variables_and_credentials_do_not_show() {
        let text = "version: 1\nenvironment: ${PLACE:-prod}\nport: '8080'\nlist: [a, 1.10, 1.5, NaN, true, ~]\n\
                    headers:\n- { name: Authorization, exact: sesame }\n- { name: x-canary, exact: 'true' }\n";
        let json: serde_json::Value = serde_json::from_str(&shown(text)).expect("it is JSON");
        assert_eq!(
            json,
            serde_json::json!({
                "version": 1,
                "environment": "${PLACE:-prod}",
                "port": "8080",
                "list": ["a", "1.10", 1.5, "NaN", true, null],
                "headers": [
                    { "name": "Authorization", "exact": "<hidden>" },
                    { "name": "x-canary", "exact": "true" },
                ],
            })
        );
    }
}
