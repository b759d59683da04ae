//! Conditions on header fields and query parameters.

use std::cmp::Ordering;

use regex::bytes::Regex;
use semver::Version;
use smallvec::SmallVec;

use crate::head::Fields;

/// A condition on a header or a query parameter.
#[derive(Clone, Debug)]
pub struct FieldMatch {
    /// Header names in lower case; query names as written.
    pub name: String,
    /// What its value must be.
    pub test: FieldTest,
}

/// What a value must be. Any of several values of the same name may satisfy it.
#[derive(Clone, Debug)]
pub enum FieldTest {
    /// Equal, byte for byte.
    Exact(String),
    /// Begins so.
    Prefix(String),
    /// The whole value matches; the expression is anchored on both sides by whoever compiled it.
    Regex(Regex),
    /// There (true) or not there (false).
    Present(bool),
    /// Ends so.
    Suffix(String),
    /// Holds this somewhere.
    Contains(String),
    /// Equal to one of these, byte for byte.
    OneOf(Vec<String>),
    /// A number that compares so with this one. What is no number passes no such test.
    Number(Comparison, f64),
    /// A version (Semantic Versioning 2.0.0) that compares so with this one, by precedence. Likewise.
    Version(Comparison, Version),
    /// A version with the same major number (`^`), or the same major and minor number (`~`), as this one.
    VersionLike(VersionPart, Version),
}

/// How two values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // they are the words of every language
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What two versions have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // they are the words of Semantic Versioning
pub enum VersionPart {
    Major,
    Minor,
}

impl Comparison {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order == Ordering::Equal,
            Self::NotEqual => order != Ordering::Equal,
            Self::Less => order == Ordering::Less,
            Self::LessOrEqual => order != Ordering::Greater,
            Self::Greater => order == Ordering::Greater,
            Self::GreaterOrEqual => order != Ordering::Less,
        }
    }
}

impl FieldTest {
    /// Whether one value passes. Presence is for who looks for values to say: here there is one.
    #[must_use]
    pub fn passes(&self, value: &[u8]) -> bool {
        let text = || std::str::from_utf8(value).ok();
        match self {
            Self::Exact(wanted) => value == wanted.as_bytes(),
            Self::Prefix(start) => value.starts_with(start.as_bytes()),
            Self::Suffix(end) => value.ends_with(end.as_bytes()),
            Self::Contains(part) => memchr::memmem::find(value, part.as_bytes()).is_some(),
            Self::OneOf(wanted) => wanted.iter().any(|wanted| value == wanted.as_bytes()),
            Self::Regex(regex) => regex.is_match(value),
            Self::Present(wanted) => *wanted,
            Self::Number(comparison, other) => {
                let number = text().and_then(|text| text.parse::<f64>().ok());
                let order = number.and_then(|number| number.partial_cmp(other));
                order.is_some_and(|order| comparison.holds(order))
            }
            Self::Version(comparison, other) => {
                version(value).is_some_and(|version| comparison.holds(version.cmp_precedence(other)))
            }
            Self::VersionLike(part, other) => version(value).is_some_and(|version| {
                version.major == other.major && (*part == VersionPart::Major || version.minor == other.minor)
            }),
        }
    }
}

/// The version that a value is, also with a `v` in front.
fn version(value: &[u8]) -> Option<Version> {
    let text = std::str::from_utf8(value).ok()?.trim();
    Version::parse(text.strip_prefix(['v', 'V']).unwrap_or(text)).ok()
}

impl PartialEq for FieldMatch {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.test == other.test
    }
}

impl PartialEq for FieldTest {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) | (Self::Prefix(a), Self::Prefix(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            (Self::Present(a), Self::Present(b)) => a == b,
            (Self::Suffix(a), Self::Suffix(b)) | (Self::Contains(a), Self::Contains(b)) => a == b,
            (Self::OneOf(a), Self::OneOf(b)) => a == b,
            (Self::Number(how, a), Self::Number(other, b)) => how == other && a == b,
            (Self::Version(how, a), Self::Version(other, b)) => how == other && a == b,
            (Self::VersionLike(part, a), Self::VersionLike(other, b)) => part == other && a == b,
            (_, _) => false,
        }
    }
}

