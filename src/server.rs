//! Builds and joins everything: reads the file, binds, starts control and workers; drains and ends.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::admin::{self, AdminContext};
use crate::config::{self, Spec};
use crate::control::{self, Asked, Controller, Entry, Handle, ListenerView, Start};
use crate::live::Live;
use crate::measure::ProxyCells;
use crate::proxy::{self, AccessLogWriter, Drain, Listening, LogPlace, OutcomeLogWriter, Stage, WorkerOptions};

/// Answers still announce the end for so long before idle connections are closed: long enough for
/// those who balance load to look at `/readyz`.
const QUIET: Duration = Duration::from_secs(2);

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
}

/// Starts Serin, and answers when it is ready: a configuration is live and the listeners accept.
///
/// # Errors
/// [`StartError`] says what to mend; nothing keeps running.
pub fn start(options: Options) -> Result<Server, StartError> {
    let file = options.config_file.display().to_string();
    let loaded =
        control::read_config(&options.config_file).map_err(|problems| StartError::Config { file, problems })?;
    if options.init_logging {
        init_logging(&loaded.spec.log);
    }
    raise_descriptor_limit();
    let workers = options.workers.unwrap_or_else(cores).max(1);
    let bound = bind_all(&loaded.spec, workers)?;
    let admin_socket = bind(loaded.spec.admin, false).map_err(|cause| StartError::Bind {
        name: "admin".into(),
        address: loaded.spec.admin,
        cause,
    })?;
    let admin_address = admin_socket.local_addr().unwrap_or(loaded.spec.admin);
    let listeners = bound.views.clone();
    let cells: Arc<[ProxyCells]> = (0..workers).map(|_| ProxyCells::new(listeners.len())).collect();
    let access_log = AccessLogWriter::start(loaded.spec.log.json).map_err(StartError::Thread)?;
    let (outcome_log, outcome_writer) = start_outcome_log(loaded.spec.outcome_log.as_ref())?.unzip();
    let ready = Arc::new(AtomicBool::new(false));

    let (stop_control, stopped) = oneshot::channel();
    let config_file = options.config_file.clone();
    let (tokens, people) = watch::channel(loaded.tokens.clone());
    let (admin_tls, spoken) = watch::channel(loaded.spec.admin_listener_tls());
    let (admin_ready, admin_cells) = (Arc::clone(&ready), Arc::clone(&cells));
    let admin_listeners = listeners.iter().map(|listener| listener.name.clone()).collect();
    let context = move |live| AdminContext {
        live,
        ready: admin_ready,
        cells: admin_cells,
        listeners: admin_listeners,
        check: Arc::new(move |text| control::check_config(text, &config_file).map(|_| ())),
        tokens: people,
        tls: spoken,
    };
    let begin = Start {
        config_file: options.config_file,
        loaded,
        workers,
        listeners: listeners.clone(),
        tokens,
        admin_tls,
    };
    let (control, handle, live) = start_control(begin, admin_socket, context, stopped)?;

    let drain = Arc::new(Drain::new());
    let mut threads = Vec::with_capacity(workers);
    for (id, listening) in bound.by_worker.into_iter().enumerate() {
        let options = WorkerOptions {
            id,
            live: Arc::clone(&live),
            cells: Arc::clone(&cells),
            listening,
            drain: Arc::clone(&drain),
            access_log: access_log.clone(),
            outcome_log: outcome_log.clone(),
            seed: fastrand::u64(..),
        };
        let thread = std::thread::Builder::new()
            .name(format!("worker-{id}"))
            .spawn(move || proxy::run_worker(options))
            .map_err(StartError::Thread)?;
        threads.push(thread);
    }
    ready.store(true, Ordering::Release);
    for listener in &listeners {
        tracing::info!(listener = %listener.name, address = %listener.address, tls = listener.tls, "listening");
    }
    tracing::info!(address = %admin_address, workers, "ready; admin API");
    Ok(Server {
        handle,
        admin_address,
        listeners,
        ready,
        drain,
        cells,
        workers: threads,
        outcome_writer,
        control: Some(control),
        stop_control: Some(stop_control),
        drain_timeout: options.drain_timeout,
    })
}

