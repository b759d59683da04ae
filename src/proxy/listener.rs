//! Accepts connections, within limits; serves HTTP/1 until a connection is over; closes so that answers arrive; drains.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures_util::FutureExt as _;
use rustix::io::Errno;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::answer::{put_problem_head, put_stamp};
use super::clients::Seat;
use super::connection::ConnectionClock;
use super::fault::Fault;
use super::greeting::greet;
use super::h1_server::{End, Refused, serve_http1};
use super::handle::Client;
use super::stream::Stream;
use super::tunnel;
use super::upstream::ClientAddresses;
use super::worker::{Stage, Worker};
use crate::measure::{ProxyCells, RejectReason, Room};
use crate::route::ListenerSettings;
use crate::tls::ListenerTls;

/// How long, and for how many bytes, we read on after our last byte, so that it is not lost to a
/// reset (RFC 9112 §9.6).
pub(super) const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 * 1024;

/// Connections beyond the limit that one worker tells so at once.
const TURNED_AWAY_MAX: usize = 64;

/// How long nothing is accepted after the system had no room for it.
const BACK_OFF: Duration = Duration::from_millis(100);

/// How long handshakes that have begun may take to end once no other begins.
const HANDSHAKES: Duration = Duration::from_millis(250);

/// How often it is said that nothing can be accepted.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// A listening socket of one worker.
pub(crate) struct Listening {
    /// Index in the table's listeners.
    pub(crate) index: usize,
    /// The socket, not blocking.
    pub(crate) socket: std::net::TcpListener,
    /// Whether somebody else holds the socket too, and serves its queue when this process does not any more.
    pub(crate) kept: Arc<AtomicBool>,
}

/// Accepts until the process is closing; then takes what is still in the queue, and ends.
pub(super) async fn accept(worker: Rc<Worker>, listening: Listening) -> io::Result<()> {
    let socket = TcpListener::from_std(listening.socket)?;
    let door = Door { index: listening.index };
    for stage in [Stage::Announcing, Stage::Closing] {
        tokio::select! {
            () = door.serve(&worker, &socket) => {}
            () = worker.drain.reached(stage) => {}
        }
        if listening.kept.load(Ordering::Acquire) {
            // Whoever keeps the socket serves its queue.
            return Ok(());
        }
    }
    // No handshake begins any more (the socket's filter sees to that), but some may be half done.
    let _ = timeout(HANDSHAKES, door.serve(&worker, &socket)).await; // it does not end by itself
    // Nobody who got through the handshake is turned away by a reset: the queue is asked itself, not
    // what the runtime knows of it.
    let socket = socket.into_std()?;
    while let Ok((tcp, peer)) = socket.accept() {
        tcp.set_nonblocking(true)?;
        door.admit(&worker, TcpStream::from_std(tcp)?, peer);
    }
    Ok(())
}

/// Where connections of one listener come in.
struct Door {
    index: usize,
}

