//! A client at a fixed rate: requests leave when they are due, whether or not earlier ones were answered.
//!
//! A latency counts from the moment at which its request was due, so that a proxy which makes requests wait cannot hide
//! it. One thread sleeps in `ppoll` until the next request is due or an answer comes; nothing spins, since the
//! backends share its core.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::set_current_timer_slack;

use crate::load::{Measured, USERS};
use crate::stats::quantile;
use crate::wire::{Body, Head};

/// How long answers may take after the last request was due; what is missing then is an error.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Sends requests at a fixed rate and prints what it measured. Case rate of `compare` starts it by itself.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Port on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// Requests per second.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// How long requests are due.
    #[arg(long)]
    seconds: u32,
    /// Connections that take turns; a request waits while none is free.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
}

/// One connection, and the moment at which its open request was due.
struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    due: Option<Instant>,
}

/// How far an answer has come.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Partial,
    Good,
    Bad,
}

/// Runs for its time and prints one line.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    // The default of 50 µs would be as long as what we measure.
    set_current_timer_slack(NonZeroU64::new(1)).context("cannot set the timer slack")?;
    let measured = Pace::open(options)?.run(options)?;
    println!("{}", measured.to_line());
    Ok(true)
}

struct Pace {
    port: u16,
    connections: Vec<Connection>,
    /// Indexes of connections without an open request; the one that has waited longest is next.
    free: VecDeque<usize>,
    requests: Vec<Vec<u8>>,
    latencies_ns: Vec<u64>,
}

impl Pace {
    fn open(options: &Options) -> anyhow::Result<Self> {
        let connections = (0..options.connections)
            .map(|_| Connection::open(options.port))
            .collect::<Result<Vec<_>, _>>()
            .context("cannot connect")?;
        Ok(Self {
            port: options.port,
            free: (0..connections.len()).collect(),
            connections,
            requests: (0..USERS).map(|user| request(options.port, user)).collect(),
            latencies_ns: Vec::new(),
        })
    }

    fn run(mut self, options: &Options) -> anyhow::Result<Measured> {
        let total = u64::from(options.rate) * u64::from(options.seconds);
        let interval = Duration::from_secs(1) / options.rate;
        let start = Instant::now();
        let end = start + Duration::from_secs(options.seconds.into()) + LAST_ANSWERS;
        let (mut sent, mut due) = (0, start);
        loop {
            let now = Instant::now();
            while sent < total && due <= now {
                let Some(index) = self.free.pop_front() else { break };
                self.send(index, due, sent);
                (sent, due) = (sent + 1, due + interval);
            }
            let open = self.connections.len() - self.free.len();
            if now >= end || (sent == total && open == 0) {
                break;
            }
            let wake = if sent < total && open < self.connections.len() {
                due
            } else {
                end
            };
            self.wait(wake.saturating_duration_since(Instant::now()))?;
        }
        self.latencies_ns.sort_unstable();
        let at = |q| quantile(&self.latencies_ns, q).map_or(0.0, |ns| ns as f64 / 1e3);
        let requests = self.latencies_ns.len() as u64;
        Ok(Measured {
            requests,
            errors: total - requests,
            seconds: options.seconds.into(),
            p50_us: at(0.50),
            p99_us: at(0.99),
        })
    }

    fn send(&mut self, index: usize, due: Instant, number: u64) {
        let request = &self.requests[(number % USERS as u64) as usize];
        let connection = &mut self.connections[index];
        connection.due = Some(due);
        // A request of some hundred bytes always fits into the empty buffer of a socket.
        if connection.stream.write(request).ok() != Some(request.len()) {
            self.replace(index);
        }
    }

    /// Waits for answers, at most this long, and takes what has come.
    fn wait(&mut self, timeout: Duration) -> anyhow::Result<()> {
        let timeout = Timespec::try_from(timeout).context("too long a wait")?;
        let (open, ready): (Vec<usize>, Vec<bool>) = {
            let open = (0..self.connections.len()).filter(|&index| self.connections[index].due.is_some());
            let open: Vec<usize> = open.collect();
            let mut polled: Vec<PollFd<'_>> = open
                .iter()
                .map(|&index| PollFd::new(&self.connections[index].stream, PollFlags::IN))
                .collect();
            match poll(&mut polled, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot poll"),
            }
            let ready = polled.iter().map(|polled| !polled.revents().is_empty()).collect();
            (open, ready)
        };
        for index in open
            .into_iter()
            .zip(ready)
            .filter_map(|(index, ready)| ready.then_some(index))
        {
            let connection = &mut self.connections[index];
            match connection.read() {
                Progress::Partial => {}
                Progress::Good => {
                    let due = connection.due.take().expect("only open requests are polled");
                    self.latencies_ns
                        .push(u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX));
                    self.free.push_back(index);
                }
                Progress::Bad => self.replace(index),
            }
        }
        Ok(())
    }

    /// The request on this connection has failed; the next one gets a fresh connection. Without one it stays out.
    fn replace(&mut self, index: usize) {
        self.connections[index].due = None;
        if let Ok(fresh) = Connection::open(self.port) {
            self.connections[index] = fresh;
            self.free.push_back(index);
        }
    }
}

impl Connection {
    fn open(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            input: Vec::with_capacity(4096),
            due: None,
        })
    }

    fn read(&mut self) -> Progress {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => return Progress::Bad,
            Ok(length) => self.input.extend_from_slice(&piece[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => return Progress::Bad,
        }
        let progress = progress(&self.input);
        if progress != Progress::Partial {
            self.input.clear();
        }
        progress
    }
}

/// Whether `input` is an answer: one, whole, and a success.
fn progress(input: &[u8]) -> Progress {
    let head = match Head::parse(input) {
        Ok(Some(head)) => head,
        Ok(None) => return Progress::Partial,
        Err(_) => return Progress::Bad,
    };
    let Ok(mut body) = head.response_body(false) else {
        return Progress::Bad;
    };
    let rest = &input[head.length..];
    match body.read(rest, |_| {}) {
        Ok(taken) if body == Body::Over && taken == rest.len() && head.status() == Ok(200) => Progress::Good,
        Ok(_) if body != Body::Over => Progress::Partial,
        Ok(_) | Err(_) => Progress::Bad,
    }
}

fn request(port: u16, user: usize) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nx-user-id: user-{user}\r\n\r\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_good_when_it_is_whole_and_alone() {
        let check = |input: &str, expected| assert_eq!(progress(input.as_bytes()), expected, "{input}");
        check("HTTP/1.1 200 OK\r\n", Progress::Partial);
        check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nh", Progress::Partial);
        check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", Progress::Good);
        check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi!", Progress::Bad);
        check(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            Progress::Good,
        );
        check("HTTP/1.1 503 x\r\ncontent-length: 2\r\n\r\nhi", Progress::Bad);
        check("nonsense\r\n\r\n", Progress::Bad);
    }
}
