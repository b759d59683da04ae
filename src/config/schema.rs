//! The JSON Schema of the file, made from the declarations that also read it.

use serde_json::{Map, Value as Json, json};

use super::file::File;
use super::read::{Field, Written};

/// The JSON Schema (draft 2020-12) of a configuration file, as `serin schema` prints it.
///
/// Names that must exist, sums and orders are beyond a schema; `serin check` tells those too.
#[must_use]
pub fn schema() -> Json {
    let mut defs = Defs::default();
    File::schema(&mut defs);
    // The file itself stands at the root, where editors and people look for its keys.
    let mut root = defs.0.remove("File").unwrap_or_default();
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = "Serin configuration".into();
    root["$defs"] = defs.0.into();
    root
}

/// Schemas of records, by name.
#[derive(Default)]
pub(super) struct Defs(Map<String, Json>);

impl Defs {
    /// A reference to the record's schema, which is made on first use.
    pub(super) fn record(&mut self, name: &str, doc: &str, fields: &[Field], types: &[fn(&mut Self) -> Json]) -> Json {
        let reference = json!({ "$ref": format!("#/$defs/{name}") });
        if self.0.contains_key(name) {
            return reference;
        }
        self.0.insert(name.into(), Json::Null);
        let mut properties = Map::new();
        for (field, schema) in fields.iter().zip(types) {
            let mut schema = schema(self);
            schema["description"] = field.doc.trim().into();
            properties.insert(field.key.into(), schema);
        }
        let required: Vec<_> = fields
            .iter()
            .filter(|field| field.required)
            .map(|field| field.key)
            .collect();
        let record = json!({
            "description": doc.trim(),
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        });
        self.0.insert(name.into(), record);
        reference
    }

    /// Either what `schema` says, or a text with a variable in it.
    pub(super) fn or_variable(&mut self, schema: Json) -> Json {
        self.0.entry("Variable").or_insert_with(|| {
            json!({
                "description": "A value with `${VAR}` or `${VAR:-default}` in it.",
                "type": "string",
                "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}",
            })
        });
        json!({ "anyOf": [schema, { "$ref": "#/$defs/Variable" }] })
    }
}
