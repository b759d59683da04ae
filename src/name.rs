//! Checked names of listeners, backends, routes, variants, cohorts and rollouts.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// A name from the configuration: 1 to 63 of `A-Z a-z 0-9 . _ -`, the first a letter or digit.
///
/// Safe as a header value, a metric label, a path segment and a file name, so nobody downstream
/// escapes it. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

/// Why a text is no [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name: use 1 to 63 letters, digits, '.', '_' or '-', beginning with a letter or digit")]
pub struct BadName(String);

impl Name {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`BadName`] when a character or the length is not allowed.
    pub fn new(text: &str) -> Result<Self, BadName> {
        let mut bytes = text.bytes();
        let first_ok = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
        let rest_ok = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if first_ok && rest_ok && text.len() <= 63 {
            Ok(Self(text.into()))
        } else {
            Err(BadName(text.chars().take(80).collect()))
        }
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Name;

    fn check(text: &str, ok: bool) {
        assert_eq!(Name::new(text).is_ok(), ok, "{text:?}");
    }

    #[test]
    fn names_are_labels_paths_and_header_values_alike() {
        check("checkout-v1.4_2", true);
        check("9lives", true);
        check(&"a".repeat(63), true);
        check("", false);
        check("-a", false);
        check("a b", false);
        check("a/b", false);
        check("ä", false);
        check("a\r\nx: y", false);
        check(&"a".repeat(64), false);
    }
}
