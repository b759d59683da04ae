//! Backends that misbehave on purpose: each request is answered by a script of plain acts on the socket.

use std::collections::HashMap;
use std::io::{Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::wire::{Head, Wire};

/// One act of a script. After the last one the next request of the connection is read.
#[derive(Clone, Debug)]
pub enum Act {
    /// Reads the request's body.
    Body,
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends these bytes one by one with a pause after each.
    Drip(Vec<u8>, Duration),
    /// Sends so many zero bytes as fast as they are taken; see [`Backend::flooded`].
    Flood(usize),
    /// Is slow.
    Wait(Duration),
    /// Waits until this is set.
    Until(Arc<AtomicBool>),
    /// Sends back what comes, until the peer closes.
    Echo,
    /// Takes no byte more and sends none, until the peer closes or the story ends.
    Freeze,
    /// Reads what comes and sends nothing, until the peer closes or the story ends.
    Hang,
    /// Closes in good order.
    Close,
    /// Closes with a reset.
    Reset,
}

/// A request as a script sees it.
pub struct Request<'a> {
    pub head: &'a Head,
    /// Number of the request on its connection, from 0.
    pub nth: usize,
}

impl Request<'_> {
    pub fn method(&self) -> &str {
        self.head.start.split(' ').next().unwrap_or_default()
    }

    pub fn target(&self) -> &str {
        self.head.start.split(' ').nth(1).unwrap_or_default()
    }
}

/// A request as it was received.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Head,
    /// The body was read to its end.
    pub whole: bool,
}

type Script = dyn Fn(&Request<'_>) -> Vec<Act> + Send + Sync;

struct Shared {
    script: Box<Script>,
    on_accept: Vec<Act>,
    seen: Mutex<Vec<Seen>>,
    open: Mutex<HashMap<usize, TcpStream>>,
    accepted: AtomicUsize,
    flooded: AtomicU64,
    over: AtomicBool,
}

/// A listening socket whose connections follow a script.
pub struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Backend {
    /// Answers every request by `script`.
    pub fn start(script: impl Fn(&Request<'_>) -> Vec<Act> + Send + Sync + 'static) -> Self {
        Self::serve(Vec::new(), Box::new(script))
    }

    /// Answers every request with 200 and `body`.
    pub fn ok(body: &str) -> Self {
        let body = body.to_owned();
        Self::start(move |_| ok(&body))
    }

    /// Does `acts` as soon as a connection is accepted, before any byte is read.
    pub fn on_accept(acts: Vec<Act>) -> Self {
        Self::serve(acts, Box::new(|_| close()))
    }

    fn serve(on_accept: Vec<Act>, script: Box<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            script,
            on_accept,
            seen: Mutex::default(),
            open: Mutex::default(),
            accepted: AtomicUsize::new(0),
            flooded: AtomicU64::new(0),
            over: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let connection = accepting.accepted.fetch_add(1, Ordering::SeqCst);
                let shared = Arc::clone(&accepting);
                thread::spawn(move || shared.connection(connection, stream));
            }
        });
        Self { address, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request whose head has come, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("no script panics").clone()
    }

    /// Number of requests whose head has come.
    pub fn requests(&self) -> usize {
        self.shared.seen.lock().expect("no script panics").len()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.shared.open.lock().expect("no script panics").len()
    }

    /// Bytes that [`Act::Flood`] got rid of so far.
    pub fn flooded(&self) -> u64 {
        self.shared.flooded.load(Ordering::SeqCst)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        for (_, stream) in self.shared.open.lock().expect("no script panics").drain() {
            stream.shutdown(Shutdown::Both).ok();
        }
        // Wakes the accepting thread, so that it sees the end.
        TcpStream::connect(self.address).ok();
    }
}

impl Shared {
    fn connection(&self, number: usize, stream: TcpStream) {
        stream.set_nodelay(true).ok();
        let Ok(copy) = stream.try_clone() else { return };
        self.open.lock().expect("no script panics").insert(number, copy);
        let mut wire = Wire::new(stream);
        self.converse(&mut wire).ok();
        // The copy goes first: a reset needs the last handle of the socket to be closed.
        self.open.lock().expect("no script panics").remove(&number);
    }

