//! Accepts connections, within limits; serves HTTP/1 until a connection is over; closes so that answers arrive; drains.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::answer::{put_problem_head, put_stamp};
use super::connection::ConnectionClock;
use super::fault::Fault;
use super::greeting::greet;
use super::h1_server::{End, Refused, serve_http1};
use super::handle::Client;
use super::stream::Stream;
use super::tunnel;
use super::upstream::ClientAddresses;
use super::worker::{Stage, Worker};
use crate::measure::RejectReason;
use crate::tls::ListenerTls;

/// How long, and for how many bytes, we read on after our last byte, so that it is not lost to a
/// reset (RFC 9112 §9.6).
pub(super) const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 * 1024;

/// Connections beyond the limit that one worker tells so at once.
const TURNED_AWAY_MAX: usize = 64;

/// A listening socket of one worker.
pub(crate) struct Listening {
    /// Index in the table's listeners.
    pub(crate) index: usize,
    /// The socket, not blocking.
    pub(crate) socket: std::net::TcpListener,
}

/// Accepts until the process is closing; then takes what is still in the queue, and ends.
pub(super) async fn accept(worker: Rc<Worker>, listening: Listening) -> io::Result<()> {
    let socket = TcpListener::from_std(listening.socket)?;
    let mut closing = std::pin::pin!(worker.drain.reached(Stage::Closing));
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = socket.accept() => accepted,
            () = &mut closing => break,
        };
        match accepted {
            Ok((tcp, peer)) => admit(&worker, listening.index, tcp, peer),
            Err(error) => back_off(&error).await,
        }
    }
    // Nobody who got through the handshake is turned away by a reset: the queue is asked itself, not
    // what the runtime knows of it.
    let socket = socket.into_std()?;
    while let Ok((tcp, peer)) = socket.accept() {
        tcp.set_nonblocking(true)?;
        admit(&worker, listening.index, TcpStream::from_std(tcp)?, peer);
    }
    Ok(())
}

/// Out of descriptors, or a connection that broke before we took it: wait a little, go on.
async fn back_off(error: &io::Error) {
    if matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    ) {
        return;
    }
    tracing::warn!(%error, "cannot accept; trying again in 100 ms");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

fn admit(worker: &Rc<Worker>, index: usize, tcp: TcpStream, peer: SocketAddr) {
    let (settings, tls) = worker.with_table(|table| (table.listeners[index], table.listener_tls[index].clone()));
    if worker.connections(index) >= u64::from(settings.connections) {
        worker.cells().reject(RejectReason::Connections);
        return turn_away(worker, tcp, tls != ListenerTls::Clear);
    }
    // Asked of the socket: a listener may have all addresses of its machine.
    let Ok(destination) = tcp.local_addr() else {
        return;
    };
    let addresses = ClientAddresses {
        source: peer,
        destination,
    };
    let client = Client::new(addresses, tls != ListenerTls::Clear, settings);
    let counted = Counted::new(worker, index);
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        let _counted = counted;
        greet(&worker, tls, tcp, client).await;
    });
}

/// Tells a client in clear text that there are too many; others, and those who come while many are
/// being told, are closed without a word.
fn turn_away(worker: &Rc<Worker>, tcp: TcpStream, tls: bool) {
    let (worker, told) = (Rc::clone(worker), Rc::clone(&worker.turned_away));
    if tls || Rc::strong_count(&told) > TURNED_AWAY_MAX {
        return;
    }
    tokio::task::spawn_local(async move {
        refuse(&worker, Stream::clear(tcp), Refused::of(Fault::TooManyConnections)).await;
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