impl FieldMatch {
    /// Whether the header fields satisfy it. Does not allocate.
    #[must_use]
    pub fn holds_in_fields(&self, fields: &Fields) -> bool {
        let mut values = fields.get_all(&self.name);
        match &self.test {
            FieldTest::Present(wanted) => values.next().is_some() == *wanted,
            test => values.any(|value| test.passes(value)),
        }
    }

    /// Whether a query (what follows `?`) satisfies it. Names and values are compared as decoded:
    /// `+` is a space and `%41` an `A`; a `%` without two hexadecimal digits stands for itself.
    /// Allocates only where an escaped value of more than 256 bytes meets a regular expression.
    #[must_use]
    pub fn holds_in_query(&self, query: Option<&str>) -> bool {
        let mut values = query
            .into_iter()
            .flat_map(|query| query.as_bytes().split(|&byte| byte == b'&'))
            .filter(|pair| !pair.is_empty())
            .map(name_and_value)
            .filter(|(name, _)| decoded(name).eq(self.name.bytes()))
            .map(|(_, value)| value);
        match &self.test {
            FieldTest::Present(wanted) => values.next().is_some() == *wanted,
            FieldTest::Exact(text) => values.any(|value| decoded(value).eq(text.bytes())),
            FieldTest::Prefix(text) => values.any(|value| decoded(value).take(text.len()).eq(text.bytes())),
            test => values.any(|value| test.passes(&decoded(value).collect::<SmallVec<[u8; 256]>>())),
        }
    }

    /// Whether one value can never satisfy both. True only where that is certain.
    pub(super) fn excludes(&self, other: &Self) -> bool {
        use FieldTest::{Exact, OneOf, Prefix, Present};
        self.name == other.name
            && match (&self.test, &other.test) {
                (Present(a), Present(b)) => a != b,
                (Present(there), _) | (_, Present(there)) => !there,
                (Prefix(a), Prefix(b)) => !a.starts_with(b.as_str()) && !b.starts_with(a.as_str()),
                (OneOf(a), b) => a.iter().all(|text| !b.passes(text.as_bytes())),
                (a, OneOf(b)) => b.iter().all(|text| !a.passes(text.as_bytes())),
                (Exact(text), test) | (test, Exact(text)) => !test.passes(text.as_bytes()),
                (_, _) => false,
            }
    }
}

pub(super) fn name_and_value(pair: &[u8]) -> (&[u8], &[u8]) {
    match pair.iter().position(|&byte| byte == b'=') {
        Some(at) => (&pair[..at], &pair[at + 1..]),
        None => (pair, &[]),
    }
}

/// The bytes that a part of a query stands for.
pub(super) fn decoded(text: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        rest = after;
        match (first, after) {
            (b'+', _) => Some(b' '),
            (b'%', &[high, low, ref after @ ..]) => match (digit(high), digit(low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    Some(high << 4 | low)
                }
                _ => Some(b'%'),
            },
            _ => Some(first),
        }
    })
}

