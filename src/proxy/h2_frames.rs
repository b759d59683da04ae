//! What a client's HTTP/2 connection costs beside its requests: reads the heads of its frames as they pass, and keeps an
//! account of them. Pure: the caller brings bytes and time.
//!
//! The engine answers PING and SETTINGS, and takes PRIORITY, WINDOW_UPDATE and empty frames, as often as they come. Each
//! costs a point here; what the connection is for (requests, and what is sent in answer) earns some back, as does time.
//! Who runs out asks for more than they are worth (RFC 9113 §10.5).

use std::cell::Cell;

/// Points that a connection begins with: enough to reset all the streams that it may have by default.
const POINTS_FIRST: i64 = 1_000;

/// Points that a connection may be ahead.
const POINTS_MAX: i64 = 2_000;

/// Points that a second earns.
const POINTS_PER_SECOND: u64 = 200;

/// What a request earns: its head costs a point, the rest is for what goes with it.
const REQUEST: i64 = 4;

/// What a reset costs: to the client that sends one, and again to the connection whose stream it ends before its answer
/// was complete, whoever has reset it. With what the request earned it is 7 for each: 28 may be each second. A rapid
/// reset (CVE-2023-44487) and its sisters need thousands.
const RESET: i64 = 5;

/// Bytes sent that earn a point: the client tells us as often that it has read.
const BYTES_PER_POINT: usize = 2_048;

/// What comes before the first frame (RFC 9113 §3.4).
const PREFACE_BYTES: u32 = 24;

/// The points of one connection.
#[derive(Debug)]
pub(super) struct Account {
    points: Cell<i64>,
    /// Up to when time has been paid for.
    paid_us: Cell<u64>,
    /// There were none left once: it is over.
    broke: Cell<bool>,
}

impl Account {
    /// That of a new connection.
    pub(super) const fn new(now_us: u64) -> Self {
        Self {
            points: Cell::new(POINTS_FIRST),
            paid_us: Cell::new(now_us),
            broke: Cell::new(false),
        }
    }

    /// Takes points. The clock is asked only when there are none left.
    pub(super) fn charge(&self, points: i64, now_us: impl FnOnce() -> u64) {
        let left = self.points.get() - points;
        self.points.set(left);
        if left < 0 {
            let now_us = now_us();
            let earned = now_us
                .saturating_sub(self.paid_us.get())
                .saturating_mul(POINTS_PER_SECOND)
                / 1_000_000;
            self.paid_us.set(now_us);
            let left = left
                .saturating_add(i64::try_from(earned).unwrap_or(POINTS_MAX))
                .min(POINTS_MAX);
            self.points.set(left);
            self.broke.set(self.broke.get() || left < 0);
        }
    }

    /// A stream ended before its answer was complete.
    pub(super) fn charge_reset(&self, now_us: impl FnOnce() -> u64) {
        self.charge(RESET, now_us);
    }

    /// A request has come.
    pub(super) fn earn_request(&self) {
        self.earn(REQUEST);
    }

    /// A frame of `bytes` was sent in answer: the client may tell twice that it has taken it, for stream and connection.
    pub(super) fn earn_frame(&self, bytes: usize) {
        self.earn(2 + i64::try_from(bytes / BYTES_PER_POINT).unwrap_or(POINTS_MAX));
    }

    fn earn(&self, points: i64) {
        self.points.set((self.points.get() + points).min(POINTS_MAX));
    }

    /// Whether the connection costs more than it asks for.
    pub(super) const fn is_broke(&self) -> bool {
        self.broke.get()
    }
}

/// The frames that a client sends, by their heads.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes still to come of the frame whose head has passed.
    left: u32,
    /// Of the next frame's head, as far as it has come.
    head: [u8; HEAD],
    come: usize,
    /// The head of a request, or trailers, has begun and is not complete.
    in_block: bool,
    /// The frame that is passing belongs to such a block.
    of_block: bool,
}

/// Bytes of a frame's head (RFC 9113 §4.1).
const HEAD: usize = 9;

impl Frames {
    /// Before the connection's first byte.
    pub(super) const fn new() -> Self {
        Self {
            left: PREFACE_BYTES,
            head: [0; HEAD],
            come: 0,
            in_block: false,
            of_block: false,
        }
    }

