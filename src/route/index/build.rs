//! Arranges matches into an [`Index`], once for each structure.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;

use super::{
    Candidate, Host, Index, Kind, Place, Sizes, Text, dots, hash_of_exact, hash_of_host, hash_of_prefix, indexes,
    segments,
};
use crate::route::lookup::Lookup;
use crate::route::matcher::{HostKey, Match, PathKey, PathMatch};

/// The matches that share a host, by path.
type Paths<'m> = BTreeMap<PathKey<'m>, Vec<(Candidate, &'m Match)>>;

impl Index {
    /// Arranges `matches`; the answers of [`Index::find`] are positions in it.
    ///
    /// # Panics
    /// With more than four billion matches.
    #[must_use]
    pub fn new<'a>(matches: impl IntoIterator<Item = &'a Match>) -> Self {
        Self::of((0..).zip(matches))
    }

    /// Arranges matches, each with what [`Index::find`] answers for it. Several may have one answer.
    ///
    /// # Panics
    /// With more than four billion matches.
    #[must_use]
    pub fn of<'a>(matches: impl IntoIterator<Item = (u32, &'a Match)>) -> Self {
        let mut hosts: BTreeMap<HostKey<'_>, Paths<'_>> = BTreeMap::new();
        let mut index = Self::default();
        for (position, wanted) in matches {
            let candidate = Candidate {
                position,
                conditions: (wanted.conditions() > 0).then(|| next(&index.conditions)),
            };
            if candidate.conditions.is_some() {
                index.conditions.push(wanted.clone());
            }
            for key in wanted.rank_keys() {
                let paths = hosts.entry(key.host).or_default();
                paths.entry(key.path).or_default().push((candidate, wanted));
            }
        }
        for (host, paths) in hosts {
            index.add_host(host, paths);
        }
        index.by_name = Lookup::new((0..).zip(&index.hosts).filter_map(|(number, host)| match host.kind {
            Kind::Exact | Kind::Open => Some((hash_of_host(host.kind, index.text(host.name)), number)),
            Kind::Other => None,
        }));
        index.by_path = Lookup::new((0..).zip(&index.places).filter_map(|(number, place)| match place.kind {
            Kind::Exact => Some((hash_of_exact(place.host, index.text(place.path)), number)),
            Kind::Open => Some((hash_of_prefix(place.host, index.text(place.path)), number)),
            Kind::Other => None,
        }));
        index.link_prefixes();
        index
    }

    fn add_host(&mut self, key: HostKey<'_>, paths: Paths<'_>) {
        let number = next(&self.hosts);
        let (kind, name) = match key {
            HostKey::Exact(name) => (Kind::Exact, name),
            HostKey::Wildcard(name) => (Kind::Open, name),
            HostKey::Any => (Kind::Other, ""),
        };
        match kind {
            Kind::Exact => {}
            Kind::Open => self.wildcard_labels.add(dots(name.as_bytes()) + 1),
            Kind::Other => self.any_host = Some(number),
        }
        let mut host = Host {
            kind,
            name: self.add_text(name),
            exact_len_max: None,
            prefix_segments: Sizes::default(),
            regexes: next(&self.regexes)..next(&self.regexes),
            any_path: None,
        };
        for (path, candidates) in paths {
            let place = next(&self.places);
            let (kind, text) = match path {
                PathKey::Exact(path) => (Kind::Exact, path),
                PathKey::Prefix(path) => (Kind::Open, path),
                PathKey::Regex(_) | PathKey::Any => (Kind::Other, ""),
            };
            let path = self.add_text(text);
            match (&candidates[0].1.path, kind) {
                (PathMatch::Regex(regex), _) => self.regexes.push((regex.clone(), place)),
                (_, Kind::Exact) => host.exact_len_max = host.exact_len_max.max(Some(path.len)),
                (_, Kind::Open) => host.prefix_segments.add(segment_count(text.as_bytes())),
                (_, Kind::Other) => host.any_path = Some(place),
            }
            let (first, others) = self.add_candidates(candidates);
            self.places.push(Place {
                host: number,
                kind,
                path,
                shorter: None,
                first,
                others,
            });
        }
        host.regexes.end = next(&self.regexes);
        // They came by text, and the sort is stable.
        self.regexes[indexes(&host.regexes)].sort_by_key(|(regex, _)| Reverse(regex.as_str().len()));
        self.hosts.push(host);
    }

    /// Puts them in the order in which they are tried. Where the numbers of conditions are equal,
    /// their text decides and not the order of the file.
    fn add_candidates(&mut self, mut candidates: Vec<(Candidate, &Match)>) -> (Candidate, Range<u32>) {
        if candidates.len() > 1 {
            candidates.sort_by_cached_key(|(_, wanted)| {
                let text = format!("{:?}", (&wanted.methods, &wanted.headers, &wanted.query));
                (Reverse(wanted.conditions()), text)
            });
        }
        let start = next(&self.candidates);
        let others = candidates.iter().skip(1).map(|(candidate, _)| *candidate);
        self.candidates.extend(others);
        (candidates[0].0, start..next(&self.candidates))
    }

    fn add_text(&mut self, text: &str) -> Text {
        let start = next(&self.texts);
        self.texts.extend_from_slice(text.as_bytes());
        let len = next(&self.texts) - start;
        Text { start, len }
    }

    /// Leads from each prefix to the next shorter one.
    fn link_prefixes(&mut self) {
        for number in 0..self.places.len() {
            let Place { host, kind, path, .. } = &self.places[number];
            let path = self.text(*path);
            let above = path.iter().rposition(|&byte| byte == b'/');
            let above = above.filter(|_| *kind == Kind::Open).map(|end| &path[..end]);
            let shorter = above.and_then(|above| self.longest_prefix(*host, &self.hosts[*host as usize], above));
            self.places[number].shorter = shorter;
        }
    }
}

impl Sizes {
    fn add(&mut self, size: u32) {
        self.bits |= 1 << size.min(63);
        self.max = self.max.max(size);
    }
}

fn segment_count(path: &[u8]) -> u32 {
    segments(path).map(|_| 1).sum()
}

/// The number that the next item of `list` will have.
fn next<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).expect("a configuration holds fewer than four billion items")
}
