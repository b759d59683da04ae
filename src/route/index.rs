//! Finds the most specific match: one look-up for the host, one for each length of path prefix
//! that occurs, whatever the number of routes.
//!
//! A *place* is one path condition under one host; the matches that share it are its candidates.
//! A request walks the places that fit it, the most specific first, until the conditions of a
//! candidate hold. Only regular expressions under one host and the candidates of one place are
//! tried one by one.

mod build;

use std::ops::Range;

use regex::Regex;

use super::lookup::{Hash, Lookup};
use super::matcher::{Match, without_end};
use crate::head::RequestHead;

/// All routes' matches, arranged for finding the most specific.
#[derive(Debug, Default)]
pub struct Index {
    hosts: Vec<Host>,
    by_name: Lookup,
    /// How many labels the wildcards have.
    wildcard_labels: Sizes,
    /// The host of matches that name none.
    any_host: Option<u32>,
    places: Vec<Place>,
    by_path: Lookup,
    candidates: Vec<Candidate>,
    /// The matches that have conditions beside host and path.
    conditions: Vec<Match>,
    /// With their places.
    regexes: Vec<(Regex, u32)>,
    /// All hosts and paths, one after the other: among many routes each separate text would be one
    /// more line of cache to wait for.
    texts: Vec<u8>,
}

/// Fits a line of cache, as [`Place`] does.
#[derive(Debug)]
#[repr(align(64))]
struct Host {
    kind: Kind,
    name: Text,
    /// The longest exact path, in bytes.
    exact_len_max: Option<u32>,
    /// How many segments the prefixes have.
    prefix_segments: Sizes,
    /// The longest pattern first, then by text.
    regexes: Range<u32>,
    /// The place of matches that name no path.
    any_path: Option<u32>,
}

#[derive(Debug)]
#[repr(align(64))]
struct Place {
    host: u32,
    kind: Kind,
    path: Text,
    /// Of a prefix: the place of the next shorter one.
    shorter: Option<u32>,
    /// The one with the most conditions, then the rest: most places have one.
    first: Candidate,
    others: Range<u32>,
}

/// A part of `Index::texts`.
#[derive(Clone, Copy, Debug)]
struct Text {
    start: u32,
    len: u32,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// The answer.
    position: u32,
    /// Index in `Index::conditions`, if there are any.
    conditions: Option<u32>,
}

/// How a host or a path is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It alone.
    Exact,
    /// What ends so (hosts), it and what begins so (paths).
    Open,
    /// Never looked up by its text.
    Other,
}

/// Which numbers occur; those above 63 count as 63.
#[derive(Clone, Copy, Debug, Default)]
struct Sizes {
    bits: u64,
    max: u32,
}

/// A longer host has no route of its own: names end at 253 bytes (RFC 1035 §2.3.4).
const HOST_LEN_MAX: usize = 255;

impl Index {
    /// The position of the most specific match for `head`; `peer_trusted`: what it says of other hops is believed. Hosts are compared without regard to
    /// case and to a dot at the end. Does not allocate, but for what `regex` keeps for each thread.
    #[must_use]
    pub fn find(&self, head: &RequestHead, peer_trusted: bool) -> Option<usize> {
        let mut room = [0; HOST_LEN_MAX];
        let host = lower_case(without_end(head.host(), '.'), &mut room);
        let path = head.path();
        let find_under = |host| self.find_under(host, path, (head, peer_trusted));
        self.host(Kind::Exact, host)
            .and_then(find_under)
            .or_else(|| self.find_under_wildcards(host, find_under))
            .or_else(|| self.any_host.and_then(find_under))
            .map(|position| position as usize)
    }

    fn find_under_wildcards(&self, host: &[u8], find_under: impl Fn(u32) -> Option<u32>) -> Option<u32> {
        if self.wildcard_labels.is_empty() {
            return None;
        }
        let mut labels = dots(host);
        let mut rest = host;
        while let Some(dot) = rest.iter().position(|&byte| byte == b'.') {
            rest = &rest[dot + 1..];
            // A dot in front of the whole host ends no label.
            let found = (self.wildcard_labels.has(labels) && rest.len() + 1 < host.len())
                .then(|| self.host(Kind::Open, rest))
                .flatten()
                .and_then(&find_under);
            if found.is_some() {
                return found;
            }
            labels -= 1;
        }
        None
    }

