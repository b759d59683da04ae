//! Host, path, method, header and query matches, and their rank.

use std::sync::Arc;

use regex::Regex;

use super::cohort::FieldMatch;
use crate::head::{Method, RequestHead};

/// Which requests a route wants. Empty lists: no condition.
#[derive(Clone, Debug, Default)]
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
    /// This path and what lies below it, in whole segments.
    Prefix(String),
    /// The whole path matches.
    Regex(Regex),
}

impl PartialEq for Match {
    fn eq(&self, other: &Self) -> bool {
        (&self.hosts, &self.path, &self.methods, &self.headers, &self.query)
            == (&other.hosts, &other.path, &other.methods, &other.headers, &other.query)
    }
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
    #[must_use]
    pub fn is_ambiguous_with(&self, _other: &Self) -> bool {
        todo!()
    }
}

/// All routes' matches, arranged for finding the most specific.
#[derive(Debug)]
pub struct Index {}

impl Index {
    /// Arranges `matches`; the answers of [`Index::find`] are positions in it.
    #[must_use]
    pub fn new<'a>(_matches: impl IntoIterator<Item = &'a Match>) -> Self {
        todo!()
    }

    /// The position of the most specific match for `head`.
    #[must_use]
    pub fn find(&self, _head: &RequestHead) -> Option<usize> {
        todo!()
    }
}

/// Shared by tables of the same structure.
pub(super) type SharedIndex = Arc<Index>;