    fn converse(&self, wire: &mut Wire<TcpStream>) -> Result<()> {
        for act in &self.on_accept {
            if !self.act(act, wire, usize::MAX)? {
                return Ok(());
            }
        }
        for nth in 0.. {
            let Some(head) = wire.head()? else { break };
            let acts = (self.script)(&Request { head: &head, nth });
            let index = {
                let mut seen = self.seen.lock().expect("no script panics");
                seen.push(Seen {
                    head,
                    ..Seen::default()
                });
                seen.len() - 1
            };
            for act in &acts {
                if !self.act(act, wire, index)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Does one act; false when the connection is over.
    fn act(&self, act: &Act, wire: &mut Wire<TcpStream>, request: usize) -> Result<bool> {
        match act {
            Act::Body => {
                let framing = self.seen.lock().expect("no script panics")[request].head.framing();
                let (body, trailers) = wire.body(framing)?;
                let seen = &mut self.seen.lock().expect("no script panics")[request];
                (seen.body, seen.trailers, seen.whole) = (body, trailers, true);
            }
            Act::Send(bytes) => wire.send(bytes)?,
            Act::Drip(bytes, pause) => {
                for byte in bytes {
                    wire.send(&[*byte])?;
                    // The backend's slowness itself, here and below.
                    thread::sleep(*pause);
                }
            }
            Act::Flood(length) => {
                let piece = vec![0; 64 * 1024];
                let mut left = *length;
                while left > 0 {
                    let sent = wire.stream().write(&piece[..left.min(piece.len())])?;
                    self.flooded.fetch_add(sent as u64, Ordering::SeqCst);
                    left -= sent;
                }
            }
            Act::Wait(pause) => thread::sleep(*pause),
            Act::Until(set) => {
                while !set.load(Ordering::SeqCst) && !self.over.load(Ordering::SeqCst) {
                    // The pause between two looks.
                    thread::sleep(Duration::from_millis(2));
                }
            }
            Act::Echo => loop {
                let mut piece = [0; 4096];
                let read = wire.stream().read(&mut piece)?;
                if read == 0 {
                    return Ok(false);
                }
                wire.send(&piece[..read])?;
            },
            Act::Freeze => {
                while !self.over.load(Ordering::SeqCst) && wire.stream().take_error()?.is_none() {
                    // The pause between two looks.
                    thread::sleep(Duration::from_millis(20));
                }
                return Ok(false);
            }
            Act::Hang => {
                wire.rest()?;
                return Ok(false);
            }
            Act::Close => {
                wire.stream().shutdown(Shutdown::Both)?;
                return Ok(false);
            }
            Act::Reset => {
                socket2::SockRef::from(&*wire.stream()).set_linger(Some(Duration::ZERO))?;
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Reads the body and answers with `status`, these fields and this body.
pub fn answer(status: u16, fields: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<Act> {
    let mut bytes = format!(
        "HTTP/1.1 {status} Scripted\r\ncontent-length: {}\r\n",
        body.as_ref().len()
    );
    for (name, value) in fields {
        bytes.push_str(&format!("{name}: {value}\r\n"));
    }
    bytes.push_str("\r\n");
    let mut bytes = bytes.into_bytes();
    bytes.extend(body.as_ref());
    vec![Act::Body, Act::Send(bytes)]
}

/// Reads the body and answers 200.
pub fn ok(body: impl AsRef<[u8]>) -> Vec<Act> {
    answer(200, &[], body)
}

/// Reads the body and answers with a status and a few words.
pub fn status(status: u16) -> Vec<Act> {
    answer(status, &[], format!("scripted {status}"))
}

/// Reads the body and sends exactly this text.
pub fn text(text: &str) -> Vec<Act> {
    vec![Act::Body, Act::Send(text.as_bytes().to_vec())]
}

/// Reads the body and answers 200 in chunks of these pieces, with these trailers.
pub fn chunked(pieces: &[&[u8]], trailers: &[(&str, &str)]) -> Vec<Act> {
    let mut bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n".to_vec();
    if !trailers.is_empty() {
        let names: Vec<_> = trailers.iter().map(|(name, _)| *name).collect();
        bytes.extend(format!("trailer: {}\r\n", names.join(", ")).bytes());
    }
    bytes.extend(b"\r\n");
    for piece in pieces {
        bytes.extend(format!("{:x}\r\n", piece.len()).bytes());
        bytes.extend(*piece);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n");
    for (name, value) in trailers {
        bytes.extend(format!("{name}: {value}\r\n").bytes());
    }
    bytes.extend(b"\r\n");
    vec![Act::Body, Act::Send(bytes)]
}

/// Reads the request and closes without an answer.
pub fn close() -> Vec<Act> {
    vec![Act::Body, Act::Close]
}

/// Reads the request and resets the connection.
pub fn reset() -> Vec<Act> {
    vec![Act::Body, Act::Reset]
}

/// Reads whatever comes and never answers.
pub fn hang() -> Vec<Act> {
    vec![Act::Hang]
}

/// Switches protocols and echoes.
pub fn tunnel(protocol: &str) -> Vec<Act> {
    let head = format!("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n");
    vec![Act::Send(head.into_bytes()), Act::Echo]
}

/// An address that refuses connections as long as the answer is kept: bound, and never listening.
pub fn refusing_address() -> (SocketAddr, socket2::Socket) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into()).expect("loopback has a free port");
    let address = socket
        .local_addr()
        .expect("it is bound")
        .as_socket()
        .expect("an IP socket");
    (address, socket)
}
