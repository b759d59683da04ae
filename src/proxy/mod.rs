//! The data plane: workers that serve requests by the live table. Knows nothing of control.

mod access_log;
mod answer;
mod batch;
mod body;
mod buffers;
mod client_io;
mod clients;
mod connection;
mod course;
mod date;
mod descriptors;
mod fault;
mod forward;
mod greeting;
mod grpc;
mod h1_client;
mod h1_input;
mod h1_send;
mod h1_server;
mod h2_account;
mod h2_answer;
mod h2_body;
mod h2_desks;
mod h2_ended;
mod h2_frames;
mod h2_head;
mod h2_io;
mod h2_server;
mod h2_stream;
mod h2_to_h1;
mod handle;
mod headers;
mod ledger;
mod listener;
mod log_file;
mod ofrep;
mod outcome_log;
mod pool;
mod stream;
mod trace;
mod tunnel;
mod upstream;
mod websocket;
mod wheel;
mod wire;
mod worker;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use access_log::AccessLogWriter;
pub(crate) use clients::Clients;
pub use h2_to_h1::{Translated, translate};
pub(crate) use listener::Listening;
pub(crate) use log_file::LogPlace;
pub(crate) use outcome_log::OutcomeLogWriter;
use worker::Worker;
pub(crate) use worker::{Drain, Stage};

use crate::live::Live;
use crate::measure::{Pressure, ProxyCells};

/// What one worker is given.
pub(crate) struct WorkerOptions {
    /// Its number; its index in `cells` and in every recorder.
    pub(crate) id: usize,
    /// Where the table is.
    pub(crate) live: Arc<Live>,
    /// One for each worker.
    pub(crate) cells: Arc<[ProxyCells]>,
    /// Its own listening sockets.
    pub(crate) listening: Vec<Listening>,
    /// How far the process is on its way out.
    pub(crate) drain: Arc<Drain>,
    /// Open connections by client.
    pub(crate) clients: Arc<Clients>,
    /// Whether there is room for more.
    pub(crate) pressure: Arc<Pressure>,
    /// How often it shows that it gets on with its work; `None`: nobody looks.
    pub(crate) beat_every: Option<Duration>,
    /// Where lines go.
    pub(crate) access_log: AccessLogWriter,
    /// Where outcomes are logged, if anywhere.
    pub(crate) outcome_log: Option<OutcomeLogWriter>,
    /// Of its generator.
    pub(crate) seed: u64,
}

/// Runs one worker on this thread until the process is closing and its last connection has ended.
///
/// # Errors
/// When the runtime or a socket cannot be set up.
pub(crate) fn run_worker(options: WorkerOptions) -> io::Result<()> {
    let runtime = tokio::runtime::LocalRuntime::new()?;
    runtime.block_on(async move {
        let WorkerOptions {
            id,
            live,
            cells,
            listening,
            drain,
            clients,
            pressure,
            beat_every,
            access_log,
            outcome_log,
            seed,
        } = options;
        let logs = (access_log, outcome_log);
        let worker = Rc::new(Worker::new(id, live, cells, drain, (clients, pressure), logs, seed));
        let ticking = tokio::task::spawn_local(Rc::clone(&worker).tick());
        let following = tokio::task::spawn_local(Rc::clone(&worker).follow_drain());
        let accepting: Vec<_> = listening
            .into_iter()
            .map(|listening| tokio::task::spawn_local(listener::accept(Rc::clone(&worker), listening)))
            .collect();
        let serving = async {
            for task in accepting {
                task.await.map_err(io::Error::other)??;
            }
            while worker.cells().has_connections() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            Ok(())
        };
        // Without its tick a worker would know no time limit: it ends, and the process with it.
        tokio::select! {
            served = serving => served,
            ended = ticking => Err(io::Error::other(format!("the tick has ended: {ended:?}"))),
            Err(error) = following => Err(io::Error::other(error)),
            () = beat(&worker, beat_every) => Ok(()),
        }
    })
}

/// Shows now and then that this thread gets on with its work; it does not end.
async fn beat(worker: &Worker, every: Option<Duration>) {
    let Some(every) = every else {
        return std::future::pending().await;
    };
    loop {
        worker.cells().beat();
        tokio::time::sleep(every).await;
    }
}
