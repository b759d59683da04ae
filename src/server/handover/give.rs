//! The running process: gives its place to another one that asks, and goes on where that one does not get ready.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::wire::{Tag, expect, peer, say};
use super::{VERSION, place};
use crate::admin::Doors;
use crate::control::{Asked, Handle};
use crate::server::sockets::{Giving, Owner, Stock};
use crate::server::systemd::Supervisor;

/// How long the other process may take: for a word, to read its file and bind, and to begin.
const WORD: Duration = Duration::from_secs(5);
const PREPARING: Duration = Duration::from_secs(60);
const BEGINNING: Duration = Duration::from_secs(30);

/// Between two tries to take the state directory again.
const AGAIN: Duration = Duration::from_millis(50);

/// How often it is said that the state directory is not free.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Another process has this one's place.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Given {
    /// Which.
    pub(in crate::server) pid: u32,
}

/// What can be given.
pub(in crate::server) struct Giver {
    pub(in crate::server) stock: Arc<Mutex<Stock>>,
    pub(in crate::server) handle: Handle,
    pub(in crate::server) doors: watch::Sender<Doors>,
    pub(in crate::server) supervisor: Arc<Supervisor>,
    /// Is told of it when the place is given.
    pub(in crate::server) given: mpsc::UnboundedSender<Given>,
    /// True while somebody is asking, and for good once it is given.
    pub(in crate::server) busy: AtomicBool,
}

impl Giver {
    /// Listens in the state directory, which this process holds, on a thread of its own for as long as the process
    /// lives.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub(in crate::server) fn listen(self, state_directory: &Path) -> io::Result<()> {
        let (path, _open) = place(state_directory)?;
        // Of a process that is no more: we hold the directory.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listening = UnixListener::bind(&path)?;
        // Before that others may connect: who they are is looked at.
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        let giver = Arc::new(self);
        std::thread::Builder::new().name("upgrade".into()).spawn(move || {
            for stream in listening.incoming() {
                match stream {
                    Ok(stream) => giver.meet(stream),
                    // Out of descriptors, most often.
                    Err(_) => std::thread::sleep(Duration::from_millis(100)),
                }
            }
        })?;
        Ok(())
    }

    /// Speaks with whoever asks on a thread of its own; with one at a time.
    fn meet(self: &Arc<Self>, mut stream: UnixStream) {
        let limited = stream
            .set_read_timeout(Some(WORD))
            .and_then(|()| stream.set_write_timeout(Some(WORD)));
        if limited.is_err() {
            return;
        }
        let pid = match peer(&stream) {
            Ok(pid) => pid,
            Err(why) => return refuse(&mut stream, &why),
        };
        if self.busy.swap(true, Ordering::AcqRel) {
            return refuse(&mut stream, "an upgrade is under way already");
        }
        let giver = Arc::clone(self);
        let spawned = std::thread::Builder::new()
            .name("giving".into())
            .spawn(move || match giver.give(&mut stream) {
                Ok(()) => {
                    let _ = giver.given.send(Given { pid }); // or the process is ending anyway
                }
                Err(why) => {
                    tracing::error!(process = pid, "no upgrade, this process goes on: {why}");
                    refuse(&mut stream, &why);
                    giver.busy.store(false, Ordering::Release);
                }
            });
        if spawned.is_err() {
            self.busy.store(false, Ordering::Release);
        }
    }

    /// The conversation. It ends when the other process serves, or with the reason why it does not.
    fn give(&self, stream: &mut UnixStream) -> Result<(), String> {
        let hello = expect(stream, Tag::Hello)?;
        if hello.text != VERSION {
            return Err(format!(
                "upgrades are spoken of in version {} there and {VERSION} here; stop this process and start the other",
                hello.text
            ));
        }
        self.pass_sockets(stream)?;
        within(stream, PREPARING);
        let taken = expect(stream, Tag::Taken)?;
        let taken: Vec<usize> = taken.text.split(' ').filter_map(|group| group.parse().ok()).collect();
        if !self.stock().turn(Giving::Possible, Giving::Passing) {
            return Err("it is ending".to_owned());
        }
        self.doors.send_replace(Doors::Shut);
        let released = self.handle.ask_blocking(Asked::Release);
        let released = released.unwrap_or_else(|| Err("control has ended".to_owned()));
        let begun = released.and_then(|()| {
            let told = say(stream, Tag::Released, "", None).map_err(|error| error.to_string());
            let begun = told.and_then(|()| {
                within(stream, BEGINNING);
                expect(stream, Tag::Live)
            });
            begun.inspect_err(|why| {
                refuse(stream, why);
                self.resume(why);
            })
        });
        if let Err(why) = begun {
            self.doors.send_replace(Doors::Open);
            self.stock().giving = Giving::Possible;
            return Err(why);
        }
        if let Some(sockets) = &self.stock().sockets {
            for index in taken {
                if let Some(group) = sockets.groups.get(index) {
                    group.kept.store(true, Ordering::Release);
                }
            }
        }
        self.doors.send_replace(Doors::HandedOver);
        if let Ok(pid) = peer(stream) {
            // By the process that the supervisor knows: it believes no other.
            self.supervisor.main_process_is(pid);
        }
        let _ = say(stream, Tag::Go, "", None); // it serves, whether or not it hears that
        Ok(())
    }

    fn stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass_sockets(&self, stream: &mut UnixStream) -> Result<(), String> {
        let stock = self.stock();
        let sockets = stock.sockets.as_ref().filter(|_| stock.giving == Giving::Possible);
        let sockets = sockets.ok_or("it is ending")?;
        let mut say = |tag, text: &str, descriptor| {
            let said = say(stream, tag, text, descriptor);
            said.map_err(|error| format!("the sockets cannot be passed: {error}"))
        };
        for (index, group) in sockets.groups.iter().enumerate() {
            let kept = if group.kept.load(Ordering::Acquire) {
                "kept"
            } else {
                "own"
            };
            let owner = match &group.owner {
                Owner::Listener(name) => format!("listener {name}"),
                Owner::Admin => "admin".to_owned(),
            };
            let text = format!("{index} {} {kept} {owner}", group.declared);
            for socket in &group.sockets {
                say(Tag::Socket, &text, Some(socket.as_fd()))?;
            }
        }
        say(Tag::End, "", None)
    }

    /// Has control take the state directory again as soon as the other process has let go of it: it ends when it is
    /// told, and its hold with it.
    fn resume(&self, why: &str) {
        let mut said: Option<Instant> = None;
        loop {
            match self.handle.ask_blocking(|reply| Asked::Resume(why.to_owned(), reply)) {
                Some(Ok(())) | None => return,
                Some(Err(problem)) => {
                    if said.is_none_or(|last| last.elapsed() >= SAY_EVERY) {
                        said = Some(Instant::now());
                        tracing::warn!("after an upgrade that failed: {problem}");
                    }
                    std::thread::sleep(AGAIN);
                }
            }
        }
    }
}

/// The next word may take so long. Where that cannot be set, the limit before holds.
fn within(stream: &UnixStream, patience: Duration) {
    let _ = stream.set_read_timeout(Some(patience));
}

/// Who has left need not hear it.
fn refuse(stream: &mut UnixStream, why: &str) {
    let _ = say(stream, Tag::Refused, why, None);
}
