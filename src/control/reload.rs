//! Notices that the configuration file, or one that it names, was changed: written in place, renamed over, or reached
//! by another symlink, as Kubernetes changes a mounted ConfigMap (`..data`).
//!
//! The *directories* are watched: a watch on the file itself goes deaf after one rename.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

/// This long without another event, and a change is taken to be complete.
const QUIET: Duration = Duration::from_millis(100);
/// A directory that never is quiet is looked at this often.
const QUIET_MAX: Duration = Duration::from_secs(1);
/// File systems that report nothing (network mounts, some container mounts) are asked this often.
const POLL: Duration = Duration::from_secs(2);
/// Links from the file's name to the file, at most; as the kernel's own limit.
const LINKS_MAX: usize = 40;

/// The files that one configuration is made of: its own, and those that the live one names.
pub(super) struct Changes {
    main: PathBuf,
    /// The others, in the order in which they were named.
    beside: Vec<PathBuf>,
    files: watch::Sender<Files>,
    changed: mpsc::Receiver<()>,
}

/// Files, each with what it looked like when it was named.
type Files = BTreeMap<PathBuf, Fingerprint>;

impl Changes {
    /// Watches `file` in a task of the present runtime, until this is dropped.
    pub(super) fn of(file: PathBuf) -> Self {
        Self::with(file, POLL)
    }

    fn with(main: PathBuf, poll: Duration) -> Self {
        let (files, named) = watch::channel(looked_at(&[&*main]));
        let (tell, changed) = mpsc::channel(1);
        tokio::spawn(run(named, tell, poll));
        Self {
            main,
            beside: Vec::new(),
            files,
            changed,
        }
    }

    /// Waits until one of the files has changed; changes that come before the next call are one. Those `beside` are
    /// watched from the first call on that names them, which is a change, too: they may have been written between
    /// the reading and the watch. May be dropped and called again.
    pub(super) async fn next<'f>(&mut self, beside: impl Iterator<Item = &'f Path> + Clone) {
        if !beside.clone().eq(self.beside.iter().map(PathBuf::as_path)) {
            let is_new = beside
                .clone()
                .any(|file| !self.beside.iter().any(|known| known == file));
            self.beside = beside.map(Path::to_owned).collect();
            let all: Vec<_> = self.beside.iter().chain([&self.main]).map(PathBuf::as_path).collect();
            // What they look like now comes before the reading that follows: no later change is missed.
            self.files.send_replace(looked_at(&all));
            if is_new {
                return;
            }
        }
        // The task lives as long as `files`.
        let _ = self.changed.recv().await;
    }
}

fn looked_at(files: &[&Path]) -> Files {
    let look = |file: &&Path| ((*file).to_owned(), Fingerprint::of(file));
    files.iter().map(look).collect()
}

/// Watches the files that are `named` until nobody listens. Each change is one message; changes that come before the
/// last message was taken are one.
async fn run(mut named: watch::Receiver<Files>, changed: mpsc::Sender<()>, poll: Duration) {
    let mut watched = Watched::new(named.borrow_and_update().clone());
    loop {
        // Before the first event, too: they may have been written since they were named.
        if watched.have_changed() {
            // Full: a message is waiting, and who takes it reads the newest files.
            let _ = changed.try_send(());
        }
        tokio::select! {
            () = changed.closed() => return,
            named_now = named.changed() => match named_now {
                Ok(()) => watched.name(&named.borrow_and_update()),
                Err(_) => return,
            },
            () = watched.touched.notified() => watched.quiet().await,
            () = sleep(poll) => {}
        }
        watched.follow_links();
    }
}

/// The directories that are watched for some files.
struct Watched {
    files: Files,
    directories: BTreeSet<PathBuf>,
    /// `None` where the system grants no watch; then only the polling is left.
    watcher: Option<RecommendedWatcher>,
    touched: Arc<Notify>,
}

