//! What the kernel says about this process, by the names that Prometheus clients agree on.
//! Elsewhere than on Linux there is nothing to say.

use std::fs;

/// Figures of this process; each `None` where it cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    /// Processor time used by all threads, in user and system mode.
    pub(super) cpu_seconds: Option<f64>,
    /// Memory in RAM.
    pub(super) resident_bytes: Option<f64>,
    /// Address space.
    pub(super) virtual_bytes: Option<f64>,
    /// Files and sockets open.
    pub(super) open_fds: Option<f64>,
    /// How many may be.
    pub(super) max_fds: Option<f64>,
    /// When it started, in Unix seconds.
    pub(super) start_seconds: Option<f64>,
}

impl Process {
    /// Looks now. Costs some ten system calls, and one for every 300 open files or so.
    pub(super) fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let system = fs::read_to_string("/proc/stat").unwrap_or_default();
        #[allow(clippy::cast_precision_loss)] // sizes and ticks stay far below 2^52
        let (ticks, page) = (
            rustix::param::clock_ticks_per_second() as f64,
            rustix::param::page_size() as f64,
        );
        #[allow(clippy::cast_precision_loss)] // counts stay far below 2^52
        Self {
            max_fds: rustix::process::getrlimit(rustix::process::Resource::Nofile)
                .current
                .map(|n| n as f64),
            open_fds: fs::read_dir("/proc/self/fd")
                .ok()
                // The directory itself is open while it is read.
                .map(|entries| entries.count().saturating_sub(1) as f64),
            ..Self::parse(&stat, &system, ticks, page)
        }
    }

    /// `stat` is `/proc/self/stat`, `system` is `/proc/stat` (proc(5)).
    fn parse(stat: &str, system: &str, ticks_per_second: f64, page_bytes: f64) -> Self {
        // The command's name is in brackets and may hold anything, so fields are counted behind it:
        // index 0 is field 3 of proc(5).
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect());
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let boot_seconds = system
            .lines()
            .find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
        let seconds = |ticks: f64| ticks / ticks_per_second;
        Self {
            cpu_seconds: field(14).zip(field(15)).map(|(user, system)| seconds(user + system)),
            start_seconds: field(22)
                .zip(boot_seconds)
                .map(|(since_boot, boot)| boot + seconds(since_boot)),
            virtual_bytes: field(23),
            resident_bytes: field(24).map(|pages| pages * page_bytes),
            max_fds: None,
            open_fds: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Process;

    #[test]
    fn fields_are_counted_behind_the_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 1 0 0 0 150 50 0 0 20 0 3 0 1000 8192 3 18446744073709551615";
        let process = Process::parse(stat, "cpu 1 2\nbtime 1700000000\n", 100.0, 4096.0);
        let expected = Process {
            cpu_seconds: Some(2.0),
            resident_bytes: Some(12_288.0),
            virtual_bytes: Some(8192.0),
            start_seconds: Some(1_700_000_010.0),
            ..Process::default()
        };
        assert_eq!(process, expected);
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        assert_eq!(Process::parse("", "", 100.0, 4096.0), Process::default());
        assert_eq!(
            Process::parse("7 (a) S 1", "btime x", 100.0, 4096.0),
            Process::default()
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_all_figures() {
        let process = Process::read();
        assert!(process.cpu_seconds.is_some() && process.start_seconds > Some(1e9));
        assert!(process.resident_bytes > Some(1e5) && process.virtual_bytes >= process.resident_bytes);
        assert!(process.open_fds >= Some(3.0) && process.max_fds >= process.open_fds);
    }
}
