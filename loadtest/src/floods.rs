//! Scenario `floods`: what do good clients lose while one connection attacks?

mod attack;
mod frames;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::attack::{Attack, Kind};
use crate::backend::BODY_BYTES;
use crate::case::Case;
use crate::load::{Load, Protocol};
use crate::machine::{Cores, Machine};
use crate::peer::{self, BackendKind, Backends, Features, Site};
use crate::procfs;
use crate::report::{Condition, Report, mib, number, print_conditions, table};
use crate::stats::median;
use crate::workdir::{Workdir, free_port};

/// The part of their throughput that good clients must keep: the project's target.
const KEPT_MIN: f64 = 0.80;

/// An attacker whose connection was closed comes back after this long.
const PAUSE: Duration = Duration::from_millis(100);

/// Between two looks of an attacker that has nothing to send, and between two bytes of a slow head.
const WAIT: Duration = Duration::from_millis(100);

/// Asks: what do good clients lose while one connection attacks?
///
/// The proxy has one worker on one core; good clients, backends and the attacker share the other. In each round, for each
/// kind of flood, the good clients are measured alone and then beside one attacker, who sends as fast as the proxy reads,
/// reads and forgets what comes back, and comes back a tenth of a second after it was thrown out. What counts is the
/// throughput beside the attacker divided by that alone, in the same round; and that no good request fails.
#[derive(clap::Args, Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Options {
    /// Which floods.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Kind::ALL)]
    kinds: Vec<Kind>,
    /// What the good clients speak.
    #[arg(long, value_enum, default_value = "h1")]
    protocol: Protocol,
    /// How often each flood is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Length of each measurement in seconds; there are two for each flood and round.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Connections of the good clients.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Which proxy. The conditions are those for Serin; for others they only show how they fare. It is started with a
    /// configuration for HTTP/2, or for HTTP/1.1 where the clients speak that; only Serin speaks both on one address.
    #[arg(long, value_enum, default_value = "serin")]
    proxy: peer::Kind,
    /// Writes all of it as JSON too.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    json: Option<PathBuf>,
    #[command(flatten)]
    cores: Cores,
}

/// Good clients alone, and beside one flood.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Round {
    kind: Kind,
    /// Successful requests of good clients per second, without the attacker and with it.
    alone: f64,
    beside: f64,
    /// Requests of good clients that failed beside the attacker.
    failed: u64,
    /// What the attacker sent, in bytes, and how often it was thrown out.
    sent_bytes: u64,
    closed: u64,
    /// The proxy's resident memory before the attack and right after it.
    resident_bytes: [u64; 2],
}

/// What attackers have done so far.
#[derive(Debug, Default)]
struct Tally {
    sent_bytes: AtomicU64,
    closed: AtomicU64,
}

/// Runs all rounds; `false` when good clients lost too much, or a request.
pub(crate) async fn run(options: &Options) -> anyhow::Result<bool> {
    let machine = Machine::read()?;
    let load = Load {
        protocol: options.protocol,
        tls: false,
        case: Case::Keepalive,
        rate: 0,
        connections: options.connections,
        streams: 10,
    };
    load.require_tool()?;
    options.cores.pin_load()?;
    let peer = options.proxy.find()?;
    let workdir = Workdir::create()?;
    let backends = Backends::start(BackendKind::Own, BODY_BYTES, options.cores, &workdir).await?;

    let mut rounds = Vec::new();
    for round in 1..=options.rounds {
        for &kind in &options.kinds {
            let site = Site {
                protocol: options.protocol,
                certificate: None,
                port: free_port()?,
                admin_port: free_port()?,
                backends: backends.ports,
                weights: [90, 10],
                connections_max: 2000,
                timeout_s: 5,
                features: Features::All,
            };
            let process = peer.start(&site, options.cores, &workdir).await?;
            load.run(site.port, 1, &workdir).await?;
            let alone = load.run(site.port, options.seconds, &workdir).await?;
            let before = procfs::resident_bytes(process.id())?;
            let tally = Arc::new(Tally::default());
            let attacker = tokio::spawn(attack(kind, site.port, Arc::clone(&tally)));
            let beside = load.run(site.port, options.seconds, &workdir).await;
            attacker.abort();
            let beside = beside.with_context(|| format!("beside {}", kind.name()))?;
            let measured = Round {
                kind,
                alone: alone.requests as f64 / alone.seconds,
                beside: beside.requests as f64 / beside.seconds,
                failed: beside.errors,
                sent_bytes: tally.sent_bytes.load(Ordering::Relaxed),
                closed: tally.closed.load(Ordering::Relaxed),
                resident_bytes: [before, procfs::resident_bytes(process.id())?],
            };
            println!("round {round}/{} {}", options.rounds, describe(&measured));
            rounds.push(measured);
        }
    }

    let summary: Vec<Summary> = options.kinds.iter().map(|kind| summarise(*kind, &rounds)).collect();
    print!("\n{}", render(&summary));
    let conditions: Vec<Condition> = summary.iter().flat_map(judge).collect();
    let held = print_conditions(&conditions);
    let settings = json!({ "options": options, "version": peer.version });
    let report = Report {
        scenario: "floods",
        machine,
        settings,
        rounds,
        summary,
    };
    report.write_json(options.json.as_deref())?;
    Ok(held)
}

