//! A steady crowd of clients who count every answer and every loss: connections kept, connections of one request each,
//! and HTTP/2. What a server may do by its protocol is no loss: saying that an answer is the last one on its connection,
//! GOAWAY, and refusing connections once it is known to end.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::client::{Broken, Client};
use crate::load::get;

/// Clients of each sort.
const KEPT: u32 = 8;
const CLOSED: u32 = 4;
const HTTP2: u32 = 4;

/// Between two requests of a client: ports are not without end, and the load leaves room for the server's end.
const PAUSE: Duration = Duration::from_millis(2);

/// Reasons that are kept; more are only counted.
const REASONS_MAX: usize = 20;

/// What the clients have seen.
#[derive(Debug, Default)]
pub(crate) struct Book {
    port: u16,
    over: Cell<bool>,
    /// The server is ending: refused connections are what it should do.
    ending: Cell<bool>,
    answered: [Cell<u64>; 3],
    lost: Cell<u64>,
    reasons: RefCell<Vec<String>>,
}

/// The figures of a crowd.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Seen {
    /// Answers on connections that are kept.
    pub(crate) kept: u64,
    /// Answers on connections of one request.
    pub(crate) closed: u64,
    /// Answers over HTTP/2.
    pub(crate) http2: u64,
    /// Requests and connections that failed.
    pub(crate) lost: u64,
    /// Why the first of them did.
    pub(crate) reasons: Vec<String>,
}

/// The clients, running on the present local set.
pub(crate) struct Crowd {
    book: Rc<Book>,
    clients: JoinSet<()>,
}

impl Crowd {
    /// Starts them against this port of the loopback address.
    pub(crate) fn start(port: u16) -> Self {
        let book = Rc::new(Book {
            port,
            ..Book::default()
        });
        let mut clients = JoinSet::new();
        for _ in 0..KEPT {
            clients.spawn_local(Rc::clone(&book).keep());
        }
        for _ in 0..CLOSED {
            clients.spawn_local(Rc::clone(&book).close());
        }
        for _ in 0..HTTP2 {
            clients.spawn_local(Rc::clone(&book).multiplex());
        }
        Self { book, clients }
    }

    /// From now on refused connections are no loss, and end their client.
    pub(crate) fn server_ends(&self) {
        self.book.ending.set(true);
    }

    /// Answers of the sort that has the fewest so far.
    pub(crate) fn fewest(&self) -> u64 {
        self.book.answered.iter().map(Cell::get).min().unwrap_or(0)
    }

    /// Ends it.
    pub(crate) async fn stop(mut self) -> Seen {
        self.book.over.set(true);
        while let Some(ended) = self.clients.join_next().await {
            if let Err(error) = ended {
                self.book.lose(format!("a client: {error}"));
            }
        }
        let [kept, closed, http2] = self.book.answered.each_ref().map(Cell::get);
        Seen {
            kept,
            closed,
            http2,
            lost: self.book.lost.get(),
            reasons: self.book.reasons.take(),
        }
    }
}

impl Book {
    fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    fn lose(&self, why: String) {
        self.lost.set(self.lost.get() + 1);
        let mut reasons = self.reasons.borrow_mut();
        if reasons.len() < REASONS_MAX {
            reasons.push(why);
        }
    }

    fn answer(&self, sort: usize, status: u16) {
        if status == 200 {
            self.answered[sort].set(self.answered[sort].get() + 1);
        } else {
            self.lose(format!("status {status}"));
        }
    }

    /// Whether a connection that could not be opened is the end that was to come. Any other is a loss.
    fn is_end(&self, error: &std::io::Error) -> bool {
        let is_end = self.ending.get() && error.kind() == std::io::ErrorKind::ConnectionRefused;
        if !is_end {
            self.lose(format!("connect: {error}"));
        }
        is_end
    }

    async fn open(&self) -> Option<Client> {
        loop {
            match Client::connect(self.address()).await {
                Ok(client) => return Some(client),
                Err(Broken::Dropped(error)) if self.is_end(&error) => return None,
                Err(Broken::Dropped(_)) => {}
                Err(other) => self.lose(other.to_string()),
            }
            if self.over.get() {
                return None;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn keep(self: Rc<Self>) {
        let request = get(self.port, "/");
        let mut client = None;
        while !self.over.get() {
            let mut open = match client.take() {
                Some(open) => open,
                None => match self.open().await {
                    Some(open) => open,
                    None => return,
                },
            };
            let last = match open.exchange(&request).await {
                Ok(answer) => {
                    self.answer(0, answer.status);
                    answer.values("connection").any(|value| value == "close")
                }
                Err(why) => {
                    self.lose(format!("kept: {why}"));
                    true
                }
            };
            client = (!last).then_some(open);
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn close(self: Rc<Self>) {
        let port = self.port;
        let request = format!("GET / HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n");
        while !self.over.get() {
            let Some(mut client) = self.open().await else { return };
            match client.exchange(request.as_bytes()).await {
                Ok(answer) => self.answer(1, answer.status),
                Err(why) => self.lose(format!("closed: {why}")),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn multiplex(self: Rc<Self>) {
        while !self.over.get() {
            let tcp = match TcpStream::connect(self.address()).await {
                Ok(tcp) => tcp,
                Err(error) if self.is_end(&error) => return,
                Err(_) => continue,
            };
            let (sender, connection) = match h2::client::handshake(tcp).await {
                Ok(parts) => parts,
                Err(error) => {
                    self.lose(format!("http2 handshake: {error}"));
                    continue;
                }
            };
            let driving = tokio::task::spawn_local(connection);
            self.ask(sender).await;
            // Whatever its end was, each request of it has been counted.
            driving.abort();
        }
    }

    /// One request after the other, until the server wants the connection to end, or all is over.
    async fn ask(&self, mut sender: SendRequest<Bytes>) {
        while !self.over.get() {
            sender = match sender.ready().await {
                Ok(sender) => sender,
                // Nothing was asked yet.
                Err(_) => return,
            };
            let uri = format!("http://127.0.0.1:{}/", self.port);
            let request = http::Request::get(uri).body(()).expect("a request");
            let answer = match sender.send_request(request, true) {
                Ok((answer, _)) => answer,
                Err(_) => return,
            };
            match whole(answer).await {
                Ok(status) => self.answer(2, status),
                // By the protocol it was not looked at (RFC 9113 §8.7).
                Err(error) if was_not_processed(&error) => return,
                Err(error) => return self.lose(format!("http2: {error}")),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The status of an answer whose body has come whole.
async fn whole(answer: h2::client::ResponseFuture) -> Result<u16, h2::Error> {
    let (head, mut body) = answer.await?.into_parts();
    while let Some(part) = body.data().await {
        let taken = part?.len();
        body.flow_control().release_capacity(taken)?;
    }
    Ok(head.status.as_u16())
}

fn was_not_processed(error: &h2::Error) -> bool {
    let orderly = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
    orderly || error.reason() == Some(h2::Reason::REFUSED_STREAM)
}
