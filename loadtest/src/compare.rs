//! Scenario `compare`: what does a request cost in Serin, and what in its peers that do the same job?

use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;
use serde_json::json;

use crate::case::Case;
use crate::certificate::Certificate;
use crate::compare_summary::{Round, Summary, conditions, render, summarise};
use crate::load::{Load, Protocol};
use crate::machine::{Cores, Machine};
use crate::peer::{BackendKind, Backends, Features, Kind, Peer, Site};
use crate::procfs;
use crate::report::{Report, number, print_conditions};
use crate::workdir::{Workdir, free_port};

/// Weights of stable and canary.
const WEIGHTS: [u32; 2] = [90, 10];

/// Asks: what does a request cost in Serin, and what in its peers that do the same job?
///
/// Each proxy runs alone on one core with one worker, the load and both backends on another. It keeps connections on both
/// sides, sends one request in ten to the canary, and passes answers of 1 KiB on. Proxies take turns (A B C D, A B C
/// D, …), each is started afresh and warmed up before each measurement, so that a slow phase of the machine meets all
/// of them. CPU time is the user and system time of the proxy's whole process tree during the load, divided by
/// the requests that succeeded. Ratios are Serin's value divided by the peer's in the same round; the table shows medians.
///
/// Serin has every feature on that bears on a request: a split by a key (HTTP/1.1 clients are 1,000 users), a list of
/// keys and a header that lead to the canary, a rollout that judges it ten times a second by errors and latency, a
/// budget, a line of the outcome log for each exchange, and one of the access log for each that failed. `--features`
/// leaves these out.
#[derive(clap::Args, Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Options {
    /// What the clients speak: h1 through wrk, h2 through h2load; in clear with prior knowledge.
    #[arg(long, value_enum, default_value = "h1")]
    protocol: Protocol,
    /// Over TLS 1.3; all proxies show the same ECDSA P-256 certificate.
    #[arg(long)]
    tls: bool,
    /// What they do; each case has targets of its own.
    #[arg(long, value_enum, default_value = "keepalive")]
    case: Case,
    /// Requests per second; case rate only.
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// What Serin does beside forwarding.
    #[arg(long, value_enum, default_value = "all")]
    features: Features,
    /// How often each proxy is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Length of each measurement in seconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Load before each measurement that does not count, in seconds; 0 for none.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=60))]
    warmup: u32,
    /// Connections of the load.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Streams at once on each connection; HTTP/2 only.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    streams: u32,
    /// What answers behind the proxies.
    #[arg(long, value_enum, default_value = "own")]
    backend: BackendKind,
    /// Which proxies; those that are not installed are named and left out.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Kind::ALL)]
    proxies: Vec<Kind>,
    /// Exits with 1 when Serin's CPU per request, or at a fixed rate its p50, is above its target against a peer, or a
    /// request failed.
    #[arg(long)]
    check: bool,
    /// Writes all of it as JSON too.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    json: Option<PathBuf>,
    #[command(flatten)]
    cores: Cores,
}

/// Runs all rounds, prints the table; `false` only under `--check`.
pub(crate) async fn run(options: &Options) -> anyhow::Result<bool> {
    let machine = Machine::read()?;
    options.case.require(options.protocol, options.tls)?;
    let load = Load {
        protocol: options.protocol,
        tls: options.tls,
        case: options.case,
        rate: options.rate,
        connections: options.connections,
        streams: options.streams,
    };
    load.require_tool()?;
    options.cores.pin_load()?;
    let (peers, missing) = find(&options.proxies)?;
    let workdir = Workdir::create()?;
    let backends = Backends::start(options.backend, options.case.body_bytes(), options.cores, &workdir).await?;

    let mut rounds = Vec::new();
    for round in 1..=options.rounds {
        for peer in &peers {
            let measured = measure(options, load, round, peer, &backends, &workdir).await?;
            println!("round {round}/{} {}", options.rounds, describe(&measured));
            rounds.push(measured);
        }
    }

    let summary: Vec<Summary> = peers
        .iter()
        .map(|peer| summarise(options.case, options.protocol, options.tls, peer.kind, &rounds))
        .collect();
    print!("\n{}", render(options.case, &summary));
    for line in &missing {
        println!("left out: {line}");
    }
    let versions: Vec<_> = peers
        .iter()
        .map(|peer| json!({ "proxy": peer.kind, "version": peer.version }))
        .collect();
    let settings = json!({ "options": options, "weights": WEIGHTS, "versions": versions, "missing": missing });
    let conditions = conditions(&summary);
    let report = Report {
        scenario: "compare",
        machine,
        settings,
        rounds,
        summary,
    };
    report.write_json(options.json.as_deref())?;
    Ok(!options.check || print_conditions(&conditions))
}

