//! Who asks: the person whose token came along, and what they may.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, header};

use super::Admin;
use super::problem::{Kind, Problem};
use crate::people::{Right, Token, Tokens};

/// Who changed something, when nobody has a name.
const BY: &str = "api";

/// Refusals are logged this often at most.
const LOG_PACE: Duration = Duration::from_secs(1);

/// Who asks.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// There are no tokens: whoever reaches the address may everything.
    Anyone,
    /// Somebody with a token.
    Person(Token),
    /// There are tokens, and none came along: for the pages that are open.
    Stranger,
}

impl Caller {
    /// The name that stands in records.
    pub(super) fn by(&self) -> String {
        match self {
            Self::Person(token) => token.name.to_string(),
            Self::Anyone | Self::Stranger => BY.to_owned(),
        }
    }

    /// For gates; empty where people have no names.
    pub(super) fn roles(&self) -> Vec<String> {
        match self {
            Self::Person(token) => token.roles.clone(),
            Self::Anyone | Self::Stranger => Vec::new(),
        }
    }

    /// Whether they would be let in still, now that `tokens` are those in force.
    pub(super) fn is_among(&self, tokens: Option<&Tokens>) -> bool {
        match (self, tokens) {
            (Self::Person(token), Some(tokens)) => {
                let mut people = tokens.iter();
                people.any(|other| other.name == token.name && other.hash == token.hash)
            }
            (Self::Anyone | Self::Person(_), None) => true,
            (Self::Anyone, Some(_)) | (Self::Stranger, _) => false,
        }
    }

    fn may(&self, right: Right) -> Result<(), Problem> {
        match self {
            Self::Anyone => Ok(()),
            Self::Person(token) if token.may(right) => Ok(()),
            Self::Person(token) => {
                let wanted = match right {
                    Right::Read | Right::Direct | Right::Abort | Right::Freeze => right.roles().join(" or "),
                    Right::Approve => format!("{}, or one that the gate wants", right.roles().join(" or ")),
                };
                let held = token.roles.join(", ");
                let detail = format!("this call needs the role {wanted}; {} has {held}", token.name);
                Err(Problem::new(Kind::Forbidden, detail))
            }
            Self::Stranger => Err(no_token()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    /// As the guard found them. Without the guard nobody comes in.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(parts.extensions.get().cloned().unwrap_or(Self::Stranger))
    }
}

impl Admin {
    /// Who came with this head; 401 where there are tokens, none of them came along, and the path is not open.
    pub(super) fn caller(&self, headers: &HeaderMap, path: &str) -> Result<Caller, Problem> {
        let Some(tokens) = self.context.tokens.borrow().clone() else {
            return Ok(Caller::Anyone);
        };
        let shown = bearer(headers);
        if let Some(token) = shown.and_then(|shown| tokens.find(shown)) {
            return Ok(Caller::Person(token.clone()));
        }
        if is_open(path) {
            return Ok(Caller::Stranger);
        }
        self.refusals.count(Refused::Unauthorized);
        Err(match shown {
            Some(_) => Problem::new(Kind::Unauthorized, "nobody has this token"),
            None => no_token(),
        })
    }

    /// 403 where `caller` may not.
    pub(super) fn allow(&self, caller: &Caller, right: Right) -> Result<(), Problem> {
        caller
            .may(right)
            .inspect_err(|_| self.refusals.count(Refused::Forbidden))
    }
}

/// Why somebody was refused.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refused {
    /// Without a token that somebody has.
    Unauthorized,
    /// Without the role.
    Forbidden,
}

/// Counts those who were refused, and says so in the log, but not for each of a flood.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    counts: [AtomicU64; 2],
    /// When the log last said so, and the counts then.
    said: Mutex<Option<(Instant, [u64; 2])>>,
}

impl Refusals {
    /// Both counts since the start, with their words.
    pub(super) fn counts(&self) -> [(&'static str, u64); 2] {
        let [unauthorized, forbidden] = self.now();
        [("unauthorized", unauthorized), ("forbidden", forbidden)]
    }

    fn now(&self) -> [u64; 2] {
        [0, 1].map(|index| self.counts[index].load(Ordering::Relaxed))
    }

    fn count(&self, refused: Refused) {
        self.counts[refused as usize].fetch_add(1, Ordering::Relaxed);
        let (at, now) = (Instant::now(), self.now());
        let Ok(mut said) = self.said.lock() else { return };
        let before = match *said {
            Some((last, _)) if at.duration_since(last) < LOG_PACE => return,
            Some((_, before)) => before,
            None => [0, 0],
        };
        *said = Some((at, now));
        tracing::warn!(
            without_token = now[0] - before[0],
            without_role = now[1] - before[1],
            "calls of the admin API were refused"
        );
    }
}

/// What may be seen without a token: whether the process is well, and its figures.
fn is_open(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz" | "/metrics")
}

/// The token of an `Authorization: Bearer` (RFC 6750 §2.1); there must be one such field.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return None;
    };
    let (scheme, token) = field.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn no_token() -> Problem {
    Problem::new(
        Kind::Unauthorized,
        "this call needs a token: `Authorization: Bearer TOKEN`, or `--token` of the command line",
    )
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn a_bearer_is_one_field_of_its_scheme() {
        let check = |fields: &[&str], expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(header::AUTHORIZATION, field.parse().unwrap());
            }
            assert_eq!(bearer(&headers), expected, "{fields:?}");
        };
        check(&["Bearer sesame"], Some("sesame"));
        check(&["bearer  sesame"], Some("sesame"));
        check(&["Bearer"], None);
        check(&["Basic sesame"], None);
        check(&["sesame"], None);
        check(&["Bearer a", "Bearer a"], None);
        check(&[], None);
    }

    #[test]
    fn refusals_are_counted() {
        let refusals = Refusals::default();
        for _ in 0..3 {
            refusals.count(Refused::Unauthorized);
        }
        refusals.count(Refused::Forbidden);
        assert_eq!(refusals.counts(), [("unauthorized", 3), ("forbidden", 1)]);
    }
}