    /// Looks at what has come next. The answer is what it costs.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> i64 {
        let mut cost = 0;
        loop {
            let skipped = bytes.len().min(self.left as usize);
            bytes = &bytes[skipped..];
            // It was at most what is left.
            self.left -= u32::try_from(skipped).unwrap_or(self.left);
            if bytes.is_empty() {
                return cost;
            }
            let taken = bytes.len().min(HEAD - self.come);
            self.head[self.come..self.come + taken].copy_from_slice(&bytes[..taken]);
            self.come += taken;
            bytes = &bytes[taken..];
            if self.come < HEAD {
                return cost;
            }
            self.come = 0;
            cost += self.begin();
        }
    }

    /// Whether a request's head has begun and is not complete.
    pub(super) const fn is_in_head(&self) -> bool {
        self.in_block || (self.of_block && self.left > 0)
    }

    /// A frame begins; what it costs.
    fn begin(&mut self) -> i64 {
        let [a, b, c, kind, flags, ..] = self.head;
        self.left = u32::from_be_bytes([0, a, b, c]);
        let length = i64::from(self.left);
        self.of_block = matches!(kind, HEADERS | CONTINUATION);
        match kind {
            DATA if length == 0 || (flags & PADDED != 0 && length < 256) => 1,
            DATA => 0,
            HEADERS | CONTINUATION => {
                self.in_block = flags & END_HEADERS == 0;
                1 + length / 1024
            }
            RST_STREAM => RESET,
            // Each setting is looked at.
            SETTINGS => 1 + length / 48,
            _ => 1 + length / 1024,
        }
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, length: u32) -> Vec<u8> {
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags, 0, 0, 0, 1]);
        bytes.resize(HEAD + length as usize, 0xff);
        bytes
    }

    fn begun() -> Frames {
        let mut frames = Frames::new();
        assert_eq!(frames.pass(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 0);
        frames
    }

    fn check(kind: u8, flags: u8, length: u32, expected: i64) {
        assert_eq!(
            begun().pass(&frame(kind, flags, length)),
            expected,
            "{kind} {flags} {length}"
        );
    }

    #[test]
    fn what_carries_data_is_free_and_the_rest_costs() {
        check(DATA, 0, 1, 0);
        check(DATA, 0, 16_384, 0);
        check(DATA, 1, 0, 1);
        check(DATA, PADDED, 9, 1);
        check(HEADERS, END_HEADERS, 40, 1);
        check(HEADERS, END_HEADERS, 16_000, 16);
        check(2, 0, 5, 1);
        check(3, 0, 4, RESET);
        check(SETTINGS, 0, 0, 1);
        check(SETTINGS, 0, 4_800, 101);
        check(6, 0, 8, 1);
        check(8, 0, 4, 1);
        check(0xfa, 0, 10_240, 11);
    }

    #[test]
    fn a_head_lasts_until_its_last_frame_is_whole() {
        let mut frames = begun();
        let (first, last) = (frame(HEADERS, 0, 10), frame(CONTINUATION, END_HEADERS, 10));
        frames.pass(&first);
        assert!(frames.is_in_head());
        frames.pass(&last[..15]);
        assert!(frames.is_in_head());
        frames.pass(&last[15..]);
        assert!(!frames.is_in_head());
        frames.pass(&frame(DATA, 0, 10)[..12]);
        assert!(!frames.is_in_head());
    }

    #[test]
    fn an_account_is_overdrawn_by_floods_and_not_by_work() {
        let account = Account::new(0);
        for _ in 0..1_000_000 {
            account.charge(1, || 0);
            account.earn_request();
            account.charge(2, || 0);
            account.earn_frame(100);
        }
        assert!(!account.is_broke());
        for _ in 0..POINTS_MAX + 200 {
            account.charge(1, || 1_000_000);
        }
        assert!(!account.is_broke(), "a second earns 200");
        account.charge(1, || 1_000_000);
        assert!(account.is_broke());
        account.earn_frame(1 << 20);
        assert!(account.is_broke(), "it stays so");
    }

    #[test]
    fn many_resets_at_once_are_a_flood() {
        let account = Account::new(0);
        let resets = (0..1_000).take_while(|_| {
            account.charge(1 + RESET, || 0);
            account.earn_request();
            account.charge_reset(|| 0);
            !account.is_broke()
        });
        let resets = resets.count();
        assert!((128..200).contains(&resets), "{resets}");
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_cost_the_same(kinds in prop::collection::vec((0u8..12, any::<u8>(), 0u32..2000), 0..20), cut in 1usize..40) {
            let bytes: Vec<u8> = kinds.iter().flat_map(|&(kind, flags, length)| frame(kind, flags, length)).collect();
            let (mut whole, mut pieces) = (begun(), begun());
            let cost: i64 = bytes.chunks(cut).map(|piece| pieces.pass(piece)).sum();
            prop_assert_eq!(whole.pass(&bytes), cost);
            prop_assert_eq!(whole.is_in_head(), pieces.is_in_head());
        }
    }
}
