//! The new process: asks the running one for its place, step by step.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::wire::{Tag, expect, hear, peer, say};
use super::{VERSION, place};
use crate::server::StartError;
use crate::server::sockets::{Inherited, Owner, Sockets};

/// How long the running process may take for its next word.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sockets that are taken at most: listeners times workers.
const SOCKETS_MAX: usize = 65_536;

/// A conversation with the process whose place is taken.
#[derive(Debug)]
pub(in crate::server) struct Takeover {
    stream: UnixStream,
    pid: u32,
}

impl Takeover {
    /// Turns to the process that holds this state directory.
    ///
    /// # Errors
    /// [`StartError::Upgrade`]: there is none, or it is of another user.
    pub(in crate::server) fn begin(state_directory: &Path) -> Result<Self, StartError> {
        let connected = place(state_directory).and_then(|(path, _open)| UnixStream::connect(path));
        let mut stream = connected.map_err(|error| {
            StartError::Upgrade(format!(
                "no running serin can be asked in {}: {error}; start without --upgrade where none runs",
                state_directory.display()
            ))
        })?;
        let pid = peer(&stream).map_err(StartError::Upgrade)?;
        let asked = stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .and_then(|()| say(&mut stream, Tag::Hello, VERSION, None));
        asked.map_err(|error| refused(&error.to_string()))?;
        Ok(Self { stream, pid })
    }

    /// Its process.
    pub(in crate::server) fn pid(&self) -> u32 {
        self.pid
    }

    /// All its sockets. Both processes hold them from here on.
    ///
    /// # Errors
    /// [`StartError::Upgrade`]: it refuses, or has left.
    pub(in crate::server) fn sockets(&mut self) -> Result<Vec<Inherited>, StartError> {
        let mut groups: Vec<Inherited> = Vec::new();
        for _ in 0..SOCKETS_MAX {
            let frame = hear(&mut self.stream).map_err(|error| refused(&error.to_string()))?;
            match (frame.tag, frame.descriptor) {
                (Tag::Socket, Some(descriptor)) => {
                    let described = describe(&frame.text);
                    let described = described.ok_or_else(|| refused("a socket that it passes is not understood"))?;
                    let socket = TcpListener::from(descriptor);
                    match groups.last_mut().filter(|last| last.group == described.group) {
                        Some(last) => last.sockets.push(socket),
                        None => groups.push(Inherited {
                            sockets: vec![socket],
                            ..described
                        }),
                    }
                }
                (Tag::End, None) => return Ok(groups),
                (Tag::Refused, _) => return Err(refused(&frame.text)),
                (tag, _) => return Err(refused(&format!("it says {tag:?} where sockets were due"))),
            }
        }
        Err(refused("it passes more sockets than any process has"))
    }

    /// Everything but the state is there: asks for it. When it is answered, the state directory is free.
    ///
    /// # Errors
    /// [`StartError::Upgrade`]: it refuses, or has left.
    pub(in crate::server) fn take_state(&mut self, sockets: &Sockets) -> Result<(), StartError> {
        let taken = sockets.groups.iter().filter_map(|group| group.from);
        let taken: Vec<_> = taken.map(|group| group.to_string()).collect();
        self.tell(Tag::Taken, &taken.join(" "))?;
        self.await_word(Tag::Released)
    }

    /// This process serves; the other one is to end.
    ///
    /// # Errors
    /// [`StartError::Upgrade`]: it has gone on by itself, being tired of waiting. If it has just died there is no error:
    /// somebody has to serve.
    pub(in crate::server) fn live(mut self) -> Result<(), StartError> {
        if let Err(error) = say(&mut self.stream, Tag::Live, "", None) {
            tracing::warn!(%error, "the process that this one replaces has died");
            return Ok(());
        }
        match hear(&mut self.stream) {
            Ok(frame) if frame.tag == Tag::Go => Ok(()),
            Ok(frame) => Err(refused(&frame.text)),
            Err(error) if is_gone(&error) => {
                tracing::warn!(%error, "the process that this one replaces has died");
                Ok(())
            }
            Err(error) => Err(refused(&error.to_string())),
        }
    }

    fn tell(&mut self, tag: Tag, text: &str) -> Result<(), StartError> {
        say(&mut self.stream, tag, text, None).map_err(|error| refused(&error.to_string()))
    }

    fn await_word(&mut self, tag: Tag) -> Result<(), StartError> {
        expect(&mut self.stream, tag).map(drop).map_err(|why| refused(&why))
    }
}

fn refused(why: &str) -> StartError {
    StartError::Upgrade(format!("the running serin goes on: {why}"))
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

/// What [`super::give`] says of a socket.
fn describe(text: &str) -> Option<Inherited> {
    let mut words = text.split(' ');
    let group = words.next()?.parse().ok()?;
    let declared = words.next()?.parse().ok()?;
    let kept = match words.next()? {
        "kept" => true,
        "own" => false,
        _ => return None,
    };
    let owner = match (words.next()?, words.next()) {
        ("admin", None) => Owner::Admin,
        ("listener", Some(name)) => Owner::Listener(name.to_owned()),
        _ => return None,
    };
    Some(Inherited {
        group: Some(group),
        owner: Some(owner),
        declared: Some(declared),
        sockets: Vec::new(),
        kept,
    })
}
