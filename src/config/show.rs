//! The live file for people and programs to look at: as JSON, variables unexpanded, secrets hidden.

use serde_json::{Map, Number, Value as Json};

use super::problem::Report;
use super::tree::{NodeId, Scalar, Tree, Value};
use super::yaml;

/// What `text` says, as JSON with keys in alphabetical order. `${VAR}` stays as written, so that
/// nothing of the environment shows. Hidden are values that a credential must have, secrets of cohorts and cookies,
/// headers that we send, the addresses and keys of those who are told or asked, and queries of smoke tests.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut report = Report::new(String::new());
    let json = match yaml::parse(text, &mut report) {
        Some((tree, root)) => to_json(&tree, root, Place::Elsewhere),
        None => Json::Null,
    };
    format!("{json:#}\n")
}

/// Where in the file a value stands, as far as secrets are concerned.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// Where a value is shown, unless it belongs to the name of a credential.
    Elsewhere,
    /// In a channel, whose addresses let everyone in who knows them.
    Channel,
    /// In a smoke test, whose requests may carry a key in their query.
    Smoke,
    /// In a mapping of headers that we send.
    Sent,
    /// In a mapping of a person's own keys.
    Own,
    /// In the secret of a cohort.
    Secret,
}

fn to_json(tree: &Tree, id: NodeId, place: Place) -> Json {
    match &tree.get(id).value {
        Value::Scalar(scalar) => scalar_to_json(scalar),
        Value::List(items) => items.iter().map(|&item| to_json(tree, item, place)).collect(),
        Value::Map(entries) => {
            let is_secret = entries.iter().any(|entry| {
                entry.key == "name"
                    && matches!(&tree.get(entry.value).value, Value::Scalar(name) if is_credential(&name.text))
            });
            let mut object = Map::new();
            for entry in entries {
                let key = entry.key.as_str();
                let hide = match place {
                    Place::Elsewhere | Place::Smoke => {
                        let signs = key == "secret" && is_scalar(tree, entry.value);
                        key == "url" || signs || (is_secret && TESTS.contains(&key))
                    }
                    Place::Channel => matches!(key, "url" | "routingKey"),
                    Place::Sent => true,
                    Place::Secret => key == "value",
                    Place::Own => is_credential(key),
                };
                let within = match (key, &tree.get(entry.value).value) {
                    _ if place == Place::Own => place,
                    ("secret", _) => Place::Secret,
                    ("notifications", _) => Place::Channel,
                    ("smoke", Value::Map(_)) => Place::Smoke,
                    ("headers", Value::Map(_)) => Place::Sent,
                    ("metadata" | "expectHeaders" | "value", Value::Map(_)) => Place::Own,
                    _ => place,
                };
                let value = match &tree.get(entry.value).value {
                    _ if hide => HIDDEN.into(),
                    Value::Scalar(path) if place == Place::Smoke && key == "path" => without_query(path),
                    Value::Scalar(_) | Value::List(_) | Value::Map(_) | Value::Bad => {
                        to_json(tree, entry.value, within)
                    }
                };
                object.insert(entry.key.clone(), value);
            }
            Json::Object(object)
        }
        Value::Bad => Json::Null,
    }
}

fn is_scalar(tree: &Tree, id: NodeId) -> bool {
    matches!(tree.get(id).value, Value::Scalar(_))
}

/// A path whose query, if it has one, does not show.
fn without_query(path: &Scalar) -> Json {
    match path.text.split_once('?') {
        Some((path, _)) => format!("{path}?{HIDDEN}").into(),
        None => scalar_to_json(path),
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
/// What tests a value in a way that says something of it.
const TESTS: [&str; 6] = ["exact", "prefix", "suffix", "contains", "regex", "oneOf"];

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

    #[test]
    fn secrets_of_flags_do_not_show() {
        let text = "routes:\n- split:\n    sticky: { cookie: c, secret: s3cr3t }\n\
                    \x20   variants: [{ name: a, value: { url: 'http://a/', apiKey: s3cr3t, secret: { value: s3cr3t } } }]\n\
                    \x20   cohorts:\n    - { name: a, secret: { header: x-a, value: s3cr3t } }\n\
                    \x20   - { name: b, cookies: [{ name: token, oneOf: [s3cr3t], contains: s3cr3t, suffix: s3cr3t }] }\n";
        let shown = shown(text);
        assert!(!shown.contains("s3cr3t"), "{shown}");
        let json: serde_json::Value = serde_json::from_str(&shown).expect("it is JSON");
        let split = &json["routes"][0]["split"];
        assert_eq!(split["cohorts"][0]["secret"]["header"], "x-a");
        assert_eq!(split["variants"][0]["value"]["url"], "http://a/");
        assert_eq!(split["sticky"]["cookie"], "c");
    }

    #[test]
    fn what_we_send_does_not_show() {
        let text = "notifications:\n- { name: team, slack: { url: 'https://hooks/s3cr3t' } }\n\
                    - { name: oncall, pagerDuty: { routingKey: s3cr3t } }\n\
                    - { name: own, webhook: { url: 'https://s3cr3t/', headers: { x-a: s3cr3t }, template: '{}' } }\n\
                    rollouts:\n- name: shop\n  webhooks:\n\
                    \x20 - { name: gate, url: 'http://gate/s3cr3t', headers: { x-a: s3cr3t }, metadata: { token: s3cr3t, team: a } }\n\
                    \x20 steps:\n  - gate: { webhook: { name: g, url: 'http://s3cr3t@gate/?s3cr3t', headers: { authorization: s3cr3t } } }\n\
                    \x20 - smoke: { checks: [{ path: '/health?key=s3cr3t', headers: { cookie: s3cr3t } }] }\n";
        let shown = shown(text);
        assert!(!shown.contains("s3cr3t"), "{shown}");
        let json: serde_json::Value = serde_json::from_str(&shown).expect("it is JSON");
        assert_eq!(json["rollouts"][0]["webhooks"][0]["url"], "<hidden>");
        let smoke = &json["rollouts"][0]["steps"][1]["smoke"];
        assert_eq!(smoke["checks"][0]["path"], "/health?<hidden>");
        assert_eq!(json["rollouts"][0]["webhooks"][0]["metadata"]["team"], "a");
        assert_eq!(json["notifications"][0]["slack"]["url"], "<hidden>");
        assert_eq!(json["notifications"][2]["webhook"]["template"], "{}");
    }
}
