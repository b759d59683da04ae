//! Text to tree: YAML events become located nodes; aliases become copies. Size, depth and number of
//! nodes are bounded, so that no file can exhaust the process.

use std::collections::{HashMap, HashSet};

use serde_saphyr::granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag, options};

use super::problem::Report;
use super::tree::{Entry, Node, NodeId, Scalar, Tree, Value};

/// Bytes of a file; 10,000 routes need some 3 MiB.
pub(super) const FILE_MAX: usize = 16 << 20;
/// Keys do not count; 10,000 routes need some 200,000.
const NODES_MAX: usize = 1_000_000;
/// The deepest key of a good file stands at 9.
const DEPTH_MAX: usize = 32;

/// The tree of `text` and its root. `None` where it is no YAML (one problem says where); keys that
/// repeat and tags are problems too, but leave a tree.
pub(super) fn parse(text: &str, report: &mut Report) -> Option<(Tree, NodeId)> {
    if text.len() > FILE_MAX {
        let message = format!(
            "the file has {} bytes, more than the {FILE_MAX} that are read",
            text.len()
        );
        report.add((1, 1), String::new(), message);
        return None;
    }
    let mut builder = Builder::default();
    match builder.build(text) {
        Ok(Some(root)) => {
            builder.report_oddities(report);
            Some((builder.tree, root))
        }
        Ok(None) => {
            let message = "the file says nothing; it needs at least version, listeners, backends and routes";
            report.add((1, 1), String::new(), message.into());
            None
        }
        Err(stop) => {
            report.add(stop.place, String::new(), stop.message);
            None
        }
    }
}

/// Why no tree can be made.
struct Stop {
    place: (u32, u32),
    message: String,
}

/// A collection that has begun and not ended.
struct Open {
    id: NodeId,
    /// In a mapping, the key whose value comes next.
    key: Option<(String, (u32, u32))>,
}

#[derive(Default)]
struct Builder {
    tree: Tree,
    open: Vec<Open>,
    root: Option<NodeId>,
    anchors: HashMap<usize, NodeId>,
    tagged: Vec<NodeId>,
}

impl Builder {
    fn build(&mut self, text: &str) -> Result<Option<NodeId>, Stop> {
        let options = options! {
            emit_comments: false,
            flow_nesting_limit: DEPTH_MAX + 1,
            block_nesting_limit: DEPTH_MAX + 1,
        };
        for event in Parser::new_from_str_with_options(text, options) {
            let (event, span) = event.map_err(|error| not_yaml(&error, text))?;
            self.take(event, place(&span.start))?;
        }
        Ok(self.root)
    }

