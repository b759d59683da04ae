//! MurmurHash3 x86_32 in pieces: hashes what was absorbed as if it had been one text.
//!
//! Source: Austin Appleby, `MurmurHash3.cpp` (public domain), function `MurmurHash3_x86_32`.

/// The hash of `bytes` with seed 0.
#[must_use]
pub fn murmur3(bytes: &[u8]) -> u32 {
    Murmur3::default().absorb(bytes).finish()
}

/// A hash in the making. The default has seed 0 and nothing absorbed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Murmur3 {
    hash: u32,
    /// The bytes of a block that is not full yet, the first in the lowest place.
    block: u32,
    /// Their number, 0 to 3.
    filled: u32,
    /// All bytes so far.
    len: u32,
}

impl Murmur3 {
    /// Goes on with `bytes`. Does not allocate.
    pub(super) fn absorb(mut self, bytes: &[u8]) -> Self {
        // The algorithm takes the length modulo 2^32.
        self.len = self.len.wrapping_add(bytes.len() as u32);
        let missing = ((4 - self.filled) % 4) as usize;
        let (head, rest) = bytes.split_at(missing.min(bytes.len()));
        let (blocks, tail) = rest.as_chunks::<4>();
        for &byte in head {
            self.push(byte);
        }
        for &block in blocks {
            self.hash = with_block(self.hash, u32::from_le_bytes(block));
        }
        for &byte in tail {
            self.push(byte);
        }
        self
    }

    /// The hash of everything absorbed.
    pub(super) const fn finish(self) -> u32 {
        // A block of no bytes scrambles to 0 and changes nothing.
        let mut hash = self.hash ^ scrambled(self.block) ^ self.len;
        hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
        hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
        hash ^ (hash >> 16)
    }

    const fn push(&mut self, byte: u8) {
        self.block |= (byte as u32) << (8 * self.filled);
        self.filled += 1;
        if self.filled == 4 {
            self.hash = with_block(self.hash, self.block);
            (self.block, self.filled) = (0, 0);
        }
    }
}

const fn with_block(hash: u32, block: u32) -> u32 {
    (hash ^ scrambled(block))
        .rotate_left(13)
        .wrapping_mul(5)
        .wrapping_add(0xe654_6b64)
}

const fn scrambled(block: u32) -> u32 {
    block
        .wrapping_mul(0xcc9e_2d51)
        .rotate_left(15)
        .wrapping_mul(0x1b87_3593)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Murmur3;

    fn check(text: &str, expected: u32) {
        assert_eq!(
            Murmur3::default().absorb(text.as_bytes()).finish(),
            expected,
            "{text:?}"
        );
    }

    #[test]
    fn published_vectors_of_seed_0() {
        check("", 0);
        check("test", 0xba6b_d213);
        check("hello", 0x248b_fa47);
        check("Hello, world!", 0xc036_3e43);
        check("The quick brown fox jumps over the lazy dog", 0x2e4f_f723);
    }

    proptest! {
        #[test]
        fn pieces_come_to_the_same_as_the_whole(
            text in prop::collection::vec(any::<u8>(), 0..40),
            first in 0usize..40,
            second in 0usize..40,
        ) {
            let (first, second) = (first.min(text.len()), second.min(text.len()));
            let (a, b) = (first.min(second), first.max(second));
            let pieces = Murmur3::default().absorb(&text[..a]).absorb(&text[a..b]).absorb(&text[b..]);
            prop_assert_eq!(pieces.finish(), Murmur3::default().absorb(&text).finish());
        }
    }
}
