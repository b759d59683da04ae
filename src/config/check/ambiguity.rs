//! Two routes of equal rank that can match the same request: only their order could decide, and the
//! order of a file never does.

use std::collections::HashMap;

use crate::config::read::{Reader, Slot};
use crate::config::tree::NodeId;
use crate::name::Name;
use crate::route::{FieldMatch, FieldTest, Match};

/// A route's node, its name, and its match.
type Entry<'f> = (NodeId, &'f Slot<Name>, Match);

/// Reports each route that an earlier one is ambiguous with, once. Routes are compared only where
/// they share a host and a path, so that the time grows with the file and not with its square.
pub(super) fn check(matches: &[Entry<'_>], reader: &mut Reader<'_>) {
    let mut groups: HashMap<_, Vec<usize>> = HashMap::new();
    for (i, (_, _, matched)) in matches.iter().enumerate() {
        for key in matched.rank_keys() {
            let group = groups.entry(key).or_default();
            if group.last() != Some(&i) {
                group.push(i);
            }
        }
    }
    let mut groups: Vec<_> = groups.into_values().filter(|group| group.len() > 1).collect();
    groups.sort();
    let mut search = Search {
        matches,
        reported: vec![false; matches.len()],
        comparisons_left: COMPARISONS_MAX,
        gave_up: false,
    };
    for group in groups {
        search.compare(group, reader);
    }
}

struct Search<'f> {
    matches: &'f [Entry<'f>],
    reported: Vec<bool>,
    comparisons_left: usize,
    gave_up: bool,
}

impl Search<'_> {
    fn compare(&mut self, group: Vec<usize>, reader: &mut Reader<'_>) {
        if group.len() > FEW
            && let Some(parts) = part(self.matches, &group)
        {
            for part in parts {
                self.compare(part, reader);
            }
            return;
        }
        for (n, &later) in group.iter().enumerate() {
            if self.reported[later] {
                continue;
            }
            if self.comparisons_left < n {
                self.give_up(later, reader);
                return;
            }
            self.comparisons_left -= n;
            let matched = &self.matches[later].2;
            let first = group[..n]
                .iter()
                .find(|&&earlier| self.matches[earlier].2.is_ambiguous_with(matched));
            if let Some(&first) = first {
                self.report(first, later, reader);
            }
        }
    }

    fn report(&mut self, first: usize, later: usize, reader: &mut Reader<'_>) {
        self.reported[later] = true;
        let (at, name, _) = &self.matches[first];
        let line = reader.tree.get(*at).place.0;
        let name = match name.get() {
            Some(_) => reader.tree.quote(name.at),
            None => "without a name".into(),
        };
        let message = format!(
            "can match the same requests as the route {name} on line {line}, and neither is more specific; \
             add a condition to one of them"
        );
        reader.refuse(self.matches[later].0, message);
    }

    /// Says once that there is too much to compare.
    fn give_up(&mut self, later: usize, reader: &mut Reader<'_>) {
        if !std::mem::replace(&mut self.gave_up, true) {
            let message = "shares host and path with more routes than can be told apart; give them paths of their own, \
                           or one header that each of them matches exactly";
            reader.refuse(self.matches[later].0, message);
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
        _ => None,
    })
}

/// Groups of so many are not worth parting.
const FEW: usize = 64;
/// Some 1,400 routes that nothing parts; well under a second.
const COMPARISONS_MAX: usize = 1_000_000;
