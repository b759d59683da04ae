//! The exchange with an endpoint: a connection, the request, the response's head and body.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::body::{Broken, Frame, Length, Outgoing, Upload};
use super::fault::Fault;
use super::grpc;
use super::h1_client::{BodyFault, Connection, Counted, SendFault};
use super::h2_io::Duplex;
use super::headers::Forwarding;
use super::ledger::{Late, Ledger};
use super::tunnel::Tunnel;
use super::upstream::{self, Attempt, ClientAddresses, Link, NOT_IN_TIME, OpenStream, Socket, Terms, dial};
use super::websocket;
use super::worker::Worker;
use crate::head::{Fields, ResponseHead, Version};
use crate::measure::Outcome;
use crate::route::{Backend, BackendProtocol, Endpoint, Variant};

/// So often a request is sent anew that HTTP/2 endpoints say they have not worked on.
const REFUSALS_MAX: u32 = 3;

/// A response whose head has come.
pub(super) struct Response {
    pub(super) head: Box<ResponseHead>,
    pub(super) body: BackendBody,
}

/// The body of a backend's response. Records the exchange when it ends, breaks or is dropped.
pub(super) struct BackendBody {
    /// What it comes on; `None` once it has ended: the connection is back in the pool.
    carrier: Option<Carrier>,
    ledger: Option<Ledger>,
    upload: Option<Rc<Upload>>,
    endpoint: Arc<Endpoint>,
    /// Counts it for as long as it is kept.
    tunnel: Option<Tunnel>,
}

/// What an exchange goes over.
enum Carrier {
    /// A connection of its own.
    Http1(Box<Connection>),
    /// A stream of one that it shares.
    Http2(Box<upstream::Exchange>),
}

/// The backend's side of a tunnel.
pub(super) enum Far {
    /// A connection of its own, and what counts it.
    Http1(Socket, Counted),
    /// A stream, and its place on the connection.
    Http2(Duplex, OpenStream),
}

/// Why there is no response.
pub(super) enum Missed {
    /// Somebody's fault; it is booked.
    Fault(Fault),
    /// The breaker has opened while the request waited for a connection: nothing of it was sent, and
    /// here is its body.
    Diverted(Outgoing),
}

impl From<Fault> for Missed {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What a request is sent with, besides its body.
#[derive(Clone, Copy)]
struct Sent<'s> {
    ledger: &'s Ledger,
    backend: &'s Arc<Backend>,
    endpoint: &'s Arc<Endpoint>,
    forwarding: &'s Forwarding<'s>,
    upload: Option<&'s Upload>,
}

/// Sends a request to an endpoint of `variant` that is in rotation, and waits for the head of the response. A kept
/// connection that was closed before any byte of a response is replaced by a fresh one, where
/// repeating does no harm. Faults are booked in `ledger`.
pub(super) async fn exchange(
    ledger: Ledger,
    variant: &Variant,
    forwarding: &Forwarding<'_>,
    body: Outgoing,
    upload: Option<Rc<Upload>>,
) -> Result<Response, Missed> {
    match try_exchange(&ledger, variant, forwarding, body, upload.as_deref()).await {
        Ok((head, carrier, endpoint)) => {
            ledger.headed(&head);
            let mut body = BackendBody {
                carrier: Some(carrier),
                ledger: Some(ledger),
                upload,
                endpoint,
                tunnel: None,
            };
            // A response without a body ends with its head; a switch of protocols does not.
            if head.status != 101 && body.carrier.as_ref().is_some_and(Carrier::is_end) {
                body.finish(None);
            }
            Ok(Response { head, body })
        }
        Err(Missed::Fault(fault)) => {
            ledger.fault(fault);
            Err(Missed::Fault(fault))
        }
        Err(Missed::Diverted(body)) => {
            ledger.divert();
            Err(Missed::Diverted(body))
        }
    }
}

async fn try_exchange(
    ledger: &Ledger,
    variant: &Variant,
    forwarding: &Forwarding<'_>,
    body: Outgoing,
    upload: Option<&Upload>,
) -> Result<(Box<ResponseHead>, Carrier, Arc<Endpoint>), Missed> {
    let worker = ledger.worker();
    let Variant {
        backend, in_rotation, ..
    } = variant;
    let picked = backend.pick(worker.id, worker.draw(), in_rotation);
    let endpoint = picked.ok_or(Fault::BackendFull)?;
    ledger.set_endpoint(endpoint);
    let sent = Sent {
        ledger,
        backend,
        endpoint,
        forwarding,
        upload,
    };
    let (head, carrier) = match backend.protocol {
        BackendProtocol::Http1 => sent.by_http1(body).await?,
        // Larger, and boxed, so that every other exchange is small.
        BackendProtocol::Http2 => Box::pin(sent.by_http2(body)).await?,
    };
    Ok((head, carrier, Arc::clone(endpoint)))
}

