//! Reads JSON in which no object has a name twice: of two claims with one name, another reader may believe the other
//! one (RFC 7519 §4, RFC 8725 §2.4).

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};

/// The object that `text` holds. Its depth is bounded by the parser, its size is the caller's concern.
///
/// # Errors
/// What is wrong with the text, and where.
pub(super) fn object(text: &[u8]) -> Result<Map<String, Json>, serde_json::Error> {
    match serde_json::from_slice(text)? {
        Strict(Json::Object(object)) => Ok(object),
        Strict(_) => Err(serde_json::Error::custom("it is no object")),
    }
}

struct Strict(Json);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let Strict(value) = members.next_value()?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a name is there twice"));
            }
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::object;

    #[test]
    fn an_object_is_read_as_it_stands() {
        let text = r#"{"a": [null, true, -1, 2, 0.5, "\u00e9"], "b": {"a": {}}}"#;
        let expected = json!({"a": [null, true, -1, 2, 0.5, "\u{e9}"], "b": {"a": {}}});
        assert_eq!(&object(text.as_bytes()).unwrap(), expected.as_object().unwrap());
    }

    #[test]
    fn what_is_no_plain_object_is_refused() {
        let check = |text: &str, expected: &str| {
            let error = object(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        };
        check(r#"{"sub":"a","sub":"b"}"#, "a name is there twice at line 1");
        check(r#"{"a":{"sub":"a","s\u0075b":"b"}}"#, "a name is there twice");
        check("[]", "it is no object");
        check("{} {}", "trailing characters");
        check("", "EOF while parsing");
        check(
            &format!("{{\"a\":{}1{}}}", "[".repeat(4_000), "]".repeat(4_000)),
            "recursion limit",
        );
    }
}
