//! What the kernel says of a process and its descendants: processor time and resident memory.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::Context;

/// The fields of `/proc/PID/stat` that we need (proc(5)).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// `utime` + `stime`, in clock ticks.
    ticks: u64,
}

/// Processor time (user and system) that the tree below `root` has used; its resolution is one clock tick, usually 10 ms.
///
/// # Errors
/// When `root` has ended.
pub(crate) fn cpu_time(root: u32) -> anyhow::Result<Duration> {
    let mut ticks = 0;
    for pid in tree(root) {
        match read_stat(pid) {
            Some(stat) => ticks += stat.ticks,
            None if pid == root => anyhow::bail!("process {root} has ended"),
            None => {}
        }
    }
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// Resident memory of the tree below `root` in bytes; pages that processes share count once for each.
///
/// # Errors
/// When `root` has ended.
pub(crate) fn resident_bytes(root: u32) -> anyhow::Result<u64> {
    let mut kib = 0;
    for pid in tree(root) {
        match fs::read_to_string(format!("/proc/{pid}/status"))
            .ok()
            .as_deref()
            .and_then(parse_vm_rss)
        {
            Some(own) => kib += own,
            None if pid == root => anyhow::bail!("process {root} has ended"),
            None => {}
        }
    }
    Ok(kib * 1024)
}

/// `root` and all its descendants that live now.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return vec![root];
    };
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
    {
        if let Some(stat) = read_stat(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        found.extend(children.remove(&found[next]).unwrap_or_default());
        next += 1;
    }
    found
}

/// Processor time as microseconds per request; `None` without requests.
pub(crate) fn micros_per_request(used: Duration, requests: u64) -> Option<f64> {
    (requests > 0).then(|| used.as_secs_f64() * 1e6 / requests as f64)
}

fn read_stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command's name stands in parentheses and may hold any character, so fields count from the last one.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(number(1)?).ok()?,
        ticks: number(11)? + number(12)?,
    })
}

fn parse_vm_rss(status: &str) -> Option<u64> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

/// The value of `key` in `/proc/cpuinfo`, of the first processor.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn cpuinfo(key: &str) -> anyhow::Result<Option<String>> {
    let text = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let value = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == key);
    Ok(value.map(|(_, value)| value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_count_from_the_last_parenthesis() {
        let text = "42 (a ) b) S 7 42 42 0 -1 4194560 100 0 0 0 30 12 0 0 20 0 1 0 5 6 7";
        assert_eq!(parse_stat(text), Some(Stat { parent: 7, ticks: 42 }));
        assert_eq!(parse_stat("42 (cut"), None);
        assert_eq!(parse_stat("42 (cut) S 1"), None);
    }

    #[test]
    fn resident_memory_is_read_from_status() {
        assert_eq!(
            parse_vm_rss("Name:\tx\nVmRSS:\t    1234 kB\nVmData: 1 kB\n"),
            Some(1234)
        );
        assert_eq!(parse_vm_rss("Name:\tkthread\n"), None);
    }

    #[test]
    fn our_own_process_can_be_read() {
        let own = std::process::id();
        assert!(tree(own).contains(&own));
        assert!(resident_bytes(own).expect("we live") > 0);
        assert!(cpu_time(own).is_ok());
    }

    #[test]
    fn no_requests_have_no_cost() {
        assert_eq!(micros_per_request(Duration::from_secs(1), 0), None);
        assert_eq!(micros_per_request(Duration::from_secs(1), 100_000), Some(10.0));
    }
}
