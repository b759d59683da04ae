//! Builds and joins everything: reads the file, gets its sockets, starts control and workers; hands over, drains and
//! ends.

mod control;
mod drain;
mod handover;
mod life;
mod listeners;
mod logging;
mod memory;
mod sockets;
mod systemd;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::admin::{AdminContext, Doors};
use crate::config;
use crate::control::{Entry, Handle, ListenerView, Start, check_config, read_config};
use crate::measure::ProxyCells;
use crate::proxy::{self, AccessLogWriter, Clients, Drain, LogPlace, OutcomeLogWriter, WorkerOptions};

use handover::{Given, Giver, Takeover};
use listeners::Listeners;
use logging::init_logging;
use sockets::{Sockets, Stock};
use systemd::Supervisor;

pub use life::run;

/// How long the outcome log's last lines may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How Serin runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration.
    pub config_file: PathBuf,
    /// Worker threads; `None`: one for each core.
    pub workers: Option<usize>,
    /// How long open requests may take once the process is asked to end.
    pub drain_timeout: Duration,
    /// Set up logging by the configuration (once in a process).
    pub init_logging: bool,
    /// Take over from the process that holds the state directory.
    pub upgrade: bool,
}

/// Why Serin does not start, or did not end well.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // each variant is explained by its message
pub enum StartError {
    #[error("{}", config_report(.file, .problems))]
    Config { file: String, problems: Vec<Entry> },
    #[error("listener {name} cannot listen on {address}: {cause}; is another process using it?")]
    Bind {
        name: String,
        address: SocketAddr,
        cause: io::Error,
    },
    #[error("a socket that the environment gives (LISTEN_FDS) cannot be used: {0}; check the socket unit")]
    Activation(String),
    #[error("no upgrade: {0}")]
    Upgrade(String),
    #[error("{0}")]
    Control(String),
    #[error("no thread: {0}")]
    Thread(io::Error),
    #[error("ended at once by a second signal; what was open is cut off")]
    EndedAtOnce,
    #[error("{0} has ended by itself; see the log")]
    Died(&'static str),
}

/// A running Serin.
pub struct Server {
    handle: Handle,
    admin_address: SocketAddr,
    listeners: Vec<ListenerView>,
    ready: Arc<AtomicBool>,
    drain: Arc<Drain>,
    cells: Arc<[ProxyCells]>,
    workers: Vec<JoinHandle<io::Result<()>>>,
    outcome_writer: Option<JoinHandle<()>>,
    control: Option<JoinHandle<()>>,
    stop_control: Option<oneshot::Sender<()>>,
    drain_timeout: Duration,
    state_directory: PathBuf,
    /// Duplicates of all listening sockets.
    stock: Arc<Mutex<Stock>>,
    doors: watch::Sender<Doors>,
    supervisor: Arc<Supervisor>,
    is_replaced: bool,
}

/// Starts Serin, and answers when it is ready: a configuration is live and the listeners accept.
///
/// # Errors
/// [`StartError`] says what to mend; nothing keeps running.
pub fn start(options: Options) -> Result<Server, StartError> {
    build(options, &Arc::default())
}

/// The same for a process that is supervised, and that another one may take over from.
fn start_as(
    options: Options,
    supervisor: &Arc<Supervisor>,
) -> Result<(Server, mpsc::UnboundedReceiver<Given>), StartError> {
    let server = build(options, supervisor)?;
    let (given, receive) = mpsc::unbounded_channel();
    let giver = Giver {
        stock: Arc::clone(&server.stock),
        handle: server.handle.clone(),
        doors: server.doors.clone(),
        supervisor: Arc::clone(supervisor),
        given,
        busy: AtomicBool::new(false),
    };
    if let Err(error) = giver.listen(&server.state_directory) {
        tracing::warn!(%error, "no other process will be able to take over from this one");
    }
    supervisor.ready();
    Ok((server, receive))
}

fn build(options: Options, supervisor: &Arc<Supervisor>) -> Result<Server, StartError> {
    let file = options.config_file.display().to_string();
    let loaded = read_config(&options.config_file).map_err(|problems| StartError::Config { file, problems })?;
    if options.init_logging {
        init_logging(&loaded.spec.log);
    }
    raise_descriptor_limit();
    let workers = options.workers.unwrap_or_else(cores).max(1);
    let state_directory = loaded.spec.state_directory.clone();
    let mut takeover = options.upgrade.then(|| Takeover::begin(&state_directory)).transpose()?;
    let inherited = match &mut takeover {
        Some(takeover) => takeover.sockets()?,
        None => systemd::activated()?,
    };
    let sockets = Sockets::acquire(&loaded.spec, workers, inherited)?;
    let admin = sockets.admin();
    let admin_address = admin.address;
    let admin_socket = admin.sockets[0].try_clone().map_err(StartError::Thread)?;
    let Listeners { views, by_worker } = listeners::divide(&loaded.spec, &sockets, workers)?;
    let cells: Arc<[ProxyCells]> = (0..workers).map(|_| ProxyCells::new(views.len())).collect();
    let pressure = memory::watch(loaded.spec.memory_max).map_err(StartError::Thread)?;
    let access_log = AccessLogWriter::start(loaded.spec.log.json).map_err(StartError::Thread)?;
    let (outcome_log, outcome_writer) = start_outcome_log(loaded.spec.outcome_log.as_ref())?.unzip();
    let ready = Arc::new(AtomicBool::new(false));

    let (stop_control, stopped) = oneshot::channel();
    let config_file = options.config_file.clone();
    let (tokens, people) = watch::channel(loaded.tokens.clone());
    let (admin_tls, spoken) = watch::channel(loaded.spec.admin_listener_tls());
    let (doors, admin_doors) = watch::channel(Doors::Open);
    let context = {
        let (ready, cells, pressure) = (Arc::clone(&ready), Arc::clone(&cells), Arc::clone(&pressure));
        let listeners = views.iter().map(|listener| listener.name.clone()).collect();
        let doors = admin_doors.clone();
        move |live| AdminContext {
            live,
            ready,
            pressure,
            cells,
            listeners,
            doors,
            check: Arc::new(move |text| check_config(text, &config_file).map(|_| ())),
            tokens: people,
            tls: spoken,
        }
    };
    let begin = Start {
        config_file: options.config_file,
        loaded,
        workers,
        listeners: views.clone(),
        tokens,
        admin_tls,
    };
    if let Some(takeover) = &mut takeover {
        // All that may fail by what a person wrote has not failed.
        takeover.take_state(&sockets)?;
    }
    let (control, handle, live) = control::start(begin, admin_socket, context, stopped, admin_doors)?;

    let drain = Arc::new(Drain::new());
    let clients = Arc::new(Clients::new());
    let mut threads = Vec::with_capacity(workers);
    for (id, listening) in by_worker.into_iter().enumerate() {
        let options = WorkerOptions {
            id,
            live: Arc::clone(&live),
            cells: Arc::clone(&cells),
            listening,
            drain: Arc::clone(&drain),
            clients: Arc::clone(&clients),
            pressure: Arc::clone(&pressure),
            beat_every: supervisor.watchdog().map(|patience| patience / 8),
            access_log: access_log.clone(),
            outcome_log: outcome_log.clone(),
            seed: fastrand::u64(..),
        };
        let thread = std::thread::Builder::new()
            .name(format!("worker-{id}"))
            .spawn(move || {
                let ended = proxy::run_worker(options);
                if let Err(error) = &ended {
                    tracing::error!(%error, worker = id, "a worker has ended");
                }
                ended
            })
            .map_err(StartError::Thread)?;
        threads.push(thread);
    }
    ready.store(true, Ordering::Release);
    if let Some(takeover) = takeover {
        let before = takeover.pid();
        takeover.live()?;
        tracing::info!(process = before, "took over from another process");
    }
    for listener in &views {
        tracing::info!(listener = %listener.name, address = %listener.address, tls = listener.tls, "listening");
    }
    tracing::info!(address = %admin_address, workers, "ready; admin API");
    Ok(Server {
        handle,
        admin_address,
        listeners: views,
        ready,
        drain,
        cells,
        workers: threads,
        outcome_writer,
        control: Some(control),
        stop_control: Some(stop_control),
        drain_timeout: options.drain_timeout,
        state_directory,
        stock: Arc::new(Mutex::new(Stock::new(sockets))),
        doors,
        supervisor: Arc::clone(supervisor),
        is_replaced: false,
    })
}

impl Server {
    /// Asks control.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Where the admin API listens.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Where requests are taken.
    #[must_use]
    pub fn listeners(&self) -> &[ListenerView] {
        &self.listeners
    }

