//! A flagd file as a section of a configuration, and what of it could not be converted.

use std::fmt;

use super::flag;
use super::json::{self, Node, Path};
use super::write;

/// Bytes of a flagd file.
pub const FILE_BYTES_MAX: usize = 16 << 20;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What came out of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// The section `flags:` of a configuration, in YAML.
    pub flags: String,
    /// How many flags stand there,
    pub count: usize,
    /// and how many the file has.
    pub of: usize,
    /// What was not converted; the flags of which nothing stands there are among it. Empty: everything was.
    pub gaps: Vec<Gap>,
}

/// Something that was not converted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The flag's key; `None`: the file.
    pub flag: Option<String>,
    /// The place in the flag, as a path of JSON.
    pub at: String,
    /// Why there are no words for it here.
    pub why: String,
    /// What to do instead.
    pub instead: &'static str,
}

/// Why a file is none of flagd's.
#[derive(Debug, thiserror::Error)]
pub enum BadFile {
    /// With line and column.
    #[error("is not JSON as flagd reads it: {0}")]
    NoJson(#[from] serde_json::Error),
    /// An object with the keys of the flags, or a list of objects with a `key` each.
    #[error("has no `flags`; give a file with the flags that flagd serves")]
    NoFlags,
    /// It is bounded.
    #[error("has more than {FILE_BYTES_MAX} bytes; divide it")]
    Large,
}

/// Converts a flagd file. Flags that cannot be converted are left out, and a comment stands in their place.
///
/// # Errors
/// [`BadFile`] when there is nothing to convert.
pub fn from_flagd(text: &[u8]) -> Result<Converted, BadFile> {
    if text.len() > FILE_BYTES_MAX {
        return Err(BadFile::Large);
    }
    let file = json::parse(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text))?;
    let evaluators = file.get("$evaluators");
    let mut gaps = Vec::new();
    if file.get("metadata").is_some() {
        gaps.push(metadata(None, &Path::root("metadata", 0)));
    }
    let mut flags = Vec::new();
    for (key, node) in keyed(file.get("flags").ok_or(BadFile::NoFlags)?)? {
        let (flag, missing) = flag::convert(key, node, evaluators);
        flags.push((key, flag));
        gaps.extend(missing);
    }
    Ok(Converted {
        flags: write::flags(&flags),
        count: flags.iter().filter(|(_, flag)| flag.is_some()).count(),
        of: flags.len(),
        gaps,
    })
}

/// The flags with their keys, in the order of the file.
fn keyed(flags: &Node) -> Result<Vec<(&str, &Node)>, BadFile> {
    match flags {
        Node::Object(members) => Ok(members.iter().map(|(key, node)| (key.as_str(), node)).collect()),
        Node::List(items) => items
            .iter()
            .map(|item| match item.get("key") {
                Some(Node::Text(key)) => Ok((key.as_str(), item)),
                _ => Err(BadFile::NoFlags),
            })
            .collect(),
        _ => Err(BadFile::NoFlags),
    }
}

/// What is told to applications beside the value.
pub(super) fn metadata(flag: Option<&str>, at: &Path<'_>) -> Gap {
    Gap {
        flag: flag.map(str::to_owned),
        at: at.to_string(),
        why: "answers here carry the metadata of Serin alone".to_owned(),
        instead: "put what applications need into the value",
    }
}

impl fmt::Display for Gap {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(flag) = &self.flag {
            write!(f, "{}: ", flag.escape_debug())?;
        }
        write!(f, "{}: {}; {}", self.at, self.why, self.instead)
    }
}
