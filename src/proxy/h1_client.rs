//! HTTP/1.1 to endpoints. No task and no channel: a connection is polled by whoever uses it, and holds buffers
//! of its worker only while bytes pass. What happened is seen at the socket.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::mem::{MaybeUninit, take};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

use super::body::{Frame, Length, Outgoing};
use super::buffers::{Buffers, LARGE, SMALL};
use super::h1_send::Sending;
use super::headers::Forwarding;
use super::ledger::Late;
use crate::h1::{Asked, BodyDecoder, Framing, HeadLimits, Part, Response, ResponseDecoder};
use crate::head::{Method, ResponseHead};
use crate::route::Endpoint;

/// Heads of responses: more than any server sends in earnest, and what one exchange may cost us at most.
const LIMITS: HeadLimits = HeadLimits {
    bytes: 128 * 1024,
    fields: 256,
    target_bytes: 0, // of requests only
};

/// A body of which so much is still to come is read in large pieces.
const LARGE_BODY: u64 = 32 * 1024;

/// Less room than this is not worth a read of its own.
const ROOM_MIN: usize = 4 * 1024;

/// A connection to an endpoint.
pub(super) struct Connection {
    tcp: TcpStream,
    counted: Counted,
    sending: Sending,
    heads: ResponseDecoder,
    body: BodyDecoder,
    framing: Framing,
    /// What was read and not used yet. Without memory while nothing comes.
    input: BytesMut,
    /// The room that the memory of `input` was made with: [`SMALL`], [`LARGE`], or 0 where there is none.
    input_size: usize,
    /// Whether to read in large pieces: the last exchange did well to.
    large: bool,
    /// Whether the present exchange does well to.
    flows: bool,
    /// A byte has come since the present request was begun.
    heard: bool,
    /// Another request may follow, as far as the response says.
    keep_alive: bool,
}

/// Why a request got no response head.
pub(super) enum SendFault {
    /// Closed from the other side before any byte of a response; the body comes back when none of it is gone,
    /// and `unsent` when not one byte of the request went out.
    Closed { unsent: bool, body: Option<Outgoing> },
    /// The response began and broke off.
    Truncated,
    /// What came is no response.
    Malformed,
    /// The client's body broke off, or is not as long as it said.
    Upload,
    /// Somebody was too slow.
    Late(Late),
}

/// Whose fault it is that a body did not come whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFault {
    /// The endpoint broke off, or broke the framing.
    Endpoint,
    /// The client's own body broke, which was still on its way up.
    Upload,
}

impl Connection {
    /// Speaks HTTP/1.1 on `tcp`, which leads to `endpoint`.
    pub(super) fn new(tcp: TcpStream, endpoint: Arc<Endpoint>, worker: usize) -> Self {
        Self {
            tcp,
            counted: Counted::new(endpoint, worker),
            sending: Sending::default(),
            heads: ResponseDecoder::new(LIMITS),
            body: BodyDecoder::new(Framing::Empty),
            framing: Framing::Empty,
            input: BytesMut::new(),
            input_size: 0,
            large: false,
            flows: false,
            heard: false,
            keep_alive: false,
        }
    }