    /// Drains and ends.
    pub fn stop(mut self) {
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
            runtime.block_on(self.drain());
        }
        self.end_control();
    }

    fn end_control(&mut self) {
        if let Some(stop) = self.stop_control.take() {
            let _ = stop.send(());
        }
        if let Some(control) = self.control.take() {
            let _ = control.join();
        }
    }
}

/// As many open files as the process may have: the usual soft limit of 1024 is for `select`.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, limit = ?limit.current, "the limit of open files cannot be raised");
        }
    }
}

/// The outcome log's writer, and its thread.
fn start_outcome_log(
    log: Option<&config::OutcomeLog>,
) -> Result<Option<(OutcomeLogWriter, JoinHandle<()>)>, StartError> {
    let place = log.map(|log| LogPlace {
        path: log.file.clone(),
        max_bytes: log.max_bytes,
        keep: log.keep,
    });
    place
        .map(OutcomeLogWriter::start)
        .transpose()
        .map_err(StartError::Thread)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn config_report(file: &str, problems: &[Entry]) -> String {
    let count = if problems.len() == 1 {
        "1 problem".into()
    } else {
        format!("{} problems", problems.len())
    };
    let mut report = format!("{file}: {count}, nothing was started");
    for problem in problems {
        report.push_str(&format!("\n  {problem}"));
    }
    report
}
