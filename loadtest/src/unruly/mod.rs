//! A service that misbehaves, and a client that notices whatever comes through of it.
//!
//! Both know from an exchange's number alone what is asked, what the answer is, and what goes wrong: [`plan`]. Bodies
//! carry that number in every 16 bytes ([`pattern`]), so a byte that belongs to another exchange is seen wherever it turns
//! up. Never does the service do what no proxy can tell from a good answer: send it unasked on a connection in use.

pub(crate) mod client;
pub(crate) mod pattern;
pub(crate) mod plan;
mod serve;
pub(crate) mod tally;

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::task::LocalSet;

use crate::client::Client;
use crate::load::get;
use crate::machine::Cores;
use crate::process::Process;
use crate::workdir::{Workdir, free_port};
use plan::Profile;

/// Path whose answer is [`Counts`]; asking for it does not count, so that it also shows whether a proxy is ready.
const COUNT_PATH: &str = "/";

/// Serves and misbehaves on two loopback ports until it is ended. Scenarios start it by themselves.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Ports on 127.0.0.1.
    #[arg(long, num_args = 1..)]
    ports: Vec<u16>,
    /// What all plans come from, together with an exchange's number.
    #[arg(long)]
    seed: u64,
    /// How exchanges are made up.
    #[arg(long, value_enum)]
    profile: Profile,
    /// Closes a connection that has been silent for a random time up to this; 0 for never.
    #[arg(long, default_value_t = 0)]
    idle_ms_max: u64,
}

/// What the service has seen, both ports together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Counts {
    /// Requests whose head has come.
    pub(crate) requests: u64,
    /// Those of them that were POSTs.
    pub(crate) posts: u64,
    /// POSTs whose number had come before.
    pub(crate) duplicate_posts: u64,
    /// Other requests whose number had come before: retries.
    pub(crate) repeats: u64,
    /// Requests with a byte in the body that is not theirs.
    pub(crate) foreign_bodies: u64,
    /// Requests whose body came whole, and was not as long as it was sent; and what was no request at all.
    pub(crate) misframed: u64,
    /// Connections that the service closed or reset on purpose.
    pub(crate) closed: u64,
}

/// What the connections share: one thread serves them all.
struct Shared {
    profile: Profile,
    seed: u64,
    idle_max: Duration,
    counts: Cell<Counts>,
    /// Whether a number has come, by number.
    seen: RefCell<Vec<bool>>,
}

impl Shared {
    fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }

    /// A head with this number has come.
    fn note(&self, id: u64, is_post: bool) {
        let mut seen = self.seen.borrow_mut();
        let index = usize::try_from(id).expect("numbers are small");
        if seen.len() <= index {
            seen.resize(index + 1, false);
        }
        let again = std::mem::replace(&mut seen[index], true);
        self.count(|counts| {
            counts.requests += 1;
            counts.posts += u64::from(is_post);
            counts.duplicate_posts += u64::from(is_post && again);
            counts.repeats += u64::from(!is_post && again);
        });
    }
}

/// Serves until an error on a listener.
pub(crate) async fn run(options: &Options) -> anyhow::Result<bool> {
    let shared = Rc::new(Shared {
        profile: options.profile,
        seed: options.seed,
        idle_max: Duration::from_millis(options.idle_ms_max),
        counts: Cell::default(),
        seen: RefCell::default(),
    });
    let local = LocalSet::new();
    let mut accepting = tokio::task::JoinSet::new();
    for &port in &options.ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .context("cannot listen")?;
        accepting.spawn_local_on(accept(listener, Rc::clone(&shared)), &local);
    }
    local
        .run_until(async { accepting.join_next().await.context("no ports")?.context("a panic")? })
        .await
}

async fn accept(listener: TcpListener, shared: Rc<Shared>) -> anyhow::Result<bool> {
    loop {
        let (stream, _) = listener.accept().await.context("cannot accept")?;
        stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
        tokio::task::spawn_local(serve::serve(stream, Rc::clone(&shared)));
    }
}

/// A running service.
#[derive(Debug)]
pub(crate) struct Unruly {
    /// Its ports: one for each variant.
    pub(crate) ports: [u16; 2],
    _process: Process,
}

impl Unruly {
    /// Starts it on the core of the load.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) async fn start(
        profile: Profile,
        seed: u64,
        idle_max: Duration,
        cores: Cores,
        workdir: &Workdir,
    ) -> anyhow::Result<Self> {
        let ports = [free_port()?, free_port()?];
        let own = std::env::current_exe().context("cannot find our own program")?;
        let [stable, canary] = ports.map(|port| port.to_string());
        let (seed, idle) = (seed.to_string(), idle_max.as_millis().to_string());
        let arguments = ["unruly", "--ports", &stable, &canary, "--seed", &seed]
            .into_iter()
            .chain(["--profile", profile.name(), "--idle-ms-max", &idle]);
        let log = workdir.path().join("unruly.log");
        let arguments: Vec<&str> = arguments.collect();
        let mut process = Process::start("unruly", cores.load_core, &own, &arguments, log)?;
        process.wait_ready(async || counts(ports[1]).await.map(drop)).await?;
        Ok(Self {
            ports,
            _process: process,
        })
    }

    /// What it has seen so far.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) async fn counts(&self) -> anyhow::Result<Counts> {
        counts(self.ports[0]).await
    }
}

async fn counts(port: u16) -> anyhow::Result<Counts> {
    let mut client = Client::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let answer = client.exchange(&get(port, COUNT_PATH)).await?;
    serde_json::from_slice(answer.body).context("the unruly service's counts cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_comes_again_is_a_retry_or_a_duplicate() {
        let shared = Shared {
            profile: Profile::Mixed,
            seed: 0,
            idle_max: Duration::ZERO,
            counts: Cell::default(),
            seen: RefCell::default(),
        };
        for (id, is_post) in [(1, false), (9, true), (1, false), (9, true), (2, true)] {
            shared.note(id, is_post);
        }
        let expected = Counts {
            requests: 5,
            posts: 3,
            duplicate_posts: 1,
            repeats: 1,
            ..Counts::default()
        };
        assert_eq!(shared.counts.get(), expected);
    }
}
