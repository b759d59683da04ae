//! Two routes of equal rank that can match the same request: only their order could decide, and the
//! order of a file never does.

use std::collections::HashMap;

use crate::config::read::{Reader, Slot};
use crate::config::tree::NodeId;
use crate::name::Name;
use crate::route::{FieldMatch, FieldTest, HostMatch, Match, PathMatch};

/// A route's node, its name, and its match.
type Entry<'f> = (NodeId, &'f Slot<Name>, Match);

/// Reports each route that an earlier one is ambiguous with, once. Routes are compared only where
/// they share a host and a path, so that the time grows with the file and not with its square.
pub(super) fn check(matches: &[Entry<'_>], reader: &mut Reader<'_>) {
    let mut groups: HashMap<(Option<&HostMatch>, PathKey<'_>), Vec<usize>> = HashMap::new();
    for (i, (_, _, matched)) in matches.iter().enumerate() {
        let path = PathKey::of(&matched.path);
        if matched.hosts.is_empty() {
            groups.entry((None, path)).or_default().push(i);
        }
        for host in &matched.hosts {
            let group = groups.entry((Some(host), path)).or_default();
            if group.last() != Some(&i) {
                group.push(i);
            }
        }
    }
    let mut reported = vec![false; matches.len()];
    let mut groups: Vec<_> = groups.into_values().filter(|group| group.len() > 1).collect();
    groups.sort();
    for group in groups {
        compare(matches, group, &mut reported, reader);
    }
}

fn compare(matches: &[Entry<'_>], group: Vec<usize>, reported: &mut [bool], reader: &mut Reader<'_>) {
    if group.len() > TOGETHER_MAX
        && let Some(parts) = part(matches, &group)
    {
        for part in parts {
            compare(matches, part, reported, reader);
        }
        return;
    }
    if group.len() > TOGETHER_MAX {
        let message = format!(
            "{} routes share this host and path, more than the {TOGETHER_MAX} that can be told apart; \
             give them paths of their own, or one header that each of them matches exactly",
            group.len()
        );
        reader.refuse(matches[group[0]].0, message);
        return;
    }
    for (n, &later) in group.iter().enumerate() {
        if reported[later] {
            continue;
        }
        let first = group[..n]
            .iter()
            .find(|&&earlier| matches[earlier].2.is_ambiguous_with(&matches[later].2));
        if let Some(&first) = first {
            reported[later] = true;
            let (at, name, _) = &matches[first];
            let line = reader.tree.get(*at).place.0;
            let quoted = match name.get() {
                Some(_) => reader.tree.quote(name.at),
                None => "without a name".into(),
            };
            let message = format!(
                "can match the same requests as the route {quoted} on line {line}, and neither is more specific; \
                 add a condition to one of them"
            );
            reader.refuse(matches[later].0, message);
        }
    }
}

/// Parts a group by the value of a header or parameter that all of it match exactly: routes with
/// different values there exclude each other. `None` when there is no such field.
fn part(matches: &[Entry<'_>], group: &[usize]) -> Option<Vec<Vec<usize>>> {
    let first = &matches[group[0]].2;
    let parted_by = |fields: fn(&Match) -> &[FieldMatch]| {
        fields(first).iter().find_map(|field| {
            let mut parts: HashMap<&str, Vec<usize>> = HashMap::new();
            for &i in group {
                let value = exact_value(fields(&matches[i].2), &field.name)?;
                parts.entry(value).or_default().push(i);
            }
            (parts.len() > 1).then(|| parts.into_values().collect::<Vec<_>>())
        })
    };
    parted_by(|matched| &matched.headers).or_else(|| parted_by(|matched| &matched.query))
}

fn exact_value<'m>(fields: &'m [FieldMatch], name: &str) -> Option<&'m str> {
    fields.iter().find_map(|field| match &field.test {
        FieldTest::Exact(value) if field.name == name => Some(value.as_str()),
        FieldTest::Exact(_) | FieldTest::Prefix(_) | FieldTest::Regex(_) | FieldTest::Present(_) => None,
    })
}

/// What two paths of equal rank that overlap have in common: everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum PathKey<'m> {
    Any,
    Exact(&'m str),
    Prefix(&'m str),
    Regex(&'m str),
}

impl<'m> PathKey<'m> {
    fn of(path: &'m PathMatch) -> Self {
        match path {
            PathMatch::Any => Self::Any,
            PathMatch::Exact(path) => Self::Exact(path),
            PathMatch::Prefix(path) => Self::Prefix(path),
            PathMatch::Regex(regex) => Self::Regex(regex.as_str()),
        }
    }
}

/// Half a million comparisons at most for one host and path.
const TOGETHER_MAX: usize = 1_000;
