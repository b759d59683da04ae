//! Named values that somebody brings along: claims of a token, attributes of a context. Bounded.

use serde_json::{Map, Value as Json};

/// Named values, each name with one or more: claims of a token, attributes of a context. Nested objects are
/// flattened, `{"user":{"plan":"gold"}}` to `user.plan`; of a list each item is a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// By name.
    entries: Vec<(Box<str>, Box<str>)>,
}

/// Why a JSON object is no [`Values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// Objects in objects.
    #[error("is nested more than {VALUES_DEPTH_MAX} deep")]
    Deep,
    /// Values.
    #[error("has more than {VALUES_MAX} values")]
    Many,
}

/// Objects and lists in each other.
pub const VALUES_DEPTH_MAX: usize = 8;
/// Values of one token or context.
pub const VALUES_MAX: usize = 1_000;

impl Values {
    /// What `object` says. Texts stand for themselves, numbers and truth values for what JSON writes; null for nothing.
    ///
    /// # Errors
    /// [`TooMuch`].
    pub fn of(object: &Map<String, Json>) -> Result<Self, TooMuch> {
        let mut entries = Vec::new();
        let mut path = String::new();
        add_object(&mut entries, &mut path, object, 0)?;
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(Self { entries })
    }

    /// The values of `name`, in order.
    pub fn all<'v>(&'v self, name: &str) -> impl Iterator<Item = &'v str> {
        let first = self.entries.partition_point(|(known, _)| **known < *name);
        let those = self.entries[first..]
            .iter()
            .take_while(move |(known, _)| **known == *name);
        those.map(|(_, value)| &**value)
    }

    /// The values of `name` in any case, in order; for names of header fields.
    pub fn all_in_any_case<'v>(&'v self, name: &str) -> impl Iterator<Item = &'v str> {
        let those = self
            .entries
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name));
        those.map(|(_, value)| &**value)
    }

    /// Bytes of all names and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.entries.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

type Entries = Vec<(Box<str>, Box<str>)>;

fn add_object(
    entries: &mut Entries,
    path: &mut String,
    object: &Map<String, Json>,
    depth: usize,
) -> Result<(), TooMuch> {
    for (name, value) in object {
        let end = path.len();
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(name);
        add(entries, path, value, depth)?;
        path.truncate(end);
    }
    Ok(())
}

fn add(entries: &mut Entries, path: &mut String, value: &Json, depth: usize) -> Result<(), TooMuch> {
    if depth >= VALUES_DEPTH_MAX {
        return Err(TooMuch::Deep);
    }
    let text: Box<str> = match value {
        Json::Null => return Ok(()),
        Json::Object(object) => return add_object(entries, path, object, depth + 1),
        Json::Array(items) => return items.iter().try_for_each(|item| add(entries, path, item, depth + 1)),
        Json::String(text) => text.as_str().into(),
        Json::Bool(_) | Json::Number(_) => value.to_string().into(),
    };
    if entries.len() == VALUES_MAX {
        return Err(TooMuch::Many);
    }
    entries.push((path.as_str().into(), text));
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::{TooMuch, VALUES_DEPTH_MAX, VALUES_MAX, Values};

    fn values(json: &Json) -> Result<Values, TooMuch> {
        Values::of(json.as_object().unwrap())
    }

    #[track_caller]
    fn check(json: Json, name: &str, expected: &[&str]) {
        let values = values(&json).unwrap();
        assert_eq!(values.all(name).collect::<Vec<_>>(), expected, "{json} {name}");
    }

    #[test]
    fn nested_objects_are_flattened_and_lists_have_many_values() {
        check(json!({"plan": "gold"}), "plan", &["gold"]);
        check(json!({"user": {"plan": "gold", "age": 41}}), "user.age", &["41"]);
        check(json!({"roles": ["a", "b"], "role": "c"}), "roles", &["a", "b"]);
        check(json!({"on": true, "ratio": 0.5, "none": null}), "on", &["true"]);
        check(json!({"on": true, "ratio": 0.5, "none": null}), "ratio", &["0.5"]);
        check(json!({"on": true, "none": null}), "none", &[]);
        check(json!({"a": [{"b": "1"}, {"b": "2"}]}), "a.b", &["1", "2"]);
        check(json!({}), "a", &[]);
    }

    #[test]
    fn header_names_are_found_in_any_case() {
        let values = values(&json!({"X-Canary": "true"})).unwrap();
        assert_eq!(values.all_in_any_case("x-canary").collect::<Vec<_>>(), ["true"]);
    }

    #[test]
    fn what_is_too_deep_or_too_much_is_refused() {
        let deep = |levels| (0..levels).fold(json!("x"), |inner, _| json!({ "a": inner }));
        assert!(values(&deep(VALUES_DEPTH_MAX)).is_ok());
        assert_eq!(values(&deep(VALUES_DEPTH_MAX + 1)), Err(TooMuch::Deep));
        assert_eq!(values(&json!({"a": vec![1; VALUES_MAX + 1]})), Err(TooMuch::Many));
    }
}
