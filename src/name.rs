//! Checked names of listeners, backends, routes, variants, cohorts and rollouts.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;

/// A name from the configuration: 1 to 63 of `A-Z a-z 0-9 . _ -`, the first a letter or digit.
///
/// Safe as a header value, a metric label, a path segment and a file name, so nobody downstream
/// escapes it. Cheap to clone.
#[derive(Clone)]
pub struct Name {
    text: Arc<str>,
    /// The same text, shared: what a header carries is not made anew for each request.
    header: Bytes,
}

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
            let text: Arc<str> = text.into();
            Ok(Self {
                header: Bytes::from_owner(SharedText(Arc::clone(&text))),
                text,
            })
        } else {
            Err(BadName(text.chars().take(80).collect()))
        }
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text as the value of a header; cloning it copies nothing.
    #[must_use]
    pub const fn header(&self) -> &Bytes {
        &self.header
    }
}

struct SharedText(Arc<str>);

impl AsRef<[u8]> for SharedText {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.text
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