impl Watched {
    fn new(files: Files) -> Self {
        let touched = Arc::new(Notify::new());
        let bell = Arc::clone(&touched);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.as_ref().map_or(true, is_change) {
                bell.notify_one();
            }
        });
        let watcher = watcher
            .inspect_err(|error| {
                tracing::warn!(%error, "no file watch to be had; its files are looked at every 2 s instead");
            })
            .ok();
        let mut watched = Self {
            files,
            directories: BTreeSet::new(),
            watcher,
            touched,
        };
        watched.follow_links();
        watched
    }

    /// These are the files from now on. What is known of those that stay is newer than what they looked like before.
    fn name(&mut self, files: &Files) {
        self.files.retain(|file, _| files.contains_key(file));
        for (file, fingerprint) in files {
            self.files.entry(file.clone()).or_insert_with(|| fingerprint.clone());
        }
    }

    /// Whether one of the files looks different from the last time.
    fn have_changed(&mut self) -> bool {
        let mut any = false;
        for (file, seen) in &mut self.files {
            let now = Fingerprint::of(file);
            any |= now != *seen;
            *seen = now;
        }
        any
    }

    /// Watches the directories that lead to the files now, and no others.
    fn follow_links(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let wanted: BTreeSet<_> = self.files.keys().flat_map(|file| directories(file)).collect();
        for gone in self.directories.difference(&wanted) {
            // A directory that was removed has no watch any more.
            let _ = watcher.unwatch(gone);
        }
        self.directories.retain(|directory| wanted.contains(directory));
        for new in wanted {
            if !self.directories.contains(&new) && watcher.watch(&new, RecursiveMode::NonRecursive).is_ok() {
                self.directories.insert(new);
            }
        }
    }

    /// Waits until nothing more happens.
    async fn quiet(&self) {
        let began = Instant::now();
        while began.elapsed() < QUIET_MAX && timeout(QUIET, self.touched.notified()).await.is_ok() {}
    }
}

/// Reading a file is no change of it; our own reading would wake us for ever.
fn is_change(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
    }
}

/// The directories of `file` and of every link on the way to it, without links of their own: a
/// watch follows a link when it begins, and stays where it led to.
fn directories(file: &Path) -> BTreeSet<PathBuf> {
    let mut directories = BTreeSet::new();
    let mut path = file.to_owned();
    for _ in 0..LINKS_MAX {
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        if let Ok(real) = fs::canonicalize(&directory) {
            directories.insert(real);
        }
        match fs::read_link(&path) {
            Ok(target) => path = directory.join(target),
            Err(_) => break,
        }
    }
    directories
}

/// What tells one content of a file from the next without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(Option<Looks>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Looks {
    place: (u64, u64),
    bytes: u64,
    /// Seconds and nanoseconds.
    written: (i64, i64),
    /// Nobody sets this back.
    changed: (i64, i64),
}

impl Fingerprint {
    /// What `file` looks like now. One that is not there looks like any other that is not.
    pub(super) fn of(file: &Path) -> Self {
        fs::metadata(file).as_ref().map_or(Self(None), Self::from)
    }
}

