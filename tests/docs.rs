//! What the documents say is true: the reference names every key, configurations load, links lead somewhere.

use std::fs;
use std::path::Path;

use serde_json::Value;

const DOCUMENTS: [&str; 12] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "docs/ci.md",
    "docs/configuration.md",
    "docs/flags.md",
    "docs/notifications.md",
    "docs/operating.md",
    "docs/protocols.md",
    "docs/rollouts.md",
    "docs/security.md",
    "docs/webhooks.md",
];

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
    let text = fs::read_to_string("docs/configuration.md").unwrap();
    let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let mut found = Vec::new();
    keys(&serin::config::schema(), &mut found);
    assert!(found.len() > 50, "{found:?}");
    let missing: Vec<_> = found.iter().filter(|key| !words.contains(&key.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn configurations_load() {
    let mut loaded = 0;
    for document in DOCUMENTS {
        let text = fs::read_to_string(document).unwrap();
        for block in text.split("```yaml\n").skip(1) {
            let yaml = block.split("```").next().unwrap();
            let result = serin::config::load(yaml, Path::new(document), &|_| None);
            assert!(result.is_ok(), "{document}: {}", result.unwrap_err());
            loaded += 1;
        }
    }
    assert!(loaded > 0);
}

#[test]
fn links_lead_to_files() {
    for document in DOCUMENTS {
        let text = fs::read_to_string(document).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.starts_with("http")) {
            let file = target.split('#').next().unwrap();
            let path = Path::new(document).parent().unwrap().join(file);
            assert!(path.exists(), "{document} links to {target}");
        }
    }
}
