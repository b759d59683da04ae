//! A steady open load of GET requests over keep-alive connections, on a thread of its own: a request that
//! hangs delays no other one.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use super::book::{Book, End, Exchange, Side};

/// A client waits so long for a whole answer; well above the route's timeout.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection that was idle for longer is not used again: Serin closes idle ones after 60 s.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// How often what is due is sent.
const TICK: Duration = Duration::from_millis(1);

/// The load. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Load {
    book: Arc<Mutex<Book>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aim {
    /// Where requests go.
    pub(super) address: SocketAddr,
    /// How many in a second; above 0.
    pub(super) rate: u32,
    /// Requests that may be open at once. What is due beyond is counted as not sent.
    pub(super) open_max: u32,
}

impl Load {
    /// Begins at once.
    ///
    /// # Errors
    /// Without a thread.
    pub(super) fn start(aim: Aim) -> io::Result<Self> {
        let book = Arc::new(Mutex::new(Book::default()));
        let (stop, stopped) = oneshot::channel();
        let entered = Arc::clone(&book);
        let thread = std::thread::Builder::new().name("demo-load".into()).spawn(move || {
            let Ok(runtime) = tokio::runtime::LocalRuntime::new() else {
                return;
            };
            runtime.block_on(Clients::new(aim, entered).run(stopped));
        })?;
        Ok(Self {
            book,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// What the clients saw so far.
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    /// Sends nothing more and waits for what is open, some seconds at most.
    pub(super) fn finish(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.finish();
    }
}

/// All clients, on their thread.
struct Clients {
    aim: Aim,
    book: Arc<Mutex<Book>>,
    /// Connections to use again, the last used one last.
    idle: RefCell<Vec<(Instant, Connection)>>,
    open: Cell<u32>,
}

type Connection = SendRequest<Empty<Bytes>>;

impl Clients {
    fn new(aim: Aim, book: Arc<Mutex<Book>>) -> Rc<Self> {
        Rc::new(Self {
            aim,
            book,
            idle: RefCell::default(),
            open: Cell::new(0),
        })
    }

    /// Sends what is due until told to stop; then waits for what is open.
    async fn run(self: Rc<Self>, mut stopped: oneshot::Receiver<()>) {
        let start = Instant::now();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut sent = 0u128;
        loop {
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                _ = ticks.tick() => {}
            }
            let due = start.elapsed().as_micros() * u128::from(self.aim.rate) / 1_000_000;
            for _ in sent..due {
                self.send();
            }
            sent = due;
        }
        while self.open.get() > 0 {
            ticks.tick().await;
        }
    }

    fn send(self: &Rc<Self>) {
        if self.open.get() >= self.aim.open_max {
            lock(&self.book).skip();
            return;
        }
        self.open.set(self.open.get() + 1);
        let clients = Rc::clone(self);
        tokio::task::spawn_local(async move {
            clients.exchange().await;
            clients.open.set(clients.open.get() - 1);
        });
    }

    /// One request, from sending to the book.
    async fn exchange(&self) {
        let sent = Instant::now();
        let result = tokio::time::timeout(PATIENCE, self.ask(sent)).await;
        let (end, cause) = match result {
            Ok(Ok(end)) => (end, None),
            Ok(Err(cause)) => (End::Lost, Some(cause)),
            Err(_) => (End::Lost, Some(format!("no answer within {} s", PATIENCE.as_secs()))),
        };
        lock(&self.book).enter(Instant::now(), Exchange { sent, end }, cause);
    }

    async fn ask(&self, sent: Instant) -> Result<End, String> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = hyper::Uri::from_static("/checkout");
        request
            .headers_mut()
            .insert("host", hyper::header::HeaderValue::from_static("shop.example"));
        let (mut connection, response) = loop {
            let (mut connection, fresh) = match self.take_idle() {
                Some(connection) => (connection, false),
                None => (connect(self.aim.address).await?, true),
            };
            match connection.try_send_request(request).await {
                Ok(response) => break (connection, response),
                // Closed while it was idle: not a byte was sent, and another connection is tried.
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !fresh => request = unsent,
                    _ => return Err(format!("no answer: {}", error.error())),
                },
            }
        };
        let latency = sent.elapsed();
        let status = response.status().as_u16();
        let side = response
            .headers()
            .get("x-serin-variant")
            .and_then(|variant| Side::of(variant.as_bytes()));
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame.map_err(|error| format!("answer cut off: {error}"))?;
        }
        if connection.ready().await.is_ok() {
            self.idle.borrow_mut().push((Instant::now(), connection));
        }
        Ok(End::Answered { side, status, latency })
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        let now = Instant::now();
        let stale = idle.partition_point(|(since, _)| *since + IDLE_MAX < now);
        idle.drain(..stale);
        while let Some((_, connection)) = idle.pop() {
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }
}

async fn connect(address: SocketAddr) -> Result<Connection, String> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| format!("no connection: {error}"))?;
    let _ = stream.set_nodelay(true);
    let (connection, driver) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // Its errors come out at the request.
    tokio::task::spawn_local(driver);
    Ok(connection)
}

/// A book is whole after every entry, whatever happened to who last held it.
fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::book::Totals;
    use crate::demo::scenario::Scenario;
    use crate::demo::service::Services;

    /// Runs a load on `address` until `is_enough`, and says what it came to.
    fn check(address: SocketAddr, open_max: u32, is_enough: impl Fn(&Totals) -> bool) -> Totals {
        let mut load = Load::start(Aim {
            address,
            rate: 1000,
            open_max,
        })
        .unwrap();
        while !is_enough(load.book().totals()) {
            std::thread::sleep(Duration::from_millis(5));
        }
        load.finish();
        load.book().totals().clone()
    }

    #[test]
    fn a_load_asks_again_and_again_and_loses_nothing() {
        let services = Services::start().unwrap();
        let totals = check(services.stable.address(), 500, |totals| totals.requests >= 200);
        assert_eq!((totals.lost, totals.bad_responses), (0, 0), "{totals:?}");
        assert_eq!(services.stable.marks().requests, totals.requests);
    }

    #[test]
    fn hanging_requests_do_not_stop_the_load_until_all_clients_hang() {
        let services = Services::start().unwrap();
        services.canary.turn(Scenario::Hang);
        let totals = check(services.canary.address(), 20, |totals| totals.unsent > 0);
        assert_eq!((totals.requests, totals.lost), (20, 20), "{totals:?}");
        assert_eq!(totals.first_loss.as_deref(), Some("no answer within 5 s"));
    }

    #[test]
    fn what_is_not_answered_is_lost() {
        let services = Services::start().unwrap();
        services.canary.turn(Scenario::Down);
        let totals = check(services.canary.address(), 500, |totals| totals.lost >= 10);
        assert_eq!(totals.lost, totals.requests, "{totals:?}");
        assert!(totals.first_loss.is_some());
    }
}