/// Starts Serin, serves until SIGTERM or SIGINT, drains. SIGHUP reads the file again; a second
/// SIGTERM or SIGINT ends at once.
///
/// # Errors
/// As [`start`], or when a thread died.
pub fn run(options: Options) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Thread)?;
    // From here on a signal waits for its turn, and does not end a process that is just ready.
    let signals = {
        let _context = runtime.enter();
        let of = |kind| signal(kind).map_err(StartError::Thread);
        [
            of(SignalKind::hangup())?,
            of(SignalKind::terminate())?,
            of(SignalKind::interrupt())?,
        ]
    };
    let [mut hangup, mut terminate, mut interrupt] = signals;
    let mut server = start(options)?;
    runtime.block_on(async {
        loop {
            tokio::select! {
                _ = hangup.recv() => {
                    let handle = server.handle.clone();
                    tokio::spawn(async move {
                        handle.ask(|reply| Asked::Reload { by: "SIGHUP".into(), reply }).await
                    });
                }
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = tokio::time::sleep(Duration::from_millis(100)) => server.check_alive()?,
            }
        }
        tracing::info!(timeout = ?server.drain_timeout, "draining; a second signal ends at once");
        tokio::select! {
            () = server.drain() => Ok(()),
            _ = terminate.recv() => Err(StartError::EndedAtOnce),
            _ = interrupt.recv() => Err(StartError::EndedAtOnce),
        }
    })?;
    server.end_control();
    Ok(())
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

    /// A worker or control that ended by itself ends the process: no canary is left unwatched.
    fn check_alive(&self) -> Result<(), StartError> {
        if self.workers.iter().any(JoinHandle::is_finished) {
            return Err(StartError::Died("a worker"));
        }
        if self.control.as_ref().is_none_or(JoinHandle::is_finished) {
            return Err(StartError::Died("the control task"));
        }
        Ok(())
    }

    /// readyz fails first; then answers ask clients to leave; after a quiet period idle connections
    /// are closed and nothing new is taken; open requests have until the drain timeout.
    async fn drain(&mut self) {
        let deadline = Instant::now() + self.drain_timeout;
        self.ready.store(false, Ordering::Release);
        self.drain.set(Stage::Announcing);
        let quiet_end = Instant::now() + QUIET.min(self.drain_timeout / 4);
        while Instant::now() < quiet_end {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.drain.set(Stage::Closing);
        while Instant::now() < deadline && !self.workers.iter().all(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let left: i64 = self
            .cells
            .iter()
            .map(|cells| {
                (0..self.listeners.len())
                    .map(|listener| cells.connections(listener))
                    .sum::<i64>()
            })
            .sum();
        if left > 0 {
            tracing::warn!(
                connections = left,
                "the drain timeout is over; what is still open is cut off"
            );
        } else {
            tracing::info!("drained");
        }
        // The last lines are written once all workers have ended; those that have not are cut off.
        let deadline = Instant::now() + LAST_LINES;
        let is_writing = |server: &Self| {
            server
                .outcome_writer
                .as_ref()
                .is_some_and(|thread| !thread.is_finished())
        };
        while is_writing(self) && self.workers.iter().all(JoinHandle::is_finished) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
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

struct Bound {
    by_worker: Vec<Vec<Listening>>,
    views: Vec<ListenerView>,
}

/// A socket for each listener and worker; the workers of one listener share its port.
fn bind_all(spec: &Spec, workers: usize) -> Result<Bound, StartError> {
    let mut by_worker: Vec<Vec<Listening>> = (0..workers).map(|_| Vec::new()).collect();
    let mut views = Vec::new();
    for (index, listener) in spec.listeners.iter().enumerate() {
        let mut address = listener.address;
        if address.port() != 0 {
            // SO_REUSEPORT would let a second Serin share the port in silence.
            drop(bind(address, false).map_err(|cause| cannot_bind(listener, cause))?);
        }
        for listening in &mut by_worker {
            let socket = bind(address, true).map_err(|cause| cannot_bind(listener, cause))?;
            address = socket.local_addr().map_err(|cause| cannot_bind(listener, cause))?;
            listening.push(Listening { index, socket });
        }
        views.push(ListenerView {
            name: listener.name.clone(),
            address,
            tls: listener.tls.is_some(),
            certificates: Vec::new(),
            client_ca: None,
        });
    }
    Ok(Bound { by_worker, views })
}

fn cannot_bind(listener: &config::Listener, cause: io::Error) -> StartError {
    StartError::Bind {
        name: listener.name.to_string(),
        address: listener.address,
        cause,
    }
}

fn bind(address: SocketAddr, share: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit it: a system call less for each connection.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
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

/// Control and the admin API have a thread of their own, and cannot delay a request.
fn start_control(
    begin: Start,
    admin_socket: TcpListener,
    context: impl FnOnce(Arc<Live>) -> AdminContext + Send + 'static,
    stopped: oneshot::Receiver<()>,
) -> Result<(JoinHandle<()>, Handle, Arc<Live>), StartError> {
    let (started, starting) = mpsc::channel();
    let thread = std::thread::Builder::new().name("control".into()).spawn(move || {
        let runtime = match tokio::runtime::LocalRuntime::new() {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = started.send(Err(error.to_string()));
                return;
            }
        };
        runtime.block_on(async move {
            let (mut controller, live, handle) = match Controller::start(begin) {
                Ok(parts) => parts,
                Err(error) => {
                    let _ = started.send(Err(error.to_string()));
                    return;
                }
            };
            let context = context(Arc::clone(&live));
            let _ = started.send(Ok((handle.clone(), live)));
            let notifier = controller.notifier();
            let telling = tokio::task::spawn_local(async {
                if let Some(notifier) = notifier {
                    notifier.run().await;
                }
            });
            // The admin side ends after control, so that what was asked last is answered.
            let (over, control_over) = oneshot::channel::<()>();
            let serving = admin::serve(admin_socket, handle, context, async {
                let _ = control_over.await;
            });
            let controlling = async {
                controller
                    .run(async {
                        let _ = stopped.await;
                    })
                    .await;
                drop(over);
            };
            let (served, ()) = tokio::join!(serving, controlling);
            // With control the last one who tells is gone: places are written down, letters are not waited for.
            let _ = tokio::time::timeout(LAST_LINES, telling).await;
            if let Err(error) = served {
                tracing::error!(%error, "the admin API has ended");
            }
        });
    });
    let thread = thread.map_err(StartError::Thread)?;
    match starting.recv() {
        Ok(Ok((handle, live))) => Ok((thread, handle, live)),
        Ok(Err(cause)) => Err(StartError::Control(cause)),
        Err(_) => Err(StartError::Died("the control task")),
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn init_logging(log: &config::Log) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    // A second set-up in one process is refused; the first one stays.
    let _ = if log.json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(false).try_init()
    };
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
