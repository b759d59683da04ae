//! Scenario `drains`: does a process that is asked to end lose a request?

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use serde::Serialize;
use serde_json::json;
use tokio::task::LocalSet;

use crate::backend::BODY_BYTES;
use crate::machine::{Cores, Machine};
use crate::peer::{BackendKind, Backends, Kind, Site};
use crate::report::{Condition, Report, print_conditions};
use crate::steady::{Crowd, Seen};
use crate::workdir::Workdir;

/// Answers that each sort of client has got before the process is asked to end.
const ANSWERS_BEFORE: u64 = 100;

/// How long a drain may take, its own limit of 30 s and some more.
const DRAIN_MAX: Duration = Duration::from_secs(40);

/// Asks: does a process that is asked to end lose a request?
///
/// Again and again Serin is started, loaded by clients with kept connections, with a connection for each request, and over
/// HTTP/2, and gets SIGTERM. It must hold: it ends by itself with 0, and every request is answered with 200. Refused
/// connections after the signal are the end that was asked for.
#[derive(clap::Args, Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Options {
    /// Drains, one after the other.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Writes all of it as JSON too.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    json: Option<PathBuf>,
    #[command(flatten)]
    cores: Cores,
}

/// One drain after the other; `false` when one lost something.
pub(crate) async fn run(options: &Options) -> anyhow::Result<bool> {
    let machine = Machine::read()?;
    options.cores.pin_load()?;
    let serin = Kind::Serin.find()?;
    let workdir = Workdir::create()?;
    let backends = Backends::start(BackendKind::Own, BODY_BYTES, options.cores, &workdir).await?;
    let mut rounds = Vec::new();
    for round in 0..options.rounds {
        let site = Site::plain(backends.ports)?;
        let mut process = serin.start(&site, options.cores, &workdir).await?;
        let seen: anyhow::Result<Seen> = LocalSet::new()
            .run_until(async {
                let crowd = Crowd::start(site.port);
                loaded(&crowd, ANSWERS_BEFORE).await?;
                crowd.server_ends();
                process.signal(Signal::TERM);
                let status = process.ended(DRAIN_MAX).await?;
                anyhow::ensure!(status.success(), "it ended with {status}");
                Ok(crowd.stop().await)
            })
            .await;
        let seen = seen.with_context(|| format!("round {round}; Serin wrote:\n{}", process.log_end()))?;
        println!("drain {round}: {} lost {:?}", seen.lost, seen.reasons);
        rounds.push(seen);
    }
    let conditions = vec![condition("drains lose no request", &rounds)];
    let held = print_conditions(&conditions);
    Report {
        scenario: "drains",
        machine,
        settings: json!({ "options": options, "version": serin.version }),
        rounds,
        summary: conditions,
    }
    .write_json(options.json.as_deref())?;
    Ok(held)
}

/// Waits until each sort of client has got so many more answers.
///
/// # Errors
/// They have not within 20 seconds.
pub(crate) async fn loaded(crowd: &Crowd, more: u64) -> anyhow::Result<()> {
    let enough = crowd.fewest() + more;
    let waiting = async {
        while crowd.fewest() < enough {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    waited.map_err(|_| anyhow::anyhow!("the clients get too few answers"))
}

/// Whether nothing was lost in any round, and something was asked in each.
pub(crate) fn condition(name: &str, rounds: &[Seen]) -> Condition {
    let sum = |of: fn(&Seen) -> u64| rounds.iter().map(of).sum::<u64>();
    let lost = sum(|seen| seen.lost);
    Condition {
        name: name.to_owned(),
        held: lost == 0 && rounds.iter().all(|seen| seen.kept.min(seen.closed).min(seen.http2) > 0),
        figures: format!(
            "{lost} lost of {} on kept connections, {} on their own, {} over HTTP/2",
            sum(|seen| seen.kept),
            sum(|seen| seen.closed),
            sum(|seen| seen.http2)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_loss_is_one_too_many() {
        let seen = |lost, http2| Seen {
            kept: 1,
            closed: 1,
            http2,
            lost,
            reasons: Vec::new(),
        };
        assert!(condition("x", &[seen(0, 1), seen(0, 2)]).held);
        assert!(!condition("x", &[seen(0, 1), seen(1, 2)]).held);
        assert!(!condition("x", &[seen(0, 0)]).held);
    }
}
