//! Finds numbers by the hash of a text: built once, read by every request.
//!
//! The keys come from the configuration, so the hash needs no secret: whatever clients send, they
//! cannot lengthen a chain of keys that they did not choose.

/// A running hash. Equal parts absorbed in equal pieces come to equal hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hash(u64);

/// From hashes to numbers. The caller keeps the keys and compares them.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    /// Open addressing with linear probing; a power of two, at most half full.
    slots: Box<[Slot]>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The upper half of the hash; the lower half places it.
    tag: u32,
    /// [`EMPTY`] where nothing is.
    number: u32,
}

const EMPTY: u32 = u32::MAX;

impl Hash {
    /// Begins anew; hashes of different seeds have nothing in common.
    pub(super) fn seeded(seed: u64) -> Self {
        Self(mix(0x243f_6a88_85a3_08d3, seed))
    }

    /// Goes on with `bytes`. About a nanosecond for each eight bytes.
    pub(super) fn absorb(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        let hash = words
            .iter()
            .fold(self.0, |hash, &word| mix(hash, u64::from_le_bytes(word)));
        let tail = rest
            .iter()
            .fold(rest.len() as u64, |tail, &byte| tail << 8 | u64::from(byte));
        Self(mix(hash, tail))
    }

    const fn tag(self) -> u32 {
        (self.0 >> 32) as u32
    }

    const fn place(self) -> usize {
        self.0 as u32 as usize
    }
}

impl Lookup {
    /// Arranges `entries`; their keys must differ, their hashes need not.
    pub(super) fn new(entries: impl IntoIterator<Item = (Hash, u32)>) -> Self {
        let entries: Vec<_> = entries.into_iter().collect();
        let size = (entries.len() * 2).next_power_of_two();
        let mut slots = vec![Slot { tag: 0, number: EMPTY }; size].into_boxed_slice();
        for (hash, number) in entries {
            let mut at = hash.place() & (size - 1);
            while slots[at].number != EMPTY {
                at = (at + 1) & (size - 1);
            }
            slots[at] = Slot {
                tag: hash.tag(),
                number,
            };
        }
        Self { slots }
    }

    /// The number whose key has this hash and is the right one by `is_key`.
    pub(super) fn find(&self, hash: Hash, is_key: impl Fn(u32) -> bool) -> Option<u32> {
        // Without slots the first `get` ends it.
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = hash.place() & mask;
        loop {
            let slot = self.slots.get(at)?;
            if slot.number == EMPTY {
                return None;
            }
            if slot.tag == hash.tag() && is_key(slot.number) {
                return Some(slot.number);
            }
            at = (at + 1) & mask;
        }
    }
}

/// Multiplies to twice the width and folds: every bit of both reaches every bit of the answer.
fn mix(hash: u64, word: u64) -> u64 {
    let wide = u128::from(hash ^ word) * u128::from(0x9e37_79b9_7f4a_7c15_u64);
    (wide as u64) ^ (wide >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::{Hash, Lookup};

    fn hash(text: &str) -> Hash {
        Hash::seeded(1).absorb(text.as_bytes())
    }

    #[test]
    fn every_key_is_found_and_no_other() {
        let keys: Vec<String> = (0..5000).map(|n| format!("/some/path/{n}")).collect();
        let entries: Vec<_> = (0..).zip(&keys).map(|(n, key)| (hash(key), n)).collect();
        let lookup = Lookup::new(entries);
        for (n, key) in (0..).zip(&keys) {
            assert_eq!(lookup.find(hash(key), |found| keys[found as usize] == *key), Some(n));
        }
        assert_eq!(lookup.find(hash("/other"), |_| false), None);
        assert_eq!(Lookup::new([]).find(hash("/other"), |_| true), None);
    }

    #[test]
    fn keys_of_equal_hash_are_told_apart_by_the_caller() {
        let same = hash("same");
        let lookup = Lookup::new([(same, 7), (same, 8), (same, 9)]);
        assert_eq!(lookup.find(same, |n| n == 8), Some(8));
        assert_eq!(lookup.find(same, |n| n == 9), Some(9));
        assert_eq!(lookup.find(same, |_| false), None);
    }

    #[test]
    fn lengths_and_seeds_change_the_hash() {
        assert_ne!(hash(""), hash("\0"));
        assert_ne!(hash("\0"), hash("\0\0"));
        assert_ne!(hash("12345678"), hash("12345678\0"));
        assert_ne!(Hash::seeded(1), Hash::seeded(2));
    }
}
