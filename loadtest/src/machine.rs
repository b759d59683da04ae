//! The machine we run on: what it is, which core we use, how many files we may open.

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

use crate::procfs;

/// What a reader needs to judge the numbers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// Model name of the processor.
    pub(crate) cpu: String,
    /// Cores that we may run on.
    pub(crate) cores: usize,
    /// Release of the kernel.
    pub(crate) kernel: String,
}

/// Which core each side runs on, so that the load does not take time from what is measured.
#[derive(clap::Args, Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cores {
    /// Core of the proxy.
    #[arg(long, default_value_t = 1)]
    pub(crate) proxy_core: usize,
    /// Core of the load generator and the backends.
    #[arg(long, default_value_t = 0)]
    pub(crate) load_core: usize,
}

impl Machine {
    /// Reads what the kernel tells.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let cpu = procfs::cpuinfo("model name")?.unwrap_or_else(|| "unknown".to_owned());
        let cores = sched_getaffinity(None).context("cannot read the affinity")?.count() as usize;
        let kernel =
            std::fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot read the kernel's release")?;
        Ok(Self {
            cpu,
            cores,
            kernel: kernel.trim().to_owned(),
        })
    }
}

impl Cores {
    /// Puts this thread, and the processes it starts from now on, on the core of the load.
    ///
    /// # Errors
    /// When a core does not exist or is not ours, or both sides would share one.
    pub(crate) fn pin_load(self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.proxy_core != self.load_core,
            "proxy and load need a core each; both are {}",
            self.load_core
        );
        let allowed = sched_getaffinity(None).context("cannot read the affinity")?;
        for core in [self.proxy_core, self.load_core] {
            anyhow::ensure!(
                core < CpuSet::MAX_CPU && allowed.is_set(core),
                "core {core} is not available to us"
            );
        }
        let mut own = CpuSet::new();
        own.set(self.load_core);
        sched_setaffinity(None, &own).context("cannot move to the core of the load")
    }
}

/// Raises the soft limit of open files to at least `wanted`; children inherit it.
///
/// # Errors
/// When the hard limit is lower.
pub(crate) fn allow_open_files(wanted: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let maximum = limit.maximum;
    anyhow::ensure!(
        maximum.is_none_or(|maximum| maximum >= wanted),
        "{wanted} open files are needed, the hard limit is {}",
        maximum.unwrap_or_default()
    );
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(wanted),
            maximum,
        },
    )
    .context("cannot raise the limit of open files")
}
