//! A backend that keeps every byte of every request, and answers each whole one with 200. Shared with `loadtest
//! strictness`, so it also takes what only a lenient backend would: that is the point of the comparison.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// What has come of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Every byte.
    pub raw: Vec<u8>,
    /// The same once it is whole, with all chunks of a body joined to one: where they end is not told on.
    pub joined: Vec<u8>,
    /// It came to its end, and was answered.
    pub whole: bool,
    /// The connection closed before that.
    pub cut: bool,
    /// Chunks were not written as plainly as can be: a size in lower case, no extension, CRLF.
    pub flawed: bool,
}

#[derive(Default)]
struct Shared {
    /// By a number that rises, and is never used again.
    messages: Mutex<BTreeMap<usize, Message>>,
    open: Mutex<BTreeMap<usize, TcpStream>>,
    next: AtomicUsize,
    over: AtomicBool,
}

/// A listening socket that records. It ends with this value.
pub struct Recorder {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Recorder {
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let shared = Arc::clone(&accepting);
                thread::spawn(move || shared.serve(stream));
            }
        });
        Ok(Self { address, shared })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request of which a byte has come since the last [`Recorder::forget`], in order.
    pub fn messages(&self) -> Vec<Message> {
        lock(&self.shared.messages).values().cloned().collect()
    }

    /// Forgets what has come.
    pub fn forget(&self) {
        lock(&self.shared.messages).clear();
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        for stream in lock(&self.shared.open).values() {
            stream.shutdown(Shutdown::Both).ok();
        }
        // Wakes the accepting thread, so that it sees the end.
        TcpStream::connect(self.address).ok();
    }
}

impl Shared {
    /// One connection, until it closes or carries what nobody could read.
    fn serve(&self, stream: TcpStream) {
        stream.set_nodelay(true).ok();
        let own = self.next.fetch_add(1, Ordering::SeqCst);
        if let Ok(copy) = stream.try_clone() {
            lock(&self.open).insert(own, copy);
        }
        let mut connection = Connection {
            shared: self,
            stream,
            buffer: Vec::new(),
            number: None,
        };
        while matches!(connection.request(), Ok(true)) {}
        if let Some(number) = connection.number {
            connection.note(number, |message| message.cut = true);
        }
        lock(&self.open).remove(&own);
    }
}

struct Connection<'a> {
    shared: &'a Shared,
    stream: TcpStream,
    /// What has come of the request that is being read, and perhaps more.
    buffer: Vec<u8>,
    /// Of the request that is being read, once its first byte has come.
    number: Option<usize>,
}

impl Connection<'_> {
    /// Reads one request and answers it; false at the end of the connection.
    fn request(&mut self) -> Result<bool> {
        if !self.buffer.is_empty() {
            self.begin();
        }
        let Some(head_end) = self.until(0, head_end)? else {
            return Ok(false);
        };
        let head = String::from_utf8_lossy(&self.buffer[..head_end]).to_ascii_lowercase();
        if head.contains("expect:") {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut message = Message {
            joined: self.buffer[..head_end].to_vec(),
            ..Message::default()
        };
        let end = match framing(&head) {
            Framing::Length(length) => {
                let end = head_end.saturating_add(length);
                if self.until(0, |buffer| (buffer.len() >= end).then_some(end))?.is_none() {
                    return Ok(false);
                }
                message.joined.extend(&self.buffer[head_end..end]);
                end
            }
            Framing::Chunked => match self.chunks(head_end, &mut message)? {
                Some(end) => end,
                None => return Ok(false),
            },
        };
        message.raw = self.buffer.drain(..end).collect();
        message.whole = true;
        if let Some(number) = self.number.take() {
            self.note(number, |noted| *noted = message);
        }
        let body = if head.starts_with("head ") { "" } else { "ok" };
        self.stream
            .write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{body}").as_bytes())?;
        Ok(true)
    }

    /// The end of a chunked body that begins at `at`, which is joined to `message`.
    fn chunks(&mut self, mut at: usize, message: &mut Message) -> Result<Option<usize>> {
        let mut content: Vec<u8> = Vec::new();
        loop {
            let Some(line_end) = self.until(at, |rest| rest.iter().position(|&b| b == b'\n').map(|n| n + 1))? else {
                return Ok(None);
            };
            let line = &self.buffer[at..at + line_end];
            let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
            let text = String::from_utf8_lossy(&line[..digits]).into_owned();
            let Ok(size) = usize::from_str_radix(&text, 16) else {
                return Ok(None);
            };
            message.flawed |= line != format!("{size:x}\r\n").as_bytes();
            at += line_end;
            if size == 0 {
                break;
            }
            let Some(whole) = size.checked_add(2) else {
                return Ok(None);
            };
            if self.until(at, |rest| (rest.len() >= whole).then_some(whole))?.is_none() {
                return Ok(None);
            }
            content.extend(&self.buffer[at..at + size]);
            message.flawed |= &self.buffer[at + size..at + whole] != b"\r\n";
            at += whole;
        }
        // Trailers end like a head, but may be none.
        let Some(length) = self.until(at, |rest| {
            if rest.starts_with(b"\r\n") {
                Some(2)
            } else {
                head_end(rest)
            }
        })?
        else {
            return Ok(None);
        };
        if !content.is_empty() {
            message.joined.extend(format!("{:x}\r\n", content.len()).bytes());
            message.joined.extend(content);
            message.joined.extend(b"\r\n");
        }
        message.joined.extend(b"0\r\n");
        message.joined.extend(&self.buffer[at..at + length]);
        Ok(Some(at + length))
    }

    /// Reads until `look` finds something in what has come from `at` on; `None` when the peer closes before.
    fn until(&mut self, at: usize, look: impl Fn(&[u8]) -> Option<usize>) -> Result<Option<usize>> {
        loop {
            if let Some(found) = self.buffer.get(at..).and_then(&look) {
                return Ok(Some(found));
            }
            let mut piece = [0; 16 * 1024];
            let read = match self.stream.read(&mut piece) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if read == 0 {
                return Ok(None);
            }
            self.buffer.extend(&piece[..read]);
            self.begin();
        }
    }

    /// Shows what has come of the request so far.
    fn begin(&mut self) {
        let mut messages = lock(&self.shared.messages);
        let number = *self
            .number
            .get_or_insert_with(|| self.shared.next.fetch_add(1, Ordering::SeqCst));
        let message = messages.entry(number).or_default();
        message.raw.clone_from(&self.buffer);
    }

    fn note(&self, number: usize, change: impl FnOnce(&mut Message)) {
        if let Some(message) = lock(&self.shared.messages).get_mut(&number) {
            change(message);
        }
    }
}

enum Framing {
    Length(usize),
    Chunked,
}

/// How a lenient backend would delimit the body behind this head in lower case.
fn framing(head: &str) -> Framing {
    let field = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(':'));
        lines
            .filter(|(own, _)| own.trim() == name)
            .map(|(_, value)| value.trim().to_owned())
            .next_back()
    };
    if field("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        return Framing::Chunked;
    }
    let digits = |value: String| {
        let end = value.bytes().take_while(u8::is_ascii_digit).count();
        value[..end].parse().unwrap_or(0)
    };
    Framing::Length(field("content-length").map_or(0, digits))
}

/// Behind the first empty line.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let mut line = 0;
    for (at, _) in bytes.iter().enumerate().filter(|&(_, &b)| b == b'\n') {
        if line > 0 && matches!(&bytes[line..at], b"" | b"\r") {
            return Some(at + 1);
        }
        line = at + 1;
    }
    None
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics under it")
}
