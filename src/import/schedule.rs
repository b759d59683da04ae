//! Time that wraps a whole targeting: from when, and until when, there is more than the default variant.

use jiff::Timestamp;

use super::json::{Node, Path};
use super::operand::Constant;
use super::reader::{Operation, Reader};

/// From when and until when a flag is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) enable_at: Option<Timestamp>,
    pub(super) disable_at: Option<Timestamp>,
}

impl<'f> Reader<'f> {
    /// The times within which `node` is more than the default variant, and what it is then. `None`: `node` has no
    /// such form; no times: they make no sense.
    pub(super) fn times(&mut self, node: &'f Node, at: &Path<'_>) -> Option<(Option<Times>, &'f Node)> {
        let Operation { name, arguments } = Operation::of(node)?;
        let (who, then) = match (name, arguments) {
            ("if" | "?:", [who, then]) => (who, then),
            ("if" | "?:", [who, then, otherwise]) if self.is_default(otherwise) => (who, then),
            _ => return None,
        };
        let mut seconds = (None, None);
        within(who, &mut seconds)?;
        let times = self.checked(seconds, &at.member(name));
        Some((times, then))
    }

    fn is_default(&self, node: &Node) -> bool {
        match Constant::of(node) {
            Some(Constant::Null) => true,
            Some(Constant::Text(name)) => self.default.is_some_and(|default| self.variants[default] == name),
            _ => false,
        }
    }

    fn checked(&mut self, (from, until): (Option<i64>, Option<i64>), at: &Path<'_>) -> Option<Times> {
        let time = |second: Option<i64>| second.map(Timestamp::from_second).transpose();
        let is_span = from.zip(until).is_none_or(|(from, until)| from < until);
        match (time(from), time(until)) {
            (Ok(enable_at), Ok(disable_at)) if is_span && from.unwrap_or(1) > 0 && until.unwrap_or(1) > 0 => {
                self.default_variant(at)?;
                Some(Times { enable_at, disable_at })
            }
            _ => self.say(
                at,
                "the times are none that can be on a clock, or end before they begin",
                "write Unix seconds",
            ),
        }
    }
}

/// Narrows the span (first second, second after the last) to those in which `node` holds. `None`: it is about
/// something else.
fn within(node: &Node, span: &mut (Option<i64>, Option<i64>)) -> Option<()> {
    let Operation { name, arguments } = Operation::of(node)?;
    let (from, until) = match (name, arguments) {
        ("and", all @ [_, ..]) => return all.iter().try_for_each(|part| within(part, span)),
        (">=", [now, second]) if is_now(now) => (Some(seconds(second)?), None),
        (">", [now, second]) if is_now(now) => (Some(seconds(second)?.checked_add(1)?), None),
        ("<", [now, second]) if is_now(now) => (None, Some(seconds(second)?)),
        ("<=", [now, second]) if is_now(now) => (None, Some(seconds(second)?.checked_add(1)?)),
        ("<=", [second, now]) if is_now(now) => (Some(seconds(second)?), None),
        ("<", [second, now]) if is_now(now) => (Some(seconds(second)?.checked_add(1)?), None),
        (">", [second, now]) if is_now(now) => (None, Some(seconds(second)?)),
        (">=", [second, now]) if is_now(now) => (None, Some(seconds(second)?.checked_add(1)?)),
        ("<=", [first, now, last]) if is_now(now) => (Some(seconds(first)?), Some(seconds(last)?.checked_add(1)?)),
        ("<", [first, now, last]) if is_now(now) => (Some(seconds(first)?.checked_add(1)?), Some(seconds(last)?)),
        _ => return None,
    };
    span.0 = span.0.max(from);
    span.1 = match (span.1, until) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    Some(())
}

fn is_now(node: &Node) -> bool {
    match node.only_member() {
        Some(("var", arguments)) => matches!(arguments.items(), [Node::Text(name)] if name == "$flagd.timestamp"),
        _ => false,
    }
}

fn seconds(node: &Node) -> Option<i64> {
    match node {
        Node::Number(number) => number.as_i64(),
        _ => None,
    }
}