impl Door {
    /// Accepts, for as long as it is polled.
    async fn serve(&self, worker: &Rc<Worker>, socket: &TcpListener) {
        let mut warned: Option<Instant> = None;
        loop {
            match socket.accept().await {
                Ok((tcp, peer)) => self.admit(worker, tcp, peer),
                Err(error) if is_of_connection(&error) => {}
                Err(error) => {
                    if warned.is_none_or(|last| last.elapsed() >= WARN_EVERY) {
                        warned = Some(Instant::now());
                        tracing::warn!(%error, "cannot accept; trying again ten times a second");
                    }
                    // What is open goes on, and what waits to be accepted waits in the socket's queue.
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }

    fn admit(&self, worker: &Rc<Worker>, tcp: TcpStream, peer: SocketAddr) {
        let (settings, tls) = worker.with_table(|table| {
            let tls = table.listener_tls[self.index].clone();
            (table.listeners[self.index], tls)
        });
        // Asked of the socket: a listener may have all addresses of its machine.
        let Ok(destination) = tcp.local_addr() else {
            return;
        };
        let addresses = ClientAddresses {
            source: peer,
            destination,
        };
        let mut client = Client::new(addresses, tls != ListenerTls::Clear, self.index, settings);
        match self.seat(worker, &tcp, client.peer, &settings) {
            Ok(seat) => client.seat = seat,
            Err(fault) => return turn_away(worker, tcp, client.https, fault),
        }
        let counted = Counted::new(worker, self.index);
        let worker = Rc::clone(worker);
        tokio::task::spawn_local(async move {
            let _counted = counted;
            one_at_most(worker.cells(), greet(&worker, tls, tcp, client)).await;
        });
    }

    /// Whether there is room for one more connection, of this client. What is refused is counted.
    fn seat(
        &self,
        worker: &Worker,
        tcp: &TcpStream,
        peer: IpAddr,
        settings: &ListenerSettings,
    ) -> Result<Option<Seat>, Fault> {
        let refused = |reason, fault| {
            worker.cells().reject(reason);
            Err(fault)
        };
        if worker.connections(self.index) >= u64::from(settings.connections) {
            return refused(RejectReason::Connections, Fault::TooManyConnections);
        }
        if !worker.descriptors.has_room_for_client(tcp) {
            return refused(RejectReason::Connections, Fault::Exhausted);
        }
        if worker.room() == Room::None {
            return refused(RejectReason::Overload, Fault::Overloaded);
        }
        if settings.proxy_protocol {
            // Who the client is, is not known yet.
            return Ok(None);
        }
        worker.seat(self.index, peer, settings)
    }
}

/// Serves a connection. A panic beside its requests costs this connection only, and is counted.
async fn one_at_most(cells: &ProxyCells, serving: impl Future<Output = ()>) {
    if AssertUnwindSafe(serving).catch_unwind().await.is_err() {
        cells.reject(RejectReason::Panic);
    }
}

/// Whether it is about a connection that broke before we took it (accept(2)); the next one may be well.
fn is_of_connection(error: &io::Error) -> bool {
    !matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        None | Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::INVAL | Errno::BADF)
    )
}

/// Tells a client in clear text why it cannot be served; others, and those who come while many are
/// being told or descriptors run out, are closed without a word.
fn turn_away(worker: &Rc<Worker>, tcp: TcpStream, tls: bool, fault: Fault) {
    let (worker, told) = (Rc::clone(worker), Rc::clone(&worker.turned_away));
    if tls || Rc::strong_count(&told) > TURNED_AWAY_MAX || !worker.descriptors.has_room_for_client(&tcp) {
        return;
    }
    tokio::task::spawn_local(async move {
        refuse(&worker, Stream::clear(tcp), Refused::of(fault)).await;
        drop(told);
    });
}

/// What waiting for a request came to.
pub(super) enum First {
    /// Bytes of one, at least one.
    Bytes(BytesMut),
    /// None came in time.
    Late,
    /// The process is on its way out.
    Closing,
    /// Closed from the other side.
    Gone,
}

/// Waits for a request without any buffer, timer or engine: an idle connection is little more than its socket.
pub(super) async fn first_bytes(worker: &Worker, stream: &mut Stream, clock: &ConnectionClock) -> First {
    let mut first = std::pin::pin!(stream.first_bytes(&worker.buffers));
    std::future::poll_fn(|cx| match first.as_mut().poll(cx) {
        Poll::Ready(Ok(first)) if !first.is_empty() => Poll::Ready(First::Bytes(first)),
        Poll::Ready(Ok(empty)) => {
            worker.buffers.borrow_mut().give_input(empty);
            Poll::Ready(First::Gone)
        }
        Poll::Ready(Err(_)) => Poll::Ready(First::Gone),
        Poll::Pending if clock.poll_late(cx).is_ready() => Poll::Ready(First::Late),
        Poll::Pending if worker.stage() == Stage::Closing => Poll::Ready(First::Closing),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Speaks HTTP/1 until the connection is over. What comes after the serving, and what few connections need, is boxed:
/// a connection's task is as large as the largest thing it may do.
pub(super) async fn converse(
    worker: &Rc<Worker>,
    mut stream: Stream,
    mut ahead: BytesMut,
    client: &Client,
    clock: &Rc<ConnectionClock>,
) {
    loop {
        match Box::pin(serve_http1(worker, stream, ahead, client, clock)).await {
            End::Resting(resting) => {
                stream = resting;
                match first_bytes(worker, &mut stream, clock).await {
                    First::Bytes(first) => ahead = first,
                    First::Late | First::Closing => return Box::pin(linger(stream)).await,
                    First::Gone => return,
                }
            }
            End::Gone => return,
            End::Done(stream) => return finish(stream).await,
            End::Closed(stream) => return Box::pin(linger(stream)).await,
            End::Refused(stream, refused) => return Box::pin(refuse(worker, stream, refused)).await,
            End::Switched(stream, body) => {
                return Box::pin(tunnel::run(worker, stream, body, client.settings.idle)).await;
            }
        }
    }
}

/// Answers a head that we refuse, and closes.
pub(super) async fn refuse(worker: &Worker, mut stream: Stream, refused: Refused) {
    let Refused {
        fault,
        head_only,
        stamp,
    } = refused;
    let mut answer = Vec::new();
    put_problem_head(&mut answer, worker, fault);
    put_stamp(&mut answer, &stamp);
    answer.extend_from_slice(b"connection: close\r\n\r\n");
    if !head_only {
        answer.extend_from_slice(&fault.problem());
    }
    if matches!(timeout(LINGER, stream.write_all(&answer)).await, Ok(Ok(()))) {
        linger(stream).await;
    }
}

/// Closes a connection of which the client wants nothing more.
async fn finish(mut stream: Stream) {
    if stream.is_tls() {
        let _ = Box::pin(timeout(LINGER, stream.shutdown())).await; // a farewell, if the client takes it
    }
}

/// Ends our side, and reads on for a little.
pub(super) async fn linger(mut stream: Stream) {
    let _ = timeout(LINGER, async {
        stream.shutdown().await?;
        let mut left = LINGER_BYTES;
        let mut sink = [0; 4096];
        loop {
            let n = stream.read(&mut sink).await?;
            left = left.saturating_sub(n);
            if n == 0 || left == 0 {
                return io::Result::Ok(());
            }
        }
    })
    .await;
}

/// Counts a connection for as long as it lives.
struct Counted {
    worker: Rc<Worker>,
    index: usize,
}

impl Counted {
    fn new(worker: &Rc<Worker>, index: usize) -> Self {
        worker.cells().connection(index, 1);
        Self {
            worker: Rc::clone(worker),
            index,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.worker.cells().connection(self.index, -1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_costs_one_connection_and_is_counted() {
        let cells = ProxyCells::new(1);
        one_at_most(&cells, async {}).await;
        assert_eq!(cells.rejected(RejectReason::Panic), 0);
        one_at_most(&cells, async { panic!("asked to") }).await;
        assert_eq!(cells.rejected(RejectReason::Panic), 1);
    }

    #[test]
    fn only_want_of_room_stops_accepting() {
        let check = |errno: Errno, expected| assert_eq!(is_of_connection(&errno.into()), expected, "{errno}");
        check(Errno::CONNABORTED, true);
        check(Errno::PROTO, true);
        check(Errno::HOSTUNREACH, true);
        check(Errno::PERM, true);
        check(Errno::MFILE, false);
        check(Errno::NFILE, false);
        check(Errno::NOBUFS, false);
        check(Errno::NOMEM, false);
    }
}