/// The value, below 16, of a hexadecimal digit.
fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use regex::bytes::Regex;

    use super::{FieldMatch, FieldTest};
    use crate::head::{HeadBuilder, Method, Version};

    fn condition(name: &str, test: FieldTest) -> FieldMatch {
        FieldMatch {
            name: name.to_owned(),
            test,
        }
    }

    fn exact(text: &str) -> FieldTest {
        FieldTest::Exact(text.to_owned())
    }

    fn prefix(text: &str) -> FieldTest {
        FieldTest::Prefix(text.to_owned())
    }

    fn regex(text: &str) -> FieldTest {
        FieldTest::Regex(Regex::new(&format!("^(?:{text})$")).unwrap())
    }

    fn check_query(query: &str, name: &str, test: FieldTest, expected: bool) {
        let condition = condition(name, test);
        assert_eq!(
            condition.holds_in_query(Some(query)),
            expected,
            "{query:?} {condition:?}"
        );
    }

    fn check_fields(fields: &[(&str, &[u8])], name: &str, test: FieldTest, expected: bool) {
        let mut head = HeadBuilder::default();
        for (name, value) in fields {
            head.field(name.as_bytes(), value);
        }
        let head = head.request(Method::Get, Version::Http11, "h", "/");
        assert_eq!(condition(name, test).holds_in_fields(head.fields()), expected);
    }

    fn check_excludes(a: FieldTest, b: FieldTest, expected: bool) {
        let (a, b) = (condition("x", a), condition("x", b));
        assert_eq!((a.excludes(&b), b.excludes(&a)), (expected, expected), "{a:?} {b:?}");
        assert!(!a.excludes(&condition("y", b.test)));
    }

    #[test]
    fn any_value_of_a_header_may_satisfy() {
        let two: &[(&str, &[u8])] = &[("x-env", b"blue"), ("x-env", b"green"), ("y", b"\xff\xfe")];
        check_fields(two, "x-env", exact("green"), true);
        check_fields(two, "x-env", exact("Green"), false);
        check_fields(two, "x-env", prefix("gr"), true);
        check_fields(two, "x-env", regex("gr.*n"), true);
        check_fields(two, "x-env", regex("gree"), false);
        check_fields(two, "x-env", FieldTest::Present(true), true);
        check_fields(two, "x-env", FieldTest::Present(false), false);
        check_fields(two, "z", FieldTest::Present(false), true);
        check_fields(two, "z", exact(""), false);
        check_fields(two, "y", regex("(?-u:\\xff.)"), true);
    }

    #[test]
    fn a_query_is_compared_as_decoded() {
        check_query("a=1&b=2", "b", exact("2"), true);
        check_query("a=1&b=2", "b", exact("1"), false);
        check_query("a=x+y", "a", exact("x y"), true);
        check_query("a=x%20y&", "a", exact("x y"), true);
        check_query("a=%e2%82%AC", "a", exact("€"), true);
        check_query("na%6de=1", "name", exact("1"), true);
        check_query("a=%4", "a", exact("%4"), true);
        check_query("a=%zz", "a", exact("%zz"), true);
        check_query("a=%", "a", exact("%"), true);
        check_query("a=b=c", "a", exact("b=c"), true);
        check_query("a=1&a=2", "a", exact("2"), true);
        check_query("a", "a", exact(""), true);
        check_query("a=beta-7", "a", prefix("beta"), true);
        check_query("a=%62eta-7", "a", prefix("beta"), true);
        check_query("a=be", "a", prefix("beta"), false);
        check_query("a=4%32", "a", regex("[0-9]+"), true);
        check_query("a=4x", "a", regex("[0-9]+"), false);
    }

    #[test]
    fn presence_in_a_query_needs_no_value() {
        check_query("debug", "debug", FieldTest::Present(true), true);
        check_query("debug=", "debug", FieldTest::Present(true), true);
        check_query("", "debug", FieldTest::Present(true), false);
        check_query("", "", FieldTest::Present(true), false);
        check_query("x=1", "debug", FieldTest::Present(false), true);
        assert!(!condition("debug", FieldTest::Present(true)).holds_in_query(None));
        assert!(condition("debug", FieldTest::Present(false)).holds_in_query(None));
    }

    #[test]
    fn conditions_exclude_each_other_only_for_certain() {
        check_excludes(exact("a"), exact("b"), true);
        check_excludes(exact("a"), exact("a"), false);
        check_excludes(exact("abc"), prefix("ab"), false);
        check_excludes(exact("abc"), prefix("b"), true);
        check_excludes(exact("7"), regex("[0-9]"), false);
        check_excludes(exact("x"), regex("[0-9]"), true);
        check_excludes(prefix("ab"), prefix("a"), false);
        check_excludes(prefix("ab"), prefix("b"), true);
        check_excludes(prefix("ab"), regex("c"), false);
        check_excludes(regex("b"), regex("c"), false);
        check_excludes(FieldTest::Present(false), exact("a"), true);
        check_excludes(FieldTest::Present(false), FieldTest::Present(true), true);
        check_excludes(FieldTest::Present(true), exact("a"), false);
    }
}
