//! Scenario `stale`: what does a backend cost that closes idle connections whenever it likes?

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use serde_json::json;
use tokio::task::{JoinSet, LocalSet};

use crate::load::Protocol;
use crate::machine::{Cores, Machine};
use crate::peer::{Features, Kind, Site};
use crate::report::{Condition, Report, print_conditions};
use crate::unruly::client::{Client, Outcome};
use crate::unruly::plan::{Ask, Profile};
use crate::unruly::{Counts, Unruly};
use crate::workdir::{Workdir, free_port};

/// GETs in each round, and as many POSTs.
const EACH: u64 = 120;

/// How many of them may fail: the project's target.
const GETS_FAILED_MAX: u64 = 1;

/// Asks: what does a backend cost that closes idle connections whenever it likes?
///
/// The backend closes or resets a connection after a random silence of at most `--idle-ms`; clients pause between two
/// requests for a random time as long, so about half of the connections that the proxy keeps are gone when it wants
/// one, and some go in that very moment. In one exchange of eight the backend makes sure of it: it reads a request on a
/// connection that has served before, and closes it without a word. Each round sends 120 GETs and 120 POSTs. It must
/// hold: in no round more than one GET fails, and no POST reaches the backend twice. A POST of which a byte was sent may
/// fail, since it must not be sent again.
#[derive(clap::Args, Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Options {
    /// How often 120 GETs and 120 POSTs are sent.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// The longest silence, of backend and clients alike, in milliseconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    idle_ms: u64,
    /// Client connections.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    connections: u32,
    /// What the backend spoils follows from it; when connections close does not.
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

/// How one round went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Round {
    gets: u64,
    gets_failed: u64,
    posts: u64,
    posts_failed: u64,
}

impl Round {
    fn record(&mut self, ask: Ask, outcome: &Outcome) {
        let failed = u64::from(!matches!(outcome, Outcome::Answered { status: 200 }));
        match ask {
            Ask::Get | Ask::Head => {
                self.gets += 1;
                self.gets_failed += failed;
            }
            Ask::Post { .. } => {
                self.posts += 1;
                self.posts_failed += failed;
            }
        }
    }
}

/// Runs all rounds; `false` when a condition was not held.
pub(crate) async fn run(options: &Options) -> anyhow::Result<bool> {
    let machine = Machine::read()?;
    options.cores.pin_load()?;
    let peer = options.proxy.find()?;
    let workdir = Workdir::create()?;
    let idle = Duration::from_millis(options.idle_ms);
    let unruly = Unruly::start(Profile::Stale, options.seed, idle, options.cores, &workdir).await?;
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

    let mut rounds = Vec::new();
    for number in 0..options.rounds {
        // Even numbers are GETs, odd ones POSTs; each number is sent once in the whole run.
        let first = 1 + u64::from(number) * 2 * EACH;
        let round = LocalSet::new()
            .run_until(send_round(options, site.port, first))
            .await
            .with_context(|| format!("the proxy wrote:\n{}", process.log_end()))?;
        println!(
            "round {}/{} GETs failed {} of {}, POSTs failed {} of {}",
            number + 1,
            options.rounds,
            round.gets_failed,
            round.gets,
            round.posts_failed,
            round.posts
        );
        rounds.push(round);
    }
    drop(process);

    let counts = unruly.counts().await?;
    println!(
        "backend: {} requests, {} of them GETs again, {} connections closed by it",
        counts.requests, counts.repeats, counts.closed
    );
    let conditions = conditions(&rounds, &counts);
    let held = print_conditions(&conditions);
    let settings = json!({ "options": options, "version": peer.version, "backend": counts });
    Report {
        scenario: "stale",
        machine,
        settings,
        rounds,
        summary: conditions,
    }
    .write_json(options.json.as_deref())?;
    Ok(held)
}

/// 120 GETs and as many POSTs, over all clients together.
async fn send_round(options: &Options, port: u16, first: u64) -> anyhow::Result<Round> {
    let round = Rc::new(RefCell::new(Round::default()));
    let next = Rc::new(Cell::new(first));
    let (seed, idle, end) = (options.seed, Duration::from_millis(options.idle_ms), first + 2 * EACH);
    let mut clients = JoinSet::new();
    for _ in 0..options.connections {
        let (round, next) = (Rc::clone(&round), Rc::clone(&next));
        clients.spawn_local(async move {
            let mut client = Client::new(port);
            while next.get() < end {
                let plan = Profile::Stale.plan(seed, next.replace(next.get() + 1));
                let outcomes = client.exchange(&[plan]).await;
                round.borrow_mut().record(plan.ask, &outcomes[0]);
                tokio::time::sleep(idle.mul_f64(fastrand::f64())).await;
            }
        });
    }
    while let Some(joined) = clients.join_next().await {
        joined.context("a client panicked")?;
    }
    let round = *round.borrow();
    Ok(round)
}

fn conditions(rounds: &[Round], counts: &Counts) -> Vec<Condition> {
    let worst = rounds.iter().map(|round| round.gets_failed).max().unwrap_or(0);
    let sum = |of: fn(&Round) -> u64| rounds.iter().map(of).sum::<u64>();
    let (gets, posts) = (sum(|round| round.gets), sum(|round| round.posts));
    vec![
        Condition {
            name: format!("at most {GETS_FAILED_MAX} of {EACH} GETs fails"),
            held: worst <= GETS_FAILED_MAX && gets > 0,
            figures: format!(
                "{worst} in the worst round, {} of {gets} in all",
                sum(|round| round.gets_failed)
            ),
        },
        Condition {
            name: "no POST was sent twice".to_owned(),
            held: counts.duplicate_posts == 0 && posts > 0,
            figures: format!("{} of {posts}", counts.duplicate_posts),
        },
        Condition {
            name: "the backend closed connections that were wanted".to_owned(),
            held: counts.closed > 0,
            figures: format!("{} closed, {} GETs sent again", counts.closed, counts.repeats),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_get_of_a_round_may_fail_and_no_post_may_come_twice() {
        let check = |gets_failed: [u64; 2], posts_failed, duplicate_posts, expected: [bool; 3]| {
            let rounds = gets_failed.map(|gets_failed| Round {
                gets: EACH,
                gets_failed,
                posts: EACH,
                posts_failed,
            });
            let counts = Counts {
                duplicate_posts,
                closed: 7,
                ..Counts::default()
            };
            let held: Vec<bool> = conditions(&rounds, &counts)
                .iter()
                .map(|condition| condition.held)
                .collect();
            assert_eq!(held, expected);
        };
        check([1, 1], 0, 0, [true, true, true]);
        check([0, 2], 0, 0, [false, true, true]);
        check([0, 0], 50, 0, [true, true, true]);
        check([0, 0], 0, 1, [true, false, true]);
    }

    #[test]
    fn only_the_backends_200_is_no_failure() {
        let mut round = Round::default();
        round.record(Ask::Get, &Outcome::Answered { status: 200 });
        round.record(Ask::Get, &Outcome::Refused { status: 502 });
        let post = Ask::Post {
            bytes: 1,
            chunked: false,
        };
        round.record(post, &Outcome::Cut);
        let expected = Round {
            gets: 2,
            gets_failed: 1,
            posts: 1,
            posts_failed: 1,
        };
        assert_eq!(round, expected);
    }
}
