//! The frames of a client's HTTP/2 connection as they pass: what each costs, and the breaches that the engine below would
//! call by a wider name than RFC 9113 does, or not see. Pure: the caller brings the bytes.
//!
//! Most frames are known by their heads. Looked into are settings, and how trailers begin.

use h2::Reason;

use super::h2_ended::{Ended, Over};

/// What comes before the first frame (RFC 9113 §3.4).
const PREFACE_BYTES: u32 = 24;

/// Bytes of a frame's head (RFC 9113 §4.1).
const HEAD: usize = 9;

/// Bytes of a setting (RFC 9113 §6.5.1).
const SETTING: usize = 6;

/// The frames that a client sends.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes still to come of which nothing is read.
    left: u32,
    /// What is read of what comes then, as far as it has come.
    piece: [u8; HEAD],
    come: usize,
    /// How much of it there has to be, 1 to `HEAD`.
    wanted: usize,
    /// What it is.
    reading: Reading,
    /// The head of a request, or trailers, has begun and is not complete.
    in_block: bool,
    /// The frame that is passing belongs to such a block.
    of_block: bool,
    ended: Ended,
}

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// The head of a frame.
    Head,
    /// A setting, with so many behind it.
    Setting { more: u32 },
    /// How much of the so many bytes behind it is padding.
    Padding { behind: u32 },
    /// How trailers begin, in a frame with these flags, and so many bytes behind it.
    Trailers { flags: u8, more: u32 },
}

/// A breach of the protocol that ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Breach {
    /// What the client is told (RFC 9113 §7).
    pub(super) reason: Reason,
    /// So many of the bytes come before the frame that breaks it.
    pub(super) sound: usize,
}

impl Frames {
    /// Before the connection's first byte.
    pub(super) const fn new() -> Self {
        Self {
            left: PREFACE_BYTES,
            piece: [0; HEAD],
            come: 0,
            wanted: HEAD,
            reading: Reading::Head,
            in_block: false,
            of_block: false,
            ended: Ended::new(),
        }
    }

