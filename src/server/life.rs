//! The life of the process: what signals ask for, whether its threads are alive, and who comes after it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::handover::Given;
use super::sockets::Giving;
use super::systemd::{OWN_VARIABLES, Supervisor};
use super::{Options, Server, StartError, start_as};
use crate::control::{Asked, Handle};
use crate::measure::ProxyCells;

/// How often it is looked whether all threads are alive.
const LOOK: Duration = Duration::from_millis(100);

/// What makes a process begin the upgrade of the one that runs.
pub(super) const UPGRADE: &str = "--upgrade";

/// Starts Serin, serves until SIGTERM or SIGINT, drains. SIGHUP reads the file again; SIGUSR2 has a new process of the
/// same program take over; a second SIGTERM or SIGINT ends at once.
///
/// # Errors
/// As [`super::start`], or when a thread died.
pub fn run(options: Options) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Thread)?;
    // From here on a signal waits for its turn, and does not end a process that is just ready.
    let mut signals = {
        let _context = runtime.enter();
        Signals::listen().map_err(StartError::Thread)?
    };
    let program = Program::of_this_process();
    let supervisor = Arc::new(Supervisor::of_environment());
    let (mut server, mut given) = start_as(options, &supervisor)?;
    let given = runtime.block_on(server.serve(&mut signals, &mut given, program.as_ref()))?;
    if let Some(Given { pid }) = given {
        server.is_replaced = true;
        tracing::info!(process = pid, "another process has taken over");
    }
    runtime.block_on(async {
        tracing::info!(timeout = ?server.drain_timeout, "draining; a second signal ends at once");
        tokio::select! {
            () = server.drain() => Ok(()),
            _ = signals.terminate.recv() => Err(StartError::EndedAtOnce),
            _ = signals.interrupt.recv() => Err(StartError::EndedAtOnce),
        }
    })?;
    server.end_control();
    Ok(())
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    upgrade: Signal,
}

impl Signals {
    /// In the present runtime.
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }
}

impl Server {
    /// Serves until it is to end; the answer is who has taken over, if somebody has.
    async fn serve(
        &self,
        signals: &mut Signals,
        given: &mut mpsc::UnboundedReceiver<Given>,
        program: Option<&Program>,
    ) -> Result<Option<Given>, StartError> {
        let mut pulse = self.supervisor.watchdog().map(|patience| Pulse::new(patience, self));
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = signals.hangup.recv() => self.reload(),
                _ = signals.upgrade.recv() => match program {
                    Some(program) => program.replace(),
                    None => tracing::error!("no upgrade: where this program's file is, is not known"),
                },
                Some(given) = given.recv() => return Ok(Some(given)),
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
                _ = look.tick() => {
                    self.check_alive()?;
                    if let Some(pulse) = &mut pulse {
                        pulse.look(&self.supervisor, &self.cells);
                    }
                }
            }
        }
        // What is half given is given first, or kept: never both drained and taken.
        let deadline = Instant::now() + self.drain_timeout;
        while !self.ends_by_itself() && Instant::now() < deadline {
            if let Ok(given) = given.try_recv() {
                return Ok(Some(given));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(None)
    }

    /// Nobody may take over any more. False: somebody is about to.
    fn ends_by_itself(&self) -> bool {
        let mut stock = self.stock.lock().unwrap_or_else(PoisonError::into_inner);
        stock.turn(Giving::Possible, Giving::Over)
    }

    /// Has control read the file again, and the supervisor know how long that takes.
    fn reload(&self) {
        let (handle, supervisor) = (self.handle.clone(), Arc::clone(&self.supervisor));
        supervisor.reloading();
        tokio::spawn(async move {
            let by = "SIGHUP".into();
            handle.ask(|reply| Asked::Reload { by, reply }).await;
            supervisor.ready();
        });
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
}

/// Tells the supervisor's watchdog that all threads get on with their work: the workers' beats rise, and control
/// answers.
struct Pulse {
    pause: Duration,
    next: Instant,
    beats: Vec<u64>,
    handle: Handle,
    answered: mpsc::Receiver<()>,
    answers: mpsc::Sender<()>,
}

impl Pulse {
    fn new(patience: Duration, server: &Server) -> Self {
        let (answers, answered) = mpsc::channel(1);
        // Control has answered: it has started.
        let _ = answers.try_send(());
        Self {
            pause: patience / 2,
            next: Instant::now(),
            beats: vec![0; server.cells.len()],
            handle: server.handle.clone(),
            answered,
            answers,
        }
    }

    fn look(&mut self, supervisor: &Supervisor, cells: &[ProxyCells]) {
        if Instant::now() < self.next {
            return;
        }
        let beats: Vec<u64> = cells.iter().map(ProxyCells::beats).collect();
        let all_beat = beats.iter().zip(&self.beats).all(|(now, before)| now > before);
        if !all_beat || self.answered.try_recv().is_err() {
            return;
        }
        supervisor.alive();
        self.beats = beats;
        self.next = Instant::now() + self.pause;
        let (handle, answers) = (self.handle.clone(), self.answers.clone());
        tokio::spawn(async move {
            if handle.ask(Asked::Status).await.is_some() {
                let _ = answers.try_send(()); // one is enough
            }
        });
    }
}

/// This program as it was started, to be started again.
struct Program {
    file: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// To be asked at the start: once the file is replaced, the system calls it deleted.
    fn of_this_process() -> Option<Self> {
        let file = std::env::current_exe().ok()?;
        let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
        if !arguments.iter().any(|argument| argument == UPGRADE) {
            arguments.push(UPGRADE.into());
        }
        Some(Self { file, arguments })
    }

    /// Starts it, to take over from this process.
    fn replace(&self) {
        let mut command = Command::new(&self.file);
        command.args(&self.arguments).stdin(Stdio::null());
        for name in OWN_VARIABLES {
            command.env_remove(name);
        }
        match command.spawn() {
            Ok(mut child) => {
                tracing::info!(process = child.id(), file = %self.file.display(), "an upgrade begins");
                // It outlives this process; if it does not, its end is told here.
                let waiting = std::thread::Builder::new().name("successor".into()).spawn(move || {
                    if let Ok(status) = child.wait() {
                        tracing::error!(%status, "the process that was to take over has ended");
                    }
                });
                drop(waiting);
            }
            Err(error) => tracing::error!(%error, file = %self.file.display(), "no upgrade: it cannot be started"),
        }
    }
}
