//! Scenario `idle`: how much memory does a connection hold that says nothing?

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;

use crate::backend::BODY_BYTES;
use crate::client::Client;
use crate::compare::find;
use crate::load::{Protocol, get};
use crate::machine::{Cores, Machine, allow_open_files};
use crate::peer::{BackendKind, Backends, Features, Kind, Peer, Site};
use crate::procfs;
use crate::report::{Condition, Report, mib, print_conditions, table};
use crate::workdir::{Workdir, free_port};

/// The most bytes that Serin may hold for an idle HTTP/1.1 connection: the project's target.
const SERIN_BYTES_MAX: f64 = 6.0 * 1024.0;

/// Connections that open or speak at the same time; the rest waits its turn.
const AT_ONCE: usize = 64;

/// A connection is idle once it has said nothing for this long: proxies put buffers away only after a while.
const SILENCE: Duration = Duration::from_secs(4);

/// Memory counts as settled when it is the same after this long; it is asked at most `SETTLE_LOOKS_MAX` times.
const SETTLE_INTERVAL: Duration = Duration::from_millis(300);
const SETTLE_LOOKS_MAX: u32 = 20;

/// Asks: how much memory does an HTTP/1.1 connection hold that says nothing?
///
/// After a warm-up of 512 requests on 64 connections the proxy's resident memory is read; then each connection opens,
/// sends one request and stays open in silence, and the memory is read again: what counts is the difference, divided by
/// the connections. In the end each connection sends a second request, which shows that none was closed meanwhile.
#[derive(clap::Args, Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Options {
    /// Idle connections.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    connections: u32,
    /// Which proxies; those that are not installed are named and left out.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Kind::ALL)]
    proxies: Vec<Kind>,
    /// Writes all of it as JSON too.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    json: Option<PathBuf>,
    #[command(flatten)]
    cores: Cores,
}

/// What one proxy held.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Round {
    proxy: Kind,
    connections: usize,
    resident_bytes_before: u64,
    resident_bytes_after: u64,
    bytes_per_connection: f64,
    /// Connections that did not answer a second request.
    lost: usize,
}

/// Measures one proxy after the other; `false` when Serin holds too much, or lost a connection.
pub(crate) async fn run(options: &Options) -> anyhow::Result<bool> {
    let machine = Machine::read()?;
    // Clients have one file each, a proxy two while a request is under way; the backends have few.
    allow_open_files(u64::from(options.connections) + 2048)?;
    options.cores.pin_load()?;
    let (peers, missing) = find(&options.proxies)?;
    let workdir = Workdir::create()?;
    let backends = Backends::start(BackendKind::Own, BODY_BYTES, options.cores, &workdir).await?;

    let mut rounds = Vec::new();
    for peer in &peers {
        rounds.push(
            measure(options, peer, &backends, &workdir)
                .await
                .with_context(|| peer.kind.name())?,
        );
    }

    print!("{}", render(&rounds));
    for line in &missing {
        println!("left out: {line}");
    }
    let conditions: Vec<Condition> = rounds
        .iter()
        .filter(|round| round.proxy == Kind::Serin)
        .flat_map(judge)
        .collect();
    let held = print_conditions(&conditions);
    let versions: Vec<_> = peers
        .iter()
        .map(|peer| json!({ "proxy": peer.kind, "version": peer.version }))
        .collect();
    let settings = json!({ "options": options, "versions": versions, "missing": missing });
    let report = Report {
        scenario: "idle",
        machine,
        settings,
        rounds,
        summary: conditions,
    };
    report.write_json(options.json.as_deref())?;
    Ok(held)
}

async fn measure(options: &Options, peer: &Peer, backends: &Backends, workdir: &Workdir) -> anyhow::Result<Round> {
    let site = Site {
        protocol: Protocol::H1,
        certificate: None,
        port: free_port()?,
        admin_port: free_port()?,
        backends: backends.ports,
        weights: [50, 50],
        connections_max: options.connections + 1000,
        timeout_s: 5,
        features: Features::All,
    };
    let process = peer.start(&site, options.cores, workdir).await?;
    // Pools and allocator get what any load needs before we look.
    let mut warm = open(site.port, AT_ONCE).await?;
    for _ in 1..8 {
        warm = ask_all(site.port, warm).await;
    }
    drop(warm);

    let before = settled_bytes(process.id()).await?;
    let connections = open(site.port, options.connections as usize).await?;
    tokio::time::sleep(SILENCE).await;
    let after = settled_bytes(process.id()).await?;
    let alive = ask_all(site.port, connections).await.len();
    let connections = options.connections as usize;
    Ok(Round {
        proxy: peer.kind,
        connections,
        resident_bytes_before: before,
        resident_bytes_after: after,
        bytes_per_connection: (after as f64 - before as f64) / connections as f64,
        lost: connections - alive,
    })
}

