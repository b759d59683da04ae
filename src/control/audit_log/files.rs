//! The files of the log: `audit.jsonl`, which is written, and those put aside, each named after the
//! number of its first record.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::backwards::{Backwards, Piece};
use crate::audit::{Anchor, Chain, Record, parse};

/// The file that is written.
pub(super) const ACTIVE: &str = "audit.jsonl";
/// So many bytes at an end of a file are searched for a record.
const SEARCH_MAX: u64 = 4 << 20;

/// So many files that are none of ours are named.
const STRAYS_MAX: usize = 20;

/// A file of the log.
#[derive(Debug)]
pub(super) struct LogFile {
    /// The number of its first record; 0: it has none.
    pub(super) first_seq: u64,
    pub(super) path: PathBuf,
}

/// The last record of a file, and what stands behind it.
#[derive(Debug, Default)]
pub(super) struct Tail {
    pub(super) last: Option<(Chain, Record)>,
    /// Where the last record's line ends.
    pub(super) end: u64,
    /// The bytes behind it, or the last of them.
    pub(super) rest: Vec<u8>,
}

impl LogFile {
    /// For messages.
    pub(super) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

/// The path of a file put aside whose first record is `first_seq`.
pub(super) fn aside(directory: &Path, first_seq: u64) -> PathBuf {
    directory.join(format!("audit.{first_seq:012}.jsonl"))
}

/// The files put aside, the oldest first.
///
/// # Errors
/// What the system says.
pub(super) fn put_aside(directory: &Path) -> io::Result<Vec<LogFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if let Some(first_seq) = name.to_str().and_then(between).and_then(|number| number.parse().ok()) {
            let path = directory.join(&name);
            files.push(LogFile { first_seq, path });
        }
    }
    files.sort_unstable_by_key(|file| file.first_seq);
    Ok(files)
}

/// What stands for the number in the name of a file put aside.
fn between(name: &str) -> Option<&str> {
    name.strip_prefix("audit.")?.strip_suffix(".jsonl")
}

/// The names of files that look put aside and are none of ours, in order; the first of them.
///
/// # Errors
/// What the system says.
pub(super) fn strays(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if between(&name).is_some_and(|number| number.parse::<u64>().is_err()) {
            names.push(name);
        }
    }
    names.sort_unstable();
    names.truncate(STRAYS_MAX);
    Ok(names)
}

/// All files, the oldest first, the one that is written opened last of all. What `pruned` covers
/// wholly is left out: it is about to be removed.
///
/// # Errors
/// What the system says.
pub(super) fn all(directory: &Path, pruned: u64) -> io::Result<Vec<(LogFile, Option<File>)>> {
    // Opened before the others are listed: when it is put aside meanwhile it stands twice in the
    // list, never not at all.
    let path = directory.join(ACTIVE);
    let active = open(&path)?;
    let id = match &active {
        Some(file) => Some(identity(&file.metadata()?)),
        None => None,
    };
    let mut files: Vec<_> = put_aside(directory)?.into_iter().map(|file| (file, None)).collect();
    if let (Some(file), Some(id)) = (active, id) {
        files.retain(|(aside, _)| fs::metadata(&aside.path).is_ok_and(|found| identity(&found) != id));
        let first_seq = first_seq(&file)?;
        files.push((LogFile { first_seq, path }, Some(file)));
        // It may have been put aside, and the one after it as well.
        files.sort_by_key(|(file, _)| if file.first_seq == 0 { u64::MAX } else { file.first_seq });
    }
    // The next file begins no later than the log does by the state: this one is about to be removed.
    let is_gone = |next: u64| next != 0 && next <= pruned.saturating_add(1);
    let gone = files.windows(2).take_while(|pair| is_gone(pair[1].0.first_seq)).count();
    files.drain(..gone);
    Ok(files)
}

