//! Reads a file's lines from its end to its beginning, block by block.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::audit::LINE_MAX;

/// Bytes that are read at once.
const BLOCK: usize = 64 << 10;

/// The lines of a file before some place in it, the last one first.
pub(super) struct Backwards<'f> {
    file: &'f File,
    /// Where `buffer` begins in the file.
    start: u64,
    /// What was read and not given out yet; it ends where the last line given out begins.
    buffer: Vec<u8>,
    /// The middle of what is in the buffer was thrown away: it is longer than any line.
    overlong: bool,
}

/// A line, or what stands in the place of one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Where it begins in the file.
    pub(super) at: u64,
    /// Without the end of line. Of what is longer than any line, only a part that is no record.
    pub(super) text: Vec<u8>,
    /// Whether an end of line stands behind it.
    pub(super) ended: bool,
}

impl<'f> Backwards<'f> {
    /// The lines before byte `end`.
    pub(super) fn new(file: &'f File, end: u64) -> Self {
        Self {
            file,
            start: end,
            buffer: Vec::new(),
            overlong: false,
        }
    }

    /// The next line towards the beginning; `None` before the first one.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn next(&mut self) -> io::Result<Option<Piece>> {
        loop {
            let ended = self.buffer.last() == Some(&b'\n');
            let body = self.buffer.len() - usize::from(ended);
            if let Some(before) = memchr::memrchr(b'\n', &self.buffer[..body]) {
                let text = self.buffer.split_off(before + 1);
                return Ok(Some(self.piece(self.start + before as u64 + 1, text, ended)));
            }
            if self.start == 0 {
                let text = std::mem::take(&mut self.buffer);
                return Ok((!text.is_empty()).then(|| self.piece(0, text, ended)));
            }
            if body > LINE_MAX {
                // It is no record whatever it is; only its beginning is still looked for.
                self.overlong = true;
                self.buffer.clear();
                self.buffer.extend_from_slice(if ended { b"?\n" } else { b"?" });
            }
            self.read_block()?;
        }
    }

    fn piece(&mut self, at: u64, mut text: Vec<u8>, ended: bool) -> Piece {
        if ended {
            text.pop();
        }
        if std::mem::take(&mut self.overlong) {
            text.clear();
        }
        Piece { at, text, ended }
    }

    fn read_block(&mut self) -> io::Result<()> {
        let size = usize::try_from(self.start).map_or(BLOCK, |start| start.min(BLOCK));
        let mut block = vec![0; size];
        self.start -= size as u64;
        self.file.read_exact_at(&mut block, self.start)?;
        block.append(&mut self.buffer);
        self.buffer = block;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, Backwards, Piece};
    use crate::audit::LINE_MAX;
    use proptest::prelude::*;
    use std::io::Write;

    fn pieces(bytes: &[u8]) -> Vec<Piece> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let mut backwards = Backwards::new(&file, bytes.len() as u64);
        std::iter::from_fn(|| backwards.next().unwrap()).collect()
    }

    fn check(text: &str, expected: &[(u64, &str, bool)]) {
        let got = pieces(text.as_bytes());
        let expected = expected.iter().map(|&(at, text, ended)| Piece {
            at,
            text: text.into(),
            ended,
        });
        assert_eq!(got, expected.collect::<Vec<_>>(), "{text:?}");
    }

    #[test]
    fn lines_come_with_their_places_and_ends() {
        check("", &[]);
        check("\n", &[(0, "", true)]);
        check("one\n", &[(0, "one", true)]);
        check("one\ntwo", &[(4, "two", false), (0, "one", true)]);
        check("one\n\ntwo\n", &[(5, "two", true), (4, "", true), (0, "one", true)]);
    }

    #[test]
    fn what_is_longer_than_any_line_is_passed_over_without_being_held() {
        for end in ["\n", ""] {
            let mut bytes = b"one\n".to_vec();
            bytes.resize(LINE_MAX + 5 * BLOCK, b'x');
            bytes.extend_from_slice(end.as_bytes());
            let got = pieces(&bytes);
            assert_eq!((got.len(), got[0].at, got[0].ended), (2, 4, !end.is_empty()));
            assert!(got[0].text.is_empty());
            assert_eq!(got[1].text, b"one");
        }
    }

    proptest! {
        #[test]
        fn the_pieces_are_the_lines(lengths in proptest::collection::vec(0usize..40_000, 0..12)) {
            let lines: Vec<String> = lengths.iter().map(|&n| "x".repeat(n)).collect();
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let mut got: Vec<String> =
                pieces(text.as_bytes()).into_iter().map(|piece| String::from_utf8(piece.text).unwrap()).collect();
            got.reverse();
            prop_assert_eq!(got, lines);
        }
    }
}