impl From<&Metadata> for Fingerprint {
    fn from(data: &Metadata) -> Self {
        Self(Some(Looks {
            place: (data.dev(), data.ino()),
            bytes: data.len(),
            written: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::{Changes, QUIET};
    use std::fs;
    use std::iter;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};
    use std::time::Duration;
    use tokio::time::timeout;

    /// Longer than any test: only real events are seen.
    const NEVER: Duration = Duration::from_secs(3600);
    const GENEROUS: Duration = Duration::from_secs(20);

    async fn seen(changes: &mut Changes) -> bool {
        timeout(GENEROUS, changes.next(iter::empty())).await.is_ok()
    }

    fn write_over(file: &Path, text: &str) {
        let temp = file.with_extension("swp");
        fs::write(&temp, text).unwrap();
        fs::rename(temp, file).unwrap();
    }

    fn file_in(directory: &Path) -> PathBuf {
        let file = directory.join("serin.yaml");
        fs::write(&file, "version: 1").unwrap();
        file
    }

    #[tokio::test]
    async fn a_file_renamed_over_is_noticed_every_time() {
        let temp = tempfile::tempdir().unwrap();
        let file = file_in(temp.path());
        let mut changes = Changes::with(file.clone(), NEVER);
        for text in ["one", "two", "three"] {
            write_over(&file, text);
            assert!(seen(&mut changes).await, "{text}");
        }
    }

    #[tokio::test]
    async fn a_file_written_in_place_is_noticed() {
        let temp = tempfile::tempdir().unwrap();
        let file = file_in(temp.path());
        let mut changes = Changes::with(file.clone(), NEVER);
        fs::write(&file, "version: 1 # longer").unwrap();
        assert!(seen(&mut changes).await);
    }

    /// The layout of a mounted ConfigMap: `serin.yaml -> ..data/serin.yaml`, `..data -> ..<time>`.
    #[tokio::test]
    async fn a_config_map_swap_is_noticed_every_time() {
        let temp = tempfile::tempdir().unwrap();
        let publish = |version: &str| {
            let directory = temp.path().join(format!("..{version}"));
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join("serin.yaml"), version).unwrap();
            symlink(format!("..{version}"), temp.path().join("..data_tmp")).unwrap();
            fs::rename(temp.path().join("..data_tmp"), temp.path().join("..data")).unwrap();
        };
        publish("v1");
        let file = temp.path().join("serin.yaml");
        symlink("..data/serin.yaml", &file).unwrap();
        let mut changes = Changes::with(file.clone(), NEVER);
        for (version, before) in [("v2", "v1"), ("v3", "v2")] {
            publish(version);
            fs::remove_dir_all(temp.path().join(format!("..{before}"))).unwrap();
            assert!(seen(&mut changes).await, "{version}");
            assert_eq!(fs::read_to_string(&file).unwrap(), version);
        }
    }

    #[tokio::test]
    async fn a_link_to_a_file_elsewhere_is_followed() {
        let (near, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let real = file_in(far.path());
        let link = near.path().join("serin.yaml");
        symlink(&real, &link).unwrap();
        let mut changes = Changes::with(link, NEVER);
        write_over(&real, "new");
        assert!(seen(&mut changes).await);
    }

    #[tokio::test]
    async fn a_removed_file_that_comes_back_is_noticed() {
        let temp = tempfile::tempdir().unwrap();
        let file = file_in(temp.path());
        let mut changes = Changes::with(file.clone(), NEVER);
        fs::remove_file(&file).unwrap();
        assert!(seen(&mut changes).await);
        write_over(&file, "back");
        assert!(seen(&mut changes).await);
    }

    #[tokio::test]
    async fn files_beside_are_watched_as_long_as_they_are_named() {
        let temp = tempfile::tempdir().unwrap();
        let far = tempfile::tempdir().unwrap();
        let (one, two) = (temp.path().join("one"), far.path().join("two"));
        let mut changes = Changes::with(file_in(temp.path()), NEVER);
        for beside in [&[&one][..], &[&two], &[&two, &one], &[&one, &two]] {
            let mut next = async || {
                let files = beside.iter().map(|file| file.as_path());
                timeout(GENEROUS, changes.next(files)).await.is_ok()
            };
            if beside != [&one, &two] {
                assert!(next().await, "what was not watched may have changed");
            }
            for file in beside {
                write_over(file, "text");
                assert!(next().await, "{file:?}");
            }
        }
        let mut next = async || timeout(2 * QUIET, changes.next(iter::empty())).await.is_ok();
        assert!(!next().await);
        write_over(&two, "nobody cares");
        assert!(!next().await, "it is not named any more");
        write_over(&temp.path().join("serin.yaml"), "version: 1 # new");
        assert!(seen(&mut changes).await);
    }

    #[tokio::test]
    async fn what_is_written_between_naming_and_watching_is_noticed() {
        let temp = tempfile::tempdir().unwrap();
        let beside = temp.path().join("beside");
        fs::write(&beside, "one").unwrap();
        let mut changes = Changes::with(file_in(temp.path()), NEVER);
        let mut next = async || timeout(GENEROUS, changes.next(iter::once(&*beside))).await.is_ok();
        assert!(next().await);
        // The task has not run: this test has the only thread.
        fs::write(&beside, "three").unwrap();
        assert!(next().await);
    }

    #[tokio::test]
    async fn other_files_and_readers_of_this_one_are_no_change() {
        let temp = tempfile::tempdir().unwrap();
        let file = file_in(temp.path());
        let mut changes = Changes::with(file.clone(), NEVER);
        fs::write(temp.path().join("other"), "").unwrap();
        fs::read(&file).unwrap();
        // As long as a change may take to be reported, twice: nothing comes.
        assert!(timeout(2 * QUIET, changes.next(iter::empty())).await.is_err());
        write_over(&file, "a real one");
        assert!(seen(&mut changes).await);
    }

    #[tokio::test]
    async fn a_file_system_that_reports_nothing_is_polled() {
        let temp = tempfile::tempdir().unwrap();
        let file = file_in(temp.path());
        let mut changes = Changes::with(file.clone(), Duration::from_millis(5));
        write_over(&file, "new");
        assert!(seen(&mut changes).await);
    }
}
