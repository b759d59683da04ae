//! Host, path, method, header and query matches, and their rank.
//!
//! The most specific match wins, never the order of the file. Rank compares, in this order: the
//! host (exact, longest wildcard, any), the path (exact, longest prefix, regular expression, any),
//! the number of conditions. A list of methods is one condition, each header and each query
//! parameter is one. Of regular expressions the longer one comes first, of equally long ones the
//! first by text. Paths are compared byte for byte, in the canonical form of [`crate::path`].

use regex::Regex;

use super::field::FieldMatch;
use super::proxied::is_proxys;
use crate::head::{Fields, Method, RequestHead};

/// Which requests a route wants. Empty lists: no condition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Match {
    /// Any of these.
    pub hosts: Vec<HostMatch>,
    /// The path.
    pub path: PathMatch,
    /// Any of these.
    pub methods: Vec<Method>,
    /// All of these.
    pub headers: Vec<FieldMatch>,
    /// All of these.
    pub query: Vec<FieldMatch>,
}

/// A host, lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostMatch {
    /// This host.
    Exact(String),
    /// `*.` and this: any host with at least one more label in front.
    Wildcard(String),
}

/// A path condition.
#[derive(Clone, Debug, Default)]
pub enum PathMatch {
    /// Every path.
    #[default]
    Any,
    /// This path.
    Exact(String),
    /// This path and what lies below it, in whole segments; a slash at its end changes nothing.
    Prefix(String),
    /// The whole path matches; the expression is anchored on both sides by whoever compiled it.
    Regex(Regex),
}

/// What two matches must share to be ambiguous: one host, the path and the number of conditions.
/// Whoever looks for ambiguities compares only matches that have such a key in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RankKey<'m> {
    pub(super) host: HostKey<'m>,
    pub(super) path: PathKey<'m>,
    conditions: usize,
}

/// A host without a dot at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum HostKey<'m> {
    Exact(&'m str),
    Wildcard(&'m str),
    Any,
}

/// A path in the one way of writing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum PathKey<'m> {
    Exact(&'m str),
    /// Without a slash at its end; empty for all.
    Prefix(&'m str),
    Regex(&'m str),
    Any,
}

impl PartialEq for PathMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, Self::Any) => true,
            (Self::Exact(a), Self::Exact(b)) | (Self::Prefix(a), Self::Prefix(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            (Self::Any | Self::Exact(_) | Self::Prefix(_) | Self::Regex(_), _) => false,
        }
    }
}

impl Match {
    /// Whether two matches of equal rank can both match one request: then their order would decide.
    ///
    /// Conditions on one field that no single value satisfies keep two matches apart. A request
    /// that carries both values in two lines meets both; then the texts of the conditions decide.
    #[must_use]
    pub fn is_ambiguous_with(&self, other: &Self) -> bool {
        let excludes = |mine: &[FieldMatch], theirs: &[FieldMatch]| {
            mine.iter()
                .any(|mine| theirs.iter().any(|theirs| mine.excludes(theirs)))
        };
        self.rank_keys()
            .any(|mine| other.rank_keys().any(|theirs| mine == theirs))
            && (self.methods.is_empty()
                || other.methods.is_empty()
                || self.methods.iter().any(|method| other.methods.contains(method)))
            && !excludes(&self.headers, &other.headers)
            && !excludes(&self.query, &other.query)
    }

    /// One key for each host, or one for all. Two matches without a common key are never ambiguous.
    pub fn rank_keys(&self) -> impl Iterator<Item = RankKey<'_>> {
        let any = self.hosts.is_empty().then_some(HostKey::Any);
        self.hosts.iter().map(HostMatch::key).chain(any).map(|host| RankKey {
            host,
            path: self.path.key(),
            conditions: self.conditions(),
        })
    }

    /// How many conditions there are beside host and path.
    pub(super) fn conditions(&self) -> usize {
        usize::from(!self.methods.is_empty()) + self.headers.len() + self.query.len()
    }

    /// Whether the conditions beside host and path hold. What only proxies may say counts for nothing where the peer
    /// is not trusted: there is no such header then.
    pub(super) fn conditions_hold(&self, head: &RequestHead, peer_trusted: bool) -> bool {
        let holds = |header: &FieldMatch| match peer_trusted || !is_proxys(header.name.as_bytes()) {
            true => header.holds_in_fields(head.fields()),
            false => header.holds_in_fields(&Fields::default()),
        };
        (self.methods.is_empty() || self.methods.contains(head.method()))
            && self.headers.iter().all(holds)
            && self.query.iter().all(|query| query.holds_in_query(head.query()))
    }
}