    /// Looks at what has come next. The answer is what it costs.
    ///
    /// # Errors
    /// When a frame breaks the protocol; nothing may be passed behind it.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<i64, Breach> {
        let mut rest = bytes;
        let (mut cost, mut sound) = (0, 0);
        loop {
            let skipped = rest.len().min(self.left as usize);
            rest = &rest[skipped..];
            // It was at most what is left.
            self.left -= u32::try_from(skipped).unwrap_or(self.left);
            if rest.is_empty() {
                return Ok(cost);
            }
            if self.reading == Reading::Head && self.come == 0 {
                sound = bytes.len() - rest.len();
            }
            let taken = rest.len().min(self.wanted - self.come);
            self.piece[self.come..self.come + taken].copy_from_slice(&rest[..taken]);
            self.come += taken;
            rest = &rest[taken..];
            if self.come < self.wanted {
                return Ok(cost);
            }
            self.come = 0;
            cost += self.read().map_err(|reason| Breach { reason, sound })?;
        }
    }

    /// Whether a request's head has begun and is not complete.
    pub(super) const fn is_in_head(&self) -> bool {
        self.in_block || (self.of_block && (self.left > 0 || matches!(self.reading, Reading::Trailers { .. })))
    }

    /// Something to be read has come.
    fn read(&mut self) -> Result<i64, Reason> {
        match self.reading {
            Reading::Head => return self.begin(),
            Reading::Setting { more } => {
                let [_, name, a, b, c, d, ..] = self.piece;
                if self.piece[0] == 0 && name == INITIAL_WINDOW_SIZE && u32::from_be_bytes([a, b, c, d]) > WINDOW_MAX {
                    return Err(Reason::FLOW_CONTROL_ERROR);
                }
                self.expect_settings(more);
            }
            Reading::Padding { behind } => {
                self.left = behind;
                self.expect(Reading::Head, HEAD);
                // Of more padding than there is room for, the engine says what it is.
                return Ok(i64::from(behind <= 2 * u32::from(self.piece[0])));
            }
            Reading::Trailers { flags, more } => {
                let prefix = usize::from(flags & PADDED != 0) + if flags & PRIORITISED != 0 { 5 } else { 0 };
                if begins_with_pseudo(self.piece.get(prefix..self.wanted).unwrap_or_default()) {
                    return Err(Reason::PROTOCOL_ERROR);
                }
                self.left = more;
                self.expect(Reading::Head, HEAD);
            }
        }
        Ok(0)
    }

    /// A frame begins; what it costs.
    fn begin(&mut self) -> Result<i64, Reason> {
        let [a, b, c, kind, flags, stream @ ..] = self.piece;
        self.left = u32::from_be_bytes([0, a, b, c]);
        let stream = u32::from_be_bytes(stream) & STREAM;
        if self.in_block && kind != CONTINUATION {
            // RFC 9113 §6.10
            return Err(Reason::PROTOCOL_ERROR);
        }
        if !is_sound_length(kind, flags, self.left) {
            return Err(Reason::FRAME_SIZE_ERROR);
        }
        self.of_block = matches!(kind, HEADERS | CONTINUATION);
        let length = i64::from(self.left);
        Ok(match kind {
            DATA => {
                match self.ended.find(stream) {
                    // RFC 9113 §5.1, as for HEADERS
                    Some(Over::Said) => return Err(Reason::STREAM_CLOSED),
                    // It may have been on its way: the engine ends the stream alone.
                    Some(Over::Reset) => {}
                    None => self.note(stream, flags),
                }
                if flags & PADDED != 0 && self.left < 2 * PADDING_MAX {
                    let behind = self.left - 1;
                    self.left = 0;
                    self.expect(Reading::Padding { behind }, 1);
                    return Ok(0);
                }
                i64::from(length == 0)
            }
            HEADERS => {
                if !self.ended.opens(stream) {
                    if self.ended.find(stream).is_some() {
                        return Err(Reason::STREAM_CLOSED);
                    }
                    self.expect_trailers(flags);
                }
                self.note(stream, flags);
                self.in_block = flags & END_HEADERS == 0;
                1 + length / 1024
            }
            CONTINUATION => {
                self.in_block = flags & END_HEADERS == 0;
                1 + length / 1024
            }
            RST_STREAM => {
                if self.ended.find(stream).is_none() {
                    self.ended.note(stream, Over::Reset);
                }
                // What it does to its stream is charged where that ends.
                1
            }
            // We ask once for the one, and at most once for the other: more answer nothing.
            SETTINGS | PING if flags & ACK != 0 => UNASKED,
            SETTINGS => {
                self.expect_settings(self.left / 6);
                // Each is looked at.
                1 + length / 48
            }
            // No client may push (RFC 9113 §8.4); the engine would wait for the rest of it.
            PUSH_PROMISE => return Err(Reason::PROTOCOL_ERROR),
            _ => 1 + length / 1024,
        })
    }

    /// A frame with these flags may be the last of its stream.
    const fn note(&mut self, stream: u32, flags: u8) {
        if flags & END_STREAM != 0 {
            self.ended.note(stream, Over::Said);
        }
    }

    const fn expect(&mut self, reading: Reading, wanted: usize) {
        self.reading = reading;
        self.wanted = wanted;
    }

    /// Reads the settings that are still to come of a frame.
    fn expect_settings(&mut self, many: u32) {
        self.left = 0;
        match many.checked_sub(1) {
            Some(more) => self.expect(Reading::Setting { more }, SETTING),
            None => self.expect(Reading::Head, HEAD),
        }
    }

    /// Reads how the trailers begin whose frame has begun.
    fn expect_trailers(&mut self, flags: u8) {
        if self.left > 0 {
            let wanted = HEAD.min(self.left as usize);
            let more = self.left.saturating_sub(HEAD as u32);
            self.left = 0;
            self.expect(Reading::Trailers { flags, more }, wanted);
        }
    }
}

