//! A set of keys, perhaps a million of them: one block of text and an index into it.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use aws_lc_rs::digest::{SHA256, digest};
use hashbrown::HashTable;

/// Keys of one set.
pub(super) const KEYS_MAX: usize = 1_000_000;
/// Bytes of one key.
pub const KEY_BYTES_MAX: usize = 1_024;
/// Bytes of a file of keys.
pub const KEY_FILE_BYTES_MAX: usize = 64 << 20;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A set of keys. Its size is that of their text and some 9 bytes for each.
pub struct KeySet {
    text: Box<[u8]>,
    /// Where each key begins in `text`; it ends with its line.
    starts: HashTable<u32>,
    hasher: RandomState,
    /// Of `text`.
    digest: [u8; 32],
}

/// Why a text is no set of keys. Lines count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeys {
    /// The file was cut off, or is being written.
    #[error(
        "line {0}: the file ends in the middle of a line; end the last line, too, and replace the file by renaming"
    )]
    Unfinished(usize),
    /// Nothing at all: most often a file that is being written.
    #[error("the file is empty; write a comment, `# nobody`, if that is meant")]
    Empty,
    /// As in a table or a list of texts; a user's key has none.
    #[error("line {0}: the key stands in quotes, which would belong to it; leave them out")]
    Quoted(usize),
    /// Longer than [`KEY_BYTES_MAX`].
    #[error("line {0}: the key has more than {KEY_BYTES_MAX} bytes")]
    LongKey(usize),
    /// More than a million.
    #[error("line {0}: there are more than {KEYS_MAX} keys")]
    Many(usize),
    /// More than [`KEY_FILE_BYTES_MAX`].
    #[error("the file has more than {KEY_FILE_BYTES_MAX} bytes")]
    Large,
}

impl KeySet {
    /// The keys of a file: one on each line, without the blanks around it. Lines that are empty or begin with `#`
    /// hold none.
    ///
    /// # Errors
    /// [`BadKeys`], the first.
    pub fn parse(mut text: Vec<u8>) -> Result<Self, BadKeys> {
        // Some editors put a mark of byte order in front, which is no part of the first key.
        if text.starts_with(BYTE_ORDER_MARK) {
            text.drain(..BYTE_ORDER_MARK.len());
        }
        if text.len() > KEY_FILE_BYTES_MAX {
            return Err(BadKeys::Large);
        }
        match text.last() {
            None => return Err(BadKeys::Empty),
            Some(b'\n') => {}
            Some(_) => return Err(BadKeys::Unfinished(text.split(|&byte| byte == b'\n').count())),
        }
        Self::of_text(text, is_quoted)
    }

    /// These keys; those that are empty or hold a line break belong to nobody.
    ///
    /// # Errors
    /// [`BadKeys`], as if each stood on its line.
    pub fn of<'k>(keys: impl IntoIterator<Item = &'k str>) -> Result<Self, BadKeys> {
        let mut text = Vec::new();
        for key in keys.into_iter().filter(|key| !key.contains('\n')) {
            text.extend_from_slice(key.as_bytes());
            text.push(b'\n');
        }
        Self::of_text(text, |_| false)
    }

    fn of_text(text: Vec<u8>, is_slip: impl Fn(&[u8]) -> bool) -> Result<Self, BadKeys> {
        let text: Box<[u8]> = text.into();
        let mut set = Self {
            digest: digest(&SHA256, &text)
                .as_ref()
                .try_into()
                .expect("SHA-256 has 32 bytes"),
            starts: HashTable::with_capacity(memchr::memchr_iter(b'\n', &text).count().min(KEYS_MAX)),
            hasher: RandomState::new(),
            text,
        };
        let mut start = 0;
        for (line, end) in (1..).zip(memchr::memchr_iter(b'\n', &set.text)) {
            let key = set.text[start..end].trim_ascii();
            let begin = start + (set.text[start..end].len() - set.text[start..end].trim_ascii_start().len());
            start = end + 1;
            if key.is_empty() || key[0] == b'#' {
                continue;
            }
            if key.len() > KEY_BYTES_MAX {
                return Err(BadKeys::LongKey(line));
            }
            if is_slip(key) {
                return Err(BadKeys::Quoted(line));
            }
            let hash = set.hasher.hash_one(key);
            let (text, hasher) = (&set.text, &set.hasher);
            let is_known = set.starts.find(hash, |&other| key_at(text, other) == key).is_some();
            if is_known {
                continue;
            }
            if set.starts.len() == KEYS_MAX {
                return Err(BadKeys::Many(line));
            }
            let begin = u32::try_from(begin).expect("the text is bounded");
            set.starts
                .insert_unique(hash, begin, |&other| hasher.hash_one(key_at(text, other)));
        }
        Ok(set)
    }

    /// Whether `key` is one of them. Does not allocate, and does not grow with their number.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        !self.starts.is_empty()
            && self
                .starts
                .find(self.hasher.hash_one(key), |&start| key_at(&self.text, start) == key)
                .is_some()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Bytes that it holds on to.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len() + self.starts.allocation_size()
    }
}

