//! The configuration reference names every key that a file may have.

use serde_json::Value;

/// Every key below `schema`, wherever it stands.
fn keys(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Object(properties)) = fields.get("properties") {
                found.extend(properties.keys().cloned());
            }
            fields.values().for_each(|field| keys(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_reference_names_every_key() {
    let text = std::fs::read_to_string("docs/configuration.md").unwrap();
    let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let mut found = Vec::new();
    keys(&serin::config::schema(), &mut found);
    assert!(found.len() > 50, "{found:?}");
    let missing: Vec<_> = found.iter().filter(|key| !words.contains(&key.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