/// Whether a frame of this kind may be that long (RFC 9113 §4.2 and §6). That it is longer than any may be, the engine
/// says itself.
const fn is_sound_length(kind: u8, flags: u8, length: u32) -> bool {
    let padding = if flags & PADDED != 0 { 1 } else { 0 };
    let priority = if flags & PRIORITISED != 0 { 5 } else { 0 };
    match kind {
        DATA => length >= padding,
        HEADERS => length >= padding + priority,
        PRIORITY => length == 5,
        RST_STREAM | WINDOW_UPDATE => length == 4,
        SETTINGS if flags & ACK != 0 => length == 0,
        SETTINGS => length.is_multiple_of(6),
        PING => length == 8,
        GOAWAY => length >= 8,
        _ => true,
    }
}

/// Whether the first field of a block is a pseudo-header field, which trailers must not have (RFC 9113 §8.1); the engine
/// takes those in front silently away. One that is named by an entry of the dynamic table is not seen.
const fn begins_with_pseudo(block: &[u8]) -> bool {
    // RFC 7541 §6: an index, alone or of a literal's name; the static table begins with the pseudo-header fields.
    const fn is_pseudo(index: u8) -> bool {
        matches!(index, 1..=14)
    }
    match *block {
        [index @ 0x80..=0xff, ..] => is_pseudo(index & 0x7f),
        [0 | 0x10 | 0x40, 0x81..=0xff, letter, ..] => letter >> 1 == HUFFMAN_COLON,
        [0 | 0x10 | 0x40, 0x01..=0x7f, letter, ..] => letter == b':',
        [index @ 0x40..=0x7f, ..] => is_pseudo(index & 0x3f),
        [index @ 0x00..=0x1f, ..] => is_pseudo(index & 0x0f),
        _ => false,
    }
}

/// The code of a colon (RFC 7541, appendix B), in seven bits.
const HUFFMAN_COLON: u8 = 0x5c;

/// Bytes of padding that a frame may have, and the byte that counts them (RFC 9113 §6.1).
const PADDING_MAX: u32 = 256;

/// The largest window that there can be (RFC 9113 §6.9.1).
const WINDOW_MAX: u32 = 0x7fff_ffff;

/// A setting (RFC 9113 §6.5.2).
const INITIAL_WINDOW_SIZE: u8 = 4;

/// The bits of a stream's number; the one above is reserved.
const STREAM: u32 = 0x7fff_ffff;

