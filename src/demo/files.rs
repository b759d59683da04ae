//! The configuration that the demo runs with, in a directory of its own that is removed at the end.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::Duration;

/// The name of route and rollout.
pub(super) const SHOP: &str = "shop";

/// The critical limit of the canary's p95; what is slower is a bad response.
pub(super) const LATENCY_MAX: Duration = Duration::from_millis(250);

/// A directory below the system's temporary one, for this process alone.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
}

impl Files {
    /// Makes the directory and writes the configuration for services at these addresses.
    ///
    /// # Errors
    /// As of the file system.
    pub(super) fn create(stable: SocketAddr, canary: SocketAddr) -> io::Result<Self> {
        let name = format!("serin-demo-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let directory = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&directory)?;
        let files = Self { directory };
        fs::write(files.config_file(), config(stable, canary))?;
        Ok(files)
    }

    /// The configuration.
    pub(super) fn config_file(&self) -> PathBuf {
        self.directory.join("serin.yaml")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's own cleaning of that place.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn config(stable: SocketAddr, canary: SocketAddr) -> String {
    let latency_max_ms = LATENCY_MAX.as_millis();
    format!(
        "version: 1
environment: demo
listeners:
- {{ name: public, address: '127.0.0.1:0' }}
admin: {{ address: '127.0.0.1:0' }}
log: {{ level: warn, format: text, access: 'off' }}
state: {{ directory: state }}
backends:
- {{ name: shop-v1, release: v1.4.2, endpoints: ['{stable}'] }}
- {{ name: shop-v2, release: v1.5.0, endpoints: ['{canary}'] }}
routes:
- name: {SHOP}
  timeout: 1s
  split:
    variants:
    - {{ name: stable, backend: shop-v1, weight: 100 }}
    - {{ name: canary, backend: shop-v2, weight: 0 }}
rollouts:
- name: {SHOP}
  route: {SHOP}
  from: stable
  to: canary
  analysis:
    minRequests: 50
    errorRate: {{ critical: 5% }}
    errorRateMargin: 1%
    latencyP95: {{ critical: {latency_max_ms}ms }}
    latencyFactor: off    # both services run in one process, where a busy machine makes now this one slow, now that
  steps:
  - {{ setWeight: 10%, bakeTime: 2s }}
  - {{ setWeight: 25%, bakeTime: 2s }}
  - {{ setWeight: 50%, bakeTime: 2s }}
  - {{ setWeight: 100%, bakeTime: 2s }}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_configuration_is_a_good_one() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let spec = crate::config::load(&config(address, address), Path::new("demo.yaml"), &|_| None).unwrap();
        assert_eq!(spec.rollouts[0].plan.steps().len(), 4);
    }

    #[test]
    fn the_directory_is_removed_with_all_that_is_in_it() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let files = Files::create(address, address).unwrap();
        let directory = files.directory.clone();
        assert!(fs::read_to_string(files.config_file()).unwrap().contains("127.0.0.1:1"));
        fs::create_dir(directory.join("state")).unwrap();
        drop(files);
        assert!(!directory.exists());
    }
}
