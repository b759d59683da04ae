//! An HTTP/2 connection to an endpoint, shared by the exchanges on its streams (RFC 9113). A task of its own drives it.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{Ping, SendStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connect::Terms;
use super::socket::Socket;
use crate::proxy::h1_client::Counted;
use crate::proxy::worker::Worker;
use crate::route::Endpoint;

/// What an endpoint may send ahead on one stream, in bytes. The window of the connection has room for so much on all
/// of them: a client that does not read stops nobody else.
const STREAM_WINDOW: u32 = 64 * 1024;

/// What is taken of a request's body before it has gone out, in bytes.
const SEND_BUFFER: usize = 64 * 1024;

/// Bytes of fields in one answer, or of its trailers.
const HEAD_BYTES: u32 = 128 * 1024;

/// So long nothing may have been heard before the endpoint is asked whether it lives.
const SILENCE_US: u64 = 10_000_000;

/// So long it may take to say so.
const PONG_US: u64 = 10_000_000;

/// An endpoint that is asked again and again in one silence takes it for an attack: servers of gRPC by default bear one
/// question in five minutes where they send nothing themselves.
const ASK_AGAIN_US: u64 = 310_000_000;

/// An HTTP/2 connection to an endpoint.
pub(in crate::proxy) struct Link {
    /// `None` once it takes no more requests.
    sender: RefCell<Option<SendRequest<Bytes>>>,
    wire: Rc<Wire>,
    terms: Terms,
    counted: RefCell<Option<Counted>>,
    streams: Cell<u32>,
    /// A request has had an answer here: it is not fresh.
    served: Cell<bool>,
    /// Since when there has been no stream, in worker microseconds; looked at once a second.
    idle_since_us: Cell<u64>,
    heard_us: Cell<u64>,
    /// When it was last asked whether it lives; 0: never.
    asked_us: Cell<u64>,
    /// It has not said so yet.
    owes_pong: Cell<bool>,
    /// A request was sent since it was last asked.
    used: Cell<bool>,
    order: Cell<Order>,
    driver: RefCell<Option<Waker>>,
}

/// What the task that drives a connection shall do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
    #[default]
    GoOn,
    Ping,
    /// End at once, whatever is open.
    Abandon,
}

/// A stream of a connection, from its request to its end.
pub(in crate::proxy) struct OpenStream {
    link: Rc<Link>,
}

/// Why there is no HTTP/2 on a connection that ended before the endpoint's settings came.
fn not_spoken(is_tls: bool, error: Option<&h2::Error>) -> String {
    let why = error.map_or("no error".to_owned(), ToString::to_string);
    match error {
        // It agreed to speak it when TLS was made, and of TLS 1.3 the client's half of a handshake is the last.
        _ if is_tls && error.is_none_or(h2::Error::is_io) => format!(
            "TLS was up, and it closed the connection before its settings of HTTP/2 came ({why}); it may want a client \
             certificate (`tls.certificate`)"
        ),
        None => "it does not speak HTTP/2: it closed the connection".to_owned(),
        Some(_) => format!("it does not speak HTTP/2: {why}"),
    }
}

impl Link {
    /// Speaks HTTP/2 on `socket`. Ready when the endpoint has said what it allows: whoever speaks something else is
    /// found out here. The caller brings the clock.
    pub(super) async fn open(
        socket: Socket,
        terms: Terms,
        endpoint: &Arc<Endpoint>,
        worker: &Worker,
        max_streams: u32,
    ) -> io::Result<Rc<Self>> {
        let counted = Counted::new(Arc::clone(endpoint), worker.id);
        Self::opened(socket, terms, counted, worker.recent_us(), max_streams).await
    }