/// The installed ones among `kinds`, and a line for each that is not.
///
/// # Errors
/// When none is installed.
pub(crate) fn find(kinds: &[Kind]) -> anyhow::Result<(Vec<Peer>, Vec<String>)> {
    let (mut peers, mut missing) = (Vec::new(), Vec::new());
    for kind in kinds {
        match kind.find() {
            Ok(peer) => peers.push(peer),
            Err(error) => missing.push(format!("{}: {error:#}", kind.name())),
        }
    }
    anyhow::ensure!(!peers.is_empty(), "no proxy to measure; {}", missing.join("; "));
    Ok((peers, missing))
}

async fn measure(
    options: &Options,
    load: Load,
    round: u32,
    peer: &Peer,
    backends: &Backends,
    workdir: &Workdir,
) -> anyhow::Result<Round> {
    let site = Site {
        protocol: options.protocol,
        certificate: options.tls.then(|| Certificate::create(workdir)).transpose()?,
        port: free_port()?,
        admin_port: free_port()?,
        backends: backends.ports,
        weights: WEIGHTS,
        connections_max: 2000,
        timeout_s: 5,
        features: options.features,
    };
    let process = peer.start(&site, options.cores, workdir).await?;
    if options.warmup > 0 {
        load.run(site.port, options.warmup, workdir).await?;
    }
    let answered_before = backends.requests().await?;
    let (cpu_before, start) = (procfs::cpu_time(process.id())?, Instant::now());
    let measured = load.run(site.port, options.seconds, workdir).await?;
    let (cpu, elapsed) = (
        procfs::cpu_time(process.id())?.saturating_sub(cpu_before),
        start.elapsed(),
    );
    let answered_after = backends.requests().await?;
    Ok(Round {
        round,
        proxy: peer.kind,
        load: measured,
        requests_per_second: measured.requests as f64 / measured.seconds,
        cpu_us_per_request: procfs::micros_per_request(cpu, measured.requests),
        busy: cpu.as_secs_f64() / elapsed.as_secs_f64(),
        resident_bytes: procfs::resident_bytes(process.id())?,
        canary_share: answered_before
            .zip(answered_after)
            .and_then(|(before, after)| canary_share(before, after)),
    })
}

/// The canary's part of the requests between two counts; `None` without requests.
fn canary_share(before: [u64; 2], after: [u64; 2]) -> Option<f64> {
    let [stable, canary] = [after[0] - before[0], after[1] - before[1]];
    (stable + canary > 0).then(|| canary as f64 / (stable + canary) as f64)
}

fn describe(round: &Round) -> String {
    let (rate, errors) = (round.requests_per_second, round.load.errors);
    let cpu = number(round.cpu_us_per_request, 2);
    format!(
        "{:8}{rate:>8.0} req/s  {cpu:>6} CPU-µs/req  {errors} errors",
        round.proxy.name()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canarys_share_is_of_what_came_between() {
        assert_eq!(canary_share([10, 10], [100, 20]), Some(0.1));
        assert_eq!(canary_share([10, 10], [10, 10]), None);
    }
}
