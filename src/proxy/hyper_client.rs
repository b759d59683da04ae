//! Adapter: hyper speaks HTTP/1.1 to endpoints. No task and no channel of ours: a connection is
//! polled by whoever uses it. What happened is seen at the socket, not guessed from an error's text.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::body::{Broken, Frame, Length, Outgoing};
use super::h2_server::{to_fields, to_header_map};
use super::ledger::Late;
use crate::head::{HeadBuilder, RequestHead, ResponseHead, Version};
use crate::route::Endpoint;

/// A connection to an endpoint.
pub(super) struct Connection {
    sender: http1::SendRequest<Outgoing>,
    driver: http1::Connection<TokioIo<Socket>, Outgoing>,
    seen: Rc<Seen>,
    endpoint: Arc<Endpoint>,
    worker: usize,
    closed: bool,
}

/// Why a request got no response head.
pub(super) enum SendFault {
    /// Closed from the other side before any byte of a response; the body comes back when none of
    /// it was taken, and `unsent` when not one byte of the request went out.
    Closed { unsent: bool, body: Option<Outgoing> },
    /// The response began and broke off.
    Truncated,
    /// What came is no response.
    Malformed,
    /// Somebody was too slow.
    Late(Late),
}

/// What the socket has shown since the present request was sent.
#[derive(Default)]
struct Seen {
    read: Cell<u64>,
    written: Cell<u64>,
    /// End of stream, or an error of reading or writing.
    ended: Cell<bool>,
}

impl Connection {
    /// Speaks HTTP/1.1 on `tcp`, which leads to `endpoint`.
    pub(super) async fn open(tcp: TcpStream, endpoint: Arc<Endpoint>, worker: usize) -> Result<Self, hyper::Error> {
        let seen = Rc::new(Seen::default());
        endpoint.cell(worker).add_connections(1);
        let socket = Socket {
            tcp,
            seen: Rc::clone(&seen),
            endpoint: Arc::clone(&endpoint),
            worker,
        };
        let (sender, driver) = http1::Builder::new()
            .writev(false)
            .max_buf_size(128 * 1024)
            .handshake(TokioIo::new(socket))
            .await?;
        Ok(Self {
            sender,
            driver,
            seen,
            endpoint,
            worker,
            closed: false,
        })
    }

    /// Drives the connection; `false` when it has ended.
    pub(super) fn is_alive(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.closed && self.driver.poll_without_shutdown(cx).is_ready() {
            self.closed = true;
        }
        !self.closed && !self.sender.is_closed()
    }

    /// Whether the next request can be sent at once.
    pub(super) fn is_ready(&mut self, cx: &mut Context<'_>) -> bool {
        self.is_alive(cx) && self.sender.is_ready()
    }

    /// Books the connection as idle, or no longer.
    pub(super) fn set_idle(&self, idle: bool) {
        self.endpoint.cell(self.worker).add_idle(if idle { 1 } else { -1 });
    }

    /// Sends a request and waits for the head of its response. `late` is asked whenever there is
    /// nothing to do.
    pub(super) async fn send(
        &mut self,
        head: &RequestHead,
        host: Bytes,
        fields: impl FnOnce(&mut dyn FnMut(&[u8], Bytes)),
        body: Outgoing,
        mut late: impl FnMut(&Context<'_>) -> Poll<Late>,
    ) -> Result<(Box<ResponseHead>, Incoming), SendFault> {
        self.seen.begin();
        let mut response = pin!(self.sender.try_send_request(to_request(head, host, fields, body)));
        let (driver, closed, seen) = (&mut self.driver, &mut self.closed, &self.seen);
        std::future::poll_fn(|cx| {
            if !*closed && driver.poll_without_shutdown(cx).is_ready() {
                *closed = true;
            }
            // The driver is polled by nobody but us: what it tells us needs no second wake-up.
            match response.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(response)) if is_ambiguous(response.headers()) => Poll::Ready(Err(SendFault::Malformed)),
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(to_response(response))),
                Poll::Ready(Err(mut error)) => Poll::Ready(Err(if seen.read.get() == 0 && seen.ended.get() {
                    let unsent = seen.written.get() == 0;
                    let body = error.take_message().map(http::Request::into_body);
                    SendFault::Closed { unsent, body }
                } else if seen.ended.get() {
                    SendFault::Truncated
                } else {
                    SendFault::Malformed
                })),
                Poll::Pending => late(cx).map(|late| Err(SendFault::Late(late))),
            }
        })
        .await
    }

    /// After a 101: the bare stream, and what was read of it already.
    pub(super) fn into_stream(self) -> (Socket, Bytes) {
        let parts = self.driver.into_parts();
        (parts.io.into_inner(), parts.read_buf)
    }
}

/// The body of a response, with the connection that it comes on.
pub(super) struct ResponseBody {
    incoming: Incoming,
    connection: Box<Connection>,
}

impl ResponseBody {
    pub(super) fn new(incoming: Incoming, connection: Box<Connection>) -> Self {
        Self { incoming, connection }
    }

    /// The next part; drives the connection when there is none yet.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Broken>>> {
        let mut quiet = Context::from_waker(Waker::noop());
        let mut next = Pin::new(&mut self.incoming).poll_frame(&mut quiet);
        if next.is_pending() && !self.connection.closed {
            let _ = self.connection.is_alive(cx);
            next = Pin::new(&mut self.incoming).poll_frame(&mut quiet);
        }
        next.map(|next| next.map(to_frame))
    }

    /// Whether nothing more comes.
    pub(super) fn is_end(&self) -> bool {
        self.incoming.is_end_stream()
    }

    /// What is still to come.
    pub(super) fn length(&self) -> Length {
        length(&self.incoming)
    }

    /// The connection, once the body has ended.
    pub(super) fn into_connection(self) -> Box<Connection> {
        self.connection
    }
}

