//! A file that grows by whole lines and is put aside when it has reached its size: `log` becomes
//! `log.1`, that becomes `log.2`, and the oldest goes.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A file that cannot be opened is tried again after so long, and one that is open is looked after.
const LOOK: Duration = Duration::from_secs(1);

/// Where a log is kept.
#[derive(Clone, Debug)]
pub(crate) struct LogPlace {
    /// The file that is written.
    pub(crate) path: PathBuf,
    /// It is put aside before it outgrows this, in bytes.
    pub(crate) max_bytes: u64,
    /// How many files that were put aside are kept.
    pub(crate) keep: u32,
}

/// A log's file.
#[derive(Debug)]
pub(super) struct LogFile {
    place: LogPlace,
    /// The first line of every file, with its end.
    header: Vec<u8>,
    open: Option<OpenFile>,
    /// When to look whether the open file still stands in its place, or to try again to open one.
    look_at: Option<Instant>,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    bytes: u64,
    /// Device and number.
    id: (u64, u64),
}

impl LogFile {
    /// Nothing is opened yet.
    pub(super) fn new(place: LogPlace, header: Vec<u8>) -> Self {
        Self {
            place,
            header,
            open: None,
            look_at: None,
        }
    }

    /// The file that is written.
    pub(super) fn path(&self) -> &Path {
        &self.place.path
    }

    /// Appends whole lines, to a fresh file where they would outgrow this one. After an error the file
    /// is closed, and not tried again within a second; what was written of the lines ends where the
    /// next ones begin.
    ///
    /// # Errors
    /// When the lines are not written, or not all.
    pub(super) fn append(&mut self, lines: &[u8], now: Instant) -> io::Result<()> {
        let result = self.try_append(lines, now);
        if result.is_err() {
            self.open = None;
            self.look_at = Some(self.look_at.filter(|&at| at > now).unwrap_or(now + LOOK));
        }
        result
    }

    fn try_append(&mut self, lines: &[u8], now: Instant) -> io::Result<()> {
        let bytes = self.opened(now)?.bytes;
        let is_full = bytes.saturating_add(lines.len() as u64) > self.place.max_bytes;
        if is_full && bytes > self.header.len() as u64 {
            self.open = None;
            put_aside(&self.place)?;
            self.look_at = None;
        }
        let open = self.opened(now)?;
        open.file.write_all(lines)?;
        open.bytes += lines.len() as u64;
        Ok(())
    }

    /// The file of this moment. One that was moved away or removed is left, and a new one begun.
    fn opened(&mut self, now: Instant) -> io::Result<&mut OpenFile> {
        let is_due = self.look_at.is_none_or(|at| at <= now);
        if is_due {
            let stands = fs::metadata(&self.place.path).ok().map(|found| id(&found));
            self.open = self.open.take().filter(|open| stands == Some(open.id));
        }
        if self.open.is_none() {
            if !is_due {
                return Err(io::Error::other("it could not be written a moment ago"));
            }
            self.look_at = Some(now + LOOK);
            self.open = Some(open(&self.place.path, &self.header)?);
        } else if is_due {
            self.look_at = Some(now + LOOK);
        }
        Ok(self.open.as_mut().expect("opened above"))
    }
}

/// Opens `path` for more lines. One that a crash or a full disk has left in the middle of a line gets
/// an end first.
fn open(path: &Path, header: &[u8]) -> io::Result<OpenFile> {
    let mut file = File::options().read(true).append(true).create(true).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut begins = Vec::with_capacity(header.len());
    (&file).take(header.len() as u64).read_to_end(&mut begins)?;
    if begins != header {
        if !header.starts_with(&begins) {
            return Err(io::Error::other("it holds something else; nothing is written to it"));
        }
        // Empty, or not even its first line was whole.
        file.set_len(0)?;
        file.write_all(header)?;
    } else {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != [b'\n'] {
            file.write_all(b"\n")?;
        }
    }
    let bytes = file.metadata()?.len();
    Ok(OpenFile {
        file,
        bytes,
        id: id(&found),
    })
}

