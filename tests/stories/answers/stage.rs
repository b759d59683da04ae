//! A dialogue in lockstep: one thread plays the client and the backend, so that nothing is left to
//! chance, and each side's bytes are compared as they come.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use super::case::{Case, Fate, Step};
use super::compare::{dated, same, shown, wrong};
use super::expected;
use crate::common::{PATIENCE, Wire};

/// Both ends of a case.
pub struct Stage {
    path: String,
    serin: SocketAddr,
    listener: TcpListener,
    client: Wire<TcpStream>,
    backend: Option<Wire<TcpStream>>,
}

impl Stage {
    /// What is said, and then what must not come of it: the next request of the client and of another
    /// one get their own answers.
    pub fn play(case: &Case, serin: SocketAddr, listener: TcpListener) -> Result<()> {
        socket2::SockRef::from(&listener).set_read_timeout(Some(PATIENCE))?;
        let mut stage = Self {
            path: format!("/{}/x", case.name),
            serin,
            listener,
            client: connect(serin)?,
            backend: None,
        };
        for (n, step) in case.steps.iter().enumerate() {
            stage
                .act(step)
                .map_err(|e| wrong(format!("step {n}, {}: {e}", step.word())))?;
        }
        stage.aftermath(case).map_err(|e| wrong(format!("afterwards: {e}")))
    }

    fn act(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Asks(bytes) => {
                let text = String::from_utf8_lossy(bytes).replace("{path}", &self.path);
                self.client.send(text.as_bytes())
            }
            Step::Pours(bytes) => pour(self.client.stream(), b"x", *bytes, Duration::from_millis(200)),
            Step::Fresh(method) => {
                self.backend = Some(accept(&self.listener)?);
                self.request(method)
            }
            Step::Accepts => {
                self.backend = Some(accept(&self.listener)?);
                Ok(())
            }
            Step::Again(method) => self.request(method),
            Step::HearsNothing => self.hears_nothing(),
            Step::Takes(bytes) => same(&self.backend().exactly(bytes.len())?, bytes),
            Step::Says(bytes) => self.backend().send(bytes),
            Step::Drips(bytes, pause) => {
                // Nobody has to take all of it.
                for byte in bytes {
                    if self.backend().send(&[*byte]).is_err() {
                        break;
                    }
                    // The backend's slowness itself.
                    thread::sleep(*pause);
                }
                Ok(())
            }
            Step::Floods(piece, times) => pour(self.backend().stream(), piece, *times, PATIENCE),
            Step::Finishes => self.backend().stream().shutdown(Shutdown::Write),
            Step::Ends => {
                self.backend = None;
                Ok(())
            }
            Step::Resets => {
                socket2::SockRef::from(&*self.backend().stream()).set_linger(Some(Duration::ZERO))?;
                self.backend = None;
                Ok(())
            }
            Step::Gets(bytes) => self.gets(bytes),
            Step::GetsChunks(content) => self.gets_chunks(content),
            Step::GetsSomeChunks(byte, most) => self.gets_some_chunks(*byte, *most),
            Step::Reset => match self.client.rest() {
                Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
                other => Err(wrong(format!("no reset: {other:?}"))),
            },
        }
    }

    fn backend(&mut self) -> &mut Wire<TcpStream> {
        self.backend.as_mut().expect("the table lets it end once")
    }

    /// A head with this method and the case's path comes to the backend.
    fn request(&mut self, method: &str) -> Result<()> {
        let head = self.backend().head()?.ok_or(ErrorKind::UnexpectedEof)?;
        same(
            head.start.as_bytes(),
            format!("{method} {} HTTP/1.1", self.path).as_bytes(),
        )
    }

    /// Reads as long as what comes is the beginning of `bytes`.
    fn gets(&mut self, bytes: &[u8]) -> Result<()> {
        let mut got = Vec::new();
        while got.len() < bytes.len() {
            match self.client.exactly(1) {
                Ok(byte) => got.extend(byte),
                Err(error) => return Err(wrong(format!("{error} after {}", shown(&got)))),
            }
            // Not at once, so that an error shows the whole of a line.
            if got.ends_with(b"\r\n\r\n") && !bytes.starts_with(&dated(&got, bytes)) {
                break;
            }
        }
        same(&dated(&got, bytes), bytes)
    }

    fn gets_chunks(&mut self, content: &[u8]) -> Result<()> {
        let mut got = Vec::new();
        while got.len() < content.len() {
            let chunk = self.chunk().map_err(|e| wrong(format!("{e} after {}", shown(&got))))?;
            got.extend(chunk);
        }
        same(&got, content)
    }

    fn gets_some_chunks(&mut self, byte: u8, most: usize) -> Result<()> {
        let mut left = most;
        while let Ok(chunk) = self.chunk() {
            left = left
                .checked_sub(chunk.len())
                .ok_or_else(|| wrong("too many".to_owned()))?;
            same(&chunk, &vec![byte; chunk.len()])?;
        }
        Ok(())
    }

    /// The next chunk, which is not the last one, as the grammar has it.
    fn chunk(&mut self) -> Result<Vec<u8>> {
        let mut line = String::new();
        while !line.ends_with('\n') {
            line.push(char::from(self.client.exactly(1)?[0]));
        }
        let size = usize::from_str_radix(line.trim_end(), 16).unwrap_or_default();
        if size == 0 || line != format!("{size:x}\r\n") {
            return Err(wrong(format!("chunk size {line:?}")));
        }
        let chunk = self.client.exactly(size)?;
        same(&self.client.exactly(2)?, b"\r\n")?;
        Ok(chunk)
    }

    fn hears_nothing(&mut self) -> Result<()> {
        let backend = self.backend();
        // Nothing but a while shows that nothing comes.
        backend.stream().set_read_timeout(Some(Duration::from_millis(100)))?;
        let heard = backend.exactly(1);
        backend.stream().set_read_timeout(Some(PATIENCE))?;
        match heard {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            other => Err(wrong(format!("something comes: {other:?}"))),
        }
    }

    fn aftermath(&mut self, case: &Case) -> Result<()> {
        if case.client == Fate::Closed {
            match self.client.rest() {
                Ok(rest) => same(&rest, b"")?,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                Err(error) => return Err(wrong(format!("the client's connection is not closed: {error}"))),
            }
            self.client = connect(self.serin)?;
        }
        let old = if case.backend == Fate::Closed {
            self.backend.take()
        } else {
            None
        };
        self.next("next")?;
        if let Some(mut old) = old {
            ended(&mut old)?;
        }
        self.client = connect(self.serin)?;
        self.next("other")?;
        // Nothing else was sent anywhere.
        self.listener.set_nonblocking(true)?;
        match self.listener.accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            other => Err(wrong(format!("one more connection to the backend: {other:?}"))),
        }
    }

    /// A request that has nothing to do with what came before, and its answer. Comes on the backend's
    /// connection if there is one, else on a fresh one.
    fn next(&mut self, word: &str) -> Result<()> {
        let at = |error: std::io::Error| wrong(format!("{word}: {error}"));
        self.path = format!("{}-{word}", self.path);
        let ask = format!("GET {} HTTP/1.1\r\nhost: serin.test\r\n\r\n", self.path);
        self.client.send(ask.as_bytes()).map_err(at)?;
        if self.backend.is_none() {
            self.backend = Some(accept(&self.listener).map_err(at)?);
        }
        self.request("GET").map_err(at)?;
        let length = word.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{word}");
        self.backend().send(answer.as_bytes()).map_err(at)?;
        self.gets(&expected::whole(
            "200 OK",
            format!("content-length: {length}\r\n"),
            word,
        ))
        .map_err(at)
    }
}