/// Whether `key` stands between two quotes of one kind.
fn is_quoted(key: &[u8]) -> bool {
    matches!(key, [first @ (b'"' | b'\''), .., last] if first == last)
}

/// The key that begins at `start`.
fn key_at(text: &[u8], start: u32) -> &[u8] {
    let rest = &text[start as usize..];
    let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    rest[..end].trim_ascii_end()
}

impl PartialEq for KeySet {
    /// The same text.
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for KeySet {}

impl fmt::Debug for KeySet {
    /// Their number: keys name people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{BadKeys, KEY_BYTES_MAX, KEY_FILE_BYTES_MAX, KEYS_MAX, KeySet};

    #[track_caller]
    fn check(text: &str, holds: &[&str], lacks: &[&str]) {
        let set = KeySet::parse(text.into()).unwrap();
        assert_eq!(set.len(), holds.len(), "{text:?}");
        assert!(holds.iter().all(|key| set.contains(key.as_bytes())), "{text:?}");
        assert!(!lacks.iter().any(|key| set.contains(key.as_bytes())), "{text:?}");
    }

    #[test]
    fn each_line_is_a_key() {
        check("alice\nbob\n", &["alice", "bob"], &["", "eve", "alice\nbob", "ali"]);
        check(
            " alice \r\n\n\t\n# staff\n#bob\nalice\n",
            &["alice"],
            &["#bob", "bob", " alice "],
        );
        check("# nobody\n", &[], &["", "# nobody"]);
        check("\u{e9}\n", &["\u{e9}"], &["e"]);
        check("\u{feff}alice\nbob\n", &["alice", "bob"], &[]);
    }

    #[test]
    fn what_was_cut_off_is_no_file_of_keys() {
        let bad = |text: &str| KeySet::parse(text.into()).unwrap_err();
        assert_eq!(bad(""), BadKeys::Empty);
        assert_eq!(bad("alice\nbo"), BadKeys::Unfinished(2));
        assert_eq!(
            bad(&format!("a\n{}\n", "x".repeat(KEY_BYTES_MAX + 1))),
            BadKeys::LongKey(2)
        );
    }

    #[test]
    fn keys_of_a_file_stand_without_quotes() {
        let bad = |text: &str| KeySet::parse(text.into()).unwrap_err();
        assert_eq!(bad("alice\n \"bob\" \r\n"), BadKeys::Quoted(2));
        assert_eq!(bad("'bob'\n"), BadKeys::Quoted(1));
        assert_eq!(bad("\"\"\n"), BadKeys::Quoted(1));
        check(
            "\"\n\"bob'\no'neill\nbob\"\n",
            &["\"", "\"bob'", "o'neill", "bob\""],
            &["bob"],
        );
        // Where a configuration says so itself, its own quotes are around them already.
        assert!(KeySet::of(["\"bob\""]).unwrap().contains(b"\"bob\""));
    }

    #[test]
    fn a_million_keys_take_little_room_and_one_more_is_refused() {
        use std::fmt::Write;
        let mut text = String::new();
        for user in 0..KEYS_MAX {
            writeln!(text, "user-{user:012}").unwrap();
        }
        let set = KeySet::parse(text.clone().into()).unwrap();
        assert_eq!(set.len(), KEYS_MAX);
        assert!(set.contains(b"user-000000999999") && !set.contains(b"user-000001000000"));
        assert!(set.bytes() < 40 << 20, "{}", set.bytes());
        text.push_str("one-more\n");
        assert_eq!(KeySet::parse(text.into()).unwrap_err(), BadKeys::Many(KEYS_MAX + 1));
    }

    #[test]
    fn the_largest_file_takes_less_than_100_mib() {
        use std::io::Write;
        let mut text = Vec::with_capacity(KEY_FILE_BYTES_MAX);
        for user in 0..KEYS_MAX {
            writeln!(text, "{user:066}").unwrap();
        }
        assert!(KEY_FILE_BYTES_MAX - text.len() < 1 << 20);
        let set = KeySet::parse(text).unwrap();
        assert_eq!(set.len(), KEYS_MAX);
        assert!(set.bytes() < 80 << 20, "{}", set.bytes());
    }

    #[test]
    fn sets_of_the_same_text_are_equal_and_say_nothing_of_it() {
        let set = |keys: &[&str]| KeySet::of(keys.iter().copied()).unwrap();
        assert_eq!(set(&["alice"]), set(&["alice"]));
        assert_ne!(set(&["alice"]), set(&["bob"]));
        assert!(!format!("{:?}", set(&["alice"])).contains("alice"));
    }
}
