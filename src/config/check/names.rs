//! Names: each one once in its list, and each reference to one that exists.

use std::collections::HashMap;

use crate::config::read::{Reader, Slot};
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
        for (i, slot) in names.into_iter().enumerate() {
            let Some(slot) = slot else { continue };
            let Some(name) = slot.get() else { continue };
            by_name.entry(name.as_str()).or_insert(i);
            if !reader.tree.is_expanded(slot.at) {
                plain.push(name.as_str());
            }
        }
        Self { kind, by_name, plain }
    }

    /// The position of the item that `slot` names; a name that does not exist is reported.
    pub(super) fn find(&self, slot: &Slot<Name>, reader: &mut Reader<'_>) -> Option<usize> {
        let name = slot.get()?.as_str();
        let found = self.by_name.get(name).copied();
        if found.is_none() {
            let hidden = reader.tree.is_expanded(slot.at);
            let mut hint = if hidden {
                String::new()
            } else {
                reader.suggest(name, self.plain.iter().copied())
            };
            if hint.is_empty() && (1..=FEW).contains(&self.plain.len()) {
                hint = format!("; there are: {}", self.plain.join(", "));
            }
            reader.refuse_text(slot.at, &format!("names no {}{hint}", self.kind));
        }
        found
    }
}

/// So many names are listed in a message.
const FEW: usize = 8;
