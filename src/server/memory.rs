//! Looks at the memory in use ten times a second, and says how much room there is. Off the workers: they only load
//! what is said here.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::measure::{Bounds, Pressure, Room};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Watches until nobody wants to know any more. `bytes_max`: above it new requests are refused; `None`: 90 % of what
/// the control group, else the machine, has.
///
/// # Errors
/// No thread can be started. Where nothing can be measured there always is room, and the log says so.
pub(super) fn watch(bytes_max: Option<u64>) -> io::Result<Arc<Pressure>> {
    let pressure = Arc::new(Pressure::default());
    let root = Path::new("/");
    let (bytes_max, meter) = match (bytes_max, Meter::open(root)) {
        (Some(bytes_max), Some(meter)) => (bytes_max, meter),
        (None, Some(meter)) if meter.limit().is_some() => (meter.limit().unwrap_or(u64::MAX) / 10 * 9, meter),
        (_, _) => {
            tracing::warn!("the memory in use cannot be seen; no request is refused for want of it");
            return Ok(pressure);
        }
    };
    let watched = Arc::downgrade(&pressure);
    std::thread::Builder::new()
        .name("memory".into())
        .spawn(move || meter.watch(bytes_max, &watched))?;
    Ok(pressure)
}

/// Where to read what is in use.
struct Meter {
    statm: File,
    page_bytes: u64,
    group: Option<Group>,
    machine_bytes: Option<u64>,
}

/// The control group whose limit holds for us.
struct Group {
    limit: u64,
    current: File,
    stat: File,
    /// The line of `stat` that says how many bytes of `current` the kernel can take back at any time.
    reclaimable: &'static str,
}

impl Meter {
    /// `None`: the system does not say what is in use.
    fn open(root: &Path) -> Option<Self> {
        let machine_bytes = fs::read_to_string(root.join("proc/meminfo"))
            .ok()
            .and_then(|text| field(&text, "MemTotal:"))
            .map(|kib| kib * 1024);
        Some(Self {
            statm: File::open(root.join("proc/self/statm")).ok()?,
            page_bytes: rustix::param::page_size() as u64,
            group: Group::find(root, machine_bytes.unwrap_or(u64::MAX)),
            machine_bytes,
        })
    }

    /// What all of it is.
    fn limit(&self) -> Option<u64> {
        self.group.as_ref().map(|group| group.limit).or(self.machine_bytes)
    }

    /// Bytes in use: by this process, or by its control group, where that is more; `None`: it cannot be seen now.
    /// Without a limit of the group the others in it are none of our business.
    fn used(&self, with_group: bool) -> Option<u64> {
        let statm = read(&self.statm)?;
        let mut fields = statm.split_whitespace().skip(1).map(number);
        let (resident, shared) = (fields.next()??, fields.next()??);
        // Of the program's own file the kernel takes back what it wants.
        let own = resident.saturating_sub(shared) * self.page_bytes;
        let group = self.group.as_ref().filter(|_| with_group);
        Some(group.and_then(Group::used).map_or(own, |all| all.max(own)))
    }

    fn watch(&self, bytes_max: u64, pressure: &Weak<Pressure>) {
        let bounds = Bounds::new(bytes_max);
        let with_group = self
            .group
            .as_ref()
            .is_some_and(|group| bytes_max >= group.limit / 10 * 9);
        if let Some(used) = self.used(with_group).filter(|used| is_tight(*used, bytes_max)) {
            tracing::warn!(
                used,
                bytes_max,
                "more than half of the memory that may be used is in use at the start; what a burst needs is given back \
                 late and not as a whole, so requests may be refused long after it: raise limits.memory"
            );
        }
        let mut before = Room::Ample;
        while let Some(pressure) = pressure.upgrade() {
            if let Some(used) = self.used(with_group) {
                let room = bounds.room(before, used);
                if room != before {
                    pressure.set(room);
                    match room {
                        Room::Ample => tracing::info!(used, bytes_max, "there is room for new requests again"),
                        Room::Short => tracing::warn!(used, bytes_max, "new requests are refused for want of memory"),
                        Room::None => tracing::warn!(used, bytes_max, "new connections are refused for want of memory"),
                    }
                    before = room;
                }
            }
            drop(pressure);
            std::thread::sleep(PAUSE);
        }
    }
}

/// Whether a process that begins with so much leaves too little room for what comes and goes.
const fn is_tight(used: u64, bytes_max: u64) -> bool {
    used > bytes_max / 2
}

