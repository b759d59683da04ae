//! The client's side of a case: sends in one piece or in many, and takes answers apart.

use std::io::{ErrorKind, Read, Result as IoResult, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use super::table::Step;
use super::text::escape;

/// How bytes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Whole,
    /// Three at a time, and more behind the first [`FINE`].
    Pieces,
}

/// Bytes of a case that are sent in small pieces; what is longer is long by repetition.
const FINE: usize = 300;

/// One connection of a client.
pub struct Talk {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// One answer.
#[derive(Clone, Default)]
pub struct Answer {
    /// The status line.
    pub start: String,
    /// Lines of fields as they came.
    pub fields: Vec<String>,
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {}", self.start, self.fields, escape(&self.body, 300))
    }
}

impl Answer {
    /// Whether it has these fields in any order, and `date`, and no other.
    pub fn has_only(&self, fields: &[&str]) -> bool {
        let own = self.fields.iter().map(String::as_str);
        let (dates, mut own): (Vec<_>, Vec<_>) = own.partition(|field| field.starts_with("date: "));
        let mut fields = fields.to_vec();
        own.sort_unstable();
        fields.sort_unstable();
        own == fields && dates.len() == 1
    }
}

impl Talk {
    pub fn open(address: SocketAddr, patience: Duration) -> IoResult<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    /// Sends what a case says. A peer that does not take all of it has refused it: its answer will tell.
    pub fn perform(&mut self, steps: &[Step], manner: Manner) -> Result<(), String> {
        for step in steps {
            match step {
                Step::Send(bytes) => {
                    let (fine, coarse) = match manner {
                        Manner::Whole => (&[][..], &bytes[..]),
                        Manner::Pieces => bytes.split_at(bytes.len().min(FINE)),
                    };
                    let pieces = fine.chunks(3).chain(coarse.chunks(match manner {
                        Manner::Whole => usize::MAX,
                        Manner::Pieces => 8 * 1024,
                    }));
                    for piece in pieces {
                        if self.send(piece).is_err() {
                            return Ok(());
                        }
                        if manner == Manner::Pieces {
                            // So that they come as pieces; nothing hangs on whether all of them do.
                            thread::sleep(Duration::from_micros(100));
                        }
                    }
                }
                Step::AwaitContinue => {
                    let interim = self.head()?;
                    if interim.start != "HTTP/1.1 100 Continue" || !interim.fields.is_empty() {
                        return Err(format!("no 100: {interim:?}"));
                    }
                }
                Step::End => self.stream.shutdown(Shutdown::Write).map_err(|e| e.to_string())?,
            }
        }
        Ok(())
    }

    pub fn send(&mut self, bytes: &[u8]) -> IoResult<()> {
        self.stream.write_all(bytes)
    }

    /// The next final answer; one to HEAD has no body.
    pub fn answer(&mut self, to_head: bool) -> Result<Answer, String> {
        let mut answer = self.head()?;
        while answer.start == "HTTP/1.1 100 Continue" && answer.fields.is_empty() {
            answer = self.head()?;
        }
        if to_head {
            return Ok(answer);
        }
        let length = answer
            .fields
            .iter()
            .find_map(|field| field.strip_prefix("content-length: "));
        let length: usize = length
            .and_then(|length| length.parse().ok())
            .ok_or_else(|| format!("an answer without a length: {answer:?}"))?;
        while self.buffer.len() < length {
            self.fill().map_err(|e| format!("{e} in the body of {answer:?}"))?;
        }
        answer.body = self.buffer.drain(..length).collect();
        Ok(answer)
    }

    /// Fails unless the peer sends nothing more, and closes.
    pub fn ended(&mut self) -> Result<(), String> {
        let mut rest = std::mem::take(&mut self.buffer);
        match self.stream.read_to_end(&mut rest) {
            Ok(_) if rest.is_empty() => Ok(()),
            Ok(_) => Err(format!("more than the answer: {}", escape(&rest, 300))),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
            Err(error) => Err(format!("the connection is not closed: {error}")),
        }
    }

    fn head(&mut self) -> Result<Answer, String> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                let mut lines = escape(&head[..end], usize::MAX);
                lines = lines.replace("\\r\\n", "\n");
                let mut lines = lines.lines().map(str::to_owned);
                return Ok(Answer {
                    start: lines.next().unwrap_or_default(),
                    fields: lines.collect(),
                    body: Vec::new(),
                });
            }
            self.fill().map_err(|e| format!("{e} instead of an answer"))?;
        }
    }

    fn fill(&mut self) -> Result<(), String> {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => Err(format!("closed after {:?}", escape(&self.buffer, 200))),
            Ok(read) => {
                self.buffer.extend(&piece[..read]);
                Ok(())
            }
            Err(error) => Err(format!("{error} after {:?}", escape(&self.buffer, 200))),
        }
    }
}