impl Sent<'_> {
    async fn by_http1(self, mut body: Outgoing) -> Result<(Box<ResponseHead>, Carrier), Missed> {
        let Self {
            ledger,
            backend,
            endpoint,
            forwarding,
            ..
        } = self;
        let worker = ledger.worker();
        let idempotent = forwarding.head.method().is_idempotent();
        let mut kept = self.kept_connection(idempotent);
        loop {
            let reused = kept.is_some();
            let mut connection = match kept.take() {
                Some(connection) => connection,
                // Rare and large: boxed, so that every exchange is small.
                None => {
                    let fresh = Box::pin(fresh_connection(ledger, backend, endpoint, forwarding.addresses)).await?;
                    if !ledger.is_admitted() {
                        return Err(Missed::Diverted(body));
                    }
                    fresh
                }
            };
            let host = match forwarding.head.authority_bytes() {
                b"" => endpoint.authority.as_bytes(), // HTTP/1.0 knows requests without
                authority => authority,
            };
            let sent = connection
                .send(&worker.buffers, forwarding, host, body, |cx| ledger.poll_late(cx))
                .await;
            match sent {
                Ok(mut head) => {
                    // The key was ours.
                    if head.status == 101
                        && forwarding.head.version() == Version::Http2
                        && !websocket::check_grant(&mut head, &websocket::key(forwarding.made.nonce))
                    {
                        return Err(self.malformed("the switch to WebSocket does not answer our key").into());
                    }
                    if is_false_grant(forwarding, head.status) {
                        return Err(Fault::NoTunnel.into());
                    }
                    return Ok((head, Carrier::Http1(connection)));
                }
                Err(SendFault::Closed {
                    unsent,
                    body: Some(given_back),
                }) if reused && (unsent || idempotent) => body = given_back,
                Err(fault) => {
                    if !reused && matches!(fault, SendFault::Closed { .. }) {
                        self.warn_of_close(connection.terms().is_tls());
                    }
                    return Err(self.fault_of(fault).into());
                }
            }
        }
    }

    async fn by_http2(self, mut body: Outgoing) -> Result<(Box<ResponseHead>, Carrier), Missed> {
        let Self {
            ledger,
            endpoint,
            forwarding,
            ..
        } = self;
        let worker = ledger.worker();
        let idempotent = forwarding.head.method().is_idempotent();
        let key = forwarding.head.fields().get("sec-websocket-key");
        if forwarding.upgrade && forwarding.head.version() != Version::Http2 && !key.is_some_and(websocket::is_key) {
            return Err(Fault::BadRequest("a WebSocket is asked for without a valid Sec-WebSocket-Key").into());
        }
        let mut refusals = 0;
        let mut repeated = false;
        // What refused the request twice.
        let mut full: Option<Rc<Link>> = None;
        loop {
            let link = match self.link(idempotent, full.as_ref()).await {
                // It is not for want of connections.
                Err(Fault::BackendFull) if full.is_some() => return Err(Fault::Closed.into()),
                link => link?,
            };
            if !ledger.is_admitted() {
                return Err(Missed::Diverted(body));
            }
            if forwarding.upgrade && !link.takes_tunnels() {
                return Err(Fault::NoTunnel.into());
            }
            let reused = link.has_served();
            let late = |cx: &Context<'_>| ledger.poll_late(cx);
            match upstream::Exchange::send(&link, forwarding, &endpoint.authority, body, late).await {
                Ok((mut head, exchange)) => {
                    if head.status == 101
                        && let Some(key) = key.filter(|_| forwarding.head.version() != Version::Http2)
                    {
                        websocket::grant(&mut head, key);
                    }
                    if is_false_grant(forwarding, head.status) {
                        return Err(Fault::NoTunnel.into());
                    }
                    let head = worker.buffers.borrow_mut().head(head);
                    return Ok((head, Carrier::Http2(Box::new(exchange))));
                }
                Err(SendFault::Closed {
                    unsent,
                    body: Some(given_back),
                }) if unsent && refusals < REFUSALS_MAX => {
                    refusals += 1;
                    // Refused once, a connection may have room the next moment; another one costs both sides more.
                    if refusals >= 2 {
                        full = Some(link);
                    }
                    body = given_back;
                }
                // The connection has ended, as kept ones do.
                Err(SendFault::Closed {
                    unsent: false,
                    body: Some(given_back),
                }) if reused && idempotent && !repeated => {
                    repeated = true;
                    body = given_back;
                }
                Err(fault) => return Err(self.fault_of(fault).into()),
            }
        }
    }

    /// What the client is told, and who is to blame.
    fn fault_of(self, fault: SendFault) -> Fault {
        match fault {
            SendFault::Closed { .. } | SendFault::Truncated => blame_upload(self.upload, Fault::Closed),
            SendFault::Malformed(rule) => self.malformed(rule),
            SendFault::Upload => blame_upload(self.upload, Fault::ClientBody),
            SendFault::Inexpressible(rule) => Fault::BadRequest(rule),
            SendFault::Late(late) => fault_of_late(late),
        }
    }

    /// A connection that had just been made was closed without an answer, and not because the client broke its body.
    fn warn_of_close(self, is_tls: bool) {
        if self.upload.and_then(Upload::fault).is_none() {
            let why = if is_tls {
                CLOSED_AFTER_TLS
            } else {
                "it closed the connection without an answer"
            };
            self.ledger.worker().warn_of_endpoint(self.endpoint, &why);
        }
    }

    fn malformed(self, rule: &'static str) -> Fault {
        let worker = self.ledger.worker();
        worker.warn_of_answer(self.endpoint, rule);
        blame_upload(self.upload, Fault::Malformed)
    }

    /// A kept connection that still lives: it is read before it is used again. Requests that may be repeated need no
    /// closer look.
    fn kept_connection(self, repeatable: bool) -> Option<Box<Connection>> {
        let worker = self.ledger.worker();
        let client = self.forwarding.addresses.source.ip();
        loop {
            let mut connection = worker.pools.borrow_mut().take(self.endpoint, self.backend, client)?;
            let quiet = if repeatable {
                connection.is_quiet()
            } else {
                connection.is_quiet_now()
            };
            if quiet {
                return Some(connection);
            }
        }
    }

    /// A connection with room for one more stream, other than `full`. One that is idle is looked at where the request must not be
    /// repeated: its driver may not have heard yet that it was closed.
    async fn link(self, repeatable: bool, full: Option<&Rc<Link>>) -> Result<Rc<Link>, Fault> {
        let (ledger, worker) = (self.ledger, self.ledger.worker());
        let client = self.forwarding.addresses;
        let mut looks = 0;
        loop {
            let open = worker
                .pools
                .borrow()
                .link(self.endpoint, self.backend, client.source.ip(), full);
            if let Some(link) = open {
                if repeatable || looks == LOOKS_MAX || !link.is_idle() || link.is_quiet_now() {
                    return Ok(link);
                }
                looks += 1;
                tokio::task::yield_now().await;
                continue;
            }
            let making = worker
                .pools
                .borrow()
                .attempt(self.endpoint, self.backend, client.source.ip());
            let attempt = match making {
                Some(attempt) => {
                    attempt.join();
                    attempt
                }
                None => {
                    make_room(worker, self.backend)?;
                    Attempt::begin(worker, self.backend, self.endpoint, client)
                }
            };
            std::future::poll_fn(|cx| match attempt.poll(cx) {
                Poll::Pending => ledger.poll_late(cx).map(|late| Err(fault_of_late(late))),
                over => over,
            })
            .await?;
        }
    }
}