impl Group {
    /// The innermost group with the tightest limit, if any is below `machine_bytes`.
    fn find(root: &Path, machine_bytes: u64) -> Option<Self> {
        let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
        let mounts = root.join("sys/fs/cgroup");
        let of = |line: &str| -> Option<(PathBuf, PathBuf, [&'static str; 3])> {
            // hierarchy:controllers:path (cgroups(7))
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let path = PathBuf::from(path.trim_start_matches('/'));
            match controllers {
                "" => Some((mounts.clone(), path, ["memory.max", "memory.current", "inactive_file"])),
                _ if controllers.split(',').any(|controller| controller == "memory") => Some((
                    mounts.join("memory"),
                    path,
                    ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"],
                )),
                _ => None,
            }
        };
        let mut found: Option<Self> = None;
        for (mount, path, [limit, current, reclaimable]) in groups.lines().filter_map(of) {
            // In a container the path may be that of the host: then the mount itself is our group.
            for directory in path.ancestors().map(|part| mount.join(part)) {
                let Some(bytes) = fs::read_to_string(directory.join(limit))
                    .ok()
                    .and_then(|text| number(text.trim()))
                    .filter(|bytes| *bytes < found.as_ref().map_or(machine_bytes, |found| found.limit))
                else {
                    continue;
                };
                let open = |name| File::open(directory.join(name)).ok();
                if let (Some(current), Some(stat)) = (open(current), open("memory.stat")) {
                    found = Some(Self {
                        limit: bytes,
                        current,
                        stat,
                        reclaimable,
                    });
                }
            }
        }
        found
    }

    /// What the kernel cannot take back.
    fn used(&self) -> Option<u64> {
        let current = number(read(&self.current)?.trim())?;
        let reclaimable = field(&read(&self.stat)?, self.reclaimable).unwrap_or(0);
        Some(current.saturating_sub(reclaimable))
    }
}

/// The present text of a file of the kernel's: each reading from its beginning makes it anew.
fn read(file: &File) -> Option<String> {
    let mut text = [0; 8192];
    let n = file.read_at(&mut text, 0).ok()?;
    Some(String::from_utf8_lossy(&text[..n]).into_owned())
}

/// The number behind `name` in lines of names and numbers.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| (words.next() == Some(name)).then(|| words.next().and_then(number))?)
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file system with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        let all = [
            ("proc/meminfo", "MemTotal:  1000 kB\nMemFree: 1 kB\n"),
            ("proc/self/statm", "90 15 5 1 0 9 0\n"),
        ];
        for (name, text) in all.iter().chain(files) {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("it can be made");
            fs::write(path, text).expect("it can be written");
        }
        root
    }

    #[track_caller]
    fn check(files: &[(&str, &str)], limit: u64, used: u64) {
        let root = root(files);
        let mut meter = Meter::open(root.path()).expect("it can be read");
        meter.page_bytes = 10;
        assert_eq!((meter.limit(), meter.used(true)), (Some(limit), Some(used)));
    }

    #[test]
    fn a_machine_has_what_it_has() {
        check(&[], 1_024_000, 100);
        check(&[("proc/self/cgroup", "0::/\n")], 1_024_000, 100);
        // No limit, or one that is none.
        let v2 = ("proc/self/cgroup", "0::/a\n");
        check(&[v2, ("sys/fs/cgroup/a/memory.max", "max\n")], 1_024_000, 100);
        check(&[v2, ("sys/fs/cgroup/a/memory.max", "9000000\n")], 1_024_000, 100);
    }

    #[test]
    fn a_group_has_the_tightest_limit_above_it() {
        check(
            &[
                ("proc/self/cgroup", "0::/a/b\n"),
                ("sys/fs/cgroup/a/b/memory.max", "max\n"),
                ("sys/fs/cgroup/a/memory.max", "5000\n"),
                ("sys/fs/cgroup/a/memory.current", "900\n"),
                ("sys/fs/cgroup/a/memory.stat", "anon 100\ninactive_file 300\nfile 5\n"),
            ],
            5000,
            600,
        );
    }

    #[test]
    fn in_a_container_the_mount_is_the_group() {
        check(
            &[
                ("proc/self/cgroup", "0::/docker/abc\n"),
                ("sys/fs/cgroup/memory.max", "7000\n"),
                ("sys/fs/cgroup/memory.current", "50\n"),
                ("sys/fs/cgroup/memory.stat", "inactive_file 10\n"),
            ],
            7000,
            100,
        );
    }

    #[test]
    fn the_first_version_of_groups_is_read_too() {
        check(
            &[
                ("proc/self/cgroup", "5:cpu:/x\n4:memory:/m\n0::/\n"),
                ("sys/fs/cgroup/memory/m/memory.limit_in_bytes", "6000\n"),
                ("sys/fs/cgroup/memory/m/memory.usage_in_bytes", "800\n"),
                (
                    "sys/fs/cgroup/memory/m/memory.stat",
                    "cache 9\ntotal_inactive_file 100\n",
                ),
            ],
            6000,
            700,
        );
    }

    #[test]
    fn who_begins_with_more_than_half_of_it_is_warned() {
        for (used, bytes_max, expected) in [(50, 100, false), (51, 100, true), (1, 1, true), (0, 0, false)] {
            assert_eq!(is_tight(used, bytes_max), expected, "{used} of {bytes_max}");
        }
    }

    #[test]
    fn without_the_kernels_word_nothing_is_measured() {
        let empty = tempfile::tempdir().expect("a directory");
        assert!(Meter::open(empty.path()).is_none());
    }

    #[test]
    fn this_machine_can_be_measured() {
        let meter = Meter::open(Path::new("/")).expect("Linux says what is in use");
        let used = meter.used(false).expect("it does");
        assert!(
            used > 100_000 && meter.limit().is_some_and(|limit| limit > used),
            "{used}"
        );
    }
}
