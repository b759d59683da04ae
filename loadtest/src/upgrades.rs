//! Scenario `upgrades`: does a process that is replaced by another one lose a request?

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use serde_json::json;
use tokio::task::LocalSet;

use crate::backend::BODY_BYTES;
use crate::drains::{condition, loaded};
use crate::machine::{Cores, Machine};
use crate::peer::{BackendKind, Backends, Kind, Site};
use crate::report::{Report, print_conditions};
use crate::steady::Crowd;
use crate::workdir::Workdir;

/// Answers that each sort of client gets between two upgrades.
const ANSWERS_BETWEEN: u64 = 100;

/// How long the process before may take to end, its own drain limit of 30 s and some more.
const DRAIN_MAX: Duration = Duration::from_secs(40);

/// Asks: does a process that is replaced by another one lose a request?
///
/// Clients with kept connections, with a connection for each request, and over HTTP/2 go on while `serin run --upgrade`
/// replaces Serin again and again. It must hold: each process that was replaced ends with 0, and every request is answered
/// with 200; no connection is ever refused.
#[derive(clap::Args, Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Options {
    /// Upgrades, one after the other.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Writes all of it as JSON too.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    json: Option<PathBuf>,
    #[command(flatten)]
    cores: Cores,
}

/// One upgrade after the other under one load; `false` when it lost something.
pub(crate) async fn run(options: &Options) -> anyhow::Result<bool> {
    let machine = Machine::read()?;
    options.cores.pin_load()?;
    let serin = Kind::Serin.find()?;
    let workdir = Workdir::create()?;
    let backends = Backends::start(BackendKind::Own, BODY_BYTES, options.cores, &workdir).await?;
    let site = Site::plain(backends.ports)?;
    let mut process = serin.start(&site, options.cores, &workdir).await?;
    let seen = LocalSet::new()
        .run_until(async {
            let crowd = Crowd::start(site.port);
            for round in 0..options.rounds {
                loaded(&crowd, ANSWERS_BETWEEN).await?;
                let next = serin.take_over(round, options.cores, &workdir)?;
                let mut before = std::mem::replace(&mut process, next);
                let status = before.ended(DRAIN_MAX).await;
                let status =
                    status.with_context(|| format!("round {round}; the next one wrote:\n{}", process.log_end()))?;
                anyhow::ensure!(
                    status.success(),
                    "round {round}: the process before ended with {status}:\n{}",
                    before.log_end()
                );
                println!("upgrade {round}: {} answers of the rarest sort", crowd.fewest());
            }
            loaded(&crowd, ANSWERS_BETWEEN).await?;
            anyhow::Ok(crowd.stop().await)
        })
        .await?;
    println!("{:?}", seen.reasons);
    let rounds = vec![seen];
    let conditions = vec![condition("upgrades lose no request", &rounds)];
    let held = print_conditions(&conditions);
    Report {
        scenario: "upgrades",
        machine,
        settings: json!({ "options": options, "version": serin.version }),
        rounds,
        summary: conditions,
    }
    .write_json(options.json.as_deref())?;
    Ok(held)
}
