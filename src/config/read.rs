//! Tree to written form: reads nodes as the types of `file.rs`, and reports what does not fit.

use serde_json::Value as Json;

use super::problem::{Report, nearest};
use super::schema::Defs;
use super::tree::{Entry, NodeId, Tree, Value};

/// A type that a node can be read as.
pub(super) trait Written: Sized {
    /// Reads the node; `None` when it does not fit, which is then reported.
    fn read(at: NodeId, reader: &mut Reader<'_>) -> Option<Self>;

    /// Its JSON Schema.
    fn schema(defs: &mut Defs) -> Json;
}

/// A type that is written as one scalar.
pub(super) trait Scalar: Sized {
    /// Numbers and truth values are written without quotes.
    const BARE: bool = false;

    /// What a file says here is not quoted in problems.
    const SECRET: bool = false;

    /// Reads the text. The error goes on after the quoted text: `is no duration; write …`.
    fn parse(text: &str) -> Result<Self, String>;

    /// Its JSON Schema, variables aside.
    fn schema() -> Json;
}

/// A place for a value in the file.
#[derive(Debug)]
pub(super) struct Slot<T> {
    /// The value, or the mapping where it would stand.
    pub(super) at: NodeId,
    /// `None` when it is left out, or does not fit; the latter is reported already.
    pub(super) value: Option<T>,
    /// Nothing is written there.
    pub(super) left_out: bool,
}

impl<T> Slot<T> {
    /// The value, if there is a good one.
    pub(super) fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// Whether it is clear what was meant: a good value, or none.
    pub(super) fn known(&self) -> bool {
        self.left_out || self.value.is_some()
    }

    /// Items of a list that may be left out; where each stands comes with it.
    pub(super) fn items<'a, U: 'a>(&'a self) -> impl Iterator<Item = &'a Slot<U>>
    where
        T: AsRef<[Slot<U>]>,
    {
        self.value.as_ref().map(AsRef::as_ref).unwrap_or_default().iter()
    }
}

impl<T: Copy> Slot<T> {
    /// The value, else the default.
    pub(super) fn or(&self, default: T) -> T {
        self.value.unwrap_or(default)
    }

    /// The value, or the default where it is left out; `None` where it does not fit, so that nothing
    /// is said about rules between keys before it is known what was meant.
    pub(super) fn known_or(&self, default: T) -> Option<T> {
        self.value.or(self.left_out.then_some(default))
    }
}

/// A list with at least one item.
#[derive(Debug)]
pub(super) struct AtLeastOne<T>(Vec<Slot<T>>);

impl<T> AsRef<[Slot<T>]> for AtLeastOne<T> {
    fn as_ref(&self) -> &[Slot<T>] {
        &self.0
    }
}

impl<T> AtLeastOne<T> {
    /// The items.
    pub(super) fn into_items(self) -> Vec<Slot<T>> {
        self.0
    }
}

/// The tree that is read, and what is wrong with it so far.
pub(super) struct Reader<'t> {
    /// The whole file.
    pub(super) tree: &'t Tree,
    report: &'t mut Report,
}

/// The keys of one mapping, while its fields are read.
pub(super) struct Keys<'t> {
    at: NodeId,
    entries: &'t [Entry],
    /// Known keys that a misspelt one was probably meant to be; they are not reported as missing.
    meant: Vec<&'static str>,
}

/// One field of a record, as its declaration says.
pub(super) struct Field {
    pub(super) key: &'static str,
    pub(super) required: bool,
    pub(super) doc: &'static str,
}

/// Keys that people write in a record to which they do not belong.
pub(super) struct Elsewhere {
    pub(super) keys: &'static [&'static str],
    /// The key of the record that comes nearest: it is not taken for left out.
    pub(super) meant: &'static str,
    /// What to do.
    pub(super) instead: &'static str,
}

impl<'t> Reader<'t> {
    /// A reader of `tree`.
    pub(super) fn new(tree: &'t Tree, report: &'t mut Report) -> Self {
        Self { tree, report }
    }

    /// Reports what is wrong with a value.
    pub(super) fn refuse(&mut self, at: NodeId, message: impl Into<String>) {
        self.report
            .add(self.tree.get(at).place, self.tree.path(at), message.into());
    }

    /// Reports what is wrong with a scalar, which is quoted in front.
    pub(super) fn refuse_text(&mut self, at: NodeId, rest: &str) {
        let message = format!("{} {rest}", self.tree.quote(at));
        self.refuse(at, message);
    }

    /// Reports what is wrong with a key of the mapping at `at`.
    pub(super) fn refuse_key(&mut self, at: NodeId, entry: &Entry, message: String) {
        self.report
            .add(entry.place, self.tree.path_of_key(at, &entry.key), message);
    }