/// Opens a file for reading; `None`: there is none.
///
/// # Errors
/// What the system says.
pub(super) fn open(path: &Path) -> io::Result<Option<File>> {
    match open_regular(OpenOptions::new().read(true), path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens the file that is written, made where there is none; only its owner may read it then.
///
/// # Errors
/// What the system says.
pub(super) fn open_to_write(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    open_regular(options.read(true).append(true).create(true).mode(0o600), path)
}

/// Never waits for somebody at the other end of a pipe.
fn open_regular(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("flags of the system fit its own type");
    let file = options.custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::other(format!("{} is no regular file", path.display())))
}

/// What tells one file from another whatever its name.
pub(super) fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The number of the first record of a file; 0: there is none near its beginning.
pub(super) fn first_seq(file: &File) -> io::Result<u64> {
    Ok(first_record(file)?.map_or(0, |record| record.seq))
}

/// What must have stood before the first record of all files; `None`: nothing, or there is no record.
pub(super) fn beginning(directory: &Path) -> io::Result<Option<Chain>> {
    for (file, opened) in all(directory, 0)? {
        let opened = opened.map_or_else(|| open(&file.path), |opened| Ok(Some(opened)))?;
        if let Some(first) = opened.as_ref().map(first_record).transpose()?.flatten() {
            return Ok((first.seq > 1).then(|| Chain {
                seq: first.seq - 1,
                hash: first.previous,
            }));
        }
    }
    Ok(None)
}

/// The record with the number `seq + 1`, sought from the end of the log; `None`: it is not there.
///
/// # Errors
/// What the system says.
pub(super) fn record_behind(directory: &Path, seq: u64) -> io::Result<Option<Record>> {
    for (file, opened) in all(directory, 0)?.into_iter().rev() {
        let Some(opened) = opened.map_or_else(|| open(&file.path), |opened| Ok(Some(opened)))? else {
            continue;
        };
        let mut pieces = Backwards::new(&opened, opened.metadata()?.len());
        while let Some(piece) = pieces.next()? {
            if let Some(record) = parse(&piece.text).ok().filter(|record| record.seq <= seq + 1) {
                return Ok((record.seq == seq + 1).then_some(record));
            }
        }
    }
    Ok(None)
}

fn first_record(file: &File) -> io::Result<Option<Record>> {
    let mut bytes = vec![0; 256 << 10];
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    let mut lines = bytes[..read].split_inclusive(|&byte| byte == b'\n');
    Ok(lines.find_map(|line| parse(line.trim_ascii_end()).ok()))
}

/// The last whole record of a file.
///
/// # Errors
/// What the system says.
pub(super) fn tail(file: &File) -> io::Result<Tail> {
    let len = file.metadata()?.len();
    let mut tail = Tail::default();
    let mut pieces = Backwards::new(file, len);
    while let Some(Piece { at, text, ended }) = pieces.next()? {
        if let Some(record) = parse(&text).ok().filter(|_| ended) {
            tail.end = at + text.len() as u64 + 1;
            tail.last = Some((Chain::at(record.seq, &text), record));
            return Ok(tail);
        }
        if tail.rest.is_empty() {
            tail.rest = text;
            tail.rest.extend_from_slice(if ended { b"\n" } else { b"" });
        }
        if len - at > SEARCH_MAX {
            break;
        }
    }
    Ok(tail)
}

/// What the state in `directory` says of the log. `Err`: why it says nothing.
pub(super) fn read_anchor(directory: &Path) -> Result<Anchor, String> {
    // While a state replaces another there is none for a moment; the one before is the state then.
    for name in ["state.json", "state.json.bak", "state.json"] {
        let path = directory.join(name);
        match fs::read(&path) {
            Ok(text) => {
                let anchor = Anchor::of_state(&text).map_err(|problem| format!("{}: {problem}", path.display()))?;
                return anchor.ok_or_else(|| format!("{} was written before there was a log", path.display()));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
    }
    Err(format!("{} does not exist", directory.join("state.json").display()))
}

#[cfg(test)]
mod tests {
    use super::{ACTIVE, all, aside, first_seq, put_aside, tail};
    use crate::audit::{Chain, Record};
    use std::fs::{self, File};

    fn lines(count: usize) -> Vec<String> {
        let mut chain = Chain::default();
        (0..count).map(|_| chain.append(Record::default()) + "\n").collect()
    }

    #[test]
    fn the_last_record_is_found_behind_whatever_was_torn() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join(ACTIVE);
        let whole = lines(3).concat();
        for rest in ["", "{", "\0\0\0", "x\n{", "\n\n"] {
            fs::write(&path, format!("{whole}{rest}")).unwrap();
            let file = File::open(&path).unwrap();
            let tail = tail(&file).unwrap();
            assert_eq!(
                (tail.last.unwrap().0.seq, tail.end),
                (3, whole.len() as u64),
                "{rest:?}"
            );
            assert_eq!(tail.rest.is_empty(), rest.is_empty());
            assert_eq!(first_seq(&file).unwrap(), 1);
        }
        fs::write(&path, "").unwrap();
        let file = File::open(&path).unwrap();
        assert!(tail(&file).unwrap().last.is_none() && first_seq(&file).unwrap() == 0);
    }

    #[test]
    fn files_come_in_the_order_of_their_records() {
        let temp = tempfile::tempdir().unwrap();
        let lines = lines(11);
        for (first, range) in [(1u64, 0..4), (5, 4..9), (10, 9..10)] {
            fs::write(aside(temp.path(), first), lines[range].concat()).unwrap();
        }
        fs::write(temp.path().join(ACTIVE), &lines[10]).unwrap();
        fs::write(temp.path().join("audit.x.jsonl"), "").unwrap();
        let firsts = |pruned| -> Vec<u64> {
            let files = all(temp.path(), pruned).unwrap();
            files.iter().map(|(file, _)| file.first_seq).collect()
        };
        assert_eq!(put_aside(temp.path()).unwrap().len(), 3);
        assert_eq!(firsts(0), [1, 5, 10, 11]);
        assert_eq!(firsts(3), [1, 5, 10, 11]);
        assert_eq!(firsts(4), [5, 10, 11]);
        assert_eq!(firsts(9), [10, 11]);
        assert_eq!(firsts(99), [11]);
    }
}