/// Of TLS 1.3 the client's half of a handshake is the last: what a server says of it comes afterwards, if it does.
const CLOSED_AFTER_TLS: &str = "TLS was up, and it closed the connection without an answer; \
                                it may want a client certificate (`tls.certificate`)";

/// So often a connection's driver is given time to take what has come on it.
const LOOKS_MAX: u32 = 4;

/// What the client is told when there is no head yet.
const fn fault_of_late(late: Late) -> Fault {
    match late {
        Late::Backend => Fault::ResponseTimeout,
        Late::Client => Fault::ClientBodyTimeout,
        Late::Drained => Fault::Drained,
        Late::Total => Fault::TotalTimeout,
        Late::Deadline => Fault::Deadline,
    }
}

/// What breaks upstream after the client's body broke is the client's fault.
fn blame_upload(upload: Option<&Upload>, fault: Fault) -> Fault {
    upload.and_then(Upload::fault).unwrap_or(fault)
}

/// A fresh connection, in time and within the backend's limit.
async fn fresh_connection(
    ledger: &Ledger,
    backend: &Backend,
    endpoint: &Arc<Endpoint>,
    client: ClientAddresses,
) -> Result<Box<Connection>, Fault> {
    let worker = ledger.worker();
    make_room(worker, backend)?;
    let connect = async {
        let socket = dial(worker, backend, endpoint, client).await?;
        let terms = Terms::of(backend, client.source.ip());
        Ok(Connection::new(socket, terms, Arc::clone(endpoint), worker.id))
    };
    let mut connect = std::pin::pin!(tokio::time::timeout(backend.connect_timeout, connect));
    std::future::poll_fn(|cx| match connect.as_mut().poll(cx) {
        Poll::Ready(Ok(done)) => Poll::Ready(done.map(Box::new)),
        Poll::Ready(Err(_)) => {
            worker.warn_of_endpoint(endpoint, &NOT_IN_TIME);
            Poll::Ready(Err(Fault::ConnectTimeout))
        }
        Poll::Pending => ledger.poll_late(cx).map(|late| {
            if late == Late::Backend {
                worker.warn_of_endpoint(endpoint, &"there was none when the request's `timeout` was over");
            }
            Err(fault_of_late(late))
        }),
    })
    .await
}