fn connect(address: SocketAddr) -> Result<Wire<TcpStream>> {
    wire(TcpStream::connect(address)?)
}

fn accept(listener: &TcpListener) -> Result<Wire<TcpStream>> {
    match listener.accept() {
        Ok((stream, _)) => wire(stream),
        Err(error) => Err(wrong(format!("no connection to the backend: {error}"))),
    }
}

fn wire(stream: TcpStream) -> Result<Wire<TcpStream>> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(Wire::new(stream))
}

/// Sends a piece so many times, as long as it is taken and never waits longer than `patience` for that.
fn pour(stream: &mut TcpStream, piece: &[u8], times: usize, patience: Duration) -> Result<()> {
    let flood = piece.repeat((64 * 1024 / piece.len()).max(1));
    let mut left = piece.len() * times;
    stream.set_write_timeout(Some(patience))?;
    while let Ok(sent @ 1..) = stream.write(&flood[..left.min(flood.len())]) {
        left -= sent;
    }
    stream.set_write_timeout(Some(PATIENCE))
}

/// Whether the peer has closed, whatever it sent before: part of an upload may still be on its way.
fn ended(wire: &mut Wire<TcpStream>) -> Result<()> {
    let mut piece = [0; 4096];
    loop {
        match wire.stream().read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(wrong("the backend's connection stays open".to_owned()));
            }
            Err(_) => return Ok(()),
        }
    }
}