    fn find_under(&self, number: u32, path: &str, asked: (&RequestHead, bool)) -> Option<u32> {
        let host = &self.hosts[number as usize];
        let candidate_of = |place| self.candidate_of(place, asked);
        self.exact_path(number, host, path.as_bytes())
            .and_then(candidate_of)
            .or_else(|| {
                let longest = self.longest_prefix(number, host, path.as_bytes());
                std::iter::successors(longest, |&place| self.places[place as usize].shorter).find_map(candidate_of)
            })
            .or_else(|| {
                let regexes = self.regexes[indexes(&host.regexes)].iter();
                let fitting = regexes.filter(|(regex, _)| regex.is_match(path));
                fitting.map(|&(_, place)| place).find_map(candidate_of)
            })
            .or_else(|| host.any_path.and_then(candidate_of))
    }

    fn candidate_of(&self, place: u32, (head, peer_trusted): (&RequestHead, bool)) -> Option<u32> {
        let Place { first, others, .. } = &self.places[place as usize];
        let holds = |candidate: &&Candidate| {
            let conditions = candidate.conditions.map(|at| &self.conditions[at as usize]);
            conditions.is_none_or(|conditions| conditions.conditions_hold(head, peer_trusted))
        };
        let found = Some(first)
            .filter(holds)
            .or_else(|| self.candidates[indexes(others)].iter().find(holds));
        found.map(|candidate| candidate.position)
    }

    fn host(&self, kind: Kind, name: &[u8]) -> Option<u32> {
        self.by_name.find(hash_of_host(kind, name), |number| {
            let host = &self.hosts[number as usize];
            host.kind == kind && self.text(host.name) == name
        })
    }

    fn exact_path(&self, number: u32, host: &Host, path: &[u8]) -> Option<u32> {
        (host.exact_len_max? as usize >= path.len())
            .then(|| self.place(hash_of_exact(number, path), number, Kind::Exact, path))
            .flatten()
    }

    /// The place of the longest prefix of `path`. Reads no more segments than the longest prefix has.
    fn longest_prefix(&self, number: u32, host: &Host, path: &[u8]) -> Option<u32> {
        if host.prefix_segments.is_empty() {
            return None;
        }
        let mut found = None;
        let mut hash = hash_of_prefix(number, &[]);
        let mut end = 0;
        for segments in 0..=host.prefix_segments.max {
            if segments > 0 {
                let Some(next) = segment_end(path, end) else { break };
                hash = hash.absorb(&path[end..next]);
                end = next;
            }
            if host.prefix_segments.has(segments) {
                found = self.place(hash, number, Kind::Open, &path[..end]).or(found);
            }
        }
        found
    }

    fn place(&self, hash: Hash, host: u32, kind: Kind, path: &[u8]) -> Option<u32> {
        self.by_path.find(hash, |number| {
            let place = &self.places[number as usize];
            place.host == host && place.kind == kind && self.text(place.path) == path
        })
    }

    fn text(&self, text: Text) -> &[u8] {
        &self.texts[text.start as usize..][..text.len as usize]
    }
}

impl Sizes {
    const fn has(self, size: u32) -> bool {
        let bit = if size < 63 { size } else { 63 };
        self.bits >> bit & 1 == 1
    }

    const fn is_empty(self) -> bool {
        self.bits == 0
    }
}

fn hash_of_host(kind: Kind, name: &[u8]) -> Hash {
    Hash::seeded(kind as u64).absorb(name)
}

fn hash_of_exact(host: u32, path: &[u8]) -> Hash {
    Hash::seeded(u64::from(host) << 1).absorb(path)
}

/// Absorbs segment by segment, as [`Index::longest_prefix`] does.
fn hash_of_prefix(host: u32, path: &[u8]) -> Hash {
    segments(path).fold(Hash::seeded((u64::from(host) << 1) | 1), Hash::absorb)
}

/// The segments of a path, each with its slash in front.
fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let end = segment_end(path, start)?;
        Some(&path[std::mem::replace(&mut start, end)..end])
    })
}

/// Where the segment that begins at `start` ends; `None` at the end of the path.
fn segment_end(path: &[u8], start: usize) -> Option<usize> {
    let after_slash = path.get(start + 1..)?;
    (start < path.len()).then(|| {
        let len = after_slash.iter().position(|&byte| byte == b'/');
        start + 1 + len.unwrap_or(after_slash.len())
    })
}