/// Sees to it that one more connection is within the backend's limit, if need be by closing an idle one.
fn make_room(worker: &Worker, backend: &Backend) -> Result<(), Fault> {
    let is_full = || connections(backend) >= backend.max_connections;
    if is_full() {
        worker.pools.borrow_mut().evict(&backend.endpoints);
    }
    if is_full() { Err(Fault::BackendFull) } else { Ok(()) }
}

/// Connections open to all endpoints of a backend. A fresh connection is rare enough to add up.
fn connections(backend: &Backend) -> u32 {
    backend.endpoints.iter().map(|endpoint| endpoint.connections()).sum()
}

impl Carrier {
    fn poll_frame(&mut self, cx: &mut Context<'_>, worker: &Worker) -> Poll<Option<Result<Frame, BodyFault>>> {
        match self {
            Self::Http1(connection) => connection.poll_frame(cx, &worker.buffers),
            Self::Http2(exchange) => exchange.poll_frame(cx),
        }
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>, worker: &Worker) {
        match self {
            Self::Http1(connection) => connection.poll_upload(cx, &worker.buffers),
            Self::Http2(exchange) => exchange.poll_upload(cx),
        }
    }

    fn is_end(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_end(),
            Self::Http2(exchange) => exchange.is_end(),
        }
    }

    fn length(&self) -> Length {
        match self {
            Self::Http1(connection) => connection.length(),
            Self::Http2(exchange) => exchange.length(),
        }
    }
}

