//! Runs Serin in this process, has its children make exchanges, and reads the counts around them.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use serin::server::{self, Server};

use crate::children::Lines;
use crate::counting::{self, Count};
use crate::figures::{self, Condition, Kind};
use crate::trace;

/// The kinds of exchanges, as the client calls them.
const KINDS: [&str; 2] = ["get", "post"];

/// After the warm-up: what ends after it, such as a merge of histograms, is over.
const SETTLE: Duration = Duration::from_secs(2);

/// How the counting is done.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Exchanges of each kind in each round.
    #[arg(long, default_value_t = 10_000)]
    exchanges: usize,
    /// Rounds that are added up.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Exchanges of each kind before anything counts.
    #[arg(long, default_value_t = 20_000)]
    warmup: usize,
    /// Connections of the client.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Shows where the first 5,000 allocations of the worker come from, in a round after those that count.
    #[arg(long)]
    trace: bool,
    /// Exits with 1 when a request costs more than 0.01 allocations, or an exchange failed.
    #[arg(long)]
    check: bool,
}

/// Counts, prints, and answers `false` only under `--check`.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let directory = Directory::create()?;
    let mut backends = Lines::start(&["backend"])?;
    let serin = start_serin(&directory.0, &backends.read()?)?;
    let port = serin.listeners()[0].address.port().to_string();
    let mut client = Lines::start(&[
        "client",
        "--port",
        &port,
        "--connections",
        &options.connections.to_string(),
    ])?;

    for kind in KINDS {
        ask(&mut client, kind, options.warmup)?;
    }
    thread::sleep(SETTLE);
    let mut kinds: [Kind; 2] = Default::default();
    for _ in 0..options.rounds {
        for (name, kind) in KINDS.into_iter().zip(&mut kinds) {
            measure(&mut client, name, options.exchanges, kind)?;
        }
    }
    let threads = Threads::read(&counting::read());
    for (name, kind) in KINDS.into_iter().zip(&kinds) {
        for line in kind.lines(name, |thread| threads.name(thread)) {
            println!("{line}");
        }
    }
    if options.trace {
        print_trace(&mut client, &threads, options.exchanges)?;
    }
    drop(client);
    serin.stop();

    let conditions = KINDS.into_iter().zip(&kinds).flat_map(|(name, kind)| {
        kind.conditions(
            name,
            |thread| threads.is_worker(thread),
            |thread| threads.name(thread).is_some(),
        )
    });
    let mut all_held = true;
    for Condition { held, text } in conditions {
        println!("{} {text}", if held { "ok  " } else { "FAIL" });
        all_held &= held;
    }
    Ok(all_held || !options.check)
}

/// One round of one kind, and a silence of equal length.
fn measure(client: &mut Lines, name: &str, exchanges: usize, kind: &mut Kind) -> anyhow::Result<()> {
    let (before, begun) = (counting::read(), Instant::now());
    let good = ask(client, name, exchanges)?;
    let (after, length) = (counting::read(), begun.elapsed());
    thread::sleep(length);
    let later = counting::read();
    kind.exchanges += exchanges;
    kind.failed += exchanges - good;
    figures::add(&mut kind.busy, &before, &after);
    figures::add(&mut kind.idle, &after, &later);
    Ok(())
}

/// Has the client make exchanges, and answers how many succeeded.
fn ask(client: &mut Lines, kind: &str, exchanges: usize) -> anyhow::Result<usize> {
    client.write(&format!("{kind} {exchanges}"))?;
    client
        .read()?
        .trim()
        .parse()
        .context("the client's answer is no number")
}

fn print_trace(client: &mut Lines, threads: &Threads, exchanges: usize) -> anyhow::Result<()> {
    let worker = threads.0.iter().find(|(_, name)| name.starts_with("worker"));
    let (&worker, _) = worker.context("no worker's thread has allocated")?;
    for kind in KINDS {
        trace::start(worker);
        ask(client, kind, exchanges)?;
        println!("\nallocations of the worker for {kind}:");
        for (count, place) in trace::end() {
            println!("{count:>5} × {place}");
        }
    }
    Ok(())
}

/// Names of the threads that have allocated, by the kernel's id; only Serin's.
struct Threads(BTreeMap<i32, String>);

impl Threads {
    fn read(counts: &[Count]) -> Self {
        let main = i32::try_from(std::process::id()).unwrap_or(0);
        let ours = counts.iter().map(|count| count.thread).filter(|&thread| thread != main);
        Self(ours.map(|thread| (thread, name_of(thread))).collect())
    }

    fn name(&self, thread: i32) -> Option<String> {
        self.0.get(&thread).cloned()
    }

    fn is_worker(&self, thread: i32) -> bool {
        self.0.get(&thread).is_some_and(|name| name.starts_with("worker"))
    }
}

fn name_of(thread: i32) -> String {
    fs::read_to_string(format!("/proc/self/task/{thread}/comm"))
        .map_or_else(|_| format!("ended {thread}"), |name| name.trim().to_owned())
}

/// Serin with one worker and every feature that bears on a request.
fn start_serin(directory: &Path, ports: &str) -> anyhow::Result<Server> {
    let (stable, canary) = ports.trim().split_once(' ').context("the backends named no ports")?;
    let config_file = directory.join("serin.yaml");
    fs::write(&config_file, configuration(stable, canary, free_port()?)).context("cannot write the configuration")?;
    let options = server::Options {
        config_file,
        workers: Some(1),
        drain_timeout: Duration::from_secs(1),
        init_logging: true,
        upgrade: false,
    };
    server::start(options).context("Serin does not start")
}

fn configuration(stable: &str, canary: &str, admin_port: u16) -> String {
    format!(
        "version: 1
listeners:
- {{ name: public, address: 127.0.0.1:0, timeouts: {{ idle: 10m }} }}
admin: {{ address: 127.0.0.1:{admin_port} }}
log: {{ level: warn, access: errors }}
outcomeLog: {{ file: log/outcomes }}
backends:
- {{ name: stable, endpoints: [127.0.0.1:{stable}] }}
- {{ name: canary, endpoints: [127.0.0.1:{canary}] }}
routes:
- name: shop
  match: {{ pathPrefix: / }}
  split:
    key: {{ header: x-user-id }}
    variants:
    - {{ name: stable, backend: stable, weight: 90 }}
    - {{ name: canary, backend: canary, weight: 10 }}
    cohorts:
    - {{ name: staff, keys: [alice, bob, carol], variant: canary }}
    - {{ name: beta, headers: [{{ name: x-canary, exact: \"true\" }}], variant: canary }}
rollouts:
- name: shop
  route: shop
  from: stable
  to: canary
  analysis:
    errorRate: {{ warn: 0.5%, critical: 5% }}
    latencyP95: {{ warn: 500ms, critical: 1000ms }}
  budget: {{ failedRequests: 1000, inFlight: 1000 }}
"
    )
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr().context("no local address")?.port())
}

/// A fresh directory below the system's temporary one; removed on drop.
struct Directory(PathBuf);

impl Directory {
    fn create() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("serin-allocations-{}", std::process::id()));
        // The log is not beside the configuration, whose directory is watched for changes.
        fs::create_dir_all(path.join("log")).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed stays in the temporary directory: nothing to do about it here.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_loads() {
        let text = configuration("9001", "9002", 9003);
        let spec = serin::config::load(&text, Path::new("serin.yaml"), &|_| None).expect("it loads");
        assert_eq!((spec.routes.len(), spec.rollouts.len()), (1, 1));
    }
}
