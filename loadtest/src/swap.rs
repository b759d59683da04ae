//! Scenario `swap`: does a changing table ever cost a request, a connection, or the exactness of the split?

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::MissedTickBehavior;

use crate::backend::BODY_BYTES;
use crate::client::{Broken, Client};
use crate::load::{Protocol, get};
use crate::machine::{Cores, Machine};
use crate::peer::{BackendKind, Backends, Features, Kind, Site};
use crate::peer_config;
use crate::report::{Report, print_conditions};
use crate::swap_check::{Change, Ledger, Observation, WEIGHTS_AT_START, WEIGHTS_BY_HAND};
use crate::workdir::{Workdir, free_port};

/// Timeouts of the route that the file alternates between, in seconds: a reload that changes the table and no weight.
const FILE_TIMEOUTS_S: [u32; 2] = [6, 5];

/// Asks: does a changing table ever cost a request, a connection, or the exactness of the split?
///
/// Own clients keep their connections for the whole run and send one request after the other, as fast as answers
/// come. Meanwhile changes alternate at a fixed rate: weights by hand (PUT, 30/70 and 70/30 in turn), and the file
/// (another timeout of the route, renamed over the old one, then POST reload). It must hold: no request fails, no
/// connection is dropped, each answer carries exactly one generation, generations never fall on a connection, each
/// answer comes from the variant that it names, and the split follows the weights of the generation that each answer
/// carries, within 5 standard deviations.
#[derive(clap::Args, Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Options {
    /// Length of the run.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Changes per second, of both kinds together.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// Connections of the load.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Writes all of it as JSON too.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    json: Option<PathBuf>,
    #[command(flatten)]
    cores: Cores,
}

/// Runs the load and the changes side by side; `false` when a condition was not held.
pub(crate) async fn run(options: &Options) -> anyhow::Result<bool> {
    let machine = Machine::read()?;
    options.cores.pin_load()?;
    let serin = Kind::Serin.find()?;
    let workdir = Workdir::create()?;
    let backends = Backends::start(BackendKind::Own, BODY_BYTES, options.cores, &workdir).await?;
    let site = Site {
        protocol: Protocol::H1,
        certificate: None,
        port: free_port()?,
        admin_port: free_port()?,
        backends: backends.ports,
        weights: WEIGHTS_AT_START,
        connections_max: 2000,
        timeout_s: FILE_TIMEOUTS_S[1],
        features: Features::Plain,
    };
    let process = serin.start(&site, options.cores, &workdir).await?;

    let ledger = Rc::new(RefCell::new(Ledger::default()));
    let end = Instant::now() + Duration::from_secs(options.seconds.into());
    let local = LocalSet::new();
    let changes = local
        .run_until(async {
            let mut clients = JoinSet::new();
            for _ in 0..options.connections {
                clients.spawn_local(send_until(end, site.port, Rc::clone(&ledger)));
            }
            let changes = change_until(end, options.rate, site.clone(), &workdir).await?;
            while let Some(joined) = clients.join_next().await {
                joined.context("a client panicked")?;
            }
            anyhow::Ok(changes)
        })
        .await
        .with_context(|| format!("Serin wrote:\n{}", process.log_end()))?;
    drop(process);

    let ledger = ledger.borrow();
    let conditions = ledger.conditions(
        &changes,
        u64::from(options.rate) * u64::from(options.seconds),
        options.seconds,
    );
    let held = print_conditions(&conditions);
    let settings = json!({ "options": options, "version": serin.version, "weightsByHand": WEIGHTS_BY_HAND });
    let rounds = vec![ledger.totals(&changes)];
    Report {
        scenario: "swap",
        machine,
        settings,
        rounds,
        summary: conditions,
    }
    .write_json(options.json.as_deref())?;
    Ok(held)
}

/// One client: one connection, one request after the other until `end`. A broken connection is not opened again.
async fn send_until(end: Instant, port: u16, ledger: Rc<RefCell<Ledger>>) {
    let request = get(port, "/");
    let mut client = match Client::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await {
        Ok(client) => client,
        Err(error) => return ledger.borrow_mut().record_broken(&error),
    };
    let mut last_generation = 0;
    while Instant::now() < end {
        let observed: Result<Observation, Broken> =
            client.exchange(&request).await.map(|answer| Observation::of(&answer));
        let mut ledger = ledger.borrow_mut();
        match observed {
            Ok(observation) => last_generation = ledger.record(&observation, last_generation),
            Err(error) => return ledger.record_broken(&error),
        }
    }
    ledger.borrow_mut().connections_kept += 1;
}

/// Changes weights and file in turn, `rate` times a second; what cannot be done in time is caught up.
async fn change_until(end: Instant, rate: u32, site: Site, workdir: &Workdir) -> anyhow::Result<Vec<Change>> {
    let mut admin = Admin::connect(site.admin_port).await?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut changes = Vec::new();
    for turn in 0_usize.. {
        tokio::time::timeout_at(end.into(), ticks.tick()).await.ok();
        if Instant::now() >= end {
            break;
        }
        let round = (turn / 2) % 2;
        if turn % 2 == 0 {
            changes.push(admin.put_weights(WEIGHTS_BY_HAND[round]).await?);
        } else {
            let site = Site {
                timeout_s: FILE_TIMEOUTS_S[round],
                ..site.clone()
            };
            workdir.write("serin.yaml", &peer_config::serin(&site, workdir.path()))?;
            changes.push(admin.reload().await?);
        }
    }
    Ok(changes)
}

/// The admin API on one connection of its own.
#[derive(Debug)]
struct Admin {
    client: Client,
    port: u16,
}

impl Admin {
    async fn connect(port: u16) -> anyhow::Result<Self> {
        let client = Client::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            .await
            .context("admin address")?;
        Ok(Self { client, port })
    }

    /// Sets the weights of stable and canary; the answer's ETag says from which generation on they count.
    async fn put_weights(&mut self, weights: [u32; 2]) -> anyhow::Result<Change> {
        let body = json!({ "weights": { "stable": weights[0], "canary": weights[1] }, "reason": "swap under load" });
        let answer = self.call("PUT", "/v1/routes/shop/weights", &body.to_string()).await?;
        let generation = match &answer {
            Ok(answer) => Some(answer.generation.context("the answer to PUT names no generation")?),
            Err(_) => None,
        };
        Ok(Change {
            weights: generation.map(|generation| (generation, weights)),
            refused: answer.err(),
        })
    }

    async fn reload(&mut self) -> anyhow::Result<Change> {
        let answer = self.call("POST", "/v1/config/reload", "").await?;
        Ok(Change {
            weights: None,
            refused: answer.err(),
        })
    }

    /// The outer error is a broken connection, the inner one an answer that is not 200.
    async fn call(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<Result<AdminAnswer, String>> {
        let (port, length) = (self.port, body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        let answer = self
            .client
            .exchange(request.as_bytes())
            .await
            .with_context(|| format!("{method} {path}"))?;
        let text = String::from_utf8_lossy(answer.body).into_owned();
        if answer.status != 200 {
            return Ok(Err(format!("{method} {path}: {} {text}", answer.status)));
        }
        let tag = answer
            .only_value("etag")
            .and_then(|tag| tag.trim_matches('"').parse().ok());
        let generation = tag.or_else(|| serde_json::from_str::<Value>(&text).ok()?.get("generation")?.as_u64());
        Ok(Ok(AdminAnswer { generation }))
    }
}

#[derive(Debug)]
struct AdminAnswer {
    generation: Option<u64>,
}