impl BackendBody {
    /// The next part. Ends the exchange with the last one.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Broken>>> {
        let (Some(carrier), Some(ledger)) = (&mut self.carrier, &self.ledger) else {
            return Poll::Ready(None);
        };
        match carrier.poll_frame(cx, ledger.worker()) {
            Poll::Ready(Some(Ok(frame))) => {
                let late = ledger.hears_backend();
                // Nobody asks again after trailers.
                if let Frame::Trailers(fields) = &frame {
                    self.finish(Some(fields));
                } else if carrier.is_end() {
                    self.finish(None);
                } else if let Some(late) = late {
                    return Poll::Ready(Some(self.end_late(late)));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(fault))) => {
                let by_client = self.upload.as_ref().is_some_and(|upload| upload.is_broken());
                if let BodyFault::Malformed(rule) = fault {
                    ledger.worker().warn_of_answer(&self.endpoint, rule);
                }
                ledger.blame(match fault {
                    BodyFault::Endpoint | BodyFault::Malformed(_) if !by_client => Outcome::Failure,
                    BodyFault::Endpoint | BodyFault::Malformed(_) | BodyFault::Upload => Outcome::NoEvidence,
                });
                self.break_off();
                Poll::Ready(Some(Err(Broken)))
            }
            Poll::Ready(None) => {
                self.finish(None);
                Poll::Ready(None)
            }
            Poll::Pending => {
                ledger.waits_for_backend();
                let late = ready!(ledger.poll_late(cx));
                Poll::Ready(Some(self.end_late(late)))
            }
        }
    }

    /// Goes on with the request while the client takes no more of the response: it may read only once it has sent
    /// everything. Ready when the exchange has to end, however slowly the client reads.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let (Some(carrier), Some(ledger)) = (&mut self.carrier, &self.ledger) else {
            return Poll::Pending;
        };
        carrier.poll_upload(cx, ledger.worker());
        let late = ready!(ledger.poll_final(cx));
        ledger.blame_late(late);
        self.break_off();
        Poll::Ready(Broken)
    }

    /// Whether nothing more comes.
    pub(super) fn is_end(&self) -> bool {
        self.carrier.is_none()
    }

    /// What is still to come.
    pub(super) fn length(&self) -> Length {
        self.carrier.as_ref().map_or(Length::Empty, Carrier::length)
    }

    /// As a tunnel that `tunnel` counts.
    pub(super) fn counted_by(self, tunnel: Option<Tunnel>) -> Self {
        Self { tunnel, ..self }
    }

    /// After a 101: the backend's side with what was read ahead of it, the exchange's ledger, and what counts it.
    pub(super) fn into_tunnel(mut self) -> Option<(Far, Bytes, Ledger, Option<Tunnel>)> {
        let (far, ahead) = match self.carrier.take()? {
            Carrier::Http1(connection) => {
                let (socket, ahead, counted) = connection.into_stream();
                (Far::Http1(socket, counted), ahead)
            }
            Carrier::Http2(exchange) => {
                let (stream, open) = exchange.into_tunnel()?;
                (Far::Http2(stream, open), Bytes::new())
            }
        };
        Some((far, ahead, self.ledger.take()?, self.tunnel.take()))
    }

    /// All is well: the exchange is over, and the connection may serve another.
    fn finish(&mut self, trailers: Option<&Fields>) {
        let (Some(carrier), Some(ledger)) = (self.carrier.take(), self.ledger.take()) else {
            return;
        };
        ledger.complete(trailers);
        let worker = ledger.worker();
        if let Carrier::Http1(mut connection) = carrier
            && connection.end(&worker.buffers)
        {
            // More idle ones than this worker's part of the limit would keep the others from any.
            let part = ledger.max_connections() as usize / worker.count();
            let mut pools = worker.pools.borrow_mut();
            pools.put(self.endpoint.id, connection, worker.recent_us(), part);
        }
    }

    /// Somebody was too slow. A client of gRPC whose deadline is over is told so in the words that it waits for.
    fn end_late(&mut self, late: Late) -> Result<Frame, Broken> {
        let mut told = Err(Broken);
        if let Some(ledger) = &self.ledger {
            ledger.blame_late(late);
            if late == Late::Deadline && ledger.tells_deadline() {
                told = Ok(Frame::Trailers(Box::new(grpc::deadline_exceeded())));
            }
        }
        self.break_off();
        told
    }

    /// The exchange is over; it is recorded when the body is dropped, with what the client was sent.
    fn break_off(&mut self) {
        if let (Some(Carrier::Http1(mut connection)), Some(ledger)) = (self.carrier.take(), &self.ledger) {
            connection.end(&ledger.worker().buffers);
        }
    }

    /// The answer broke before anything of it had gone out: books what the client is sent instead, which is the
    /// answer. `by_client` is what the client itself has done to its body.
    pub(super) fn retract(&self, by_client: Option<Fault>) -> Fault {
        let late = self.ledger.as_ref().and_then(Ledger::final_late);
        let fault = by_client.unwrap_or_else(|| late.map_or(Fault::Truncated, fault_of_late));
        if let Some(ledger) = &self.ledger {
            ledger.fault(fault);
        }
        fault
    }
}

/// Whether an answer would be taken for the grant of a tunnel that is none: to a client of HTTP/2 every 2xx is one
/// (RFC 9110 §9.3.6, RFC 8441 §5).
fn is_false_grant(forwarding: &Forwarding<'_>, status: u16) -> bool {
    forwarding.upgrade && forwarding.head.version() == Version::Http2 && (200..300).contains(&status)
}
