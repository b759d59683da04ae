//! Shapes of values beyond records and lists: one value or several, and mappings with free keys.

use serde_json::{Value as Json, json};

use super::read::{AtLeastOne, Reader, Scalar, Slot, Written};
use super::schema::Defs;
use super::tree::{NodeId, Value, quote};

/// One value, or a list of at least one.
#[derive(Debug)]
pub(super) struct OneOrMany<T>(Vec<Slot<T>>);

impl<T> AsRef<[Slot<T>]> for OneOrMany<T> {
    fn as_ref(&self) -> &[Slot<T>] {
        &self.0
    }
}

impl<T: Written> Written for OneOrMany<T> {
    fn read(at: NodeId, reader: &mut Reader<'_>) -> Option<Self> {
        if matches!(reader.tree.get(at).value, Value::List(_)) {
            return AtLeastOne::read(at, reader).map(|list| Self(list.into_items()));
        }
        let value = T::read(at, reader)?;
        Some(Self(vec![Slot {
            at,
            value: Some(value),
            left_out: false,
        }]))
    }

    fn schema(defs: &mut Defs) -> Json {
        json!({ "anyOf": [T::schema(defs), AtLeastOne::<T>::schema(defs)] })
    }
}

/// A mapping whose keys are a person's own: at most 64 of them.
#[derive(Debug)]
pub(super) struct Fields<K, V>(Vec<(K, Slot<V>)>);

impl<K, V> Fields<K, V> {
    /// Keys and values in the order of the file; `None` when one does not fit.
    pub(super) fn pairs(&self) -> Option<Vec<(&K, &V)>> {
        self.0.iter().map(|(key, slot)| Some((key, slot.get()?))).collect()
    }

    /// Each key with the place of its value.
    pub(super) fn slots(&self) -> impl Iterator<Item = (&K, &Slot<V>)> {
        self.0.iter().map(|(key, slot)| (key, slot))
    }
}

impl<K: Scalar, V: Written> Written for Fields<K, V> {
    fn read(at: NodeId, reader: &mut Reader<'_>) -> Option<Self> {
        let tree = reader.tree;
        let Value::Map(entries) = &tree.get(at).value else {
            reader.refuse_kind(at, "a mapping of keys to values");
            return None;
        };
        if entries.len() > KEYS_MAX {
            reader.refuse(at, format!("has {} keys; give at most {KEYS_MAX}", entries.len()));
            return None;
        }
        let mut fields = Some(Vec::new());
        for entry in entries {
            let slot = Slot {
                at: entry.value,
                value: V::read(entry.value, reader),
                left_out: false,
            };
            match (K::parse(&entry.key), &mut fields) {
                (Ok(key), Some(fields)) => fields.push((key, slot)),
                (Ok(_), None) => {}
                (Err(rest), _) => {
                    reader.refuse_key(at, entry, format!("{} {rest}", quote(&entry.key)));
                    fields = None;
                }
            }
        }
        fields.map(Self)
    }

    fn schema(defs: &mut Defs) -> Json {
        json!({ "type": "object", "additionalProperties": V::schema(defs) })
    }
}

/// Headers of a request beyond this number are refused by many servers.
const KEYS_MAX: usize = 64;