fn dots(name: &[u8]) -> u32 {
    name.iter().map(|&byte| u32::from(byte == b'.')).sum()
}

fn indexes(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

/// `host` in lower case, in `room` if it is not so already.
fn lower_case<'a>(host: &'a str, room: &'a mut [u8; HOST_LEN_MAX]) -> &'a [u8] {
    match room.get_mut(..host.len()) {
        None => &[],
        Some(_) if !host.bytes().any(|byte| byte.is_ascii_uppercase()) => host.as_bytes(),
        Some(room) => {
            room.copy_from_slice(host.as_bytes());
            room.make_ascii_lowercase();
            room
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::Index;
    use crate::head::{HeadBuilder, Method, RequestHead, Version};
    use crate::route::{FieldMatch, FieldTest, HostMatch, Match, PathMatch};

    /// `host path conditions…`; a host or path of `-` is any, `~` begins a regular expression, `…` ends a
    /// prefix; a condition is a method, `header:value` or `query=value`.
    fn wanted(text: &str) -> Match {
        let mut words = text.split(' ');
        let hosts = words.next().unwrap();
        let hosts = hosts.split(',').filter(|&host| host != "-");
        let mut wanted = Match {
            hosts: hosts
                .map(|host| match host.strip_prefix("*.") {
                    Some(suffix) => HostMatch::Wildcard(suffix.to_owned()),
                    None => HostMatch::Exact(host.to_owned()),
                })
                .collect(),
            path: match words.next().unwrap() {
                "-" => PathMatch::Any,
                path if path.starts_with('~') => {
                    PathMatch::Regex(Regex::new(&format!("^(?:{})$", &path[1..])).unwrap())
                }
                path => match path.strip_suffix('…') {
                    Some(prefix) => PathMatch::Prefix(prefix.to_owned()),
                    None => PathMatch::Exact(path.to_owned()),
                },
            },
            ..Match::default()
        };
        for word in words {
            let field = |(name, value): (&str, &str)| FieldMatch {
                name: name.to_owned(),
                test: FieldTest::Exact(value.to_owned()),
            };
            match (word.split_once(':'), word.split_once('=')) {
                (Some(header), _) => wanted.headers.push(field(header)),
                (None, Some(query)) => wanted.query.push(field(query)),
                (None, None) => wanted.methods.push(Method::parse(word)),
            }
        }
        wanted
    }

    /// `METHOD host target header:value…`
    fn request(text: &str) -> RequestHead {
        let mut words = text.split(' ');
        let method = Method::parse(words.next().unwrap());
        let (host, target) = (words.next().unwrap(), words.next().unwrap());
        let mut head = HeadBuilder::default();
        for (name, value) in words.map(|word| word.split_once(':').unwrap()) {
            head.field(name.as_bytes(), value.as_bytes());
        }
        head.request(method, Version::Http11, host, target)
    }

    /// Whichever way round the file lists them, `expected` (by its text) is found.
    fn check(routes: &[&str], asked: &str, expected: Option<&str>) {
        let mut routes = routes.to_vec();
        for _ in 0..2 {
            let matches: Vec<Match> = routes.iter().map(|text| wanted(text)).collect();
            let found = Index::new(&matches).find(&request(asked), true).map(|at| routes[at]);
            assert_eq!(found, expected, "{asked} in {routes:?}");
            routes.reverse();
        }
    }

    #[test]
    fn the_host_ranks_first() {
        let hosts = &[
            "- /a",
            "*.example.com /a…",
            "*.shop.example.com -",
            "www.shop.example.com /…",
        ];
        check(hosts, "GET www.shop.example.com /a", Some("www.shop.example.com /…"));
        check(hosts, "GET w3.shop.example.com /a", Some("*.shop.example.com -"));
        check(hosts, "GET a.b.shop.example.com /a", Some("*.shop.example.com -"));
        check(hosts, "GET shop.example.com /a", Some("*.example.com /a…"));
        check(hosts, "GET example.com /a", Some("- /a"));
        check(hosts, "GET .example.com /a", Some("- /a"));
        check(hosts, "GET xexample.com /a", Some("- /a"));
        check(hosts, "GET  /a", Some("- /a"));
        check(hosts, "GET shop.example.com /b", None);
    }

    #[test]
    fn a_host_is_compared_without_case_port_and_last_dot() {
        let hosts = &["shop.example.com -", "*.example.org -", "[::1] -"];
        check(hosts, "GET Shop.EXAMPLE.com:8080 /", Some("shop.example.com -"));
        check(hosts, "GET shop.example.com. /", Some("shop.example.com -"));
        check(hosts, "GET A.Example.Org.:80 /", Some("*.example.org -"));
        check(hosts, "GET [::1]:80 /", Some("[::1] -"));
        check(hosts, "GET shop.example.com.. /", None);
        check(hosts, &format!("GET {}.example.org /", "a".repeat(255)), None);
    }

    #[test]
    fn the_path_ranks_second() {
        let paths = &["h -", "h ~/a/.*", "h ~/a/b.*", "h /…", "h /a…", "h /a/b…", "h /a/b"];
        check(paths, "GET h /a/b", Some("h /a/b"));
        check(paths, "GET h /a/b?c", Some("h /a/b"));
        check(paths, "GET h /a/b/", Some("h /a/b…"));
        check(paths, "GET h /a/bc", Some("h /a…"));
        check(paths, "GET h /ab", Some("h /…"));
        check(paths, "GET h *", Some("h /…"));
        let regexes = &["h -", "h ~/a/.*", "h ~/a/b.*", "h ~/a/c.*"];
        check(regexes, "GET h /a/bc", Some("h ~/a/b.*"));
        check(regexes, "GET h /a/x", Some("h ~/a/.*"));
        check(regexes, "GET h /b", Some("h -"));
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        check(&["- /api…"], "GET h /api", Some("- /api…"));
        check(&["- /api…"], "GET h /api/", Some("- /api…"));
        check(&["- /api…"], "GET h /api/x?y", Some("- /api…"));
        check(&["- /api…"], "GET h /apix", None);
        check(&["- /api…"], "GET h /", None);
        check(&["- /api/…"], "GET h /api", Some("- /api/…"));
        check(&["- /api/…"], "GET h /apix", None);
        check(&["- /…"], "GET h /", Some("- /…"));
        check(&["- /a//b…"], "GET h /a//b/c", Some("- /a//b…"));
    }

    #[test]
    fn a_prefix_of_any_depth_is_found() {
        let deep = format!("- {}…", "/a".repeat(200));
        check(&[&deep, "- /…"], &format!("GET h {}", "/a".repeat(201)), Some(&deep));
        check(&[&deep, "- /…"], &format!("GET h {}", "/a".repeat(199)), Some("- /…"));
    }

    #[test]
    fn more_conditions_rank_third() {
        let routes = &["h /a", "h /a GET", "h /a GET POST x:1", "h /a GET x:1 q=2", "h /…"];
        check(routes, "PUT h /a", Some("h /a"));
        check(routes, "GET h /a", Some("h /a GET"));
        check(routes, "POST h /a x:1", Some("h /a GET POST x:1"));
        check(routes, "GET h /a?q=2 x:1", Some("h /a GET x:1 q=2"));
        check(routes, "GET h /a?q=3 x:1", Some("h /a GET POST x:1"));
    }

    #[test]
    fn conditions_that_fail_lead_to_the_next_less_specific() {
        let routes = &[
            "h /a/b x:1",
            "h /a… x:2",
            "h ~/a.* x:3",
            "h - x:4",
            "*.h - x:5",
            "- /… x:6",
            "- -",
        ];
        check(routes, "GET h /a/b x:1", Some("h /a/b x:1"));
        check(routes, "GET h /a/b x:2", Some("h /a… x:2"));
        check(routes, "GET h /a/b x:3", Some("h ~/a.* x:3"));
        check(routes, "GET h /a/b x:4", Some("h - x:4"));
        check(routes, "GET i.h /a/b x:5", Some("*.h - x:5"));
        check(routes, "GET h /a/b x:6", Some("- /… x:6"));
        check(routes, "GET h /a/b", Some("- -"));
        check(
            &["h /a… x:1", "h /a/b/c… x:2", "h /…"],
            "GET h /a/b/c/d x:1",
            Some("h /a… x:1"),
        );
    }

    #[test]
    fn a_request_with_both_values_does_not_ask_for_the_order_of_the_file() {
        check(&["- - x:1", "- - x:2"], "GET h / x:2 x:1", Some("- - x:1"));
    }

    /// The rank of `wanted` for this request, by trying it on; greater is more specific.
    fn rank(wanted: &Match, head: &RequestHead) -> Option<(usize, (usize, usize, String), usize)> {
        let (host, path) = (head.host().to_lowercase(), head.path());
        let hosts = wanted.hosts.iter().filter_map(|wanted| match wanted {
            HostMatch::Exact(name) => (*name == host).then_some(usize::MAX),
            HostMatch::Wildcard(suffix) => host
                .strip_suffix(suffix.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
                .then_some(suffix.len()),
        });
        let host_rank = if wanted.hosts.is_empty() { 0 } else { hosts.max()? };
        let path_rank = match &wanted.path {
            PathMatch::Any => Some((0, 0)),
            PathMatch::Regex(regex) => regex.is_match(path).then_some((1, regex.as_str().len())),
            PathMatch::Prefix(prefix) => {
                let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
                let rest = path.strip_prefix(prefix);
                let fits = prefix.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
                fits.then_some((2, prefix.len()))
            }
            PathMatch::Exact(exact) => (exact == path).then_some((3, 0)),
        }?;
        let conditions = wanted.conditions();
        // Of equally long expressions the first by text wins: the complement makes it the greatest.
        let text = match &wanted.path {
            PathMatch::Regex(regex) => regex.as_str().bytes().map(|byte| char::from(255 - byte)).collect(),
            _ => String::new(),
        };
        wanted
            .conditions_hold(head, true)
            .then_some((host_rank, (path_rank.0, path_rank.1, text), conditions))
    }

    fn some_match() -> impl Strategy<Value = String> {
        let host = prop::sample::select(vec!["-", "a.b", "c.a.b", "*.b", "*.a.b", "a.b,*.a.b", "b,*.b"]);
        let path = prop_oneof![
            Just("-".to_owned()),
            Just("~/a.*".to_owned()),
            Just("~/b.*".to_owned()),
            Just("~/a/[ab]+/?".to_owned()),
            "(/[ab]{1,2}){0,3}/?…",
            "(/[ab]{1,2}){1,3}",
        ];
        let conditions = prop::sample::select(vec!["", " GET", " x:1", " GET x:1", " q=1", " POST x:2 q=1"]);
        (host, path, conditions).prop_map(|(host, path, conditions)| format!("{host} {path}{conditions}"))
    }

    fn some_request() -> impl Strategy<Value = String> {
        let method = prop::sample::select(vec!["GET", "POST"]);
        let host = prop::sample::select(vec!["a.b", "c.a.b", "C.A.B", "d.a.b", "b", "e.b", "x", ""]);
        let path = "(/[ab]{1,2}){0,4}/?(\\?q=1)?";
        let headers = prop::sample::select(vec!["", " x:1", " x:2"]);
        (method, host, path, headers).prop_map(|(method, host, path, headers)| {
            let slash = if path.starts_with('/') { "" } else { "/" };
            format!("{method} {host} {slash}{path}{headers}")
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn find_agrees_with_trying_every_match(
            texts in prop::collection::vec(some_match(), 0..40),
            asked in prop::collection::vec(some_request(), 20),
        ) {
            let matches: Vec<Match> = texts.iter().map(|text| wanted(text)).collect();
            let index = Index::new(&matches);
            for asked in asked {
                let head = request(&asked);
                let best = matches.iter().filter_map(|wanted| rank(wanted, &head)).max();
                let found = index.find(&head, true).map(|at| rank(&matches[at], &head));
                prop_assert_eq!(found, best.map(Some), "{} in {:?}", asked, texts);
            }
        }

        #[test]
        fn what_can_match_one_request_at_equal_rank_is_called_ambiguous(
            a in some_match(), b in some_match(), asked in some_request(),
        ) {
            let (head, a, b) = (request(&asked), wanted(&a), wanted(&b));
            if let (Some(of_a), Some(of_b)) = (rank(&a, &head), rank(&b, &head)) {
                prop_assert!(of_a != of_b || a.is_ambiguous_with(&b));
            }
        }
    }
}
