//! A process that we started: pinned to a core, logging to a file, ended by its id when its guard is dropped.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use crate::procfs;

/// How long a process may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(3);

/// How long a process may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Between two looks at a process that starts or ends.
const POLL: Duration = Duration::from_millis(10);

/// A running process, and with it all its descendants.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` on `core` with both outputs in the file `log`.
    ///
    /// # Errors
    /// When `taskset` (util-linux) or the log cannot be used.
    pub(crate) fn start<A: AsRef<OsStr>>(
        name: &str,
        core: usize,
        program: &Path,
        arguments: &[A],
        log: PathBuf,
    ) -> anyhow::Result<Self> {
        let output = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let errors = output.try_clone().context("cannot share the log")?;
        let child = Command::new("taskset")
            .arg("-c")
            .arg(core.to_string())
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot start {name} through taskset"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Its process id; `taskset` becomes the program and keeps the id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `probe` succeeds.
    ///
    /// # Errors
    /// When the process ends before, or takes too long; the error holds the end of its log.
    pub(crate) async fn wait_ready(
        &mut self,
        mut probe: impl AsyncFnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let error = match probe().await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if let Some(status) = self.child.try_wait().context("cannot wait for the process")? {
                anyhow::bail!("{} ended while starting ({status}):\n{}", self.name, self.log_end());
            }
            if Instant::now() > deadline {
                anyhow::bail!("{} is not ready ({error:#}):\n{}", self.name, self.log_end());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks it for something.
    pub(crate) fn signal(&self, signal: Signal) {
        send(self.id(), signal);
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it has not within `patience`; the error holds the end of its log.
    pub(crate) async fn ended(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().context("cannot wait for the process")? {
                return Ok(status);
            }
            anyhow::ensure!(Instant::now() < deadline, "{} runs on:\n{}", self.name, self.log_end());
            tokio::time::sleep(POLL).await;
        }
    }

    /// The last lines of what it has written.
    pub(crate) fn log_end(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Asks it to end, and kills the whole tree when it does not.
    fn end(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let tree = procfs::tree(self.id());
        send(self.id(), Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(POLL);
        }
        for pid in tree {
            send(pid, Signal::KILL);
        }
        // It has been killed; the wait only removes its entry.
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// A process that has ended meanwhile needs no signal.
fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// The first executable file called `name` on the PATH or in the directories of system programs.
pub(crate) fn find_on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workdir::Workdir;

    fn start(workdir: &Workdir, script: &str) -> Process {
        let core = usize::from(!rustix::thread::sched_getaffinity(None).expect("affinity").is_set(0));
        let log = workdir.path().join("log");
        Process::start("sh", core, Path::new("sh"), &["-c", script], log).expect("sh starts")
    }

    #[tokio::test]
    async fn a_process_that_ends_while_starting_shows_its_log() {
        let workdir = Workdir::create().expect("a directory");
        let mut process = start(&workdir, "echo no such option >&2; exit 3");
        let error = process
            .wait_ready(async || anyhow::bail!("not yet"))
            .await
            .expect_err("it ended");
        assert!(error.to_string().contains("no such option"), "{error}");
    }

    #[tokio::test]
    async fn a_dropped_process_is_gone() {
        let workdir = Workdir::create().expect("a directory");
        let process = start(&workdir, "exec sleep 60");
        let id = process.id();
        drop(process);
        assert!(procfs::cpu_time(id).is_err());
    }
}
