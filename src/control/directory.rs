//! The state directory: created when absent, held by one process, written so that a crash at any
//! moment leaves a whole file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Why the state directory cannot be used. Serin does not start then.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be made, read or written.
    #[error(
        "the state directory {path} cannot be used: {error}; \
         make it writable for this user, or name another one in `state.directory`"
    )]
    Unusable {
        /// The directory, or the file in it.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Another process holds it.
    #[error(
        "the state directory {path} is held by another serin{holder}; \
         stop that one, or name another one in `state.directory`"
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// ` (process 4711)`, or empty when unknown.
        holder: String,
    },
    /// Both the file and the one before it are damaged.
    #[error(
        "the state in {path} cannot be understood: {problem}; \
         move it away to begin with the weights of the configuration file"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// A directory that this process holds until the value is dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    lock: File,
}

const CURRENT: &str = "state.json";
const PREVIOUS: &str = "state.json.bak";
const NEXT: &str = "state.json.new";
const LOCK: &str = "lock";
/// Reasons that people gave, and the newest lines of the audit log, are in these files.
const OWNER_ONLY: u32 = 0o600;

impl Directory {
    /// Makes the directory where needed and takes hold of it.
    ///
    /// # Errors
    /// [`StateError::Unusable`] and [`StateError::Locked`].
    pub(super) fn open(path: &Path) -> Result<Self, StateError> {
        let unusable = |error| StateError::Unusable {
            path: path.to_owned(),
            error,
        };
        fs::create_dir_all(path).map_err(unusable)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(LOCK))
            .map_err(unusable)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(StateError::Locked {
                    path: path.to_owned(),
                    holder: holder(&mut lock),
                });
            }
            Err(errno) => return Err(unusable(errno.into())),
        }
        // The number only helps the person who reads the refusal; the lock is what holds.
        lock.set_len(0).map_err(unusable)?;
        lock.write_all(std::process::id().to_string().as_bytes())
            .map_err(unusable)?;
        Ok(Self {
            path: path.to_owned(),
            lock,
        })
    }

    /// What `parse` makes of the file, or of the one before it where the file is missing or damaged;
    /// then the text says so. `None` when nothing was ever written.
    ///
    /// # Errors
    /// [`StateError::Damaged`] when there are files and none is whole; [`StateError::Unusable`].
    pub(super) fn read<T>(
        &self,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<(Option<T>, Option<String>), StateError> {
        let mut problem = None;
        for name in [CURRENT, PREVIOUS] {
            let path = self.path.join(name);
            let text = match fs::read(&path) {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(StateError::Unusable { path, error }),
            };
            match (parse(&text), problem.take()) {
                (Ok(value), None) => return Ok((Some(value), None)),
                (Ok(value), Some(damage)) => {
                    let note = format!("{damage}; going on with {}, the state before it", path.display());
                    return Ok((Some(value), Some(note)));
                }
                (Err(damage), first) => {
                    let damage = format!("{}: {damage}", path.display());
                    problem = Some(first.map_or(damage.clone(), |first| format!("{first}; {damage}")));
                }
            }
        }
        match problem {
            None => Ok((None, None)),
            Some(problem) => Err(StateError::Damaged {
                path: self.path.join(CURRENT),
                problem,
            }),
        }
    }

    /// Puts the damaged file aside, and where `both` are, both, so that what stood there can be looked into,
    /// and the next writing does not make it the one before. Names what it made of them.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn put_aside(&self, both: bool) -> io::Result<String> {
        let mut names = Vec::new();
        for name in [CURRENT, PREVIOUS].into_iter().take(if both { 2 } else { 1 }) {
            let aside = self.path.join(format!("{name}.damaged"));
            match fs::rename(self.path.join(name), &aside) {
                Ok(()) => names.push(aside.display().to_string()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(names.join(" and "))
    }

    /// Replaces the file with `text`; the one before is kept beside it. Durable when it returns.
    ///
    /// # Errors
    /// What the system says; the file is as it was, or (when only the last step failed) new but
    /// perhaps not durable.
    pub(super) fn write(&mut self, text: &[u8]) -> io::Result<()> {
        if !self.is_held()? {
            // Replaced under our feet: another process may hold what stands there now.
            *self = Self::open(&self.path).map_err(io::Error::other)?;
        }
        let (current, next) = (self.path.join(CURRENT), self.path.join(NEXT));
        let mut file = private(&next)?;
        file.write_all(text)?;
        file.sync_all()?;
        drop(file);
        // One that was written before modes were set; where that fails it is gone two writings later.
        let _ = fs::set_permissions(&current, fs::Permissions::from_mode(OWNER_ONLY));
        match fs::rename(&current, self.path.join(PREVIOUS)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        fs::rename(&next, &current)?;
        File::open(&self.path)?.sync_all()
    }
}

impl Directory {
    /// Whether the lock that we hold is still the one in the directory. A directory that is not
    /// there is an error: it may be a disk that comes back, with what was written.
    fn is_held(&self) -> io::Result<bool> {
        let held = self.lock.metadata()?;
        match fs::metadata(self.path.join(LOCK)) {
            Ok(found) => Ok((found.dev(), found.ino()) == (held.dev(), held.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::metadata(&self.path).map(|_| false),
            Err(error) => Err(error),
        }
    }
}

/// An empty file that only its owner may read, also where one was left with other modes.
fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(OWNER_ONLY)
        .open(path)?;
    file.set_permissions(fs::Permissions::from_mode(OWNER_ONLY))?;
    Ok(file)
}

/// Who holds the lock, in words for a message.
fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    match lock.take(20).read_to_string(&mut text) {
        Ok(_) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => format!(" (process {text})"),
        Ok(_) | Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{CURRENT, Directory, NEXT, PREVIOUS, StateError};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// Whole texts end with a full stop.
    fn parse(text: &str) -> Result<String, String> {
        text.strip_suffix('.')
            .map(str::to_owned)
            .ok_or_else(|| "torn".to_owned())
    }

    fn check(current: Option<&str>, previous: Option<&str>, expected: Result<Option<&str>, ()>, says_so: bool) {
        let temp = tempfile::tempdir().unwrap();
        let directory = Directory::open(temp.path()).unwrap();
        for (name, text) in [(CURRENT, current), (PREVIOUS, previous)] {
            if let Some(text) = text {
                fs::write(temp.path().join(name), text).unwrap();
            }
        }
        match (directory.read(parse), expected) {
            (Ok((value, note)), Ok(expected)) => {
                assert_eq!(value.as_deref(), expected);
                assert_eq!(note.is_some(), says_so, "{note:?}");
            }
            (Err(StateError::Damaged { .. }), Err(())) => {}
            (got, expected) => panic!("{current:?} {previous:?}: {got:?}, not {expected:?}"),
        }
    }

    #[test]
    fn a_torn_file_gives_way_to_the_one_before_it_and_says_so() {
        check(None, None, Ok(None), false);
        check(Some("new."), Some("old."), Ok(Some("new")), false);
        check(Some("ne"), Some("old."), Ok(Some("old")), true);
        check(Some(""), Some("old."), Ok(Some("old")), true);
        // A crash between the two renames.
        check(None, Some("old."), Ok(Some("old")), false);
        check(Some("ne"), Some("ol"), Err(()), true);
        check(Some("ne"), None, Err(()), true);
    }

    #[test]
    fn each_writing_keeps_the_one_before() {
        let temp = tempfile::tempdir().unwrap();
        let mut directory = Directory::open(&temp.path().join("made/when/absent")).unwrap();
        for text in ["one.", "two.", "three."] {
            directory.write(text.as_bytes()).unwrap();
        }
        let read = |name| fs::read_to_string(directory.path.join(name)).unwrap();
        assert_eq!((read(CURRENT), read(PREVIOUS)), ("three.".into(), "two.".into()));
        assert!(!directory.path.join(NEXT).exists());
    }

    #[test]
    fn only_the_owner_may_read_what_is_written_also_over_older_files() {
        let temp = tempfile::tempdir().unwrap();
        let mut directory = Directory::open(temp.path()).unwrap();
        for name in [CURRENT, NEXT] {
            fs::write(temp.path().join(name), "old.").unwrap();
            fs::set_permissions(temp.path().join(name), fs::Permissions::from_mode(0o644)).unwrap();
        }
        directory.write(b"one.").unwrap();
        for name in [CURRENT, PREVIOUS] {
            let mode = fs::metadata(temp.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_writing_that_fails_leaves_the_file_as_it_was() {
        let temp = tempfile::tempdir().unwrap();
        let mut directory = Directory::open(temp.path()).unwrap();
        directory.write(b"one.").unwrap();
        fs::create_dir(temp.path().join(NEXT)).unwrap();
        assert!(directory.write(b"two.").is_err());
        assert_eq!(directory.read(parse).unwrap().0.as_deref(), Some("one"));
    }

    #[test]
    fn a_directory_that_was_removed_is_an_error_until_somebody_makes_one() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("state");
        let mut directory = Directory::open(&path).unwrap();
        directory.write(b"one.").unwrap();
        fs::remove_dir_all(&path).unwrap();
        assert!(directory.write(b"two.").is_err() && !path.exists());
        fs::create_dir(&path).unwrap();
        directory.write(b"two.").unwrap();
        assert_eq!(directory.read(parse).unwrap().0.as_deref(), Some("two"));
        assert!(matches!(Directory::open(&path), Err(StateError::Locked { .. })));
    }

    #[test]
    fn a_directory_that_another_one_took_meanwhile_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("state");
        let mut first = Directory::open(&path).unwrap();
        fs::remove_dir_all(&path).unwrap();
        let mut second = Directory::open(&path).unwrap();
        second.write(b"two.").unwrap();
        let refusal = first.write(b"one.").unwrap_err().to_string();
        assert!(refusal.contains("held by another serin"), "{refusal}");
        assert_eq!(second.read(parse).unwrap().0.as_deref(), Some("two"));
        drop(second);
        first.write(b"one.").unwrap();
    }

    #[test]
    fn only_one_holds_the_directory_at_a_time() {
        let temp = tempfile::tempdir().unwrap();
        let first = Directory::open(temp.path()).unwrap();
        let refusal = Directory::open(temp.path()).unwrap_err().to_string();
        let process = format!("(process {})", std::process::id());
        assert!(
            refusal.contains("held by another serin") && refusal.contains(&process),
            "{refusal}"
        );
        drop(first);
        Directory::open(temp.path()).unwrap();
    }

    #[test]
    fn a_directory_below_a_file_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        fs::write(&file, "").unwrap();
        let refusal = Directory::open(&file.join("state")).unwrap_err();
        assert!(matches!(refusal, StateError::Unusable { .. }), "{refusal}");
    }
}
