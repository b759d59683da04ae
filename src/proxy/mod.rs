//! The data plane: workers that serve requests by the live table. Knows nothing of control.

mod access_log;
mod answer;
mod batch;
mod body;
mod buffers;
mod client_io;
mod connection;
mod course;
mod date;
mod fault;
mod forward;
mod greeting;
mod grpc;
mod h1_client;
mod h1_input;
mod h1_send;
mod h1_server;
mod h2_answer;
mod h2_body;
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

pub(crate) use access_log::AccessLogWriter;
pub use h2_to_h1::{Translated, translate};
pub(crate) use listener::Listening;
pub(crate) use log_file::LogPlace;
pub(crate) use outcome_log::OutcomeLogWriter;
use worker::Worker;
pub(crate) use worker::{Drain, Stage};

use crate::live::Live;
use crate::measure::ProxyCells;

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
            access_log,
            outcome_log,
            seed,
        } = options;
        let listeners = listening.len();
        let worker = Rc::new(Worker::new(id, live, cells, drain, (access_log, outcome_log), seed));
        tokio::task::spawn_local(Rc::clone(&worker).tick());
        tokio::task::spawn_local(Rc::clone(&worker).follow_drain());
        let accepting: Vec<_> = listening
            .into_iter()
            .map(|listening| tokio::task::spawn_local(listener::accept(Rc::clone(&worker), listening)))
            .collect();
        for task in accepting {
            task.await.map_err(io::Error::other)??;
        }
        while (0..listeners).any(|listener| worker.cells().connections(listener) > 0) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        Ok(())
    })
}