/// What an acknowledgement costs.
const UNASKED: i64 = 10;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITISED: u8 = 0x20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn on(stream: u32, kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("it is short");
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        on(1, kind, flags, &vec![0xff; length])
    }

    fn begun() -> Frames {
        let mut frames = Frames::new();
        assert_eq!(frames.pass(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Ok(0));
        frames
    }

    fn check(kind: u8, flags: u8, length: usize, expected: i64) {
        assert_eq!(
            begun().pass(&frame(kind, flags, length)),
            Ok(expected),
            "{kind} {flags} {length}"
        );
    }

    #[test]
    fn what_carries_data_is_free_and_the_rest_costs() {
        check(DATA, 0, 1, 0);
        check(DATA, 0, 16_384, 0);
        check(DATA, END_STREAM, 0, 1);
        check(DATA, PADDED, 9, 1);
        check(DATA, PADDED, 256, 1);
        check(DATA, PADDED, 16_384, 0);
        let padded = |padding: u8, length| {
            let payload = [&[padding][..], &vec![0; length + usize::from(padding)]].concat();
            begun().pass(&on(1, DATA, PADDED, &payload)).expect("nothing is broken")
        };
        assert_eq!((padded(0, 1), padded(4, 5), padded(4, 4), padded(0, 0)), (0, 0, 1, 1));
        assert_eq!((padded(255, 0), padded(255, 255), padded(255, 256)), (1, 1, 0));
        check(HEADERS, END_HEADERS, 40, 1);
        check(HEADERS, END_HEADERS, 16_000, 16);
        check(PRIORITY, 0, 5, 1);
        check(RST_STREAM, 0, 4, 1);
        check(SETTINGS, 0, 0, 1);
        check(SETTINGS, 0, 4_800, 101);
        check(SETTINGS, ACK, 0, UNASKED);
        check(PING, ACK, 8, UNASKED);
        check(PING, 0, 8, 1);
        check(GOAWAY, 0, 20, 1);
        check(WINDOW_UPDATE, 0, 4, 1);
        check(0xfa, 0, 10_240, 11);
    }

    #[test]
    fn a_head_lasts_until_its_last_frame_is_whole() {
        let mut frames = begun();
        let (first, last) = (frame(HEADERS, 0, 10), frame(CONTINUATION, END_HEADERS, 10));
        let mut pass = |bytes: &[u8]| {
            frames.pass(bytes).expect("nothing is broken");
            frames.is_in_head()
        };
        assert!(pass(&first));
        assert!(pass(&last[..15]));
        assert!(!pass(&last[15..]));
        assert!(!pass(&frame(DATA, 0, 10)[..12]));
        assert!(!pass(&frame(DATA, 0, 10)[12..]));
        let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 4);
        assert!(pass(&trailers[..11]));
        assert!(!pass(&trailers[11..]));
    }

    /// What frames that come together are called.
    fn breach(frames: &[Vec<u8>], expected: Option<Reason>) {
        let found = begun().pass(&frames.concat());
        let broken = found.err().map(|breach| breach.reason);
        assert_eq!(broken, expected, "{frames:?}");
        if let (Err(breach), Some((_, before))) = (found, frames.split_last()) {
            assert_eq!(breach.sound, before.concat().len(), "{frames:?}");
        }
    }

    #[test]
    fn frames_have_the_length_of_their_kind() {
        let wrong = |kind, flags, length| breach(&[frame(kind, flags, length)], Some(Reason::FRAME_SIZE_ERROR));
        wrong(DATA, PADDED, 0);
        wrong(HEADERS, PADDED, 0);
        wrong(HEADERS, PRIORITISED, 4);
        wrong(HEADERS, PADDED | PRIORITISED, 5);
        wrong(PRIORITY, 0, 4);
        wrong(RST_STREAM, 0, 5);
        wrong(SETTINGS, 0, 5);
        wrong(SETTINGS, ACK, 6);
        wrong(PING, 0, 7);
        wrong(GOAWAY, 0, 7);
        wrong(WINDOW_UPDATE, 0, 3);
    }

    #[test]
    fn a_window_has_its_largest_size() {
        let settings = |sizes: &[u32]| {
            let settings = sizes.iter().map(|size| [&[0, 4][..], &size.to_be_bytes()].concat());
            on(0, SETTINGS, 0, &settings.collect::<Vec<_>>().concat())
        };
        breach(&[settings(&[0, 65_535, WINDOW_MAX])], None);
        breach(
            &[settings(&[0]), settings(&[1, WINDOW_MAX + 1, 2])],
            Some(Reason::FLOW_CONTROL_ERROR),
        );
        let of_another_name = on(0, SETTINGS, 0, &[1, 4, 0xff, 0xff, 0xff, 0xff]);
        breach(&[of_another_name], None);
    }

    #[test]
    fn nothing_comes_behind_the_end_of_a_stream() {
        let get = |stream| on(stream, HEADERS, END_HEADERS | END_STREAM, b"\x82");
        let post = |stream| on(stream, HEADERS, END_HEADERS, b"\x83");
        let trailers = |stream| on(stream, HEADERS, END_HEADERS | END_STREAM, b"\0\x01x\x01y");
        let data = |stream, flags| on(stream, DATA, flags, b"x");
        let reset = |stream| on(stream, RST_STREAM, 0, &[0, 0, 0, 8]);
        let closed = Some(Reason::STREAM_CLOSED);
        breach(&[get(1), data(1, 0)], closed);
        breach(&[get(1), get(3), get(1)], closed);
        breach(&[post(1), data(1, END_STREAM), data(1, 0)], closed);
        breach(&[post(1), data(1, END_STREAM), trailers(1)], closed);
        breach(&[post(1), trailers(1), trailers(1)], closed);
        breach(&[get(1), reset(1), trailers(1)], closed);
        breach(&[get(1), reset(1), data(1, 0)], closed);
        breach(&[post(1), reset(1), trailers(1)], closed);
        breach(&[post(1), reset(1), data(1, 0)], None);
        breach(&[post(1), post(3), data(1, 0), data(3, END_STREAM), trailers(1)], None);
        breach(&[get(1), reset(1), reset(1), get(3)], None);
    }

    #[test]
    fn trailers_have_no_pseudo_header_fields() {
        let behind = |flags, block: &[u8], expected| {
            let head = on(1, HEADERS, END_HEADERS, b"\x83");
            let trailers = on(1, HEADERS, flags | END_HEADERS | END_STREAM, block);
            breach(&[head, trailers], expected);
        };
        let refused = Some(Reason::PROTOCOL_ERROR);
        behind(0, b"\x82", refused);
        behind(0, b"\x8e", refused);
        behind(0, b"\x44\x01/", refused);
        behind(0, b"\x04\x01/", refused);
        behind(0, b"\x14\x01/", refused);
        behind(0, b"\0\x05:path\x01/", refused);
        behind(0, b"\x40\x05:path\x01/", refused);
        behind(0, b"\x10\x84\xb9\x58\xd3\x3f\x01/", refused);
        behind(PADDED, b"\x02\x82\0\0", refused);
        behind(PADDED | PRIORITISED, b"\0\0\0\0\0\0\0\x05:path\x01/", refused);
        behind(0, b"", None);
        behind(0, b"\x8f", None);
        behind(0, b"\xbe", None);
        behind(0, b"\0\x01x\x01y", None);
        behind(0, b"\0\x85\xf2\xb2\x4f\x2f\x3f\x01y", None);
        behind(0, b"\x0f\x01\x01y", None);
        behind(0, b"\x7f\x01\x01y", None);
    }

    #[test]
    fn heads_are_not_interrupted_and_clients_do_not_promise() {
        let open = || frame(HEADERS, 0, 3);
        breach(&[open(), frame(PING, 0, 8)], Some(Reason::PROTOCOL_ERROR));
        breach(&[open(), open()], Some(Reason::PROTOCOL_ERROR));
        breach(&[open(), frame(CONTINUATION, 0, 3), frame(CONTINUATION, 0, 0)], None);
        breach(&[frame(PUSH_PROMISE, 0, 20)], Some(Reason::PROTOCOL_ERROR));
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_are_read_the_same(
            kinds in prop::collection::vec((0u8..12, any::<u8>(), prop::sample::select(vec![0usize, 4, 5, 6, 8, 1800]), 1u32..5), 0..20),
            cut in 1usize..40,
        ) {
            let frames = kinds.iter().map(|&(kind, flags, length, stream)| on(stream, kind, flags, &vec![0; length]));
            let bytes = frames.collect::<Vec<_>>().concat();
            let (mut whole, mut pieces) = (begun(), begun());
            let cost: Result<i64, Reason> = bytes.chunks(cut).map(|piece| pieces.pass(piece).map_err(|breach| breach.reason)).sum();
            prop_assert_eq!(whole.pass(&bytes).map_err(|breach| breach.reason), cost);
            prop_assert_eq!(whole.is_in_head(), pieces.is_in_head());
        }
    }
}
