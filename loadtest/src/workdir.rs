//! A directory for one run's configuration files and logs, and free ports.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context;

/// A fresh directory below the system's temporary one, with a directory `logs` in it; removed on drop.
#[derive(Debug)]
pub(crate) struct Workdir {
    path: PathBuf,
}

impl Workdir {
    /// Creates it.
    ///
    /// # Errors
    /// When that is not possible.
    pub(crate) fn create() -> anyhow::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("serin-loadtest-{process}-{number}"));
        // Serin watches the directory of its configuration for changes: what it logs goes elsewhere.
        std::fs::create_dir(&path)
            .and_then(|()| std::fs::create_dir(path.join("logs")))
            .with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path })
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file by rename, so that whoever reads it sees the old text or the new, never a part.
    ///
    /// # Errors
    /// When writing fails.
    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        let fresh = self.path.join(format!("{name}.new"));
        std::fs::write(&fresh, text).with_context(|| format!("cannot write {}", fresh.display()))?;
        std::fs::rename(&fresh, &path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        // What cannot be removed stays in the temporary directory: nothing to do about it here.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// A loopback port that was free a moment ago.
///
/// # Errors
/// When none is.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr().context("no local address")?.port())
}