    fn take(&mut self, event: Event<'_>, place: (u32, u32)) -> Result<(), Stop> {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                return stop(place, "a second document begins here; a file holds one");
            }
            Event::Scalar(text, style, anchor, tag) => {
                if let Some(open) = self.open.last_mut()
                    && open.key.is_none()
                    && matches!(self.tree.get(open.id).value, Value::Map(_))
                {
                    open.key = Some((text.into_owned(), place));
                    return Ok(());
                }
                let scalar = Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain && tag.is_none(),
                    written: None,
                };
                self.add(Value::Scalar(scalar), anchor, tag.as_deref(), place)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                let id = self.add(Value::List(Vec::new()), anchor, tag.as_deref(), place)?;
                self.open.push(Open { id, key: None });
            }
            Event::MappingStart(_, anchor, tag) => {
                let id = self.add(Value::Map(Vec::new()), anchor, tag.as_deref(), place)?;
                self.open.push(Open { id, key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.open.pop();
            }
            Event::Alias(anchor) => self.add_alias(anchor, place)?,
            _ => {}
        }
        Ok(())
    }

    fn add(&mut self, value: Value, anchor: usize, tag: Option<&Tag>, place: (u32, u32)) -> Result<NodeId, Stop> {
        let parent = self.next_position(place)?;
        let id = self.push(Node { value, place, parent })?;
        self.attach(id, parent);
        if anchor != 0 {
            self.anchors.insert(anchor, id);
        }
        if tag.is_some_and(|tag| !is_harmless(tag)) {
            self.tagged.push(id);
        }
        Ok(id)
    }

    fn add_alias(&mut self, anchor: usize, place: (u32, u32)) -> Result<(), Stop> {
        let parent = self.next_position(place)?;
        let source = *self.anchors.get(&anchor).ok_or_else(|| Stop {
            place,
            message: "this alias has no anchor before it".into(),
        })?;
        if self.open.iter().any(|open| open.id == source) {
            return stop(place, "this alias stands inside its own anchor; it would never end");
        }
        let copy = self.copy(source, parent, self.open.len(), place)?;
        self.attach(copy, parent);
        Ok(())
    }

    /// A copy of all that stands at `source`; its nodes keep the places they were written at.
    fn copy(
        &mut self,
        source: NodeId,
        parent: Option<(NodeId, usize)>,
        depth: usize,
        place: (u32, u32),
    ) -> Result<NodeId, Stop> {
        if depth > DEPTH_MAX {
            return stop(place, &too_deep());
        }
        let Node { value, place: at, .. } = self.tree.get(source).clone();
        let id = self.push(Node {
            value: Value::Bad,
            place: at,
            parent,
        })?;
        let value = match value {
            Value::List(items) => {
                let mut copies = Vec::with_capacity(items.len());
                for (i, item) in items.into_iter().enumerate() {
                    copies.push(self.copy(item, Some((id, i)), depth + 1, place)?);
                }
                Value::List(copies)
            }
            Value::Map(entries) => {
                let mut copies = Vec::with_capacity(entries.len());
                for (i, entry) in entries.into_iter().enumerate() {
                    let value = self.copy(entry.value, Some((id, i)), depth + 1, place)?;
                    copies.push(Entry { value, ..entry });
                }
                Value::Map(copies)
            }
            scalar @ (Value::Scalar(_) | Value::Bad) => scalar,
        };
        self.tree.get_mut(id).value = value;
        Ok(id)
    }

    /// Where the node that comes now will stand.
    fn next_position(&self, place: (u32, u32)) -> Result<Option<(NodeId, usize)>, Stop> {
        if self.open.len() > DEPTH_MAX {
            return stop(place, &too_deep());
        }
        let Some(open) = self.open.last() else {
            return Ok(None);
        };
        match &self.tree.get(open.id).value {
            Value::List(items) => Ok(Some((open.id, items.len()))),
            Value::Map(_) if open.key.is_none() => {
                stop(place, "a key must be one word, neither list, mapping nor alias")
            }
            Value::Map(entries) => Ok(Some((open.id, entries.len()))),
            Value::Scalar(_) | Value::Bad => Ok(None),
        }
    }

    fn attach(&mut self, id: NodeId, parent: Option<(NodeId, usize)>) {
        let Some((parent, _)) = parent else {
            self.root = Some(id);
            return;
        };
        let key = self.open.last_mut().and_then(|open| open.key.take());
        match (&mut self.tree.get_mut(parent).value, key) {
            (Value::Map(entries), Some((key, place))) => entries.push(Entry { key, place, value: id }),
            (Value::List(items), _) => items.push(id),
            (Value::Map(_) | Value::Scalar(_) | Value::Bad, _) => {}
        }
    }

    fn push(&mut self, node: Node) -> Result<NodeId, Stop> {
        if self.tree.len() >= NODES_MAX {
            return stop(
                node.place,
                &format!("the file has more than {NODES_MAX} values, aliases counted as often as they are used"),
            );
        }
        Ok(self.tree.push(node))
    }

    /// Keys that repeat, and tags.
    fn report_oddities(&mut self, report: &mut Report) {
        for id in self.tree.ids() {
            let Value::Map(entries) = &self.tree.get(id).value else {
                continue;
            };
            let mut seen = HashSet::with_capacity(entries.len());
            for entry in entries {
                if !seen.insert(entry.key.as_str()) {
                    let path = self.tree.path_of_key(id, &entry.key);
                    report.add(entry.place, path, "this key stands here twice; keep one".into());
                }
            }
        }
        for &id in &self.tagged {
            let message = "tags such as `!x` mean nothing here; write the value alone";
            report.add(self.tree.get(id).place, self.tree.path(id), message.into());
        }
    }
}

/// `!!str 5` and its like only say what a value is anyway.
fn is_harmless(tag: &Tag) -> bool {
    tag.handle() == "tag:yaml.org,2002:" && matches!(tag.suffix(), "str" | "seq" | "map")
}

fn not_yaml(error: &ScanError, text: &str) -> Stop {
    let place = place(error.marker());
    let line = (place.0 as usize).checked_sub(1).and_then(|n| text.lines().nth(n));
    let hint = if line.is_some_and(|line| line.contains("${")) {
        "; between brackets or braces a `${…}` needs quotes around it"
    } else {
        ""
    };
    Stop {
        place,
        message: format!("this is no YAML: {}{hint}", error.info()),
    }
}

fn place(marker: &Marker) -> (u32, u32) {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    (number(marker.line()).max(1), number(marker.col()).saturating_add(1))
}

fn too_deep() -> String {
    format!("values stand deeper than {DEPTH_MAX} levels here")
}

fn stop<T>(place: (u32, u32), message: &str) -> Result<T, Stop> {
    Err(Stop {
        place,
        message: message.into(),
    })
}
