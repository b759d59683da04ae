//! What a case is, and the frames that most of them are made of.

use super::wire::{CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, block, frame};

/// What has to reach the backend.
pub enum Reaches {
    Nothing,
    /// One request that begins so, with lines that begin so, and none that begin so.
    Request {
        start: String,
        has: &'static [&'static str],
        lacks: &'static [&'static str],
    },
    /// It may have been on its way already.
    Anything,
}

/// One connection, and what becomes of it.
pub struct Case {
    pub name: &'static str,
    /// Sent in turn, each but the first once something was told.
    pub sends: Vec<Vec<u8>>,
    /// What the client is told, in order, with commas between; each as `wire::Socket::event` says it.
    pub told: &'static str,
    pub reaches: Reaches,
    /// The reason it is counted as refused by.
    pub counted: Option<&'static str>,
}

impl Case {
    /// Nothing of it reaches the backend.
    pub fn refused(name: &'static str, bytes: Vec<u8>, told: &'static str) -> Self {
        Self {
            name,
            sends: vec![bytes],
            told,
            reaches: Reaches::Nothing,
            counted: None,
        }
    }

    /// It becomes one request, answered with 200.
    pub fn passes(name: &'static str, bytes: Vec<u8>, start: &str, has: &'static [&'static str]) -> Self {
        Self {
            told: "200, over",
            ..Self::refused(name, bytes, "")
        }
        .reaching(start, has)
    }

    pub fn reaching(mut self, start: &str, has: &'static [&'static str]) -> Self {
        self.reaches = Reaches::Request {
            start: start.to_owned(),
            has,
            lacks: &[],
        };
        self
    }

    pub fn lacking(mut self, none: &'static [&'static str]) -> Self {
        if let Reaches::Request { lacks, .. } = &mut self.reaches {
            *lacks = none;
        }
        self
    }

    pub fn perhaps(mut self) -> Self {
        self.reaches = Reaches::Anything;
        self
    }

    pub fn counted(mut self, reason: &'static str) -> Self {
        self.counted = Some(reason);
        self
    }

    pub fn told(mut self, told: &'static str) -> Self {
        self.told = told;
        self
    }
}

/// The fields of a request: what is given, with pseudo-header fields in the place of the usual ones; one with an empty
/// name of its own is left out by `"-:path"` and the like.
pub fn fields<'f>(given: &[(&'f str, &'f str)]) -> Vec<(&'f str, &'f str)> {
    let usual = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "serin.test"),
        (":path", "/"),
    ];
    let is_given = |name: &str| given.iter().any(|(own, _)| own.trim_start_matches('-') == name);
    let mut all: Vec<_> = usual.into_iter().filter(|(name, _)| !is_given(name)).collect();
    all.extend(given.iter().filter(|(name, _)| name.starts_with(':')));
    all.extend(
        given
            .iter()
            .filter(|(name, _)| !name.starts_with(':') && !name.starts_with("-:")),
    );
    all
}

/// A request without a body.
pub fn get(stream: u32, given: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&fields(given)))
}

/// The head of a POST.
pub fn post(stream: u32, given: &[(&str, &str)]) -> Vec<u8> {
    let usual = if given.iter().any(|(name, _)| *name == ":method") {
        &[][..]
    } else {
        &[(":method", "POST")]
    };
    frame(HEADERS, END_HEADERS, stream, &block(&fields(&[usual, given].concat())))
}

/// The same over as many frames as it takes; without a body.
pub fn in_parts(given: &[(&str, &str)]) -> Vec<u8> {
    let whole = block(&fields(given));
    let parts: Vec<_> = whole.chunks(16_000).collect();
    let frames = parts.iter().enumerate().map(|(at, part)| {
        let last = if at + 1 == parts.len() { END_HEADERS } else { 0 };
        match at {
            0 => frame(HEADERS, END_STREAM | last, 1, part),
            _ => frame(CONTINUATION, last, 1, part),
        }
    });
    frames.flatten().collect()
}

/// A request whose fields are exactly these, in this order.
pub fn exactly(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields))
}

/// A part of a body, or its end.
pub fn data(stream: u32, last: bool, bytes: &[u8]) -> Vec<u8> {
    frame(DATA, if last { END_STREAM } else { 0 }, stream, bytes)
}

/// Trailers.
pub fn trailers(stream: u32, given: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(given))
}