    async fn opened(
        socket: Socket,
        terms: Terms,
        counted: Counted,
        now_us: u64,
        max_streams: u32,
    ) -> io::Result<Rc<Self>> {
        let wire = Rc::new(Wire {
            socket: RefCell::new(socket),
            heard: Cell::new(true),
            written: Cell::new(0),
        });
        let window = u64::from(STREAM_WINDOW) * u64::from(max_streams);
        let handshake = client::Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(u32::try_from(window).unwrap_or(u32::MAX).min(i32::MAX as u32))
            .max_header_list_size(HEAD_BYTES)
            .max_send_buffer_size(SEND_BUFFER)
            // None until the endpoint has said how many.
            .initial_max_send_streams(0)
            .handshake(Io(Rc::clone(&wire)));
        let ended = |error: Option<&h2::Error>| io::Error::other(not_spoken(terms.is_tls(), error));
        let (sender, mut connection) = handshake.await.map_err(|error| ended(Some(&error)))?;
        std::future::poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(done) => Poll::Ready(Err(ended(done.as_ref().err()))),
            Poll::Pending if sender.current_max_send_streams() > 0 => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        })
        .await?;
        counted.set_idle(true);
        let link = Rc::new(Self {
            sender: RefCell::new(Some(sender)),
            wire,
            terms,
            counted: RefCell::new(Some(counted)),
            streams: Cell::new(0),
            served: Cell::new(false),
            idle_since_us: Cell::new(now_us),
            heard_us: Cell::new(now_us),
            asked_us: Cell::new(0),
            owes_pong: Cell::new(false),
            used: Cell::new(false),
            order: Cell::default(),
            driver: RefCell::new(None),
        });
        tokio::task::spawn_local(Rc::clone(&link).drive(connection));
        Ok(link)
    }

    /// What it was made for.
    pub(in crate::proxy) const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Whether one more stream is within `max_streams` and what the endpoint allows.
    pub(in crate::proxy) fn has_room(&self, max_streams: u32) -> bool {
        let sender = self.sender.borrow();
        let allowed = sender.as_ref().map_or(0, SendRequest::current_max_send_streams);
        let streams = self.streams.get();
        streams < max_streams && (streams as usize) < allowed
    }

    /// Whether nothing is open on it.
    pub(in crate::proxy) fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// Whether a request has had an answer here.
    pub(in crate::proxy) fn has_served(&self) -> bool {
        self.served.get()
    }

    /// An answer has come.
    pub(super) fn serves(&self) {
        self.served.set(true);
    }

    /// Whether WebSockets may be asked for (RFC 8441 §3).
    pub(in crate::proxy) fn takes_tunnels(&self) -> bool {
        let sender = self.sender.borrow();
        sender
            .as_ref()
            .is_some_and(SendRequest::is_extended_connect_protocol_enabled)
    }

    /// Whether nothing has come that the driver has not seen, such as the end. Costs a system call.
    pub(in crate::proxy) fn is_quiet_now(&self) -> bool {
        self.wire.socket.borrow().is_empty_now()
    }

    /// Bytes written so far.
    pub(super) fn written(&self) -> u64 {
        self.wire.written.get()
    }

    /// Begins a stream. `None`: it takes no more, and nothing of the request has gone out.
    pub(super) fn begin(
        self: &Rc<Self>,
        request: Request<()>,
        is_whole: bool,
    ) -> Option<(OpenStream, ResponseFuture, SendStream<Bytes>)> {
        // A handle of its own: streams that ended a moment ago may still count, and then it waits for its turn.
        let mut sender = self.sender.borrow().clone()?;
        let Ok((response, send)) = sender.send_request(request, is_whole) else {
            self.retire();
            return None;
        };
        if self.streams.replace(self.streams.get() + 1) == 0 {
            self.set_idle(false);
        }
        self.used.set(true);
        let open = OpenStream { link: Rc::clone(self) };
        Some((open, response, send))
    }

    /// Takes no more requests; ends once those are over that it has.
    pub(super) fn retire(&self) {
        self.sender.take();
    }

    /// Closes it, with nothing open on it.
    pub(in crate::proxy) fn close(&self) {
        self.retire();
        if self.is_idle() {
            self.set_idle(false);
        }
        self.counted.take();
    }

    /// Looks after it once a second; `false` when it is of no more use: it takes no more requests, has been idle for
    /// `idle_us`, or does not answer.
    pub(in crate::proxy) fn look(&self, now_us: u64, idle_us: u64) -> bool {
        if self.wire.heard.take() {
            self.heard_us.set(now_us);
            self.owes_pong.set(false);
        }
        if self.sender.borrow().is_none() {
            if self.is_idle() {
                self.close();
                return false;
            }
        } else if self.is_idle() && now_us.saturating_sub(self.idle_since_us.get()) >= idle_us {
            self.close();
            return false;
        }
        let asked_us = self.asked_us.get();
        if self.owes_pong.get() {
            if now_us.saturating_sub(asked_us) >= PONG_US {
                self.close();
                self.order(Order::Abandon);
                return false;
            }
        } else if now_us.saturating_sub(self.heard_us.get()) >= SILENCE_US
            && (self.used.get() || now_us.saturating_sub(asked_us) >= ASK_AGAIN_US)
        {
            self.used.set(false);
            self.asked_us.set(now_us);
            self.owes_pong.set(true);
            self.order(Order::Ping);
        }
        if self.is_idle() && self.idle_since_us.get() == 0 {
            self.idle_since_us.set(now_us);
        }
        true
    }

    fn order(&self, order: Order) {
        self.order.set(order);
        if let Some(waker) = self.driver.take() {
            waker.wake();
        }
    }

    fn set_idle(&self, idle: bool) {
        if let Some(counted) = &*self.counted.borrow() {
            counted.set_idle(idle);
        }
    }

    /// Drives the connection until it ends.
    async fn drive(self: Rc<Self>, mut connection: client::Connection<Io, Bytes>) {
        let mut pings = connection.ping_pong();
        let mut connection = pin!(connection);
        std::future::poll_fn(|cx| {
            match &mut *self.driver.borrow_mut() {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            match self.order.take() {
                Order::Abandon => return Poll::Ready(()),
                Order::Ping => {
                    if let Some(pings) = &mut pings {
                        // The last one was answered: it is not asked again before.
                        let _ = pings.send_ping(Ping::opaque());
                    }
                }
                Order::GoOn => {}
            }
            if let Some(pings) = &mut pings {
                let _ = pings.poll_pong(cx); // heard at the socket
            }
            connection.as_mut().poll(cx).map(|_| ())
        })
        .await;
        self.retire();
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let left = self.link.streams.get() - 1;
        self.link.streams.set(left);
        if left == 0 {
            self.link.idle_since_us.set(0);
            self.link.set_idle(true);
        }
    }
}

