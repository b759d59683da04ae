//! Notices that the configuration file was changed: written in place, renamed over, or reached by
//! another symlink, as Kubernetes changes a mounted ConfigMap (`..data`).
//!
//! The *directories* are watched: a watch on the file itself goes deaf after one rename.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};

/// This long without another event, and a change is taken to be complete.
const QUIET: Duration = Duration::from_millis(100);
/// A directory that never is quiet is looked at this often.
const QUIET_MAX: Duration = Duration::from_secs(1);
/// File systems that report nothing (network mounts, some container mounts) are asked this often.
const POLL: Duration = Duration::from_secs(2);
/// Links from the file's name to the file, at most; as the kernel's own limit.
const LINKS_MAX: usize = 40;

/// Watches `file` in a task of the present runtime until the receiver is dropped. Each change is
/// one message; changes that come before the last message was taken are one.
fn watch(file: PathBuf) -> mpsc::Receiver<()> {
    watch_with(file, POLL)
}

/// The files that one configuration is made of: its own, and the tokens file that the live one names.
pub(super) struct Changes {
    main: mpsc::Receiver<()>,
    beside: Option<(PathBuf, mpsc::Receiver<()>)>,
}

impl Changes {
    /// Watches `file`.
    pub(super) fn of(file: PathBuf) -> Self {
        Self {
            main: watch(file),
            beside: None,
        }
    }

    /// Waits until one of the files has changed; `beside` is watched from the first call on that names it,
    /// which is a change, too: it may have been written between the reading and the watch. May be
    /// dropped and called again.
    pub(super) async fn next(&mut self, beside: Option<&Path>) {
        if self.beside.as_ref().map(|(file, _)| file.as_path()) != beside {
            self.beside = beside.map(|file| (file.to_owned(), watch(file.to_owned())));
            if beside.is_some() {
                return;
            }
        }
        let main = self.main.recv();
        match &mut self.beside {
            None => drop(main.await),
            Some((_, beside)) => tokio::select! {
                _ = main => {}
                _ = beside.recv() => {}
            },
        }
    }
}

fn watch_with(file: PathBuf, poll: Duration) -> mpsc::Receiver<()> {
    let (changed, receiver) = mpsc::channel(1);
    let mut seen = Fingerprint::of(&file);
    let mut watched = Watched::new(file);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = changed.closed() => return,
                () = watched.touched.notified() => watched.quiet().await,
                () = sleep(poll) => {}
            }
            watched.follow_links();
            let now = Fingerprint::of(&watched.file);
            if now != seen {
                seen = now;
                // Full: a message is waiting, and who takes it reads the newest file.
                let _ = changed.try_send(());
            }
        }
    });
    receiver
}

/// The directories that are watched for one file.
struct Watched {
    file: PathBuf,
    directories: BTreeSet<PathBuf>,
    /// `None` where the system grants no watch; then only the polling is left.
    watcher: Option<RecommendedWatcher>,
    touched: Arc<Notify>,
}

impl Watched {
    fn new(file: PathBuf) -> Self {
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
            file,
            directories: BTreeSet::new(),
            watcher,
            touched,
        };
        watched.follow_links();
        watched
    }

    /// Watches the directories that lead to the file now, and no others.
    fn follow_links(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let wanted = directories(&self.file);
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
#[derive(Debug, PartialEq, Eq)]
struct Fingerprint(Option<(u64, u64, u64, i64, i64)>);

impl Fingerprint {
    fn of(file: &Path) -> Self {
        Self(fs::metadata(file).ok().map(|data| {
            let (seconds, nanos) = (data.mtime(), data.mtime_nsec());
            (data.dev(), data.ino(), data.len(), seconds, nanos)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::{Changes, QUIET, watch_with};
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};
    use std::time::Duration;
    use tokio::sync::mpsc::Receiver;
    use tokio::time::timeout;

    /// Longer than any test: only real events are seen.
    const NEVER: Duration = Duration::from_secs(3600);
    const GENEROUS: Duration = Duration::from_secs(20);

    async fn seen(changes: &mut Receiver<()>) -> bool {
        timeout(GENEROUS, changes.recv())
            .await
            .is_ok_and(|message| message.is_some())
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
        let mut changes = watch_with(file.clone(), NEVER);
        for text in ["one", "two", "three"] {
            write_over(&file, text);
            assert!(seen(&mut changes).await, "{text}");
        }
    }

    #[tokio::test]
    async fn a_file_written_in_place_is_noticed() {
        let temp = tempfile::tempdir().unwrap();
        let file = file_in(temp.path());
        let mut changes = watch_with(file.clone(), NEVER);
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
        let mut changes = watch_with(file.clone(), NEVER);
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
        let mut changes = watch_with(link, NEVER);
        write_over(&real, "new");
        assert!(seen(&mut changes).await);
    }

    #[tokio::test]
    async fn a_removed_file_that_comes_back_is_noticed() {
        let temp = tempfile::tempdir().unwrap();
        let file = file_in(temp.path());
        let mut changes = watch_with(file.clone(), NEVER);
        fs::remove_file(&file).unwrap();
        assert!(seen(&mut changes).await);
        write_over(&file, "back");
        assert!(seen(&mut changes).await);
    }

    #[tokio::test]
    async fn the_file_beside_is_watched_as_long_as_it_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let (one, two) = (temp.path().join("one"), temp.path().join("two"));
        let mut changes = Changes::of(file_in(temp.path()));
        for beside in [&one, &two, &one] {
            let mut next = async || timeout(GENEROUS, changes.next(Some(beside))).await.is_ok();
            assert!(next().await, "what was not watched may have changed");
            write_over(beside, "text");
            assert!(next().await);
        }
        write_over(&temp.path().join("serin.yaml"), "version: 1 # new");
        assert!(timeout(GENEROUS, changes.next(None)).await.is_ok());
    }

    #[tokio::test]
    async fn other_files_and_readers_of_this_one_are_no_change() {
        let temp = tempfile::tempdir().unwrap();
        let file = file_in(temp.path());
        let mut changes = watch_with(file.clone(), NEVER);
        fs::write(temp.path().join("other"), "").unwrap();
        fs::read(&file).unwrap();
        // As long as a change may take to be reported, twice: nothing comes.
        assert!(timeout(2 * QUIET, changes.recv()).await.is_err());
        write_over(&file, "a real one");
        assert!(seen(&mut changes).await);
    }

    #[tokio::test]
    async fn a_file_system_that_reports_nothing_is_polled() {
        let temp = tempfile::tempdir().unwrap();
        let file = file_in(temp.path());
        let mut changes = watch_with(file.clone(), Duration::from_millis(5));
        write_over(&file, "new");
        assert!(seen(&mut changes).await);
    }
}
