//! Adapter: hyper speaks HTTP/2 to clients. Requests and answers cross here into the types of the seam
//! and back.

use std::cell::{Cell, OnceCell};
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
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use smallvec::SmallVec;
use tokio::task::AbortHandle;

use super::batch::gather;
use super::body::{AnswerBody, Broken, ClientBody, Frame, Length, Outgoing, Source, Upload};
use super::client_io::ClientIo;
use super::connection::{ConnectionClock, Offer, Phase, Watched};
use super::fault::Fault;
use super::handle::{Answer, Client, Stamp, handle};
use super::headers;
use super::stream::Stream;
use super::worker::{Stage, Worker};
use crate::h1::is_forbidden_trailer;
use crate::head::{Fields, HeadBuilder, Method, RequestHead, ResponseHead, Version};
use crate::measure::RejectReason;
use crate::path::{PathPolicy, canonical};
use crate::route::ListenerSettings;

/// Serves HTTP/2 on `stream` until it ends.
pub(super) async fn serve_http2(worker: &Rc<Worker>, stream: Stream, client: Rc<Client>) {
    let watched = Watched::new(
        worker,
        ConnectionClock::new(client.settings, Phase::Idle, worker.now_us()),
    );
    let clock = Rc::clone(&watched.clock);
    let io = ClientIo {
        stream,
        worker: Rc::clone(worker),
        clock: Rc::clone(&clock),
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
                let head_only = *request.method() == http::Method::HEAD;
                let answer = answer(&worker, &client, request).await;
                let task = task.get();
                open.offer(task.cloned());
                let mut response = to_response(answer, head_only);
                if let (AnswerBody::Backend(body), Some(task)) = (&response.body().body, task) {
                    body.is_sent_by(task);
                }
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
}

/// Streams that one HTTP/2 client may have open.
const STREAMS: u32 = 256;

/// From a hyper request to an answer. A panic on the way costs this request only.
async fn answer(worker: &Rc<Worker>, client: &Client, request: http::Request<Incoming>) -> Answer {
    let (parts, incoming) = request.into_parts();
    let head = match to_head(&parts, &client.settings) {
        Ok(head) => head,
        Err(fault) => {
            if let Some(reason) = fault.reject_reason() {
                worker.cells().reject(reason);
            }
            return Answer::Own(fault, Stamp::default());
        }
    };
    let (body, upload) = if incoming.is_end_stream() {
        (Outgoing::Empty, None)
    } else {
        let upload = Upload::new();
        let body = ClientBody::new(Source::Http2(StreamBody(incoming)), &upload, worker);
        (Outgoing::Client(body), Some(upload))
    };
    let handled = AssertUnwindSafe(handle(worker, client, Rc::new(head), body, upload))
        .catch_unwind()
        .await;
    handled.unwrap_or_else(|_| {
        worker.cells().reject(RejectReason::Panic);
        Answer::Own(Fault::Panic, Stamp::default())
    })
}

/// The head of a request, or what is wrong with it.
fn to_head(parts: &http::request::Parts, settings: &ListenerSettings) -> Result<RequestHead, Fault> {
    if parts.headers.len() > settings.headers as usize {
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
    if authority.is_empty() {
        return Err(Fault::BadRequest("no :authority and no Host field"));
    }
    if !authority.bytes().all(is_host_byte) {
        return Err(Fault::BadRequest("the host holds bytes that no host has"));
    }
    let mut room = SmallVec::new();
    let target = target(parts, settings.paths, &mut room)?;
    let bytes: usize = parts
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    let mut head = HeadBuilder::with_capacity(bytes + authority.len() + target.len());
    let mut cookies = Vec::new();
    for (name, value) in &parts.headers {
        if name == header::COOKIE {
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
    Ok(head.request(Method::parse(parts.method.as_str()), Version::Http2, authority, target))
}

/// The target in origin form, canonical, in `room`; or `*`, which asks about the server itself
/// (RFC 9110 §9.3.7).
fn target<'r>(
    parts: &http::request::Parts,
    policy: PathPolicy,
    room: &'r mut SmallVec<[u8; 256]>,
) -> Result<&'r str, Fault> {
    let written = parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    if written == "*" && parts.method == http::Method::OPTIONS {
        return Ok("*");
    }
    // Of `http://host` and `http://host?query`.
    if written.is_empty() || written.starts_with('?') {
        room.push(b'/');
    }
    room.extend_from_slice(written.as_bytes());
    let form = canonical(room, policy).map_err(|problem| Fault::BadRequest(problem.detail()))?;
    Ok(std::str::from_utf8(&room[..form.len]).expect("a canonical target is ASCII"))
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
fn to_response(answer: Answer, head_only: bool) -> http::Response<Responding> {
    let (mut response, stamp) = match answer {
        Answer::Backend { head, body, stamp } => {
            let mut response = http::Response::new(Responding::new(body));
            *response.status_mut() = http::StatusCode::from_u16(head.status).unwrap_or(http::StatusCode::BAD_GATEWAY);
            let length = declared_length(&head, response.body().body.length());
            let map = response.headers_mut();
            map.reserve(head.fields.len() + 4);
            headers::response_fields(&head, |name, value| append(map, name, head.fields.share(value)));
            if let Some(length) = length {
                map.insert(header::CONTENT_LENGTH, length);
            }
            (response, stamp)
        }
        Answer::Flags(answer) => {
            let mut response = http::Response::new(Responding::new(AnswerBody::Own(None)));
            *response.status_mut() = http::StatusCode::from_u16(answer.status).unwrap_or_default();
            let map = response.headers_mut();
            for (name, value) in headers::ofrep_fields(&answer) {
                if let Ok(value) = HeaderValue::from_str(value) {
                    map.insert(HeaderName::from_static(name), value);
                }
            }
            if answer.status != 304 {
                map.insert(header::CONTENT_LENGTH, answer.body.len().into());
            }
            if !head_only && !answer.body.is_empty() {
                response.body_mut().body = AnswerBody::Own(Some(answer.body.into()));
            }
            (response, Stamp::default())
        }
        Answer::Redirect(location) => {
            let mut response = http::Response::new(Responding::new(AnswerBody::Own(None)));
            *response.status_mut() = http::StatusCode::PERMANENT_REDIRECT;
            let map = response.headers_mut();
            append(map, b"location", location);
            map.insert(header::SERVER, HeaderValue::from_static("serin"));
            map.insert(header::CONTENT_LENGTH, 0.into());
            (response, Stamp::default())
        }
        Answer::Own(fault, stamp) => {
            let problem = fault.problem();
            let length = problem.len();
            let body = AnswerBody::Own(Some(problem).filter(|_| !head_only));
            let mut response = http::Response::new(Responding::new(body));
            *response.status_mut() = http::StatusCode::from_u16(fault.status()).unwrap_or_default();
            let map = response.headers_mut();
            let problem = HeaderValue::from_static("application/problem+json");
            map.insert(header::CONTENT_TYPE, problem);
            map.insert(header::SERVER, HeaderValue::from_static("serin"));
            map.insert(header::CONTENT_LENGTH, length.into());
            if let Some((name, value)) = fault.field() {
                map.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            (response, stamp)
        }
        Answer::Switched { .. } => unreachable!("HTTP/2 requests are not passed on as upgrades"),
    };
    let map = response.headers_mut();
    let value = |bytes| HeaderValue::from_maybe_shared(bytes).ok();
    if let Some(served) = stamp.served
        && let (Some(variant), Some(generation)) = (value(served.variant), value(served.generation))
    {
        map.insert(VARIANT, variant);
        map.insert(GENERATION, generation);
    }
    if let Some(cookie) = stamp.cookie.and_then(value) {
        map.append(header::SET_COOKIE, cookie);
    }
    if let Some(hsts) = stamp.hsts.and_then(value) {
        map.insert(header::STRICT_TRANSPORT_SECURITY, hsts);
    }
    response
}

/// What `content-length` says: of the body, or of the one that a HEAD or a 304 only describes.
fn declared_length(head: &ResponseHead, length: Length) -> Option<HeaderValue> {
    match length {
        Length::Known(n) => Some(n.into()),
        Length::Unknown => None,
        Length::Empty => HeaderValue::from_bytes(head.fields.get("content-length")?).ok(),
    }
}

fn append(map: &mut HeaderMap, name: &[u8], value: Bytes) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_maybe_shared(value)) {
        map.append(name, value);
    }
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
    for (name, value) in fields.iter() {
        if !is_forbidden_trailer(name) {
            append(&mut map, name, fields.share(value));
        }
    }
    map
}

/// The body of a request as it comes on its stream.
pub(super) struct StreamBody(Incoming);

impl StreamBody {
    /// The next part.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Broken>>> {
        Pin::new(&mut self.0).poll_frame(cx).map(|next| next.map(to_frame))
    }

    /// Whether nothing more comes.
    pub(super) fn is_end(&self) -> bool {
        self.0.is_end_stream()
    }

    /// What is still to come.
    pub(super) fn length(&self) -> Length {
        match self.0.size_hint().exact() {
            _ if self.is_end() => Length::Empty,
            Some(n) => Length::Known(n),
            None => Length::Unknown,
        }
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
    open: Option<OpenStream>,
}

impl Responding {
    const fn new(body: AnswerBody) -> Self {
        Self { body, open: None }
    }
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
