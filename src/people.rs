//! Who asks, and what they may: people and programs by the tokens they show, with their roles. Pure.
//!
//! | role | may |
//! | --- | --- |
//! | `viewer` | read |
//! | any other | read, and approve at gates that want this role |
//! | `approver` | also approve at gates that want no role, and abort |
//! | `operator` | set weights, direct rollouts, abort, freeze, have the file read again |
//! | `admin` | everything |
//!
//! A person who may stop a release is not asked twice: approvers abort as well.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use crate::name::Name;

/// The role that may only look.
pub const VIEWER: &str = "viewer";
/// The role that directs rollouts and weights.
pub const OPERATOR: &str = "operator";
/// The role that approves.
pub const APPROVER: &str = "approver";
/// The role that may everything.
pub const ADMIN: &str = "admin";

/// Names that stand in records for what is no person.
pub const RESERVED: [&str; 6] = ["api", "file", "serin", "SIGHUP", "SIGTERM", "SIGINT"];

/// Bytes of a token that are looked at; no token is longer.
const BEARER_MAX: usize = 4096;

/// Changes that are told one by one.
const CHANGES_MAX: usize = 20;

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Look at everything. Whoever has a token may.
    Read,
    /// Set weights, give rollouts commands, have the file read again.
    Direct,
    /// Take everything from a canary.
    Abort,
    /// Give one's word at a gate. Whether it counts there is for the gate to say.
    Approve,
    /// Let nothing move forward, or let it again.
    Freeze,
}

/// The SHA-256 of a token. The token itself is nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

/// One person or program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Who it is, in every record.
    pub name: Name,
    /// By which they are known.
    pub hash: TokenHash,
    /// At least one; each [`is_role`], none twice.
    pub roles: Vec<String>,
}

/// Everybody who may come in. No two have the same name or the same hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    list: Vec<Token>,
}

/// Why people are no [`Tokens`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} of token {index} is that of token {first} as well")]
pub struct Doubled {
    /// Index of the second one.
    pub index: usize,
    /// Index of the first one.
    pub first: usize,
    /// `the name` or `the hash`.
    pub what: &'static str,
}

impl Right {
    /// The built-in roles that give it; empty: every role does.
    #[must_use]
    pub const fn roles(self) -> &'static [&'static str] {
        match self {
            Self::Read => &[],
            Self::Direct | Self::Freeze => &[OPERATOR, ADMIN],
            Self::Abort => &[OPERATOR, APPROVER, ADMIN],
            Self::Approve => &[APPROVER, ADMIN],
        }
    }
}

impl TokenHash {
    /// The hash of a token.
    #[must_use]
    pub fn of(token: &str) -> Self {
        let hash = digest(&SHA256, token.as_bytes());
        Self(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// Reads `sha256:` and 64 hexadecimal digits; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:")?.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16);
            *byte = u8::try_from(digit(0)? * 16 + digit(1)?).expect("two digits are a byte");
        }
        Some(Self(hash))
    }

    /// Whether it is the hash of an empty text: a variable that was not set, most often.
    #[must_use]
    pub fn is_of_nothing(&self) -> bool {
        *self == Self::of("")
    }
}

impl fmt::Debug for TokenHash {
    /// The first digits: enough to find it in a file, not enough to look a weak token up.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{:02x}{:02x}…", self.0[0], self.0[1])
    }
}

impl Token {
    /// Whether one of the roles gives this right.
    #[must_use]
    pub fn may(&self, right: Right) -> bool {
        match right {
            Right::Read => true,
            // Any role may be one that a gate wants; the gate says which.
            Right::Approve => self.roles.iter().any(|role| role != VIEWER),
            Right::Direct | Right::Abort | Right::Freeze => {
                let wanted = right.roles();
                self.roles.iter().any(|role| wanted.contains(&role.as_str()))
            }
        }
    }
}

impl Tokens {
    /// Everybody in `list`.
    ///
    /// # Errors
    /// [`Doubled`]: two have the same name or the same hash, so that nobody could say who it was.
    pub fn new(list: Vec<Token>) -> Result<Self, Doubled> {
        for (index, token) in list.iter().enumerate() {
            let first = |same: fn(&Token, &Token) -> bool| list[..index].iter().position(|other| same(other, token));
            let name = first(|a, b| a.name == b.name).map(|first| (first, "the name"));
            let hash = || first(|a, b| a.hash == b.hash).map(|first| (first, "the hash"));
            if let Some((first, what)) = name.or_else(hash) {
                return Err(Doubled { index, first, what });
            }
        }
        Ok(Self { list })
    }

    /// Whose token it is. Takes as long for a token that nearly is one as for any other: hashes are
    /// compared, in constant time, and all of them.
    #[must_use]
    pub fn find(&self, bearer: &str) -> Option<&Token> {
        if bearer.is_empty() || bearer.len() > BEARER_MAX {
            return None;
        }
        let hash = TokenHash::of(bearer);
        let mut found = None;
        for token in &self.list {
            if verify_slices_are_equal(&token.hash.0, &hash.0).is_ok() {
                found = Some(token);
            }
        }
        found
    }

    /// Everybody, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Token> {
        self.list.iter()
    }

    /// How many they are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.len()
    }
}

impl<'a> IntoIterator for &'a Tokens {
    type Item = &'a Token;
    type IntoIter = std::slice::Iter<'a, Token>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// What became of the people from one file to the next, in words; `None`: nothing. Long lists are cut.
#[must_use]
pub fn changes(before: Option<&Tokens>, after: Option<&Tokens>) -> Option<String> {
    fn list(tokens: Option<&Tokens>) -> &[Token] {
        tokens.map_or(&[], |tokens| tokens.list.as_slice())
    }
    let (old, new) = (list(before), list(after));
    let in_both = |token: &Token| old.iter().find(|other| other.name == token.name);
    let mut words = Vec::new();
    match (before, after) {
        (Some(_), None) => words.push("nobody needs a token any more".to_owned()),
        (None, Some(_)) => words.push("everybody needs a token from now on".to_owned()),
        (None, None) | (Some(_), Some(_)) => {}
    }
    let gone = old
        .iter()
        .filter(|token| new.iter().all(|other| other.name != token.name));
    words.extend(gone.map(|token| format!("{} is gone", token.name)));
    for token in new {
        let roles = token.roles.join(" and ");
        match in_both(token) {
            None => words.push(format!("{} is new as {roles}", token.name)),
            Some(other) if other.roles != token.roles => words.push(format!("{} is {roles} now", token.name)),
            Some(other) if other.hash != token.hash => words.push(format!("{} has another token", token.name)),
            Some(_) => {}
        }
    }
    if words.len() > CHANGES_MAX {
        let more = words.len() - CHANGES_MAX;
        words.truncate(CHANGES_MAX);
        words.push(format!("and {more} more"));
    }
    (!words.is_empty()).then(|| words.join(", "))
}

/// Whether `text` may be a role: a letter, then up to 62 letters, digits, `_` or `-`.
#[must_use]
pub fn is_role(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        && text.len() <= 63
}

#[cfg(test)]
mod tests;
