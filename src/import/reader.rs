//! Reads one flag's targeting: what was found that has no words here, and the bounds of the reading.

use super::dnf::TooLong;
use super::flagd::Gap;
use super::json::{Node, Path};

/// Operations in each other, shared evaluators included. Also where a circle of evaluators ends.
const DEPTH_MAX: usize = 200;
/// Operations of one flag, shared evaluators counted wherever they are used.
const OPERATIONS_MAX: usize = 10_000;

/// Bytes of a name, of a part of a value, and of a salt.
const TEXT_BYTES_MAX: usize = 4_096;

/// What the parts of a flag's reading share. A part that finds no words for something says so here, and answers
/// `None`.
pub(super) struct Reader<'f> {
    /// The flag's key.
    pub(super) flag: &'f str,
    /// The names of its variants, in file order.
    pub(super) variants: Vec<&'f str>,
    /// The one that the flag answers where its targeting answers nothing.
    pub(super) default: Option<usize>,
    /// What can be shared: members of `$evaluators`.
    evaluators: Option<&'f Node>,
    operations: usize,
    /// What has no words here.
    pub(super) gaps: Vec<Gap>,
}

/// An operation and what it is given.
pub(super) struct Operation<'f> {
    /// Its name.
    pub(super) name: &'f str,
    /// Its arguments; one that is no list stands for a list of one.
    pub(super) arguments: &'f [Node],
}

impl<'f> Reader<'f> {
    /// Begins to read the flag `flag`.
    pub(super) fn new(
        flag: &'f str,
        variants: Vec<&'f str>,
        default: Option<usize>,
        evaluators: Option<&'f Node>,
    ) -> Self {
        Self {
            flag,
            variants,
            default,
            evaluators,
            operations: 0,
            gaps: Vec::new(),
        }
    }

    /// Says that something is not converted: where, why, and what to do instead.
    pub(super) fn say<T>(&mut self, at: &Path<'_>, why: impl Into<String>, instead: &'static str) -> Option<T> {
        self.gaps.push(Gap {
            flag: Some(self.flag.to_owned()),
            at: at.to_string(),
            why: why.into(),
            instead,
        });
        None
    }

    /// The variant of those for whom the targeting answers nothing.
    pub(super) fn default_variant(&mut self, at: &Path<'_>) -> Option<usize> {
        match self.default {
            Some(index) => Some(index),
            None => self.say(
                at,
                "some users get the value that stands in the application's code, for there is no `defaultVariant`",
                "name a `defaultVariant`",
            ),
        }
    }

    /// `text`, if it is one that a configuration takes for a name, a part of a value or a salt.
    pub(super) fn short<'t>(&mut self, at: &Path<'_>, text: &'t str) -> Option<&'t str> {
        match text.len() {
            0..=TEXT_BYTES_MAX => Some(text),
            long => self.say(
                at,
                format!("has a text of {long} bytes, where {TEXT_BYTES_MAX} are the most"),
                "make it shorter",
            ),
        }
    }

    /// What came out, or that it is too long.
    pub(super) fn bounded<T>(&mut self, at: &Path<'_>, of: Result<T, TooLong>) -> Option<T> {
        match of {
            Ok(of) => Some(of),
            Err(TooLong) => self.say(
                at,
                "comes to more than 100 cohorts, or to more than 64 conditions in one",
                "name the users in `keysFile`, or make several flags of it",
            ),
        }
    }

    /// Calls `read` with `node`, or with the shared evaluator that it refers to.
    pub(super) fn resolved<T>(
        &mut self,
        node: &'f Node,
        at: &Path<'_>,
        read: impl FnOnce(&mut Self, &'f Node, &Path<'_>) -> Option<T>,
    ) -> Option<T> {
        self.operations += 1;
        if self.operations == OPERATIONS_MAX || at.depth >= DEPTH_MAX {
            // The rest of such a flag says nothing new.
            self.operations = OPERATIONS_MAX;
            return self.say(
                at,
                format!("is nested more than {DEPTH_MAX} deep, goes in a circle, or has more than {OPERATIONS_MAX} operations"),
                "make it shorter",
            );
        }
        if self.operations > OPERATIONS_MAX {
            return None;
        }
        let Some(("$ref", Node::Text(name))) = node.only_member() else {
            return read(self, node, at);
        };
        let Some(evaluator) = self.evaluators.and_then(|evaluators| evaluators.get(name)) else {
            return self.say(
                at,
                format!("refers to {name:?}, which `$evaluators` does not have"),
                "correct the name",
            );
        };
        let root = Path::root("$evaluators", at.depth + 1);
        self.resolved(evaluator, &root.member(name), read)
    }
}

impl<'f> Operation<'f> {
    /// The operation that `node` is.
    pub(super) fn of(node: &'f Node) -> Option<Self> {
        let (name, arguments) = node.only_member()?;
        Some(Self {
            name,
            arguments: arguments.items(),
        })
    }
}