    /// What to add to a message about `word`, which is none of `known`.
    pub(super) fn suggest<'a>(&self, word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
        match nearest(word, known) {
            Some(near) if self.report.may_suggest() => format!("; did you mean `{near}`?"),
            _ => String::new(),
        }
    }

    /// The keys of the mapping at `at`; unknown ones, those of later versions and those of elsewhere are reported.
    pub(super) fn keys(
        &mut self,
        at: NodeId,
        known: &[Field],
        later: &[&str],
        elsewhere: &[Elsewhere],
    ) -> Option<Keys<'t>> {
        let tree = self.tree;
        let Value::Map(entries) = &tree.get(at).value else {
            self.refuse_kind(at, "a mapping of keys to values");
            return None;
        };
        let mut meant = Vec::new();
        for entry in entries {
            if known.iter().any(|field| field.key == entry.key) {
                continue;
            }
            let message = if later.contains(&entry.key.as_str()) {
                "is not supported yet; leave it out".into()
            } else if let Some(place) = elsewhere.iter().find(|place| place.keys.contains(&entry.key.as_str())) {
                meant.push(place.meant);
                place.instead.into()
            } else if entry.key == "<<" {
                meant.extend(known.iter().map(|field| field.key));
                "merge keys are not supported; write the keys out".into()
            } else {
                let near = if self.report.may_suggest() {
                    nearest(&entry.key, known.iter().map(|field| field.key))
                } else {
                    None
                };
                if let Some(field) = known.iter().find(|field| Some(field.key) == near) {
                    meant.push(field.key);
                    format!("unknown key; did you mean `{}`?", field.key)
                } else {
                    let keys: Vec<_> = known.iter().map(|field| field.key).collect();
                    format!("unknown key; what may stand here: {}", keys.join(", "))
                }
            };
            self.refuse_key(at, entry, message);
        }
        Some(Keys { at, entries, meant })
    }

    /// The value of one key.
    pub(super) fn slot<T: Written>(&mut self, keys: &Keys<'_>, field: &Field) -> Slot<T> {
        if let Some(entry) = keys.entries.iter().find(|entry| entry.key == field.key) {
            return Slot {
                at: entry.value,
                value: T::read(entry.value, self),
                left_out: false,
            };
        }
        let meant = keys.meant.contains(&field.key);
        if field.required && !meant {
            let path = self.tree.path_of_key(keys.at, field.key);
            let message = format!("is missing: {}", first_sentence(field.doc));
            self.report.add(self.tree.get(keys.at).place, path, message);
        }
        Slot {
            at: keys.at,
            value: None,
            left_out: !field.required && !meant,
        }
    }

    fn list<T: Written>(&mut self, at: NodeId) -> Option<Vec<Slot<T>>> {
        let Value::List(items) = &self.tree.get(at).value else {
            self.refuse_kind(at, "a list such as `[one, two]`");
            return None;
        };
        let read = |&at: &NodeId| Slot {
            at,
            value: T::read(at, self),
            left_out: false,
        };
        Some(items.iter().map(read).collect())
    }

    /// Reports that a node is of the wrong kind.
    pub(super) fn refuse_kind(&mut self, at: NodeId, wanted: &str) {
        let message = match &self.tree.get(at).value {
            Value::Bad => return,
            Value::Scalar(scalar) if scalar.is_null() => format!("has no value; it must be {wanted}"),
            Value::Scalar(_) | Value::List(_) | Value::Map(_) => {
                format!("must be {wanted}, not {}", self.tree.quote(at))
            }
        };
        self.refuse(at, message);
    }
}

impl<T: Scalar> Written for T {
    fn read(at: NodeId, reader: &mut Reader<'_>) -> Option<Self> {
        let tree = reader.tree;
        let Value::Scalar(scalar) = &tree.get(at).value else {
            reader.refuse_kind(at, "a single value");
            return None;
        };
        if scalar.is_null() {
            reader.refuse_kind(at, "a single value");
            return None;
        }
        // A variable between braces needs quotes, for YAML's sake.
        if Self::BARE && !scalar.plain && scalar.written.is_none() {
            reader.refuse_text(at, "stands in quotes; write it without them");
            return None;
        }
        match Self::parse(&scalar.text) {
            Ok(value) => Some(value),
            Err(rest) => {
                if Self::SECRET {
                    reader.refuse(at, format!("the value {rest}"));
                } else {
                    reader.refuse_text(at, &rest);
                }
                None
            }
        }
    }

    fn schema(defs: &mut Defs) -> Json {
        defs.or_variable(<Self as Scalar>::schema())
    }
}

impl<T: Written> Written for Vec<Slot<T>> {
    fn read(at: NodeId, reader: &mut Reader<'_>) -> Option<Self> {
        reader.list(at)
    }

    fn schema(defs: &mut Defs) -> Json {
        serde_json::json!({ "type": "array", "items": T::schema(defs) })
    }
}

impl<T: Written> Written for AtLeastOne<T> {
    fn read(at: NodeId, reader: &mut Reader<'_>) -> Option<Self> {
        let items = reader.list(at)?;
        if items.is_empty() {
            reader.refuse(at, "is empty; give at least one item");
            return None;
        }
        Some(Self(items))
    }

    fn schema(defs: &mut Defs) -> Json {
        serde_json::json!({ "type": "array", "minItems": 1, "items": T::schema(defs) })
    }
}

/// Docs speak in sentences; a message needs the first one.
fn first_sentence(doc: &str) -> &str {
    let doc = doc.trim();
    doc.split_inclusive(". ")
        .next()
        .unwrap_or(doc)
        .trim_end()
        .trim_end_matches('.')
}