    /// Whether an idle connection may be used: nothing has come on it, not even its end. Looks only where the
    /// runtime has seen something: that costs no system call.
    pub(super) fn is_quiet(&mut self) -> bool {
        // Who uses it will poll it again, and be woken then.
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut self.tcp)
            .poll_read(&mut cx, &mut ReadBuf::new(&mut [0]))
            .is_pending()
    }

    /// The same, with a look at the socket itself: for requests that must not be lost on a connection that was
    /// closed a moment ago.
    pub(super) fn is_quiet_now(&mut self) -> bool {
        self.is_quiet()
            && SockRef::from(&self.tcp)
                .peek(&mut [MaybeUninit::uninit()])
                .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Books the connection as idle, or no longer.
    pub(super) fn set_idle(&self, idle: bool) {
        let Counted { endpoint, worker } = &self.counted;
        endpoint.cell(*worker).add_idle(if idle { 1 } else { -1 });
    }

    /// Sends a request and waits for the head of its response, which may come before the whole request has gone
    /// out. `host` goes out as `Host`; `late` is asked whenever there is nothing to do.
    pub(super) async fn send(
        &mut self,
        buffers: &RefCell<Buffers>,
        forwarding: &Forwarding<'_>,
        host: &[u8],
        body: Outgoing,
        mut late: impl FnMut(&Context<'_>) -> Poll<Late>,
    ) -> Result<Box<ResponseHead>, SendFault> {
        let out = buffers.borrow_mut().output();
        self.sending.begin(out, forwarding, host, body);
        self.heard = false;
        self.flows = false;
        let asked = Asked {
            head: *forwarding.head.method() == Method::Head,
            upgrade: forwarding.upgrade,
        };
        poll_fn(|cx| {
            if self.poll_send(cx, buffers).is_err() {
                return Poll::Ready(Err(SendFault::Upload));
            }
            match self.poll_head(cx, buffers, asked) {
                Poll::Pending => late(cx).map(|late| Err(SendFault::Late(late))),
                ready => ready,
            }
        })
        .await
    }

    /// The next part of the response's body. Goes on with the request where the answer was early.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &RefCell<Buffers>,
    ) -> Poll<Option<Result<Frame, BodyFault>>> {
        self.poll_send(cx, buffers)?;
        loop {
            if !self.input.is_empty() {
                match self.body.decode(&mut self.input) {
                    Ok(part) if self.body.is_done() && !self.input.is_empty() => {
                        // Bytes behind the end belong to nobody: neither end nor body can be trusted.
                        drop(part);
                        return Poll::Ready(Some(Err(BodyFault::Endpoint)));
                    }
                    Ok(Some(Part::Data(data))) => return Poll::Ready(Some(Ok(Frame::Data(data)))),
                    Ok(Some(Part::Trailers(fields))) => return Poll::Ready(Some(Ok(Frame::Trailers(fields)))),
                    Ok(None) => {}
                    Err(_) => return Poll::Ready(Some(Err(BodyFault::Endpoint))),
                }
            }
            if self.body.is_done() {
                return Poll::Ready(None);
            }
            self.flows |= self.body.remaining().is_some_and(|n| n >= LARGE_BODY);
            match ready!(self.poll_read(cx, buffers)) {
                Ok(n) if n > 0 => {}
                Ok(_) if self.body.end().is_ok() => return Poll::Ready(None),
                Ok(_) | Err(_) => return Poll::Ready(Some(Err(BodyFault::Endpoint))),
            }
        }
    }

    /// Whether the response's body is over.
    pub(super) fn is_end(&self) -> bool {
        self.body.is_done()
    }

    /// What is still to come of it.
    pub(super) fn length(&self) -> Length {
        match (self.framing, self.body.remaining()) {
            _ if self.is_end() => Length::Empty,
            (Framing::Length(_), Some(n)) => Length::Known(n),
            _ => Length::Unknown,
        }
    }

    /// Ends an exchange: gives the buffers back. `true` when another one may follow on this connection.
    pub(super) fn end(&mut self, buffers: &RefCell<Buffers>) -> bool {
        let reusable = self.keep_alive && self.body.is_done() && self.sending.is_complete() && self.input.is_empty();
        self.large = self.flows;
        let out = self.sending.end();
        if out.capacity() > 0 {
            buffers.borrow_mut().give_output(out);
        }
        self.give_input(buffers);
        reusable
    }

    /// After a 101: the bare stream, what was read of it already, and what counts it for as long as it is kept.
    pub(super) fn into_stream(self) -> (TcpStream, Bytes, Counted) {
        (self.tcp, self.input.freeze(), self.counted)
    }

    /// Goes on with the request, as far as that is possible now.
    fn poll_send(&mut self, cx: &mut Context<'_>, buffers: &RefCell<Buffers>) -> Result<(), BodyFault> {
        if self.sending.is_over() {
            return Ok(());
        }
        if let Poll::Ready(Err(_)) = self.sending.poll(cx, &mut self.tcp) {
            return Err(BodyFault::Upload);
        }
        if let Some(out) = self.sending.spare() {
            buffers.borrow_mut().give_output(out);
        }
        Ok(())
    }

    /// Reads until the head of a response is there. What the endpoint said before it stopped taking our bytes
    /// counts: a failed write is no end.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &RefCell<Buffers>,
        asked: Asked,
    ) -> Poll<Result<Box<ResponseHead>, SendFault>> {
        loop {
            match ready!(self.poll_read(cx, buffers)) {
                Ok(n) if n > 0 => self.heard = true,
                Ok(_) | Err(_) if self.heard => return Poll::Ready(Err(SendFault::Truncated)),
                Ok(_) | Err(_) => {
                    return Poll::Ready(Err(SendFault::Closed {
                        unsent: self.sending.is_unsent(),
                        body: self.sending.take_back(),
                    }));
                }
            }
            match self.heads.decode(&mut self.input, asked) {
                Ok(Some(response)) => return Poll::Ready(self.accept(response, buffers)),
                Ok(None) => {}
                Err(_) => return Poll::Ready(Err(SendFault::Malformed)),
            }
        }
    }

    /// Makes ready for the body of `response`.
    fn accept(&mut self, response: Response, buffers: &RefCell<Buffers>) -> Result<Box<ResponseHead>, SendFault> {
        let Response {
            head,
            framing,
            keep_alive,
        } = response;
        let here = self.input.len() as u64;
        let acceptable = match framing {
            // What follows a switch of protocols is the tunnel's.
            Framing::Empty if head.status == 101 => switches_to_websocket(&head),
            Framing::Empty => here == 0,
            Framing::Length(n) => here <= n,
            Framing::Chunked | Framing::Close => true,
        };
        if !acceptable {
            return Err(SendFault::Malformed);
        }
        self.framing = framing;
        self.body = BodyDecoder::new(framing);
        self.keep_alive = keep_alive;
        Ok(buffers.borrow_mut().head(head))
    }

    /// Reads once. `Ok(0)` is the end of the stream.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffers: &RefCell<Buffers>) -> Poll<io::Result<usize>> {
        // Memory is taken only when there is something to put into it: who waits holds none.
        match self.tcp.poll_read_ready(cx) {
            Poll::Pending if self.input.is_empty() => {
                self.give_input(buffers);
                return Poll::Pending;
            }
            Poll::Pending => return Poll::Pending,
            Poll::Ready(ready) => ready?,
        }
        self.make_room(buffers);
        let room = self.input.capacity() - self.input.len();
        let n = ready!(poll_read_buf(Pin::new(&mut self.tcp), cx, &mut self.input))?;
        // There is probably more where a read has filled the room.
        self.flows |= n >= SMALL || (n == room && n >= ROOM_MIN);
        Poll::Ready(Ok(n))
    }

    /// Sees to it that a read is worth its while.
    fn make_room(&mut self, buffers: &RefCell<Buffers>) {
        let large = self.large || self.flows;
        let size = if large { LARGE } else { SMALL };
        let room = self.input.capacity() - self.input.len();
        if !self.input.is_empty() {
            // The beginning of something: the rest must lie behind it.
            if room < ROOM_MIN {
                self.input.reserve(size);
            }
        } else if self.input_size != size || !(self.input.try_reclaim(size) || room >= size / 4) {
            // Of the other size, or what was read last is still in use.
            self.give_input(buffers);
            let mut buffers = buffers.borrow_mut();
            self.input = if large { buffers.large_input() } else { buffers.input() };
            self.input_size = size;
        }
    }

    fn give_input(&mut self, buffers: &RefCell<Buffers>) {
        let input = take(&mut self.input);
        match take(&mut self.input_size) {
            0 => {}
            LARGE => buffers.borrow_mut().give_large_input(input),
            _ => buffers.borrow_mut().give_input(input),
        }
    }
}

impl From<BodyFault> for super::body::Broken {
    fn from(_: BodyFault) -> Self {
        Self
    }
}

/// Whether a 101 is the switch that was asked for: we ask for no other.
fn switches_to_websocket(head: &ResponseHead) -> bool {
    let mut protocols = head.fields.get_all("upgrade");
    protocols
        .next()
        .is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
        && protocols.next().is_none()
}

/// Counts a connection among its endpoint's for as long as it is kept.
pub(super) struct Counted {
    endpoint: Arc<Endpoint>,
    worker: usize,
}

impl Counted {
    fn new(endpoint: Arc<Endpoint>, worker: usize) -> Self {
        endpoint.cell(worker).add_connections(1);
        Self { endpoint, worker }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.endpoint.cell(self.worker).add_connections(-1);
    }
}
