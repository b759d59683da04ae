//! Names: each one once in its list, and each reference to one that exists.

use std::collections::HashMap;

use crate::config::read::{Reader, Slot};
use crate::config::tree::NodeId;
use crate::name::Name;

/// Reports names that stand in their list more than once.
pub(super) fn check_unique<'a>(reader: &mut Reader<'_>, kind: &str, names: impl IntoIterator<Item = &'a Slot<Name>>) {
    let mut lines = HashMap::new();
    for slot in names {
        let Some(name) = slot.get() else { continue };
        let line = reader.tree.get(slot.at).place.0;
        if let Some(first) = lines.insert(name, line) {
            let message = format!("is the name of the {kind} on line {first} already; give each {kind} its own");
            reader.refuse_text(slot.at, &message);
        }
    }
}

/// The names of one list, to look references up.
pub(super) struct Names<'f> {
    kind: &'static str,
    by_name: HashMap<&'f str, usize>,
    /// Those that may be shown: not from variables.
    plain: Vec<&'f str>,
    len: usize,
}

impl<'f> Names<'f> {
    /// The names of a list of `kind`s, in its order; `None` for items that have none.
    pub(super) fn of(
        reader: &Reader<'_>,
        kind: &'static str,
        names: impl IntoIterator<Item = Option<&'f Slot<Name>>>,
    ) -> Self {
        let mut by_name = HashMap::new();
        let mut plain = Vec::new();
        let mut len = 0;
        for (i, slot) in names.into_iter().enumerate() {
            len = i + 1;
            let Some(slot) = slot else { continue };
            let Some(name) = slot.get() else { continue };
            by_name.entry(name.as_str()).or_insert(i);
            if !reader.tree.is_expanded(slot.at) {
                plain.push(name.as_str());
            }
        }
        Self {
            kind,
            by_name,
            plain,
            len,
        }
    }

    /// The position of the item that `slot` names; a name that does not exist is reported.
    pub(super) fn find(&self, slot: &Slot<Name>, reader: &mut Reader<'_>) -> Option<usize> {
        let name = slot.get()?.as_str();
        let found = self.by_name.get(name).copied();
        if found.is_none() {
            let hidden = reader.tree.is_expanded(slot.at);
            let unknown = self.unknown((!hidden).then_some(name), reader);
            reader.refuse_text(slot.at, &unknown);
        }
        found
    }

    /// As [`Names::find`], for a `name` that is a key of a mapping; its value stands at `at`.
    pub(super) fn find_key(&self, name: &Name, at: NodeId, reader: &mut Reader<'_>) -> Option<usize> {
        let found = self.by_name.get(name.as_str()).copied();
        if found.is_none() {
            let unknown = self.unknown(Some(name.as_str()), reader);
            reader.refuse(at, unknown);
        }
        found
    }

    /// How many items there are, those without a good name too.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn unknown(&self, name: Option<&str>, reader: &Reader<'_>) -> String {
        let mut hint = name.map_or_else(String::new, |name| reader.suggest(name, self.plain.iter().copied()));
        if hint.is_empty() && (1..=FEW).contains(&self.plain.len()) {
            hint = format!("; there are: {}", self.plain.join(", "));
        }
        format!("names no {}{hint}", self.kind)
    }
}

/// So many names are listed in a message.
const FEW: usize = 8;