/// Opens this many connections and sends one request on each.
async fn open(port: u16, count: usize) -> anyhow::Result<Vec<Client>> {
    let mut open = Vec::with_capacity(count);
    while open.len() < count {
        let mut batch = JoinSet::new();
        for _ in 0..AT_ONCE.min(count - open.len()) {
            batch.spawn(async move {
                let client = Client::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
                ask(port, client).await
            });
        }
        while let Some(joined) = batch.join_next().await {
            open.push(
                joined
                    .context("a client panicked")?
                    .with_context(|| format!("after {} connections", open.len()))?,
            );
        }
    }
    Ok(open)
}

/// Sends one request on each, and answers those that got a good answer.
async fn ask_all(port: u16, clients: Vec<Client>) -> Vec<Client> {
    let mut alive = Vec::with_capacity(clients.len());
    let mut waiting = clients.into_iter();
    loop {
        let mut batch: JoinSet<_> = waiting.by_ref().take(AT_ONCE).map(|client| ask(port, client)).collect();
        if batch.is_empty() {
            return alive;
        }
        while let Some(joined) = batch.join_next().await {
            alive.extend(joined.ok().and_then(Result::ok));
        }
    }
}

async fn ask(port: u16, mut client: Client) -> anyhow::Result<Client> {
    let status = client.exchange(&get(port, "/")).await?.status;
    anyhow::ensure!(status == 200, "status {status}");
    Ok(client)
}

/// Resident memory once it no longer changes.
async fn settled_bytes(pid: u32) -> anyhow::Result<u64> {
    let mut last = procfs::resident_bytes(pid)?;
    for _ in 0..SETTLE_LOOKS_MAX {
        tokio::time::sleep(SETTLE_INTERVAL).await;
        let now = procfs::resident_bytes(pid)?;
        if now == last {
            break;
        }
        last = now;
    }
    Ok(last)
}

fn judge(round: &Round) -> [Condition; 2] {
    let maximum = SERIN_BYTES_MAX / 1024.0;
    [
        Condition {
            name: format!("an idle connection holds at most {maximum} KiB"),
            held: round.bytes_per_connection <= SERIN_BYTES_MAX,
            figures: format!("{:.1} KiB", round.bytes_per_connection / 1024.0),
        },
        Condition {
            name: "no idle connection was lost".to_owned(),
            held: round.lost == 0,
            figures: format!("{} of {}", round.lost, round.connections),
        },
    ]
}

fn render(rounds: &[Round]) -> String {
    let rows: Vec<Vec<String>> = rounds
        .iter()
        .map(|round| {
            vec![
                round.proxy.name().to_owned(),
                round.connections.to_string(),
                format!("{:.1}", mib(round.resident_bytes_before as f64)),
                format!("{:.1}", mib(round.resident_bytes_after as f64)),
                format!("{:.1}", round.bytes_per_connection / 1024.0),
                round.lost.to_string(),
            ]
        })
        .collect();
    table(
        &["proxy", "connections", "RSS MiB before", "after", "KiB each", "lost"],
        &rows,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serin_may_hold_up_to_its_bound() {
        let check = |kib: f64, lost, expected| {
            let round = Round {
                proxy: Kind::Serin,
                connections: 10,
                resident_bytes_before: 0,
                resident_bytes_after: 0,
                bytes_per_connection: kib * 1024.0,
                lost,
            };
            assert_eq!(judge(&round).map(|condition| condition.held), expected, "{kib} {lost}");
        };
        check(6.0, 0, [true, true]);
        check(6.1, 0, [false, true]);
        check(-1.0, 1, [true, false]);
    }
}
