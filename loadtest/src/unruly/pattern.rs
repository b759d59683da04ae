//! The content of an exchange's bodies: its number, again and again, so that each byte's owner can be told. Pure.

/// Length of one repetition.
const BLOCK: usize = 16;

/// The content of one exchange's bodies, of any length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pattern([u8; BLOCK]);

impl Pattern {
    /// The number in decimal digits and a line end, 16 bytes.
    pub(crate) fn of(id: u64) -> Self {
        let mut block = [b'0'; BLOCK];
        block[BLOCK - 1] = b'\n';
        let mut left = id;
        for digit in block[..BLOCK - 1].iter_mut().rev() {
            *digit += u8::try_from(left % 10).expect("a digit");
            left /= 10;
        }
        Self(block)
    }

    /// Appends the bytes of a body from `from` up to `to`.
    pub(crate) fn write(&self, from: usize, to: usize, output: &mut Vec<u8>) {
        output.reserve(to - from);
        let mut at = from;
        while at < to {
            let piece = &self.0[at % BLOCK..];
            let piece = &piece[..piece.len().min(to - at)];
            output.extend_from_slice(piece);
            at += piece.len();
        }
    }

    /// Whether `piece` is what stands at `from` in such a body.
    pub(crate) fn matches(&self, from: usize, piece: &[u8]) -> bool {
        let begin = from % BLOCK;
        let first = piece.len().min((BLOCK - begin) % BLOCK);
        let (first, rest) = piece.split_at(first);
        *first == self.0[begin..begin + first.len()] && rest.chunks(BLOCK).all(|block| *block == self.0[..block.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_shows_the_number() {
        assert_eq!(&Pattern::of(0).0, b"000000000000000\n");
        assert_eq!(&Pattern::of(1_234_567).0, b"000000001234567\n");
    }

    #[test]
    fn every_part_matches_at_its_place_and_nowhere_else() {
        let pattern = Pattern::of(1_234_567);
        let mut body = Vec::new();
        pattern.write(0, 100, &mut body);
        for from in 0..body.len() {
            for to in from..=body.len() {
                let mut part = Vec::new();
                pattern.write(from, to, &mut part);
                assert_eq!(part, body[from..to]);
                assert!(pattern.matches(from, &part), "{from}..{to}");
                // 16 bytes hold a line end at one place only.
                assert!(part.len() < BLOCK || !pattern.matches(from + 1, &part), "{from}..{to}");
                if let Some(last) = part.last_mut() {
                    *last ^= 1;
                    assert!(!pattern.matches(from, &part), "{from}..{to}");
                }
            }
        }
    }
}
