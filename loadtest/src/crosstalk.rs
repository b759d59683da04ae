//! Scenario `crosstalk`: does what belongs to one exchange ever turn up in another, when backends misbehave?

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use serde_json::json;
use tokio::task::{JoinSet, LocalSet};

use crate::load::Protocol;
use crate::machine::{Cores, Machine};
use crate::peer::{Features, Kind, Site};
use crate::report::{Report, print_conditions};
use crate::unruly::Unruly;
use crate::unruly::client::Client;
use crate::unruly::plan::{Plan, Profile};
use crate::unruly::tally::Tally;
use crate::workdir::{Workdir, free_port};

/// The most requests that a client sends before it has read an answer.
const PIPELINED_MAX: usize = 4;

/// Between two lines that say how far the run is.
const PROGRESS: Duration = Duration::from_secs(10);

/// Asks: does what belongs to one exchange ever turn up in another, when backends misbehave?
///
/// 64 clients send GET, HEAD and POST, with bodies of 0 to 64 KiB by length and by chunks, some pipelined; some go away
/// in mid-answer. In one exchange of ten the backend does something wrong: it resets, closes a connection at the moment
/// of a request, cuts heads and bodies, sends bytes behind its answer, bodies where none may be, two lengths, an answer
/// before the request's end, or 500. Every answer, and every 16 bytes of every body, carry the number of their exchange,
/// and both sides check them all. It must hold: nothing foreign in any answer or request, nothing cut that passes for
/// whole, no POST that reaches the backends twice, no exchange that hangs; and 99 % of what nobody spoiled is answered.
#[derive(clap::Args, Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Options {
    /// How many exchanges.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    exchanges: u64,
    /// The run ends after so many seconds, and fails if it is not done.
    #[arg(long, default_value_t = 900, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds_max: u64,
    /// Client connections.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// All that is asked, answered and spoilt follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Which proxy. The conditions are those for Serin; for others they only show how they fare.
    #[arg(long, value_enum, default_value = "serin")]
    proxy: Kind,
    /// Writes all of it as JSON too.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    json: Option<PathBuf>,
    #[command(flatten)]
    cores: Cores,
}

/// What the clients share.
struct Shared {
    exchanges: u64,
    seed: u64,
    /// The next number that is free.
    next: Cell<u64>,
    end: Instant,
    tally: RefCell<Tally>,
}

/// Runs all exchanges; `false` when a condition was not held.
pub(crate) async fn run(options: &Options) -> anyhow::Result<bool> {
    let machine = Machine::read()?;
    options.cores.pin_load()?;
    let peer = options.proxy.find()?;
    let workdir = Workdir::create()?;
    let unruly = Unruly::start(Profile::Mixed, options.seed, Duration::ZERO, options.cores, &workdir).await?;
    // No rollout: both variants misbehave alike, and both are to be kept busy.
    let site = Site {
        protocol: Protocol::H1,
        certificate: None,
        port: free_port()?,
        admin_port: free_port()?,
        backends: unruly.ports,
        weights: [50, 50],
        connections_max: 2000,
        timeout_s: 5,
        features: Features::Plain,
    };
    let process = peer.start(&site, options.cores, &workdir).await?;

    let begin = Instant::now();
    let shared = Rc::new(Shared {
        exchanges: options.exchanges,
        seed: options.seed,
        next: Cell::new(1),
        end: begin + Duration::from_secs(options.seconds_max),
        tally: RefCell::default(),
    });
    let clients = async {
        let mut clients = JoinSet::new();
        for number in 0..options.connections {
            clients.spawn_local(send(site.port, u64::from(number), Rc::clone(&shared)));
        }
        while let Some(joined) = clients.join_next().await {
            joined.context("a client panicked")?;
        }
        anyhow::Ok(())
    };
    let progress = async {
        loop {
            tokio::time::sleep(PROGRESS).await;
            println!("{} of {}", shared.tally.borrow().exchanges, options.exchanges);
        }
    };
    LocalSet::new()
        .run_until(async {
            tokio::select! {
                result = clients => result,
                () = progress => unreachable!("it only tells"),
            }
        })
        .await
        .with_context(|| format!("the proxy wrote:\n{}", process.log_end()))?;
    let seconds = begin.elapsed().as_secs_f64();
    drop(process);

    let counts = unruly.counts().await?;
    let tally = shared.tally.borrow();
    print!("{}", tally.render(&counts));
    println!("{seconds:.1} s, {:.0} exchanges/s", tally.exchanges as f64 / seconds);
    let conditions = tally.conditions(options.exchanges, &counts);
    let held = print_conditions(&conditions);
    let settings = json!({ "options": options, "version": peer.version });
    Report {
        scenario: "crosstalk",
        machine,
        settings,
        rounds: vec![json!({ "seconds": seconds, "clients": *tally, "backends": counts })],
        summary: conditions,
    }
    .write_json(options.json.as_deref())?;
    Ok(held)
}

/// One client, until the numbers or the time are used up.
async fn send(port: u16, number: u64, shared: Rc<Shared>) {
    let mut client = Client::new(port);
    let mut batches = Batches {
        random: fastrand::Rng::with_seed(shared.seed.wrapping_add(number)),
        kept: None,
    };
    while Instant::now() < shared.end {
        let batch = batches.next(|| {
            let id = shared.next.get();
            (id <= shared.exchanges).then(|| {
                shared.next.set(id + 1);
                Profile::Mixed.plan(shared.seed, id)
            })
        });
        if batch.is_empty() {
            return;
        }
        let outcomes = client.exchange(&batch).await;
        let mut tally = shared.tally.borrow_mut();
        for (plan, outcome) in batch.iter().zip(&outcomes) {
            tally.record(plan, outcome);
        }
    }
}

/// Puts exchanges together that one client sends at once.
struct Batches {
    random: fastrand::Rng,
    /// Drawn, but not fit to be sent behind others.
    kept: Option<Plan>,
}

impl Batches {
    /// One exchange, or in one case of five up to four that can be pipelined; none when `draw` has no more.
    fn next(&mut self, mut draw: impl FnMut() -> Option<Plan>) -> Vec<Plan> {
        let mut batch: Vec<Plan> = self.kept.take().or_else(&mut draw).into_iter().collect();
        if batch.first().is_some_and(Plan::can_be_pipelined) && self.random.u32(..5) == 0 {
            let length = self.random.usize(2..=PIPELINED_MAX);
            while batch.len() < length {
                match draw() {
                    Some(plan) if plan.can_be_pipelined() => batch.push(plan),
                    last => {
                        self.kept = last;
                        break;
                    }
                }
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exchange_is_in_one_batch_and_only_fit_ones_are_together() {
        let mut batches = Batches {
            random: fastrand::Rng::with_seed(1),
            kept: None,
        };
        let mut ids = 1..=10_000;
        let (mut found, mut lengths) = (Vec::new(), [0; PIPELINED_MAX + 1]);
        loop {
            let batch = batches.next(|| Some(Profile::Mixed.plan(1, ids.next()?)));
            if batch.is_empty() {
                break;
            }
            lengths[batch.len()] += 1;
            assert!(batch.len() == 1 || batch.iter().all(Plan::can_be_pipelined));
            found.extend(batch.iter().map(|plan| plan.id));
        }
        assert!(found.iter().copied().eq(1..=10_000));
        assert!(lengths[1..].iter().all(|&count| count > 100), "{lengths:?}");
    }
}
