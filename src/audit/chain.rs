//! The chain: each record carries the SHA-256 of the line before it.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::Record;
use super::line::to_line;

/// A place in the chain: the record that stands last there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Its number; 0: there is none yet.
    pub seq: u64,
    /// SHA-256 of its line without the end of line, in hexadecimal; 64 zeros where there is none.
    pub hash: String,
}

impl Default for Chain {
    /// Before the first record.
    fn default() -> Self {
        Self {
            seq: 0,
            hash: "0".repeat(64),
        }
    }
}

impl Chain {
    /// The record `seq` that reads `line`, without the end of line.
    #[must_use]
    pub fn at(seq: u64, line: &[u8]) -> Self {
        let mut hash = String::with_capacity(64);
        for byte in digest(&SHA256, line).as_ref() {
            write!(hash, "{byte:02x}").expect("a String takes everything");
        }
        Self { seq, hash }
    }

    /// Makes `record` the next one, whatever its `seq` and `previous` say, and answers its line without
    /// the end of line. Texts that are too long for a line of [`super::LINE_MAX`] bytes are cut.
    pub fn append(&mut self, mut record: Record) -> String {
        record.seq = self.seq + 1;
        record.previous.clone_from(&self.hash);
        let line = to_line(record);
        *self = Self::at(self.seq + 1, line.as_bytes());
        line
    }
}

#[cfg(test)]
mod tests {
    use super::Chain;
    use crate::audit::{Record, parse};

    #[test]
    fn the_hash_is_sha_256() {
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(
            Chain::at(7, b"abc"),
            Chain {
                seq: 7,
                hash: expected.into()
            }
        );
    }

    #[test]
    fn each_record_names_the_one_before_it() {
        let mut chain = Chain::default();
        let first = chain.append(Record::default());
        let after_first = chain.clone();
        let second = parse(chain.append(Record::default()).as_bytes()).unwrap();
        assert_eq!(after_first, Chain::at(1, first.as_bytes()));
        assert_eq!((second.seq, second.previous), (2, after_first.hash));
        assert_eq!(parse(first.as_bytes()).unwrap().previous, "0".repeat(64));
    }
}