/// Each file takes the name of the one before it; the oldest is written over.
fn put_aside(place: &LogPlace) -> io::Result<()> {
    for number in (0..place.keep).rev() {
        let from = numbered(&place.path, number);
        match fs::rename(from, numbered(&place.path, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// `log`, `log.1`, `log.2` ...
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

fn id(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::time::{Duration, Instant};

    use tempfile::TempDir;

    use super::{LogFile, LogPlace};

    const HEADER: &[u8] = b"#log 1\n";

    /// A log in a directory of its own, and a clock that the test moves.
    struct Desk {
        dir: TempDir,
        file: LogFile,
        now: Instant,
    }

    impl Desk {
        fn new(max_bytes: u64, keep: u32) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("log");
            let place = LogPlace { path, max_bytes, keep };
            let file = LogFile::new(place, HEADER.to_vec());
            let now = Instant::now();
            Self { dir, file, now }
        }

        fn append(&mut self, lines: &str) -> Result<(), String> {
            let result = self.file.append(lines.as_bytes(), self.now);
            result.map_err(|error| error.to_string())
        }

        fn after_a_second(&mut self) -> &mut Self {
            self.now += Duration::from_secs(1);
            self
        }

        /// What stands in the directory, by name; without the first line of each.
        fn found(&self) -> BTreeMap<String, String> {
            let entries = fs::read_dir(self.dir.path()).unwrap().map(|entry| {
                let entry = entry.unwrap();
                let text = fs::read_to_string(entry.path()).unwrap();
                let text = text.strip_prefix("#log 1\n").expect("every file has its first line");
                (entry.file_name().into_string().unwrap(), text.to_owned())
            });
            entries.collect()
        }

        #[track_caller]
        fn check(&self, expected: &[(&str, &str)]) {
            let owned = |&(name, text): &(&str, &str)| (name.to_owned(), text.to_owned());
            assert_eq!(self.found(), expected.iter().map(owned).collect());
        }
    }

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_goes() {
        let mut desk = Desk::new(17, 2);
        for lines in ["aaaa\n", "bbbb\n", "cccc\n", "dddd\n"] {
            desk.append(lines).unwrap();
        }
        desk.check(&[("log", "cccc\ndddd\n"), ("log.1", "aaaa\nbbbb\n")]);
        for lines in ["eeee\n", "ffff\n", "gggg\n", "hhhh\n", "iiii\n"] {
            desk.append(lines).unwrap();
        }
        desk.check(&[("log", "iiii\n"), ("log.1", "gggg\nhhhh\n"), ("log.2", "eeee\nffff\n")]);
    }

    #[test]
    fn lines_longer_than_a_file_get_a_file_of_their_own() {
        let mut desk = Desk::new(10, 1);
        desk.append("a line that is too long\n").unwrap();
        desk.check(&[("log", "a line that is too long\n")]);
        desk.append("b\n").unwrap();
        desk.check(&[("log", "b\n"), ("log.1", "a line that is too long\n")]);
    }

    #[test]
    fn a_log_goes_on_where_an_earlier_process_ended() {
        let mut desk = Desk::new(1000, 1);
        let path = desk.file.path().to_owned();
        fs::write(&path, "#log 1\nold\nto").unwrap();
        desk.append("new\n").unwrap();
        desk.check(&[("log", "old\nto\nnew\n")]);
        for torn in ["", "#lo", "#log 1"] {
            let mut desk = Desk::new(1000, 1);
            fs::write(desk.file.path(), torn).unwrap();
            desk.append("new\n").unwrap();
            desk.check(&[("log", "new\n")]);
        }
    }

    #[test]
    fn what_is_no_such_log_is_left_alone() {
        let mut desk = Desk::new(1000, 1);
        fs::write(desk.file.path(), "my thesis").unwrap();
        assert!(desk.append("new\n").unwrap_err().contains("something else"));
        assert_eq!(fs::read_to_string(desk.file.path()).unwrap(), "my thesis");
    }

    #[test]
    fn a_file_that_was_taken_away_is_begun_anew_within_a_second() {
        let mut desk = Desk::new(1000, 1);
        desk.append("a\n").unwrap();
        let aside = desk.dir.path().join("aside");
        fs::rename(desk.file.path(), &aside).unwrap();
        desk.append("b\n").unwrap();
        desk.after_a_second().append("c\n").unwrap();
        desk.check(&[("aside", "a\nb\n"), ("log", "c\n")]);
        fs::remove_file(desk.file.path()).unwrap();
        desk.after_a_second().append("d\n").unwrap();
        desk.check(&[("aside", "a\nb\n"), ("log", "d\n")]);
    }

    #[test]
    fn a_directory_that_vanished_is_an_error_until_it_is_back() {
        let mut desk = Desk::new(1000, 1);
        desk.append("a\n").unwrap();
        let (home, away) = (desk.dir.path().to_owned(), desk.dir.path().with_extension("away"));
        fs::rename(&home, &away).unwrap();
        desk.after_a_second().append("b\n").unwrap_err();
        let soon = desk.append("c\n").unwrap_err();
        assert!(soon.contains("a moment ago"), "{soon}");
        fs::rename(&away, &home).unwrap();
        desk.append("d\n").unwrap_err();
        desk.after_a_second().append("e\n").unwrap();
        desk.check(&[("log", "a\ne\n")]);
    }
}