impl HostMatch {
    fn key(&self) -> HostKey<'_> {
        match self {
            Self::Exact(host) => HostKey::Exact(without_end(host, '.')),
            Self::Wildcard(host) => HostKey::Wildcard(without_end(host, '.')),
        }
    }
}

impl PathMatch {
    fn key(&self) -> PathKey<'_> {
        match self {
            Self::Any => PathKey::Any,
            Self::Exact(path) => PathKey::Exact(path),
            Self::Prefix(path) => PathKey::Prefix(without_end(path, '/')),
            Self::Regex(regex) => PathKey::Regex(regex.as_str()),
        }
    }
}

/// `text` without one `end` at its end.
pub(super) fn without_end(text: &str, end: char) -> &str {
    text.strip_suffix(end).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::{HostMatch, Match, PathMatch};
    use crate::head::Method;
    use crate::route::{FieldMatch, FieldTest};

    fn exact_host(host: &str) -> Match {
        Match {
            hosts: vec![HostMatch::Exact(host.to_owned())],
            ..Match::default()
        }
    }

    fn path(path: PathMatch) -> Match {
        Match {
            path,
            ..Match::default()
        }
    }

    fn prefix(text: &str) -> Match {
        path(PathMatch::Prefix(text.to_owned()))
    }

    fn regex(text: &str) -> Match {
        path(PathMatch::Regex(Regex::new(text).unwrap()))
    }

    fn methods(methods: &[Method]) -> Match {
        Match {
            methods: methods.to_vec(),
            ..Match::default()
        }
    }

    fn header(name: &str, value: &str) -> Match {
        Match {
            headers: vec![FieldMatch {
                name: name.to_owned(),
                test: FieldTest::Exact(value.to_owned()),
            }],
            ..Match::default()
        }
    }

    fn check(a: &Match, b: &Match, ambiguous: bool) {
        assert_eq!(
            (a.is_ambiguous_with(b), b.is_ambiguous_with(a)),
            (ambiguous, ambiguous),
            "{a:?} {b:?}"
        );
    }

    #[test]
    fn hosts_must_overlap() {
        check(&Match::default(), &Match::default(), true);
        check(&exact_host("a"), &exact_host("a"), true);
        check(&exact_host("a"), &exact_host("a."), true);
        check(&exact_host("a"), &exact_host("b"), false);
        check(&exact_host("a"), &Match::default(), false);
        let both = Match {
            hosts: vec![HostMatch::Wildcard("a".into()), HostMatch::Exact("b".into())],
            ..Match::default()
        };
        check(&both, &exact_host("b"), true);
        check(&both, &exact_host("a"), false);
    }

    #[test]
    fn paths_must_be_the_same() {
        check(&prefix("/api"), &prefix("/api/"), true);
        check(&prefix("/api"), &prefix("/ap"), false);
        check(&prefix("/api"), &path(PathMatch::Exact("/api".into())), false);
        check(&prefix("/"), &Match::default(), false);
        check(&regex("^(?:/a+)$"), &regex("^(?:/a+)$"), true);
        check(&regex("^(?:/a+)$"), &regex("^(?:/a*)$"), false);
    }

    #[test]
    fn conditions_must_be_as_many_and_not_exclude_each_other() {
        check(&methods(&[Method::Get]), &methods(&[Method::Get, Method::Post]), true);
        check(&methods(&[Method::Get]), &methods(&[Method::Post]), false);
        check(&methods(&[Method::Get]), &Match::default(), false);
        check(&methods(&[Method::Get]), &header("x", "1"), true);
        check(&header("x", "1"), &header("x", "2"), false);
        check(&header("x", "1"), &header("y", "2"), true);
        let query = Match {
            query: header("x", "1").headers,
            ..Match::default()
        };
        check(&header("x", "2"), &query, true);
    }

    #[test]
    fn ambiguous_matches_share_a_rank_key() {
        let (a, b) = (prefix("/api"), prefix("/api/"));
        assert_eq!(a.rank_keys().collect::<Vec<_>>(), b.rank_keys().collect::<Vec<_>>());
        assert_ne!(a.rank_keys().next(), methods(&[Method::Get]).rank_keys().next());
    }
}
