//! The streams of an HTTP/2 connection that its client has ended last: it may say nothing more on them. Pure.
//!
//! Only so many are remembered. On an older one the engine below says what it knows, in wider words.

/// How many are remembered.
const KEPT: usize = 16;

/// How a client ends a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// It has said everything.
    Said,
    /// It has given it up.
    Reset,
}

/// Which streams a client has ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// The last ones, each where the oldest stood. Clients' streams have odd numbers: an even one here stands for the
    /// stream above it, given up.
    last: [u32; KEPT],
    next: usize,
    /// The highest stream that was opened.
    highest: u32,
}

impl Ended {
    /// None yet.
    pub(super) const fn new() -> Self {
        Self {
            last: [NONE; KEPT],
            next: 0,
            highest: 0,
        }
    }

    /// A head on `stream`: whether it opens it.
    pub(super) const fn opens(&mut self, stream: u32) -> bool {
        let opens = stream > self.highest;
        if opens {
            self.highest = stream;
        }
        opens
    }

    /// How `stream` was ended; `None` where it was not, or long ago.
    pub(super) fn find(&self, stream: u32) -> Option<Over> {
        let found = self.last.iter().find(|&&kept| kept | 1 == stream)?;
        Some(match found & 1 {
            1 => Over::Said,
            _ => Over::Reset,
        })
    }

    /// Remembers that `stream` was ended like that, if it is one that the client may have opened.
    pub(super) const fn note(&mut self, stream: u32, over: Over) {
        if stream & 1 == 0 || stream > self.highest {
            return;
        }
        self.last[self.next] = match over {
            Over::Said => stream,
            Over::Reset => stream & !1,
        };
        self.next = (self.next + 1) % KEPT;
    }
}

/// Above all streams.
const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_remembered() {
        let mut ended = Ended::new();
        for stream in (1..=101).step_by(2) {
            assert!(ended.opens(stream));
            match stream {
                97 => {}
                99 => ended.note(stream, Over::Reset),
                _ => ended.note(stream, Over::Said),
            }
        }
        assert!(!ended.opens(101));
        let check = |stream, expected| assert_eq!(ended.find(stream), expected, "{stream}");
        check(101, Some(Over::Said));
        check(99, Some(Over::Reset));
        check(97, None);
        check(69, Some(Over::Said));
        check(67, None);
        check(98, None);
        check(103, None);
        check(0, None);
    }

    #[test]
    fn what_was_never_open_has_no_end() {
        let mut ended = Ended::new();
        ended.note(1, Over::Reset);
        ended.note(0, Over::Said);
        assert!(ended.opens(2));
        ended.note(2, Over::Said);
        for stream in 0..4 {
            assert_eq!(ended.find(stream), None, "{stream}");
        }
    }
}