/// A part of a hyper body as ours.
pub(super) fn to_frame(frame: Result<http_body::Frame<Bytes>, hyper::Error>) -> Result<Frame, Broken> {
    let frame = frame.map_err(|_| Broken)?;
    Ok(match frame.into_data() {
        Ok(data) => Frame::Data(data),
        Err(frame) => Frame::Trailers(Box::new(to_fields(&frame.into_trailers().unwrap_or_default()))),
    })
}

/// The length of a hyper body.
pub(super) fn length(body: &Incoming) -> Length {
    match body.size_hint().exact() {
        _ if body.is_end_stream() => Length::Empty,
        Some(n) => Length::Known(n),
        None => Length::Unknown,
    }
}

fn to_request(
    head: &RequestHead,
    host: Bytes,
    fields: impl FnOnce(&mut dyn FnMut(&[u8], Bytes)),
    body: Outgoing,
) -> http::Request<Outgoing> {
    // hyper would drop a body of unknown length of a GET, and trailers after a known length.
    let chunked = match &body {
        Outgoing::Empty | Outgoing::Whole(_) => false,
        Outgoing::Client(body) => body.length() == Length::Unknown || head.fields().get("trailer").is_some(),
    };
    let mut request = http::Request::new(body);
    *request.method_mut() = http::Method::from_bytes(head.method().as_str().as_bytes()).unwrap_or_default();
    *request.uri_mut() = http::Uri::from_maybe_shared(head.target_shared()).unwrap_or_default();
    let map = request.headers_mut();
    map.reserve(head.fields().len() + 10);
    if let Ok(host) = HeaderValue::from_maybe_shared(host) {
        map.insert(http::header::HOST, host);
    }
    if chunked {
        map.insert(http::header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    fields(&mut |name, value| {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_maybe_shared(value)) {
            map.append(name, value);
        }
    });
    request
}

/// Whether two readers could see two bodies (RFC 9112 §6.3): a length beside chunks, or a coding that
/// would be lost with the name that stops here.
fn is_ambiguous(fields: &http::HeaderMap) -> bool {
    let mut codings = fields.get_all(http::header::TRANSFER_ENCODING).iter();
    codings.next().is_some_and(|coding| {
        !coding.as_bytes().eq_ignore_ascii_case(b"chunked")
            || codings.next().is_some()
            || fields.contains_key(http::header::CONTENT_LENGTH)
    })
}

fn to_response(response: http::Response<Incoming>) -> (Box<ResponseHead>, Incoming) {
    let (parts, body) = response.into_parts();
    let bytes = parts
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    let mut head = HeadBuilder::with_capacity(bytes);
    for (name, value) in &parts.headers {
        head.field(name.as_str().as_bytes(), value.as_bytes());
    }
    let version = if parts.version == http::Version::HTTP_10 {
        Version::Http10
    } else {
        Version::Http11
    };
    (Box::new(head.response(parts.status.as_u16(), version)), body)
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<http_body::Frame<Bytes>, Broken>>> {
        let body = match self.get_mut() {
            Self::Empty => return Poll::Ready(None),
            Self::Whole(_) => unreachable!("not made yet"),
            Self::Client(body) => body,
        };
        Poll::Ready(ready!(body.poll_frame(cx)).map(|frame| {
            frame.map(|frame| match frame {
                Frame::Data(data) => http_body::Frame::data(data),
                Frame::Trailers(fields) => http_body::Frame::trailers(to_header_map(&fields)),
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Client(body) => body.is_end(),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Empty => http_body::SizeHint::with_exact(0),
            Self::Whole(bytes) => http_body::SizeHint::with_exact(bytes.len() as u64),
            Self::Client(body) => size_hint(body.length()),
        }
    }
}

/// A length as hyper wants it.
pub(super) fn size_hint(length: Length) -> http_body::SizeHint {
    match length {
        Length::Empty => http_body::SizeHint::with_exact(0),
        Length::Known(n) => http_body::SizeHint::with_exact(n),
        Length::Unknown => http_body::SizeHint::default(),
    }
}

impl Seen {
    fn begin(&self) {
        self.read.set(0);
        self.written.set(0);
    }

    /// Notes what an operation that moved `n` bytes, or none, has shown.
    fn note(&self, counter: &Cell<u64>, moved: &Poll<io::Result<usize>>) {
        match moved {
            Poll::Ready(Ok(0) | Err(_)) => self.ended.set(true),
            Poll::Ready(Ok(n)) => counter.set(counter.get() + *n as u64),
            Poll::Pending => {}
        }
    }
}

/// A socket that notes what passes, and counts itself among its endpoint's connections.
pub(super) struct Socket {
    tcp: TcpStream,
    seen: Rc<Seen>,
    endpoint: Arc<Endpoint>,
    worker: usize,
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.tcp).poll_read(cx, buf);
        let moved = match &result {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(buf.filled().len() - before)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.kind().into())),
            Poll::Pending => Poll::Pending,
        };
        self.seen.note(&self.seen.read, &moved);
        result
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let moved = Pin::new(&mut self.tcp).poll_write(cx, buf);
        self.seen.note(&self.seen.written, &moved);
        moved
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.endpoint.cell(self.worker).add_connections(-1);
    }
}
