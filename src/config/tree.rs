//! The file as a tree of nodes that know where they stand.

use std::fmt::Write;

use crate::name::Name;

/// Names a node of a [`Tree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeId(u32);

/// All nodes of one file. Flat, so that depth costs no stack, not even when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

/// A value as written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// What it is.
    pub(super) value: Value,
    /// Line and column, from 1.
    pub(super) place: (u32, u32),
    /// The collection it stands in, and the position there.
    pub(super) parent: Option<(NodeId, usize)>,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Any scalar, as its text: `1.10` stays `1.10`.
    Scalar(Scalar),
    /// A sequence.
    List(Vec<NodeId>),
    /// A mapping in file order; keys may repeat.
    Map(Vec<Entry>),
    /// Something that is reported already.
    Bad,
}

/// A scalar's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scalar {
    /// With variables expanded.
    pub(super) text: String,
    /// Without quotes.
    pub(super) plain: bool,
    /// What the file says, where variables were expanded: what the variables hold may be secret,
    /// and never stands in a message.
    pub(super) written: Option<String>,
}

/// A key of a mapping and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The key's text.
    pub(super) key: String,
    /// The key's line and column, from 1.
    pub(super) place: (u32, u32),
    /// What it holds.
    pub(super) value: NodeId,
}

impl Scalar {
    /// Whether it says that there is nothing: `key:`, `~` or `null`.
    pub(super) fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

impl Tree {
    /// Adds a node.
    pub(super) fn push(&mut self, node: Node) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).expect("the parser bounds the number of nodes"));
        self.nodes.push(node);
        id
    }

    /// Number of nodes.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The node.
    pub(super) fn get(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// The node, to be filled.
    pub(super) fn get_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    /// Every node.
    pub(super) fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..u32::try_from(self.nodes.len()).expect("bounded")).map(NodeId)
    }

    /// `rollouts.checkout.steps[2].setWeight`; items that have a name go by their name.
    pub(super) fn path(&self, id: NodeId) -> String {
        let mut way = Vec::new();
        let mut at = id;
        while let Some((parent, position)) = self.get(at).parent {
            way.push((at, parent, position));
            at = parent;
        }
        let mut path = String::new();
        for (node, parent, position) in way.into_iter().rev() {
            match &self.get(parent).value {
                Value::Map(entries) => join(&mut path, &entries[position].key),
                _ => match self.name_of(node) {
                    Some(name) => join(&mut path, name),
                    None => write!(path, "[{position}]").expect("writing to a string"),
                },
            }
        }
        path
    }

    /// The path of a key of the mapping `id`, which need not be there.
    pub(super) fn path_of_key(&self, id: NodeId, key: &str) -> String {
        let mut path = self.path(id);
        join(&mut path, key);
        path
    }

    /// The value as the file has it, quoted and shortened, for a message.
    pub(super) fn quote(&self, id: NodeId) -> String {
        match &self.get(id).value {
            Value::Scalar(scalar) => quote(scalar.written.as_ref().unwrap_or(&scalar.text)),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a mapping".into(),
            Value::Bad => "this".into(),
        }
    }

    /// Whether the value came from a variable, so that it must not be shown.
    pub(super) fn is_expanded(&self, id: NodeId) -> bool {
        matches!(&self.get(id).value, Value::Scalar(Scalar { written: Some(_), .. }))
    }

    fn name_of(&self, id: NodeId) -> Option<&str> {
        let Value::Map(entries) = &self.get(id).value else {
            return None;
        };
        let entry = entries.iter().take(NAME_SOUGHT_IN).find(|entry| entry.key == "name")?;
        match &self.get(entry.value).value {
            Value::Scalar(scalar) if scalar.written.is_none() && Name::new(&scalar.text).is_ok() => Some(&scalar.text),
            _ => None,
        }
    }
}

/// No mapping has more keys, and a path costs no more.
const NAME_SOUGHT_IN: usize = 32;

/// `text` in quotes, at most some 80 characters, on one line.
pub(super) fn quote(text: &str) -> String {
    let mut short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// Keys are ours or a person's; what could not be told from a path's own signs is quoted.
fn join(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    if Name::new(key).is_ok() {
        path.push_str(key);
    } else {
        path.push_str(&quote(key));
    }
}
