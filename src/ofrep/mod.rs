//! What applications ask of flags, and what they are answered: the OpenFeature Remote Evaluation Protocol. Pure, and
//! the same on a listener and on the admin address. It decides nothing by itself: [`Table::decide`] does, as for
//! requests.

mod answer;
mod context;
mod etag;
mod explain;

pub use answer::reason;
pub use context::{BadContext, Context};
pub use explain::{Asked, Explanation, Outcome, Tried, Unmet, explain, key_in_words};

use std::borrow::Cow;

use answer::Failure;

use crate::route::Table;

/// Bytes of a call's body; a larger one is answered 413.
pub const BODY_BYTES_MAX: usize = 64 << 10;

/// Of every answer that has a body.
pub const CONTENT_TYPE: &str = "application/json";

/// What an answer 405 says in `Allow`.
pub const ALLOW: &str = "POST";

/// One call, as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Call<'c> {
    /// The path of its target, without the query.
    pub path: &'c str,
    /// Whether its method is POST; no other is answered.
    pub is_post: bool,
    /// The field `If-None-Match`. Of several the first: who is told too much is told right.
    pub if_none_match: Option<&'c [u8]>,
    /// The whole body. Who reads it need not read more than [`BODY_BYTES_MAX`] and one byte.
    pub body: &'c [u8],
}

/// What a call is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200, 304, 400, 404, 405 (with [`ALLOW`]) or 413.
    pub status: u16,
    /// The field `ETag`, quotes included.
    pub etag: Option<String>,
    /// JSON ([`CONTENT_TYPE`]); empty with 304.
    pub body: Vec<u8>,
}

/// Answers one call. `draw` is uniform and fresh; the flags of a call for all share it, as a flag shares its own
/// with those that it asks. `now_s` is the Unix time in seconds.
#[must_use]
pub fn answer(table: &Table, call: &Call<'_>, draw: u64, now_s: u64) -> Answer {
    let Some(rest) = call.path.strip_prefix(FLAGS) else {
        return Failure::NoSuchPath.answer(None);
    };
    match rest {
        "" => in_bounds(call, None).unwrap_or_else(|| answer::all(table, call, draw, now_s)),
        rest => match rest
            .strip_prefix('/')
            .filter(|key| !key.is_empty() && !key.contains('/'))
        {
            None => Failure::NoSuchPath.answer(None),
            Some(key) => {
                let key = decoded(key);
                in_bounds(call, Some(&key)).unwrap_or_else(|| answer::one(table, &key, call.body, draw, now_s))
            }
        },
    }
}

/// What a call is answered whose body is larger than [`BODY_BYTES_MAX`], for those who stop reading.
#[must_use]
pub fn too_large() -> Answer {
    Failure::TooLarge.answer(None)
}

fn in_bounds(call: &Call<'_>, key: Option<&str>) -> Option<Answer> {
    if !call.is_post {
        Some(Failure::WrongMethod.answer(key))
    } else if call.body.len() > BODY_BYTES_MAX {
        Some(Failure::TooLarge.answer(key))
    } else {
        None
    }
}

/// Where all flags are asked for; one flag's key follows behind a slash.
const FLAGS: &str = "/ofrep/v1/evaluate/flags";

/// A segment of a path, unescaped; as it is where it is not escaped well.
fn decoded(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        match byte {
            b'%' => match (digit(rest.next()), digit(rest.next())) {
                (Some(high), Some(low)) => bytes.push((high << 4 | low) as u8),
                _ => return Cow::Borrowed(segment),
            },
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(segment), Cow::Owned)
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