/// The bytes below a connection, for its engine and for us.
struct Wire {
    socket: RefCell<Socket>,
    /// Bytes have come since this was last looked at.
    heard: Cell<bool>,
    /// Bytes that have gone out.
    written: Cell<u64>,
}

/// What the engine reads and writes.
struct Io(Rc<Wire>);

impl Io {
    fn with<R>(&self, f: impl FnOnce(Pin<&mut Socket>) -> R) -> R {
        f(Pin::new(&mut *self.0.socket.borrow_mut()))
    }

    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = written {
            self.0.written.set(self.0.written.get() + n as u64);
        }
        written
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = self.with(|socket| socket.poll_read(cx, buf));
        if buf.filled().len() > before {
            self.0.heard.set(true);
        }
        read
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.wrote(self.with(|socket| socket.poll_write(cx, buf)))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.wrote(self.with(|socket| socket.poll_write_vectored(cx, bufs)))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|socket| socket.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|socket| socket.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;

    use tokio::net::{TcpListener, TcpStream};

    use super::{ASK_AGAIN_US, Counted, Link, PONG_US, SILENCE_US, Socket, Terms};
    use crate::name::Name;
    use crate::route::{Endpoint, EndpointId};

    const IDLE_US: u64 = u64::MAX;

    /// A link, its endpoint, and what serves on the other side; the socket there is open as long as the last is kept.
    async fn link() -> (Rc<Link>, Arc<Endpoint>, (tokio::task::AbortHandle, std::net::TcpStream)) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let name = Name::new("app").expect("a name");
        let endpoint = Arc::new(Endpoint::new(
            EndpointId(0),
            name,
            address.to_string().into(),
            Some(address),
            1,
        ));
        let tcp = TcpStream::connect(address).await.expect("it listens");
        let (theirs, _) = listener.accept().await.expect("it was connected");
        let theirs = theirs.into_std().expect("a socket");
        // Frozen, it takes and says nothing more, and does not close.
        let copy = theirs.try_clone().expect("a copy");
        let peer = tokio::task::spawn_local(async move {
            let mut serving = h2::server::handshake(TcpStream::from_std(theirs).expect("a socket"))
                .await
                .expect("a preface");
            while serving.accept().await.is_some() {}
        });
        let counted = Counted::new(Arc::clone(&endpoint), 0);
        let opened = Link::opened(Socket::Clear(tcp), Terms::default(), counted, 0, 100).await;
        (opened.expect("it speaks HTTP/2"), endpoint, (peer.abort_handle(), copy))
    }

    async fn settle() {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(flavor = "local")]
    async fn who_lives_is_kept_and_who_is_silent_is_not() {
        let (link, endpoint, (peer, _open)) = link().await;
        assert_eq!((endpoint.connections(), endpoint.idle()), (1, 1));
        assert!(link.has_room(100) && !link.has_room(0));
        assert!(link.look(1, IDLE_US));
        let mut now_us = SILENCE_US + 2;
        link.used.set(true);
        assert!(link.look(now_us, IDLE_US) && link.owes_pong.get(), "it is asked");
        while !link.wire.heard.get() {
            tokio::task::yield_now().await;
        }
        now_us += PONG_US;
        assert!(link.look(now_us, IDLE_US) && !link.owes_pong.get(), "it lives");
        now_us += SILENCE_US;
        assert!(
            link.look(now_us, IDLE_US) && !link.owes_pong.get(),
            "one question in one silence"
        );
        peer.abort();
        settle().await;
        now_us += ASK_AGAIN_US;
        assert!(link.look(now_us, IDLE_US) && link.owes_pong.get());
        assert!(link.look(now_us + PONG_US - 1, IDLE_US));
        assert!(!link.look(now_us + PONG_US, IDLE_US), "it does not answer");
        assert_eq!((endpoint.connections(), endpoint.idle()), (0, 0));
        assert!(!link.has_room(100));
    }

    #[tokio::test(flavor = "local")]
    async fn a_stream_has_its_place_until_it_is_dropped() {
        let (link, endpoint, _peer) = link().await;
        let request = || http::Request::get("http://app/").body(()).expect("a request");
        let (first, response, send) = link.begin(request(), true).expect("there is room");
        assert_eq!((link.streams.get(), endpoint.idle(), link.is_idle()), (1, 0, false));
        assert!(!link.has_room(1) && link.has_room(2));
        assert!(link.look(1, 0), "what is in use is not idle");
        drop((first, response, send));
        assert_eq!((link.streams.get(), endpoint.idle()), (0, 1));
        assert!(link.look(1, IDLE_US), "idle since now");
        assert!(!link.look(2, 1), "idle for too long");
        assert_eq!((endpoint.connections(), endpoint.idle()), (0, 0));
        assert!(link.begin(request(), true).is_none());
    }
}