/// Attacks until it is aborted, one connection at a time.
async fn attack(kind: Kind, port: u16, tally: Arc<Tally>) {
    loop {
        // However it ends: it was thrown out, or could not even connect.
        let _ = attack_once(kind, port, &tally).await;
        tally.closed.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn attack_once(kind: Kind, port: u16, tally: &Tally) -> std::io::Result<()> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let (mut input, mut output) = stream.into_split();
    let mut attack = Attack::new(kind);
    let send = async {
        let mut bytes = attack.opening();
        while !attack.is_spent() {
            if bytes.is_empty() || kind == Kind::Slowloris {
                tokio::time::sleep(WAIT).await;
            }
            output.write_all(&bytes).await?;
            tally.sent_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            bytes = attack.batch();
        }
        Ok(())
    };
    let forget = async {
        let mut buffer = vec![0; 64 * 1024];
        while input.read(&mut buffer).await? > 0 {}
        Ok(())
    };
    tokio::select! {
        sent = send => sent,
        closed = forget => closed,
    }
}

/// Medians over the rounds of one flood.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    kind: Kind,
    alone: Option<f64>,
    beside: Option<f64>,
    /// `beside` divided by `alone`, taken within each round.
    kept: Option<f64>,
    /// Sum over the rounds.
    failed: u64,
    sent_bytes: Option<f64>,
    closed: Option<f64>,
    grown_bytes: Option<f64>,
}

fn summarise(kind: Kind, rounds: &[Round]) -> Summary {
    let own: Vec<&Round> = rounds.iter().filter(|round| round.kind == kind).collect();
    let of = |value: fn(&Round) -> f64| median(&own.iter().map(|round| value(round)).collect::<Vec<_>>());
    Summary {
        kind,
        alone: of(|round| round.alone),
        beside: of(|round| round.beside),
        kept: of(|round| round.beside / round.alone).filter(|kept| kept.is_finite()),
        failed: own.iter().map(|round| round.failed).sum(),
        sent_bytes: of(|round| round.sent_bytes as f64),
        closed: of(|round| round.closed as f64),
        grown_bytes: of(|round| round.resident_bytes[1] as f64 - round.resident_bytes[0] as f64),
    }
}

fn judge(row: &Summary) -> [Condition; 2] {
    let name = row.kind.name();
    [
        Condition {
            name: format!("{name}: good clients keep more than {KEPT_MIN} of their throughput"),
            held: row.kept.is_some_and(|kept| kept > KEPT_MIN),
            figures: number(row.kept, 3),
        },
        Condition {
            name: format!("{name}: no good request failed"),
            held: row.failed == 0,
            figures: row.failed.to_string(),
        },
    ]
}

fn render(summary: &[Summary]) -> String {
    let rows: Vec<Vec<String>> = summary
        .iter()
        .map(|row| {
            vec![
                row.kind.name().to_owned(),
                number(row.alone, 0),
                number(row.beside, 0),
                number(row.kept, 3),
                row.failed.to_string(),
                number(row.sent_bytes.map(mib), 2),
                number(row.closed, 0),
                number(row.grown_bytes.map(mib), 1),
            ]
        })
        .collect();
    let titles = [
        "flood",
        "req/s alone",
        "beside",
        "kept",
        "failed",
        "sent MiB",
        "closed",
        "RSS + MiB",
    ];
    table(&titles, &rows)
}

fn describe(round: &Round) -> String {
    let kept = round.beside / round.alone;
    let name = round.kind.name();
    format!(
        "{name:13}{:>8.0} req/s alone, {:>8.0} beside: {kept:.3}; {} failed, closed {} times",
        round.alone, round.beside, round.failed, round.closed
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(alone: f64, beside: f64, failed: u64) -> Round {
        Round {
            kind: Kind::Ping,
            alone,
            beside,
            failed,
            sent_bytes: 1,
            closed: 1,
            resident_bytes: [1, 2],
        }
    }

    #[test]
    fn good_clients_must_keep_most_and_lose_nothing() {
        let check = |rounds: &[Round], expected| {
            let judged = judge(&summarise(Kind::Ping, rounds)).map(|condition| condition.held);
            assert_eq!(judged, expected, "{rounds:?}");
        };
        check(&[round(100.0, 81.0, 0)], [true, true]);
        check(&[round(100.0, 80.0, 1)], [false, false]);
        check(&[round(0.0, 0.0, 0)], [false, true]);
        check(&[], [false, true]);
        // Paired within the round, not over all of them.
        check(
            &[round(100.0, 90.0, 0), round(10.0, 9.0, 0), round(50.0, 10.0, 0)],
            [true, true],
        );
    }
}
