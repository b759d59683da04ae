//! Adapter: hyper speaks HTTP/1.1 and HTTP/2 to clients. Requests and answers cross here into the
//! types of the seam and back.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;

use super::batch::gather;
use super::body::{AnswerBody, Broken, Frame, Length, Outgoing, Upload};
use super::client_io::ClientIo;
use super::connection::{ConnectionClock, Offer, Phase};
use super::fault::Fault;
use super::forward::BackendBody;
use super::handle::{Answer, Client, handle};
use super::headers;
use super::stream::Stream;
use super::worker::{Stage, Worker};
use crate::head::{Fields, HeadBuilder, Method, RequestHead, Version};
use crate::measure::RejectReason;
use crate::route::ListenerSettings;

/// How a connection ended.
pub(super) enum End {
    /// Nothing more is owed to the client; close it.
    Closed(Stream),
    /// Closed from the other side, or broken: nothing to say.
    Gone,
    /// We refuse what came and say so.
    Refused(Stream, Fault),
    /// Bytes pass both ways from here on.
    Switched(Stream, BackendBody),
    /// Idle for a while: the next request needs an engine of its own.
    Resting(Stream),
}

/// Serves HTTP/1.1 on `stream` until it ends.
pub(super) async fn serve_http1(worker: &Rc<Worker>, stream: Stream, client: Rc<Client>) -> End {
    let clock = Rc::new(ConnectionClock::new(client.settings, Phase::Head, worker.now_us()));
    let key = worker.watch_connection(Rc::clone(&clock));
    let switched: Rc<RefCell<Option<BackendBody>>> = Rc::default();
    let io = ClientIo {
        stream,
        worker: Rc::clone(worker),
        clock: Rc::clone(&clock),
        http1: true,
        refusal: None,
        ended: false,
    };
    let service = service_fn(|request: http::Request<Incoming>| {
        clock.enter(Phase::Busy, 0);
        let (worker, client, clock, switched) = (worker, &client, &clock, &switched);
        async move {
            let (answer, http10) = answer(worker, client, request).await;
            let close = worker.stage() >= Stage::Announcing;
            let response = match answer {
                Answer::Switched { head, tunnel, stamp } => {
                    *switched.borrow_mut() = Some(tunnel);
                    to_response(
                        Answer::Backend {
                            head,
                            body: AnswerBody::Own(None),
                            stamp,
                        },
                        None,
                        close,
                        http10,
                    )
                }
                other => to_response(other, Some((Rc::clone(worker), Rc::clone(clock))), close, http10),
            };
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .writev(false)
        .max_buf_size((client.settings.header_bytes as usize).max(8192));
    if client.settings.headers != 100 {
        builder.max_headers(client.settings.headers as usize); // hyper's own default costs no allocation
    }
    let mut connection = builder.serve_connection(TokioIo::new(io), service);
    let (mut told, mut rests) = (false, false);
    let ended = std::future::poll_fn(|cx| {
        if clock.poll_late(cx).is_ready() {
            return Poll::Ready(None);
        }
        let ended = Pin::new(&mut connection).poll(cx);
        // What was readable has been read: who is idle now has not asked for anything.
        if ended.is_pending() && !told && clock.phase() == Phase::Idle && worker.stage() == Stage::Closing {
            told = true;
            Pin::new(&mut connection).graceful_shutdown();
            return Pin::new(&mut connection).poll(cx).map(Some);
        }
        if ended.is_pending() && clock.rests() {
            rests = true;
            return Poll::Ready(None);
        }
        ended.map(Some)
    })
    .await;
    worker.forget_connection(key);
    let parts = connection.into_parts();

    let mut io = parts.io.into_inner();
    io.stream.unread(parts.read_buf);
    match ended {
        None if rests => End::Resting(io.stream),
        None if clock.phase() == Phase::Head => {
            worker.cells().reject(RejectReason::HeadTimeout);
            End::Refused(io.stream, Fault::HeadTimeout)
        }
        None => End::Closed(io.stream),
        Some(_) => match (switched.take(), io.refusal) {
            (Some(tunnel), _) => End::Switched(io.stream, tunnel),
            (None, Some(fault)) => {
                if let Some(reason) = fault.reject_reason() {
                    worker.cells().reject(reason);
                }
                End::Refused(io.stream, fault)
            }
            (None, None) if io.ended => End::Gone,
            (None, None) => End::Closed(io.stream),
        },
    }
}

/// Serves HTTP/2 on `stream` until it ends.
pub(super) async fn serve_http2(worker: &Rc<Worker>, stream: Stream, client: Rc<Client>) {
    let clock = Rc::new(ConnectionClock::new(client.settings, Phase::Idle, worker.now_us()));
    let key = worker.watch_connection(Rc::clone(&clock));
    let io = ClientIo {
        stream,
        worker: Rc::clone(worker),
        clock: Rc::clone(&clock),
        http1: false,
        refusal: None,
        ended: false,
    };
    let (io, sender) = gather(io);
    let streams = Rc::new(Cell::new(0usize));
    let executor = LocalExecutor::default();
    let service = {
        let (worker, clock, next) = (Rc::clone(worker), Rc::clone(&clock), Rc::clone(&executor.next));
        service_fn(move |request: http::Request<Incoming>| {
            let (worker, client) = (Rc::clone(&worker), Rc::clone(&client));
            let task = Rc::new(OnceCell::new());
            next.replace(Some(Rc::clone(&task)));
            let mut open = OpenStream::new(&worker, &clock, &streams);
            // Boxed where it is made: the task that serves it is moved about, and stays small.
            Box::pin(async move {
                let (answer, _) = answer(&worker, &client, request).await;
                open.offer(task.get().cloned());
                let mut response = to_response(answer, None, false, false);
                response.body_mut().open = Some(open);
                Ok::<_, Infallible>(response)
            })
        })
    };
    let connection = http2::Builder::new(executor)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(clock.settings.header_bytes)
        .max_frame_size(16 * 1024)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    let mut told = false;
    std::future::poll_fn(|cx| {
        if !told && worker.stage() >= Stage::Announcing {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        if clock.poll_late(cx).is_ready() {
            if told {
                return Poll::Ready(()); // asked to leave before, and still here
            }
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        let ended = connection.as_mut().poll(cx).map(|_| ());
        match sender.poll_send(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(()),
            _ => ended,
        }
    })
    .await;
    worker.forget_connection(key);
}

/// Streams that one HTTP/2 client may have open.
const STREAMS: u32 = 256;

/// From a hyper request to an answer. A panic on the way costs this request only. Also says
/// whether the client speaks HTTP/1.0.
async fn answer(worker: &Rc<Worker>, client: &Client, request: http::Request<Incoming>) -> (Answer, bool) {
    let http10 = request.version() == http::Version::HTTP_10;
    let (parts, incoming) = request.into_parts();
    let head = match to_head(&parts, &client.settings) {
        Ok(head) => head,
        Err(fault) => {
            if let Some(reason) = fault.reject_reason() {
                worker.cells().reject(reason);
            }
            return (Answer::Own(fault, None), http10);
        }
    };
    let (body, upload) = if incoming.is_end_stream() {
        (Outgoing::Empty, None)
    } else {
        let upload = Upload::new();
        let body = ClientBody {
            incoming,
            upload: Rc::clone(&upload),
            worker: Rc::clone(worker),
        };
        (Outgoing::Client(body), Some(upload))
    };
    let handled = AssertUnwindSafe(handle(worker, client, Rc::new(head), body, upload))
        .catch_unwind()
        .await;
    let answer = handled.unwrap_or_else(|_| {
        worker.cells().reject(RejectReason::Panic);
        Answer::Own(Fault::Panic, None)
    });
    (answer, http10)
}

/// The head of a request, or what is wrong with it.
fn to_head(parts: &http::request::Parts, settings: &ListenerSettings) -> Result<RequestHead, Fault> {
    let version = match parts.version {
        http::Version::HTTP_10 => Version::Http10,
        http::Version::HTTP_2 => Version::Http2,
        _ => Version::Http11,
    };
    // HTTP/1 heads are counted as they are read.
    if version == Version::Http2 && parts.headers.len() > settings.headers as usize {
        return Err(Fault::HeadTooLarge);
    }
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = match hosts.next() {
        Some(host) => host
            .to_str()
            .map_err(|_| Fault::BadRequest("the Host field holds bytes that no host has"))?,
        None => "",
    };
    if hosts.next().is_some() {
        return Err(Fault::BadRequest("more than one Host field"));
    }
    let authority = match parts.uri.authority() {
        Some(authority) if !host.is_empty() && !authority.as_str().eq_ignore_ascii_case(host) => {
            return Err(Fault::BadRequest("the Host field and the target name different hosts"));
        }
        Some(authority) => authority.as_str(),
        None => host,
    };
    if authority.is_empty() && version != Version::Http10 {
        return Err(Fault::BadRequest("no Host field"));
    }
    if !authority.bytes().all(is_host_byte) {
        return Err(Fault::BadRequest("the host holds bytes that no host has"));
    }
    // hyper undoes chunks and no other coding; a backend would take what is left for the content.
    let codings = parts.headers.get_all(header::TRANSFER_ENCODING);
    let mut codings = codings.iter().map(HeaderValue::as_bytes);
    if codings
        .next()
        .is_some_and(|coding| !coding.eq_ignore_ascii_case(b"chunked"))
        || codings.next().is_some()
    {
        return Err(Fault::BadRequest("a transfer coding other than chunked"));
    }
    let target = match parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str) {
        "" => Cow::Borrowed("/"),
        query if query.starts_with('?') => Cow::Owned(format!("/{query}")), // of `http://host?query`
        target => Cow::Borrowed(target),
    };
    let bytes: usize = parts
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    let mut head = HeadBuilder::with_capacity(bytes + authority.len() + target.len());
    let mut cookies = Vec::new();
    for (name, value) in &parts.headers {
        if version == Version::Http2 && name == header::COOKIE {
            // HTTP/2 may split cookies; HTTP/1.1 has one field (RFC 9113 §8.2.3).
            cookies.extend_from_slice(if cookies.is_empty() { b"" } else { b"; " });
            cookies.extend_from_slice(value.as_bytes());
        } else {
            head.field(name.as_str().as_bytes(), value.as_bytes());
        }
    }
    if !cookies.is_empty() {
        head.field(b"cookie", &cookies);
    }
    Ok(head.request(Method::parse(parts.method.as_str()), version, authority, &target))
}

/// Bytes of RFC 3986 `host` and `port`; no userinfo.
const fn is_host_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(
            b,
            b'.' | b'-'
                | b'_'
                | b'~'
                | b':'
                | b'['
                | b']'
                | b'%'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
        )
}

/// An answer as hyper writes it.
fn to_response(
    answer: Answer,
    http1: Option<(Rc<Worker>, Rc<ConnectionClock>)>,
    close: bool,
    http10: bool,
) -> http::Response<Responding> {
    let (mut response, stamp, close) = match answer {
        Answer::Backend { head, body, stamp } => {
            let mut response = http::Response::new(Responding {
                body,
                http1,
                open: None,
            });
            *response.status_mut() = http::StatusCode::from_u16(head.status).unwrap_or(http::StatusCode::BAD_GATEWAY);
            let map = response.headers_mut();
            map.reserve(head.fields.len() + 3);
            headers::response_fields(&head, &mut |name, value| {
                if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_maybe_shared(value)) {
                    map.append(name, value);
                }
            });
            (response, stamp, close)
        }
        Answer::Own(fault, stamp) => {
            let body = AnswerBody::Own(Some(fault.problem()));
            let mut response = http::Response::new(Responding {
                body,
                http1,
                open: None,
            });
            *response.status_mut() = http::StatusCode::from_u16(fault.status()).unwrap_or_default();
            let map = response.headers_mut();
            map.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/problem+json"),
            );
            map.insert(header::SERVER, HeaderValue::from_static("serin"));
            if fault.status() == 503 {
                map.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            if fault.status() == 405 {
                map.insert(
                    header::ALLOW,
                    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
                );
            }
            (response, stamp, close || fault.closes())
        }
        Answer::Switched { .. } => unreachable!("switches are taken out before"),
    };
    let on_http1 = response.body().http1.is_some();
    let map = response.headers_mut();
    if let Some(stamp) = stamp {
        let value = |bytes| HeaderValue::from_maybe_shared(bytes).ok();
        if let (Some(variant), Some(generation)) = (value(stamp.variant), value(stamp.generation)) {
            map.insert(VARIANT, variant);
            map.insert(GENERATION, generation);
        }
    }
    if close && on_http1 {
        map.insert(header::CONNECTION, HeaderValue::from_static("close"));
    } else if http10 && on_http1 && response.body().body.length() == Length::Unknown {
        // HTTP/1.0 knows no chunks: the end of the connection is the end of the body.
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

const VARIANT: HeaderName = HeaderName::from_static("x-serin-variant");
const GENERATION: HeaderName = HeaderName::from_static("x-serin-generation");

/// Fields of a hyper map as ours.
fn to_fields(map: &HeaderMap) -> Fields {
    let mut head = HeadBuilder::default();
    for (name, value) in map {
        head.field(name.as_str().as_bytes(), value.as_bytes());
    }
    head.response(200, Version::Http11).fields
}

/// Our trailer fields as a hyper map, without those that trailers must not hold (RFC 9110 §6.5.1).
fn to_header_map(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields.iter_shared() {
        let framing: [&[u8]; 8] = [
            b"content-length",
            b"transfer-encoding",
            b"host",
            b"connection",
            b"trailer",
            b"content-encoding",
            b"content-type",
            b"content-range",
        ];
        if framing.contains(&name) || name.starts_with(b"x-serin-") {
            continue;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_maybe_shared(value)) {
            map.append(name, value);
        }
    }
    map
}

/// The body of a request as the client sends it.
pub(super) struct ClientBody {
    incoming: Incoming,
    upload: Rc<Upload>,
    worker: Rc<Worker>,
}

impl ClientBody {
    /// The next part. Notes when we wait for the client, and when it breaks off.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Broken>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending => {
                self.upload.wait(self.worker.now_us());
                Poll::Pending
            }
            Poll::Ready(frame) => {
                self.upload.arrived(|| self.worker.now_us());
                let frame = frame.map(to_frame);
                match &frame {
                    Some(Err(_)) => self.upload.break_off(),
                    None => self.upload.complete(),
                    Some(Ok(Frame::Trailers(_))) => self.upload.complete(),
                    Some(Ok(_)) if self.incoming.is_end_stream() => self.upload.complete(),
                    Some(Ok(_)) => {}
                }
                Poll::Ready(frame)
            }
        }
    }

    pub(super) fn is_end(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub(super) fn length(&self) -> Length {
        length(&self.incoming)
    }
}

/// A part of a hyper body as ours.
fn to_frame(frame: Result<http_body::Frame<Bytes>, hyper::Error>) -> Result<Frame, Broken> {
    let frame = frame.map_err(|_| Broken)?;
    Ok(match frame.into_data() {
        Ok(data) => Frame::Data(data),
        Err(frame) => Frame::Trailers(Box::new(to_fields(&frame.into_trailers().unwrap_or_default()))),
    })
}

/// The length of a hyper body.
fn length(body: &Incoming) -> Length {
    match body.size_hint().exact() {
        _ if body.is_end_stream() => Length::Empty,
        Some(n) => Length::Known(n),
        None => Length::Unknown,
    }
}

/// A length as hyper wants it.
fn size_hint(length: Length) -> http_body::SizeHint {
    match length {
        Length::Empty => http_body::SizeHint::with_exact(0),
        Length::Known(n) => http_body::SizeHint::with_exact(n),
        Length::Unknown => http_body::SizeHint::default(),
    }
}

/// The body of an answer, as hyper pulls it.
struct Responding {
    body: AnswerBody,
    /// Back to idle when the body is done.
    http1: Option<(Rc<Worker>, Rc<ConnectionClock>)>,
    open: Option<OpenStream>,
}

impl http_body::Body for Responding {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Broken>>> {
        let next = self.body.poll_frame(cx);
        if let Some(open) = &self.open {
            open.taking(next.is_ready());
        }
        Poll::Ready(ready!(next).map(|frame| {
            frame.map(|frame| match frame {
                Frame::Data(data) => http_body::Frame::data(data),
                Frame::Trailers(fields) => http_body::Frame::trailers(to_header_map(&fields)),
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        size_hint(self.body.length())
    }
}

impl Drop for Responding {
    fn drop(&mut self) {
        if let Some((worker, clock)) = self.http1.take() {
            clock.enter(Phase::Idle, worker.recent_us());
        }
    }
}

/// Counts an HTTP/2 stream among the open ones; the last to close makes the connection idle.
struct OpenStream {
    worker: Rc<Worker>,
    clock: Rc<ConnectionClock>,
    streams: Rc<Cell<usize>>,
    /// Once there is an answer: whether the client takes it.
    offer: Option<(usize, Rc<Offer>)>,
}

impl OpenStream {
    fn new(worker: &Rc<Worker>, clock: &Rc<ConnectionClock>, streams: &Rc<Cell<usize>>) -> Self {
        streams.set(streams.get() + 1);
        clock.enter(Phase::Busy, 0);
        Self {
            worker: Rc::clone(worker),
            clock: Rc::clone(clock),
            streams: Rc::clone(streams),
            offer: None,
        }
    }

    /// There is an answer, which `task` sends as far as the client's windows allow.
    fn offer(&mut self, task: Option<AbortHandle>) {
        if let Some(task) = task {
            let offer = Offer::new(task, self.worker.recent_us());
            self.offer = Some((self.clock.watch(Rc::clone(&offer)), offer));
        }
    }

    /// The client has room for more, of which there is some or not.
    fn taking(&self, some: bool) {
        if let Some((_, offer)) = &self.offer {
            offer.taking(some, self.worker.recent_us());
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        if let Some((key, _)) = self.offer {
            self.clock.forget(key);
        }
        self.streams.set(self.streams.get() - 1);
        if self.streams.get() == 0 {
            self.clock.enter(Phase::Idle, self.worker.now_us());
        }
    }
}

/// Runs HTTP/2 streams as tasks of this thread, which can be ended from outside.
#[derive(Clone, Default)]
struct LocalExecutor {
    /// Where the handle of the next task is wanted: a request is made a task at once.
    next: Rc<Cell<Option<Rc<OnceCell<AbortHandle>>>>>,
}

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        let task = tokio::task::spawn_local(future).abort_handle();
        if let Some(wanted) = self.next.take() {
            // It is empty: each is filled once.
            let _ = wanted.set(task);
        }
    }
}
